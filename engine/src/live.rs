//! What is running now, for whoever asks from another thread.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use crate::carried::Carried;
use crate::clock;
use crate::shared::{Shared, SharedFlag, SharedLatest};
use crate::snapshot::Snapshot;

/// How often a scrape looks again because of a publication, and the pause before it does. One
/// takes milliseconds; a number that is off once is better than a scrape that never ends.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(3);

/// What is running now.
pub struct Live {
    published: SharedLatest<Published>,
    /// Up while another snapshot is being published.
    publishing: SharedFlag,
    reloads: SharedLatest<Reloads>,
    listening: SharedLatest<Vec<SocketAddr>>,
    /// When the process began to serve.
    pub started: SystemTime,
}

/// A snapshot, and what the filters of those before it have counted. Both change at once, or a
/// scrape in between would see what is counted twice, or not at all.
struct Published {
    snapshot: Shared<Snapshot>,
    carried: Shared<Carried>,
}

/// What became of the reloads so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloads {
    /// Those that were adopted.
    pub good: u64,
    /// Those that changed nothing, because the file could not be served.
    pub failed: u64,
    /// When the last one was adopted.
    pub last_good: Option<SystemTime>,
    /// When the last one failed.
    pub last_failed: Option<SystemTime>,
    /// Why the last one failed, as long as none has gone well since.
    pub failure: Option<String>,
}

impl Live {
    /// Begins with `snapshot`, listening on these addresses.
    pub(crate) fn new(snapshot: Shared<Snapshot>, listening: Vec<SocketAddr>) -> Live {
        let published = Published { snapshot, carried: Shared::default() };
        Live {
            listening: SharedLatest::new(Shared::new(listening)),
            published: SharedLatest::new(Shared::new(published)),
            publishing: SharedFlag::default(),
            reloads: SharedLatest::new(Shared::default()),
            started: clock::wall(),
        }
    }

    /// The snapshot that requests are served by from now on.
    pub fn snapshot(&self) -> Shared<Snapshot> {
        self.published.get().snapshot.clone()
    }

    /// What `of` makes of the snapshot and of what is to be added to what its filters count, at a
    /// time when no other is published: what filters that are leaving have counted is not to be
    /// seen before and behind the moment when it is taken over, or a counter could fall. May be
    /// called several times, and waits for a publication that is under way.
    pub(crate) fn counted<T>(&self, of: impl Fn(&Snapshot, &Carried) -> T) -> T {
        let mut tries = 0;
        loop {
            let version = self.published.version();
            let begun = self.publishing.is_up();
            let published = self.published.get();
            let result = of(&published.snapshot, &published.carried);
            tries += 1;
            let whole = !begun && !self.publishing.is_up() && self.published.version() == version;
            if whole || tries == TRIES {
                return result;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What became of the reloads so far.
    pub fn reloads(&self) -> Shared<Reloads> {
        self.reloads.get()
    }

    /// The addresses that requests come in by, ports chosen.
    pub fn listening(&self) -> Shared<Vec<SocketAddr>> {
        self.listening.get()
    }

    /// Requests come in by these addresses from now on. Only the thread that reloads calls this.
    pub(crate) fn listen(&self, addresses: Vec<SocketAddr>) {
        self.listening.set(Shared::new(addresses));
    }

    /// Another snapshot is published. Only the control thread calls this.
    pub(crate) fn publish(&self, snapshot: Shared<Snapshot>) {
        self.publishing.raise();
        let last = self.published.get();
        let carried = Shared::new(last.carried.over(&last.snapshot, &snapshot));
        self.published.set(Shared::new(Published { snapshot, carried }));
        self.publishing.lower();
    }

    /// Counts a reload. Only the thread that reloads calls this.
    pub(crate) fn count(&self, failure: Option<&str>) {
        let mut reloads = (*self.reloads.get()).clone();
        match failure {
            None => {
                reloads.good += 1;
                reloads.last_good = Some(clock::wall());
            }
            Some(_) => {
                reloads.failed += 1;
                reloads.last_failed = Some(clock::wall());
            }
        }
        reloads.failure = failure.map(str::to_owned);
        self.reloads.set(Shared::new(reloads));
    }
}
