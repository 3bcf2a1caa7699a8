//! The request target (RFC 9112 §3.2) and the authority that it or `Host` names.

use std::net::Ipv6Addr;

use super::error::HeadError;
use crate::message::{Method, Span};

/// A request target taken apart.
pub(super) struct Target {
    /// The authority, when the target is in absolute form.
    pub(super) authority: Option<Span>,
    /// Path and query; empty when an absolute form has none.
    pub(super) path_and_query: Span,
}

/// Takes the target at `span` apart: origin form, absolute form with `http` or `https`, or `*`
/// for OPTIONS.
///
/// Only visible ASCII may be in it, and no `#`: a fragment is never sent (RFC 3986 §3.5), and
/// where it is, peers disagree on where the path ends. An absolute form that has a query but no
/// path is refused, though RFC 3986 knows it: nobody sends it, and the `/` that it lacks is in no
/// byte that could be pointed at.
pub(super) fn split(raw: &[u8], span: Span, method: Method) -> Result<Target, HeadError> {
    let target = span.of(raw);
    // Without a way out of the loop, the compiler compares many bytes at once.
    let allowed = |byte: &u8| (0x21..=0x7e).contains(byte) & (*byte != b'#');
    if !target.iter().fold(true, |all, byte| all & allowed(byte)) {
        return Err(HeadError::Target);
    }
    match target {
        [b'/', ..] => return Ok(Target { authority: None, path_and_query: span }),
        b"*" if method == Method::Options => {
            return Ok(Target { authority: None, path_and_query: span });
        }
        _ => {}
    }
    let has_scheme = |scheme: &[u8]| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    let skip = match () {
        () if has_scheme(b"http://") => "http://".len(),
        () if has_scheme(b"https://") => "https://".len(),
        () => return Err(HeadError::Target),
    };
    let rest = &target[skip..];
    let host = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    if !is_valid_authority(&rest[..host]) {
        return Err(HeadError::Host);
    }
    if rest.get(host) == Some(&b'?') {
        return Err(HeadError::Target);
    }
    let start = span.start as usize + skip;
    Ok(Target {
        authority: Some(Span::from(start..start + host)),
        path_and_query: Span::from(start + host..span.end()),
    })
}

/// Whether this is `host[:port]` as a `Host` field may carry it (RFC 9110 §7.2, HTTP_SAFETY
/// rule 15): a name, an IPv4 address, or an IPv6 address in brackets, and a port of 0 to 65535.
///
/// Stricter than RFC 3986: no user information, no empty host, no zone or future address; and a
/// name has letters, digits, `-`, `.`, `_` and `~` only. The other characters that a reg-name may
/// have are in no name that resolves, but are what attacks on hosts are made of: a comma joins
/// two of them, an escape hides one.
pub fn is_valid_authority(text: &[u8]) -> bool {
    let (host_is_valid, rest) = if let Some(inner) = text.strip_prefix(b"[") {
        let Some(close) = inner.iter().position(|byte| *byte == b']') else { return false };
        let address = std::str::from_utf8(&inner[..close]).ok();
        (address.is_some_and(|a| a.parse::<Ipv6Addr>().is_ok()), &inner[close + 1..])
    } else {
        let end = text.iter().position(|byte| !NAME[*byte as usize]).unwrap_or(text.len());
        (end > 0, &text[end..])
    };
    host_is_valid
        && match rest {
            [] => true,
            [b':', port @ ..] => is_port(port),
            _ => false,
        }
}

/// The characters of a name that can be a host.
const NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        table[byte] = c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    table
};

fn is_port(text: &[u8]) -> bool {
    let digits = (1..=5).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    digits && text.iter().fold(0_u32, |port, digit| port * 10 + u32::from(digit - b'0')) < 65_536
}
