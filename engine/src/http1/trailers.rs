//! Which trailer fields may be forwarded (RFC 9110 §6.5.1, HTTP_SAFETY rule 4).

use super::write::{is_safe_value, is_token};
use crate::message::{FieldName, read};

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

/// The name of a line that [`judge`] kept.
pub(super) fn name(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b':').next().unwrap_or_default()
}

/// Whether the name steers nothing. Programs behind a gateway often fold `_` and `.` into `-`, so
/// a name is judged as if it were written that way (as in rule 17).
fn may_be_late(name: &[u8]) -> bool {
    let mut room = [0; LONGEST_KNOWN];
    let Some(folded) = room.get_mut(..name.len()) else { return true };
    for (to, from) in folded.iter_mut().zip(read(name)) {
        *to = from;
    }
    let folded: &[u8] = folded;
    match FieldName::from_bytes(folded) {
        FieldName::Other => {
            folded == b"content-digest" || !STEERING.iter().any(|start| folded.starts_with(start))
        }
        known => known.is_allowed_in_trailers(),
    }
}
