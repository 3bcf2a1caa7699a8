//! The ways to count, as pure functions of one word of state and the time.
//!
//! One word, so that all cores can change it together in one step. Time is in ticks since the
//! limit was made. The state 0 is that of a key that was never seen.

/// Ticks a second: sixteenths of a nanosecond, so that the interval of ten million requests a
/// second is told to a part in 1,600.
pub(super) const SECOND: u64 = 16_000_000_000;

/// Bits of each of the two counts in the state of a sliding window.
const COUNT_BITS: u32 = 22;

/// The most requests that a window can count.
pub(super) const WINDOW_LIMIT: u64 = (1 << COUNT_BITS) - 1;

/// Windows that the state of a sliding window tells apart.
const WINDOWS: u64 = 1 << (64 - 2 * COUNT_BITS);

/// How requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// A bucket of `depth` that `interval` fills by one. The state is when it will be full: the
    /// "theoretical arrival time" of the generic cell rate algorithm (ITU-T I.371), which is the
    /// same as a token bucket and needs no second word.
    TokenBucket { interval: u64, depth: u64 },
    /// One request an `interval`, in a queue of up to `queue`. The state is when the queue will
    /// have run empty.
    LeakyBucket { interval: u64, queue: u64 },
    /// `limit` requests a window, counted anew in each. The state is the window and its count.
    FixedWindow { window: u64, limit: u64 },
    /// `limit` requests in the window that ends now: those of this window, and of the one before
    /// as large a part as still lies in it. The state is the window, the count of the one before
    /// and its own.
    SlidingWindow { window: u64, limit: u64 },
}

/// What a request is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// Requests that may pass; 0 when this one may not.
    pub(super) credits: u64,
    /// Ticks until the request may pass: by queueing, or by coming again.
    pub(super) wait: u64,
}

impl Taken {
    fn now(credits: u64) -> Taken {
        Taken { credits, wait: 0 }
    }

    fn never_before(wait: u64) -> Taken {
        Taken { credits: 0, wait }
    }
}

impl Algorithm {
    /// Takes up to `want` credits, at least one or none. Returns the next state, or none when
    /// nothing was taken. Only a token bucket gives more than one.
    pub(super) fn take(self, state: u64, now: u64, want: u64) -> (Option<u64>, Taken) {
        match self {
            Algorithm::TokenBucket { interval, depth } => {
                let full_at = state.max(now);
                let room = depth.saturating_sub(full_at - now);
                let credits = want.min(room / interval);
                if credits == 0 {
                    return (None, Taken::never_before(full_at + interval - depth - now));
                }
                (Some(full_at + credits * interval), Taken::now(credits))
            }
            Algorithm::LeakyBucket { interval, queue } => {
                let empty_at = state.max(now);
                let wait = empty_at - now;
                if wait > queue {
                    return (None, Taken::never_before(wait - queue));
                }
                (Some(empty_at + interval), Taken { credits: 1, wait })
            }
            Algorithm::FixedWindow { window, limit } => {
                // Another core's clock may be a little ahead.
                let at = (now / window).max(state >> 32);
                let count = if at == state >> 32 { state & u64::from(u32::MAX) } else { 0 };
                if count >= limit {
                    return (None, Taken::never_before((at + 1) * window - now));
                }
                (Some(at << 32 | (count + 1)), Taken::now(1))
            }
            Algorithm::SlidingWindow { window, limit } => {
                Sliding::at(state, now, window).take(limit)
            }
        }
    }

    /// Ticks until a key with this state is as good as one that was never seen.
    pub(super) fn idle_in(self, state: u64, now: u64) -> u64 {
        match self {
            Algorithm::TokenBucket { .. } | Algorithm::LeakyBucket { .. } => {
                state.saturating_sub(now)
            }
            Algorithm::FixedWindow { window, .. } => {
                ((state >> 32) + 1).saturating_mul(window).saturating_sub(now)
            }
            Algorithm::SlidingWindow { window, .. } => {
                let sliding = Sliding::at(state, now, window);
                let windows = match (sliding.before, sliding.count) {
                    (0, 0) => return 0,
                    (_, 0) => 1,
                    _ => 2,
                };
                windows * window - sliding.elapsed
            }
        }
    }
}

/// The state of a sliding window, seen from now.
struct Sliding {
    /// The window that it is now, as far as the state can tell it from others.
    at: u64,
    /// What the window before counted.
    before: u64,
    /// What this one has counted.
    count: u64,
    /// Ticks since it began, and how long it is.
    elapsed: u64,
    window: u64,
}

impl Sliding {
    fn at(state: u64, now: u64, window: u64) -> Sliding {
        let (was, before, count) =
            (state >> (2 * COUNT_BITS), state >> COUNT_BITS & WINDOW_LIMIT, state & WINDOW_LIMIT);
        let at = now / window % WINDOWS;
        let elapsed = now % window;
        match (at + WINDOWS - was) % WINDOWS {
            0 => Sliding { at, before, count, elapsed, window },
            1 => Sliding { at, before: count, count: 0, elapsed, window },
            // Another core's clock is a little ahead: the window has just begun.
            behind if behind == WINDOWS - 1 => {
                Sliding { at: was, before, count, elapsed: 0, window }
            }
            _ => Sliding { at, before: 0, count: 0, elapsed, window },
        }
    }

    fn take(&self, limit: u64) -> (Option<u64>, Taken) {
        let weight = u128::from(self.before) * u128::from(self.window - self.elapsed);
        let before = weight.div_ceil(u128::from(self.window)) as u64;
        if before + self.count < limit {
            let state = (self.at << COUNT_BITS | self.before) << COUNT_BITS | (self.count + 1);
            return (Some(state), Taken::now(1));
        }
        // A window of which `room` requests of `counted` may still lie in the one that ends now.
        let fits_at = |counted: u64, room: u64| {
            let rest = u128::from(room) * u128::from(self.window) / u128::from(counted.max(1));
            self.window.saturating_sub(rest as u64)
        };
        let wait = match limit.checked_sub(self.count + 1) {
            Some(room) => fits_at(self.before, room).saturating_sub(self.elapsed),
            None => self.window - self.elapsed + fits_at(self.count, limit - 1),
        };
        (None, Taken::never_before(wait.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One key as a core sees it.
    struct Key {
        algorithm: Algorithm,
        state: u64,
    }

    impl Key {
        fn new(algorithm: Algorithm) -> Key {
            Key { algorithm, state: 0 }
        }

        fn take(&mut self, now: u64) -> Taken {
            let (next, taken) = self.algorithm.take(self.state, now, 1);
            assert_eq!(next.is_some(), taken.credits > 0);
            self.state = next.unwrap_or(self.state);
            taken
        }

        /// How many of `count` requests at this time may pass.
        fn pass(&mut self, now: u64, count: usize) -> usize {
            (0..count).filter(|_| self.take(now).credits == 1).count()
        }
    }

    #[test]
    fn a_token_bucket_gives_its_burst_and_then_its_rate() {
        let mut key = Key::new(Algorithm::TokenBucket { interval: 100, depth: 500 });
        assert_eq!(key.pass(1_000, 10), 5);
        assert_eq!(key.take(1_000), Taken { credits: 0, wait: 100 });
        assert_eq!(key.take(1_099), Taken { credits: 0, wait: 1 });
        assert_eq!(key.pass(1_100, 10), 1);
        assert_eq!(key.pass(1_350, 10), 2);
        assert_eq!(key.pass(1_000_000, 10), 5, "it holds no more than its burst");
    }

    #[test]
    fn a_token_bucket_gives_some_where_it_has_not_all() {
        let bucket = Algorithm::TokenBucket { interval: 100, depth: 500 };
        assert_eq!(bucket.take(0, 0, 3), (Some(300), Taken::now(3)));
        assert_eq!(bucket.take(300, 0, 3), (Some(500), Taken::now(2)));
    }

    #[test]
    fn a_leaky_bucket_spreads_and_refuses_what_it_cannot_hold() {
        let mut key = Key::new(Algorithm::LeakyBucket { interval: 100, queue: 200 });
        let waits: Vec<_> = (0..4).map(|_| key.take(0)).collect();
        let waits: Vec<_> = waits.iter().map(|taken| (taken.credits, taken.wait)).collect();
        assert_eq!(waits, [(1, 0), (1, 100), (1, 200), (0, 100)]);
        assert_eq!(key.take(100), Taken { credits: 1, wait: 200 });
        assert_eq!(key.take(1_000), Taken::now(1));
    }

    #[test]
    fn a_fixed_window_begins_anew() {
        let mut key = Key::new(Algorithm::FixedWindow { window: 100, limit: 3 });
        assert_eq!(key.pass(790, 5), 3);
        assert_eq!(key.take(790), Taken { credits: 0, wait: 10 });
        assert_eq!(key.pass(800, 5), 3);
        assert_eq!(key.pass(799, 5), 0, "a clock that lags behind opens no window again");
    }

    #[test]
    fn a_sliding_window_forgets_bit_by_bit() {
        let mut key = Key::new(Algorithm::SlidingWindow { window: 100, limit: 10 });
        assert_eq!(key.pass(700, 20), 10);
        assert_eq!(key.take(750), Taken { credits: 0, wait: 60 }, "the tenth part of the next");
        assert_eq!(key.pass(800, 20), 0);
        assert_eq!(key.pass(810, 20), 1);
        assert_eq!(key.pass(850, 20), 4);
        assert_eq!(key.pass(799, 20), 0, "a clock that lags behind changes nothing");
        assert_eq!(key.pass(900, 20), 5);
        assert_eq!(key.pass(1_300, 20), 10);
    }

    #[test]
    fn a_key_is_idle_when_it_is_as_good_as_new() {
        for algorithm in [
            Algorithm::TokenBucket { interval: 100, depth: 500 },
            Algorithm::LeakyBucket { interval: 100, queue: 500 },
            Algorithm::FixedWindow { window: 100, limit: 3 },
            Algorithm::SlidingWindow { window: 100, limit: 3 },
        ] {
            let mut key = Key::new(algorithm);
            assert_eq!(algorithm.idle_in(0, 100_000), 0, "{algorithm:?}");
            key.pass(100_020, 9);
            let idle_in = algorithm.idle_in(key.state, 100_020);
            assert!((80..=600).contains(&idle_in), "{algorithm:?}: {idle_in}");
            let later = 100_020 + idle_in;
            assert_eq!(algorithm.idle_in(key.state, later), 0, "{algorithm:?}");
            let as_new = Key::new(algorithm).pass(later, 9);
            assert_eq!(key.pass(later, 9), as_new, "{algorithm:?}");
        }
    }

    fn any_algorithm() -> impl Strategy<Value = Algorithm> {
        (0..4, 1_000..100_000_u64, 1..50_u64).prop_map(|(kind, time, count)| match kind {
            0 => Algorithm::TokenBucket { interval: time, depth: time * count },
            1 => Algorithm::LeakyBucket { interval: time, queue: time * count },
            2 => Algorithm::FixedWindow { window: time, limit: count },
            _ => Algorithm::SlidingWindow { window: time, limit: count },
        })
    }

    proptest! {
        /// Whoever is refused may come again after exactly the time that was named, if nobody else
        /// came in between, and not before.
        #[test]
        fn the_wait_that_is_named_is_the_right_one(
            algorithm in any_algorithm(),
            pauses in prop::collection::vec(0..30_000_u64, 1..200),
        ) {
            let mut key = Key::new(algorithm);
            let mut now = 10_000_000;
            for pause in pauses {
                now += pause;
                let taken = key.take(now);
                if taken.credits == 0 {
                    prop_assert!(taken.wait > 0);
                    let at = |now| algorithm.take(key.state, now, 1).1.credits;
                    prop_assert_eq!(at(now + taken.wait), 1);
                    prop_assert_eq!(at(now + taken.wait - 1), 0);
                }
            }
        }

        /// In no stretch of time does a token bucket give more than its burst and its rate.
        #[test]
        fn a_token_bucket_never_gives_too_much(
            interval in 1_000..100_000_u64,
            burst in 1..50_u64,
            pauses in prop::collection::vec(0..30_000_u64, 1..300),
        ) {
            let mut key = Key::new(Algorithm::TokenBucket { interval, depth: burst * interval });
            let (mut now, mut granted) = (10_000_000, Vec::new());
            for pause in pauses {
                now += pause;
                granted.extend((key.take(now).credits == 1).then_some(now));
            }
            for (first, start) in granted.iter().enumerate() {
                for (last, end) in granted.iter().enumerate().skip(first) {
                    let most = burst * interval + (end - start);
                    prop_assert!((last - first + 1) as u64 * interval <= most);
                }
            }
        }
    }
}
