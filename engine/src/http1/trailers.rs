//! Which trailer fields may be forwarded (RFC 9110 §6.5.1, HTTP_SAFETY rule 4).

use std::borrow::Cow;

use super::write::{is_safe_value, is_token};
use crate::message::FieldName;

/// What becomes of a well-formed trailer field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is forwarded.
    Keep,
    /// It is left out.
    Drop,
}

/// Names longer than this, in bytes, are compared with nothing and kept: no known name is.
const LONGEST_KNOWN: usize = 64;

/// Beginnings of names that steer how a message is handled. None is of use behind a body.
const STEERING: [&[u8]; 7] =
    [b"access-control-", b"content-", b"if-", b"proxy-", b"sec-", b"x-auth", b"x-forwarded-"];

/// Judges one line of a trailer section, without its line end. `None` when it is no field line:
/// the same rules hold as in a head (rule 6).
pub(super) fn judge(line: &[u8]) -> Option<Verdict> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) || !is_safe_value(value) {
        return None;
    }
    Some(if may_be_late(name) { Verdict::Keep } else { Verdict::Drop })
}

/// Whether the name steers nothing. Programs behind a gateway often fold `_` and `.` into `-`, so
/// a name is judged as if it were written that way (as in rule 17).
fn may_be_late(name: &[u8]) -> bool {
    let mut room = [0; LONGEST_KNOWN];
    let Some(folded) = room.get_mut(..name.len()) else { return true };
    for (to, from) in folded.iter_mut().zip(name) {
        *to = fold(*from);
    }
    let folded: &[u8] = folded;
    match FieldName::from_bytes(folded) {
        FieldName::Other => {
            folded == b"content-digest" || !STEERING.iter().any(|start| folded.starts_with(start))
        }
        known => known.is_allowed_in_trailers(),
    }
}

/// How programs that fold names see a byte of one.
fn fold(byte: u8) -> u8 {
    match byte {
        b'_' | b'.' => b'-',
        _ => byte.to_ascii_lowercase(),
    }
}

/// Names that a trailer section may not bring, because the head says what is under them, or that
/// there is nothing: some programs put trailers among the headers, and what a filter has taken out
/// of the head would be back (rule 17).
///
/// Kept as hashes, so that it takes no memory of its own. A client that finds a name with the same
/// hash as another only loses what it sends under it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Withheld {
    hashes: [u64; MOST_WITHHELD],
    count: usize,
}

/// How many names are told apart; with more, no trailer passes.
const MOST_WITHHELD: usize = 16;

impl Withheld {
    /// Adds a name, whose other spellings are then meant too.
    pub(crate) fn add(&mut self, name: &[u8]) {
        if let Some(free) = self.hashes.get_mut(self.count) {
            *free = hash(name);
        }
        self.count += 1;
    }

    /// The lines of a trailer section, each with its CRLF, that may pass.
    pub(crate) fn strip<'t>(&self, lines: &'t [u8]) -> Cow<'t, [u8]> {
        if lines.is_empty() || self.count == 0 {
            return Cow::Borrowed(lines);
        }
        let passes = |line: &&[u8]| {
            let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
            self.hashes.get(..self.count).is_some_and(|hashes| !hashes.contains(&hash(name)))
        };
        let lines = lines.split_inclusive(|&byte| byte == b'\n');
        Cow::Owned(lines.filter(passes).collect::<Vec<_>>().concat())
    }
}

/// FNV-1a of the folded name.
fn hash(name: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(fold(*byte))).wrapping_mul(0x100_0000_01b3);
    name.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_head_says_no_trailer_says_again() {
        let mut withheld = Withheld::default();
        let lines = b"X-Sum: 1\r\nX_User.ID: root\r\nX-User-Id: root\r\nx-users-id: a\r\n";
        assert!(matches!(withheld.strip(lines), Cow::Borrowed(_)));
        withheld.add(b"x-user-id");
        withheld.add(b"X-Role");
        assert_eq!(*withheld.strip(lines), *b"X-Sum: 1\r\nx-users-id: a\r\n");
        (0..MOST_WITHHELD).for_each(|at| withheld.add(format!("X-{at}").as_bytes()));
        assert_eq!(*withheld.strip(lines), *b"", "with too many names none is sure to be another");
    }
}
