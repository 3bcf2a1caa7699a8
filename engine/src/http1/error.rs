//! Why a head is refused, and what the one who sent it is told.

use thiserror::Error;

/// A head that breaks a rule of HTTP_SAFETY. Every one of them ends the connection: after it,
/// where the next message begins is a guess.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum HeadError {
    /// A TLS ClientHello on a plain listener.
    #[error("this is TLS, and the port speaks plain HTTP")]
    LooksLikeTls,
    /// The first byte cannot begin a message (RFC 9112 §2.1).
    #[error("the message does not begin with a start line")]
    BadStart,
    /// More than one empty line before the start line (RFC 9112 §2.2 asks to skip at least one).
    #[error("more than one empty line before the message")]
    EmptyLines,
    /// CR without LF (rule 5, RFC 9112 §2.2).
    #[error("a CR that no LF follows")]
    BareCr,
    /// LF without CR (rule 5). RFC 9112 §2.2 lets a recipient accept it; peers disagree on it.
    #[error("an LF without CR before it")]
    BareLf,
    /// NUL or another control character (rule 5, RFC 9110 §5.5).
    #[error("a control character in the head")]
    Control,
    /// White space at the begin of a line: obs-fold, or space before the first field (rule 6,
    /// RFC 9112 §2.2 and §5.2).
    #[error("a line of the head begins with white space")]
    Folded,
    /// The start line is over its limit (rule 21).
    #[error("the request line is too long")]
    StartLineTooLong,
    /// A field line is over its limit (rule 21).
    #[error("a header field is too long")]
    FieldTooLong,
    /// The whole head is over its limit (rule 21).
    #[error("the head is too large")]
    HeadTooLarge,
    /// More fields than the limit (rule 21).
    #[error("too many header fields")]
    TooManyFields,
    /// The request line is not `method SP target SP version` (rule 7, RFC 9112 §3).
    #[error("a malformed request line")]
    RequestLine,
    /// The status line is not `version SP status SP reason` (RFC 9112 §4).
    #[error("a malformed status line")]
    StatusLine,
    /// The version is neither HTTP/1.0 nor HTTP/1.1 (rule 7).
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    /// CONNECT: this is not a forward proxy (rule 7, RFC 9110 §9.3.6).
    #[error("CONNECT is not served")]
    Connect,
    /// The request target is in no form that its method allows (RFC 9112 §3.2).
    #[error("a malformed request target")]
    Target,
    /// A field name is empty or no token, or space stands before the colon (rule 6,
    /// RFC 9112 §5.1).
    #[error("a malformed header name")]
    FieldName,
    /// A field value holds what no value may (RFC 9110 §5.5).
    #[error("a malformed header value")]
    FieldValue,
    /// The head ends too early, or bytes follow it: the caller has cut it in the wrong place.
    #[error("an incomplete head")]
    Incomplete,
    /// HTTP/1.1 without `Host` (rule 15, RFC 9112 §3.2).
    #[error("the Host header is missing")]
    HostMissing,
    /// More than one `Host` (rules 15 and 19).
    #[error("more than one Host header")]
    HostRepeated,
    /// `Host`, or the authority of the target, is not `host[:port]` (rule 15).
    #[error("a malformed host")]
    Host,
    /// A field that may stand once only stands there twice (rule 19).
    #[error("a header that may come once only is repeated")]
    Repeated,
    /// More `Connection` options than anybody needs.
    #[error("too many Connection options")]
    ConnectionOptions,
    /// `Content-Length` is no number, too large, or given twice with different values (rule 2,
    /// RFC 9112 §6.3).
    #[error("a malformed or ambiguous Content-Length")]
    ContentLength,
    /// `Transfer-Encoding` and `Content-Length` in one head (rule 1, RFC 9112 §6.3).
    #[error("both Transfer-Encoding and Content-Length")]
    TwoLengths,
    /// `Transfer-Encoding` on HTTP/1.0, which does not know it (rule 3, RFC 9112 §6.1).
    #[error("Transfer-Encoding on HTTP/1.0")]
    EncodingOnHttp10,
    /// A transfer coding other than one `chunked` (rule 3, RFC 9112 §6.1).
    #[error("an unsupported Transfer-Encoding")]
    Encoding,
    /// TRACE with a body (rule 7, RFC 9110 §9.3.8).
    #[error("TRACE with a body")]
    TraceBody,
    /// An expectation other than `100-continue` (rule 9, RFC 9110 §10.1.1).
    #[error("an unsupported expectation")]
    Expectation,
}

impl HeadError {
    /// The status to answer with when a client has sent the head. A head from an upstream that
    /// is refused is a 502 whatever the reason, which is for the caller to say.
    pub fn status(self) -> u16 {
        match self {
            HeadError::StartLineTooLong => 414,
            HeadError::FieldTooLong | HeadError::HeadTooLarge | HeadError::TooManyFields => 431,
            HeadError::Connect => 405,
            HeadError::Expectation => 417,
            HeadError::Encoding => 501,
            HeadError::Version => 505,
            HeadError::LooksLikeTls
            | HeadError::BadStart
            | HeadError::EmptyLines
            | HeadError::BareCr
            | HeadError::BareLf
            | HeadError::Control
            | HeadError::Folded
            | HeadError::RequestLine
            | HeadError::StatusLine
            | HeadError::Target
            | HeadError::FieldName
            | HeadError::FieldValue
            | HeadError::Incomplete
            | HeadError::HostMissing
            | HeadError::HostRepeated
            | HeadError::Host
            | HeadError::Repeated
            | HeadError::ConnectionOptions
            | HeadError::ContentLength
            | HeadError::TwoLengths
            | HeadError::EncodingOnHttp10
            | HeadError::TraceBody => 400,
        }
    }

    /// A short label for logs and metrics: snake_case, one a variant, never changed lightly.
    pub fn reason(self) -> &'static str {
        match self {
            HeadError::LooksLikeTls => "looks_like_tls",
            HeadError::BadStart => "bad_start",
            HeadError::EmptyLines => "empty_lines",
            HeadError::BareCr => "bare_cr",
            HeadError::BareLf => "bare_lf",
            HeadError::Control => "control_character",
            HeadError::Folded => "folded_line",
            HeadError::StartLineTooLong => "start_line_too_long",
            HeadError::FieldTooLong => "field_too_long",
            HeadError::HeadTooLarge => "head_too_large",
            HeadError::TooManyFields => "too_many_fields",
            HeadError::RequestLine => "bad_request_line",
            HeadError::StatusLine => "bad_status_line",
            HeadError::Version => "bad_version",
            HeadError::Connect => "connect",
            HeadError::Target => "bad_target",
            HeadError::FieldName => "bad_field_name",
            HeadError::FieldValue => "bad_field_value",
            HeadError::Incomplete => "incomplete_head",
            HeadError::HostMissing => "host_missing",
            HeadError::HostRepeated => "host_repeated",
            HeadError::Host => "bad_host",
            HeadError::Repeated => "repeated_field",
            HeadError::ConnectionOptions => "too_many_connection_options",
            HeadError::ContentLength => "bad_content_length",
            HeadError::TwoLengths => "two_lengths",
            HeadError::EncodingOnHttp10 => "encoding_on_http10",
            HeadError::Encoding => "unsupported_encoding",
            HeadError::TraceBody => "trace_body",
            HeadError::Expectation => "unsupported_expectation",
        }
    }
}
