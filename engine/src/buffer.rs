//! Bytes that travel between sockets: one buffer type for reading and writing, and each core's
//! pool of them.
//!
//! A buffer is filled by the kernel at its end and emptied from its start. Who holds it owns it:
//! io_uring writes into memory while our code does something else, so a buffer is handed to an
//! operation by value and comes back with its result.

use std::cell::RefCell;

use monoio::buf::{IoBuf, IoBufMut};

use crate::limits::{IDLE_READ, LARGE_BUFFER, POOLED_BUFFERS, USUAL_BUFFER};

/// Bytes from `start` up to the end of `bytes`; the spare capacity behind takes what is read.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// An empty buffer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Buffer { bytes: Vec::with_capacity(capacity), start: 0 }
    }

    /// What has been filled in and not yet consumed.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// How many bytes wait to be consumed.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// True when nothing waits to be consumed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes the next read may bring.
    pub fn spare(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// How many bytes fit in all.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Drops the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.len());
        self.start = (self.start + n).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.clear();
        }
    }

    /// Steps over the first `n` bytes, which were written; [`Buffer::rewind`] brings them back.
    pub fn advance(&mut self, n: usize) {
        self.start = (self.start + n).min(self.bytes.len());
    }

    /// Makes all bytes wait again, to be written a second time.
    pub fn rewind(&mut self) {
        self.start = 0;
    }

    /// Keeps only the first `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        self.bytes.truncate(self.start + n);
    }

    /// Makes room for `capacity` bytes in all.
    pub fn grow(&mut self, capacity: usize) {
        self.bytes.reserve_exact(capacity.saturating_sub(self.bytes.len()));
    }

    /// Keeps the first `n` bytes and puts `rest` behind them in place of what was there.
    pub fn replace_body(&mut self, n: usize, rest: &[u8]) {
        self.truncate(n);
        self.extend(rest);
    }

    /// Empties the buffer; its memory stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// Appends `bytes`, growing when they do not fit.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The vector behind, for the codec's writers, which append to it.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Moves what waits to the front, so that all spare room is behind it.
    pub fn compact(&mut self) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }
}

// SAFETY: `read_ptr` points into the heap block of `bytes`, which does not move while the
// operation owns the buffer (moving the `Buffer` moves the `Vec` header, not the block), and
// `bytes[start..]` are initialised bytes of that block.
unsafe impl IoBuf for Buffer {
    fn read_ptr(&self) -> *const u8 {
        self.filled().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.len()
    }
}

// SAFETY: `write_ptr` points to the spare capacity of `bytes`' heap block, `bytes_total` is the
// size of exactly that spare part, so the kernel writes only there; `set_init` is called once
// with the number of bytes that it wrote, which are then initialised. `Buffer` is `Unpin` and the
// block does not move while the operation owns the buffer.
unsafe impl IoBufMut for Buffer {
    fn write_ptr(&mut self) -> *mut u8 {
        self.bytes.spare_capacity_mut().as_mut_ptr().cast()
    }

    fn bytes_total(&mut self) -> usize {
        self.spare()
    }

    unsafe fn set_init(&mut self, n: usize) {
        debug_assert!(n <= self.spare());
        // SAFETY: by this method's contract the first `n` bytes of the spare part are
        // initialised, and `n` is at most `bytes_total`.
        unsafe { self.bytes.set_len(self.bytes.len() + n) }
    }
}

/// One core's stock of buffers, by size. Memory that is not in use goes back here, not to the
/// allocator: a warm worker serves requests without allocating.
#[derive(Debug, Default)]
pub struct Buffers {
    idle: RefCell<Vec<Buffer>>,
    usual: RefCell<Vec<Buffer>>,
    large: RefCell<Vec<Buffer>>,
}

impl Buffers {
    /// A small buffer to wait for the next request in: all that an idle connection holds.
    pub fn idle(&self) -> Buffer {
        take(&self.idle, IDLE_READ)
    }

    /// A buffer for a head and a small body.
    pub fn usual(&self) -> Buffer {
        take(&self.usual, USUAL_BUFFER)
    }

    /// A buffer for relaying a body of more than a few reads.
    pub fn large(&self) -> Buffer {
        take(&self.large, LARGE_BUFFER)
    }

    /// `buffer` with room for at least one more byte: as it is, or moved into the next larger
    /// one. What waits in it stays at its front.
    pub fn widen(&self, mut buffer: Buffer) -> Buffer {
        if buffer.spare() == 0 {
            buffer.compact();
        }
        if buffer.spare() > 0 && buffer.capacity() > IDLE_READ {
            return buffer;
        }
        let mut wider = match buffer.len() {
            0..USUAL_BUFFER => self.usual(),
            USUAL_BUFFER..LARGE_BUFFER => self.large(),
            len => Buffer::with_capacity(len * 2),
        };
        wider.extend(buffer.filled());
        self.give(buffer);
        wider
    }

    /// Takes a buffer back. One that grew beyond its class is freed.
    pub fn give(&self, mut buffer: Buffer) {
        let stock = match buffer.capacity() {
            IDLE_READ => &self.idle,
            USUAL_BUFFER => &self.usual,
            LARGE_BUFFER => &self.large,
            _ => return,
        };
        let mut stock = stock.borrow_mut();
        if stock.len() < POOLED_BUFFERS {
            buffer.clear();
            stock.push(buffer);
        }
    }
}

fn take(stock: &RefCell<Vec<Buffer>>, capacity: usize) -> Buffer {
    stock.borrow_mut().pop().unwrap_or_else(|| Buffer::with_capacity(capacity))
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

    #[test]
    fn a_pool_gives_the_same_memory_again() {
        let buffers = Buffers::default();
        let mut buffer = buffers.usual();
        buffer.extend(b"x");
        let block = buffer.filled().as_ptr();
        buffers.give(buffer);
        let again = buffers.usual();
        assert!(again.is_empty());
        assert_eq!(again.read_ptr(), block);
        let mut grown = buffers.idle();
        grown.extend(&vec![0; IDLE_READ + 1]);
        buffers.give(grown);
        assert_eq!(buffers.idle().capacity(), IDLE_READ, "a grown buffer does not come back");
    }
}
