//! What is running now, for whoever asks from another thread.

use std::net::SocketAddr;
use std::time::SystemTime;

use crate::carried::Carried;
use crate::clock;
use crate::shared::{Shared, SharedLatest};
use crate::snapshot::Snapshot;

/// What is running now.
pub struct Live {
    published: SharedLatest<Published>,
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
            reloads: SharedLatest::new(Shared::default()),
            started: clock::wall(),
        }
    }

    /// The snapshot that requests are served by from now on.
    pub fn snapshot(&self) -> Shared<Snapshot> {
        self.published.get().snapshot.clone()
    }

    /// The same snapshot, and what is to be added to what its filters count.
    pub(crate) fn counted(&self) -> (Shared<Snapshot>, Shared<Carried>) {
        let published = self.published.get();
        (published.snapshot.clone(), published.carried.clone())
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
        let last = self.published.get();
        let carried = Shared::new(last.carried.over(&last.snapshot, &snapshot));
        self.published.set(Shared::new(Published { snapshot, carried }));
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
