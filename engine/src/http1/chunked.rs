//! The chunked transfer coding (RFC 9112 §7.1), read strictly and written anew.
//!
//! ```text
//!        digit      ;        CR       LF, size > 0
//!  Size ───────► Size ─► Extension ─► SizeLf ─────► Data ─(left = 0)► DataCr ─CR► DataLf ─LF► Size
//!                   └──────CR──────────┘ │
//!                                        │ LF, size = 0       CR             LF, line empty
//!                                        └───────────► Trailer ─► TrailerLf ──────────────► Done
//!                                                         ▲──────────┘ LF, line kept or dropped
//! ```
//!
//! Any other byte is an error, and no byte is looked at twice. Extensions are dropped; what goes
//! out is chunked anew (HTTP_SAFETY rule 4).

use std::ops::Range;

use thiserror::Error;

use super::trailers::{self, Verdict};
use super::write::hex;

/// Hexadecimal digits of a chunk size, at most: with more, the 64 bits would overflow.
pub const MAX_SIZE_DIGITS: u8 = 16;

/// Bytes of the extensions of one chunk, at most. Nobody uses them but to hide bytes in.
pub const MAX_EXTENSION: u16 = 256;

/// Bytes of the extensions of one body, at most: bounds what a peer can make us read without
/// sending any data (as in CVE-2023-39326).
pub const MAX_EXTENSIONS: u32 = 16 * 1024;

/// Bytes of the trailer section, at most, those of fields that are dropped included.
pub const MAX_TRAILERS: usize = 8 * 1024;

/// A chunked body that breaks rule 4 of HTTP_SAFETY. Where the message ends is unknown after it:
/// the connection must be closed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum ChunkError {
    /// The size is missing, or another byte than a digit, `;` or CR follows it.
    #[error("a malformed chunk size")]
    Size,
    /// The size has more than [`MAX_SIZE_DIGITS`] digits.
    #[error("a chunk size that is too large")]
    SizeTooLong,
    /// The extensions are over [`MAX_EXTENSION`] or [`MAX_EXTENSIONS`].
    #[error("chunk extensions that are too long")]
    ExtensionTooLong,
    /// A control character in an extension.
    #[error("a malformed chunk extension")]
    Extension,
    /// CR without LF, or LF without CR.
    #[error("a chunk line that does not end with CRLF")]
    LineEnd,
    /// The data of a chunk is not followed by CRLF: the size was wrong.
    #[error("chunk data of another size than announced")]
    DataEnd,
    /// A trailer line that is no field line (RFC 9112 §5 applies to it too).
    #[error("a malformed trailer field")]
    Trailer,
    /// The trailer section is over [`MAX_TRAILERS`].
    #[error("a trailer section that is too large")]
    TrailersTooLong,
}

impl ChunkError {
    /// The status to answer with when a client has sent the body and no answer has begun.
    pub fn status(self) -> u16 {
        400
    }

    /// A short label for logs and metrics: snake_case, one a variant, never changed lightly.
    pub fn reason(self) -> &'static str {
        match self {
            ChunkError::Size => "bad_chunk_size",
            ChunkError::SizeTooLong => "chunk_size_too_long",
            ChunkError::ExtensionTooLong => "chunk_extension_too_long",
            ChunkError::Extension => "bad_chunk_extension",
            ChunkError::LineEnd => "bad_chunk_line_end",
            ChunkError::DataEnd => "bad_chunk_end",
            ChunkError::Trailer => "bad_trailer",
            ChunkError::TrailersTooLong => "trailers_too_long",
        }
    }
}

/// What [`Decoder::decode`] has found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Data of the body: this range of the input, never empty.
    Data(Range<usize>),
    /// All of the input is used up, and the body goes on.
    More,
    /// The body is complete. What is left of the input belongs to the next message.
    End,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer,
    TrailerLf,
    Done,
    Failed(ChunkError),
}

/// Takes the chunked coding off a body, whatever pieces it arrives in.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Decoder {
    state: State,
    /// Size of the chunk at hand; while in its data, the bytes still to come.
    left: u64,
    /// Digits of the size seen so far.
    digits: u8,
    /// Bytes of extensions of the chunk at hand.
    extension: u16,
    /// Bytes of extensions of the whole body.
    extensions: u32,
    /// Bytes of the trailer section, kept or not.
    trailer_bytes: usize,
    /// The trailer lines that are kept, and behind them the line at hand.
    trailers: Vec<u8>,
    /// Where in `trailers` the line at hand begins.
    line: usize,
}

impl Decoder {
    /// Reads on. Returns how many bytes of `input` are used up and what they were; the next call
    /// gets what follows them. For [`Event::Data`] the range lies within the bytes used up.
    ///
    /// Call it until it returns [`Event::More`] or [`Event::End`]. After an error it returns that
    /// error for ever.
    pub fn decode(&mut self, input: &[u8]) -> Result<(usize, Event), ChunkError> {
        for (at, byte) in input.iter().enumerate() {
            if self.state == State::Data {
                let take = self.left.min((input.len() - at) as u64) as usize;
                self.left -= take as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                return Ok((at + take, Event::Data(at..at + take)));
            }
            if self.state == State::Done {
                return Ok((at, Event::End));
            }
            if let Err(error) = self.step(*byte) {
                self.state = State::Failed(error);
                return Err(error);
            }
        }
        match self.state {
            State::Done => Ok((input.len(), Event::End)),
            State::Failed(error) => Err(error),
            _ => Ok((input.len(), Event::More)),
        }
    }

    /// The trailer fields that may be forwarded, as `name: value` lines with their CRLF, and no
    /// empty line behind them. Complete after [`Event::End`], empty before it.
    ///
    /// Fields that frame, route, authenticate or describe the content are dropped
    /// (RFC 9110 §6.5.1): nobody looks for them behind a body, so nobody would check them.
    pub fn trailers(&self) -> &[u8] {
        if self.state == State::Done { &self.trailers } else { &[] }
    }

    /// Leaves out the trailer fields whose name is `unwanted`. After [`Event::End`].
    pub fn leave_out(&mut self, unwanted: impl Fn(&[u8]) -> bool) {
        let mut from = 0;
        while let Some(len) = self.trailers[from..].iter().position(|byte| *byte == b'\n') {
            let end = from + len + 1;
            if unwanted(trailers::name(&self.trailers[from..end])) {
                self.trailers.drain(from..end);
            } else {
                from = end;
            }
        }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Makes the decoder ready for another body, and keeps the room for trailers.
    pub fn reset(&mut self) {
        let mut trailers = std::mem::take(&mut self.trailers);
        trailers.clear();
        *self = Decoder { trailers, ..Decoder::default() };
    }

    /// Takes one byte that is not data.
    fn step(&mut self, byte: u8) -> Result<(), ChunkError> {
        match self.state {
            State::Size => self.size(byte),
            State::Extension => self.extension(byte),
            State::SizeLf => self.end_of_size(byte),
            State::DataCr if byte == b'\r' => self.go(State::DataLf),
            State::DataLf if byte == b'\n' => {
                self.digits = 0;
                self.extension = 0;
                self.go(State::Size)
            }
            State::DataCr | State::DataLf => Err(ChunkError::DataEnd),
            State::Trailer | State::TrailerLf => self.trailer(byte),
            State::Failed(error) => Err(error),
            // Never reached: `decode` takes these two itself.
            State::Data | State::Done => Ok(()),
        }
    }

    fn go(&mut self, state: State) -> Result<(), ChunkError> {
        self.state = state;
        Ok(())
    }

    fn size(&mut self, byte: u8) -> Result<(), ChunkError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b';' if self.digits > 0 => return self.go(State::Extension),
            b'\r' if self.digits > 0 => return self.go(State::SizeLf),
            b'\n' if self.digits > 0 => return Err(ChunkError::LineEnd),
            _ => return Err(ChunkError::Size),
        };
        if self.digits == MAX_SIZE_DIGITS {
            return Err(ChunkError::SizeTooLong);
        }
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        Ok(())
    }

    fn extension(&mut self, byte: u8) -> Result<(), ChunkError> {
        match byte {
            b'\r' => return self.go(State::SizeLf),
            b'\n' => return Err(ChunkError::LineEnd),
            b'\t' | b' '..=b'~' | 0x80.. => {}
            _ => return Err(ChunkError::Extension),
        }
        if self.extension == MAX_EXTENSION || self.extensions == MAX_EXTENSIONS {
            return Err(ChunkError::ExtensionTooLong);
        }
        self.extension += 1;
        self.extensions += 1;
        Ok(())
    }

    fn end_of_size(&mut self, byte: u8) -> Result<(), ChunkError> {
        match byte {
            b'\n' if self.left == 0 => self.go(State::Trailer),
            b'\n' => self.go(State::Data),
            _ => Err(ChunkError::LineEnd),
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<(), ChunkError> {
        if self.trailer_bytes == MAX_TRAILERS {
            return Err(ChunkError::TrailersTooLong);
        }
        self.trailer_bytes += 1;
        match (self.state, byte) {
            (State::TrailerLf, b'\n') => self.end_of_trailer(),
            (State::TrailerLf, _) | (_, b'\n') => Err(ChunkError::LineEnd),
            (_, b'\r') => self.go(State::TrailerLf),
            (_, b'\t' | b' '..=b'~' | 0x80..) => {
                self.trailers.push(byte);
                Ok(())
            }
            _ => Err(ChunkError::Trailer),
        }
    }

    fn end_of_trailer(&mut self) -> Result<(), ChunkError> {
        let line = &self.trailers[self.line..];
        if line.is_empty() {
            return self.go(State::Done);
        }
        match trailers::judge(line).ok_or(ChunkError::Trailer)? {
            Verdict::Keep => self.trailers.extend_from_slice(b"\r\n"),
            Verdict::Drop => self.trailers.truncate(self.line),
        }
        self.line = self.trailers.len();
        self.go(State::Trailer)
    }
}

/// Appends data as one chunk; nothing when there is no data, since an empty chunk would end the
/// body (rule 4).
pub fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        write_chunk_start(out, data.len() as u64);
        out.extend_from_slice(data);
        write_chunk_end(out);
    }
}

/// Appends what stands before `len` bytes of data that are sent from elsewhere. `len` must not be
/// zero: that is [`write_last`].
pub fn write_chunk_start(out: &mut Vec<u8>, len: u64) {
    debug_assert!(len > 0, "an empty chunk ends the body");
    hex(out, len);
    out.extend_from_slice(b"\r\n");
}

/// Appends what stands behind the data of a chunk.
pub fn write_chunk_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk and the trailer section: lines as [`Decoder::trailers`] returns them,
/// or nothing.
pub fn write_last(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}
