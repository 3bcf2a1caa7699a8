//! One core and all that is its own: runtime, buffers, deadlines, the snapshot it serves by.
//!
//! Nothing here is `Send`. What comes from other threads comes as a [`Message`] through the
//! worker's mailbox.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::admission::{Admission, Places};
use crate::adopted::{Adopted, Stock};
use crate::balance::Rng;
use crate::buffer::Buffers;
use crate::clock;
use crate::compute::{Done, Pool};
use crate::core::{Caller, Jobs, LiveCore};
use crate::deadlines::Deadlines;
use crate::filter::Core;
use crate::limits::{MAILBOX_PATIENCE, POOLED_ROOMS};
use crate::listen::Bound;
use crate::live::Live;
use crate::log::{Journals, Logs};
use crate::metrics::Shard;
use crate::recent::{Errors, Failures};
use crate::room::Room;
use crate::shared::{Mailbox, Shared, SharedBudget, SharedFlag, SharedLatest};
use crate::snapshot::Snapshot;
use crate::upstream::{Addresses, Registry};

/// What other threads tell a worker.
pub(crate) enum Message {
    /// Serve by another snapshot from the next request on.
    Adopt(Box<Adoption>),
    /// Names stand for these addresses now.
    Addresses(Shared<Addresses>),
    /// Take this connection over from a worker that has more than enough.
    Socket(OwnedFd, SocketAddr, Admission),
    /// A job that a filter of this core gave away is done.
    Done(u64, Done),
    /// Accept no more, finish what is open within this time, then stop.
    Drain(Duration),
}

/// A snapshot to adopt, with all that belongs to it.
pub(crate) struct Adoption {
    pub(crate) snapshot: Shared<Snapshot>,
    pub(crate) addresses: Shared<Addresses>,
    /// Listen on these too.
    pub(crate) open: Vec<Bound>,
    /// Listen on these no more.
    pub(crate) close: Vec<SocketAddr>,
    /// Told how long it took when it is done; has room for every worker.
    pub(crate) adopted: Sender<Duration>,
}

/// What all workers share.
pub(crate) struct Common {
    /// What is running now.
    pub(crate) live: Shared<Live>,
    /// The addresses of all targets now. Only the control thread replaces them.
    pub(crate) addresses: SharedLatest<Addresses>,
    pub(crate) places: Shared<Places>,
    /// Every worker, by its number.
    pub(crate) colleagues: Vec<Colleague>,
    /// Who does what would block.
    pub(crate) pool: Pool,
    /// Where records of exchanges are written.
    pub(crate) logs: Shared<Logs>,
    /// The last exchanges that failed.
    pub(crate) errors: Errors,
    /// The driver in use.
    pub(crate) io_uring: bool,
    /// Up from the moment that a stop has been asked for.
    pub(crate) draining: SharedFlag,
    /// The endpoints of all upstreams, and how they are.
    pub(crate) registry: Shared<Registry>,
}

/// A worker as the others see it.
pub(crate) struct Colleague {
    pub(crate) mailbox: Mailbox<Message>,
    pub(crate) shard: Shared<Shard>,
    /// Connections on their way to it.
    pub(crate) promised: SharedBudget,
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
    /// When the drain must be over, once there is one.
    pub(crate) drained_at: Cell<Option<Instant>>,
    /// What filters have given away to be done off this core.
    pub(crate) jobs: Rc<Jobs>,
    /// Which failures were told of.
    pub(crate) failures: Failures,
    /// The ways of log records off this core.
    pub(crate) journals: Rc<Journals>,
    /// How filters ask upstreams.
    pub(crate) caller: Rc<OnceCell<Caller>>,
    /// What outlives a snapshot.
    pub(crate) stock: Rc<Stock>,
    adopted: RefCell<Rc<Adopted>>,
    rooms: RefCell<Vec<Room>>,
    random: RefCell<Rng>,
    date: RefCell<(u64, String)>,
}

impl Worker {
    /// A worker that has nothing to do yet.
    pub(crate) fn new(id: usize, io_uring: bool, common: Shared<Common>) -> Self {
        let jobs = Rc::<Jobs>::default();
        let journals = Rc::new(Journals::new(common.logs.clone(), id));
        let live = live_core(id, &common, jobs.clone(), journals.clone());
        let caller = live.caller.clone();
        let core: Rc<dyn Core> = Rc::new(live);
        let (snapshot, addresses) = (common.live.snapshot(), common.addresses.get());
        let registry = common.registry.clone();
        let stock = Stock::new(core, registry, snapshot, addresses, clock::seed());
        Worker {
            id,
            io_uring,
            buffers: Buffers::default(),
            deadlines: Rc::default(),
            shard: common.colleagues[id].shard.clone(),
            common,
            drained_at: Cell::new(None),
            jobs,
            failures: Failures::default(),
            journals,
            caller,
            adopted: RefCell::new(Adopted::new(&stock)),
            stock,
            rooms: RefCell::default(),
            random: RefCell::new(Rng::new(clock::seed())),
            date: RefCell::default(),
        }
    }

    /// The snapshot to serve an exchange by, from its first byte to its record.
    pub(crate) fn adopted(&self) -> Rc<Adopted> {
        self.adopted.borrow().clone()
    }

    /// Serves by this snapshot from the next request on. Exchanges under way end with the one
    /// they began with.
    pub(crate) fn adopt(&self, snapshot: Shared<Snapshot>, addresses: Shared<Addresses>) {
        self.stock.renew(snapshot, addresses);
        let adopted = Adopted::new(&self.stock);
        let before = self.adopted.replace(adopted);
        self.stock.retire_later(&before);
    }

    /// Ends the exchanges under way whose routes the snapshot does not have any more within
    /// `drain_timeout`. Those of routes that stay, changed or not, go on: they end as they began.
    pub(crate) fn end_gone(&self) {
        let ending = self.stock.ending();
        if ending.is_empty() {
            return;
        }
        let current = self.adopted();
        let time = current.snapshot.server.drain_timeout.0;
        self.deadlines.end_gone(current.number, time, |serving| {
            let by = ending.iter().find(|former| former.number == serving.adopted);
            let route = by.and_then(|by| by.snapshot.routes.get(serving.route as usize));
            route.is_some_and(|route| !current.snapshot.route_names.contains(&route.name))
        });
    }

    /// True when no further request is wanted of a connection.
    pub(crate) fn is_draining(&self) -> bool {
        self.drained_at.get().is_some()
    }

    /// Runs `future` beside the others of this core.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        monoio::spawn(future);
    }

    /// A room to serve an exchange in: one from stock, or a new one.
    pub(crate) fn room(&self, new: impl FnOnce() -> Room) -> Room {
        self.rooms.borrow_mut().pop().unwrap_or_else(new)
    }

    /// Takes a room back.
    pub(crate) fn give_room(&self, room: Room) {
        let mut rooms = self.rooms.borrow_mut();
        if rooms.len() < POOLED_ROOMS {
            rooms.push(room);
        }
    }

    /// Frees all rooms: each holds the worker, which would never be freed otherwise.
    pub(crate) fn clear_rooms(&self) {
        self.rooms.borrow_mut().clear();
    }

    /// A random number, for ids and weighted choices, not for secrets.
    pub(crate) fn random(&self) -> u64 {
        self.random.borrow_mut().next_u64()
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

/// The core as its filters see it.
fn live_core(id: usize, common: &Common, jobs: Rc<Jobs>, journals: Rc<Journals>) -> LiveCore {
    let mailbox = common.colleagues[id].mailbox.clone();
    let post: Box<dyn Fn(u64, Done) + Send + Sync> = Box::new(move |number, done| {
        // A worker that does not hear is reported by whoever has more to tell it.
        let _ = mailbox.send_within(Message::Done(number, done), MAILBOX_PATIENCE);
    });
    LiveCore {
        id,
        count: common.colleagues.len(),
        spawn: |work| {
            monoio::spawn(work);
        },
        pool: common.pool.clone(),
        post: post.into(),
        jobs,
        journals,
        caller: Rc::default(),
    }
}
