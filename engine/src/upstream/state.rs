//! What all cores share of one endpoint.

use std::net::SocketAddr;

use serde::Serialize;
use tokio::sync::mpsc;

use crate::shared::{Shared, SharedCount, SharedStreak, SharedWord};

/// Set in an endpoint's word while it is drained.
const DRAINING: u64 = 1 << 63;

/// One endpoint of the process.
pub(crate) struct EndpointState {
    pub(crate) upstream: String,
    pub(crate) address: SocketAddr,
    /// What it counts for, in hundredths of a weight, and whether it is drained.
    word: SharedWord,
    /// Failures in a row.
    streak: SharedStreak,
    /// So many of them are told; 0 tells none.
    allowed: SharedWord,
    failing: mpsc::Sender<Shared<EndpointState>>,
    /// By worker.
    counted: Box<[EndpointCounts]>,
}

/// What one worker counts of one endpoint, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct EndpointCounts {
    /// Attempts begun.
    pub(crate) requests: SharedCount,
    /// Connections made.
    pub(crate) connects: SharedCount,
    /// Attempts that found a connection in the pool.
    pub(crate) reuses: SharedCount,
    /// Attempts that failed: no connection, no answer, a broken one, or a status of 500 or more.
    pub(crate) failures: SharedCount,
    /// Attempts under way (gauge).
    pub(crate) in_flight: SharedCount,
}

/// What all workers have counted of one endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Attempts begun.
    pub requests: u64,
    /// Connections made.
    pub connects: u64,
    /// Attempts that found a connection in the pool.
    pub reuses: u64,
    /// Attempts that failed: no connection, no answer, a broken one, or a status of 500 or more.
    pub failures: u64,
    /// Attempts under way.
    pub in_flight: u64,
}

impl EndpointState {
    /// An endpoint that nothing is known of, for so many workers.
    pub(crate) fn new(
        upstream: &str,
        address: SocketAddr,
        workers: usize,
        failing: mpsc::Sender<Shared<EndpointState>>,
    ) -> EndpointState {
        EndpointState {
            upstream: upstream.to_owned(),
            address,
            word: SharedWord::default(),
            streak: SharedStreak::default(),
            allowed: SharedWord::default(),
            failing,
            counted: (0..workers).map(|_| EndpointCounts::default()).collect(),
        }
    }

    /// What this worker counts.
    pub(crate) fn of(&self, worker: usize) -> &EndpointCounts {
        &self.counted[worker]
    }

    /// What it counts for, in hundredths of a weight, and whether it is drained.
    pub(crate) fn now(&self) -> (u32, bool) {
        let word = self.word.get();
        (word as u32, word & DRAINING != 0)
    }

    /// Writes that down; true when it is new.
    pub(crate) fn publish(&self, weight: u32, draining: bool) -> bool {
        self.word.set(u64::from(weight) | if draining { DRAINING } else { 0 })
    }

    /// Has so many failures in a row told; 0 for none.
    pub(crate) fn allow(&self, failures: u64) {
        self.allowed.set(failures);
    }

    /// Forgets the failures in a row.
    pub(crate) fn forgive(&self) {
        self.streak.end();
    }

    /// One more failure in a row, told each time that there are as many as may not be.
    pub(crate) fn failed(this: &Shared<EndpointState>) {
        let allowed = this.allowed.get();
        if allowed > 0 && this.streak.failed().is_multiple_of(allowed) {
            // When there is no room, as many failures later there may be.
            let _ = this.failing.try_send(this.clone());
        }
    }

    /// The sum over all workers.
    pub(crate) fn counts(&self) -> Counts {
        let sum = |of: fn(&EndpointCounts) -> &SharedCount| {
            self.counted.iter().map(|counts| of(counts).get()).fold(0, u64::wrapping_add)
        };
        Counts {
            requests: sum(|counts| &counts.requests),
            connects: sum(|counts| &counts.connects),
            reuses: sum(|counts| &counts.reuses),
            failures: sum(|counts| &counts.failures),
            in_flight: sum(|counts| &counts.in_flight),
        }
    }
}
