//! Sends a client to the one address that a page shall have: https, one host, one spelling of the
//! last slash.
//!
//! # Settings
//!
//! ```yaml
//! - redirect:
//!     scheme: https              # whoever came over http
//!     host: example.com          # whoever asked for another host
//!     trailing_slash: remove     # or add
//!     status: 308
//! ```
//!
//! A request that fits all that is written passes. Any other is redirected once, to where it all
//! fits; path and query stay, as the client wrote them but in normal form. The route's own
//! `redirect:` is for what moves whatever the request is.
//!
//! A client came over https when a proxy in `server.trusted_proxies` says so in
//! `X-Forwarded-Proto`; the gateway itself speaks plain http. A proxy that ends TLS and is not
//! listed there would send its clients round in circles. With `scheme` the port of the request is
//! left out, since it belongs to the other scheme; `host` may name one.
//!
//! `trailing_slash: add` leaves a last segment with a dot alone: `/logo.png` is a file. The path
//! `/` is what it is.
//!
//! # Answers
//!
//! `status` with `Location`: 308 and 307 keep method and body, 301, 302 and 303 become GET. 400
//! where another scheme is wanted and the request (of HTTP/1.0) names no host.
//!
//! # State
//!
//! None.

use std::fmt;
use std::rc::Rc;

use ringway_engine::exchange::{Answer, AnswerBody, Exchange, Request};
use ringway_engine::filter::{Blueprint, Core, Filter, SettingsError, Step};
use ringway_engine::http1::is_valid_authority;
use ringway_engine::message::Method;
use ringway_engine::shared::Shared;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{plan, wrong};

/// The address that a page shall have. At least one of `scheme`, `host` and `trailing_slash`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The scheme, as the client or a trusted proxy before the gateway had it.
    pub scheme: Option<Scheme>,
    /// The host, with a port if it has one of its own. Compared without regard to case.
    pub host: Option<String>,
    /// Whether paths end with a slash.
    pub trailing_slash: Option<TrailingSlash>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { scheme: None, host: None, trailing_slash: None, status: 308 }
    }
}

/// How a client comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// In plain text.
    Http,
    /// Over TLS.
    Https,
}

/// What becomes of the last slash of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrailingSlash {
    /// It is there, but behind a file.
    Add,
    /// It is not there, but for `/` itself.
    Remove,
}

impl fmt::Display for Scheme {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        })
    }
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        if self.scheme.is_none() && self.host.is_none() && self.trailing_slash.is_none() {
            let help = "write `scheme: https`, `host: example.com` or `trailing_slash: remove`";
            return Err(wrong("", "nothing says what to redirect", help));
        }
        if let Some(host) = &self.host
            && !is_valid_authority(host.as_bytes())
        {
            let message = format!("`{}` is no host", host.escape_debug());
            return Err(wrong("host", message, "write one such as `example.com`"));
        }
        if !matches!(self.status, 301 | 302 | 303 | 307 | 308) {
            let message = format!("`{}` is not the status of a redirection", self.status);
            return Err(wrong("status", message, "write 301, 302, 303, 307 or 308"));
        }
        Ok(plan(Plan(self.clone())))
    }
}

/// The settings once they are checked; every core's instance is a copy.
struct Plan(Settings);

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "redirect"
    }

    fn summary(&self) -> String {
        let Settings { scheme, host, trailing_slash, status } = &self.0;
        let scheme = scheme.map(|scheme| format!("to {scheme}"));
        let host = host.as_ref().map(|host| format!("to {host}"));
        let slash = trailing_slash.map(|slash| match slash {
            TrailingSlash::Add => "to a last slash".to_owned(),
            TrailingSlash::Remove => "to no last slash".to_owned(),
        });
        let parts: Vec<_> = scheme.into_iter().chain(host).chain(slash).collect();
        format!("{} with {status}", parts.join(", "))
    }

    fn instance(&self, _: &Rc<dyn Core>) -> Rc<dyn Filter> {
        Rc::new(Redirect(self.0.clone()))
    }
}

/// One core's instance.
struct Redirect(Settings);

impl Filter for Redirect {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        match self.location(exchange) {
            None => Step::NEXT,
            Some(location) if location.is_empty() => {
                Step::answer(Answer::message(400, "the request names no host"))
            }
            Some(location) => {
                let status = self.0.status;
                let answer = Answer { status, headers: Vec::new(), body: AnswerBody::Empty };
                Step::answer(answer.with_header("Location", location))
            }
        }
    }
}

impl Redirect {
    /// Where to, if not all fits; empty where another scheme is wanted and no host is known (a
    /// request of HTTP/1.0 need not name one). Nothing for what has no path (`OPTIONS *`), nor for
    /// a path that was refused.
    fn location(&self, exchange: &Exchange) -> Option<String> {
        let Settings { scheme, host, trailing_slash, .. } = &self.0;
        let request = &exchange.request;
        if request.path.first() != Some(&b'/') || request.head.method == Method::Trace {
            return None;
        }
        let came = if exchange.is_https() { Scheme::Https } else { Scheme::Http };
        let scheme = scheme.filter(|wanted| *wanted != came);
        let asked = request.authority();
        let fits = |host: &&String| !host.as_bytes().eq_ignore_ascii_case(asked);
        let host = host.as_ref().filter(fits);
        let path = trailing_slash.and_then(|slash| slash.changes(&request.path));
        if scheme.is_none() && host.is_none() && path.is_none() {
            return None;
        }
        let mut location = Vec::new();
        if scheme.is_some() || host.is_some() {
            let authority = match (host, scheme) {
                (Some(host), _) => host.as_bytes(),
                (None, Some(_)) => without_port(asked),
                (None, None) => asked,
            };
            if authority.is_empty() {
                return Some(String::new());
            }
            location.extend_from_slice(scheme.unwrap_or(came).to_string().as_bytes());
            location.extend_from_slice(b"://");
            location.extend_from_slice(authority);
        }
        append_path(&mut location, path.as_deref().unwrap_or(&request.path));
        append_query(&mut location, request);
        String::from_utf8(location).ok()
    }
}

/// Appends the path. Several slashes at its front would name another host (RFC 3986 §4.2), so they
/// are made one.
fn append_path(location: &mut Vec<u8>, path: &[u8]) {
    let extra = path.iter().take_while(|&&byte| byte == b'/').count().saturating_sub(1);
    location.extend_from_slice(&path[extra..]);
}

fn append_query(location: &mut Vec<u8>, request: &Request) {
    if !request.query.is_empty() {
        location.push(b'?');
        location.extend_from_slice(&request.query);
    }
}

impl TrailingSlash {
    /// The path as it shall be, if it is not.
    fn changes(self, path: &[u8]) -> Option<Vec<u8>> {
        match self {
            TrailingSlash::Remove => {
                let end = path.iter().rposition(|&byte| byte != b'/')? + 1;
                (end < path.len()).then(|| path[..end].to_vec())
            }
            TrailingSlash::Add => {
                let last = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
                (!last.is_empty() && !last.contains(&b'.')).then(|| [path, b"/"].concat())
            }
        }
    }
}

/// The host alone. The colons within the brackets of an IPv6 address belong to it.
fn without_port(authority: &[u8]) -> &[u8] {
    let from = authority.iter().position(|&byte| byte == b']').unwrap_or(0);
    match authority[from..].iter().position(|&byte| byte == b':') {
        Some(at) => &authority[..from + at],
        None => authority,
    }
}

#[cfg(test)]
mod tests {
    use ringway_engine::clock;
    use ringway_engine::filter::Verdict;

    use super::*;
    use crate::tests::{build, core, refused};

    /// Where a GET of this URL is sent; what stands before `://` is told by a trusted proxy.
    #[track_caller]
    fn sent(filter: &str, url: &str) -> Option<String> {
        let (proto, rest) = url.split_once("://").unwrap();
        let (host, target) = rest.split_at(rest.find('/').unwrap());
        let lines = format!("Host: {host}\r\nX-Forwarded-Proto: {proto}\r\n");
        let head = format!("GET {target} HTTP/1.1\r\n{lines}\r\n");
        let mut exchange = Exchange::with_request(head.as_bytes(), clock::now()).unwrap();
        exchange.client.through_trusted_proxy = true;
        let filter = build(filter).unwrap().instance(&core());
        match filter.on_request(&mut exchange) {
            Step::Now(Verdict::Continue) => None,
            Step::Now(Verdict::Answer(answer)) => {
                assert_eq!(answer.status, 308);
                Some(answer.headers[0].1.clone())
            }
            Step::Later(_) => panic!("it never waits"),
        }
    }

    #[track_caller]
    fn check(filter: &str, url: &str, to: &str) {
        assert_eq!(sent(filter, url).as_deref(), (!to.is_empty()).then_some(to), "{url}");
    }

    #[test]
    fn http_becomes_https() {
        let filter = "- redirect: {scheme: https}";
        check(filter, "http://a.test/b?c=d", "https://a.test/b?c=d");
        check(filter, "http://a.test:8080/", "https://a.test/");
        check(filter, "http://[::1]:8080/", "https://[::1]/");
        check(filter, "http://[::1]/", "https://[::1]/");
        check(filter, "https://a.test:8443/", "");
    }

    #[test]
    fn who_is_not_trusted_came_over_http() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n";
        let mut exchange = Exchange::with_request(head, clock::now()).unwrap();
        let filter = build("- redirect: {scheme: https}").unwrap().instance(&core());
        assert!(matches!(filter.on_request(&mut exchange), Step::Now(Verdict::Answer(_))));
    }

    /// `https:///evil.test` would be `https://evil.test` to a browser.
    #[test]
    fn a_request_without_a_host_is_sent_nowhere() {
        let head = b"GET /evil.test HTTP/1.0\r\n\r\n";
        let mut exchange = Exchange::with_request(head, clock::now()).unwrap();
        for (filter, status, headers) in [
            ("- redirect: {scheme: https}", 400, 0),
            ("- redirect: {scheme: https, host: a.test}", 308, 1),
        ] {
            let filter = build(filter).unwrap().instance(&core());
            let step = filter.on_request(&mut exchange);
            let Step::Now(Verdict::Answer(answer)) = step else { panic!("it passes") };
            assert_eq!((answer.status, answer.headers.len()), (status, headers));
        }
    }

    #[test]
    fn one_host_is_the_right_one() {
        let filter = "- redirect: {host: a.test}";
        check(filter, "http://www.a.test/b", "http://a.test/b");
        check(filter, "https://evil.test/b", "https://a.test/b");
        check(filter, "http://A.Test/b", "");
        check("- redirect: {host: \"a.test:81\"}", "http://a.test/", "http://a.test:81/");
    }

    #[test]
    fn a_last_slash_is_there_or_is_not() {
        let remove = "- redirect: {trailing_slash: remove}";
        check(remove, "http://a/b/?c", "/b?c");
        check(remove, "http://a/b", "");
        check(remove, "http://a/", "");
        check(remove, "http://a//", "");
        let add = "- redirect: {trailing_slash: add}";
        check(add, "http://a/b?c", "/b/?c");
        check(add, "http://a/b/", "");
        check(add, "http://a/", "");
        check(add, "http://a/b/logo.png", "");
    }

    #[test]
    fn nobody_is_sent_to_a_host_that_the_path_names() {
        check("- redirect: {trailing_slash: remove}", "http://a//evil.test/", "/evil.test");
        check("- redirect: {trailing_slash: add}", "http://a//evil/b", "/evil/b/");
        check("- redirect: {scheme: https}", "http://a.test//@evil/", "https://a.test/@evil/");
    }

    #[test]
    fn all_is_put_right_at_once() {
        let filter = "- redirect: {scheme: https, host: a.test, trailing_slash: remove}";
        check(filter, "http://www.a.test:80/b/?c", "https://a.test/b?c");
        check(filter, "https://a.test/b?c", "");
    }

    #[test]
    fn what_has_no_path_passes() {
        let head = b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut exchange = Exchange::with_request(head, clock::now()).unwrap();
        let filter = build("- redirect: {scheme: https}").unwrap().instance(&core());
        assert!(matches!(filter.on_request(&mut exchange), Step::Now(Verdict::Continue)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        refused("- redirect: {}", "redirect", "nothing says");
        refused("- redirect: {host: \"a.test/b\"}", "redirect.host", "no host");
        refused("- redirect: {host: \"a\\r\\nb\"}", "redirect.host", "no host");
        refused("- redirect: {scheme: https, status: 200}", "redirect.status", "308");
    }

    #[test]
    fn the_summary_is_one_line() {
        let filter = "- redirect: {scheme: https, host: a.test, trailing_slash: remove}";
        let summary = build(filter).unwrap().summary();
        assert_eq!(summary, "to https, to a.test, to no last slash with 308");
    }
}
