//! Sets, adds and removes headers of requests on their way in and of responses on their way out.
//!
//! # Settings
//!
//! ```yaml
//! - headers:
//!     request:
//!       set: {X-Env: production}       # this value and no other
//!       add: {X-Tag: blue}             # this value too
//!       remove: [X-Debug]
//!     response:
//!       set: {X-Frame-Options: DENY}
//!       remove: [Server, X-Powered-By]
//! ```
//!
//! Within a request or a response, `remove` comes first, then `set`, then `add`.
//!
//! What frames a message, belongs to one connection, or is the gateway's own to write (`Host`,
//! `Content-Length`, `Connection`, `X-Forwarded-For` …) is refused, with the setting that is for
//! it. Values are plain text: they may come from the environment, but not from the request.
//!
//! A header that is set or removed on a request also loses its aliases, which programs behind a
//! gateway cannot tell from it (`X_User_Id` and `X.User.Id` for `X-User-Id`).
//!
//! # Answers
//!
//! None of its own.
//!
//! # State
//!
//! None.

use std::fmt;
use std::rc::Rc;

use indexmap::IndexMap;
use ringway_engine::exchange::{Edits, Exchange};
use ringway_engine::filter::{Blueprint, Core, Filter, SettingsError, Step};
use ringway_engine::http1::write::{is_safe_value, is_token};
use ringway_engine::message::FieldName;
use ringway_engine::shared::Shared;
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
    /// Headers that shall not be there.
    pub remove: Vec<String>,
}

/// The value of a header. It may hold a token, and is never shown.
#[derive(Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Text(String);

impl fmt::Debug for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

impl Settings {
    /// Checks every name and value, so that nothing can be refused while a request waits
    /// (HTTP_SAFETY rule 18).
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        self.request.check(Side::Request)?;
        self.response.check(Side::Response)?;
        if self.request.is_empty() && self.response.is_empty() {
            let help = "write what to change, such as `request: {remove: [X-Debug]}`";
            return Err(wrong("", "nothing is set, added or removed", help));
        }
        Ok(plan(Plan(self.clone())))
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
    Remove,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    fn check(&self, side: Side) -> Result<(), SettingsError> {
        let side_name = match side {
            Side::Request => "request",
            Side::Response => "response",
        };
        let set = self.set.iter().map(|(name, value)| (Deed::Set, name, Some(value)));
        let add = self.add.iter().map(|(name, value)| (Deed::Add, name, Some(value)));
        let remove = self.remove.iter().map(|name| (Deed::Remove, name, None));
        let before_remove = self.set.len() + self.add.len();
        let mut known: Vec<(Deed, String)> = Vec::new();
        for (deed, name, value) in set.chain(add).chain(remove) {
            let field = match deed {
                Deed::Set => format!("{side_name}.set.{name}"),
                Deed::Add => format!("{side_name}.add.{name}"),
                Deed::Remove => format!("{side_name}.remove[{}]", known.len() - before_remove),
            };
            check_name(&field, side, deed, name)?;
            if let Some(Text(value)) = value {
                check_value(&field, value)?;
            }
            // To remove and then add is a way to say something; these are not.
            let is_known = |deed: Deed| known.contains(&(deed, name.to_ascii_lowercase()));
            if is_known(deed) || (deed == Deed::Remove && is_known(Deed::Set)) {
                let message = format!("`{name}` is named twice");
                return Err(wrong(field, message, "keep one of them; names have no case"));
            }
            known.push((deed, name.to_ascii_lowercase()));
        }
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

fn check_value(field: &str, value: &str) -> Result<(), SettingsError> {
    if !is_safe_value(value.as_bytes()) {
        let help = "take line breaks and other control characters out";
        return Err(wrong(field, "the value cannot stand in one line of a head", help));
    }
    if value.trim_matches([' ', '\t']) != value {
        let help = "take it out: white space around a value is no part of it (RFC 9110 §5.5)";
        return Err(wrong(field, "the value begins or ends with white space", help));
    }
    Ok(())
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
        _ if deed == Deed::Add && is_single(name) => Some("there can be only one: use `set`"),
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
            (Side::Response, FieldName::Server) if deed != Deed::Remove => {
                Some("`server.server_header` is for that")
            }
            _ => None,
        },
    }
}

/// Headers that may not come twice (HTTP_SAFETY rule 19).
fn is_single(name: FieldName) -> bool {
    matches!(
        name,
        FieldName::Authorization
            | FieldName::ContentRange
            | FieldName::ContentType
            | FieldName::ETag
            | FieldName::Expires
            | FieldName::LastModified
            | FieldName::Location
            | FieldName::Origin
            | FieldName::Referer
            | FieldName::RetryAfter
            | FieldName::UserAgent
    )
}

/// The settings once they are checked; every core's instance is a copy.
struct Plan(Settings);

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "headers"
    }

    fn summary(&self) -> String {
        let sides = [("request", &self.0.request), ("response", &self.0.response)];
        let changed = sides.into_iter().filter(|(_, changes)| !changes.is_empty());
        let texts: Vec<_> = changed.map(|(side, changes)| format!("{side}: {changes}")).collect();
        texts.join("; ")
    }

    fn instance(&self, _: &Rc<dyn Core>) -> Rc<dyn Filter> {
        Rc::new(Headers(self.0.clone()))
    }
}

/// The names without the values, which may be secrets.
impl fmt::Display for Changes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let removed = self.remove.iter().map(|name| format!("remove {name}"));
        let set = self.set.keys().map(|name| format!("set {name}"));
        let added = self.add.keys().map(|name| format!("add {name}"));
        out.write_str(&removed.chain(set).chain(added).collect::<Vec<_>>().join(", "))
    }
}

/// One core's instance.
struct Headers(Settings);

impl Filter for Headers {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let changes = &self.0.request;
        for name in changes.remove.iter().chain(changes.set.keys()) {
            remove_aliases(&mut exchange.request, name);
        }
        changes.apply(&mut exchange.request.edits);
        Step::NEXT
    }

    fn on_response(&self, exchange: &mut Exchange) {
        self.0.response.apply(&mut exchange.response.edits);
    }
}

impl Changes {
    fn apply(&self, edits: &mut Edits) {
        for name in &self.remove {
            edits.remove(name).expect("invariant: checked while building");
        }
        for (name, Text(value)) in &self.set {
            edits.set(name, value.as_bytes()).expect("invariant: checked while building");
        }
        for (name, Text(value)) in &self.add {
            edits.add(name, value.as_bytes()).expect("invariant: checked while building");
        }
    }
}

#[cfg(test)]
mod tests {
    use ringway_engine::clock;

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
