//! The parts of an HTTP message as data: where things stand in the raw bytes, and what was
//! learned about them while they were read once.
//!
//! A head is never copied out of the buffer that it arrived in. What is kept is a [`Span`] per
//! part, so every lookup takes the raw bytes beside the head. This module knows nothing else of
//! the house; `http1` fills these types in.

use std::ops::Range;

mod names;

pub use names::FieldName;

/// Whether a program behind the gateway may take `name` for `other`: none keeps the case, CGI
/// (RFC 3875 §4.1.18) makes `_` of `-`, and some do so with `.` (HTTP_SAFETY rule 17).
pub fn reads_as(name: &[u8], other: &[u8]) -> bool {
    name.len() == other.len() && read(name).eq(read(other))
}

/// Whether a program may take `name` for one that begins with `prefix`.
pub(crate) fn reads_as_one_with(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|start| reads_as(start, prefix))
}

/// The bytes of a name as such a program reads them.
pub(crate) fn read(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().map(|byte| match byte {
        b'_' | b'.' => b'-',
        _ => byte.to_ascii_lowercase(),
    })
}

/// A stretch of the raw bytes of one head: a start and a length, both in bytes.
///
/// A span is only meaningful together with the bytes that it was measured in. Heads are bounded
/// far below 4 GiB, which is why 32 bits are enough and a [`Field`] stays small.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// The bytes of the span in `raw`.
    ///
    /// Panics when the span was measured in other bytes and reaches past the end of `raw`: that
    /// is a bug of the caller, never something a peer can bring about.
    #[inline]
    pub fn of(self, raw: &[u8]) -> &[u8] {
        &raw[self.range()]
    }

    /// The offset just behind the last byte.
    #[inline]
    pub fn end(self) -> usize {
        self.start as usize + self.len as usize
    }

    /// Whether the span holds no byte. The span of an absent part is empty.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The span as a range of offsets.
    #[inline]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end()
    }
}

impl From<Range<usize>> for Span {
    /// A span of a range. Offsets beyond 4 GiB do not occur (heads are bounded) and would
    /// saturate, so that such a span fails loudly in [`Span::of`] instead of pointing elsewhere.
    #[inline]
    fn from(range: Range<usize>) -> Span {
        let start = u32::try_from(range.start).unwrap_or(u32::MAX);
        let len = u32::try_from(range.end.saturating_sub(range.start)).unwrap_or(u32::MAX);
        Span { start, len }
    }
}

/// The protocol version of a message (RFC 9112 §2.3). Nothing but these two is ever accepted.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Version {
    /// HTTP/1.0: no chunked coding, closes by default.
    Http10,
    /// HTTP/1.1: keeps alive by default.
    #[default]
    Http11,
}

impl Version {
    /// The version as it is written in a start line.
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Version::Http10 => b"HTTP/1.0",
            Version::Http11 => b"HTTP/1.1",
        }
    }
}

/// The request methods that the house treats specially (RFC 9110 §9, RFC 5789).
///
/// Methods are case-sensitive, so `get` is [`Method::Other`]. Any other token is `Other` too, and
/// is forwarded as it was written (`RequestHead::method_text`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "each variant is the method of the same name")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Trace,
    Connect,
    /// Any other token.
    #[default]
    Other,
}

impl Method {
    /// The method that these bytes name.
    pub fn from_bytes(text: &[u8]) -> Method {
        match text {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            b"PATCH" => Method::Patch,
            b"TRACE" => Method::Trace,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        }
    }

    /// Whether sending the request twice has the same effect as sending it once
    /// (RFC 9110 §9.2.2), so that it may be repeated when a pooled connection dies under it.
    /// Unknown methods are not.
    pub fn is_idempotent(self) -> bool {
        match self {
            Method::Get
            | Method::Head
            | Method::Put
            | Method::Delete
            | Method::Options
            | Method::Trace => true,
            Method::Post | Method::Patch | Method::Connect | Method::Other => false,
        }
    }
}

/// One header field: where its name and value are, and which known name it is.
///
/// The value is without the white space around it (RFC 9112 §5.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Field {
    /// The name as it was written.
    pub name: Span,
    /// The value, trimmed.
    pub value: Span,
    /// Which known name it is; [`FieldName::Other`] for all that have no meaning to the house.
    pub id: FieldName,
    /// Whether a `Connection` field of the same head lists this name and may do so
    /// (HTTP_SAFETY rule 14: end-to-end names that are listed are not nominated).
    pub nominated: bool,
}

impl Field {
    /// Where the line stands in the head `raw`, with its line end; `None` when it has other white
    /// space than a gateway writes.
    #[inline]
    pub fn line(&self, raw: &[u8]) -> Option<Range<usize>> {
        let usual = raw.get(self.name.end()..self.value.start as usize) == Some(b": ")
            && raw.get(self.value.end()..self.value.end() + 2) == Some(b"\r\n");
        usual.then(|| self.name.start as usize..self.value.end() + 2)
    }

    /// Whether the field is meant for this connection alone and must not be forwarded
    /// (RFC 9110 §7.6.1): a hop-by-hop name, or one that the `Connection` field lists.
    #[inline]
    pub fn is_hop_by_hop(&self) -> bool {
        self.nominated || self.id.is_hop_by_hop()
    }
}

/// What the `Transfer-Encoding` fields of a head say, all of them together (RFC 9112 §6.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum TransferEncoding {
    /// There is no such field.
    #[default]
    Absent,
    /// One field with the single coding `chunked`, in any case.
    Chunked,
    /// Anything else: another coding, several, `chunked` twice, or an empty value.
    Unsupported,
}

/// What the `Connection` fields of a head say, all of them together (RFC 9110 §7.6.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ConnectionOptions {
    /// `close` is listed.
    pub close: bool,
    /// `keep-alive` is listed.
    pub keep_alive: bool,
    /// `upgrade` is listed.
    pub upgrade: bool,
}

/// A request head: spans into its raw bytes, and the facts found while its fields were walked.
///
/// `http1::parse_request` fills it in, and refuses what these fields could not tell apart: after
/// it has returned `Ok` there is at most one `Host`, `Content-Type` and `Authorization` field,
/// and the length of the body is not in doubt.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct RequestHead {
    /// The method, when it is a known one.
    pub method: Method,
    /// The method as it was written.
    pub method_text: Span,
    /// The whole request target as it was written, in whichever form (RFC 9112 §3.2).
    pub target: Span,
    /// The host and optional port that the request is for: from the target when that is in
    /// absolute form, else from `Host` (RFC 9112 §3.2.2). Empty only on HTTP/1.0 without either.
    pub authority: Span,
    /// The origin part of the target. Empty when an absolute form has no path: use
    /// [`RequestHead::path_and_query`], which knows what that stands for.
    pub path_and_query: Span,
    /// Whether the target is in absolute form, so that `Host` must be written anew.
    pub absolute_form: bool,
    /// The protocol version.
    pub version: Version,
    /// The fields in the order in which they came.
    pub fields: Vec<Field>,
    /// Bytes of the head, including an empty line before it and the one that ends it.
    pub len: usize,
    /// The value of `Content-Length`, in bytes.
    pub content_length: Option<u64>,
    /// What `Transfer-Encoding` says.
    pub transfer_encoding: TransferEncoding,
    /// What `Connection` says.
    pub connection: ConnectionOptions,
    /// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    /// Never on HTTP/1.0, where the expectation is to be ignored.
    pub expect_continue: bool,
}

impl RequestHead {
    /// Makes the head empty for the next request, and keeps the room of its fields.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = RequestHead { fields, ..RequestHead::default() };
    }

    /// The value of the first field with a known name.
    pub fn field<'r>(&self, raw: &'r [u8], name: FieldName) -> Option<&'r [u8]> {
        first_known(&self.fields, raw, name)
    }

    /// The value of the first field with this name, in any case.
    pub fn find<'r>(&self, raw: &'r [u8], name: &[u8]) -> Option<&'r [u8]> {
        all_named(&self.fields, raw, name).next()
    }

    /// The values of all fields with this name, in any case and in order.
    pub fn all<'r>(&self, raw: &'r [u8], name: &[u8]) -> impl Iterator<Item = &'r [u8]> {
        all_named(&self.fields, raw, name)
    }

    /// The method that a CORS preflight asks about: of an OPTIONS request with `Origin` and
    /// `Access-Control-Request-Method` (Fetch §3.2.2).
    pub fn asked_by_preflight<'r>(&self, raw: &'r [u8]) -> Option<&'r [u8]> {
        if self.method != Method::Options || self.field(raw, FieldName::Origin).is_none() {
            return None;
        }
        self.find(raw, b"access-control-request-method")
    }

    /// The path and query to route by and to send on: `/` where an absolute form has no path, and
    /// `*` there for OPTIONS (RFC 9112 §3.2.1 and §3.2.4).
    pub fn path_and_query<'r>(&self, raw: &'r [u8]) -> &'r [u8] {
        if !self.path_and_query.is_empty() {
            self.path_and_query.of(raw)
        } else if self.method == Method::Options {
            b"*"
        } else {
            b"/"
        }
    }
}

/// A response head: spans into its raw bytes, and the facts found while its fields were walked.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ResponseHead {
    /// The status code, 100 to 999.
    pub status: u16,
    /// The reason phrase, often empty.
    pub reason: Span,
    /// The protocol version.
    pub version: Version,
    /// The fields in the order in which they came.
    pub fields: Vec<Field>,
    /// Bytes of the head, including the empty line that ends it.
    pub len: usize,
    /// The value of `Content-Length`, in bytes.
    pub content_length: Option<u64>,
    /// What `Transfer-Encoding` says.
    pub transfer_encoding: TransferEncoding,
    /// What `Connection` says.
    pub connection: ConnectionOptions,
}

impl ResponseHead {
    /// Makes the head empty for the next response, and keeps the room of its fields.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = ResponseHead { fields, ..ResponseHead::default() };
    }

    /// The value of the first field with a known name.
    pub fn field<'r>(&self, raw: &'r [u8], name: FieldName) -> Option<&'r [u8]> {
        first_known(&self.fields, raw, name)
    }

    /// The value of the first field with this name, in any case.
    pub fn find<'r>(&self, raw: &'r [u8], name: &[u8]) -> Option<&'r [u8]> {
        all_named(&self.fields, raw, name).next()
    }

    /// The values of all fields with this name, in any case and in order.
    pub fn all<'r>(&self, raw: &'r [u8], name: &[u8]) -> impl Iterator<Item = &'r [u8]> {
        all_named(&self.fields, raw, name)
    }

    /// Whether this is a 1xx, which is never the final answer (RFC 9110 §15.2).
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }
}

fn first_known<'r>(fields: &[Field], raw: &'r [u8], name: FieldName) -> Option<&'r [u8]> {
    fields.iter().find(|field| field.id == name).map(|field| field.value.of(raw))
}

fn all_named<'r>(fields: &[Field], raw: &'r [u8], name: &[u8]) -> impl Iterator<Item = &'r [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.of(raw).eq_ignore_ascii_case(name))
        .map(move |field| field.value.of(raw))
}
