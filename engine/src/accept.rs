//! From a listening socket to a connection: limits, and the hand-over to a worker with fewer.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use ringway_config::Accept;
use socket2::SockRef;

use crate::admission::Admission;
use crate::clock;
use crate::connection;
use crate::io::Stream;
use crate::limits::{EXHAUSTION_OVER, HANDOVER_SLACK, SWEEP_EVERY};
use crate::listen::Bound;
use crate::worker::{Colleague, Message, Worker};

/// A listening socket of one worker.
pub(crate) struct Listener {
    socket: monoio::net::TcpListener,
    closed: Rc<Cell<bool>>,
}

/// What a listener is ended by.
pub(crate) struct Handle {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    socket: TcpListener,
    closed: Rc<Cell<bool>>,
}

impl Listener {
    /// Takes a bound socket in; the second value is a handle to end it by.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn new(bound: Bound, io_uring: bool) -> io::Result<(Self, Handle)> {
        // A ring waits by itself and answers EAGAIN at once on a non-blocking socket; epoll
        // needs one.
        bound.socket.set_nonblocking(!io_uring)?;
        let closed = Rc::<Cell<bool>>::default();
        let handle =
            Handle { address: bound.address, socket: bound.handle, closed: closed.clone() };
        let socket = monoio::net::TcpListener::from_std(bound.socket)?;
        Ok((Listener { socket, closed }, handle))
    }

    /// Accepts until the socket is closed. Out of descriptors, it pauses and says so once, and
    /// once again when that has been over for a while.
    pub(crate) async fn run(self, worker: Rc<Worker>) {
        let mut exhausted: Option<Instant> = None;
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    if exhausted.is_some_and(|at| clock::now() > at + EXHAUSTION_OVER) {
                        tracing::info!(worker = worker.id, "accepting connections again");
                        exhausted = None;
                    }
                    admit(&worker, stream, peer);
                }
                Err(_) if self.closed.get() => return,
                Err(error) if is_exhausted(&error) => {
                    if exhausted.is_none() {
                        tracing::error!(
                            worker = worker.id,
                            %error,
                            "cannot accept: no more connections until one is closed (raise \
                             RLIMIT_NOFILE, or lower server.max_connections)"
                        );
                    }
                    exhausted = Some(clock::now());
                    clock::sleep(SWEEP_EVERY).await;
                }
                // The client was gone before it was its turn, or the like.
                Err(error) => tracing::debug!(worker = worker.id, %error, "accept"),
            }
        }
    }
}

/// Stops listening. What the kernel had already accepted for this socket is served.
pub(crate) fn close(worker: &Rc<Worker>, listener: &Handle) {
    if listener.socket.set_nonblocking(true).is_ok() {
        while let Ok((stream, peer)) = listener.socket.accept() {
            if let Some(admission) = Admission::take(&worker.common.places, peer.ip()) {
                take_over(worker, stream.into(), peer, admission);
            }
        }
    }
    listener.closed.set(true);
    // Completes the accept under way with an error.
    let _ = SockRef::from(&listener.socket).shutdown(std::net::Shutdown::Read);
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

fn admit(worker: &Rc<Worker>, stream: monoio::net::TcpStream, peer: SocketAddr) {
    let Some(admission) = Admission::take(&worker.common.places, peer.ip()) else {
        tracing::debug!(worker = worker.id, %peer, "connection refused: over the limit");
        return;
    };
    let Some(colleague) = promise(worker) else {
        connection::spawn(worker, Stream::new(stream, &worker.deadlines), peer, admission);
        return;
    };
    // SAFETY: `into_raw_fd` gives up a descriptor that nobody else owns: no operation on the
    // fresh stream has been started, so there is no other reference to it.
    let socket = unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) };
    match colleague.mailbox.send(Message::Socket(socket, peer, admission)) {
        Ok(()) => worker.shard.handed_over.add(1),
        Err(message) => {
            colleague.promised.give();
            if let Message::Socket(socket, peer, admission) = message {
                take_over(worker, socket, peer, admission);
            }
        }
    }
}

/// The worker that is to serve the next connection instead of this one; it waits for it before it
/// ends. None while the gateway drains: that worker may have ended already, and what comes into its
/// mailbox then, nobody hears.
fn promise(worker: &Worker) -> Option<&Colleague> {
    let colleague = &worker.common.colleagues[less_loaded(worker)?];
    colleague.promised.take();
    // Only after the promise, and both in the one order that all cores see: so either the drain is
    // seen here, or the promise there.
    if worker.common.draining.is_up() {
        colleague.promised.give();
        return None;
    }
    Some(colleague)
}

/// The worker with the fewest connections, when it has clearly fewer than this one.
fn less_loaded(worker: &Worker) -> Option<usize> {
    if worker.adopted().snapshot.server.accept == Accept::Kernel {
        return None;
    }
    let load = |at: usize| {
        let colleague = &worker.common.colleagues[at];
        colleague.shard.connections.get() + colleague.promised.taken()
    };
    let mine = load(worker.id);
    let least = (0..worker.common.colleagues.len()).min_by_key(|&at| load(at))?;
    (mine > load(least) + load(least) / 8 + HANDOVER_SLACK).then_some(least)
}

/// Serves a connection that was accepted elsewhere.
pub(crate) fn take_over(
    worker: &Rc<Worker>,
    socket: OwnedFd,
    peer: SocketAddr,
    admission: Admission,
) {
    let stream = TcpStream::from(socket);
    let stream = stream
        .set_nonblocking(!worker.io_uring)
        .and_then(|()| monoio::net::TcpStream::from_std(stream));
    match stream {
        Ok(stream) => {
            connection::spawn(worker, Stream::new(stream, &worker.deadlines), peer, admission);
        }
        Err(error) => tracing::error!(worker = worker.id, %error, "cannot take a connection over"),
    }
}

#[cfg(test)]
mod tests {
    use ringway_config::Config;

    use super::*;
    use crate::compute::Pool;
    use crate::filter::{Blueprint, Settings, SettingsError};
    use crate::limits::MAILBOX;
    use crate::live::Live;
    use crate::shared::{Mailbox, Shared, SharedBudget, SharedLatest};
    use crate::snapshot::Snapshot;
    use crate::upstream::Registry;
    use crate::worker::Common;

    #[derive(PartialEq)]
    enum NoFilter {}

    impl Settings for NoFilter {
        fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
            match *self {}
        }
    }

    /// The first of two workers, which has ten connections more than the other.
    fn busy() -> Worker {
        let snapshot = Snapshot::build(&Config::<NoFilter>::default()).unwrap();
        let colleague = || Colleague {
            mailbox: Mailbox::new(MAILBOX).unwrap().0,
            shard: Shared::default(),
            promised: SharedBudget::new(u64::MAX),
        };
        let common = Common {
            live: Shared::new(Live::new(Shared::new(snapshot), Vec::new())),
            addresses: SharedLatest::new(Shared::default()),
            places: Shared::new(crate::admission::Places::new(u64::MAX, u64::MAX)),
            colleagues: vec![colleague(), colleague()],
            pool: Pool::start().unwrap(),
            logs: Shared::default(),
            errors: crate::recent::Errors::default(),
            io_uring: false,
            draining: crate::shared::SharedFlag::default(),
            registry: Shared::new(Registry::new(2)),
        };
        common.colleagues[0].shard.connections.add(10);
        Worker::new(0, false, Shared::new(common))
    }

    #[test]
    fn nothing_is_promised_to_a_worker_that_may_have_ended() {
        let worker = busy();
        let other = &worker.common.colleagues[1];
        assert!(promise(&worker).is_some_and(|found| std::ptr::eq(found, other)));
        assert_eq!(other.promised.taken(), 1, "it waits for what is on its way");
        other.promised.give();
        worker.common.draining.raise();
        assert!(promise(&worker).is_none());
        assert_eq!(other.promised.taken(), 0, "it waits for nothing");
    }
}
