//! Sets, adds, renames and removes headers of requests on their way in and of responses on their
//! way out.
//!
//! # Settings
//!
//! ```yaml
//! - headers:
//!     request:
//!       set: {X-Env: production}          # this value and no other
//!       add: {X-Client: "${client_ip}"}   # this value too
//!       rename: {X-Old-Name: X-New-Name}
//!       remove: [X-Debug]
//!     response:
//!       set: {X-Frame-Options: DENY}
//!       remove: [Server, X-Powered-By]
//! ```
//!
//! Within a request or a response, `remove` comes first, then `rename`, then `set`, then `add`.
//! `rename` moves every value; where nothing came under the old name, the new one stays as it is.
//!
//! A value may hold variables of the request: `${client_ip}`, `${host}`, `${path}`, `${query}`,
//! `${request_id}`, `${route}` (its name), parameters and captures of the route's path, and behind
//! an `auth` what the client's token says, such as `${claims.sub}`. Names are checked when the
//! file is loaded. A header is left out where a variable of it has no value, where its value would
//! be empty, or where it could not stand in one line; with `set` it is then not there at all, so
//! that nobody's own value passes for it.
//!
//! What frames a message, belongs to one connection, or is the gateway's own to write (`Host`,
//! `Content-Length`, `Connection`, `X-Forwarded-For` …) is refused, with the setting that is for
//! it. What the gateway writes for `server.server_header` can be removed.
//!
//! A header that is set, renamed or removed on a request also loses its aliases, which programs
//! behind a gateway cannot tell from it (`X_User_Id` and `X.User.Id` for `X-User-Id`).
//!
//! # Answers
//!
//! None of its own.
//!
//! # State
//!
//! None.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use indexmap::IndexMap;
use ringway_engine::exchange::{BadHeader, Edits, Exchange};
use ringway_engine::filter::{Blueprint, Core, Filter, SettingsError, Step};
use ringway_engine::http1::write::{is_safe_value, is_token};
use ringway_engine::message::FieldName;
use ringway_engine::shared::Shared;
use ringway_engine::template::{CLAIM, Template};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::alias::remove_aliases;
use crate::{plan, wrong};

/// Which headers are changed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Changes to requests, before the upstream sees them.
    pub request: Changes,
    /// Changes to responses, before the client sees them; to those of the gateway's own as well.
    pub response: Changes,
}

/// Changes to the headers of one message.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Changes {
    /// Headers that shall have this value and no other.
    pub set: IndexMap<String, Text>,
    /// Headers that shall have this value too.
    pub add: IndexMap<String, Text>,
    /// Headers that shall go on under another name: old name, new name.
    pub rename: IndexMap<String, String>,
    /// Headers that shall not be there.
    pub remove: Vec<String>,
}

/// The value of a header. It may hold a token, and is never shown. A template, which beside the
/// variables that every request has may name `${client_ip}`, `${route}` and, behind an `auth`, what
/// a token claims: `${claims.sub}`.
#[derive(Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Text(ringway_config::Template);

impl fmt::Debug for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

impl Settings {
    /// Checks every name and value, so that nothing can be refused while a request waits
    /// (HTTP_SAFETY rule 18).
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        if self.request.is_empty() && self.response.is_empty() {
            let help = "write what to change, such as `request: {remove: [X-Debug]}`";
            return Err(wrong("", "nothing is set, added, renamed or removed", help));
        }
        Ok(plan(Plan {
            request: self.request.read(Side::Request)?,
            response: self.response.read(Side::Response)?,
        }))
    }
}

/// Which message a change is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Response,
}

/// What is done with a header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Set,
    Add,
    /// Its values go on under another name.
    RenameFrom,
    /// It takes the values of another.
    RenameTo,
    Remove,
}

impl Deed {
    /// True when the two can be meant of one header: what is there makes room, or gets company.
    fn goes_with(self, other: Deed) -> bool {
        use Deed::{Add, Remove, RenameTo, Set};
        matches!(
            (self, other),
            (Add, Set | RenameTo | Remove)
                | (Set | RenameTo | Remove, Add)
                | (RenameTo, Remove)
                | (Remove, RenameTo)
        )
    }
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Request => "request",
            Side::Response => "response",
        }
    }
}

impl Changes {
    fn is_empty(&self) -> bool {
        let Changes { set, add, rename, remove } = self;
        set.is_empty() && add.is_empty() && rename.is_empty() && remove.is_empty()
    }

    /// Checks the names, and reads the values as templates.
    fn read(&self, side: Side) -> Result<Edited, SettingsError> {
        let mut names = Names { side, known: Vec::new() };
        let side = side.name();
        let mut read = |deed, of: &str, texts: &IndexMap<String, Text>| {
            let texts = texts.iter().map(|(name, Text(text))| {
                let field = format!("{side}.{of}.{name}");
                names.check(&field, deed, name)?;
                Ok((name.clone(), read_value(&field, &text.0)?))
            });
            texts.collect::<Result<Vec<_>, SettingsError>>()
        };
        let set = read(Deed::Set, "set", &self.set)?;
        let add = read(Deed::Add, "add", &self.add)?;
        for (from, to) in &self.rename {
            let field = format!("{side}.rename.{from}");
            names.check(&field, Deed::RenameFrom, from)?;
            names.check(&field, Deed::RenameTo, to)?;
        }
        for (at, name) in self.remove.iter().enumerate() {
            names.check(&format!("{side}.remove[{at}]"), Deed::Remove, name)?;
        }
        let rename = self.rename.clone().into_iter().collect();
        Ok(Edited { remove: self.remove.clone(), rename, set, add })
    }
}

/// The names that were seen, to find those that are named twice.
struct Names {
    side: Side,
    known: Vec<(Deed, String)>,
}

impl Names {
    fn check(&mut self, field: &str, deed: Deed, name: &str) -> Result<(), SettingsError> {
        check_name(field, self.side, deed, name)?;
        let name = name.to_ascii_lowercase();
        if self.known.iter().any(|(other, its)| *its == name && !deed.goes_with(*other)) {
            let message = format!("`{name}` is named twice");
            return Err(wrong(field, message, "keep one of them; names have no case"));
        }
        self.known.push((deed, name));
        Ok(())
    }
}

fn check_name(field: &str, side: Side, deed: Deed, name: &str) -> Result<(), SettingsError> {
    if !is_token(name.as_bytes()) {
        let help = "a name has letters, digits and any of !#$%&'*+-.^_`|~";
        return Err(wrong(field, format!("`{name}` is no name of a header"), help));
    }
    match instead(side, deed, FieldName::from_bytes(name.as_bytes())) {
        Some(help) => Err(wrong(field, format!("`{name}` is not for this filter to change"), help)),
        None => Ok(()),
    }
}

/// Reads a value, and checks what is written of it.
fn read_value(field: &str, text: &str) -> Result<Template, SettingsError> {
    if !is_safe_value(text.as_bytes()) {
        let help = "take line breaks and other control characters out";
        return Err(wrong(field, "the value cannot stand in one line of a head", help));
    }
    if text.trim_matches([' ', '\t']) != text {
        let help = "take it out: white space around a value is no part of it (RFC 9110 §5.5)";
        return Err(wrong(field, "the value begins or ends with white space", help));
    }
    let help = "write `${client_ip}` for a variable, `$${` for a plain `${`";
    Template::parse(text).map_err(|error| wrong(field, error.to_string(), help))
}

/// What to do instead, where the gateway writes the header itself or there can be only one.
fn instead(side: Side, deed: Deed, name: FieldName) -> Option<&'static str> {
    match name {
        FieldName::ContentLength => Some("the length goes by the body that is sent"),
        FieldName::Upgrade => Some("`upgrades` of the route says what is let through"),
        FieldName::Expect => Some("it is settled between the client and the gateway"),
        _ if name.is_hop_by_hop() => {
            Some("it is meant for one connection, and the gateway writes its own (RFC 9110 §7.6.1)")
        }
        _ if deed == Deed::Add && name.is_single() => Some("there can be only one: use `set`"),
        _ => match (side, name) {
            (Side::Request, FieldName::Host) => {
                Some("`rewrite: {host: …}` of the route is for that")
            }
            (
                Side::Request,
                FieldName::XForwardedFor
                | FieldName::XForwardedHost
                | FieldName::XForwardedProto
                | FieldName::XRealIp
                | FieldName::Forwarded,
            ) => Some("the gateway writes it; `server.trusted_proxies` says whose it believes"),
            (Side::Request, FieldName::Via) => Some("`server.via` is for that"),
            (Side::Request, FieldName::XRequestId) => Some("`server.request_id` is for that"),
            (Side::Response, FieldName::Date) => Some("it is the time of the answer"),
            (Side::Response, FieldName::Server)
                if !matches!(deed, Deed::Remove | Deed::RenameFrom) =>
            {
                Some("`server.server_header` is for that")
            }
            _ => None,
        },
    }
}

/// The settings once they are checked; every core's instance is a copy.
struct Plan {
    request: Edited,
    response: Edited,
}

/// The changes to one message, in the order in which they are made.
#[derive(Clone)]
struct Edited {
    remove: Vec<String>,
    rename: Vec<(String, String)>,
    set: Vec<(String, Template)>,
    add: Vec<(String, Template)>,
}

impl Plan {
    /// Every template of both messages, with its field and the name of the header.
    fn templates(&self) -> impl Iterator<Item = (&'static str, &str, &Template)> {
        let all = [
            ("request.set", &self.request.set),
            ("request.add", &self.request.add),
            ("response.set", &self.response.set),
            ("response.add", &self.response.add),
        ];
        all.into_iter().flat_map(|(field, values)| {
            values.iter().map(move |(name, value)| (field, name.as_str(), value))
        })
    }
}

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "headers"
    }

    fn summary(&self) -> String {
        let sides = [("request", &self.request), ("response", &self.response)];
        let texts = sides.into_iter().map(|(side, edited)| (side, edited.to_string()));
        let changed = texts.filter(|(_, text)| !text.is_empty());
        changed.map(|(side, text)| format!("{side}: {text}")).collect::<Vec<_>>().join("; ")
    }

    fn instance(&self, _: &Rc<dyn Core>) -> Rc<dyn Filter> {
        let (request, response) = (self.request.clone(), self.response.clone());
        Rc::new(Headers { request, response, value: RefCell::default() })
    }

    fn variables(&self) -> Vec<(String, String)> {
        let of = |(of, name, value): (&'static str, &str, &Template)| {
            let field = format!("{of}.{name}");
            value.names().map(|variable| (field.clone(), variable.to_owned())).collect::<Vec<_>>()
        };
        self.templates().flat_map(of).collect()
    }

    fn needs_identity(&self) -> Option<&'static str> {
        let claims = |value: &Template| value.names().any(|name| name.starts_with(CLAIM));
        self.templates().find(|(_, _, value)| claims(value)).map(|(of, ..)| of)
    }
}

/// The names without the values, which may be secrets.
impl fmt::Display for Edited {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let removed = self.remove.iter().map(|name| format!("remove {name}"));
        let renamed = self.rename.iter().map(|(from, to)| format!("rename {from} to {to}"));
        let set = self.set.iter().map(|(name, _)| format!("set {name}"));
        let added = self.add.iter().map(|(name, _)| format!("add {name}"));
        let all = removed.chain(renamed).chain(set).chain(added);
        out.write_str(&all.collect::<Vec<_>>().join(", "))
    }
}

/// One core's instance.
struct Headers {
    request: Edited,
    response: Edited,
    /// The value at hand; its memory stays.
    value: RefCell<Vec<u8>>,
}

impl Filter for Headers {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let Edited { remove, rename, set, .. } = &self.request;
        let renamed = rename.iter().flat_map(|(from, to)| [from, to]);
        let changed = remove.iter().chain(renamed).chain(set.iter().map(|(name, _)| name));
        changed.for_each(|name| remove_aliases(&mut exchange.request, name));
        self.apply(Side::Request, exchange);
        Step::NEXT
    }

    fn on_response(&self, exchange: &mut Exchange) {
        self.apply(Side::Response, exchange);
    }
}

impl Headers {
    fn apply(&self, side: Side, exchange: &mut Exchange) {
        let edited = match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        };
        for name in &edited.remove {
            crate::remove(edits(exchange, side), name);
        }
        for (from, to) in &edited.rename {
            let renamed = match side {
                Side::Request => exchange.request.rename(from, to),
                Side::Response => exchange.response.rename(from, to),
            };
            renamed.expect("invariant: checked while building, or parsed");
        }
        for (name, value) in &edited.set {
            if !self.with_value(exchange, side, value, |edits, value| edits.set(name, value)) {
                crate::remove(edits(exchange, side), name);
            }
        }
        for (name, value) in &edited.add {
            self.with_value(exchange, side, value, |edits, value| edits.add(name, value));
        }
    }

    /// Fills the variables in and has the value written; false when it has none.
    fn with_value(
        &self,
        exchange: &mut Exchange,
        side: Side,
        template: &Template,
        write: impl FnOnce(&mut Edits, &[u8]) -> Result<(), BadHeader>,
    ) -> bool {
        if let Some(text) = template.as_literal() {
            return write(edits(exchange, side), text.as_bytes()).is_ok();
        }
        let mut value = self.value.borrow_mut();
        value.clear();
        exchange.render(template, &mut value).is_ok()
            && !value.trim_ascii().is_empty()
            && write(edits(exchange, side), value.trim_ascii()).is_ok()
    }
}

fn edits(exchange: &mut Exchange, side: Side) -> &mut Edits {
    match side {
        Side::Request => &mut exchange.request.edits,
        Side::Response => &mut exchange.response.edits,
    }
}

#[cfg(test)]
mod tests {
    use ringway_engine::clock;
    use ringway_engine::exchange::Identity;
    use ringway_engine::filter::Verdict;

    use super::*;
    use crate::tests::{build, core, refused};

    /// What the filter makes of a request with these header lines.
    fn exchange(filter: &str, lines: &str) -> Exchange {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut exchange = Exchange::with_request(head.as_bytes(), clock::now()).unwrap();
        let filter = build(filter).unwrap().instance(&core());
        let step = filter.on_request(&mut exchange);
        assert!(matches!(step, Step::Now(Verdict::Continue)));
        drop(step);
        filter.on_response(&mut exchange);
        exchange
    }

    #[test]
    fn requests_and_responses_are_changed() {
        let exchange = exchange(
            "- headers: {request: {set: {X-A: 1}, add: {X-B: 2}, remove: [X-C]}, \
             response: {set: {X-D: 3}}}",
            "X-A: old\r\nX-C: old\r\nX-E: old\r\n",
        );
        let request = |name| exchange.request.header(name);
        assert_eq!(request("x-a"), Some(&b"1"[..]));
        assert_eq!(request("x-b"), Some(&b"2"[..]));
        assert_eq!(request("x-c"), None);
        assert_eq!(request("x-d"), None);
        assert_eq!(request("x-e"), Some(&b"old"[..]));
        assert_eq!(exchange.response.header("x-d"), Some(&b"3"[..]));
        assert_eq!(exchange.response.header("x-a"), None);
    }

    /// An exchange that a route has taken, of somebody who is known.
    fn routed(lines: &str, filter: &str) -> Exchange {
        let head = format!("GET /a?b=c HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n");
        let mut exchange = Exchange::with_request(head.as_bytes(), clock::now()).unwrap();
        exchange.route_name.push_str("orders");
        exchange.request_id.extend_from_slice(b"42");
        let claims =
            serde_json::json!({"sub": "ann", "bad": "a\r\nX-B: c", "none": "", "n": [1, 2]});
        let claims = claims.as_object().unwrap().clone();
        exchange.identity = Some(Rc::new(Identity { consumer: "ann".into(), claims }));
        let filter = build(filter).unwrap().instance(&core());
        let passed = matches!(filter.on_request(&mut exchange), Step::Now(Verdict::Continue));
        assert!(passed);
        filter.on_response(&mut exchange);
        exchange
    }

    #[test]
    fn values_take_what_the_request_knows() {
        let exchange = routed(
            "",
            "- headers:
                request:
                  set: {X-A: \"${client_ip} ${route}\", X-B: \"<${claims.sub}>\"}
                  add: {X-C: \"${path}?${query}\"}
                response:
                  set: {X-D: \"${request_id}@${host}\", X-E: \"${claims.n}\"}",
        );
        let request = |name| exchange.request.header(name).map(String::from_utf8_lossy);
        assert_eq!(request("x-a").unwrap(), "0.0.0.0 orders");
        assert_eq!(request("x-b").unwrap(), "<ann>");
        assert_eq!(request("x-c").unwrap(), "/a?b=c");
        assert_eq!(exchange.response.header("x-d"), Some(&b"42@a.test"[..]));
        assert_eq!(exchange.response.header("x-e"), Some(&b"1,2"[..]));
    }

    #[test]
    fn a_header_without_a_value_is_left_out() {
        for value in ["${claims.missing}", "a ${claims.missing}", "${claims.none}", "${claims.bad}"]
        {
            let filter = format!(
                "- headers: {{request: {{set: {{X-A: \"{value}\"}}, add: {{X-B: \"{value}\"}}}}}}"
            );
            let exchange = routed("X-A: forged\r\nX-B: other\r\n", &filter);
            assert_eq!(exchange.request.header("x-a"), None, "{value}");
            assert_eq!(exchange.request.header("x-b"), Some(&b"other"[..]), "{value}");
        }
    }

    #[test]
    fn headers_go_on_under_another_name() {
        let filter = "- headers: {request: {rename: {X-A: X-B}, remove: [X-C]}}";
        let lines = "X-A: 1\r\nx_a: 7\r\nX_B: 8\r\nx-a: 2\r\nX-B: old\r\n";
        let renamed = exchange(filter, lines);
        let request = |name| renamed.request.header(name);
        assert_eq!((request("x-a"), request("x_a"), request("x_b")), (None, None, None));
        assert_eq!(request("x-b"), Some(&b"1"[..]));
        let left = exchange(filter, "X-B: own\r\n");
        assert_eq!(left.request.header("x-b"), Some(&b"own"[..]));
    }

    #[test]
    fn variables_are_told_with_their_fields() {
        let plan = build(
            "- headers: {request: {set: {X-A: \"${id}${claims.sub}\"}}, \
             response: {add: {X-B: \"${rest}\"}}}",
        )
        .unwrap();
        let all = plan.variables();
        let all: Vec<_> = all.iter().map(|(field, name)| (field.as_str(), name.as_str())).collect();
        let expected = [
            ("request.set.X-A", "id"),
            ("request.set.X-A", "claims.sub"),
            ("response.add.X-B", "rest"),
        ];
        assert_eq!(all, expected);
        assert_eq!(plan.needs_identity(), Some("request.set"));
        assert_eq!(build("- headers: {request: {remove: [X-A]}}").unwrap().needs_identity(), None);
    }

    #[test]
    fn what_is_removed_may_be_added() {
        let exchange =
            exchange("- headers: {request: {remove: [X-A], add: {x-a: new}}}", "X-A: old\r\n");
        assert_eq!(exchange.request.header("x-a"), Some(&b"new"[..]));
    }

    #[test]
    fn a_client_cannot_smuggle_a_header_past_under_an_alias() {
        let lines = "X_User_Id: evil\r\nx.user-id: evil\r\nXUserId: other\r\n";
        for filter in [
            "- headers: {request: {set: {X-User-Id: good}}}",
            "- headers: {request: {remove: [x-user_id]}}",
        ] {
            let exchange = exchange(filter, lines);
            assert_eq!(exchange.request.header("x_user_id"), None);
            assert_eq!(exchange.request.header("x.user-id"), None);
            assert_eq!(exchange.request.header("xuserid"), Some(&b"other"[..]));
        }
    }

    #[test]
    fn what_is_not_for_this_filter_is_refused_with_a_remedy() {
        let set = |name: &str| format!("- headers: {{request: {{set: {{{name}: v}}}}}}");
        let request = |name: &str, part: &str| {
            refused(&set(name), &format!("headers.request.set.{name}"), part);
        };
        request("host", "rewrite");
        request("Content-Length", "the body");
        request("Transfer-Encoding", "one connection");
        request("CONNECTION", "one connection");
        request("Proxy-Whatever", "one connection");
        request("Upgrade", "upgrades");
        request("X-Forwarded-For", "trusted_proxies");
        request("Forwarded", "trusted_proxies");
        request("X-Request-ID", "server.request_id");
        request("Via", "server.via");
        request("Expect", "settled");
        refused(
            "- headers: {response: {set: {Server: x}}}",
            "headers.response.set.Server",
            "server_header",
        );
        refused(
            "- headers: {response: {remove: [X-A, Content-Length]}}",
            "headers.response.remove[1]",
            "the body",
        );
        refused(
            "- headers: {request: {add: {Authorization: a}}}",
            "headers.request.add.Authorization",
            "use `set`",
        );
        assert!(build("- headers: {response: {remove: [Server]}}").is_ok());
        assert!(build("- headers: {request: {set: {Authorization: Basic abc}}}").is_ok());
    }

    #[test]
    fn what_would_break_a_head_is_refused() {
        let value = |value: &str| format!("- headers: {{request: {{set: {{X-A: {value}}}}}}}");
        let field = "headers.request.set.X-A";
        refused(&value(r#""a\r\nX-B: c""#), field, "one line");
        refused(&value(r#""a\0""#), field, "one line");
        refused(&value(r#"" a""#), field, "white space");
        assert!(build(&value(r#""$${a""#)).is_ok());
        refused("- headers: {request: {set: {\"X A\": b}}}", "headers.request.set.X A", "no name");
        refused("- headers: {request: {remove: [\"\"]}}", "headers.request.remove[0]", "no name");
    }

    #[test]
    fn what_says_nothing_or_two_things_is_refused() {
        refused("- headers: {}", "headers", "nothing");
        refused("- headers: {response: {set: {}}}", "headers", "nothing");
        refused(
            "- headers: {request: {set: {X-A: 1}, remove: [x-a]}}",
            "headers.request.remove[0]",
            "twice",
        );
        let rename = |changes: &str, field: &str, part: &str| {
            let filter = format!("- headers: {{request: {{{changes}}}}}");
            refused(&filter, &format!("headers.request.rename.{field}"), part);
        };
        rename("rename: {X-A: X-B}, set: {X-B: 1}", "X-A", "twice");
        rename("rename: {X-A: x-a}", "X-A", "twice");
        rename("rename: {X-A: X-B, X-B: X-C}", "X-B", "twice");
        rename("rename: {X-A: Host}", "X-A", "rewrite");
        assert!(build("- headers: {request: {remove: [X-B], rename: {X-A: X-B}}}").is_ok());
        refused(
            "- headers: {request: {set: {X-A: 1, x-a: 2}}}",
            "headers.request.set.x-a",
            "twice",
        );
    }

    #[test]
    fn values_are_not_shown() {
        let filter = "- headers: {request: {set: {X-Key: hush}, add: {X-B: hush}, remove: [X-C]}}";
        let summary = build(filter).unwrap().summary();
        assert_eq!(summary, "request: remove X-C, set X-Key, add X-B");
        assert!(!format!("{:?}", crate::tests::read(filter).unwrap()).contains("hush"));
    }
}
