//! The client's body on its way up: kept, where another attempt may have to send it again, and
//! what it means when it breaks off.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;

use crate::buffer::{Buffer, Buffers};
use crate::error::{ClientError, Error, GatewayError, UpstreamError};
use crate::http1::{Body, write_last};
use crate::io::{Reader, Writer};
use crate::limits::{LARGE_BUFFER, USUAL_BUFFER};
use crate::relay::{
    Bounds, Framing, Incoming, RelayError, check_size, put, relay, time_to_read, write,
};

/// The client's body on its way up, which outlives an attempt.
pub(crate) struct Upload {
    pub(crate) body: Incoming,
    /// What was read and not yet taken.
    pub(crate) input: Buffer,
    /// Why it cannot go on; set before its start when the upstream did not even take the head.
    pub(crate) broken: Option<RelayError>,
    /// What has come of it, to be sent again.
    pub(crate) kept: Kept,
}

impl Upload {
    /// One of which nothing has come yet, and of which up to `most` bytes are to be kept.
    pub(crate) fn new(body: Body, most: u64) -> Self {
        let kept = Kept { bytes: Buffer::default(), most, whole: most > 0 };
        Upload { body: Incoming::new(body), input: Buffer::default(), broken: None, kept }
    }

    /// Takes the payload of `body` out, if all of it has come and was to be kept. What came whole
    /// with its head was not copied before: then that is what `came`.
    pub(crate) fn payload(
        &mut self,
        body: Body,
        came: Option<&[u8]>,
        buffers: &Buffers,
    ) -> Option<Buffer> {
        if matches!(body, Body::Empty | Body::Length(0)) {
            return Some(Buffer::default());
        }
        if !self.body.is_done() || !self.kept.whole {
            return None;
        }
        if let Some(came) = came {
            let room = self.kept.room_for(came.len(), buffers);
            Incoming::new(body).take(came, Framing::UntilClose, room).ok()?;
        }
        Some(std::mem::take(&mut self.kept.bytes))
    }

    /// Gives its memory back.
    pub(crate) fn give_back(&mut self, buffers: &Buffers) {
        self.body.give_back(buffers);
        buffers.give(std::mem::take(&mut self.input));
        buffers.give(std::mem::take(&mut self.kept.bytes));
    }
}

/// The payload of a body, from its beginning, as far as it has come.
pub(crate) struct Kept {
    bytes: Buffer,
    /// So many bytes are kept; a body that has more is not.
    most: u64,
    /// Nothing is missing.
    whole: bool,
}

impl Kept {
    /// True while all that has come is here.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.filled()
    }

    /// Where to append so many bytes to.
    pub(crate) fn room_for(&mut self, more: usize, buffers: &Buffers) -> &mut Vec<u8> {
        let needed = self.bytes.len() + more;
        if self.bytes.capacity() < needed && needed <= LARGE_BUFFER {
            let larger = if needed <= USUAL_BUFFER { buffers.usual() } else { buffers.large() };
            let smaller = std::mem::replace(&mut self.bytes, larger);
            self.bytes.extend(smaller.filled());
            buffers.give(smaller);
        }
        self.bytes.tail()
    }

    fn has_room(&self) -> bool {
        self.bytes.len() as u64 <= self.most
    }

    /// There is more of it than can be kept.
    fn lose(&mut self, buffers: &Buffers) {
        self.whole = false;
        buffers.give(std::mem::take(&mut self.bytes));
    }
}

/// Relays the rest of a body as [`relay`] does, but keeps all that comes, so that another attempt
/// can send it again: what is kept goes first, and then what comes. May be given up at any time and
/// begun again with another writer. A body for which there is no room goes on like any other, and
/// the request is no longer `repeatable`.
pub(crate) async fn relay_kept(
    reader: &mut Reader<'_>,
    up: &mut Upload,
    repeatable: &Cell<bool>,
    writer: &mut Writer<'_>,
    framing: Framing,
    bounds: &Bounds,
    buffers: &Buffers,
) -> Result<(), RelayError> {
    let mut out = buffers.usual();
    let mut sent = 0;
    let result = async {
        loop {
            let waiting = &up.kept.bytes()[sent..];
            sent += waiting.len();
            if !waiting.is_empty() {
                put(out.tail(), framing, waiting);
            }
            if up.body.is_done() && framing == Framing::Chunked {
                write_last(out.tail(), up.body.trailers());
            }
            write(writer, &mut out, bounds).await?;
            out.clear();
            if up.body.is_done() || !up.kept.has_room() {
                return Ok(());
            }
            if up.input.is_empty() {
                read_when_ready(reader, up, bounds, buffers).await?;
            }
            if up.input.is_empty() {
                up.body.end(framing, out.tail())?;
            }
            let room = up.kept.room_for(up.input.len(), buffers);
            let used = up.body.take(up.input.filled(), Framing::UntilClose, room);
            up.input.consume(used.map_err(RelayError::Coding)?);
            check_size(&up.body, bounds)?;
        }
    }
    .await;
    buffers.give(out);
    if result.is_ok() && (!up.body.is_done() || !up.kept.has_room()) {
        up.kept.lose(buffers);
        repeatable.set(false);
        let Upload { body, input, .. } = up;
        return relay(reader, input, body, writer, framing, bounds, buffers).await;
    }
    result
}

/// Reads once into the empty input, in a way that may be given up.
async fn read_when_ready(
    reader: &mut Reader<'_>,
    up: &mut Upload,
    bounds: &Bounds,
    buffers: &Buffers,
) -> Result<(), RelayError> {
    if up.input.capacity() < USUAL_BUFFER {
        buffers.replace(&mut up.input, buffers.usual());
    }
    reader.within(time_to_read(&up.body, bounds));
    let began = bounds.measured_from();
    up.body.awaits(true);
    let read = reader.read_when_ready(&mut up.input).await;
    up.body.awaits(false);
    reader.any_time();
    up.body.waited_from(began);
    read.map(drop).map_err(RelayError::Read)
}

/// A request's body goes up as it came, counted or chunked anew.
pub(crate) fn request_framing(body: Body) -> Framing {
    match body {
        Body::Empty | Body::UntilClose => Framing::None,
        Body::Length(n) => Framing::Length(n),
        Body::Chunked => Framing::Chunked,
    }
}

/// What a broken upload means. `None` when the upstream broke it: it may have answered before.
pub(crate) fn upload_error(error: RelayError, to: SocketAddr) -> Option<Error> {
    Some(match error {
        RelayError::Write(e) if e.kind() == io::ErrorKind::TimedOut => {
            UpstreamError::Stalled(to).into()
        }
        RelayError::Write(_) => return None,
        RelayError::TooLarge => ClientError::BodyTooLarge.into(),
        RelayError::Coding(e) => ClientError::Body(e).into(),
        RelayError::Coder(e) => GatewayError::Coder(e).into(),
        RelayError::Read(e) if e.kind() == io::ErrorKind::TimedOut => {
            ClientError::BodyTimeout.into()
        }
        RelayError::Read(e) => ClientError::Gone(e).into(),
    })
}
