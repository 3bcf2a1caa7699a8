//! A circuit breaker with one state for all cores.
#![expect(clippy::disallowed_types, reason = "a primitive that crosses cores")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::window::SharedWindow;

/// When a breaker opens, for how long, and what closes it again.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerLimits {
    /// So many failures in a row open it; 0 for never.
    pub threshold: u32,
    /// This share of failures opens it.
    pub ratio: Option<RatioLimit>,
    /// How long it stays open.
    pub timeout: Duration,
    /// How many probes are let through then; as many successes close it. At least 1. Those of which
    /// nothing has been heard for as long again, or twice that, are no longer waited for.
    pub probes: u32,
}

/// The share of failures that is too much.
#[derive(Debug, Clone, PartialEq)]
pub struct RatioLimit {
    /// The share, above 0 and up to 1.
    pub share: f64,
    /// Over which time.
    pub window: Duration,
    /// Below so many results in the window the share says nothing.
    pub minimum: u64,
}

/// Leave to go on, to be settled by exactly one of [`SharedBreaker::succeeded`],
/// [`SharedBreaker::failed`] and [`SharedBreaker::abandoned`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// What came of it only counts while the breaker is in the state that it was given in.
    generation: u32,
    /// It was given to find out whether all is well again.
    pub probe: bool,
}

/// What a breaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// It lets everybody pass.
    Closed,
    /// It lets nobody pass.
    Open,
    /// It lets a few pass, to find out.
    HalfOpen,
}

/// One breaker for all cores.
///
/// Its whole state is one word, so that every event is one exchange of that word, and the closed
/// breaker costs a load to pass and a load to succeed. Failures and probes are rare.
#[derive(Debug)]
pub struct SharedBreaker {
    word: AtomicU64,
    limits: BreakerLimits,
    window: Option<SharedWindow>,
    born: Instant,
    opened: AtomicU64,
    refused: AtomicU64,
}

/// The states of a breaker and the events between them.
///
/// ```text
///                  failed: too many                    admit, once the time is over
///      ┌ Closed ─────────────────────────→ Open ─────────────────────────→ HalfOpen
///      │   ↑  ↑                             ↑                                │ │ │
///      └───┘  │                             └──────── a probe failed ────────┘ │ │
///  succeeded, └─────────────────── enough probes succeeded ────────────────────┘ │
///  failed: few                                     HalfOpen ←────────────────────┘
///                                           admit, succeeded, abandoned: one probe
///                                                more, one good, one less
/// ```
///
/// Every change of the kind of state begins a generation, and so does a new probe in place of those
/// that were waited for too long: what was let pass in an earlier one changes nothing any more. So
/// nobody keeps a breaker half-open by a request that does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many failures in a row so far.
    Closed { failures: u32 },
    /// Until so many milliseconds after the breaker was made.
    Open { until: u64 },
    /// So many probes are under way, and so many have succeeded; the last began in this turn.
    HalfOpen { out: u32, good: u32, turn: u32 },
}

/// Bits of what belongs to a state.
const DATA_BITS: u32 = 40;

/// Bits of the number of a generation.
const GENERATION_BITS: u32 = 22;

/// Bits of each of the two counts of probes.
const PROBE_BITS: u32 = 10;

/// Bits of the number of a turn, which is as long as the breaker stays open.
const TURN_BITS: u32 = DATA_BITS - 2 * PROBE_BITS;

/// So many turns after the last probe began, nobody waits for it any more: at least one is over.
const TURNS_TO_WAIT: u32 = 2;

/// The most probes that a breaker can be asked for.
pub const PROBES_MOST: u32 = (1 << PROBE_BITS) - 1;

impl State {
    fn pack(self, generation: u32) -> u64 {
        let most = (1 << DATA_BITS) - 1;
        let (kind, data) = match self {
            State::Closed { failures } => (0, u64::from(failures)),
            State::Open { until } => (1, until.min(most)),
            State::HalfOpen { out, good, turn } => {
                let counts = u64::from(out) << PROBE_BITS | u64::from(good);
                (2, u64::from(turn) << (2 * PROBE_BITS) | counts)
            }
        };
        (kind << GENERATION_BITS | u64::from(generation)) << DATA_BITS | data
    }

    fn unpack(word: u64) -> (State, u32) {
        let data = word & ((1 << DATA_BITS) - 1);
        let generation = (word >> DATA_BITS) as u32 & ((1 << GENERATION_BITS) - 1);
        let state = match word >> (DATA_BITS + GENERATION_BITS) {
            0 => State::Closed { failures: data as u32 },
            1 => State::Open { until: data },
            _ => State::HalfOpen {
                out: (data >> PROBE_BITS) as u32 & PROBES_MOST,
                good: data as u32 & PROBES_MOST,
                turn: (data >> (2 * PROBE_BITS)) as u32,
            },
        };
        (state, generation)
    }

    /// True when a new probe came in place of those that were under way.
    fn is_renewed_by(self, next: State) -> bool {
        match (self, next) {
            (State::HalfOpen { out, turn, .. }, State::HalfOpen { out: left, turn: now, .. }) => {
                turn != now && left <= out
            }
            _ => false,
        }
    }

    fn kind(self) -> BreakerState {
        match self {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

impl SharedBreaker {
    /// A closed breaker for so many cores.
    pub fn new(limits: BreakerLimits, cores: usize, now: Instant) -> Self {
        let window = limits.ratio.as_ref().map(|r| SharedWindow::new(r.window, cores, now));
        SharedBreaker {
            word: AtomicU64::new(State::Closed { failures: 0 }.pack(0)),
            limits,
            window,
            born: now,
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Somebody wants to pass. The time is asked for only when the breaker is not closed.
    ///
    /// # Errors
    /// How long the breaker stays open; nothing while probes are under way.
    pub fn admit(&self, now: impl FnOnce() -> Instant) -> Result<Pass, Duration> {
        match State::unpack(self.word.load(Ordering::Relaxed)) {
            (State::Closed { .. }, generation) => Ok(Pass { generation, probe: false }),
            _ => self.probe(self.millis(now())),
        }
    }

    #[cold]
    fn probe(&self, now: u64) -> Result<Pass, Duration> {
        let (probes, turn) = (self.limits.probes, self.turn(now));
        let event = |state| match state {
            State::Closed { .. } => Some(state),
            State::Open { until } if until <= now => {
                Some(State::HalfOpen { out: 1, good: 0, turn })
            }
            State::HalfOpen { out, good, .. } if out + good < probes => {
                Some(State::HalfOpen { out: out + 1, good, turn })
            }
            State::HalfOpen { good, turn: last, .. }
                if turn.wrapping_sub(last) % (1 << TURN_BITS) >= TURNS_TO_WAIT =>
            {
                Some(State::HalfOpen { out: 1, good, turn })
            }
            State::Open { .. } | State::HalfOpen { .. } => None,
        };
        match self.happened(None, event) {
            Ok((state, generation)) => {
                Ok(Pass { generation, probe: state.kind() == BreakerState::HalfOpen })
            }
            Err(state) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let left = match state {
                    State::Open { until } => until.saturating_sub(now),
                    State::Closed { .. } | State::HalfOpen { .. } => 0,
                };
                Err(Duration::from_millis(left))
            }
        }
    }

    /// What was let pass went well. `now` is asked for only where results are counted over time.
    pub fn succeeded(&self, pass: Pass, core: usize, now: impl FnOnce() -> Instant) {
        if pass.probe {
            let probes = self.limits.probes;
            let _ = self.happened(Some(pass), |state| match state {
                State::HalfOpen { good, .. } if good + 1 >= probes => {
                    Some(State::Closed { failures: 0 })
                }
                State::HalfOpen { out, good, turn } => {
                    Some(State::HalfOpen { out: out.saturating_sub(1), good: good + 1, turn })
                }
                State::Closed { .. } | State::Open { .. } => None,
            });
            return;
        }
        if let Some(window) = &self.window {
            window.count(core, pass.generation as u8, false, now());
        }
        let _ = self.happened(Some(pass), |state| match state {
            State::Closed { failures: 1.. } => Some(State::Closed { failures: 0 }),
            State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } => None,
        });
    }

    /// What was let pass failed.
    pub fn failed(&self, pass: Pass, core: usize, now: Instant) {
        let era = pass.generation as u8;
        if let Some(window) = self.window.as_ref().filter(|_| !pass.probe) {
            window.count(core, era, true, now);
        }
        let open = State::Open { until: self.millis(now + self.limits.timeout) };
        let too_many = self.is_share_too_large(era, now);
        let threshold = self.limits.threshold;
        let happened = self.happened(Some(pass), |state| match state {
            State::Closed { failures } => {
                let failures = failures.saturating_add(1);
                let trips = too_many || (threshold > 0 && failures >= threshold);
                Some(if trips { open } else { State::Closed { failures } })
            }
            State::HalfOpen { .. } => Some(open),
            State::Open { .. } => None,
        });
        if matches!(happened, Ok((State::Open { .. }, _))) {
            self.opened.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Nobody will know what became of what was let pass.
    pub fn abandoned(&self, pass: Pass) {
        if pass.probe {
            let _ = self.happened(Some(pass), |state| match state {
                State::HalfOpen { out, good, turn } => {
                    Some(State::HalfOpen { out: out.saturating_sub(1), good, turn })
                }
                State::Closed { .. } | State::Open { .. } => None,
            });
        }
    }

    /// What it does now. One that is about to let probes through still counts as open.
    pub fn state(&self) -> BreakerState {
        State::unpack(self.word.load(Ordering::Relaxed)).0.kind()
    }

    /// How often it has opened.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// How many it has not let pass.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn is_share_too_large(&self, era: u8, now: Instant) -> bool {
        let (Some(limit), Some(window)) = (&self.limits.ratio, &self.window) else { return false };
        let (all, failed) = window.sum(era, now);
        all >= limit.minimum && failed as f64 >= limit.share * all as f64
    }

    /// The number of the turn at so many milliseconds, by the bits that a word has room for.
    fn turn(&self, millis: u64) -> u32 {
        let length = u64::try_from(self.limits.timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        (millis / length) as u32 % (1 << TURN_BITS)
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.born).as_millis() as u64
    }

    /// Changes the state as `event` has it, in one step for all cores; the state and generation
    /// that it is in then. Nothing happens when the event does not concern the state, or `pass`
    /// was given in another generation: the error is the state as it is.
    fn happened(
        &self,
        pass: Option<Pass>,
        event: impl Fn(State) -> Option<State>,
    ) -> Result<(State, u32), State> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let (state, generation) = State::unpack(word);
            if pass.is_some_and(|pass| pass.generation != generation) {
                return Err(state);
            }
            let next = event(state).ok_or(state)?;
            if next == state {
                return Ok((state, generation));
            }
            let begins = next.kind() != state.kind() || state.is_renewed_by(next);
            let generation = (generation + u32::from(begins)) & ((1 << GENERATION_BITS) - 1);
            let packed = next.pack(generation);
            // The word is all there is: nothing else has to be seen in the same order.
            let exchanged =
                self.word.compare_exchange_weak(word, packed, Ordering::Relaxed, Ordering::Relaxed);
            match exchanged {
                Ok(_) => return Ok((next, generation)),
                Err(current) => word = current,
            }
        }
    }
}

impl Pass {
    /// The pass as a number below 2³², for where there is room for nothing else; a probe's is not
    /// told apart.
    pub fn to_number(self) -> u32 {
        self.generation
    }

    /// A pass that was no probe, of its number.
    pub fn from_number(generation: u32) -> Pass {
        Pass { generation, probe: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::shared::Shared;
    use proptest::prelude::*;
    use std::thread;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits(threshold: u32, probes: u32) -> BreakerLimits {
        BreakerLimits { threshold, ratio: None, timeout: 10 * SECOND, probes }
    }

    fn pass(breaker: &SharedBreaker, now: Instant) -> Pass {
        breaker.admit(|| now).unwrap()
    }

    #[test]
    fn every_state_survives_its_word() {
        for state in [
            State::Closed { failures: u32::MAX },
            State::Open { until: 123_456_789_012 },
            State::HalfOpen { out: PROBES_MOST, good: 7, turn: (1 << TURN_BITS) - 1 },
        ] {
            assert_eq!(State::unpack(state.pack(4_000_000)), (state, 4_000_000));
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_probe_closes_it() {
        let start = clock::now();
        let breaker = SharedBreaker::new(limits(3, 1), 1, start);
        for _ in 0..2 {
            breaker.failed(pass(&breaker, start), 0, start);
        }
        breaker.succeeded(pass(&breaker, start), 0, || start);
        for _ in 0..2 {
            breaker.failed(pass(&breaker, start), 0, start);
            assert_eq!(breaker.state(), BreakerState::Closed);
        }
        breaker.failed(pass(&breaker, start), 0, start);
        assert_eq!((breaker.state(), breaker.opened()), (BreakerState::Open, 1));
        assert_eq!(breaker.admit(|| start + 4 * SECOND), Err(6 * SECOND));
        let later = start + 10 * SECOND;
        let probe = pass(&breaker, later);
        assert!(probe.probe);
        assert_eq!(breaker.admit(|| later), Err(Duration::ZERO), "one at a time");
        breaker.succeeded(probe, 0, || later);
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.refused(), 2);
    }

    #[test]
    fn a_failed_probe_opens_it_again_and_a_lost_one_frees_its_place() {
        let start = clock::now();
        let breaker = SharedBreaker::new(limits(1, 2), 1, start);
        breaker.failed(pass(&breaker, start), 0, start);
        let later = start + 10 * SECOND;
        let (first, second) = (pass(&breaker, later), pass(&breaker, later));
        assert!(breaker.admit(|| later).is_err());
        breaker.abandoned(first);
        let third = pass(&breaker, later);
        breaker.succeeded(second, 0, || later);
        assert_eq!(breaker.state(), BreakerState::HalfOpen, "two have to succeed");
        breaker.failed(third, 0, later);
        assert_eq!((breaker.state(), breaker.opened()), (BreakerState::Open, 2));
        assert_eq!(breaker.admit(|| later), Err(10 * SECOND));
    }

    #[test]
    fn a_probe_that_does_not_end_makes_room_for_another() {
        let start = clock::now();
        let breaker = SharedBreaker::new(limits(1, 2), 1, start);
        breaker.failed(pass(&breaker, start), 0, start);
        let open = |seconds: u32| start + seconds * SECOND;
        let good = pass(&breaker, open(10));
        breaker.succeeded(good, 0, || open(10));
        let hangs = pass(&breaker, open(11));
        assert_eq!(breaker.admit(|| open(29)), Err(Duration::ZERO), "it is still waited for");
        let next = pass(&breaker, open(30));
        assert_eq!(breaker.admit(|| open(49)), Err(Duration::ZERO), "one in its place");
        breaker.failed(hangs, 0, open(31));
        assert_eq!(breaker.state(), BreakerState::HalfOpen, "its outcome comes too late");
        breaker.succeeded(next, 0, || open(31));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn what_was_let_pass_before_changes_nothing_after() {
        let start = clock::now();
        let breaker = SharedBreaker::new(limits(1, 1), 1, start);
        let late = [pass(&breaker, start), pass(&breaker, start)];
        breaker.failed(pass(&breaker, start), 0, start);
        breaker.succeeded(late[0], 0, || start);
        assert_eq!(breaker.state(), BreakerState::Open);
        let later = start + 10 * SECOND;
        let probe = pass(&breaker, later);
        breaker.failed(late[1], 0, later);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.succeeded(probe, 0, || later);
        breaker.failed(late[1], 0, later);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_share_of_failures_opens_it_once_there_are_enough() {
        let start = clock::now();
        let ratio = RatioLimit { share: 0.5, window: 10 * SECOND, minimum: 10 };
        let limits = BreakerLimits { ratio: Some(ratio), ..limits(0, 1) };
        let breaker = SharedBreaker::new(limits, 2, start);
        for turn in 0..9 {
            let now = start + SECOND * turn / 10;
            let core = turn as usize % 2;
            match turn % 2 {
                0 => breaker.failed(pass(&breaker, now), core, now),
                _ => breaker.succeeded(pass(&breaker, now), core, || now),
            }
            assert_eq!(breaker.state(), BreakerState::Closed);
        }
        breaker.failed(pass(&breaker, start + SECOND), 0, start + SECOND);
        assert_eq!(breaker.state(), BreakerState::Open, "six of ten");
        let later = start + 11 * SECOND;
        breaker.succeeded(pass(&breaker, later), 0, || later);
        breaker.failed(pass(&breaker, later), 0, later);
        assert_eq!(breaker.state(), BreakerState::Closed, "it begins anew");
    }

    #[test]
    fn threads_agree_that_it_opens_once_and_lets_so_many_probes_pass() {
        let start = clock::now();
        let breaker = Shared::new(SharedBreaker::new(limits(100, 3), 8, start));
        // Nobody is later before all have failed: a probe that fails would open it once more.
        let all_failed = Shared::new(std::sync::Barrier::new(8));
        let threads = (0..8).map(|core| {
            let (breaker, all_failed) = (breaker.clone(), all_failed.clone());
            thread::spawn(move || {
                (0..1_000).for_each(|_| {
                    if let Ok(pass) = breaker.admit(|| start) {
                        breaker.failed(pass, core, start);
                    }
                });
                all_failed.wait();
                let later = start + 10 * SECOND;
                (0..100).filter(|_| breaker.admit(|| later).is_ok()).count()
            })
        });
        let probes: usize =
            threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!((breaker.opened(), probes), (1, 3));
    }

    /// What simulated cores may do to a breaker, in any order.
    #[derive(Debug, Clone)]
    enum Event {
        Admit,
        Succeed(usize),
        Fail(usize),
        Abandon(usize),
        Wait(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => Just(Event::Admit),
            2 => (0..8usize).prop_map(Event::Succeed),
            3 => (0..8usize).prop_map(Event::Fail),
            1 => (0..8usize).prop_map(Event::Abandon),
            1 => (0..15_000u64).prop_map(Event::Wait),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: never more probes than allowed, nobody passes while
        /// it is open, and it never stays half-open without a probe that could end that.
        #[test]
        fn no_order_of_events_breaks_it(
            events in prop::collection::vec(event(), 1..400),
            threshold in 1..5u32,
            probes in 1..4u32,
        ) {
            let mut now = clock::now();
            let breaker = SharedBreaker::new(limits(threshold, probes), 1, now);
            let mut under_way: Vec<Pass> = Vec::new();
            let mut opened_at = now;
            for event in events {
                let before = breaker.state();
                match event {
                    Event::Admit => {
                        let admitted = breaker.admit(|| now);
                        if before == BreakerState::Open {
                            prop_assert_eq!(admitted.is_ok(), now >= opened_at + 10 * SECOND);
                        }
                        prop_assert!(admitted.is_ok() || before != BreakerState::Closed);
                        under_way.extend(admitted);
                    }
                    Event::Wait(millis) => now += Duration::from_millis(millis),
                    _ if under_way.is_empty() => {}
                    Event::Succeed(at) => {
                        let pass = under_way.swap_remove(at % under_way.len());
                        breaker.succeeded(pass, 0, || now);
                    }
                    Event::Fail(at) => {
                        let pass = under_way.swap_remove(at % under_way.len());
                        breaker.failed(pass, 0, now);
                    }
                    Event::Abandon(at) => {
                        breaker.abandoned(under_way.swap_remove(at % under_way.len()));
                    }
                }
                let after = breaker.state();
                if before != BreakerState::Open && after == BreakerState::Open {
                    // Milliseconds are what the breaker counts in.
                    opened_at = now;
                }
                let (state, generation) = State::unpack(breaker.word.load(Ordering::Relaxed));
                let current = |pass: &&Pass| pass.probe && pass.generation == generation;
                let count = under_way.iter().filter(current).count() as u32;
                if let State::HalfOpen { out, good, .. } = state {
                    prop_assert_eq!(out, count);
                    prop_assert!(out + good <= probes && good < probes);
                }
            }
        }
    }
}
