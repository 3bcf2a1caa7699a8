//! Tries what the two drivers stand on: an io_uring with the operations that serving needs, and an
//! epoll instance. Nothing is submitted; the trial objects are closed at once.

use std::io;

use io_uring::{IoUring, Probe, opcode};

/// What came of setting up an io_uring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RingTrial {
    /// With the flags and operations that the driver asks for.
    Works,
    /// The ring is there, but lacks these operations.
    Lacks(Vec<&'static str>),
    /// The kernel refused with this error number.
    Refused(i32),
}

/// Large enough that a memory bound which a worker's ring would meet is met here too.
const ENTRIES: u32 = 1024;

/// Asks the kernel for a ring as a worker does.
pub(crate) fn try_io_uring() -> RingTrial {
    let built: io::Result<IoUring> =
        IoUring::builder().setup_single_issuer().setup_coop_taskrun().build(ENTRIES);
    let ring = match built {
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

/// Asks the kernel for an epoll instance: what the other driver stands on.
pub(crate) fn try_epoll() -> Result<(), i32> {
    match rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC) {
        Ok(_closed_on_drop) => Ok(()),
        Err(error) => Err(error.raw_os_error()),
    }
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
