//! One endpoint on one core: its idle connections, and whether it answers.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

use ringway_config::Pool;

use crate::balance::Load;
use crate::io::Stream;
use crate::limits::{ENDPOINT_PAUSE_FIRST, ENDPOINT_PAUSE_MOST, SWEPT_CONNECTIONS};

/// One address of an upstream.
pub(crate) struct Endpoint {
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// Its share beside the others'.
    pub(crate) weight: u32,
    /// Host and port as the file has them.
    pub(crate) name: String,
    /// Exchanges under way.
    pub(crate) in_flight: Cell<u32>,
    /// Connections that wait, the last one used last.
    idle: RefCell<Vec<Idle>>,
    refusals: Cell<u32>,
    paused_until: Cell<Duration>,
}

/// A connection that waits in the pool.
pub(crate) struct Idle {
    /// The connection.
    pub(crate) stream: Stream,
    /// When it was made, on the core's coarse clock.
    pub(crate) born: Duration,
    since: Duration,
}

impl Endpoint {
    pub(crate) fn new(address: SocketAddr, weight: u32, name: String) -> Self {
        Endpoint {
            address,
            weight,
            name,
            in_flight: Cell::new(0),
            idle: RefCell::default(),
            refusals: Cell::new(0),
            paused_until: Cell::new(Duration::ZERO),
        }
    }

    /// What the balancer needs to know.
    pub(crate) fn load(&self, usable: bool) -> Load {
        Load::new(self.address, self.weight, self.in_flight.get(), usable)
    }

    /// True while it is passed over for having refused.
    pub(crate) fn is_paused(&self, now: Duration) -> bool {
        now < self.paused_until.get()
    }

    /// It refused a connection: passed over for a pause that doubles each time. Attempts that were
    /// under way together meet one fault, so only the first of them counts.
    pub(crate) fn refused(&self, now: Duration) {
        if self.is_paused(now) {
            return;
        }
        let refusals = self.refusals.get();
        let pause = ENDPOINT_PAUSE_FIRST.saturating_mul(1 << refusals.min(16));
        self.paused_until.set(now + pause.min(ENDPOINT_PAUSE_MOST));
        self.refusals.set(refusals.saturating_add(1));
    }

    /// It took a connection: all is well.
    pub(crate) fn connected(&self) {
        self.refusals.set(0);
        self.paused_until.set(Duration::ZERO);
    }

    /// The connection used last that is alive and not too old. What is not is closed on the way.
    pub(crate) fn take_idle(&self, pool: &Pool, now: Duration) -> Option<Idle> {
        while let Some(idle) = self.idle.borrow_mut().pop() {
            if !idle.is_over(pool, now) && idle.stream.is_quiet() {
                return Some(idle);
            }
        }
        None
    }

    /// Keeps a connection for later, if there is room.
    pub(crate) fn give_idle(&self, stream: Stream, born: Duration, pool: &Pool, now: Duration) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < pool.max_idle as usize {
            stream.watch().read_any_time();
            idle.push(Idle { stream, born, since: now });
        }
    }

    /// Closes what is too old or has been closed at the other end, oldest first.
    pub(crate) fn sweep(&self, pool: &Pool, now: Duration) {
        let mut looked_at = 0;
        self.idle.borrow_mut().retain(|idle| {
            looked_at += 1;
            let look = looked_at <= SWEPT_CONNECTIONS;
            !(idle.is_over(pool, now) || (look && !idle.stream.is_quiet()))
        });
    }
}

impl Idle {
    fn is_over(&self, pool: &Pool, now: Duration) -> bool {
        now.saturating_sub(self.since) > pool.idle_timeout.0
            || now.saturating_sub(self.born) > pool.max_age.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fault_that_many_attempts_meet_is_one() {
        let endpoint = Endpoint::new(([127, 0, 0, 1], 80).into(), 1, String::new());
        let start = Duration::from_secs(1);
        (0..100).for_each(|_| endpoint.refused(start));
        assert!(endpoint.is_paused(start));
        let over = start + ENDPOINT_PAUSE_FIRST;
        assert!(!endpoint.is_paused(over));
        endpoint.refused(over);
        assert!(endpoint.is_paused(over + ENDPOINT_PAUSE_FIRST), "the second pause is longer");
    }
}
