//! One line of the log, in each of the formats.

use std::time::SystemTime;

use ringway_engine::filter::SettingsError;
use ringway_engine::http1::write::{self, decimal};
use ringway_engine::record::Record;
use ringway_engine::template::Template;

use super::fields::{FIELDS, Field, IN_JSON, KEYS, Value, combined, millis, rfc3339};
use super::redact::{self, HIDDEN, LONGEST};
use super::{LineFormat, Settings};
use crate::wrong;

/// The combined format of web servers, and behind it what a gateway adds.
const TEXT: &str = "${client} - ${consumer} [${time_local}] \
    \"${method} ${target} ${protocol}\" ${status} ${bytes_out} \
    \"${referer}\" \"${user_agent}\" \
    route=${route} endpoint=${endpoint} attempts=${attempts} ms=${duration_ms} \
    connect=${connect_ms} first_byte=${first_byte_ms} in=${bytes_in} peer=${peer} \
    id=${request_id} trace=${trace_id} error=${error} phase=${error_phase}";

/// LoggedHeaders that are never read in a log.
const SECRET: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];

const REQUEST_HEADER: &str = "request_header_";
const RESPONSE_HEADER: &str = "response_header_";

/// What lines look like.
#[derive(Clone)]
pub(super) struct Shape {
    /// `None` for JSON.
    template: Option<Template>,
    request: Vec<Header>,
    response: Vec<Header>,
    /// Names in lower case.
    hidden_headers: Vec<String>,
    hidden_query: Vec<String>,
}

/// A header that is logged.
#[derive(Clone)]
struct Header {
    /// In lower case.
    name: String,
    /// The variable of a template that it is, or the name again.
    shown: String,
    hidden: bool,
}

/// A record on its way into the log.
pub(super) struct Line<'a> {
    pub(super) record: &'a Record<'a>,
    /// The time of day when its first byte was there.
    pub(super) began: SystemTime,
    pub(super) shape: &'a Shape,
}

impl Shape {
    /// Checks what a template names.
    pub(super) fn build(settings: &Settings) -> Result<Shape, SettingsError> {
        let hidden = settings.redact.headers.iter().map(|name| name.to_ascii_lowercase());
        let mut shape = Shape {
            template: None,
            request: Vec::new(),
            response: Vec::new(),
            hidden_headers: SECRET.map(str::to_owned).into_iter().chain(hidden).collect(),
            hidden_query: settings.redact.query.clone(),
        };
        let names = |names: &[String]| {
            names.iter().map(|name| shape.header(&name.to_ascii_lowercase(), name)).collect()
        };
        (shape.request, shape.response) =
            (names(&settings.headers.request), names(&settings.headers.response));
        let text = match (settings.format, &settings.template) {
            (LineFormat::Json, None) => return Ok(shape),
            (LineFormat::Text, None) => TEXT,
            (LineFormat::Template, Some(template)) => &template.0,
            (LineFormat::Template, None) => {
                let help = "write it, such as `'${time} ${method} ${path} ${status}'`";
                return Err(wrong("template", "the format wants a template", help));
            }
            (LineFormat::Json | LineFormat::Text, Some(_)) => {
                let help = "write `format: template` beside it";
                return Err(wrong("template", "the format does not use a template", help));
            }
        };
        let parsed = Template::parse(text).map_err(|e| wrong("template", e.to_string(), ""))?;
        for name in parsed.names() {
            shape.take_variable(name)?;
        }
        shape.template = Some(parsed);
        Ok(shape)
    }

    /// A variable of a template: a field, or a header to be looked up.
    fn take_variable(&mut self, name: &str) -> Result<(), SettingsError> {
        for (start, request) in [(REQUEST_HEADER, true), (RESPONSE_HEADER, false)] {
            if let Some(header) = name.strip_prefix(start).filter(|header| !header.is_empty()) {
                let header = self.header(&header.replace('_', "-"), name);
                if request { &mut self.request } else { &mut self.response }.push(header);
                return Ok(());
            }
        }
        if field(name).is_some() {
            return Ok(());
        }
        let known: Vec<_> = FIELDS.iter().map(|(_, name)| *name).collect();
        let help = format!(
            "the fields are {}, and {REQUEST_HEADER}NAME and {RESPONSE_HEADER}NAME (`_` for `-`)",
            known.join(", ")
        );
        Err(wrong("template", format!("a record has no field `{name}`"), &help))
    }

    fn header(&self, name: &str, shown: &str) -> Header {
        let hidden = self.hidden_headers.iter().any(|hidden| hidden == name);
        Header { name: name.to_owned(), shown: shown.to_ascii_lowercase(), hidden }
    }

    /// Appends a line that tells how many records were dropped.
    pub(super) fn notice(&self, out: &mut Vec<u8>, now: SystemTime, dropped: u64) {
        let json = self.template.is_none();
        out.extend_from_slice(if json { b"{\"time\":\"" } else { b"# " });
        rfc3339(out, now);
        out.extend_from_slice(if json { b"\",\"dropped_records\":" } else { b" dropped_records=" });
        decimal(out, dropped);
        out.extend_from_slice(if json { b"}\n" } else { b"\n" });
    }
}

fn field(name: &str) -> Option<Field> {
    FIELDS.iter().find(|(_, known)| *known == name).map(|(field, _)| *field)
}

impl Line<'_> {
    /// Appends the line.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match &self.shape.template {
            None => self.write_json(out),
            Some(template) => {
                // Every variable has a value, and none of them has a control character.
                let _ = template.render(&|name, out| self.put_variable(name, out), out);
            }
        }
        out.push(b'\n');
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        for (&(field, _), key) in FIELDS[..IN_JSON].iter().zip(KEYS) {
            let value = self.value(field);
            if matches!(value, Value::Absent) {
                continue;
            }
            out.extend_from_slice(key.as_bytes());
            let quoted = !matches!(value, Value::Count(_) | Value::Length(_));
            if quoted {
                out.push(b'"');
            }
            self.put(&value, out, redact::json);
            if quoted {
                out.push(b'"');
            }
        }
        // The time is always there, and its comma is where the object begins.
        out[begin] = b'{';
        self.put_headers(out, "request_headers", &self.shape.request, true);
        self.put_headers(out, "response_headers", &self.shape.response, false);
        out.push(b'}');
    }

    fn put_headers(&self, out: &mut Vec<u8>, name: &str, headers: &[Header], request: bool) {
        let mut begun = false;
        for header in headers {
            let Some(value) = self.find(header, request) else { continue };
            if begun {
                out.push(b',');
            } else {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":{");
                begun = true;
            }
            out.push(b'"');
            redact::json(out, header.shown.as_bytes());
            out.extend_from_slice(b"\":\"");
            self.put(&Value::Link(value), out, redact::json);
            out.push(b'"');
        }
        if begun {
            out.push(b'}');
        }
    }

    fn find(&self, header: &Header, request: bool) -> Option<&[u8]> {
        let exchange = self.record.exchange;
        let sent = &exchange.request;
        let found = match request {
            true => sent.head.find(sent.raw(), header.name.as_bytes()),
            false => exchange.response.header(&header.name),
        };
        found.map(|value| if header.hidden { HIDDEN } else { value })
    }

    /// Appends the value of a template's variable, or a dash.
    fn put_variable(&self, name: &str, out: &mut Vec<u8>) -> bool {
        let value = match field(name) {
            Some(field) => self.value(field),
            None => {
                let request = name.starts_with(REQUEST_HEADER);
                let headers = if request { &self.shape.request } else { &self.shape.response };
                let header = headers.iter().find(|header| header.shown == name);
                let found = header.and_then(|header| self.find(header, request));
                found.map_or(Value::Absent, Value::Link)
            }
        };
        match value {
            Value::Absent => out.push(b'-'),
            Value::Word(text) => redact::plain(out, cut(text), true),
            value => self.put(&value, out, |out, text| redact::plain(out, text, false)),
        }
        true
    }

    /// Appends a value, with its text escaped by `escape`.
    fn put(&self, value: &Value<'_>, out: &mut Vec<u8>, escape: impl Fn(&mut Vec<u8>, &[u8])) {
        let hidden = &self.shape.hidden_query;
        let query = |out: &mut Vec<u8>, text: &[u8]| {
            redact::query(cut(text), hidden, |piece| escape(out, piece));
        };
        match value {
            Value::Absent => {}
            Value::Word(text) | Value::Text(text) => escape(out, cut(text)),
            Value::Query(text) => query(out, text),
            Value::Target(path, text) => {
                escape(out, cut(path));
                if !text.is_empty() {
                    out.push(b'?');
                    query(out, text);
                }
            }
            Value::Link(text) => redact::link(cut(text), hidden, |piece| escape(out, piece)),
            Value::Count(number) => decimal(out, *number),
            Value::Length(length) => millis(out, *length),
            Value::Moment(moment) => rfc3339(out, *moment),
            Value::LocalMoment(moment) => combined(out, *moment),
            Value::Address(address) => write::address(out, *address),
            Value::Socket(address) => write::socket(out, *address),
            Value::Trace(trace) => out.extend_from_slice(&trace.id_text()),
            Value::Error(error) => {
                // The sentence may quote what a peer sent. Only an exchange that failed allocates.
                escape(out, cut(error.to_string().as_bytes()));
            }
        }
    }
}

/// The part of a value that is logged.
fn cut(value: &[u8]) -> &[u8] {
    &value[..value.len().min(LONGEST)]
}
