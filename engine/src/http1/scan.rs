//! Finds the end of a head in bytes that arrive in any pieces, and refuses bytes that cannot be
//! part of one as soon as they are seen.

use super::error::HeadError;

/// Fields of a head, at most, whatever the limits say: the room for them lies on the stack
/// (32 bytes each). More than twice what HTTP_SAFETY rule 21 asks for.
pub const MAX_FIELDS: usize = 256;

/// What a head may measure at most (HTTP_SAFETY rule 21).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head, with all line ends.
    pub max_head: usize,
    /// Bytes of one line, without its line end.
    pub max_line: usize,
    /// Number of fields; values over [`MAX_FIELDS`] count as that.
    pub max_fields: usize,
}

/// Looks for the end of a head, however its bytes arrive.
///
/// It remembers where it stopped, so that feeding byte by byte is linear, and what it answers
/// depends on the bytes alone, not on how they were split: it is one machine that takes a byte at
/// a time, with a short cut over stretches in which nothing can happen.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Scanner {
    /// Offset of the first byte that was not yet looked at.
    at: usize,
    /// Offset at which the current line begins.
    line: usize,
    /// Lines that are complete, an empty one before the start line not counted.
    lines: usize,
    /// Whether an empty line before the start line was skipped.
    skipped: bool,
}

impl Scanner {
    /// Goes on where the last call stopped. `bytes` is all that has arrived of the message so
    /// far, from its first byte.
    ///
    /// Returns `Some(len)` when `bytes[..len]` is the whole head, with the empty line that ends
    /// it and at most one empty line before it (RFC 9112 §2.2); `None` when more bytes are
    /// needed. After an error or `Some`, call [`reset`](Scanner::reset) first.
    pub fn scan(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        while let Some(&byte) = bytes.get(self.at) {
            if self.skip_clean(byte, bytes, limits) {
                if self.end_of_line(limits)? {
                    return Ok(Some(self.at));
                }
            } else if let Some(&byte) = bytes.get(self.at)
                && self.step(byte, bytes, limits)?
            {
                return Ok(Some(self.at));
            }
        }
        Ok(None)
    }

    /// True when it has not looked at a byte yet.
    pub(super) fn is_new(&self) -> bool {
        self.at == 0
    }

    /// Forgets everything: the next bytes are those of another message.
    pub fn reset(&mut self) {
        *self = Scanner::default();
    }

    /// The short cut: goes over the bytes of the line at hand in which no event of the machine
    /// can lie, eight at a time, and over its CRLF. Returns whether it did the latter. What it
    /// leaves, it leaves to [`step`](Scanner::step).
    #[inline]
    fn skip_clean(&mut self, byte: u8, bytes: &[u8], limits: &HeadLimits) -> bool {
        // A CR that came before is for the machine, and so is an odd first byte of a line.
        let first = self.at == self.line;
        if (first && !is_token_byte(byte)) || (!first && bytes[self.at - 1] == b'\r') {
            return false;
        }
        let line_end = self.line.saturating_add(limits.max_line);
        let end = bytes.len().min(limits.max_head).min(line_end);
        let Some(rest) = bytes.get(self.at..end) else { return false };
        for word in rest.chunks_exact(8) {
            let mut eight = [0; 8];
            eight.copy_from_slice(word);
            let found = controls(u64::from_le_bytes(eight));
            if found != 0 {
                self.at += found.trailing_zeros() as usize / 8;
                break;
            }
            self.at += 8;
        }
        let complete =
            self.at + 2 <= limits.max_head && bytes.get(self.at..self.at + 2) == Some(b"\r\n");
        if complete {
            self.at += 2;
        }
        complete
    }

    /// Takes one byte. Returns whether it was the last of the head.
    #[inline]
    fn step(&mut self, byte: u8, bytes: &[u8], limits: &HeadLimits) -> Result<bool, HeadError> {
        if self.at >= limits.max_head {
            return Err(HeadError::HeadTooLarge);
        }
        let after_cr = self.at > self.line && bytes[self.at - 1] == b'\r';
        match byte {
            b'\n' if after_cr => {
                self.at += 1;
                return self.end_of_line(limits);
            }
            b'\n' => return Err(HeadError::BareLf),
            _ if after_cr => return Err(HeadError::BareCr),
            b'\r' => {}
            _ => self.content(byte, limits)?,
        }
        self.at += 1;
        Ok(false)
    }

    /// Takes a byte of a line that is not part of a line end.
    fn content(&self, byte: u8, limits: &HeadLimits) -> Result<(), HeadError> {
        if self.at == self.line {
            match byte {
                0x16 if self.at == 0 => return Err(HeadError::LooksLikeTls),
                b' ' | b'\t' if self.lines > 0 => return Err(HeadError::Folded),
                _ if self.lines == 0 && !is_token_byte(byte) => return Err(HeadError::BadStart),
                _ => {}
            }
        }
        if self.at - self.line >= limits.max_line {
            return Err(match self.lines {
                0 => HeadError::StartLineTooLong,
                _ => HeadError::FieldTooLong,
            });
        }
        if (byte < b' ' && byte != b'\t') || byte == 0x7f {
            return Err(HeadError::Control);
        }
        Ok(())
    }

    /// A line is complete. Returns whether it was the one that ends the head.
    fn end_of_line(&mut self, limits: &HeadLimits) -> Result<bool, HeadError> {
        let empty = self.at - self.line == 2;
        self.line = self.at;
        match (empty, self.lines) {
            (true, 0) if self.skipped => return Err(HeadError::EmptyLines),
            (true, 0) => self.skipped = true,
            (true, _) => return Ok(true),
            (false, lines) if lines > limits.max_fields.min(MAX_FIELDS) => {
                return Err(HeadError::TooManyFields);
            }
            (false, _) => self.lines += 1,
        }
        Ok(false)
    }
}

/// Whether a byte may be part of a token (RFC 9110 §5.6.2).
#[inline]
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        table[byte] = c.is_ascii_alphanumeric()
            || matches!(
                c,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

/// The high bit of each of the eight bytes that is below 0x20 or is 0x7f. Only the lowest bit
/// found is exact: a borrow may mark bytes above it.
#[inline]
fn controls(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = ONES * 0x80;
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let without_delete = word ^ (ONES * 0x7f);
    let delete = without_delete.wrapping_sub(ONES) & !without_delete;
    (below_space | delete) & HIGH
}
