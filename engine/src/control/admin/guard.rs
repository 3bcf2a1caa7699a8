//! Who may ask what: the token, the name that the listener is asked by, and what no page of
//! another site can send.
//!
//! Without a token the listener is on a loopback address, where two strangers can still reach it
//! through a browser on the same machine: a page whose name is made to stand for 127.0.0.1 (DNS
//! rebinding), which is told by its `Host`, and a page that sends a form across sites, which cannot
//! have a JSON content type without asking first, and nobody here answers that question.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::{constant_time, digest};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::Refusal;
use super::{Context, PUBLIC};
use crate::clock;
use crate::shared::Shared;

/// Where a connection comes from; the accepting loop notes it on every request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The longest that an answer may take to be made, the reading of a body included.
const PATIENCE: Duration = Duration::from_secs(30);

/// How seldom refused tokens are logged: somebody who guesses shall not fill the log.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Lets a request pass to its handler, or refuses it; and puts on every answer what a browser has
/// to know about it.
pub(super) async fn guard(
    State(context): State<Shared<Context>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match judge(&context, &request) {
        Ok(()) => match tokio::time::timeout(PATIENCE, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "this takes too long; nothing \
                 more is known of it: look at /status and ask again",
            )
            .into_response(),
        },
        Err(refusal) => refused(refusal),
    };
    let fields = response.headers_mut();
    for (name, value) in BROWSER {
        fields.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    fields.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What a browser may do with an answer: the page loads its own two files and asks its own
/// listener, and nobody frames, embeds or reads it from elsewhere.
const BROWSER: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'",
    ),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

fn judge(context: &Context, request: &Request) -> Result<(), Refusal> {
    let host = host(request)?;
    // Asked anew each time: a reload may bring another.
    let snapshot = context.snapshot();
    let token = snapshot.admin.as_ref().and_then(|admin| admin.token.as_ref());
    match token {
        None if !is_local(host, context.address.ip()) => {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "without a token, the admin API answers only to localhost and its own address; \
                 set `admin.token` to use another name",
            ));
        }
        Some(token) if !PUBLIC.contains(&request.uri().path()) => {
            check_token(request.headers(), token.expose())
                .inspect_err(|_| log_refusal(context, request))?;
        }
        _ => {}
    }
    Ok(())
}

/// Stands before every endpoint that changes something or reads a body.
pub(super) async fn guard_post(request: Request, next: Next) -> Response {
    let judged = host(&request).and_then(|host| check_post(request.headers(), host));
    match judged {
        Ok(()) => next.run(request).await,
        Err(refusal) => refused(refusal),
    }
}

/// Who is refused has no further business on this connection.
fn refused(refusal: Refusal) -> Response {
    let mut response = refusal.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The one authority that the request is for.
fn host(request: &Request) -> Result<&str, Refusal> {
    if let Some(authority) = request.uri().authority() {
        return Ok(authority.as_str());
    }
    let mut all = request.headers().get_all(header::HOST).iter();
    match (all.next().map(HeaderValue::to_str), all.next()) {
        (Some(Ok(host)), None) => Ok(host),
        _ => Err(Refusal::bad("a request needs exactly one Host")),
    }
}

/// Whether a name can only mean this machine: what is no name at all, or one that browsers and
/// resolvers keep for it (RFC 6761 §6.3).
fn is_local(host: &str, own: IpAddr) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(ip) => ip == own || ip.to_canonical().is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

fn check_token(headers: &HeaderMap, token: &str) -> Result<(), Refusal> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let shown = match (all.next().map(HeaderValue::to_str), all.next()) {
        (Some(Ok(value)), None) => value.split_once(' ').filter(|(scheme, _)| {
            // RFC 9110 §11.1: the scheme has no case.
            scheme.eq_ignore_ascii_case("bearer")
        }),
        _ => None,
    };
    let refuse = |message: &str, challenge| {
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, message);
        Err(refusal.with(header::WWW_AUTHENTICATE, challenge))
    };
    match shown {
        None => refuse(
            "send the token of `admin.token`: `Authorization: Bearer …`",
            "Bearer realm=\"ringway\"",
        ),
        Some((_, shown)) if !same(shown.trim_start_matches(' '), token) => refuse(
            "this is not the token of `admin.token`",
            "Bearer realm=\"ringway\", error=\"invalid_token\"",
        ),
        Some(_) => Ok(()),
    }
}

/// Compares two secrets in a time that tells nothing of either, not even their lengths: what is
/// compared are their digests.
fn same(a: &str, b: &str) -> bool {
    let digest = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
    constant_time::verify_slices_are_equal(digest(a).as_ref(), digest(b).as_ref()).is_ok()
}

/// What changes something comes as JSON, and not from the page of another site.
fn check_post(headers: &HeaderMap, host: &str) -> Result<(), Refusal> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let kind = text(header::CONTENT_TYPE).and_then(|kind| kind.split(';').next());
    if !kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send `Content-Type: application/json`, also where there is no body",
        ));
    }
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let own = |origin: &str| origin.split_once("://").is_some_and(|(_, name)| name == host);
    if origin.is_some_and(|origin| !own(origin)) {
        let message = "a page of another site may not change anything here";
        return Err(Refusal::new(StatusCode::FORBIDDEN, message));
    }
    Ok(())
}

fn log_refusal(context: &Context, request: &Request) {
    let now = clock::now().saturating_duration_since(context.started);
    let last = Duration::from_millis(context.refused_at.get());
    if context.refused_at.get() > 0 && now < last + LOG_EVERY {
        return;
    }
    let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).max(1);
    context.refused_at.add(millis.wrapping_sub(context.refused_at.get()));
    let peer = request.extensions().get::<Peer>().map(|peer| tracing::field::display(peer.0.ip()));
    tracing::warn!(peer, path = %request.uri().path(), "admin: refused without the right token");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_mean_this_machine_are_local() {
        let own = IpAddr::from([127, 0, 0, 1]);
        for host in ["localhost", "LOCALHOST:9901", "127.0.0.1:1", "127.9.9.9", "[::1]:9901"] {
            assert!(is_local(host, own), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9901",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "",
            ":9901",
            "0.0.0.0",
            "localhost:99x",
        ] {
            assert!(!is_local(host, own), "{host}");
        }
    }

    #[track_caller]
    fn shown(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        check_token(&headers, "a-token-of-16-bytes").is_ok()
    }

    #[test]
    fn one_token_is_the_right_one() {
        assert!(shown(&["Bearer a-token-of-16-bytes"]));
        assert!(shown(&["bearer  a-token-of-16-bytes"]));
        assert!(!shown(&[]));
        assert!(!shown(&["Bearer "]));
        assert!(!shown(&["Bearer"]));
        assert!(!shown(&["a-token-of-16-bytes"]));
        assert!(!shown(&["Basic a-token-of-16-bytes"]));
        assert!(!shown(&["Bearer a-token-of-16-bytes "]));
        assert!(!shown(&["Bearer a-token-of-16-byte"]));
        assert!(!shown(&["Bearer a-token-of-16-bytes", "Bearer a-token-of-16-bytes"]));
    }

    #[test]
    fn a_post_is_json_and_of_this_site() {
        let check = |fields: &[(&'static str, &'static str)]| {
            let fields = fields.iter().map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            check_post(&fields.collect(), "localhost:9901").map_err(|refusal| refusal.status)
        };
        let json = ("content-type", "application/json; charset=utf-8");
        assert_eq!(check(&[json]), Ok(()));
        assert_eq!(check(&[json, ("origin", "http://localhost:9901")]), Ok(()));
        for origin in ["http://evil.example", "null", "http://localhost:80", "localhost:9901"] {
            assert_eq!(check(&[json, ("origin", origin)]), Err(StatusCode::FORBIDDEN), "{origin}");
        }
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
            let refused = Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            assert_eq!(check(&[("content-type", kind)]), refused, "{kind}");
        }
        assert_eq!(check(&[]), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
}
