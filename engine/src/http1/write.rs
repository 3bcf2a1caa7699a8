//! Appends the parts of a head to a buffer that the caller clears and reuses.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::scan::is_token_byte;
use crate::message::Version;

/// Appends a request line (RFC 9112 §3). The parts must be valid; those of a parsed head are.
pub fn request_line(out: &mut Vec<u8>, method: &[u8], target: &[u8], version: Version) {
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(target);
    out.push(b' ');
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends an HTTP/1.1 status line (RFC 9112 §4) with this reason, or the standard one.
pub fn status_line(out: &mut Vec<u8>, status: u16, reason: Option<&[u8]>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    digits::<3>(out, status.into());
    out.push(b' ');
    out.extend_from_slice(reason.unwrap_or_else(|| reason_phrase(status).as_bytes()));
    out.extend_from_slice(b"\r\n");
}

/// Appends a field line. A name or value that was configured, rendered or rewritten must have
/// passed [`is_token`] and [`is_safe_value`] (HTTP_SAFETY rule 18); a parsed one has.
#[inline]
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(is_token(name) && is_safe_value(value), "a field that splits the head");
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal digits.
pub fn decimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends the last `N` decimal digits of a number, zeros in front.
#[inline]
pub fn digits<const N: usize>(out: &mut Vec<u8>, mut number: u32) {
    let mut text = [b'0'; N];
    for digit in text.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&text);
}

/// Appends an address as text; a mapped IPv4 address as IPv4.
pub fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            decimal(out, first.into());
            for octet in rest {
                out.push(b'.');
                decimal(out, octet.into());
            }
        }
        // Writing into a vector cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// Appends an address and its port as text, an IPv6 address in brackets.
pub fn socket(out: &mut Vec<u8>, socket: SocketAddr) {
    match socket {
        SocketAddr::V4(socket) => {
            address(out, IpAddr::V4(*socket.ip()));
            out.push(b':');
            decimal(out, socket.port().into());
        }
        // Writing into a vector cannot fail.
        SocketAddr::V6(socket) => drop(write!(out, "{socket}")),
    }
}

/// Appends the sixteen hexadecimal digits of a number in lower case, eight of them at a time.
pub fn long_hex(out: &mut Vec<u8>, number: u64) {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    for half in [number >> 32, number & 0xffff_ffff] {
        // The digits are spread over the bytes, the first into the highest.
        let pairs = (half | half << 16) & 0x0000_ffff_0000_ffff;
        let bytes = (pairs | pairs << 8) & 0x00ff_00ff_00ff_00ff;
        let digits = (bytes | bytes << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        // With six added, those above nine carry into the bit behind them: they are letters.
        let letters = (digits + ONES * 6) >> 4 & ONES;
        let text = digits + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'9' - 1);
        out.extend_from_slice(&text.to_be_bytes());
    }
}

/// Appends a number in lower-case hexadecimal digits, without leading zeros.
pub fn hex(out: &mut Vec<u8>, number: u64) {
    let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let digit = (number >> (place * 4)) as usize & 0xf;
        out.push(b"0123456789abcdef"[digit]);
    }
}

/// Whether a text is a token, as methods and field names are (RFC 9110 §5.6.2).
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

/// Whether a text can stand as a field value: no control character but the tab (RFC 9110 §5.5;
/// HTTP_SAFETY rules 5 and 18).
pub fn is_safe_value(text: &[u8]) -> bool {
    let safe = |byte: &u8| (*byte >= b' ') & (*byte != 0x7f) | (*byte == b'\t');
    // Without a way out of the loop, the compiler compares many bytes at once.
    text.iter().fold(true, |all, byte| all & safe(byte))
}

/// The standard reason phrase of a status (RFC 9110 §15 and the IANA registry), empty when there
/// is none.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        511 => "Network Authentication Required",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_have_as_many_digits_as_asked_for() {
        assert_eq!(written(|out| digits::<3>(out, 7)), "007");
        assert_eq!(written(|out| digits::<2>(out, 59)), "59");
        assert_eq!(written(|out| digits::<2>(out, 1234)), "34");
        for number in [0, 9, 10, 0x0123_4567_89ab_cdef, 0xf0f0_f0f0_9a9a_9a9a, u64::MAX] {
            assert_eq!(written(|out| long_hex(out, number)), format!("{number:016x}"));
        }
    }

    #[test]
    fn addresses_are_written_as_the_library_does() {
        for text in ["1.2.3.4", "0.0.0.0", "255.100.10.9", "::1", "2001:db8::7", "fe80::1"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(written(|out| address(out, ip)), text);
            let with_port = SocketAddr::new(ip, 8080);
            assert_eq!(written(|out| socket(out, with_port)), with_port.to_string());
        }
        let mapped = "::ffff:1.2.3.4".parse().unwrap();
        assert_eq!(written(|out| address(out, mapped)), "1.2.3.4");
    }
}
