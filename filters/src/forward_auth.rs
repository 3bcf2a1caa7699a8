//! Asks another HTTP service whether a request may pass, before it is sent on.
//!
//! # Settings
//!
//! ```yaml
//! - forward_auth:
//!     upstream: auth                        # one of `upstreams`
//!     path: /verify
//!     request_headers: [Authorization, Cookie]
//!     response_headers: [X-User, X-Roles]   # of its answer, to the upstream of the route
//!     identity_header: X-User               # who it says is asking
//!     timeout: 2s
//! ```
//!
//! The service is sent `method` and `path`, without a body, with the `request_headers` of the
//! request as the filters before this one left them, and with `X-Forwarded-Method`,
//! `X-Forwarded-Proto`, `X-Forwarded-Host`, `X-Forwarded-Uri` and `X-Forwarded-For`, which tell
//! what is asked, and by whom. `X-Forwarded-Uri` has the path as the routes see it, and the query
//! without a credential that an `auth` has taken out of it.
//!
//! When it answers 2xx, the request passes. `response_headers` are copied from that answer; what a
//! client sent under those names, or names that programs take for them, is removed first. With
//! `identity_header`, who asks is known to the filters that follow.
//!
//! # Answers
//!
//! What the service answers instead of 2xx: its status, its body and the `answer_headers`; without
//! the body if that is longer than 64 KiB or breaks off. 503 when it does not answer in time, or
//! not at all, unless `fail_open`; then the request passes, without `response_headers`.
//!
//! # State
//!
//! Per core: when it was last told in the log that the service does not answer.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ringway_config::Period;
use ringway_engine::call::{Call, Called};
use ringway_engine::clock;
use ringway_engine::exchange::{Answer, AnswerBody, Exchange, Identity};
use ringway_engine::filter::{Blueprint, Core, Filter, SettingsError, Step, Verdict};
use ringway_engine::guard::{Asks, Guard, Term};
use ringway_engine::http1::write::is_token;
use ringway_engine::message::FieldName;
use ringway_engine::shared::Shared;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::alias::remove_aliases;
use crate::{plan, remove, wrong};

/// The longest answer that is passed on, in bytes: a page to log in at, no download.
const MAX_ANSWER: usize = 64 * 1024;

/// How often a core says at most that the service does not answer: whoever sends requests must not
/// fill the log with it.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Whom to ask, and what of that is passed on.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The name of the upstream that is asked.
    pub upstream: String,
    /// The path that is asked, with or without a query.
    pub path: String,
    /// The method that is asked with.
    pub method: String,
    /// Header fields of the request that the service sees, as filters before this one left them.
    pub request_headers: Vec<String>,
    /// Header fields of its answer that the upstream of the route sees.
    pub response_headers: Vec<String>,
    /// Header fields of its answer that the client sees when the request may not pass.
    pub answer_headers: Vec<String>,
    /// The header field of its answer that says who asks.
    pub identity_header: Option<String>,
    /// How long it may take to answer, 100ms to 1m. Noticed up to two tenths of a second late.
    pub timeout: Period,
    /// Whether requests pass while the service does not answer.
    pub fail_open: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Settings {
            upstream: String::new(),
            path: "/".to_owned(),
            method: "GET".to_owned(),
            request_headers: owned(&["Authorization", "Cookie"]),
            response_headers: Vec::new(),
            answer_headers: owned(&[
                "Content-Type",
                "Location",
                "Retry-After",
                "Set-Cookie",
                "WWW-Authenticate",
            ]),
            identity_header: None,
            timeout: Period::from_secs(2),
            fail_open: false,
        }
    }
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        if self.upstream.is_empty() {
            let help = "write `upstream: auth`, and define it under `upstreams:`";
            return Err(wrong("upstream", "nobody is named to be asked", help));
        }
        if !self.path.starts_with('/') || !self.path.bytes().all(|b| b.is_ascii_graphic()) {
            let message = format!("`{}` is no path", self.path);
            return Err(wrong("path", message, "write one such as `/verify`"));
        }
        if !is_token(self.method.as_bytes())
            || self.method != self.method.to_ascii_uppercase()
            || self.method == "CONNECT"
        {
            let message = format!("`{}` is no method to ask with", self.method);
            return Err(wrong("method", message, "write one such as `GET` or `HEAD`"));
        }
        for (field, names) in [
            ("request_headers", &self.request_headers),
            ("response_headers", &self.response_headers),
            ("answer_headers", &self.answer_headers),
        ] {
            for (at, name) in names.iter().enumerate() {
                check_name(&format!("{field}[{at}]"), name)?;
            }
        }
        if let Some(name) = &self.identity_header {
            check_name("identity_header", name)?;
        }
        if !(Period::from_millis(100)..=Period::from_secs(60)).contains(&self.timeout) {
            let message = format!("{} is no time to wait for an answer", self.timeout);
            return Err(wrong("timeout", message, "write a time from `100ms` to `1m`"));
        }
        Ok(plan(Plan(self.clone())))
    }
}

fn check_name(field: &str, name: &str) -> Result<(), SettingsError> {
    if !is_token(name.as_bytes()) {
        let help = "a name has letters, digits and any of !#$%&'*+-.^_`|~";
        return Err(wrong(field, format!("`{name}` is no name of a header"), help));
    }
    let id = FieldName::from_bytes(name.as_bytes());
    let framing = [FieldName::ContentLength, FieldName::Host, FieldName::Expect, FieldName::Date];
    let forwarded = name.to_ascii_lowercase().starts_with("x-forwarded-");
    if id.is_hop_by_hop() || framing.contains(&id) || forwarded {
        let message = format!("`{name}` is the gateway's own to write");
        return Err(wrong(field, message, "take it out"));
    }
    Ok(())
}

/// The settings once they are checked.
struct Plan(Settings);

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "forward_auth"
    }

    fn summary(&self) -> String {
        let Settings { upstream, path, method, timeout, fail_open, .. } = &self.0;
        let open = if *fail_open { ", passes when it does not answer" } else { "" };
        format!("{method} {path} of {upstream} within {timeout}{open}")
    }

    fn instance(&self, core: &Rc<dyn Core>) -> Rc<dyn Filter> {
        let unanswered = Unanswered::default();
        Rc::new(ForwardAuth { settings: self.0.clone(), core: core.clone(), unanswered })
    }

    fn upstreams(&self) -> Vec<(&'static str, &str)> {
        vec![("upstream", &self.0.upstream)]
    }

    fn guard(&self) -> Option<Guard> {
        let Settings { upstream, path, method, fail_open, .. } = &self.0;
        let asked = format!("{method} `{path}` of `{upstream}`");
        let mut terms = vec![Term::words("upstream", Asks::Trust, [asked])];
        if !fail_open {
            terms.push(Term::words("fail_open", Asks::Each, ["an answer of the service"]));
        }
        Some(Guard { terms, ways: Vec::new() })
    }

    fn identifies(&self) -> bool {
        self.0.identity_header.is_some()
    }
}

/// One core's instance.
struct ForwardAuth {
    settings: Settings,
    core: Rc<dyn Core>,
    unanswered: Unanswered,
}

/// When it was last told that the service does not answer, and how often it did not since.
#[derive(Default)]
struct Unanswered {
    told: Cell<Option<Instant>>,
    since: Cell<u64>,
}

impl Unanswered {
    /// Counts another one. When it is time to tell again, how many were not told of.
    fn count(&self, now: Instant) -> Option<u64> {
        let told = self.told.get();
        if told.is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY) {
            self.since.set(self.since.get() + 1);
            return None;
        }
        self.told.set(Some(now));
        Some(self.since.take())
    }
}

impl Filter for ForwardAuth {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let answer = self.core.call(self.question(exchange));
        Step::Later(Box::pin(async move {
            match answer.await {
                Ok(called) if (200..300).contains(&called.status) => {
                    self.pass(exchange, &called);
                    Verdict::Continue
                }
                Ok(called) => Verdict::Answer(Box::new(self.refusal(called))),
                Err(error) => {
                    if let Some(untold) = self.unanswered.count(clock::now()) {
                        let route = exchange.route_name.as_str();
                        tracing::warn!(route, filter = "forward_auth", untold, "{error}");
                    }
                    if !self.settings.fail_open {
                        let message = "nobody can tell whether this may pass";
                        return Verdict::Answer(Box::new(Answer::message(503, message)));
                    }
                    self.settings.response_headers.iter().for_each(|name| clear(exchange, name));
                    Verdict::Continue
                }
            }
        }))
    }
}

impl ForwardAuth {
    /// What the service is asked about this request.
    fn question(&self, exchange: &Exchange) -> Call {
        let request = &exchange.request;
        let mut headers = Vec::new();
        for name in &self.settings.request_headers {
            // What a filter has said of who asks, and not what the client says.
            let all = request.values(name);
            headers.extend(all.map(|value| (name.clone(), value.to_vec())));
        }
        let mut uri = request.path.clone();
        if !request.query.is_empty() {
            uri.push(b'?');
            uri.extend_from_slice(&request.query);
        }
        let proto: &[u8] = if exchange.is_https() { b"https" } else { b"http" };
        let client = exchange.client.address.to_canonical().to_string().into_bytes();
        for (name, value) in [
            ("X-Forwarded-Method", request.method().to_vec()),
            ("X-Forwarded-Uri", uri),
            ("X-Forwarded-Proto", proto.to_vec()),
            ("X-Forwarded-Host", request.authority().to_vec()),
            ("X-Forwarded-For", client),
            ("X-Request-ID", exchange.request_id.clone()),
        ] {
            if !value.is_empty() {
                headers.push((name.to_owned(), value));
            }
        }
        Call {
            upstream: self.settings.upstream.clone(),
            method: self.settings.method.clone(),
            target: self.settings.path.clone().into_bytes(),
            headers,
            host: None,
            body: Vec::new(),
            timeout: self.settings.timeout.0,
            max_body: MAX_ANSWER,
        }
    }

    /// Notes on the request what the service said of it.
    fn pass(&self, exchange: &mut Exchange, called: &Called) {
        for name in &self.settings.response_headers {
            clear(exchange, name);
            for value in called.values(name) {
                let added = exchange.request.edits.add(name, value);
                added.expect("invariant: the name was checked while building, the value parsed");
            }
        }
        let who = self.settings.identity_header.as_deref();
        let who = who.and_then(|name| called.values(name).next());
        if let Some(consumer) = who.and_then(|who| std::str::from_utf8(who).ok()) {
            let consumer = consumer.to_owned();
            exchange.identity = Some(Rc::new(Identity { consumer, ..Identity::default() }));
        }
    }

    /// What the client is told instead.
    fn refusal(&self, called: Called) -> Answer {
        let mut headers = Vec::new();
        for name in &self.settings.answer_headers {
            let texts = called.values(name).filter_map(|value| std::str::from_utf8(value).ok());
            headers.extend(texts.map(|text| (name.clone(), text.to_owned())));
        }
        let body = match called.body.is_empty() {
            true => AnswerBody::Empty,
            false => AnswerBody::Bytes(called.body),
        };
        Answer { status: called.status, headers, body }
    }
}

/// Removes what the client sent under a name that is the service's to say (HTTP_SAFETY rule 17).
fn clear(exchange: &mut Exchange, name: &str) {
    remove_aliases(&mut exchange.request, name);
    remove(&mut exchange.request.edits, name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{build, core, refused};

    fn filter(settings: &str) -> ForwardAuth {
        let text = format!("- forward_auth: {{upstream: auth, {settings}}}");
        build(&text).unwrap();
        let Ok(crate::FilterSettings::ForwardAuth(settings)) = crate::tests::read(&text) else {
            panic!("{text}")
        };
        ForwardAuth { settings, core: core(), unanswered: Unanswered::default() }
    }

    #[test]
    fn the_question_tells_what_is_asked_and_nothing_else() {
        let head = b"POST /a?b=c HTTP/1.1\r\nHost: h\r\nAuthorization: x\r\nX-Other: y\r\n\r\n";
        let exchange = Exchange::with_request(head, clock::now()).unwrap();
        let call = filter("path: /verify").question(&exchange);
        assert_eq!((call.method.as_str(), call.target.as_slice()), ("GET", &b"/verify"[..]));
        let names: Vec<_> = call.headers.iter().map(|(name, _)| name.as_str()).collect();
        let forwarded = ["Method", "Uri", "Proto", "Host", "For"];
        let forwarded = forwarded.map(|name| format!("X-Forwarded-{name}"));
        assert_eq!(
            (names[0], &names[1..]),
            ("Authorization", &forwarded.each_ref().map(|n| &**n)[..])
        );
        assert_eq!(call.headers[2].1, b"/a?b=c");
    }

    #[test]
    fn only_the_service_says_who_asks() {
        let head = b"GET / HTTP/1.1\r\nHost: h\r\nX-User: evil\r\nX_User: evil\r\n\r\n";
        let mut exchange = Exchange::with_request(head, clock::now()).unwrap();
        let filter = filter("response_headers: [X-User], identity_header: X-User");
        let headers = vec![("x-user".to_owned(), b"ann".to_vec())];
        filter.pass(&mut exchange, &Called { status: 200, headers, body: Vec::new() });
        assert_eq!(exchange.request.header("x-user"), Some(&b"ann"[..]));
        assert_eq!(exchange.request.header("x_user"), None);
        assert_eq!(exchange.identity.unwrap().consumer, "ann");
    }

    #[test]
    fn what_fails_again_and_again_is_told_now_and_then() {
        let (unanswered, now) = (Unanswered::default(), clock::now());
        assert_eq!(unanswered.count(now), Some(0));
        assert_eq!(unanswered.count(now + TELL_EVERY / 2), None);
        assert_eq!(unanswered.count(now + TELL_EVERY / 2), None);
        assert_eq!(unanswered.count(now + TELL_EVERY), Some(2));
        assert_eq!(unanswered.count(now + TELL_EVERY * 3), Some(0));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        refused("- forward_auth: {}", "forward_auth.upstream", "nobody");
        let refuse = |settings: &str, field: &str, part: &str| {
            let filter = format!("- forward_auth: {{upstream: a, {settings}}}");
            refused(&filter, &format!("forward_auth.{field}"), part);
        };
        refuse("path: verify", "path", "no path");
        refuse("method: get", "method", "no method");
        refuse("request_headers: [Host]", "request_headers[0]", "gateway's own");
        refuse("response_headers: [\"a b\"]", "response_headers[0]", "no name");
        refuse("identity_header: X-Forwarded-User", "identity_header", "gateway's own");
        refuse("timeout: 0s", "timeout", "100ms");
    }
}
