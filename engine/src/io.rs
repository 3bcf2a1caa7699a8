//! A stream of bytes with deadlines: what connections and upstreams read from and write to.
//!
//! The rest of the engine knows [`Stream`], [`Reader`] and [`Writer`], not the runtime; a TLS
//! session will stand here beside the bare socket.

use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use monoio::BufResult;
use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::TcpStream;

use crate::buffer::Buffer;
use crate::clock;
use crate::deadlines::{Deadlines, Watch};

/// A connected socket and its place on the core's list of deadlines.
pub(crate) struct Stream {
    watch: Watch,
    read: ManuallyDrop<OwnedReadHalf<TcpStream>>,
    write: ManuallyDrop<OwnedWriteHalf<TcpStream>>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.watch.retire();
        // SAFETY: each half is taken exactly once, here, and `self` is not used afterwards.
        let (read, write) =
            unsafe { (ManuallyDrop::take(&mut self.read), ManuallyDrop::take(&mut self.write)) };
        // A write half that is dropped by itself ends the sending direction in an orderly way,
        // which must not come before a close that is meant as a reset.
        drop(read.reunite(write));
    }
}

/// The receiving direction of a [`Stream`].
pub(crate) struct Reader<'a> {
    half: &'a mut OwnedReadHalf<TcpStream>,
    watch: &'a Watch,
}

/// The sending direction of a [`Stream`].
pub(crate) struct Writer<'a> {
    half: &'a mut OwnedWriteHalf<TcpStream>,
    watch: &'a Watch,
}

impl Stream {
    /// Takes an accepted or connected socket in, which sends without waiting to fill a segment:
    /// heads and small bodies go out in one send each.
    pub(crate) fn new(tcp: TcpStream, deadlines: &Rc<Deadlines>) -> Self {
        let watch = deadlines.watch(tcp.as_raw_fd());
        let (read, write) = tcp.into_split();
        Stream { watch, read: ManuallyDrop::new(read), write: ManuallyDrop::new(write) }
    }

    /// Connects to `address`.
    ///
    /// # Errors
    /// The system's error, or `TimedOut` when `time` was not enough.
    pub(crate) async fn connect(
        address: SocketAddr,
        time: Duration,
        deadlines: &Rc<Deadlines>,
    ) -> io::Result<Self> {
        match clock::within(time, TcpStream::connect_addr(address)).await {
            Some(connected) => {
                let tcp = connected?;
                let _ = tcp.set_nodelay(true);
                Ok(Stream::new(tcp, deadlines))
            }
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Both directions, each for one operation at a time.
    pub(crate) fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        let watch = &self.watch;
        (Reader { half: &mut self.read, watch }, Writer { half: &mut self.write, watch })
    }

    /// The receiving direction alone.
    pub(crate) fn reader(&mut self) -> Reader<'_> {
        self.split().0
    }

    /// The stream's deadlines.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// True when an idle connection is still open and nobody has sent anything on it.
    ///
    /// Bytes that nobody asked for would be taken for the next answer, so a connection that has
    /// some is as useless as a closed one (HTTP_SAFETY rule 13). One system call.
    pub(crate) fn is_quiet(&self) -> bool {
        self.watch.is_quiet()
    }
}

impl Reader<'_> {
    /// Reads what comes next into the spare part of `buffer`; 0 is the end of the stream.
    /// Waits until the deadline set with [`Reader::within`], or for ever.
    ///
    /// # Errors
    /// The system's error, or `TimedOut` past the deadline.
    pub(crate) fn read(
        &mut self,
        buffer: Buffer,
    ) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        debug_assert!(buffer.spare() > 0, "a read into nothing looks like the end");
        Reading { operation: self.half.read(buffer), watch: self.watch }
    }

    /// The same, but may be given up at any time and begun again: nothing is taken from the socket
    /// before it is there, and then it is in `buffer` at once. Costs a system call more.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub(crate) async fn read_when_ready(&mut self, buffer: &mut Buffer) -> io::Result<usize> {
        loop {
            match self.read_at_once(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) if self.watch.read_expired() || self.watch.is_over() => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                other => return other,
            }
            // SAFETY: the halves of a stream share it on one thread; waiting for readiness takes
            // it by shared reference, as the other half's operations do with its descriptor, and
            // nothing ever has it by unique reference for longer than it takes to begin one.
            let stream = unsafe { &*self.half.0.get() };
            stream.readable(false).await?;
        }
    }

    /// Reads what has come already into the spare part of `buffer`; 0 is the end of the stream,
    /// or of what came before the deadline.
    ///
    /// # Errors
    /// The system's error, `WouldBlock` when nothing has come.
    pub(crate) fn read_at_once(&mut self, buffer: &mut Buffer) -> io::Result<usize> {
        let room = buffer.tail().spare_capacity_mut();
        debug_assert!(!room.is_empty(), "a read into nothing looks like the end");
        let n = loop {
            match self.watch.receive(room) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        // SAFETY: `receive` has initialised the first `n` bytes of the spare part.
        unsafe { buffer.set_init(n) };
        Ok(n)
    }

    /// Sets the deadline of this and the following reads.
    pub(crate) fn within(&self, time: Duration) {
        self.watch.read_within(time);
    }

    /// The stream's deadlines.
    pub(crate) fn watch(&self) -> &Watch {
        self.watch
    }

    /// Takes the deadline away.
    pub(crate) fn any_time(&self) {
        self.watch.read_any_time();
    }

    /// Ends both directions of the stream at once; operations under way complete.
    pub(crate) fn abort(&self) {
        self.watch.abort();
    }
}

pin_project_lite::pin_project! {
    /// A read under way. Written out because an `async fn` would keep its arguments beside the
    /// operation that they have moved into, and every idle connection holds one of these.
    struct Reading<'a, F> {
        #[pin]
        operation: F,
        watch: &'a Watch,
    }
}

impl<F: Future<Output = BufResult<usize, Buffer>>> Future for Reading<'_, F> {
    type Output = BufResult<usize, Buffer>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.operation.poll(context).map(|(result, buffer)| match result {
            Ok(0) | Err(_) if this.watch.read_expired() => {
                (Err(io::ErrorKind::TimedOut.into()), buffer)
            }
            // A socket that is shut down gives out what had come before, which may not end.
            _ if this.watch.is_over() => (Err(io::ErrorKind::TimedOut.into()), buffer),
            other => (other, buffer),
        })
    }
}

impl Writer<'_> {
    /// Writes all that waits in `buffer`; the peer must take something every `stall`.
    ///
    /// # Errors
    /// The system's error, or `TimedOut` when the peer stalled.
    pub(crate) async fn write_all(
        &mut self,
        mut buffer: Buffer,
        stall: Duration,
    ) -> (io::Result<()>, Buffer) {
        let mut result = Ok(());
        while result.is_ok() && !buffer.is_empty() {
            if !self.watch.write_within(stall) {
                result = Err(io::ErrorKind::TimedOut.into());
                break;
            }
            let written;
            (written, buffer) = self.half.write(buffer).await;
            result = match written {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    buffer.advance(n);
                    Ok(())
                }
                Err(_) if self.watch.write_expired() || self.watch.is_over() => {
                    Err(io::ErrorKind::TimedOut.into())
                }
                Err(e) => Err(e),
            };
        }
        // A peer that takes no more may still have something to say.
        self.watch.write_any_time();
        (result, buffer)
    }

    /// The same with the last bytes that will be sent: says so in their segment, which costs
    /// neither side one of its own (RFC 9293 §3.10.4). The receiving direction is left open.
    ///
    /// # Errors
    /// As [`Writer::write_all`].
    pub(crate) async fn write_last(
        &mut self,
        mut buffer: Buffer,
        stall: Duration,
    ) -> (io::Result<()>, Buffer) {
        // What it does not take, or why it takes none, is for the usual way.
        if !self.watch.is_over()
            && let Ok(n) = self.watch.send_more(buffer.filled())
        {
            buffer.advance(n);
        }
        let (written, buffer) = self.write_all(buffer, stall).await;
        if written.is_ok() {
            // At once, and not by the close: that would be a reset where the client has sent what
            // nobody has read, and what is kept back would be lost.
            self.end();
        }
        (written, buffer)
    }

    /// Ends both directions in `time`, whatever comes and goes until then.
    pub(crate) fn over_within(&self, time: Duration) {
        self.watch.over_within(time);
    }

    /// Sets the deadline of the reads of the same stream's other direction.
    pub(crate) fn other_direction_within(&self, time: Duration) {
        self.watch.read_within(time);
    }

    /// Says that no more will be sent, and leaves the receiving direction open.
    pub(crate) fn end(&self) {
        self.watch.end_sending();
    }

    /// A message begins that only the end of the connection will end: until it is
    /// [`Writer::finished`], every close is a reset, whatever may come to pass.
    pub(crate) fn begins_until_close(&self) {
        self.watch.reset_on_close(true);
    }

    /// That message is complete: the close may be an orderly one.
    pub(crate) fn finished(&self) {
        self.watch.reset_on_close(false);
    }

    /// Ends both directions of the stream at once; operations under way complete.
    pub(crate) fn abort(&self) {
        self.watch.abort();
    }
}

/// Runs `side` along with `main` and returns when `main` is done, with what `side` came to if it
/// was done by then. `side` goes on where it stopped when it is passed again. Both stay where their
/// owner has pinned them: they are large, and would be copied whole on their way in here.
pub(crate) async fn alongside<S: Future, M: Future>(
    mut side: Pin<&mut Side<S>>,
    mut main: Pin<&mut M>,
) -> M::Output {
    std::future::poll_fn(|context| {
        side.as_mut().poll_side(context);
        main.as_mut().poll(context)
    })
    .await
}

/// A future that may be polled past its end, and keeps its result.
#[derive(Debug)]
pub(crate) enum Side<S: Future> {
    /// Still at work.
    Busy(S),
    /// Done, with its result.
    Done(S::Output),
}

impl<S: Future> Side<S> {
    /// A future that has not begun.
    pub(crate) fn new(future: S) -> Self {
        Side::Busy(future)
    }

    /// Waits until it is done.
    pub(crate) async fn finish(mut side: Pin<&mut Self>) {
        std::future::poll_fn(|context| {
            side.as_mut().poll_side(context);
            if side.is_busy() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    fn poll_side(self: Pin<&mut Self>, context: &mut Context<'_>) {
        // SAFETY: `Busy`'s future is pinned by `self` and never moved: it is polled in place, and
        // `Done` overwrites it only after dropping it in place, which assignment does.
        let this = unsafe { self.get_unchecked_mut() };
        if let Side::Busy(future) = this {
            // SAFETY: see above; the future stays where it is.
            let future = unsafe { Pin::new_unchecked(future) };
            if let Poll::Ready(output) = future.poll(context) {
                *this = Side::Done(output);
            }
        }
    }

    /// True while it is at work.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Side::Busy(_))
    }
}

// SAFETY: `read_ptr` points into the heap block of the buffer's vector, which does not move while
// the operation owns the buffer (moving the `Buffer` moves the `Vec` header, not the block), and
// `filled` are initialised bytes of that block.
unsafe impl IoBuf for Buffer {
    fn read_ptr(&self) -> *const u8 {
        self.filled().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.len()
    }
}

// SAFETY: `write_ptr` points to the spare capacity of the vector's heap block, `bytes_total` is the
// size of exactly that spare part, so the kernel writes only there; `set_init` is called once
// with the number of bytes that it wrote, which are then initialised. `Buffer` is `Unpin` and the
// block does not move while the operation owns the buffer.
unsafe impl IoBufMut for Buffer {
    fn write_ptr(&mut self) -> *mut u8 {
        self.tail().spare_capacity_mut().as_mut_ptr().cast()
    }

    fn bytes_total(&mut self) -> usize {
        self.spare()
    }

    unsafe fn set_init(&mut self, n: usize) {
        debug_assert!(n <= self.spare());
        // SAFETY: by this method's contract the first `n` bytes of the spare part are
        // initialised, and `n` is at most `bytes_total`.
        unsafe {
            let bytes = self.tail();
            bytes.set_len(bytes.len() + n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays the kernel: writes into the spare part through the raw pointer, then reports it.
    fn fill(buffer: &mut Buffer, bytes: &[u8]) {
        assert!(bytes.len() <= buffer.bytes_total());
        // SAFETY: the pointer is valid for `bytes_total` bytes, checked above, and does not
        // overlap `bytes`; `set_init` reports exactly what was written.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.write_ptr(), bytes.len());
            buffer.set_init(bytes.len());
        }
    }

    #[test]
    fn a_read_lands_behind_what_is_there() {
        let mut buffer = Buffer::with_capacity(16);
        fill(&mut buffer, b"hello ");
        fill(&mut buffer, b"world");
        assert_eq!(buffer.filled(), b"hello world");
        assert_eq!(buffer.spare(), 5);
        buffer.consume(6);
        assert_eq!((buffer.filled(), buffer.bytes_init()), (&b"world"[..], 5));
        buffer.compact();
        assert_eq!((buffer.filled(), buffer.spare()), (&b"world"[..], 11));
        buffer.consume(5);
        assert_eq!(buffer.spare(), 16, "an emptied buffer starts again at its front");
    }
}
