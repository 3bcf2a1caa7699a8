//! What each worker counts. One writer a number, read from anywhere: a scrape stops nobody.

mod text;
mod usage;

use std::time::Duration;

use crate::error::Error;
use crate::limits::STALL;
use crate::shared::{SharedCount, SharedFlag, SharedTally};

pub(crate) use text::{Kind, Text};
pub(crate) use usage::{Usage, process};

/// The counters and gauges of one worker.
#[derive(Debug, Default)]
pub struct Shard {
    /// Connections of clients open now (gauge).
    pub connections: SharedCount,
    /// Connections accepted or taken over.
    pub accepted: SharedCount,
    /// Connections handed to another worker right after they were accepted.
    pub handed_over: SharedCount,
    /// Exchanges under way (gauge).
    pub active: SharedCount,
    /// Exchanges ended, whatever came of them.
    pub requests: SharedCount,
    /// Exchanges that ended with an error of any kind.
    pub errors: SharedCount,
    /// The errors of exchanges by phase and code.
    pub failures: SharedTally,
    /// Bytes of request bodies that were received.
    pub bytes_in: SharedCount,
    /// Bytes of response bodies that were sent.
    pub bytes_out: SharedCount,
    /// Connections made to upstreams.
    pub connects: SharedCount,
    /// Attempts that found a connection in the pool.
    pub reuses: SharedCount,
    /// Connections lost to a panic.
    pub panics: SharedCount,
    /// How busy the worker is.
    pub load: Load,
}

/// How busy a worker is, as of its last sweep. The runtime tells no count of its turns; how often
/// the thread went to sleep for want of events is the nearest that the system knows. Completions
/// are counted by the kernel.
#[derive(Debug, Default)]
pub struct Load {
    /// Microseconds of processor time.
    pub cpu: SharedCount,
    /// How often the thread waited for events.
    pub waits: SharedCount,
    /// Completions of its ring. None come where it has none (epoll).
    pub completions: SharedCount,
    /// Up where they can be told.
    pub has_completions: SharedFlag,
    /// How often it was kept from running while it had something to do, by other threads.
    pub preemptions: SharedCount,
    /// Sweeps that came later than [`STALL`] after they were due: something held the worker up.
    pub stalls: SharedCount,
    /// Microseconds by which these were late, together.
    pub stalled: SharedCount,
    /// Microseconds by which the latest of them was.
    pub longest_stall: SharedCount,
}

impl Shard {
    /// Counts how an exchange ended.
    pub(crate) fn ended(&self, error: Option<&Error>, bytes_in: u64, bytes_out: u64) {
        self.requests.add(1);
        self.bytes_in.add(bytes_in);
        self.bytes_out.add(bytes_out);
        if let Some(error) = error {
            self.errors.add(1);
            self.failures.add((error.phase(), error.reply().code));
        }
    }
}

impl Load {
    /// Completions can be told from now on.
    pub(crate) fn tells_completions(&self) {
        self.has_completions.raise();
    }

    /// Completions so far, where they can be told.
    pub(crate) fn completions(&self) -> Option<u64> {
        self.has_completions.is_up().then(|| self.completions.get())
    }

    /// Takes in that a sweep came so much later than it was due, and what the thread has used.
    pub(crate) fn swept(&self, late: Duration, usage: Usage) {
        let raise = |count: &SharedCount, to: u64| count.add(to.saturating_sub(count.get()));
        raise(&self.cpu, usage.cpu.as_micros() as u64);
        raise(&self.waits, usage.waits);
        raise(&self.preemptions, usage.preemptions);
        if late > STALL {
            self.stalls.add(1);
            self.stalled.add(late.as_micros() as u64);
            raise(&self.longest_stall, late.as_micros() as u64);
        }
    }
}

/// Exchanges under way: one for as long as this lives, also when that ends with a panic.
pub(crate) struct Active<'a>(&'a SharedCount);

impl<'a> Active<'a> {
    pub(crate) fn new(shard: &'a Shard) -> Self {
        shard.active.add(1);
        Active(&shard.active)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_sweep_is_a_stall() {
        let load = Load::default();
        let usage = |cpu| Usage { cpu: Duration::from_millis(cpu), waits: 7, preemptions: 0 };
        load.swept(STALL, usage(5));
        assert_eq!((load.stalls.get(), load.longest_stall.get()), (0, 0));
        load.swept(Duration::from_millis(300), usage(9));
        load.swept(Duration::from_millis(200), usage(9));
        assert_eq!((load.stalls.get(), load.longest_stall.get()), (2, 300_000));
        assert_eq!((load.stalled.get(), load.cpu.get(), load.waits.get()), (500_000, 9_000, 7));
    }

    #[test]
    fn an_exchange_is_active_until_its_end() {
        let shard = Shard::default();
        let active = Active::new(&shard);
        assert_eq!(shard.active.get(), 1);
        drop(active);
        assert_eq!(shard.active.get(), 0);
    }
}
