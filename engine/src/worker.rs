//! One core and all that is its own: runtime, buffers, deadlines, filter instances, upstreams.
//!
//! Nothing here is `Send`. What comes from other threads comes as a [`Message`] through the
//! worker's mailbox.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use monoio::io::AsyncReadRent;
use ringway_config::Accept;

use crate::accept;
use crate::buffer::Buffers;
use crate::clock::{self, Deadlines};
use crate::connection::{self, Room};
use crate::filter::Chain;
use crate::limits::{COMPLETIONS, POOLED_ROOMS, SUBMISSIONS, SWEEP_EVERY};
use crate::metrics::Shard;
use crate::shared::{Inbox, Mailbox, Shared, SharedBudget, SharedCounts};
use crate::snapshot::Snapshot;
use crate::upstream::{Addresses, Upstream};

/// What other threads tell a worker.
pub(crate) enum Message {
    /// Serve by this snapshot from the next exchange on.
    Adopt(Shared<Snapshot>),
    /// Names stand for these addresses now.
    Addresses(Shared<Addresses>),
    /// Take this connection over from a worker that has more than enough.
    Socket(OwnedFd, SocketAddr, Admission),
    /// Accept no more, finish what is open within this time, then stop.
    Drain(Duration),
}

/// What all workers share.
pub(crate) struct Common {
    /// Client connections of the whole process.
    pub(crate) connections: SharedBudget,
    /// Client connections by address.
    pub(crate) by_client: SharedCounts<IpAddr>,
    pub(crate) max_by_client: u64,
    pub(crate) accept: Accept,
    /// Every worker, by its number.
    pub(crate) colleagues: Vec<Colleague>,
}

/// A worker as the others see it.
pub(crate) struct Colleague {
    pub(crate) mailbox: Mailbox<Message>,
    pub(crate) shard: Shared<Shard>,
    /// Connections on their way to it.
    pub(crate) promised: SharedBudget,
}

/// A connection's place in the limits on connections; given back when dropped.
pub(crate) struct Admission {
    common: Shared<Common>,
    client: IpAddr,
}

impl Admission {
    /// A place for a connection from `client`; `None` when the limits have none left.
    pub(crate) fn take(common: &Shared<Common>, client: IpAddr) -> Option<Self> {
        if !common.connections.take() {
            return None;
        }
        let counted = common.max_by_client < u64::MAX;
        if counted && !common.by_client.take(client, common.max_by_client) {
            common.connections.give();
            return None;
        }
        Some(Admission { common: common.clone(), client })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.common.connections.give();
        if self.common.max_by_client < u64::MAX {
            self.common.by_client.give(&self.client);
        }
    }
}

/// A snapshot as one core serves by it.
pub(crate) struct Adopted {
    pub(crate) snapshot: Shared<Snapshot>,
    /// The filters of each route, global ones first.
    pub(crate) chains: Vec<Chain>,
    /// The global filters alone, for requests that no route takes.
    pub(crate) global: Chain,
    /// In the order of the snapshot's plans.
    pub(crate) upstreams: Vec<Rc<Upstream>>,
}

/// One core.
pub(crate) struct Worker {
    pub(crate) id: usize,
    /// False on the epoll driver, which needs non-blocking sockets; a ring needs blocking ones.
    pub(crate) io_uring: bool,
    pub(crate) buffers: Buffers,
    pub(crate) deadlines: Rc<Deadlines>,
    pub(crate) common: Shared<Common>,
    pub(crate) shard: Shared<Shard>,
    pub(crate) draining: Cell<bool>,
    adopted: RefCell<Rc<Adopted>>,
    addresses: RefCell<Shared<Addresses>>,
    rooms: RefCell<Vec<Room>>,
    listeners: RefCell<Vec<TcpListener>>,
    random: Cell<u64>,
    date: RefCell<(u64, String)>,
    drained_at: Cell<Option<Instant>>,
}

/// What a worker is started with.
pub(crate) struct Start {
    pub(crate) id: usize,
    pub(crate) io_uring: bool,
    pub(crate) core: Option<usize>,
    pub(crate) common: Shared<Common>,
    pub(crate) snapshot: Shared<Snapshot>,
    pub(crate) addresses: Shared<Addresses>,
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) inbox: Inbox<Message>,
    pub(crate) ear: UnixStream,
}

/// Runs a worker on this thread until it has drained.
///
/// # Errors
/// When the runtime cannot be made.
pub(crate) fn run(start: Start) -> std::io::Result<()> {
    if let Some(id) = start.core
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        tracing::warn!(worker = start.id, core = id, "cannot pin the worker to its core");
    }
    if start.io_uring {
        let mut ring = io_uring::IoUring::builder();
        // One thread submits, and completions are reaped when that thread asks, so the kernel
        // need not interrupt it.
        ring.setup_single_issuer().setup_coop_taskrun().setup_cqsize(COMPLETIONS);
        let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
            .uring_builder(ring)
            .with_entries(SUBMISSIONS)
            .enable_timer()
            .build()?;
        runtime.block_on(Worker::live(start));
    } else {
        let mut runtime =
            monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build()?;
        runtime.block_on(Worker::live(start));
    }
    Ok(())
}

impl Worker {
    async fn live(start: Start) {
        let seed = clock::seed();
        let adopted = Adopted::new(&start.snapshot, &start.addresses, &[], seed);
        let worker = Rc::new(Worker {
            id: start.id,
            io_uring: start.io_uring,
            buffers: Buffers::default(),
            deadlines: Rc::default(),
            shard: start.common.colleagues[start.id].shard.clone(),
            common: start.common,
            draining: Cell::new(false),
            adopted: RefCell::new(Rc::new(adopted)),
            addresses: RefCell::new(start.addresses),
            rooms: RefCell::default(),
            listeners: RefCell::default(),
            random: Cell::new(seed),
            date: RefCell::default(),
            drained_at: Cell::new(None),
        });
        worker.deadlines.sweep(clock::now());
        monoio::spawn(worker.clone().listen_to_mailbox(start.inbox, start.ear));
        for listener in start.listeners {
            match accept::Listener::new(listener, start.io_uring) {
                Ok((listener, handle)) => {
                    worker.listeners.borrow_mut().push(handle);
                    monoio::spawn(listener.run(worker.clone()));
                }
                Err(error) => tracing::error!(worker = start.id, %error, "cannot listen"),
            }
        }
        worker.sweep_until_drained().await;
        // Rooms hold the worker; without this it would never be freed.
        worker.rooms.borrow_mut().clear();
        let shard = &worker.shard;
        tracing::info!(
            worker = worker.id,
            accepted = shard.accepted.get(),
            handed_over = shard.handed_over.get(),
            requests = shard.requests.get(),
            errors = shard.errors.get(),
            "worker stopped"
        );
    }

    /// The worker's heartbeat: deadlines, pools, and the end of a drain.
    async fn sweep_until_drained(&self) {
        loop {
            clock::sleep(SWEEP_EVERY).await;
            let now = clock::now();
            self.deadlines.sweep(now);
            for upstream in &self.adopted().upstreams {
                upstream.sweep(self.deadlines.coarse());
            }
            if let Some(end) = self.drained_at.get() {
                if self.shard.connections.get() == 0 {
                    return;
                }
                if now >= end {
                    let open = self.shard.connections.get();
                    tracing::warn!(worker = self.id, open, "drain timeout: closing what is open");
                    self.deadlines.end_all();
                    return;
                }
            }
        }
    }

    async fn listen_to_mailbox(self: Rc<Self>, inbox: Inbox<Message>, ear: UnixStream) {
        let ear = ear
            .set_nonblocking(!self.io_uring)
            .and_then(|()| monoio::net::UnixStream::from_std(ear));
        let Ok(mut ear) = ear else {
            tracing::error!(worker = self.id, "the mailbox cannot be heard");
            return;
        };
        let mut bytes = vec![0; 16];
        loop {
            let (heard, back) = ear.read(bytes).await;
            bytes = back;
            inbox.heard();
            while let Some(message) = inbox.take() {
                self.receive(message);
            }
            if !matches!(heard, Ok(1..)) {
                return;
            }
        }
    }

    fn receive(self: &Rc<Self>, message: Message) {
        match message {
            Message::Adopt(snapshot) => self.adopt(&snapshot),
            Message::Addresses(addresses) => {
                for upstream in &self.adopted().upstreams {
                    upstream.resolve(&addresses);
                }
                *self.addresses.borrow_mut() = addresses;
            }
            Message::Socket(socket, peer, admission) => {
                self.common.colleagues[self.id].promised.give();
                accept::take_over(self, socket, peer, admission);
            }
            Message::Drain(time) => self.drain(time),
        }
    }

    /// Serves by `snapshot` from the next exchange on. Cannot fail.
    pub(crate) fn adopt(&self, snapshot: &Shared<Snapshot>) {
        let before = self.adopted();
        let addresses = self.addresses.borrow().clone();
        let adopted = Adopted::new(snapshot, &addresses, &before.upstreams, self.random());
        *self.adopted.borrow_mut() = Rc::new(adopted);
    }

    /// The snapshot to serve an exchange by, from its first byte to its record.
    pub(crate) fn adopted(&self) -> Rc<Adopted> {
        self.adopted.borrow().clone()
    }

    /// Stops accepting; connections that the kernel has already accepted for us are taken in.
    fn drain(self: &Rc<Self>, time: Duration) {
        if self.draining.replace(true) {
            return;
        }
        for listener in self.listeners.borrow_mut().drain(..) {
            accept::close(self, &listener);
        }
        self.deadlines.end_idle();
        self.drained_at.set(Some(clock::now() + time));
    }

    /// Runs `future` beside the others of this core.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        monoio::spawn(future);
    }

    /// A room to serve an exchange in.
    pub(crate) fn room(self: &Rc<Self>) -> Room {
        self.rooms.borrow_mut().pop().unwrap_or_else(|| connection::Room::new(self.clone()))
    }

    /// Takes a room back.
    pub(crate) fn give_room(&self, room: Room) {
        let mut rooms = self.rooms.borrow_mut();
        if rooms.len() < POOLED_ROOMS {
            rooms.push(room);
        }
    }

    /// A number that nobody can foresee cheaply (splitmix64): for ids and weighted choices, not
    /// for secrets.
    pub(crate) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Calls `f` with the `Date` of now (RFC 9110 §5.6.7), formatted at most once a second.
    pub(crate) fn with_date<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        let coarse = self.deadlines.coarse().as_secs() + 1;
        let mut date = self.date.borrow_mut();
        if date.0 != coarse {
            *date = (coarse, httpdate::fmt_http_date(clock::wall()));
        }
        f(date.1.as_bytes())
    }
}

impl Adopted {
    fn new(
        snapshot: &Shared<Snapshot>,
        addresses: &Addresses,
        before: &[Rc<Upstream>],
        seed: u64,
    ) -> Self {
        let global = Chain(snapshot.global_filters.iter().map(|f| f.instance()).collect());
        let chain = |route: &crate::snapshot::Route| {
            let own = route.filters.iter().map(|f| f.instance());
            Chain(global.0.iter().cloned().chain(own).collect())
        };
        let upstream = |(at, plan): (usize, &Shared<crate::upstream::Plan>)| {
            let same = before.iter().find(|u| *u.plan == **plan).cloned();
            same.unwrap_or_else(|| {
                Rc::new(Upstream::new(plan.clone(), addresses, seed.wrapping_add(at as u64)))
            })
        };
        Adopted {
            snapshot: snapshot.clone(),
            chains: snapshot.routes.iter().map(chain).collect(),
            upstreams: snapshot.upstreams.iter().enumerate().map(upstream).collect(),
            global,
        }
    }
}
