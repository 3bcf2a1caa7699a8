//! One endpoint on one core: its idle connections, what this core counts of it, and whether it has
//! just refused this core a connection.
//!
//! That last is the only thing that a core knows by itself, with nothing to set and nobody to ask:
//! an endpoint that refuses is passed over by the same core for a pause that doubles, while there
//! is another. It costs one failed attempt each pause, and keeps requests away from a dead endpoint
//! long before checks or the other cores have noticed. What all cores agree on is in `health.rs`;
//! when that says that the endpoint is back, the pause is over too.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringway_config::Pool;

use crate::balance::Load;
use crate::error::Error;
use crate::io::Stream;
use crate::limits::{CLOSED_AT_ONCE, ENDPOINT_PAUSE_FIRST, ENDPOINT_PAUSE_MOST, SWEPT_CONNECTIONS};
use crate::shared::Shared;

use super::state::{EndpointCounts, EndpointState};

/// One address of an upstream.
pub(crate) struct Endpoint {
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// What it counts for beside the others, in hundredths of a weight; 0 when it is out.
    weight: Cell<u32>,
    /// It gets no new requests, so no connection is kept for one.
    draining: Cell<bool>,
    /// What all cores share of it.
    state: Shared<EndpointState>,
    /// Which of them this is.
    worker: usize,
    /// Host and port as the file has them.
    pub(crate) name: String,
    /// Exchanges of this core under way.
    in_flight: Cell<u32>,
    /// Connections that wait, the last one used last.
    idle: RefCell<Vec<Idle>>,
    /// Where they go when nobody wants them any more.
    unwanted: Rc<Unwanted>,
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

/// Connections of a core that are to be closed. Thousands may come at once, when an upstream leaves
/// or all have waited for long enough, and to close one takes some microseconds: so each sweep
/// closes a few.
#[derive(Default)]
pub(crate) struct Unwanted(RefCell<Vec<Idle>>);

impl Unwanted {
    fn take(&self, idle: impl IntoIterator<Item = Idle>) {
        self.0.borrow_mut().extend(idle);
    }

    /// Closes some of them.
    pub(crate) fn sweep(&self) {
        let mut all = self.0.borrow_mut();
        let left = all.len().saturating_sub(CLOSED_AT_ONCE);
        all.truncate(left);
        if all.is_empty() {
            *all = Vec::new();
        }
    }
}

impl Endpoint {
    pub(crate) fn new(
        state: Shared<EndpointState>,
        worker: usize,
        name: String,
        unwanted: Rc<Unwanted>,
    ) -> Self {
        let endpoint = Endpoint {
            address: state.address,
            weight: Cell::new(0),
            draining: Cell::new(false),
            state,
            worker,
            name,
            in_flight: Cell::new(0),
            idle: RefCell::default(),
            unwanted,
            refusals: Cell::new(0),
            paused_until: Cell::new(Duration::ZERO),
        };
        endpoint.look();
        endpoint
    }

    /// Takes over what all cores know of it by now.
    pub(crate) fn look(&self) {
        let (weight, draining) = self.state.now();
        if self.weight.replace(weight) == 0 {
            self.forget_refusals();
        }
        if draining && !self.draining.replace(draining) {
            self.unwanted.take(self.idle.take());
        }
        self.draining.set(draining);
    }

    /// True when it is the one that all cores share this of.
    pub(crate) fn is(&self, state: &Shared<EndpointState>) -> bool {
        Shared::same(&self.state, state)
    }

    /// Whether it may be picked at all.
    pub(crate) fn is_used(&self) -> bool {
        self.weight.get() > 0
    }

    /// What the balancer needs to know.
    pub(crate) fn load(&self, usable: bool) -> Load {
        Load::new(self.address, self.weight.get(), self.in_flight.get(), usable)
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

    /// It took a connection, so it refuses no more.
    pub(crate) fn connected(&self) {
        self.counts().connects.add(1);
        self.forget_refusals();
    }

    fn forget_refusals(&self) {
        self.refusals.set(0);
        self.paused_until.set(Duration::ZERO);
    }

    /// It answered with this status.
    pub(crate) fn answered(&self, status: u16) {
        match status {
            500.. => self.failed(),
            _ => self.state.forgive(),
        }
    }

    /// An attempt met this error, for which it may be to blame.
    pub(crate) fn met(&self, error: &Error) {
        if matches!(error, Error::Upstream(_)) {
            self.failed();
        }
    }

    /// It could not be connected to, did not answer, or broke its answer off.
    pub(crate) fn failed(&self) {
        self.counts().failures.add(1);
        EndpointState::failed(&self.state);
    }

    /// An attempt begins.
    pub(crate) fn begun(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.counts().requests.add(1);
        self.counts().in_flight.add(1);
    }

    /// An attempt is over.
    pub(crate) fn over(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        self.counts().in_flight.sub(1);
    }

    fn counts(&self) -> &EndpointCounts {
        self.state.of(self.worker)
    }

    /// The connection used last that is alive and not too old. What is not is closed on the way.
    pub(crate) fn take_idle(&self, pool: &Pool, now: Duration) -> Option<Idle> {
        while let Some(idle) = self.idle.borrow_mut().pop() {
            if !idle.is_over(pool, now) && idle.stream.is_quiet() {
                self.counts().reuses.add(1);
                return Some(idle);
            }
        }
        None
    }

    /// Keeps a connection for later, if there is room and a later.
    pub(crate) fn give_idle(&self, stream: Stream, born: Duration, pool: &Pool, now: Duration) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < pool.max_idle as usize && !self.draining.get() {
            stream.watch().read_any_time();
            stream.watch().serves(None);
            idle.push(Idle { stream, born, since: now });
        }
    }

    /// Lets go of what is too old or has been closed at the other end, oldest first.
    pub(crate) fn sweep(&self, pool: &Pool, now: Duration) {
        let mut looked_at = 0;
        let mut idle = self.idle.borrow_mut();
        self.unwanted.take(idle.extract_if(.., |idle| {
            looked_at += 1;
            let look = looked_at <= SWEPT_CONNECTIONS;
            idle.is_over(pool, now) || (look && !idle.stream.is_quiet())
        }));
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.unwanted.take(self.idle.take());
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
    use tokio::sync::mpsc;

    fn endpoint() -> (Shared<EndpointState>, Endpoint) {
        let (failing, _) = mpsc::channel(1);
        let state = EndpointState::new("up", ([127, 0, 0, 1], 80).into(), 2, failing);
        state.publish(100, false);
        let state = Shared::new(state);
        (state.clone(), Endpoint::new(state, 1, String::new(), Rc::default()))
    }

    #[test]
    fn one_fault_that_many_attempts_meet_is_one() {
        let (_, endpoint) = endpoint();
        let start = Duration::from_secs(1);
        (0..100).for_each(|_| endpoint.refused(start));
        assert!(endpoint.is_paused(start));
        let over = start + ENDPOINT_PAUSE_FIRST;
        assert!(!endpoint.is_paused(over));
        endpoint.refused(over);
        assert!(endpoint.is_paused(over + ENDPOINT_PAUSE_FIRST), "the second pause is longer");
    }

    #[test]
    fn a_pause_ends_with_the_news_that_it_is_back() {
        let (state, endpoint) = endpoint();
        let now = Duration::from_secs(1);
        endpoint.refused(now);
        endpoint.look();
        assert!(endpoint.is_paused(now), "no news");
        state.publish(0, false);
        endpoint.look();
        assert!(!endpoint.is_used());
        state.publish(10, false);
        endpoint.look();
        assert!(endpoint.is_used() && !endpoint.is_paused(now));
    }

    #[test]
    fn each_worker_counts_for_itself() {
        let (state, endpoint) = endpoint();
        endpoint.begun();
        endpoint.begun();
        endpoint.over();
        endpoint.connected();
        endpoint.answered(200);
        endpoint.answered(503);
        endpoint.failed();
        let counts = state.counts();
        assert_eq!((counts.requests, counts.in_flight), (2, 1));
        assert_eq!((counts.connects, counts.reuses, counts.failures), (1, 0, 2));
        assert_eq!(state.of(0).requests.get(), 0);
    }
}
