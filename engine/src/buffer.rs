//! Bytes that travel between sockets: one buffer type for reading and writing, and each core's
//! pool of them.
//!
//! A buffer is filled by the kernel at its end and emptied from its start. Who holds it owns it:
//! io_uring writes into memory while our code does something else, so a buffer is handed to an
//! operation by value and comes back with its result.

use std::cell::RefCell;
use std::rc::Rc;

use crate::limits::{HUGE_BUFFER, IDLE_READ, LARGE_BUFFER, LOANS, POOLED_BUFFERS, USUAL_BUFFER};

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

/// One core's stock of buffers, by size. Memory that is not in use goes back here, not to the
/// allocator: a warm worker serves requests without allocating.
#[derive(Debug, Default)]
pub struct Buffers {
    idle: RefCell<Vec<Buffer>>,
    usual: RefCell<Vec<Buffer>>,
    large: RefCell<Vec<Buffer>>,
    huge: RefCell<Vec<Buffer>>,
    /// One reference for each loan, and this one.
    lent: Rc<()>,
}

/// The right to huge buffers. It is held beside them, because a buffer whose operation is given up
/// with its future does not come back.
#[derive(Debug)]
pub(crate) struct Loan {
    _lent: Rc<()>,
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

    /// A buffer for relaying a long body in few pieces, where `loan` is one or can become one.
    pub(crate) fn huge(&self, loan: &mut Option<Loan>) -> Option<Buffer> {
        if loan.is_none() && Rc::strong_count(&self.lent) <= LOANS {
            *loan = Some(Loan { _lent: self.lent.clone() });
        }
        loan.as_ref().map(|_| take(&self.huge, HUGE_BUFFER))
    }

    /// A buffer for so many bytes. A vector that has to grow belongs to no class, and its memory
    /// goes back to the allocator.
    pub fn holding(&self, bytes: usize) -> Buffer {
        if bytes <= USUAL_BUFFER {
            self.usual()
        } else if bytes <= LARGE_BUFFER {
            self.large()
        } else {
            Buffer::with_capacity(bytes)
        }
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

    /// Puts `other` in the place of `buffer`, which is empty and is taken back.
    pub(crate) fn replace(&self, buffer: &mut Buffer, other: Buffer) {
        debug_assert!(buffer.is_empty(), "its bytes would be lost");
        self.give(std::mem::replace(buffer, other));
    }

    /// Takes a buffer back. One that grew beyond its class is freed.
    pub fn give(&self, mut buffer: Buffer) {
        let stock = match buffer.capacity() {
            IDLE_READ => &self.idle,
            USUAL_BUFFER => &self.usual,
            LARGE_BUFFER => &self.large,
            HUGE_BUFFER => &self.huge,
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

    #[test]
    fn a_pool_gives_the_same_memory_again() {
        let buffers = Buffers::default();
        let mut buffer = buffers.usual();
        buffer.extend(b"x");
        let block = buffer.tail().as_ptr();
        buffers.give(buffer);
        let mut again = buffers.usual();
        assert!(again.is_empty());
        assert_eq!(again.tail().as_ptr(), block);
        let mut grown = buffers.idle();
        grown.extend(&vec![0; IDLE_READ + 1]);
        buffers.give(grown);
        assert_eq!(buffers.idle().capacity(), IDLE_READ, "a grown buffer does not come back");
    }

    #[test]
    fn huge_buffers_are_for_a_few_and_a_loan_ends_with_its_holder() {
        let buffers = Buffers::default();
        let mut loans: Vec<Option<Loan>> = (0..LOANS).map(|_| None).collect();
        let mut huge: Vec<_> = loans.iter_mut().map(|loan| buffers.huge(loan).unwrap()).collect();
        assert!(buffers.huge(&mut None).is_none(), "one too many");
        assert!(buffers.huge(&mut loans[0]).is_some(), "who has a loan may have a second");
        // Its buffer is lost in an operation that was given up.
        huge.pop();
        loans.pop();
        assert_eq!(buffers.huge(&mut None).unwrap().capacity(), HUGE_BUFFER);
        let block = huge[0].tail().as_ptr();
        buffers.give(huge.swap_remove(0));
        assert_eq!(buffers.huge(&mut loans[0]).unwrap().tail().as_ptr(), block);
    }
}
