//! Which route takes a request, and what target its upstream shall see. Used alike to serve and
//! to explain.

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
    template.render(&value, out).map_err(|e| {
        Error::from(GatewayError::Rewrite(match e {
            TemplateError::Missing(_) => "a variable of its template has no value",
            _ => "a value of its template holds control characters",
        }))
    })
}

/// Renders the place to redirect to. What a client writes into the path must not name another
/// host: `//evil.example` would be one (RFC 3986 §4.2), so such slashes are made one.
pub(crate) fn render_location(exchange: &Exchange, to: &Template) -> Result<String, Error> {
    let mut location = Vec::new();
    render(exchange, to, &mut location)?;
    if to.as_literal().is_none() {
        let slashes = |b: &u8| matches!(b, b'/' | b'\\');
        let extra = location.iter().take_while(|b| slashes(b)).count().saturating_sub(1);
        location.drain(..extra);
    }
    String::from_utf8(location)
        .map_err(|_| GatewayError::Rewrite("the place to redirect to is not UTF-8").into())
}
