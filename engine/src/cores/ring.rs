//! The io_uring of a worker: how it is set up, and whether the kernel lets us have one.

use std::{fmt, io};

use io_uring::{IoUring, Probe, cqueue, opcode, squeue};

use crate::limits::{COMPLETIONS, SUBMISSIONS};

/// What came of setting up an io_uring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingTrial {
    /// With the flags, sizes and operations that a worker asks for.
    Works,
    /// The ring is there, but lacks these operations.
    Lacks(Vec<&'static str>),
    /// The kernel refused with this error number.
    Refused(i32),
}

/// Makes a ring as a worker does, asks it what it can do, and throws it away. Nothing is submitted.
pub fn try_io_uring() -> RingTrial {
    let ring = match ring_builder().build(SUBMISSIONS) {
        Ok(ring) => ring,
        Err(error) => return refused(&error),
    };
    let mut probe = Probe::new();
    if let Err(error) = ring.submitter().register_probe(&mut probe) {
        return refused(&error);
    }
    let lacking: Vec<_> =
        OPERATIONS.iter().filter(|(_, code)| !probe.is_supported(*code)).map(|(n, _)| *n).collect();
    if lacking.is_empty() { RingTrial::Works } else { RingTrial::Lacks(lacking) }
}

fn refused(error: &io::Error) -> RingTrial {
    // Every failure of these calls comes from the kernel; 0 would only say that none was given.
    RingTrial::Refused(error.raw_os_error().unwrap_or(0))
}

const OPERATIONS: [(&str, u8); 9] = [
    ("accept", opcode::Accept::CODE),
    ("async_cancel", opcode::AsyncCancel::CODE),
    ("connect", opcode::Connect::CODE),
    ("poll_add", opcode::PollAdd::CODE),
    ("read", opcode::Read::CODE),
    ("recv", opcode::Recv::CODE),
    ("send", opcode::Send::CODE),
    ("timeout", opcode::Timeout::CODE),
    ("write", opcode::Write::CODE),
];

/// A ring for one thread that submits and reaps, sized for a worker. Where the kernel can (6.1),
/// its part of a completion is left to the moment when that thread asks for it, which lets more of
/// them be reaped in one turn; otherwise the kernel does it when the thread next enters it for any
/// reason.
pub(crate) fn ring_builder() -> io_uring::Builder<squeue::Entry, cqueue::Entry> {
    let of = |deferred: bool| {
        let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
        builder.setup_single_issuer();
        if deferred {
            builder.setup_defer_taskrun()
        } else {
            builder.setup_coop_taskrun()
        };
        builder
    };
    let deferred = of(true).build(8).is_ok();
    let mut builder = of(deferred);
    builder.setup_cqsize(COMPLETIONS);
    builder
}

impl fmt::Display for RingTrial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errno = match self {
            RingTrial::Works => return f.write_str("io_uring works"),
            RingTrial::Lacks(operations) => {
                let operations = operations.join(", ");
                return write!(f, "io_uring cannot be used: this kernel's lacks {operations}");
            }
            RingTrial::Refused(errno) => *errno,
        };
        let why = match errno {
            libc::ENOSYS => "the kernel has no io_uring, or seccomp hides it",
            libc::EPERM | libc::EACCES => {
                "it is forbidden by kernel.io_uring_disabled or a seccomp profile"
            }
            libc::ENOMEM => "RLIMIT_MEMLOCK is too low",
            libc::EINVAL => "the kernel is older than 6.0",
            libc::EMFILE | libc::ENFILE => "no file descriptor is left",
            _ => "the kernel refuses it",
        };
        let error = io::Error::from_raw_os_error(errno);
        write!(f, "io_uring cannot be used: {why} ({error})")
    }
}
