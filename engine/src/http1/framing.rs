//! Where a body ends, and whether the connection outlives it (RFC 9112 §6 and §9.3).

use super::error::HeadError;
use super::list;
use crate::message::{FieldName, Method, RequestHead, ResponseHead, TransferEncoding, Version};

/// How the body of a message is framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// There is none.
    Empty,
    /// This many bytes, at least one.
    Length(u64),
    /// Chunks, up to the last one and its trailers.
    Chunked,
    /// All that comes until the connection is closed. Responses only; such a connection is never
    /// used again.
    UntilClose,
}

/// How the body of a request is framed (RFC 9112 §6.3; HTTP_SAFETY rules 1, 2 and 3).
///
/// Any method may have a body but TRACE (RFC 9110 §9.3.8). A head that
/// [`parse_request`](super::parse_request) has accepted is never refused here.
pub fn request_body(head: &RequestHead, _raw: &[u8]) -> Result<Body, HeadError> {
    let body = declared(head.transfer_encoding, head.content_length, head.version)?;
    match body {
        // A request is never read until close: without a length it has no body.
        None => Ok(Body::Empty),
        Some(Body::Empty) => Ok(Body::Empty),
        Some(_) if head.method == Method::Trace => Err(HeadError::TraceBody),
        Some(body) => Ok(body),
    }
}

/// How the body of a response is framed (RFC 9112 §6.3; HTTP_SAFETY rules 11 and 13), when the
/// request had the method `request`.
///
/// 1xx, 204 and 304 answers and those to HEAD have no body whatever their fields say. An answer
/// that contradicts itself (`Transfer-Encoding` with `Content-Length`, a coding other than
/// `chunked`, either on HTTP/1.0) is an error even then: its sender is not to be trusted.
pub fn response_body(head: &ResponseHead, _raw: &[u8], request: Method) -> Result<Body, HeadError> {
    let body = declared(head.transfer_encoding, head.content_length, head.version)?;
    match head.status {
        100..=199 | 204 | 304 => Ok(Body::Empty),
        _ if request == Method::Head => Ok(Body::Empty),
        _ => Ok(body.unwrap_or(Body::UntilClose)),
    }
}

/// What the fields declare, or nothing.
fn declared(
    encoding: TransferEncoding,
    length: Option<u64>,
    version: Version,
) -> Result<Option<Body>, HeadError> {
    match (encoding, length) {
        (TransferEncoding::Absent, None) => Ok(None),
        (TransferEncoding::Absent, Some(0)) => Ok(Some(Body::Empty)),
        (TransferEncoding::Absent, Some(length)) => Ok(Some(Body::Length(length))),
        (_, Some(_)) => Err(HeadError::TwoLengths),
        (_, None) if version == Version::Http10 => Err(HeadError::EncodingOnHttp10),
        (TransferEncoding::Unsupported, None) => Err(HeadError::Encoding),
        (TransferEncoding::Chunked, None) => Ok(Some(Body::Chunked)),
    }
}

/// Whether the client wants the connection to go on after this request (RFC 9112 §9.3).
pub fn keeps_alive_request(head: &RequestHead) -> bool {
    !head.connection.close && (head.version == Version::Http11 || head.connection.keep_alive)
}

/// Whether the upstream lets the connection go on after this response (RFC 9112 §9.3). One whose
/// body is [`Body::UntilClose`] does not, whatever this says.
pub fn keeps_alive_response(head: &ResponseHead) -> bool {
    !head.connection.close && (head.version == Version::Http11 || head.connection.keep_alive)
}

/// The one protocol that the client asks to change to, such as `websocket` (RFC 9110 §7.8), when
/// it does so properly: on HTTP/1.1, with `upgrade` in `Connection`, and without a body.
///
/// An offer of several protocols, or in several fields, is not taken up, which the RFC leaves to
/// the server: which of them the upstream would pick could not be checked beforehand. Whether the
/// protocol is allowed is for the caller (HTTP_SAFETY rule 12).
pub fn upgrade_requested<'r>(head: &RequestHead, raw: &'r [u8]) -> Option<&'r [u8]> {
    if !head.connection.upgrade || head.version != Version::Http11 {
        return None;
    }
    if request_body(head, raw) != Ok(Body::Empty) {
        return None;
    }
    let upgrades = head.fields.iter().filter(|field| field.id == FieldName::Upgrade);
    let mut offers = upgrades.flat_map(|field| list::items(field.value.of(raw)));
    let offer = offers.next()?;
    offers.next().is_none().then_some(offer)
}

/// Whether a 101 answer changes to `websocket` and to nothing else, as it must say (RFC 9110
/// §15.2.2): what goes on in the tunnel is then what was asked for (HTTP_SAFETY rule 12).
pub fn upgrade_granted(head: &ResponseHead, raw: &[u8]) -> bool {
    let upgrades = head.fields.iter().filter(|field| field.id == FieldName::Upgrade);
    let mut protocols = upgrades.flat_map(|field| list::items(field.value.of(raw)));
    let first = protocols.next();
    first.is_some_and(|p| p.eq_ignore_ascii_case(b"websocket")) && protocols.next().is_none()
}
