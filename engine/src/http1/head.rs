//! Reads a whole head: the start line, the fields, and in the same walk the facts that decide how
//! the message is framed and where it goes.
//!
//! `httparse` does the lexing. What it lets pass and the rules of the house do not, such as bare
//! LF line ends, is found by walking over the gaps between the parts that it returns: exactly one
//! space, colon or CRLF may be there. So this reader is as strict as [`Scanner`] even with bytes
//! that no scanner has seen, and a head that has come at once, as most do, is read without one.

use std::mem::MaybeUninit;

use super::fields::{Facts, walk};
use super::framing;
use super::scan::is_token_byte;
use super::target;
use crate::message::{Method, RequestHead, ResponseHead, Span, Version};

pub use super::error::HeadError;
pub use super::scan::{HeadLimits, MAX_FIELDS, Scanner};

/// Reads the request head that `bytes`, all that has arrived of the message so far, begin with.
/// `scanner` is a new one for each message, and remembers what it has seen from call to call.
///
/// Returns the length of the head, or `None` when more bytes are needed. What it returns depends on
/// the bytes alone, not on how they arrived, and so does which error it is: the scanner names the
/// first thing that is wrong. `head` is as [`parse_request`] leaves it.
pub fn read_request(
    bytes: &[u8],
    scanner: &mut Scanner,
    head: &mut RequestHead,
    limits: &HeadLimits,
) -> Result<Option<usize>, HeadError> {
    if scanner.is_new()
        && let Ok(len) = parse_request_of(bytes, head, limits)
    {
        return Ok(Some(len));
    }
    let Some(len) = scanner.scan(bytes, limits)? else { return Ok(None) };
    parse_request(&bytes[..len], head, limits)?;
    Ok(Some(len))
}

/// Reads the response head that `bytes` begin with, as [`read_request`] reads that of a request.
pub fn read_response(
    bytes: &[u8],
    scanner: &mut Scanner,
    head: &mut ResponseHead,
    limits: &HeadLimits,
) -> Result<Option<usize>, HeadError> {
    if scanner.is_new()
        && let Ok(len) = parse_response_of(bytes, head, limits)
    {
        return Ok(Some(len));
    }
    let Some(len) = scanner.scan(bytes, limits)? else { return Ok(None) };
    parse_response(&bytes[..len], head, limits)?;
    Ok(Some(len))
}

/// Reads a request head. `bytes` is the whole head and nothing more.
///
/// After `Ok` the head obeys rules 1 to 7, 9, 15, 19 and 21 of HTTP_SAFETY: the length of the
/// body is not in doubt, and neither is the host. After an error `head` holds nothing of use.
/// Allocates only while `head.fields` grows.
pub fn parse_request(
    bytes: &[u8],
    head: &mut RequestHead,
    limits: &HeadLimits,
) -> Result<(), HeadError> {
    whole(bytes, parse_request_of(bytes, head, limits)?)
}

/// Says whether a head of `len` bytes is all of `bytes`.
fn whole(bytes: &[u8], len: usize) -> Result<(), HeadError> {
    if len == bytes.len() { Ok(()) } else { Err(HeadError::Incomplete) }
}

/// Reads the request head that `bytes` begin with; its length.
fn parse_request_of(
    bytes: &[u8],
    head: &mut RequestHead,
    limits: &HeadLimits,
) -> Result<usize, HeadError> {
    head.clear();
    // RFC 9112 §2.2: one empty line before the request line is skipped.
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    // httparse would skip any number of empty lines, and then all offsets would be off.
    if !bytes.get(start).copied().is_some_and(is_token_byte) {
        return Err(HeadError::BadStart);
    }
    let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let room = &mut room[..limits.max_fields.min(MAX_FIELDS)];
    let mut lexed = httparse::Request::new(&mut []);
    let len = match lexed.parse_with_uninit_headers(&bytes[start..], room) {
        Ok(httparse::Status::Complete(len)) => start + len,
        Ok(httparse::Status::Partial) => return Err(HeadError::Incomplete),
        Err(error) => return Err(refusal(error, &bytes[start..], HeadError::RequestLine)),
    };
    if len > limits.max_head {
        return Err(HeadError::HeadTooLarge);
    }
    let bytes = &bytes[..len];
    let method = lexed.method.unwrap_or_default();
    let target = lexed.path.unwrap_or_default();
    head.method = Method::from_bytes(method.as_bytes());
    head.method_text = Span::from(start..start + method.len());
    let target_start = start + method.len() + 1;
    head.target = Span::from(target_start..target_start + target.len());
    let (version, fields) = version_and_crlf(bytes, head.target.end() + 1)?;
    head.version = version;
    if bytes[target_start - 1] != b' ' || bytes[head.target.end()] != b' ' {
        return Err(HeadError::RequestLine);
    }
    if fields - 2 - start > limits.max_line {
        return Err(HeadError::StartLineTooLong);
    }
    if head.method == Method::Connect {
        return Err(HeadError::Connect);
    }
    let mut facts = Facts::default();
    walk(bytes, fields, limits.max_line, lexed.headers, &mut head.fields, &mut facts)?;
    head.len = len;
    conclude(bytes, head, &facts)?;
    Ok(len)
}

/// What the fields and the request line say together.
fn conclude(bytes: &[u8], head: &mut RequestHead, facts: &Facts) -> Result<(), HeadError> {
    if facts.repeated {
        return Err(HeadError::Repeated);
    }
    head.content_length = facts.content_length;
    head.transfer_encoding = facts.transfer_encoding;
    head.connection = facts.connection;
    let target = target::split(bytes, head.target, head.method)?;
    head.path_and_query = target.path_and_query;
    head.absolute_form = target.authority.is_some();
    // Rule 15: `Host` must be right even where an absolute target overrides it.
    match (facts.hosts, head.version) {
        (0, Version::Http11) => return Err(HeadError::HostMissing),
        (0, Version::Http10) => head.authority = target.authority.unwrap_or_default(),
        (1, _) if target::is_valid_authority(facts.host.of(bytes)) => {
            head.authority = target.authority.unwrap_or(facts.host);
        }
        (1, _) => return Err(HeadError::Host),
        _ => return Err(HeadError::HostRepeated),
    }
    framing::request_body(head, bytes)?;
    if facts.expect_other {
        return Err(HeadError::Expectation);
    }
    // RFC 9110 §10.1.1: an HTTP/1.0 client cannot wait for what it does not know.
    head.expect_continue = facts.expect_continue && head.version == Version::Http11;
    Ok(())
}

/// Reads a response head. `bytes` is the whole head and nothing more.
///
/// A status line without the space before an empty reason is tolerated, because many origins
/// send it. Repeated `Content-Type` is tolerated too, and forwarded as it came: unlike a client, an
/// upstream has nothing to smuggle past us with it. How the body is framed depends on the request
/// as well: see [`response_body`](super::response_body).
pub fn parse_response(
    bytes: &[u8],
    head: &mut ResponseHead,
    limits: &HeadLimits,
) -> Result<(), HeadError> {
    whole(bytes, parse_response_of(bytes, head, limits)?)
}

/// Reads the response head that `bytes` begin with; its length.
fn parse_response_of(
    bytes: &[u8],
    head: &mut ResponseHead,
    limits: &HeadLimits,
) -> Result<usize, HeadError> {
    head.clear();
    // Only servers are asked to skip an empty line (RFC 9112 §2.2). From an upstream it is what an
    // earlier answer has left behind (rule 13).
    if !bytes.first().copied().is_some_and(is_token_byte) {
        return Err(HeadError::BadStart);
    }
    let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let room = &mut room[..limits.max_fields.min(MAX_FIELDS)];
    let mut lexed = httparse::Response::new(&mut []);
    let len = match httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut lexed, bytes, room)
    {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Err(HeadError::Incomplete),
        Err(error) => return Err(refusal(error, bytes, HeadError::StatusLine)),
    };
    if len > limits.max_head {
        return Err(HeadError::HeadTooLarge);
    }
    let bytes = &bytes[..len];
    head.version = version_at(bytes, 0).ok_or(HeadError::StatusLine)?;
    head.status = lexed.code.filter(|code| *code >= 100).ok_or(HeadError::StatusLine)?;
    head.reason = reason(bytes, "HTTP/1.1 200".len())?;
    if head.reason.end() > limits.max_line {
        return Err(HeadError::StartLineTooLong);
    }
    let fields = head.reason.end() + 2;
    let mut facts = Facts::default();
    walk(bytes, fields, limits.max_line, lexed.headers, &mut head.fields, &mut facts)?;
    head.content_length = facts.content_length;
    head.transfer_encoding = facts.transfer_encoding;
    head.connection = facts.connection;
    head.len = len;
    Ok(len)
}

/// The reason phrase, which begins behind the status code at `at`: tabs, spaces and anything
/// visible (RFC 9112 §4), up to the CRLF.
fn reason(bytes: &[u8], at: usize) -> Result<Span, HeadError> {
    let rest = bytes.get(at..).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte < b' ' && *byte != b'\t' || *byte == 0x7f);
    let end = at + end.ok_or(HeadError::StatusLine)?;
    match bytes[at..].strip_prefix(b" ") {
        _ if !bytes[end..].starts_with(b"\r\n") => Err(HeadError::StatusLine),
        Some(_) => Ok(Span::from(at + 1..end)),
        None if end == at => Ok(Span::from(at..at)),
        None => Err(HeadError::StatusLine),
    }
}

fn version_at(bytes: &[u8], at: usize) -> Option<Version> {
    match bytes.get(at..at + 8)? {
        b"HTTP/1.1" => Some(Version::Http11),
        b"HTTP/1.0" => Some(Version::Http10),
        _ => None,
    }
}

/// The version at `at`, which must end its line, and where the next line begins.
fn version_and_crlf(bytes: &[u8], at: usize) -> Result<(Version, usize), HeadError> {
    let version = version_at(bytes, at).ok_or(HeadError::RequestLine)?;
    match bytes.get(at + 8..at + 10) {
        Some(b"\r\n") => Ok((version, at + 10)),
        _ => Err(HeadError::RequestLine),
    }
}

/// Names what `httparse` has refused.
#[cold]
fn refusal(error: httparse::Error, bytes: &[u8], start_line: HeadError) -> HeadError {
    match error {
        httparse::Error::HeaderName => HeadError::FieldName,
        httparse::Error::HeaderValue => HeadError::FieldValue,
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::Version if names_other_version(bytes) => HeadError::Version,
        httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token
        | httparse::Error::Version => start_line,
    }
}

/// Whether a start line names an HTTP version that is not spoken here, be it one of which nothing
/// is known. A word of another shape is no version but nonsense.
fn names_other_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let is_version = |word: &[u8]| {
        matches!(word, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit())
            && !matches!(word, b"HTTP/1.0" | b"HTTP/1.1")
    };
    line.split(|byte| *byte == b' ').any(is_version)
}
