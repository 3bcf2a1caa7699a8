//! Tells browsers which pages may read what the routes answer (CORS, the Fetch standard §3.2).
//!
//! # Settings
//!
//! ```yaml
//! - cors:
//!     allow_origins: ["https://app.example.com", "https://*.example.com"]   # or ["*"]
//!     allow_methods: [GET, POST, PUT, DELETE]
//!     allow_headers: [Authorization, Content-Type]   # left out: whatever is asked for
//!     expose_headers: [X-Total]
//!     allow_credentials: true
//!     max_age: 10m
//! ```
//!
//! `https://*.example.com` takes every name below `example.com`, however deep, and not
//! `example.com` itself.
//!
//! Put it before `auth` and whatever else refuses requests: a preflight carries no credentials,
//! and only the filters that a request has passed see its answer. In `global_filters` it comes
//! first. Of two in one chain the first decides.
//!
//! A preflight is routed as the OPTIONS request that it is. Where no route takes that, it meets the
//! filters of the route that would take the method it asks about, so that `methods` of a route need
//! not list OPTIONS.
//!
//! # Answers
//!
//! A preflight (OPTIONS with `Origin` and `Access-Control-Request-Method`) is answered 204 and
//! never sent on; for an origin that is not allowed the answer has no `Access-Control-` headers,
//! which is how a browser learns that it may not. Any other answer, the gateway's own errors
//! included, is given these headers in place of those that the upstream wrote. They name the
//! origin that asked, with `Vary: Origin`, unless all origins are allowed.
//!
//! # State
//!
//! None.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use ringway_config::Period;
use ringway_engine::exchange::{Answer, AnswerBody, Exchange, Request};
use ringway_engine::filter::{Blueprint, Core, Filter, SettingsError, Step};
use ringway_engine::http1::{is_valid_authority, items, write::is_token};
use ringway_engine::message::FieldName;
use ringway_engine::shared::Shared;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{plan, remove, set, wrong};

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";
const EXPOSE_HEADERS: &str = "Access-Control-Expose-Headers";
const ALLOW_METHODS: &str = "Access-Control-Allow-Methods";
const ALLOW_HEADERS: &str = "Access-Control-Allow-Headers";
const MAX_AGE: &str = "Access-Control-Max-Age";
const ALLOW_PRIVATE_NETWORK: &str = "Access-Control-Allow-Private-Network";

/// What this filter says and nobody else.
const ALL: [&str; 7] = [
    ALLOW_ORIGIN,
    ALLOW_CREDENTIALS,
    EXPOSE_HEADERS,
    ALLOW_METHODS,
    ALLOW_HEADERS,
    MAX_AGE,
    ALLOW_PRIVATE_NETWORK,
];

/// No browser remembers the answer to a preflight for longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Which pages may read what.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Origins of pages, such as `https://app.example.com`, `http://localhost:3000` or, for every
    /// name below one, `https://*.example.com`; `["*"]` for all.
    pub allow_origins: Vec<String>,
    /// Methods that pages may use beside GET, HEAD and POST, which they always may; `["*"]` for
    /// whichever is asked for.
    #[serde(default)]
    pub allow_methods: Vec<String>,
    /// Request headers that pages may send; `["*"]` for whichever are asked for, `Authorization`
    /// included.
    #[serde(default = "any")]
    pub allow_headers: Vec<String>,
    /// Response headers that pages may read beside the harmless ones, which they always may;
    /// `["*"]` for all, but not together with `allow_credentials`.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// Whether requests may carry cookies and the like. Not for all origins: the pages of anybody
    /// would then act in the name of whoever looks at them.
    #[serde(default)]
    pub allow_credentials: bool,
    /// How long a browser may remember the answer to a preflight, up to `24h`; `0s` for not at all.
    #[serde(default = "ten_minutes")]
    pub max_age: Period,
    /// Whether pages of the public network may ask for this one in a private network.
    #[serde(default)]
    pub allow_private_network: bool,
}

fn any() -> Vec<String> {
    vec!["*".to_owned()]
}

fn ten_minutes() -> Period {
    Period(Duration::from_secs(600))
}

impl Settings {
    /// Refuses what cannot be meant, and writes out what every answer says.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        let origins = self.origins()?;
        let methods = list("allow_methods", &self.allow_methods, "a method", "`PUT`")?;
        if let Some(at) = self.allow_methods.iter().position(|name| name != &upper(name)) {
            let message = format!("`{}`: methods are compared with case", self.allow_methods[at]);
            let help = format!("write `{}`", upper(&self.allow_methods[at]));
            return Err(wrong(format!("allow_methods[{at}]"), message, &help));
        }
        let headers = list("allow_headers", &self.allow_headers, "a header", "`X-Total`")?;
        let exposed = list("expose_headers", &self.expose_headers, "a header", "`X-Total`")?;
        if self.allow_credentials && exposed.is_none() {
            let message = "`*` exposes nothing to a request that carries credentials";
            return Err(wrong("expose_headers", message, "name the headers"));
        }
        if self.max_age.0 > LONGEST {
            let message = format!("no browser remembers an answer for {}", self.max_age);
            return Err(wrong("max_age", message, "write at most `24h`"));
        }
        Ok(plan(Plan(Policy {
            origins,
            methods,
            headers,
            exposed: exposed.unwrap_or_else(|| "*".to_owned()),
            credentials: self.allow_credentials,
            max_age: self.max_age.0.as_secs().to_string(),
            private_network: self.allow_private_network,
        })))
    }

    fn origins(&self) -> Result<Origins, SettingsError> {
        let field = "allow_origins";
        if self.allow_origins.is_empty() {
            let help = "name the origins of pages, such as `https://app.example.com`";
            return Err(wrong(field, "no origin is allowed, which is so without the filter", help));
        }
        if !self.allow_origins.iter().any(|origin| origin == "*") {
            let origins = self.allow_origins.iter().enumerate();
            let origins = origins.map(|(at, text)| {
                Origin::read(text)
                    .map_err(|(message, help)| wrong(format!("{field}[{at}]"), message, &help))
            });
            return Ok(Origins::These(origins.collect::<Result<_, _>>()?));
        }
        if self.allow_origins.len() > 1 {
            let message = "beside `*` the other origins say nothing";
            return Err(wrong(field, message, "write `[\"*\"]`, or take `*` out"));
        }
        if self.allow_credentials {
            let message = "with `*`, any page could act in the name of whoever looks at it";
            let help = "name the origins in `allow_origins`, or leave `allow_credentials` out";
            return Err(wrong("allow_credentials", message, help));
        }
        Ok(Origins::All)
    }
}

/// The names as they are written in one header; `None` for any.
fn list(
    field: &str,
    names: &[String],
    what: &str,
    such_as: &str,
) -> Result<Option<String>, SettingsError> {
    if names == ["*"] {
        return Ok(None);
    }
    for (at, name) in names.iter().enumerate() {
        let field = format!("{field}[{at}]");
        if name == "*" {
            let message = "beside `*` the other names say nothing";
            return Err(wrong(field, message, "write `[\"*\"]`, or take `*` out"));
        }
        if !is_token(name.as_bytes()) {
            let message = format!("`{}` is not the name of {what}", name.escape_debug());
            return Err(wrong(field, message, &format!("write one such as {such_as}")));
        }
    }
    Ok(Some(names.join(", ")))
}

/// The usual methods are in upper case, and browsers write them so (Fetch §2.2.1).
fn upper(method: &str) -> String {
    let usual = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
    let fits = usual.into_iter().find(|usual| usual.eq_ignore_ascii_case(method));
    fits.unwrap_or(method).to_owned()
}

/// The settings once they are checked; every core's instance is a copy.
struct Plan(Policy);

#[derive(Clone)]
struct Policy {
    origins: Origins,
    /// As they are written; `None` for whichever are asked for. The same for headers.
    methods: Option<String>,
    headers: Option<String>,
    exposed: String,
    credentials: bool,
    /// In seconds.
    max_age: String,
    private_network: bool,
}

#[derive(Clone)]
enum Origins {
    All,
    These(Vec<Origin>),
}

#[derive(Clone, Debug, PartialEq)]
enum Origin {
    /// This one.
    Exact(String),
    /// Every name below one: what stands before and behind it, `https://` and `.example.com:8443`.
    Below { scheme: String, parent: String },
}

impl Origin {
    /// Reads what the file says. An origin has one spelling, as browsers write it (RFC 6454 §6.2):
    /// another one would never fit.
    fn read(text: &str) -> Result<Origin, (String, String)> {
        let wrong = |why: &str, help: String| Err((format!("`{text}` {why}"), help));
        if text == "null" {
            let help = "give the page an origin; any page can bring it about to be sent as `null`";
            return wrong("stands for no origin in particular", help.to_owned());
        }
        let Some((scheme, authority)) = text.split_once("://") else {
            let help = format!("write `https://{}`", text.trim_start_matches('/'));
            return wrong("has no scheme", help);
        };
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(letter) {
            return wrong("has no scheme", format!("write `https://{authority}`"));
        }
        if let Some(at) = authority.find(['/', '?', '#']) {
            let help = format!("write `{scheme}://{}`", &authority[..at]);
            return wrong("is more than an origin", help);
        }
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let help = format!("write `{}`", text.to_ascii_lowercase());
            return wrong("never fits: browsers write origins in lower case", help);
        }
        let usual_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "",
        };
        if let Some(host) = authority.strip_suffix(usual_port).filter(|_| !usual_port.is_empty()) {
            let help = format!("write `{scheme}://{host}`");
            return wrong("never fits: browsers leave the usual port out", help);
        }
        let below = authority.strip_prefix('*');
        let host = below.map_or(authority, |rest| rest.strip_prefix('.').unwrap_or("*"));
        if !is_valid_authority(host.as_bytes()) {
            let help = "write a host with a port if it has one, such as `https://example.com` or \
                        `https://*.example.com`";
            return wrong("names no host", help.to_owned());
        }
        Ok(match below {
            None => Origin::Exact(text.to_owned()),
            Some(parent) => {
                Origin::Below { scheme: format!("{scheme}://"), parent: parent.to_owned() }
            }
        })
    }

    fn fits(&self, origin: &[u8]) -> bool {
        match self {
            Origin::Exact(text) => text.as_bytes() == origin,
            Origin::Below { scheme, parent } => {
                let rest = origin.strip_prefix(scheme.as_bytes());
                let name = rest.and_then(|rest| rest.strip_suffix(parent.as_bytes()));
                // Only what can be a name: `https://evil.test/.example.com` ends as well as any.
                let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
                name.is_some_and(|name| !name.is_empty() && name.iter().all(letter))
            }
        }
    }
}

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "cors"
    }

    fn summary(&self) -> String {
        let policy = &self.0;
        let origins = match &policy.origins {
            Origins::All => "all origins".to_owned(),
            Origins::These(some) => {
                some.iter().map(Origin::to_string).collect::<Vec<_>>().join(" ")
            }
        };
        let methods = policy.methods.as_deref().unwrap_or("any method");
        let methods = if methods.is_empty() { "GET, HEAD, POST" } else { methods };
        let credentials = if policy.credentials { "; with credentials" } else { "" };
        format!("{origins}: {methods}{credentials}")
    }

    fn answers_preflights(&self) -> bool {
        true
    }

    fn instance(&self, _: &Rc<dyn Core>) -> Rc<dyn Filter> {
        Rc::new(Cors(self.0.clone()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Exact(text) => out.write_str(text),
            Origin::Below { scheme, parent } => write!(out, "{scheme}*{parent}"),
        }
    }
}

/// One core's instance.
struct Cors(Policy);

impl Filter for Cors {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        match exchange.request.asked_by_preflight() {
            None => Step::NEXT,
            Some(method) => Step::answer(self.0.preflight(&exchange.request, method)),
        }
    }

    fn on_response(&self, exchange: &mut Exchange) {
        if exchange.request.asked_by_preflight().is_some() {
            // The answer is our own, and complete.
            return;
        }
        let policy = &self.0;
        let Exchange { request, response, .. } = exchange;
        for name in ALL {
            if response.header(name).is_some() {
                remove(&mut response.edits, name);
            }
        }
        let origin = policy.allowed(request);
        if !policy.same_for_all() {
            response.vary("Origin").expect("invariant: the name is a token");
        }
        let Some(origin) = origin else { return };
        let edits = &mut response.edits;
        set(edits, ALLOW_ORIGIN, origin);
        if policy.credentials {
            set(edits, ALLOW_CREDENTIALS, b"true");
        }
        if !policy.exposed.is_empty() {
            set(edits, EXPOSE_HEADERS, policy.exposed.as_bytes());
        }
    }
}

impl Policy {
    /// What `Access-Control-Allow-Origin` says to this request.
    fn allowed<'r>(&self, request: &'r Request) -> Option<&'r [u8]> {
        match &self.origins {
            Origins::All => Some(b"*"),
            Origins::These(some) => {
                let origin = request.field(FieldName::Origin);
                origin.filter(|origin| some.iter().any(|allowed| allowed.fits(origin)))
            }
        }
    }

    fn same_for_all(&self) -> bool {
        matches!(self.origins, Origins::All)
    }

    /// The answer to a preflight (Fetch §3.2.3, §4.8).
    fn preflight(&self, request: &Request, method: &[u8]) -> Answer {
        let answer = Answer { status: 204, headers: Vec::new(), body: AnswerBody::Empty };
        let answer = answer.with_header(
            "Vary",
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        );
        let Some(origin) = self.allowed(request) else { return answer };
        let mut answer = answer.with_header(ALLOW_ORIGIN, String::from_utf8_lossy(origin));
        let mut say = |name: &str, value: &str| {
            if !value.is_empty() {
                answer.headers.push((name.to_owned(), value.to_owned()));
            }
        };
        match &self.methods {
            Some(methods) => say(ALLOW_METHODS, methods),
            None => say(ALLOW_METHODS, &tokens(method)),
        }
        let asked = request.header("access-control-request-headers").unwrap_or_default();
        match &self.headers {
            Some(headers) => say(ALLOW_HEADERS, headers),
            None => say(ALLOW_HEADERS, &tokens(asked)),
        }
        if self.credentials {
            say(ALLOW_CREDENTIALS, "true");
        }
        let private = request.header("access-control-request-private-network");
        if self.private_network && private == Some(b"true") {
            say(ALLOW_PRIVATE_NETWORK, "true");
        }
        say(MAX_AGE, &self.max_age);
        answer
    }
}

/// The names that a browser asks for, and nothing else that may stand there.
fn tokens(list: &[u8]) -> String {
    let names = items(list).filter(|name| is_token(name));
    let names: Vec<_> = names.filter_map(|name| std::str::from_utf8(name).ok()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use ringway_engine::clock;
    use ringway_engine::filter::Verdict;

    use super::*;
    use crate::tests::{build, core, refused};

    const NAMED: &str = "- cors: {allow_origins: [\"https://a.test\", \"https://*.b.test:8443\"], \
                         allow_methods: [PUT, DELETE], allow_headers: [X-A], \
                         expose_headers: [X-B], allow_credentials: true, max_age: 1h, \
                         allow_private_network: true}";

    fn exchange(method: &str, lines: &str) -> Exchange {
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        Exchange::with_request(head.as_bytes(), clock::now()).unwrap()
    }

    /// The answer to a preflight, one header a line.
    #[track_caller]
    fn preflight(filter: &str, lines: &str) -> String {
        let filter = build(filter).unwrap().instance(&core());
        let mut exchange = exchange("OPTIONS", lines);
        let Step::Now(Verdict::Answer(answer)) = filter.on_request(&mut exchange) else {
            panic!("a preflight is not sent on")
        };
        assert_eq!((answer.status, &answer.body), (204, &AnswerBody::Empty));
        let headers = answer.headers.iter().filter(|(name, _)| name != "Vary");
        headers.map(|(name, value)| format!("{name}: {value}\n")).collect()
    }

    /// What another request's answer says.
    fn response(filter: &str, lines: &str, upstream: &[(&str, &str)]) -> Exchange {
        let filter = build(filter).unwrap().instance(&core());
        let mut exchange = exchange("GET", lines);
        assert!(matches!(filter.on_request(&mut exchange), Step::Now(Verdict::Continue)));
        for (name, value) in upstream {
            exchange.response.edits.add(name, value.as_bytes()).unwrap();
        }
        filter.on_response(&mut exchange);
        exchange
    }

    fn all(exchange: &Exchange, name: &str) -> String {
        let values: Vec<_> = exchange.response.values(name).map(String::from_utf8_lossy).collect();
        values.join(" | ")
    }

    const ASKS: &str = "Access-Control-Request-Method: PUT\r\n\
                        Access-Control-Request-Headers: x-a, authorization\r\n";

    #[test]
    fn a_preflight_of_an_allowed_origin_is_told_all() {
        let lines = "Origin: https://a.test\r\nAccess-Control-Request-Private-Network: true\r\n";
        let lines = format!("{lines}{ASKS}");
        assert_eq!(
            preflight(NAMED, &lines),
            "Access-Control-Allow-Origin: https://a.test\n\
             Access-Control-Allow-Methods: PUT, DELETE\n\
             Access-Control-Allow-Headers: X-A\n\
             Access-Control-Allow-Credentials: true\n\
             Access-Control-Allow-Private-Network: true\n\
             Access-Control-Max-Age: 3600\n"
        );
    }

    #[test]
    fn a_preflight_of_another_origin_is_told_nothing() {
        assert_eq!(preflight(NAMED, &format!("Origin: https://evil.test\r\n{ASKS}")), "");
    }

    #[test]
    fn whatever_is_asked_for_can_be_allowed() {
        let filter = "- cors: {allow_origins: [\"*\"], allow_methods: [\"*\"]}";
        assert_eq!(
            preflight(filter, &format!("Origin: null\r\n{ASKS}")),
            "Access-Control-Allow-Origin: *\n\
             Access-Control-Allow-Methods: PUT\n\
             Access-Control-Allow-Headers: x-a, authorization\n\
             Access-Control-Max-Age: 600\n"
        );
        let odd = "Origin: a\r\nAccess-Control-Request-Method: a b\r\n\
                   Access-Control-Request-Headers: x-a, b c\r\n";
        let said = preflight(filter, odd);
        assert!(!said.contains("Methods") && said.contains("Headers: x-a\n"), "{said}");
    }

    #[test]
    fn other_options_requests_pass() {
        let filter = build(NAMED).unwrap().instance(&core());
        for lines in ["", "Origin: https://a.test\r\n", ASKS] {
            let mut exchange = exchange("OPTIONS", lines);
            assert!(matches!(filter.on_request(&mut exchange), Step::Now(Verdict::Continue)));
        }
    }

    #[test]
    fn an_answer_names_the_origin_that_asked() {
        let exchange = response(NAMED, "Origin: https://x.b.test:8443\r\n", &[]);
        assert_eq!(all(&exchange, ALLOW_ORIGIN), "https://x.b.test:8443");
        assert_eq!(all(&exchange, ALLOW_CREDENTIALS), "true");
        assert_eq!(all(&exchange, EXPOSE_HEADERS), "X-B");
        assert_eq!(all(&exchange, "vary"), "Origin");
        let exchange = response("- cors: {allow_origins: [\"*\"]}", "", &[]);
        assert_eq!(all(&exchange, ALLOW_ORIGIN), "*");
        assert_eq!(all(&exchange, "vary"), "");
    }

    #[test]
    fn what_the_upstream_says_is_replaced() {
        let upstream = [
            ("access-control-allow-origin", "*"),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Allow-Methods", "GET"),
        ];
        for lines in ["", "Origin: https://evil.test\r\n"] {
            let exchange = response(NAMED, lines, &upstream);
            for (name, _) in upstream {
                assert_eq!(all(&exchange, name), "", "{lines}{name}");
            }
            assert_eq!(all(&exchange, "vary"), "Origin");
        }
        let exchange = response(NAMED, "Origin: https://a.test\r\n", &upstream);
        assert_eq!(all(&exchange, ALLOW_ORIGIN), "https://a.test");
        assert_eq!(all(&exchange, ALLOW_METHODS), "");
    }

    #[test]
    fn vary_is_continued() {
        let vary = |said| all(&response(NAMED, "", &[("Vary", said)]), "vary");
        assert_eq!(vary("Accept"), "Accept | Origin");
        assert_eq!(vary("Accept, origin"), "Accept, origin");
        assert_eq!(vary("*"), "*");
    }

    #[test]
    fn names_below_a_host_are_names() {
        let below = Origin::read("https://*.b.test").unwrap();
        for origin in ["https://a.b.test", "https://x.y-z.b.test"] {
            assert!(below.fits(origin.as_bytes()), "{origin}");
        }
        for origin in [
            "https://b.test",
            "https://.b.test",
            "https://ab.test",
            "http://a.b.test",
            "https://a.b.test:1",
            "https://a.b.test.evil.test",
            "https://evil.test/.b.test",
            "https://evil.test:1.b.test",
            "https://evil.test@.b.test",
            "null",
        ] {
            assert!(!below.fits(origin.as_bytes()), "{origin}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let origin = |text: &str, part: &str| {
            let filter = format!("- cors: {{allow_origins: [\"{text}\"]}}");
            refused(&filter, "cors.allow_origins[0]", part);
        };
        origin("app.test", "`https://app.test`");
        origin("https://a.test/", "`https://a.test`");
        origin("https://A.test", "`https://a.test`");
        origin("https://a.test:443", "`https://a.test`");
        origin("http://a.test:80", "`http://a.test`");
        origin("https://", "names no host");
        origin("https://*", "names no host");
        origin("https://*a.test", "names no host");
        origin("https://a.*.test", "names no host");
        origin("https://user@a.test", "names no host");
        origin("null", "no origin in particular");
        let with = |rest: &str| format!("- cors: {{allow_origins: [\"https://a.test\"], {rest}}}");
        refused("- cors: {allow_origins: []}", "cors.allow_origins", "no origin");
        refused("- cors: {allow_origins: [\"*\", \"https://a\"]}", "cors.allow_origins", "beside");
        refused(
            "- cors: {allow_origins: [\"*\"], allow_credentials: true}",
            "cors.allow_credentials",
            "name the origins",
        );
        refused(&with("allow_methods: [GET, put]"), "cors.allow_methods[1]", "`PUT`");
        refused(&with("allow_methods: [\"*\", GET]"), "cors.allow_methods[0]", "beside");
        refused(&with("allow_headers: [\"a b\"]"), "cors.allow_headers[0]", "not the name");
        refused(
            &with("expose_headers: [\"*\"], allow_credentials: true"),
            "cors.expose_headers",
            "name the headers",
        );
        refused(&with("max_age: 25h"), "cors.max_age", "24h");
        assert!(crate::tests::read("- cors").unwrap_err().contains("allow_origins"));
    }

    #[test]
    fn the_summary_says_who_may() {
        let summary = build(NAMED).unwrap().summary();
        assert_eq!(summary, "https://a.test https://*.b.test:8443: PUT, DELETE; with credentials");
    }
}
