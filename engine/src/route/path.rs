//! The one spelling of a path. It is made once, before anything looks at the path; routes, filters
//! and the upstream all see the same bytes (HTTP_SAFETY rule 20).
//!
//! What is done, in the words of RFC 3986 §6.2.2:
//! - escapes of unreserved characters are decoded, all others get upper-case digits;
//! - bytes that a path may not carry raw (`"<>[]^`{|}` and everything above ASCII) are escaped;
//! - dot segments are removed, however they are written: `..`, `%2e.`, `..;x`, `..%3Bx`;
//! - doubled slashes become one (`merge_slashes`).
//!
//! What is refused: `%00`, a `%` without two hex digits, a backslash, `#`, white space and control
//! characters; `%2F` and `%5C` by policy, and where the policy keeps them still a segment that
//! holds a dot segment between them, because an upstream that decodes early would climb.
//!
//! Overlong UTF-8 (`%C0%AE`) is never taken for the character it imitates: it stays two escapes.

use std::ops::Range;

use ringway_config::{EncodedSlash, PathPolicy};

/// Where the normal path and the query are.
///
/// The ranges are of the input when `unchanged`, of the output buffer otherwise; [`Normal::split`]
/// picks the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normal {
    /// The input was normal already and the output buffer was not touched.
    pub unchanged: bool,
    /// The path. It starts with `/`, except for the single `*` of `OPTIONS *`.
    pub path: Range<usize>,
    /// The query without its `?`; `None` where there was no `?`. It is never rewritten.
    pub query: Option<Range<usize>>,
}

impl Normal {
    /// The path and the query, given the same input and output as the call that made this.
    pub fn split<'a>(&self, input: &'a [u8], out: &'a [u8]) -> (&'a [u8], Option<&'a [u8]>) {
        let bytes = if self.unchanged { input } else { out };
        (&bytes[self.path.clone()], self.query.clone().map(|query| &bytes[query]))
    }
}

/// Why a path was refused. Each is answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Neither empty, nor `*`, nor starting with `/` or `?`.
    #[error("the path does not start with a slash")]
    NotAbsolute,
    /// A `%` that two hex digits do not follow.
    #[error("the path holds a percent sign without two hex digits")]
    BadEscape,
    /// `%00`.
    #[error("the path holds an escaped NUL")]
    Nul,
    /// A control character, white space or DEL in path or query.
    #[error("the path or query holds a control character or white space")]
    Control,
    /// A raw backslash, which some upstreams read as a slash.
    #[error("the path holds a backslash")]
    Backslash,
    /// A `#`: a fragment is never sent (RFC 9112 §3.2).
    #[error("the path or query holds a fragment sign")]
    Fragment,
    /// `%2F` or `%5C` while `encoded_slash` is `reject`.
    #[error("the path holds an escaped slash or backslash")]
    EncodedSlash,
    /// A segment like `..%2Fb`, which climbs once it is decoded.
    #[error("the path hides a dot segment behind an escaped slash")]
    HiddenDots,
}

/// Brings a path into its one spelling.
///
/// `path_and_query` is the origin part of the target. Empty, or starting with `?`, stands for the
/// absolute form without a path and becomes `/` (RFC 9112 §3.2.1). A lone `*` stays what it is.
/// `out` is cleared and filled with path and query unless the input is normal already.
///
/// # Errors
/// See [`PathError`]; `out` holds nothing of use then.
pub fn normalise(
    path_and_query: &[u8],
    policy: &PathPolicy,
    out: &mut Vec<u8>,
) -> Result<Normal, PathError> {
    let path_len = memchr::memchr(b'?', path_and_query).unwrap_or(path_and_query.len());
    let (path, tail) = path_and_query.split_at(path_len);
    check_query(tail)?;
    if is_normal(path, policy) || path == b"*" {
        return Ok(Normal {
            unchanged: true,
            path: 0..path_len,
            query: (!tail.is_empty()).then(|| path_len + 1..path_and_query.len()),
        });
    }
    out.clear();
    rewrite(path, policy, out)?;
    let path = 0..out.len();
    out.extend_from_slice(tail);
    let query = (!tail.is_empty()).then(|| path.end + 1..out.len());
    Ok(Normal { unchanged: false, path, query })
}

/// What the scan does with a byte of the path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stays.
    Plain,
    /// May begin an empty or a dot segment.
    Slash,
    /// Begins an escape.
    Percent,
    /// Has to be escaped.
    Escape,
    Refuse(PathError),
}

/// RFC 3986 §3.3: `pchar` stays as it is, the rest is escaped or refused.
static CLASSES: [Class; 256] = {
    let mut table = [Class::Escape; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            b'\\' => Class::Refuse(PathError::Backslash),
            b'#' => Class::Refuse(PathError::Fragment),
            0..=b' ' | 0x7f => Class::Refuse(PathError::Control),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => Class::Plain,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => {
                Class::Plain
            }
            b':' | b'@' => Class::Plain,
            _ => Class::Escape,
        };
        byte += 1;
    }
    table
};

/// The fast path: one look at each byte. Escapes are left to [`rewrite`], whatever they are.
fn is_normal(path: &[u8], policy: &PathPolicy) -> bool {
    if path.first() != Some(&b'/') {
        return false;
    }
    for (at, &byte) in path.iter().enumerate() {
        match CLASSES[usize::from(byte)] {
            Class::Plain => {}
            Class::Slash => match path.get(at + 1) {
                Some(b'/') if policy.merge_slashes => return false,
                Some(b'.') if starts_with_dots(&path[at + 1..]) => return false,
                _ => {}
            },
            Class::Percent | Class::Escape | Class::Refuse(_) => return false,
        }
    }
    true
}

fn starts_with_dots(rest: &[u8]) -> bool {
    let end = memchr::memchr(b'/', rest).unwrap_or(rest.len());
    Segment::of(&rest[..end]) != Segment::Name
}

/// The query is opaque to the gateway; only what may never stand in a request line is refused.
fn check_query(query: &[u8]) -> Result<(), PathError> {
    for &byte in query {
        match byte {
            b'#' => return Err(PathError::Fragment),
            0..=b' ' | 0x7f => return Err(PathError::Control),
            _ => {}
        }
    }
    Ok(())
}

/// What a decoded segment stands for.
#[derive(PartialEq, Eq)]
enum Segment {
    Name,
    Here,
    Up,
}

impl Segment {
    /// Parameters do not count: servers of the Java family cut `..;x` down to `..`.
    fn of(segment: &[u8]) -> Segment {
        let dots = segment.iter().take_while(|&&byte| byte == b'.').count();
        let rest = &segment[dots..];
        if !(rest.is_empty() || rest[0] == b';' || rest.starts_with(b"%3B")) {
            return Segment::Name;
        }
        match dots {
            1 => Segment::Here,
            2 => Segment::Up,
            _ => Segment::Name,
        }
    }
}

/// Writes the normal path to `out`, which is empty.
fn rewrite(path: &[u8], policy: &PathPolicy, out: &mut Vec<u8>) -> Result<(), PathError> {
    let mut rest = match path {
        [] => &[],
        [b'/', rest @ ..] => rest,
        _ => return Err(PathError::NotAbsolute),
    };
    loop {
        let end = memchr::memchr(b'/', rest).unwrap_or(rest.len());
        let last = end == rest.len();
        let start = out.len();
        out.push(b'/');
        decode(&rest[..end], policy, out)?;
        let segment = &out[start + 1..];
        let kind = Segment::of(segment);
        if kind == Segment::Name && hides_dots(segment) {
            return Err(PathError::HiddenDots);
        }
        match kind {
            Segment::Name if segment.is_empty() && !last && policy.merge_slashes => {
                out.truncate(start);
            }
            Segment::Name => {}
            Segment::Here => out.truncate(start + usize::from(last)),
            Segment::Up => {
                out.truncate(start);
                // Above the root there is nothing but the root (RFC 3986 §5.2.4).
                let parent = memchr::memrchr(b'/', out).unwrap_or(0);
                out.truncate(parent);
                if last {
                    out.push(b'/');
                }
            }
        }
        if last {
            return Ok(());
        }
        rest = &rest[end + 1..];
    }
}

/// Appends one segment with every escape in its one spelling.
fn decode(segment: &[u8], policy: &PathPolicy, out: &mut Vec<u8>) -> Result<(), PathError> {
    let mut at = 0;
    while at < segment.len() {
        let byte = segment[at];
        match CLASSES[usize::from(byte)] {
            Class::Plain | Class::Slash => out.push(byte),
            Class::Escape => push_escape(byte, out),
            Class::Refuse(error) => return Err(error),
            Class::Percent => {
                let digits = segment.get(at + 1..at + 3).ok_or(PathError::BadEscape)?;
                let decoded = hex(digits).ok_or(PathError::BadEscape)?;
                match decoded {
                    0 => return Err(PathError::Nul),
                    b'/' | b'\\' if policy.encoded_slash == EncodedSlash::Reject => {
                        return Err(PathError::EncodedSlash);
                    }
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                        out.push(decoded);
                    }
                    _ => push_escape(decoded, out),
                }
                at += 2;
            }
        }
        at += 1;
    }
    Ok(())
}

fn push_escape(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
}

/// The byte that two hex digits stand for.
pub(super) fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    match digits {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// A dot segment between kept `%2F` or `%5C`.
fn hides_dots(segment: &[u8]) -> bool {
    let mut rest = segment;
    let mut cut = false;
    loop {
        let end = rest
            .windows(3)
            .position(|window| window == b"%2F" || window == b"%5C")
            .unwrap_or(rest.len());
        cut |= end < rest.len();
        if !cut {
            return false;
        }
        if Segment::of(&rest[..end]) != Segment::Name {
            return true;
        }
        if end == rest.len() {
            return false;
        }
        rest = &rest[end + 3..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STRICT: PathPolicy =
        PathPolicy { merge_slashes: true, encoded_slash: EncodedSlash::Reject };
    const KEEP: PathPolicy = PathPolicy { merge_slashes: false, encoded_slash: EncodedSlash::Keep };

    #[track_caller]
    fn check(policy: &PathPolicy, input: &str, expected: Result<&str, PathError>) {
        let mut out = Vec::new();
        let normal = normalise(input.as_bytes(), policy, &mut out);
        let text = normal.map(|normal| {
            let (path, query) = normal.split(input.as_bytes(), &out);
            let mut text = String::from_utf8(path.to_vec()).unwrap();
            if let Some(query) = query {
                text.push('?');
                text.push_str(std::str::from_utf8(query).unwrap());
            }
            text
        });
        assert_eq!(text, expected.map(String::from), "{input}");
    }

    #[test]
    fn a_normal_path_is_left_alone() {
        for path in ["/", "/a/b", "/a/b/", "/.well-known/x", "/...", "/a..b/c.", "/a;v=1/b", "/a?x"]
        {
            let mut out = b"untouched".to_vec();
            let normal = normalise(path.as_bytes(), &STRICT, &mut out).unwrap();
            assert!(normal.unchanged, "{path}");
            assert_eq!(out, b"untouched");
        }
    }

    #[test]
    fn what_stands_for_no_path_becomes_the_root() {
        check(&STRICT, "", Ok("/"));
        check(&STRICT, "?a=1", Ok("/?a=1"));
        check(&STRICT, "*", Ok("*"));
        check(&STRICT, "a/b", Err(PathError::NotAbsolute));
        check(&STRICT, "**", Err(PathError::NotAbsolute));
    }

    #[test]
    fn dot_segments_go_however_they_are_written() {
        check(&STRICT, "/a/./b", Ok("/a/b"));
        check(&STRICT, "/a/../b", Ok("/b"));
        check(&STRICT, "/a/b/..", Ok("/a/"));
        check(&STRICT, "/a/b/.", Ok("/a/b/"));
        check(&STRICT, "/..", Ok("/"));
        check(&STRICT, "/.", Ok("/"));
        check(&STRICT, "/../../etc/passwd", Ok("/etc/passwd"));
        check(&STRICT, "/a/%2e%2e/b", Ok("/b"));
        check(&STRICT, "/a/%2E%2e/b", Ok("/b"));
        check(&STRICT, "/a/.%2e/b", Ok("/b"));
        check(&STRICT, "/a/%2e/b", Ok("/a/b"));
        check(&STRICT, "/a/..;/b", Ok("/b"));
        check(&STRICT, "/a/..;x=1;y/b", Ok("/b"));
        check(&STRICT, "/a/.;x/b", Ok("/a/b"));
        check(&STRICT, "/a/..%3bx/b", Ok("/b"));
        check(&STRICT, "/a/%2e%2e;/b", Ok("/b"));
        check(&STRICT, "/public/..;/admin", Ok("/admin"));
    }

    #[test]
    fn three_dots_are_a_name() {
        check(&STRICT, "/a/.../b", Ok("/a/.../b"));
        check(&STRICT, "/a/..b/c", Ok("/a/..b/c"));
        check(&STRICT, "/a/.%2e./b", Ok("/a/.../b"));
    }

    #[test]
    fn slashes_are_merged_or_kept() {
        check(&STRICT, "//a///b//", Ok("/a/b/"));
        check(&STRICT, "//", Ok("/"));
        check(&STRICT, "/a//../b", Ok("/b"));
        check(&STRICT, "/.//", Ok("/"));
        check(&KEEP, "//a//b//", Ok("//a//b//"));
        check(&KEEP, "/a//../b", Ok("/a/b"));
        check(&KEEP, "/a//.", Ok("/a//"));
    }

    #[test]
    fn escapes_have_one_spelling() {
        check(&STRICT, "/%61%2d%5f%7E", Ok("/a-_~"));
        check(&STRICT, "/a%3ab%20c", Ok("/a%3Ab%20c"));
        check(&STRICT, "/%252e%252e/x", Ok("/%252e%252e/x"));
        check(&STRICT, "/caf\u{e9}", Ok("/caf%C3%A9"));
        check(&STRICT, "/caf%c3%a9", Ok("/caf%C3%A9"));
        check(&STRICT, "/{id}|x^`<>\"[]", Ok("/%7Bid%7D%7Cx%5E%60%3C%3E%22%5B%5D"));
        check(&STRICT, "/%c0%ae%c0%ae/x", Ok("/%C0%AE%C0%AE/x"));
        check(&STRICT, "/%e0%80%af", Ok("/%E0%80%AF"));
        check(&STRICT, "/%3f%23", Ok("/%3F%23"));
    }

    #[test]
    fn what_is_never_right_is_refused() {
        check(&STRICT, "/a%00b", Err(PathError::Nul));
        check(&STRICT, "/%zz", Err(PathError::BadEscape));
        check(&STRICT, "/a%", Err(PathError::BadEscape));
        check(&STRICT, "/a%2", Err(PathError::BadEscape));
        check(&STRICT, "/%2/a", Err(PathError::BadEscape));
        check(&STRICT, "/%+1", Err(PathError::BadEscape));
        check(&STRICT, "/%u002e", Err(PathError::BadEscape));
        check(&STRICT, "/a\\b", Err(PathError::Backslash));
        check(&KEEP, "/a\\..\\b", Err(PathError::Backslash));
        check(&STRICT, "/a#b", Err(PathError::Fragment));
        check(&STRICT, "/a?x#b", Err(PathError::Fragment));
        check(&STRICT, "/a b", Err(PathError::Control));
        check(&STRICT, "/a\tb", Err(PathError::Control));
        check(&STRICT, "/a\u{7f}", Err(PathError::Control));
        check(&STRICT, "/a?x\r\ny", Err(PathError::Control));
    }

    #[test]
    fn an_escaped_slash_follows_the_policy() {
        check(&STRICT, "/a%2fb", Err(PathError::EncodedSlash));
        check(&STRICT, "/a%5Cb", Err(PathError::EncodedSlash));
        check(&STRICT, "/a/..%2fb", Err(PathError::EncodedSlash));
        check(&KEEP, "/a%2fb%5cc", Ok("/a%2Fb%5Cc"));
        check(&KEEP, "/a/..%2fb", Err(PathError::HiddenDots));
        check(&KEEP, "/a/x%5c%2e%2e", Err(PathError::HiddenDots));
        check(&KEEP, "/a/x%2f..;y%2fz", Err(PathError::HiddenDots));
        check(&KEEP, "/a/%2f", Ok("/a/%2F"));
    }

    #[test]
    fn the_query_is_not_rewritten() {
        check(&STRICT, "/%61?x=%2e%zz&y=../a\\b", Ok("/a?x=%2e%zz&y=../a\\b"));
        check(&STRICT, "/a?", Ok("/a?"));
        check(&STRICT, "/a?b?c", Ok("/a?b?c"));
    }

    /// Paths made of the pieces that tricks are made of.
    fn tricky() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "/", "//", ".", "..", ";", "%2e", "%2E", "%2f", "%5c", "%3b", "%25", "%00", "%",
                "%zz", "\\", "?", "#", "a", "é", "{", " ", "%c0%ae", "*", "%2",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| {
            let mut path = b"/".to_vec();
            path.extend(pieces.concat());
            path
        })
    }

    proptest! {
        #[test]
        fn normalising_twice_is_normalising_once(
            input in tricky(), merge_slashes: bool, keep: bool,
        ) {
            let encoded_slash = if keep { EncodedSlash::Keep } else { EncodedSlash::Reject };
            let policy = PathPolicy { merge_slashes, encoded_slash };
            let mut out = Vec::new();
            let Ok(normal) = normalise(&input, &policy, &mut out) else { return Ok(()) };
            let (path, query) = normal.split(&input, &out);
            prop_assert_eq!(path[0], b'/');
            prop_assert!(!path.iter().any(|&byte| byte <= b' ' || byte >= 0x7f || byte == b'\\'));
            for segment in path.split(|&byte| byte == b'/') {
                prop_assert!(Segment::of(segment) == Segment::Name);
            }
            if merge_slashes {
                prop_assert!(!path.windows(2).any(|pair| pair == b"//"));
            }

            let mut whole = path.to_vec();
            if let Some(query) = query {
                whole.push(b'?');
                whole.extend_from_slice(query);
            }
            let mut again = Vec::new();
            let second = normalise(&whole, &policy, &mut again);
            prop_assert!(second.is_ok(), "{:?} -> {:?}", input, whole);
            let second = second.unwrap();
            let (path_again, query_again) = second.split(&whole, &again);
            prop_assert_eq!(path_again, path);
            prop_assert_eq!(query_again, query);
        }
    }
}
