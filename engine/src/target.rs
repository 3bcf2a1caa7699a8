//! Which route takes a request, and what target its upstream shall see. Used alike to serve and
//! to explain.

use std::cell::RefCell;
use std::ops::Range;

use crate::error::{ClientError, Error, GatewayError};
use crate::exchange::Exchange;
use crate::message::Method;
use crate::route::{self, path::normalise};
use crate::snapshot::Snapshot;
use crate::template::{Template, TemplateError, escape_in_target};

/// Normalises the path once and finds the route by it; what is sent on is made of the same bytes
/// (HTTP_SAFETY rule 20).
///
/// A CORS preflight that no route takes is asked by a browser before it sends another request. The
/// filters of the route that would take that one are to answer it, so that route is noted in the
/// exchange although the error stands: 405 when none of them answers.
pub(crate) fn find_route(snapshot: &Snapshot, exchange: &mut Exchange) -> Result<usize, Error> {
    let request = &mut exchange.request;
    let raw = request.raw.filled();
    let target = request.head.path_and_query(raw);
    let normal = normalise(target, &snapshot.rules.path, &mut request.target);
    let normal = normal.map_err(ClientError::Path)?;
    let (path, query) = normal.split(target, &request.target);
    request.path.extend_from_slice(path);
    request.query.extend_from_slice(query.unwrap_or_default());
    request.has_query = query.is_some();
    let header = |name: &str| request.head.find(raw, name.as_bytes());
    let asked = route::Request {
        host: request.head.authority.of(raw),
        path: &request.path,
        query: &request.query,
        method: request.head.method_text.of(raw),
        client: exchange.client.address,
        header: &header,
    };
    match snapshot.table.find(&asked, &mut exchange.found) {
        // TRACE sends back what it was sent, credentials and all: only where a route names it
        // (HTTP_SAFETY rule 7).
        route::Outcome::Route(at)
            if request.head.method == Method::Trace && !snapshot.routes[at].trace =>
        {
            Err(ClientError::Method.into())
        }
        route::Outcome::Route(at) => {
            exchange.route = Some(at);
            exchange.route_name.push_str(&snapshot.routes[at].name);
            Ok(at)
        }
        route::Outcome::NotFound => Err(ClientError::NoRoute.into()),
        route::Outcome::MethodNotAllowed => {
            if let Some(method) = request.head.asked_by_preflight(raw) {
                let allow = exchange.found.take_allow();
                let asked = route::Request { method, ..asked };
                if let route::Outcome::Route(at) = snapshot.table.find(&asked, &mut exchange.found)
                {
                    exchange.route = Some(at);
                    exchange.route_name.push_str(&snapshot.routes[at].name);
                }
                exchange.found.put_allow(allow);
            }
            Err(ClientError::Method.into())
        }
    }
}

/// Makes the target that the upstream shall see: prefix left out, path rewritten, query kept. The
/// result is checked again (HTTP_SAFETY rule 20). Done before the filters, which may change it.
pub(crate) fn retarget(
    snapshot: &Snapshot,
    at: usize,
    exchange: &mut Exchange,
) -> Result<(), Error> {
    let route = &snapshot.routes[at];
    let mut target = std::mem::take(&mut exchange.request.target);
    target.clear();
    match &route.path {
        Some(template) => render(exchange, template, &mut target)?,
        None if route.strip => {
            target.extend_from_slice(snapshot.table.strip_prefix(at, &exchange.request.path));
        }
        None => target.extend_from_slice(&exchange.request.path),
    }
    let request = &mut exchange.request;
    if request.has_query {
        target.push(if target.contains(&b'?') { b'&' } else { b'?' });
        target.extend_from_slice(&request.query);
    }
    request.target = target;
    request.path_policy = snapshot.rules.path;
    if route.strip || route.path.is_some() {
        request.normalise_target().map_err(|_| GatewayError::Rewrite("its path is not valid"))?;
    }
    Ok(())
}

/// Renders a template of a target, or of an upstream's name, with what is known of the request.
pub(crate) fn render(
    exchange: &Exchange,
    template: &Template,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let value = |name: &str, out: &mut Vec<u8>| {
        let from = out.len();
        exchange.append_variable(name, out) && escape_in_target(name, out, from)
    };
    template.render(&value, out).map_err(rewrite_error)
}

fn rewrite_error(error: TemplateError) -> Error {
    let reason = match error {
        TemplateError::Missing(_) => "a variable of its template has no value",
        _ => "a value of its template holds control characters",
    };
    GatewayError::Rewrite(reason).into()
}

/// Renders the place to redirect to. What a client writes into the path must not name another
/// host: `//evil.example` would be one (RFC 3986 §4.2), so such slashes are made one; and so would
/// be `.evil.example` or `@evil.example` straight behind the host of the template, or
/// `https:/evil.example` where the template has none.
pub(crate) fn render_location(exchange: &Exchange, to: &Template) -> Result<String, Error> {
    let mut location = Vec::new();
    let mut in_host: RefCell<Vec<Range<usize>>> = RefCell::default();
    let value = |name: &str, out: &mut Vec<u8>| {
        let from = out.len();
        let good = exchange.append_variable(name, out) && escape_in_target(name, out, from);
        // The host that was asked for is one, and checked as one; a parameter may be called so too.
        let is_host = name == "host" && out[from..] == *exchange.request.authority();
        if !is_host && (from == 0 || host_so_far(&out[..from]).is_some()) {
            in_host.borrow_mut().push(from..out.len());
        }
        good
    };
    to.render(&value, &mut location).map_err(rewrite_error)?;
    if !in_host.get_mut().iter().all(|value| may_be_in_host(&location, value.clone())) {
        let reason = "a value of its template would name another host";
        return Err(GatewayError::Rewrite(reason).into());
    }
    if to.as_literal().is_none() {
        let slashes = |b: &u8| matches!(b, b'/' | b'\\');
        let extra = location.iter().take_while(|b| slashes(b)).count().saturating_sub(1);
        location.drain(..extra);
    }
    String::from_utf8(location)
        .map_err(|_| GatewayError::Rewrite("the place to redirect to is not UTF-8").into())
}

/// What there is of the host of a URL that goes on, as long as it may go on itself.
fn host_so_far(url: &[u8]) -> Option<&[u8]> {
    let at = url.windows(3).position(|three| three == b"://")?;
    let host = &url[at + 3..];
    (!host.iter().any(|byte| ENDS_HOST.contains(byte))).then_some(host)
}

/// What ends the host of a URL (RFC 3986 §3.2), or does so for browsers.
const ENDS_HOST: &[u8] = b"/\\?#";

/// Whether a value that stands where the host does, or first of all, may stand there: it begins
/// what is behind the host, or it is a part that the template has a place for, between dots or text
/// of its own.
fn may_be_in_host(url: &[u8], value: Range<usize>) -> bool {
    let ends = |at: usize| url.get(at).is_none_or(|byte| ENDS_HOST.contains(byte));
    let Some(before) = value.start.checked_sub(1).map(|at| url[at]) else { return ends(0) };
    if ends(value.start) {
        return before != b'/';
    }
    let label = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let has_place = b"/.-:".contains(&before) || !ends(value.end);
    has_place && url[value].iter().all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// Where a request with this path is redirected to, if anywhere.
    #[track_caller]
    fn check(to: &str, path: &str, expected: Option<&str>) {
        let head = b"GET /a HTTP/1.1\r\nHost: asked.test:81\r\n\r\n";
        let mut exchange = Exchange::with_request(head, clock::now()).unwrap();
        exchange.request.path = path.as_bytes().to_vec();
        let location = render_location(&exchange, &Template::parse(to).unwrap()).ok();
        assert_eq!(location.as_deref(), expected, "{to} {path}");
    }

    /// `${path}` stands for whatever a capture of a path may be.
    #[test]
    fn no_value_names_another_host() {
        let behind = "https://x.test${path}";
        for good in ["", "/", "/a", "//evil.test", "?a", "/@evil.test"] {
            check(behind, good, Some(&format!("https://x.test{good}")));
        }
        for bad in [".evil.test", "@evil.test", ":81", "evil.test", "%2eevil", "-evil.test"] {
            check(behind, bad, None);
        }
        check("https://${host}${path}", "/a", Some("https://asked.test:81/a"));
        check("https://${host}${path}", "@evil.test", None);
        check("https://x.test?${path}", "@evil.test", Some("https://x.test?@evil.test"));
        check("https://x.test/${path}", ".evil.test", Some("https://x.test/.evil.test"));
        check("${path}", "//evil.test", Some("/evil.test"));
        check("${path}/b", "", Some("/b"));
        check("${path}", "https:/evil.test", None);
        check("https://${path}", "/evil.test", None);
        check("https://${path}/evil.test", "", None);
    }

    #[test]
    fn a_value_may_be_a_part_of_the_host_where_that_is_written() {
        check("https://${path}.x.test/", "shop", Some("https://shop.x.test/"));
        check("https://x${path}.test", "1", Some("https://x1.test"));
        check("https://x.${path}/", "de", Some("https://x.de/"));
        check("https://x.test:${path}/", "81", Some("https://x.test:81/"));
        for bad in ["evil.test@", "a%2f", "a:1", "a;b", "evil.test/", "/evil.test/"] {
            check("https://${path}.x.test/", bad, None);
        }
    }
}
