//! A request of the gateway's own, which a filter makes to an upstream of the file, and its answer.

use std::time::Duration;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The name of the upstream.
    pub upstream: String,
    /// The method.
    pub method: String,
    /// The path and query.
    pub target: Vec<u8>,
    /// Header fields beside `Host` and `Content-Length`.
    pub headers: Vec<(String, Vec<u8>)>,
    /// `Host`; without it, the endpoint's own name.
    pub host: Option<Vec<u8>>,
    /// The body; may be empty.
    pub body: Vec<u8>,
    /// How long all of it may take, from connecting to the last byte of the answer. Noticed up to
    /// two tenths of a second late.
    pub timeout: Duration,
    /// Bytes of the answer's body, at most; a longer one is an error if the answer is a success.
    pub max_body: usize,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// The status.
    pub status: u16,
    /// The end-to-end header fields, in order, without those that frame the body.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body. Empty where the answer is no success (RFC 9110 §15.3) and its body was too long or
    /// broke off: the status has been told, and whoever asked must not take it for no answer.
    pub body: Vec<u8>,
}

impl Called {
    /// The values of all fields of this name, in any case and in order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_slice())
    }
}
