//! Each core's list of deadlines.
//!
//! A deadline costs no timer: it is a number in the core's list, and a sweep every
//! [`SWEEP_EVERY`] shuts down the direction of the socket that is overdue. That completes the
//! operation under way, whose owner then sees that its time was up. A read is thus never
//! cancelled, so no byte of a reader is ever lost.

use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;
use std::num::NonZeroU32;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::limits::SWEEP_EVERY;

/// A direction without a deadline.
const NEVER: u64 = u64::MAX;

/// One line of the processor's cache, for what each operation touches.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Entry {
    fd: RawFd,
    /// Milliseconds on the list's clock.
    read_at: u64,
    write_at: u64,
    /// How long the peer may take nothing, in milliseconds; 49 days at most.
    write_stall: u32,
    /// Bytes that the peer had not acknowledged when that was last looked at.
    unacknowledged: u32,
    read_expired: bool,
    write_expired: bool,
    /// When the exchange that the socket is used for is over, and that it is.
    over_at: u64,
    over: bool,
    /// It was ended from outside: its route is gone, or the gateway stops.
    cut: bool,
    /// It waits for a request, which a drain cuts short.
    waiting: bool,
    /// What is being sent has no end but that of the connection, so none may look orderly.
    unfinished: bool,
    /// The exchange under way, on a connection to an upstream.
    serving: Option<Serving>,
    /// When the exchange under way is ended, whatever it does.
    end_at: u64,
    /// What `serving` was last looked at for.
    looked: Option<NonZeroU32>,
}

const _: () = assert!(size_of::<Entry>() == 64);

/// An exchange under way: the place of its route in a snapshot, by the number that a core gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Serving {
    pub(crate) adopted: NonZeroU32,
    pub(crate) route: u32,
}

/// One core's list of sockets and their deadlines.
#[derive(Default)]
pub(crate) struct Deadlines {
    entries: RefCell<Vec<Entry>>,
    free: RefCell<Vec<u32>>,
    /// Milliseconds since the list was made, as of the last sweep.
    clock: Cell<u64>,
    swept: Cell<Option<Instant>>,
}

impl Deadlines {
    /// Puts the open socket `fd` on the list, without deadlines, until the watch is dropped.
    pub(crate) fn watch(self: &Rc<Self>, fd: RawFd) -> Watch {
        let entry = Entry {
            fd,
            read_at: NEVER,
            write_at: NEVER,
            write_stall: u32::MAX,
            unacknowledged: u32::MAX,
            read_expired: false,
            write_expired: false,
            over_at: NEVER,
            over: false,
            cut: false,
            waiting: false,
            unfinished: false,
            serving: None,
            end_at: NEVER,
            looked: None,
        };
        let mut entries = self.entries.borrow_mut();
        let key = match self.free.borrow_mut().pop() {
            Some(key) => {
                entries[key as usize] = entry;
                key
            }
            None => {
                entries.push(entry);
                (entries.len() - 1) as u32
            }
        };
        Watch { list: self.clone(), key }
    }

    /// Moves the clock on to `now` and shuts down what is overdue.
    ///
    /// The clock moves by at most two sweeps at a time: after a stall (a stopped process, a
    /// suspended machine) answers that arrived meanwhile are read before anybody is blamed.
    pub(crate) fn sweep(&self, now: Instant) {
        let passed = match self.swept.replace(Some(now)) {
            Some(before) => now.saturating_duration_since(before).min(SWEEP_EVERY * 2),
            None => Duration::ZERO,
        };
        let clock = self.clock.get() + passed.as_millis() as u64;
        self.clock.set(clock);
        for entry in self.entries.borrow_mut().iter_mut().filter(|e| e.fd >= 0) {
            if entry.read_at <= clock {
                entry.read_at = NEVER;
                entry.read_expired = true;
                shut(entry.fd, libc::SHUT_RD);
            }
            if entry.end_at <= clock {
                entry.end_at = NEVER;
                entry.cut();
            }
            if entry.write_at <= clock && !entry.goes_on(clock) {
                entry.write_at = NEVER;
                entry.write_expired = true;
                shut(entry.fd, libc::SHUT_RDWR);
            }
            if entry.over_at <= clock {
                entry.over_at = NEVER;
                entry.over = true;
                // Only a write under way has to be ended by force. Where there is none, the peer
                // is not to be told of an end that it could take for an orderly one.
                match (entry.write_at != NEVER, entry.unfinished) {
                    (false, _) => shut(entry.fd, libc::SHUT_RD),
                    (true, false) => shut(entry.fd, libc::SHUT_RDWR),
                    (true, true) => reset(entry.fd),
                }
            }
        }
    }

    /// Ends the waiting of every idle connection, for a drain, within `grace`: a request may be on
    /// its way on each.
    pub(crate) fn end_idle(&self, grace: Duration) {
        let at = self.at(grace);
        for entry in self.entries.borrow_mut().iter_mut().filter(|e| e.fd >= 0 && e.waiting) {
            entry.read_at = entry.read_at.min(at);
        }
    }

    /// Ends the exchanges under way whose route is `gone` within `time`, and lets the others go on.
    /// Each is asked about once for every `number`.
    pub(crate) fn end_gone(
        &self,
        number: NonZeroU32,
        time: Duration,
        gone: impl Fn(Serving) -> bool,
    ) {
        let at = self.at(time);
        for entry in self.entries.borrow_mut().iter_mut().filter(|e| e.fd >= 0) {
            let Some(serving) = entry.serving.filter(|s| s.adopted != number) else { continue };
            if entry.looked.replace(number) != Some(number) {
                entry.end_at = if gone(serving) { entry.end_at.min(at) } else { NEVER };
            }
        }
    }

    /// Ends the exchanges under way from the side of their upstreams, so that clients can still be
    /// told.
    pub(crate) fn end_serving(&self) {
        let mut entries = self.entries.borrow_mut();
        entries.iter_mut().filter(|e| e.fd >= 0 && e.serving.is_some()).for_each(Entry::cut);
    }

    /// Shuts every socket on the list down, for the end of a drain, but for those that must end
    /// with a reset: they do when they are closed.
    pub(crate) fn end_all(&self) {
        for entry in self.entries.borrow().iter().filter(|e| e.fd >= 0 && !e.unfinished) {
            shut(entry.fd, libc::SHUT_RDWR);
        }
    }

    /// Milliseconds on the list's clock, as of the last sweep: good for ages.
    pub(crate) fn coarse(&self) -> Duration {
        Duration::from_millis(self.clock.get())
    }

    fn at(&self, time: Duration) -> u64 {
        // The clock may be one sweep old; without the extra one a deadline would come early.
        let time = time.saturating_add(SWEEP_EVERY).as_millis();
        self.clock.get().saturating_add(u64::try_from(time).unwrap_or(NEVER - 1))
    }
}

impl Entry {
    /// Ends both directions before their time: a body that ends with its connection is not to look
    /// whole for it.
    fn cut(&mut self) {
        self.over = true;
        self.cut = true;
        shut(self.fd, libc::SHUT_RDWR);
    }

    /// True when the peer of an overdue write has taken something since the last look, or when
    /// this is the first; it then has as long again.
    ///
    /// The system lets a writer go on only when a third of a send buffer of megabytes is free, so
    /// a write that waits does not say that the peer takes nothing.
    fn goes_on(&mut self, clock: u64) -> bool {
        let left = unacknowledged(self.fd);
        let goes_on = left < self.unacknowledged;
        self.unacknowledged = left;
        self.write_at = clock.saturating_add(self.write_stall.into());
        goes_on
    }
}

/// Bytes that were sent on a socket and that its peer has not acknowledged.
fn unacknowledged(fd: RawFd) -> u32 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while its entry is on the list (see `shut`); TIOCOUTQ
    // (tcp(7)) writes one `int`, to our stack.
    let done = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) };
    if done == 0 { bytes.unsigned_abs() } else { u32::MAX }
}

fn shut(fd: RawFd, how: i32) {
    // SAFETY: a plain system call on a descriptor number. The entry's `Watch` is retired before
    // its socket is closed (`io::Stream`'s `Drop`), so the number is still that socket.
    // Its result does not matter: a peer that is gone has ended the operation already.
    unsafe { libc::shutdown(fd, how) };
}

/// Ends a connection with a reset, and what is under way on it; its socket stays to be closed.
fn reset(fd: RawFd) {
    let nowhere =
        libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    let size = size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY: the descriptor is open while its entry is on the list (see `shut`); the pointer is to
    // an address of our stack, of the size given. Connecting to nowhere dissolves a connection
    // (connect(2)); where that is refused, the close that follows resets it all the same.
    unsafe { libc::connect(fd, &raw const nowhere, size) };
}

/// A socket's place on the list. The owner retires it before it closes the socket; its place is
/// free again when it is dropped.
pub(crate) struct Watch {
    list: Rc<Deadlines>,
    key: u32,
}

impl Watch {
    /// What is being read must come within `time` from now.
    pub(crate) fn read_within(&self, time: Duration) {
        let at = self.list.at(time);
        self.with(|e| e.read_at = at);
    }

    /// Nothing is being read, or it may take as long as it likes.
    pub(crate) fn read_any_time(&self) {
        self.with(|e| e.read_at = NEVER);
    }

    /// What is being written must be taken within `time` from now. False when no more is to be
    /// written, because all is over.
    pub(crate) fn write_within(&self, time: Duration) -> bool {
        let at = self.list.at(time);
        let stall = u32::try_from(at - self.list.clock.get()).unwrap_or(u32::MAX);
        self.with(|e| {
            e.write_at = at;
            e.write_stall = stall;
            e.unacknowledged = u32::MAX;
            !e.over
        })
    }

    /// Whatever is read or written from now on must be done within `time`: then both directions
    /// end, even if bytes go on coming and going.
    pub(crate) fn over_within(&self, time: Duration) {
        let at = self.list.at(time);
        self.with(|e| e.over_at = at);
    }

    /// The socket may be used for as long as it likes again.
    pub(crate) fn never_over(&self) {
        self.with(|e| {
            e.over_at = NEVER;
            e.over = false;
        });
    }

    /// True when the time that [`Watch::over_within`] gave is over.
    pub(crate) fn is_over(&self) -> bool {
        self.with(|e| e.over)
    }

    /// True when the exchange under way was ended from outside.
    pub(crate) fn is_cut(&self) -> bool {
        self.with(|e| e.cut)
    }

    /// Nothing is being written.
    pub(crate) fn write_any_time(&self) {
        self.with(|e| e.write_at = NEVER);
    }

    /// Says whether the connection waits for a request.
    pub(crate) fn waits(&self, waiting: bool) {
        self.with(|e| e.waiting = waiting);
    }

    /// Says which exchange is under way on this connection to an upstream.
    pub(crate) fn serves(&self, serving: Option<Serving>) {
        self.with(|e| {
            e.serving = serving;
            e.end_at = NEVER;
            e.looked = None;
        });
    }

    /// True when the read side was shut down for being late.
    pub(crate) fn read_expired(&self) -> bool {
        self.with(|e| e.read_expired)
    }

    /// True when the socket was shut down because its peer took nothing.
    pub(crate) fn write_expired(&self) -> bool {
        self.with(|e| e.write_expired)
    }

    /// Says to the peer that no more will be sent.
    pub(crate) fn end_sending(&self) {
        self.with(|e| shut(e.fd, libc::SHUT_WR));
    }

    /// Ends both directions at once; operations under way complete.
    pub(crate) fn abort(&self) {
        self.with(|e| shut(e.fd, libc::SHUT_RDWR));
    }

    /// True when the socket is open and nothing waits to be read. One system call.
    pub(crate) fn is_quiet(&self) -> bool {
        let looked = self.receive_with(&mut [MaybeUninit::uninit()], libc::MSG_PEEK);
        looked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Takes what has come and waits to be read into `room`, at once; `WouldBlock` when that is
    /// nothing. One system call.
    pub(crate) fn receive(&self, room: &mut [MaybeUninit<u8>]) -> std::io::Result<usize> {
        self.receive_with(room, 0)
    }

    /// recv(2) that never waits. libc's own is a point at which a thread may be cancelled, which it
    /// makes so and undoes with locked instructions each time: some 300 of the worker's a request.
    fn receive_with(
        &self,
        room: &mut [MaybeUninit<u8>],
        flags: libc::c_int,
    ) -> std::io::Result<usize> {
        let (start, len) = (room.as_mut_ptr(), room.len());
        let nobody = std::ptr::null_mut::<libc::sockaddr>();
        // SAFETY: the descriptor is open while its entry is on the list (see `shut`); the kernel
        // writes at most `len` bytes to `room`, which is ours to write to, and no address where
        // the pointers for one are null.
        let n = self.with(|e| unsafe {
            let flags = flags | libc::MSG_DONTWAIT;
            libc::syscall(libc::SYS_recvfrom, e.fd, start, len, flags, nobody, nobody)
        });
        usize::try_from(n).map_err(|_| std::io::Error::last_os_error())
    }

    /// Sends what the socket has room for, at once, but keeps back what does not fill a segment:
    /// more comes, or the end. One system call.
    pub(crate) fn send_more(&self, bytes: &[u8]) -> std::io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_MORE;
        let (start, len) = (bytes.as_ptr(), bytes.len());
        let nobody = std::ptr::null::<libc::sockaddr>();
        // SAFETY: the descriptor is open while its entry is on the list (see `shut`); the kernel
        // reads at most `len` bytes of `bytes`, and no address where the pointer for one is null.
        let n = self.with(|e| unsafe {
            libc::syscall(libc::SYS_sendto, e.fd, start, len, flags, nobody, 0)
        });
        usize::try_from(n).map_err(|_| std::io::Error::last_os_error())
    }

    /// Takes the socket off the list, right before it is closed.
    pub(crate) fn retire(&self) {
        self.with(|e| e.fd = -1);
    }

    /// Makes the close that follows a reset, or an orderly one again.
    pub(crate) fn reset_on_close(&self, reset: bool) {
        self.with(|e| e.unfinished = reset);
        let linger = libc::linger { l_onoff: reset.into(), l_linger: 0 };
        let size = size_of::<libc::linger>() as libc::socklen_t;
        // SAFETY: the descriptor is open while its entry is on the list (see `shut`); the pointer
        // is to a `linger` of our stack, of the size given. Where the option is refused the close
        // is an orderly one, as it would have been.
        self.with(|e| unsafe {
            let value = (&raw const linger).cast();
            libc::setsockopt(e.fd, libc::SOL_SOCKET, libc::SO_LINGER, value, size)
        });
    }

    fn with<T>(&self, f: impl FnOnce(&mut Entry) -> T) -> T {
        f(&mut self.list.entries.borrow_mut()[self.key as usize])
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.retire();
        self.list.free.borrow_mut().push(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn sweep_for(list: &Deadlines, start: Instant, from: u32, to: u32) {
        (from..=to).for_each(|n| list.sweep(start + SWEEP_EVERY * n));
    }

    #[test]
    fn an_overdue_read_ends_and_says_why() {
        let list = Rc::new(Deadlines::default());
        let (mut ours, _theirs) = UnixStream::pair().unwrap();
        let watch = list.watch(ours.as_raw_fd());
        let start = now();
        list.sweep(start);
        watch.read_within(Duration::from_millis(300));
        sweep_for(&list, start, 1, 3);
        assert!(!watch.read_expired(), "never early");
        sweep_for(&list, start, 4, 5);
        assert!(watch.read_expired());
        assert_eq!(ours.read(&mut [0; 1]).unwrap(), 0, "the read side is shut down");
    }

    #[test]
    fn what_is_over_ends_in_both_directions() {
        let list = Rc::new(Deadlines::default());
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let watch = list.watch(ours.as_raw_fd());
        let start = now();
        list.sweep(start);
        watch.over_within(Duration::from_millis(200));
        assert!(watch.write_within(Duration::from_secs(60)));
        watch.write_any_time();
        sweep_for(&list, start, 1, 2);
        assert!(!watch.is_over(), "never early");
        sweep_for(&list, start, 3, 4);
        assert!(watch.is_over() && !watch.read_expired());
        assert!(!watch.write_within(Duration::from_secs(60)), "no more is to be written");
        assert_eq!(ours.read(&mut [0; 1]).unwrap(), 0, "the read side is shut down");
        theirs.set_nonblocking(true).unwrap();
        let waits = theirs.read(&mut [0; 1]).unwrap_err().kind();
        assert_eq!(waits, std::io::ErrorKind::WouldBlock, "the peer is told of no end");
        watch.never_over();
        assert!(!watch.is_over());
    }

    #[test]
    fn a_stall_blames_nobody() {
        let list = Rc::new(Deadlines::default());
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let watch = list.watch(ours.as_raw_fd());
        let start = now();
        list.sweep(start);
        watch.read_within(Duration::from_secs(1));
        list.sweep(start + Duration::from_secs(60));
        assert!(!watch.read_expired(), "a minute in which nothing ran counts as two sweeps");
    }

    #[test]
    fn an_exchange_whose_route_is_gone_ends_and_the_others_go_on() {
        let number = |number| NonZeroU32::new(number).unwrap();
        let list = Rc::new(Deadlines::default());
        let pairs: Vec<_> = (0..4).map(|_| UnixStream::pair().unwrap()).collect();
        let watches: Vec<_> = pairs.iter().map(|(ours, _)| list.watch(ours.as_raw_fd())).collect();
        let start = now();
        list.sweep(start);
        for (route, watch) in watches.iter().enumerate() {
            watch.serves(Some(Serving { adopted: number(1), route: route as u32 }));
        }
        watches[3].serves(None);
        list.end_gone(number(2), Duration::from_millis(300), |serving| serving.route != 0);
        list.end_gone(number(2), Duration::from_secs(60), |_| panic!("each is asked about once"));
        // What comes back in time goes on.
        list.end_gone(number(3), Duration::from_millis(300), |serving| serving.route == 1);
        sweep_for(&list, start, 1, 5);
        let ended: Vec<_> = watches.iter().map(|w| (!w.is_quiet(), w.is_cut())).collect();
        assert_eq!(ended, [false, true, false, false].map(|ended| (ended, ended)));
    }

    #[test]
    fn the_last_bytes_are_kept_back_for_the_end_to_go_with_them() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        ours.set_nodelay(true).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let list = Rc::new(Deadlines::default());
        let watch = list.watch(ours.as_raw_fd());
        let begun = now();
        for piece in [&b"the "[..], b"last "] {
            assert_eq!(watch.send_more(piece).unwrap(), piece.len());
        }
        let early = theirs.read(&mut [0; 16]).map_err(|error| error.kind());
        // The system keeps them for 200 ms, and this thread may have been stopped for longer.
        if begun.elapsed() < Duration::from_millis(100) {
            assert_eq!(early, Err(std::io::ErrorKind::WouldBlock));
        }
        theirs.set_nonblocking(false).unwrap();
        watch.end_sending();
        let mut all = String::new();
        theirs.read_to_string(&mut all).unwrap();
        assert!("the last ".ends_with(&all) && (early.is_ok() || all.len() == 9), "{all:?}");
        assert!(watch.send_more(b"more").is_err(), "no signal ends us for it");
    }

    #[test]
    fn places_are_used_again() {
        let list = Rc::new(Deadlines::default());
        let (a, b) = UnixStream::pair().unwrap();
        let first = list.watch(a.as_raw_fd());
        drop(first);
        let _second = list.watch(b.as_raw_fd());
        assert_eq!(list.entries.borrow().len(), 1);
    }
}
