//! The floor: a relay on a bare io_uring that does nothing of HTTP, for `ringway bench` to compare
//! gateways with. What comes from a client goes to a connection of its own to the origin, and what
//! comes from there goes back, in whole reads: two reads and two writes a request, with no runtime
//! above the ring. What a gateway takes beyond that is the price of what it does.
//!
//! `floor LISTEN ORIGIN CORE` runs until it is ended.
#![allow(clippy::unwrap_used, reason = "a floor that cannot be laid has failed")]

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::rc::Rc;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

/// Bytes that a direction reads at once.
const BUFFER: usize = 16 * 1024;

/// Submissions that wait for the kernel at most; more are handed over at once.
const ENTRIES: u32 = 4096;

/// The accept among operations, which otherwise bear the number of their direction.
const ACCEPT: u64 = u64::MAX;

/// The bit that tells a write from a read.
const WRITE: u64 = 1 << 32;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` and `cargo bench` start every bench without an address.
    let [listen, origin, core] = arguments.as_slice() else { return };
    core_affinity::set_for_current(core_affinity::CoreId { id: core.parse().unwrap() });
    let listener = TcpListener::bind(listen.parse::<SocketAddr>().unwrap()).unwrap();
    Floor::new(listener, origin.parse().unwrap()).run();
}

/// One way of a pair of connections; the other way stands beside it.
struct Direction {
    from: Rc<TcpStream>,
    to: Rc<TcpStream>,
    /// The kernel reads into it or writes from it while an operation is under way: it stays where
    /// it is until the direction is dropped, which is after its last operation.
    buffer: Box<[u8]>,
    filled: usize,
    written: usize,
    /// No operation is under way, and none will be.
    over: bool,
}

struct Floor {
    ring: IoUring,
    listener: TcpListener,
    origin: SocketAddr,
    /// Both ways of a pair stand beside each other: 0 and 1, 2 and 3.
    directions: Vec<Option<Direction>>,
    /// Even numbers whose pair is gone.
    free: Vec<usize>,
}

impl Floor {
    fn new(listener: TcpListener, origin: SocketAddr) -> Floor {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(ENTRIES * 8)
            .build(ENTRIES)
            .unwrap();
        Floor { ring, listener, origin, directions: Vec::new(), free: Vec::new() }
    }

    fn run(mut self) {
        self.accept();
        loop {
            self.ring.submit_and_wait(1).unwrap();
            let done: Vec<cqueue::Entry> = self.ring.completion().collect();
            for entry in done {
                match entry.user_data() {
                    ACCEPT => self.accepted(entry.result()),
                    of => self.moved((of & !WRITE) as usize, of & WRITE != 0, entry.result()),
                }
            }
        }
    }

    fn accept(&mut self) {
        let listener = types::Fd(self.listener.as_raw_fd());
        let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
        self.push(&opcode::Accept::new(listener, address, length).build().user_data(ACCEPT));
    }

    fn accepted(&mut self, socket: i32) {
        self.accept();
        if socket < 0 {
            return;
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        let client = unsafe { TcpStream::from_raw_fd(socket) };
        let Ok(upstream) = TcpStream::connect(self.origin) else { return };
        let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
        let (client, upstream) = (Rc::new(client), Rc::new(upstream));
        let way = |from: &Rc<TcpStream>, to: &Rc<TcpStream>| {
            Some(Direction {
                from: from.clone(),
                to: to.clone(),
                buffer: vec![0; BUFFER].into(),
                filled: 0,
                written: 0,
                over: false,
            })
        };
        let first = self.free.pop().unwrap_or_else(|| {
            self.directions.extend([None, None]);
            self.directions.len() - 2
        });
        self.directions[first] = way(&client, &upstream);
        self.directions[first + 1] = way(&upstream, &client);
        self.read(first);
        self.read(first + 1);
    }

    /// A read or a write of a direction has ended.
    fn moved(&mut self, number: usize, wrote: bool, result: i32) {
        let direction = self.directions[number].as_mut().unwrap();
        let bytes = usize::try_from(result).unwrap_or(0);
        if bytes == 0 {
            return self.end(number);
        }
        if wrote {
            direction.written += bytes;
        } else {
            (direction.filled, direction.written) = (bytes, 0);
        }
        if direction.written < direction.filled { self.write(number) } else { self.read(number) }
    }

    /// Ends a direction, and with it the one beside it, whose operation then ends as well.
    fn end(&mut self, number: usize) {
        let direction = self.directions[number].as_mut().unwrap();
        direction.over = true;
        let _ = direction.to.shutdown(Shutdown::Both);
        let _ = direction.from.shutdown(Shutdown::Both);
        if self.directions[number ^ 1].as_ref().is_some_and(|beside| beside.over) {
            self.directions[number] = None;
            self.directions[number ^ 1] = None;
            self.free.push(number & !1);
        }
    }

    fn read(&mut self, number: usize) {
        let direction = self.directions[number].as_mut().unwrap();
        let (from, buffer) = (types::Fd(direction.from.as_raw_fd()), &mut direction.buffer);
        let read = opcode::Recv::new(from, buffer.as_mut_ptr(), BUFFER as u32);
        self.push(&read.build().user_data(number as u64));
    }

    fn write(&mut self, number: usize) {
        let direction = self.directions[number].as_mut().unwrap();
        let to = types::Fd(direction.to.as_raw_fd());
        let rest = &direction.buffer[direction.written..direction.filled];
        let write = opcode::Send::new(to, rest.as_ptr(), rest.len() as u32);
        self.push(&write.build().user_data(number as u64 | WRITE));
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: an operation reads or writes only the buffer of its direction, which has no other
        // operation and is dropped after its last one has ended (`end`), and sockets that live as
        // long; the accept has no memory of ours at all.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit().unwrap();
        }
    }
}
