//! The rules of HTTP_SAFETY as tables: what is refused and why, and what is accepted, so that
//! strictness does not become deafness. Each test is named after the rule that it holds up.

mod bounds;
mod chunks;
mod fields;
mod framing;
mod hosts;
mod random;
mod responses;
mod syntax;

use super::*;
use crate::message::{Method, RequestHead, ResponseHead};

/// Limits as the house has them by default.
const LIMITS: HeadLimits = HeadLimits { max_head: 64 << 10, max_line: 16 << 10, max_fields: 100 };

/// Reads one request head; the bytes must be all of it.
fn request(raw: &[u8]) -> Result<RequestHead, HeadError> {
    let mut head = RequestHead::default();
    read_request(raw, &mut Scanner::default(), &mut head, &LIMITS)?.ok_or(HeadError::Incomplete)?;
    Ok(head)
}

/// Reads one response head; the bytes must be all of it.
fn response(raw: &[u8]) -> Result<ResponseHead, HeadError> {
    let mut head = ResponseHead::default();
    read_response(raw, &mut Scanner::default(), &mut head, &LIMITS)?
        .ok_or(HeadError::Incomplete)?;
    Ok(head)
}

/// A GET with these lines between `Host` and the empty line.
fn get_with(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

/// A POST with these lines between `Host` and the empty line.
fn post_with(lines: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

/// A 200 with these lines as its fields.
fn ok_with(lines: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n").into_bytes()
}

#[track_caller]
fn refuses(raw: &[u8], error: HeadError) {
    assert_eq!(request(raw), Err(error), "{}", raw.escape_ascii());
    refuses_unscanned(raw);
}

/// The reader alone must refuse what the scanner would have refused, though perhaps with another
/// reason.
#[track_caller]
fn refuses_unscanned(raw: &[u8]) {
    let read = parse_request(raw, &mut RequestHead::default(), &LIMITS);
    assert!(read.is_err(), "without a scanner: {}", raw.escape_ascii());
}

#[track_caller]
fn accepts(raw: &[u8]) -> RequestHead {
    match request(raw) {
        Ok(head) => head,
        Err(error) => panic!("{error}: {}", raw.escape_ascii()),
    }
}

#[track_caller]
fn accepts_response(raw: &[u8]) -> ResponseHead {
    match response(raw) {
        Ok(head) => head,
        Err(error) => panic!("{error}: {}", raw.escape_ascii()),
    }
}

#[track_caller]
fn body_of(raw: &[u8]) -> Body {
    let head = accepts(raw);
    match request_body(&head, raw) {
        Ok(body) => body,
        Err(error) => panic!("{error}: {}", raw.escape_ascii()),
    }
}

#[track_caller]
fn response_body_of(raw: &[u8], method: Method) -> Result<Body, HeadError> {
    response(raw).and_then(|head| response_body(&head, raw, method))
}
