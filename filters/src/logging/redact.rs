//! What is not to be read in the log, and bytes that a line cannot hold.

use ringway_engine::http1::write::hex;

/// What stands for a value that is not to be read.
pub(super) const HIDDEN: &[u8] = b"***";

/// Bytes of one value that are logged. A head may have 64 KiB, and eight of them are a batch.
pub(super) const LONGEST: usize = 4096;

/// Appends a link: what stands in its query and in its fragment as [`query`] does, the rest as it
/// is. Any text may be one.
pub(super) fn link(link: &[u8], names: &[String], mut put: impl FnMut(&[u8])) {
    let begin = link.iter().position(|byte| matches!(byte, b'?' | b'#'));
    match begin {
        None => put(link),
        Some(at) => {
            put(&link[..=at]);
            query(&link[at + 1..], names, put);
        }
    }
}

/// Appends a query with the values of the parameters hidden that have one of these names, calling
/// `put` with what may be read, piece by piece.
///
/// A parameter begins wherever some program lets one begin: behind `&`, behind `;`, in a fragment,
/// in the query of a link that is itself a value. A hidden value ends only at `&` and `#`, where
/// every program ends it, so that no part of a secret is read for want of an escape.
pub(super) fn query(query: &[u8], names: &[String], mut put: impl FnMut(&[u8])) {
    let find = |from: usize, ends: &[u8]| {
        let found = query[from..].iter().position(|byte| ends.contains(byte));
        found.map_or(query.len(), |at| from + at)
    };
    let (mut at, mut shown) = (0, 0);
    while at < query.len() {
        let equals = find(at, b"=&;#?");
        let secret = || names.iter().any(|hidden| spells(&query[at..equals], hidden));
        let end = if query.get(equals) == Some(&b'=') && secret() {
            put(&query[shown..=equals]);
            put(HIDDEN);
            shown = find(equals, b"&#");
            shown
        } else {
            find(equals, b"&;#?")
        };
        at = end + 1;
    }
    if shown < query.len() {
        put(&query[shown..]);
    }
}

/// True when a program behind the gateway may find the parameter under this name: escapes decoded,
/// in any case, as it is or as a part of a path in brackets (`user[password]`).
fn spells(name: &[u8], hidden: &str) -> bool {
    let hidden = hidden.as_bytes();
    // What of the hidden name is still to come, of the whole and of this part.
    let (mut whole, mut part) = (Some(hidden), Some(hidden));
    let mut name = name;
    while !name.is_empty() {
        let (letter, rest) = match name {
            [b'%', high, low, rest @ ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, rest),
                _ => (b'%', &name[1..]),
            },
            _ => (name[0], &name[1..]),
        };
        whole = further(whole, letter);
        if matches!(letter, b'[' | b']') {
            if part.is_some_and(<[u8]>::is_empty) {
                return true;
            }
            part = Some(hidden);
        } else {
            part = further(part, letter);
        }
        name = rest;
    }
    [whole, part].iter().any(|left| left.is_some_and(<[u8]>::is_empty))
}

/// What is left of a name that has gone so far and goes on with this letter.
fn further(left: Option<&[u8]>, letter: u8) -> Option<&[u8]> {
    match left {
        Some([next, rest @ ..]) if next.eq_ignore_ascii_case(&letter) => Some(rest),
        _ => None,
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Whether a letter makes a reader see other lines, or another order, than what stands there:
/// control characters (C0, DEL and C1), U+2028 and U+2029, which end a line in some programs, and
/// those that turn the direction of writing (Unicode UAX #9 §2).
fn misleads(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Appends the inside of a JSON string (RFC 8259 §7). What misleads is escaped (HTTP_SAFETY rule
/// 27); what is not UTF-8 becomes U+FFFD.
pub(super) fn json(out: &mut Vec<u8>, text: &[u8]) {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') & (*byte != b'"') & (*byte != b'\\');
    // Without a way out of the loop, the compiler compares many bytes at once.
    if text.iter().fold(true, |all, byte| all & plain(byte)) {
        return out.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\\' => out.extend_from_slice(&[b'\\', letter as u8]),
                letter if misleads(letter) => {
                    let [.., high, low] = u32::from(letter).to_be_bytes();
                    out.extend_from_slice(b"\\u");
                    byte_hex(out, high);
                    byte_hex(out, low);
                }
                letter => put_char(out, letter),
            }
        }
        if !chunk.invalid().is_empty() {
            put_char(out, char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Appends text for a line of words: `"`, `\`, what misleads and what is not UTF-8 escaped as web
/// servers do it, `\x0a`. Of a `word` blanks are escaped too: it stands between blanks.
pub(super) fn plain(out: &mut Vec<u8>, text: &[u8], word: bool) {
    for chunk in text.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\\' => out.extend_from_slice(&[b'\\', letter as u8]),
                letter if misleads(letter) || (word && letter == ' ') => {
                    let mut bytes = [0; 4];
                    escaped(out, letter.encode_utf8(&mut bytes).as_bytes());
                }
                letter => put_char(out, letter),
            }
        }
        escaped(out, chunk.invalid());
    }
}

fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        out.extend_from_slice(b"\\x");
        byte_hex(out, byte);
    }
}

fn byte_hex(out: &mut Vec<u8>, byte: u8) {
    if byte < 16 {
        out.push(b'0');
    }
    hex(out, byte.into());
}

fn put_char(out: &mut Vec<u8>, letter: char) {
    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_parameters_are_found_however_they_are_spelt() {
        let names = ["token".to_owned(), "sig".to_owned()];
        for (written, read) in [
            ("", ""),
            ("a=1", "a=1"),
            ("token=secret", "token=***"),
            ("a=1&token=secret&b=2", "a=1&token=***&b=2"),
            ("TOKEN=s&%74oken=s&t%6Fken=s=t", "TOKEN=***&%74oken=***&t%6Fken=***"),
            ("token=&token&tokens=1&xtoken=2", "token=***&token&tokens=1&xtoken=2"),
            ("%zz=1&%7=2&sig=3&", "%zz=1&%7=2&sig=***&"),
            ("a=1;token=s;t&b=2", "a=1;token=***&b=2"),
            ("a;b=2;sig;sig=s", "a;b=2;sig;sig=***"),
            ("to=http://b/?a=1?token=s?t&c=3", "to=http://b/?a=1?token=***&c=3"),
            ("a=1#token=s&b#sig=s#c", "a=1#token=***&b#sig=***#c"),
            ("u[token]=s&u%5bx%5D%5BSIG%5D=s", "u[token]=***&u%5bx%5D%5BSIG%5D=***"),
            ("token[]=s&sig[a]=s&x[tokens]=1", "token[]=***&sig[a]=***&x[tokens]=1"),
        ] {
            let mut out = Vec::new();
            query(written.as_bytes(), &names, |piece| out.extend_from_slice(piece));
            assert_eq!(String::from_utf8_lossy(&out), read);
        }
    }

    #[test]
    fn a_link_has_its_secrets_behind_its_path() {
        let names = ["token".to_owned()];
        for (written, read) in [
            ("/token=1", "/token=1"),
            ("token=1", "token=1"),
            ("http://a/b?token=s#token=s", "http://a/b?token=***#token=***"),
            ("/b#token=s&b", "/b#token=***&b"),
            ("0; url=/b?token=s", "0; url=/b?token=***"),
            ("/b?", "/b?"),
        ] {
            let mut out = Vec::new();
            link(written.as_bytes(), &names, |piece| out.extend_from_slice(piece));
            assert_eq!(String::from_utf8_lossy(&out), read);
        }
    }

    #[test]
    fn nothing_breaks_a_line() {
        let evil = b"a\r\n\0\x1b[31m\x7f\xc2\x9b\"\\\xff\xc3\xa9 b";
        let turned = "a\u{2028}b\u{202e}c\u{2066}d\u{200f}";
        let mut out = Vec::new();
        json(&mut out, turned.as_bytes());
        assert_eq!(out, br"a\u2028b\u202ec\u2066d\u200f");
        let mut out = Vec::new();
        plain(&mut out, turned.as_bytes(), false);
        assert_eq!(out, br"a\xe2\x80\xa8b\xe2\x80\xaec\xe2\x81\xa6d\xe2\x80\x8f");
        let mut out = Vec::new();
        json(&mut out, evil);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "a\\u000d\\u000a\\u0000\\u001b[31m\\u007f\\u009b\\\"\\\\\u{fffd}\u{e9} b");
        let read: String = serde_json::from_str(&format!("\"{text}\"")).unwrap();
        assert_eq!(read, "a\r\n\0\u{1b}[31m\u{7f}\u{9b}\"\\\u{fffd}\u{e9} b");
        let mut out = Vec::new();
        plain(&mut out, evil, true);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "a\\x0d\\x0a\\x00\\x1b[31m\\x7f\\xc2\\x9b\\\"\\\\\\xff\u{e9}\\x20b"
        );
    }
}
