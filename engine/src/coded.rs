//! A response's body that a filter codes on its way to the client.
//!
//! What comes in is taken out of its framing, coded, and framed anew: its length is not known
//! before its end. After each read all that was coded is flushed, so that an event reaches the
//! client before the upstream has more to say. Trailers are dropped: they are about the body as
//! it came (RFC 9110 §6.5.1 allows it).

use crate::buffer::{Buffer, Buffers};
use crate::exchange::Coder;
use crate::http1::{write_chunk, write_last};
use crate::io::{Reader, Writer};
use crate::relay::{Bounds, Framing, Incoming, RelayError, read_more, write};

/// A body on its way through a coder.
pub(crate) struct Coded {
    coder: Box<dyn Coder>,
    /// How it goes out: in chunks, or until the connection closes.
    framing: Framing,
    /// What came, out of its framing. The two take the memory of one buffer each.
    plain: Vec<u8>,
    coded: Vec<u8>,
    sent: u64,
}

impl Coded {
    pub(crate) fn new(coder: Box<dyn Coder>, framing: Framing) -> Self {
        Coded { coder, framing, plain: Vec::new(), coded: Vec::new(), sent: 0 }
    }

    /// Bytes of the coded body so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Takes what `input` has of the body and appends it to `out`, coded, flushed and framed.
    /// Returns how many bytes of `input` belonged to the body.
    pub(crate) fn take(
        &mut self,
        incoming: &mut Incoming,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<usize, RelayError> {
        self.plain.clear();
        let used = incoming.take(input, Framing::UntilClose, &mut self.plain);
        let used = used.map_err(RelayError::Coding)?;
        self.pass(incoming.is_done(), out)?;
        Ok(used)
    }

    /// The upstream's connection ended.
    fn end(&mut self, incoming: &mut Incoming, out: &mut Vec<u8>) -> Result<(), RelayError> {
        self.plain.clear();
        incoming.end(Framing::UntilClose, &mut self.plain)?;
        self.pass(true, out)
    }

    /// Codes what came, and frames what comes of it.
    fn pass(&mut self, last: bool, out: &mut Vec<u8>) -> Result<(), RelayError> {
        let Coded { coder, plain, coded, .. } = self;
        coded.clear();
        let made = coder.code(plain, coded).and_then(|()| match last {
            true => coder.finish(coded),
            false if plain.is_empty() => Ok(()),
            false => coder.flush(coded),
        });
        made.map_err(RelayError::Coder)?;
        self.sent += coded.len() as u64;
        if self.framing == Framing::Chunked {
            write_chunk(out, coded);
            if last {
                write_last(out, &[]);
            }
        } else {
            out.extend_from_slice(coded);
        }
        Ok(())
    }

    /// Relays the rest of a body, as [`crate::relay::relay`] does without a coder.
    pub(crate) async fn relay(
        &mut self,
        reader: &mut Reader<'_>,
        input: &mut Buffer,
        incoming: &mut Incoming,
        writer: &mut Writer<'_>,
        bounds: &Bounds,
        buffers: &Buffers,
    ) -> Result<(), RelayError> {
        let mut out = buffers.large();
        let result = async {
            while !incoming.is_done() {
                if input.is_empty() {
                    read_more(reader, input, incoming, bounds, buffers).await?;
                }
                if input.is_empty() {
                    self.end(incoming, out.tail())?;
                } else {
                    let used = self.take(incoming, input.filled(), out.tail())?;
                    input.consume(used);
                }
                if !out.is_empty() {
                    write(writer, &mut out, bounds).await?;
                    out.clear();
                }
            }
            Ok(())
        }
        .await;
        buffers.give(out);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::http1::Body;

    /// Writes data as it is, `|` for a flush and `.` for the end.
    #[derive(Debug)]
    struct Plain;

    impl Coder for Plain {
        fn code(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
            out.extend_from_slice(data);
            Ok(())
        }

        fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
            out.push(b'|');
            Ok(())
        }

        fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
            out.push(b'.');
            Ok(())
        }
    }

    /// What goes out of these pieces, the number of bytes that were taken, and of those sent.
    fn coded(body: Body, framing: Framing, pieces: &[&[u8]]) -> (String, usize, u64) {
        let mut coded = Coded::new(Box::new(Plain), framing);
        let mut incoming = Incoming::new(body);
        let (mut out, mut used) = (Vec::new(), 0);
        for piece in pieces {
            used += coded.take(&mut incoming, piece, &mut out).unwrap();
        }
        if body == Body::UntilClose {
            coded.end(&mut incoming, &mut out).unwrap();
        }
        assert!(incoming.is_done());
        (String::from_utf8(out).unwrap(), used, coded.sent())
    }

    #[test]
    fn a_body_is_flushed_after_each_piece_and_ended_once() {
        let pieces: &[&[u8]] = &[b"he", b"llo GET /"];
        let (out, used, sent) = coded(Body::Length(5), Framing::Chunked, pieces);
        assert_eq!((out.as_str(), used, sent), ("3\r\nhe|\r\n4\r\nllo.\r\n0\r\n\r\n", 5, 7));
        let (out, ..) = coded(Body::Length(5), Framing::UntilClose, pieces);
        assert_eq!(out, "he|llo.");
        let (out, ..) = coded(Body::UntilClose, Framing::Chunked, &[b"a"]);
        assert_eq!(out, "2\r\na|\r\n1\r\n.\r\n0\r\n\r\n");
    }

    #[test]
    fn trailers_are_dropped_and_empty_pieces_are_not_flushed() {
        let pieces: &[&[u8]] = &[b"3\r\nabc\r\n", b"2\r", b"\nde\r\n0\r\nX-Sum: 1\r\n\r\nnext"];
        let (out, ..) = coded(Body::Chunked, Framing::Chunked, pieces);
        assert_eq!(out, "4\r\nabc|\r\n3\r\nde.\r\n0\r\n\r\n");
    }

    #[test]
    fn a_body_that_ends_too_early_is_not_finished() {
        let mut coded = Coded::new(Box::new(Plain), Framing::Chunked);
        let mut out = Vec::new();
        let mut incoming = Incoming::new(Body::Length(5));
        coded.take(&mut incoming, b"he", &mut out).unwrap();
        assert!(coded.end(&mut incoming, &mut out).is_err());
        assert_eq!(out, b"3\r\nhe|\r\n", "no last chunk");
    }
}
