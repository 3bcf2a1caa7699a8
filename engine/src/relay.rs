//! Bodies on their way, in both directions, with backpressure: a piece is read only after the
//! one before it was taken, so memory does not grow with the body.
//!
//! What comes in is understood ([`Incoming`]) and framed anew for the other side ([`Framing`]):
//! lengths are counted, chunks are decoded and written again. Nothing of the sender's framing
//! passes through.

use std::io;
use std::time::{Duration, Instant};

use crate::buffer::{Buffer, Buffers};
use crate::clock;
use crate::http1::chunked::{self, Decoder, Event};
use crate::http1::{Body, ChunkError};
use crate::io::{Reader, Writer};
use crate::limits::{BODY_RATE_GRACE, CHUNK_GROWS, HUGE_BUFFER, LARGE_BUFFER, USUAL_BUFFER};
use crate::message::reads_as;

/// How a body goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none, and no length is written.
    None,
    /// Of this length.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Until the connection closes.
    UntilClose,
}

/// A body that comes in, as far as it has come.
pub(crate) struct Incoming {
    state: State,
    received: u64,
    /// How long its sender has been waited for, where there is a minimum rate.
    waited: Duration,
    /// Its sender is being waited for; still true when the wait was given up.
    awaited: bool,
    /// What came behind the chunks, where it was not passed on at once.
    trailers: Vec<u8>,
    /// Names under which nothing behind the chunks is passed on, each with a line end.
    withheld: Buffer,
}

enum State {
    Length(u64),
    Chunked(Decoder),
    UntilClose,
    Done,
}

/// Why a body did not come or go whole.
#[derive(Debug)]
pub(crate) enum RelayError {
    /// The sender's connection broke, or ended too early.
    Read(io::Error),
    /// The sender's chunked coding is broken.
    Coding(ChunkError),
    /// There is more of it than allowed.
    TooLarge,
    /// A filter's coder cannot go on.
    Coder(io::Error),
    /// The receiver's connection broke.
    Write(io::Error),
}

/// The bounds of one direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Longest silence of the sender.
    pub read: Duration,
    /// Longest refusal of the receiver to take anything.
    pub write: Duration,
    /// Bytes of payload, at most.
    pub max: u64,
    /// Bytes a second, at least, on average; 0 for any.
    pub min_rate: u64,
}

impl Bounds {
    /// Now, where it matters how long the sender is waited for.
    pub(crate) fn measured_from(&self) -> Option<Instant> {
        (self.min_rate > 0).then(clock::now)
    }
}

impl Incoming {
    /// A body of which nothing has come yet.
    pub(crate) fn new(body: Body) -> Self {
        let state = match body {
            Body::Empty | Body::Length(0) => State::Done,
            Body::Length(n) => State::Length(n),
            Body::Chunked => State::Chunked(Decoder::default()),
            Body::UntilClose => State::UntilClose,
        };
        let (received, waited, awaited) = (0, Duration::ZERO, false);
        let (trailers, withheld) = (Vec::new(), Buffer::default());
        Incoming { state, received, waited, awaited, trailers, withheld }
    }

    /// Begins again with a body of which nothing has come; the same is withheld of it.
    pub(crate) fn restart(&mut self, body: Body) {
        let withheld = std::mem::take(&mut self.withheld);
        *self = Incoming { withheld, ..Incoming::new(body) };
    }

    /// From here on nothing is passed on behind the chunks that programs may take for one of
    /// these: a filter has removed or set what came under that name in the head, and whoever
    /// joins trailers to the head would find it there all the same (HTTP_SAFETY rule 17).
    pub(crate) fn withhold<'a>(
        &mut self,
        names: impl Iterator<Item = &'a [u8]>,
        buffers: &Buffers,
    ) {
        self.withheld.clear();
        for name in names {
            if self.withheld.capacity() == 0 {
                self.withheld = buffers.usual();
            }
            self.withheld.extend(name);
            self.withheld.extend(b"\n");
        }
    }

    /// Gives the memory back that it needed for that.
    pub(crate) fn give_back(&mut self, buffers: &Buffers) {
        buffers.give(std::mem::take(&mut self.withheld));
    }

    /// True when all of it has come.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// What came behind the chunks, where it was not passed on at once.
    pub(crate) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Its sender has been waited for since then, where that counts.
    pub(crate) fn waited_from(&mut self, began: Option<Instant>) {
        self.waited +=
            began.map_or(Duration::ZERO, |at| clock::now().saturating_duration_since(at));
    }

    /// Says whether its sender is being waited for.
    pub(crate) fn awaits(&mut self, awaited: bool) {
        self.awaited = awaited;
    }

    /// True when its sender was being waited for at last, so that nobody else is late.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// Bytes of payload so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// How many bytes are yet to come, where that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(n) => Some(n),
            State::Done => Some(0),
            State::Chunked(_) | State::UntilClose => None,
        }
    }

    /// Takes what `input` has of the body and appends it to `out`, framed as `framing`. Returns
    /// how many bytes of `input` belonged to the body.
    pub(crate) fn take(
        &mut self,
        input: &[u8],
        framing: Framing,
        out: &mut Vec<u8>,
    ) -> Result<usize, ChunkError> {
        let mut used = 0;
        match &mut self.state {
            State::Done => {}
            State::UntilClose => {
                used = input.len();
                put(out, framing, input);
                self.received += used as u64;
            }
            State::Length(left) => {
                used = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                put(out, framing, &input[..used]);
                self.received += used as u64;
                *left -= used as u64;
                if *left == 0 {
                    self.finish(framing, out, &[]);
                }
            }
            State::Chunked(decoder) => loop {
                let (n, event) = decoder.decode(&input[used..])?;
                let piece = &input[used..used + n];
                used += n;
                match event {
                    Event::Data(range) => {
                        self.received += range.len() as u64;
                        put(out, framing, &piece[range]);
                    }
                    Event::More => break,
                    Event::End => {
                        let withheld = self.withheld.filled().split(|byte| *byte == b'\n');
                        decoder.leave_out(|name| withheld.clone().any(|w| reads_as(name, w)));
                        if framing == Framing::Chunked {
                            chunked::write_last(out, decoder.trailers());
                        } else {
                            self.trailers.extend_from_slice(decoder.trailers());
                        }
                        self.state = State::Done;
                        break;
                    }
                }
            },
        }
        Ok(used)
    }

    /// The sender's connection ended: the end of a body without length, too early for any other.
    pub(crate) fn end(&mut self, framing: Framing, out: &mut Vec<u8>) -> Result<(), RelayError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.finish(framing, out, &[]);
                Ok(())
            }
            State::Length(_) | State::Chunked(_) => {
                Err(RelayError::Read(io::ErrorKind::UnexpectedEof.into()))
            }
        }
    }

    fn finish(&mut self, framing: Framing, out: &mut Vec<u8>, trailers: &[u8]) {
        self.state = State::Done;
        if framing == Framing::Chunked {
            chunked::write_last(out, trailers);
        }
    }

    /// True when what `input` holds can go out as it is, without a copy.
    fn passes_through(&self, framing: Framing, input: usize) -> bool {
        match self.state {
            State::Length(left) => framing != Framing::Chunked && left >= input as u64,
            State::UntilClose => framing != Framing::Chunked,
            State::Chunked(_) | State::Done => false,
        }
    }

    /// Counts `n` bytes that went through without a copy.
    fn passed(&mut self, n: usize) {
        self.received += n as u64;
        if let State::Length(left) = &mut self.state {
            *left -= n as u64;
            if *left == 0 {
                self.state = State::Done;
            }
        }
    }
}

/// Appends a piece of payload, framed.
pub(crate) fn put(out: &mut Vec<u8>, framing: Framing, data: &[u8]) {
    match framing {
        Framing::Chunked => chunked::write_chunk(out, data),
        Framing::None | Framing::Length(_) | Framing::UntilClose => out.extend_from_slice(data),
    }
}

/// Relays the rest of a body. `input` holds what has been read already and not been taken; what
/// is left in it afterwards did not belong to the body.
pub(crate) async fn relay(
    reader: &mut Reader<'_>,
    input: &mut Buffer,
    incoming: &mut Incoming,
    writer: &mut Writer<'_>,
    framing: Framing,
    bounds: &Bounds,
    buffers: &Buffers,
) -> Result<(), RelayError> {
    let mut out = Buffer::default();
    let mut loan = None;
    let result = async {
        while !incoming.is_done() {
            if input.is_empty() {
                let much = incoming.remaining().is_some_and(|n| n > LARGE_BUFFER as u64);
                if much
                    && framing != Framing::Chunked
                    && input.capacity() < HUGE_BUFFER
                    && let Some(huge) = buffers.huge(&mut loan)
                {
                    buffers.replace(input, huge);
                }
                read_more(reader, input, incoming, bounds, buffers).await?;
            }
            if input.is_empty() {
                incoming.end(framing, out.tail())?;
            } else if incoming.passes_through(framing, input.len()) {
                incoming.passed(input.len());
                check_size(incoming, bounds)?;
                write(writer, input, bounds).await?;
                input.clear();
                continue;
            } else {
                let room = input.len() + CHUNK_GROWS;
                if out.capacity() < room {
                    let huge = if room > LARGE_BUFFER { buffers.huge(&mut loan) } else { None };
                    buffers.replace(&mut out, huge.unwrap_or_else(|| buffers.holding(room)));
                }
                take_what_waits(reader, input, incoming, framing, &mut out)?;
                check_size(incoming, bounds)?;
            }
            write(writer, &mut out, bounds).await?;
            out.clear();
        }
        Ok(())
    }
    .await;
    buffers.give(out);
    if input.is_empty() {
        // The exchange may go on for long, and without the loan.
        buffers.give(std::mem::take(input));
    }
    result
}

/// Takes what `input` has of the body into `out`, framed as `framing`. Behind a read that filled
/// its buffer there is more as a rule: where `out` has room for it, what waits already goes in the
/// same send. Two reads a send measured best: with three, `out` is cold before it is sent.
fn take_what_waits(
    reader: &mut Reader<'_>,
    input: &mut Buffer,
    incoming: &mut Incoming,
    framing: Framing,
    out: &mut Buffer,
) -> Result<(), RelayError> {
    let full = input.spare() == 0;
    take(input, incoming, framing, out)?;
    let room = input.is_empty() && out.spare() >= input.capacity() + CHUNK_GROWS;
    if full && room && !incoming.is_done() {
        match reader.read_at_once(input) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            // The end comes again when it is waited for.
            Ok(0) => {}
            read => {
                read.map_err(RelayError::Read)?;
                take(input, incoming, framing, out)?;
            }
        }
    }
    Ok(())
}

fn take(
    input: &mut Buffer,
    incoming: &mut Incoming,
    framing: Framing,
    out: &mut Buffer,
) -> Result<(), RelayError> {
    let used = incoming.take(input.filled(), framing, out.tail());
    input.consume(used.map_err(RelayError::Coding)?);
    Ok(())
}

/// Refuses what is longer than allowed.
pub(crate) fn check_size(incoming: &Incoming, bounds: &Bounds) -> Result<(), RelayError> {
    if incoming.received() > bounds.max { Err(RelayError::TooLarge) } else { Ok(()) }
}

/// Reads once into the empty `input`, which grows to a large buffer while much is to come.
/// Leaves it empty at the end of the stream.
pub(crate) async fn read_more(
    reader: &mut Reader<'_>,
    input: &mut Buffer,
    incoming: &mut Incoming,
    bounds: &Bounds,
    buffers: &Buffers,
) -> Result<(), RelayError> {
    let long = incoming.remaining().is_none_or(|n| n > USUAL_BUFFER as u64);
    let room = if long { LARGE_BUFFER } else { USUAL_BUFFER };
    if input.capacity() < room {
        buffers.replace(input, buffers.holding(room));
    }
    reader.within(time_to_read(incoming, bounds));
    let began = bounds.measured_from();
    incoming.awaits(true);
    let (result, buffer) = reader.read(std::mem::take(input)).await;
    incoming.awaits(false);
    // While the receiver takes its time, the sender is not late.
    reader.any_time();
    incoming.waited_from(began);
    *input = buffer;
    result.map_err(RelayError::Read)?;
    Ok(())
}

/// The longest silence allowed now: never longer than until the average falls below the minimum.
pub(crate) fn time_to_read(incoming: &Incoming, bounds: &Bounds) -> Duration {
    if bounds.min_rate == 0 {
        return bounds.read;
    }
    let earned = Duration::from_secs_f64((incoming.received() + 1) as f64 / bounds.min_rate as f64);
    (BODY_RATE_GRACE + earned).saturating_sub(incoming.waited).min(bounds.read)
}

/// Writes all that `buffer` holds.
pub(crate) async fn write(
    writer: &mut Writer<'_>,
    buffer: &mut Buffer,
    bounds: &Bounds,
) -> Result<(), RelayError> {
    let (result, back) = writer.write_all(std::mem::take(buffer), bounds.write).await;
    *buffer = back;
    result.map_err(RelayError::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(body: Body, framing: Framing, pieces: &[&[u8]]) -> (Vec<u8>, usize, bool) {
        let mut incoming = Incoming::new(body);
        let (mut out, mut used) = (Vec::new(), 0);
        for piece in pieces {
            used += incoming.take(piece, framing, &mut out).unwrap();
        }
        (out, used, incoming.is_done())
    }

    #[test]
    fn a_length_is_counted_and_no_more_is_taken() {
        let (out, used, done) =
            take_all(Body::Length(5), Framing::Length(5), &[b"he", b"llo GET /"]);
        assert_eq!((out.as_slice(), used, done), (&b"hello"[..], 5, true));
    }

    #[test]
    fn chunks_are_written_anew() {
        let pieces: &[&[u8]] = &[b"3;ext=1\r\nabc\r", b"\n2\r\nde\r\n0\r\n\r\nnext"];
        let (out, used, done) = take_all(Body::Chunked, Framing::Chunked, pieces);
        assert_eq!(out, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        assert_eq!((used, done), (pieces.concat().len() - 4, true));
        let (out, ..) = take_all(Body::Chunked, Framing::UntilClose, pieces);
        assert_eq!(out, b"abcde", "an HTTP/1.0 client gets the bytes alone");
    }

    #[test]
    fn a_body_without_length_ends_with_the_connection() {
        let mut incoming = Incoming::new(Body::UntilClose);
        let mut out = Vec::new();
        incoming.take(b"abc", Framing::Chunked, &mut out).unwrap();
        incoming.end(Framing::Chunked, &mut out).unwrap();
        assert_eq!(out, b"3\r\nabc\r\n0\r\n\r\n");
        assert!(Incoming::new(Body::Length(1)).end(Framing::None, &mut out).is_err());
    }

    #[test]
    fn a_slow_body_has_less_time_for_each_read() {
        let mut incoming = Incoming::new(Body::Length(1000));
        let bounds = Bounds {
            read: Duration::from_secs(30),
            write: Duration::from_secs(30),
            max: u64::MAX,
            min_rate: 100,
        };
        let first = time_to_read(&incoming, &bounds);
        assert!(first <= BODY_RATE_GRACE + Duration::from_millis(10));
        incoming.passed(500);
        assert!(time_to_read(&incoming, &bounds) > Duration::from_secs(9));
        incoming.waited = Duration::from_secs(8);
        assert!(time_to_read(&incoming, &bounds) < Duration::from_secs(3));
    }
}
