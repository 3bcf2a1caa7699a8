//! How many completions the ring of a worker has had.
//!
//! The runtime does not tell, but the kernel counts them in the memory that it shares with us: the
//! tail of the completion queue only grows (io_uring(7)). Reading it is one load. The other way,
//! `/proc/self/fdinfo`, would hold the ring's lock while the kernel lists every operation that
//! waits, and so the worker.

use std::cell::Cell;
use std::fs;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr::{self, NonNull};

/// What `/proc/self/fd` links to for a ring.
const RING: &str = "anon_inode:[io_uring]";

/// The parameters of a ring (io_uring_setup(2)).
#[repr(C)]
#[derive(Default)]
struct Parameters {
    /// Sizes, flags and features, which nobody here asks for.
    settings: [u32; 10],
    /// Where the parts of the submission queue are in the shared memory.
    submission: [u32; 10],
    /// The same of the completion queue: its head, its tail, and so on.
    completion: [u32; 10],
}

/// Operations of io_uring_register(2): tell what the ring can do.
const REGISTER_PROBE: libc::c_uint = 8;

/// The completions of the ring of one thread, counted by the kernel.
pub(crate) struct Completions {
    memory: NonNull<libc::c_void>,
    length: usize,
    /// In bytes from the beginning of the memory.
    tail: usize,
    /// What the tail was when it was last looked at. It wraps around.
    seen: Cell<u32>,
}

impl Completions {
    /// Those of the ring that belongs to the calling thread, from now on; `None` when it has none,
    /// or the kernel does not let us look.
    pub(crate) fn of_this_thread() -> Option<Completions> {
        let tail = tail_offset()?;
        let ring =
            fs::read_dir("/proc/self/fd").ok()?.filter_map(Result::ok).find_map(|entry| {
                let link = fs::read_link(entry.path()).ok()?;
                let fd = entry.file_name().to_str()?.parse().ok()?;
                (link == Path::new(RING) && belongs_here(fd)).then_some(fd)
            })?;
        let length = tail + size_of::<u32>();
        // SAFETY: a new mapping at a place of the kernel's choice touches no memory of ours. It
        // lives on its own: also a ring that has been closed stays as long as it is mapped.
        let memory = unsafe {
            libc::mmap(ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, ring, 0)
        };
        let memory = NonNull::new(memory).filter(|memory| memory.as_ptr() != libc::MAP_FAILED)?;
        let completions = Completions { memory, length, tail, seen: Cell::new(0) };
        completions.since();
        Some(completions)
    }

    /// How many there were since the last call. Fewer than 2^32 of them can be told.
    pub(crate) fn since(&self) -> u64 {
        // SAFETY: `tail` and the four bytes behind it are within the mapping, which is readable as
        // long as `self` is there. The kernel gives the offset of an aligned 32-bit number that it
        // writes as a whole; a volatile read takes it as it is at this moment.
        let now = unsafe { self.memory.byte_add(self.tail).cast::<u32>().read_volatile() };
        u64::from(now.wrapping_sub(self.seen.replace(now)))
    }
}

impl Drop for Completions {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that was made in `of_this_thread`, of this length, and nobody
        // else knows of it.
        unsafe { libc::munmap(self.memory.as_ptr(), self.length) };
    }
}

/// Where in a ring's memory the tail of its completion queue is, which is the same for all rings of
/// a kernel. Asked of a small ring that is closed again.
fn tail_offset() -> Option<usize> {
    let mut parameters = Parameters::default();
    // SAFETY: io_uring_setup(2) reads and writes one structure of parameters, of this layout, on
    // our stack.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, &raw mut parameters) };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    usize::try_from(parameters.completion[1]).ok().filter(|tail| *tail > 0)
}

/// Whether a ring belongs to the calling thread: with `IORING_SETUP_SINGLE_ISSUER`, which all rings
/// of workers have, the kernel refuses everybody else with `EEXIST`.
fn belongs_here(fd: RawFd) -> bool {
    let mut probe = [0u64; 2];
    // SAFETY: with no operations asked for, io_uring_register(2) writes the 16 bytes of the probe's
    // head, to our stack. On a descriptor that is no ring any more it only fails.
    let done = unsafe {
        libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_PROBE, &raw mut probe, 0)
    };
    done == 0
}

#[cfg(test)]
mod tests {
    use io_uring::opcode;

    use super::*;
    use crate::cores::ring_builder;

    #[test]
    fn completions_of_the_own_ring_are_counted_and_no_others() {
        // As every worker, a ring to itself; where there can be none, there is nothing to count.
        let Ok(mut ring) = ring_builder().build(8) else { return };
        let other = std::thread::spawn(|| {
            let _ring = ring_builder().build(8).unwrap();
            Completions::of_this_thread().map(|completions| completions.since())
        });
        assert_eq!(other.join().unwrap(), Some(0));
        let completions = Completions::of_this_thread().unwrap();
        assert_eq!(completions.since(), 0);
        for _ in 0..3 {
            // SAFETY: the operation refers to no memory.
            unsafe { ring.submission().push(&opcode::Nop::new().build()).unwrap() };
        }
        ring.submit_and_wait(3).unwrap();
        assert_eq!((completions.since(), completions.since()), (3, 0));
        let stranger = std::thread::spawn(|| Completions::of_this_thread().is_none());
        assert!(stranger.join().unwrap(), "the ring of another thread is none of its own");
    }
}
