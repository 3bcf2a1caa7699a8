//! The limit that finds itself, after the model of BBR (Cardwell et al., 2016): the largest rate
//! and the smallest time that were seen lately, whose product is what fits without a queue.
//!
//! Time comes in phases of a tenth of a second or two round trips. In the first of eight the limit
//! is a quarter above the product, to see whether more can be had; in the second a quarter below,
//! so that a queue that the first has made drains and a request is seen to take what it takes
//! alone; then it is the product. Rates are remembered for longer than times: when an upstream
//! slows down, the longer time is believed first, and the limit never falls below what is needed.
//!
//! Times are means of a phase, not single requests, since requests differ by what they ask for.

/// The shortest phase, in nanoseconds.
const PHASE: u64 = 100_000_000;

/// What the limit is of the product in each phase, in quarters.
const GAINS: [u64; 8] = [5, 3, 4, 4, 4, 4, 4, 4];

/// Phases for which the smallest time counts: all gains once.
const TIMES: usize = 8;

/// Phases for which the largest rate counts.
const RATES: usize = 10;

/// The limit to begin with, where the bounds allow it.
const FIRST: u64 = 32;

/// Phases without a quarter more throughput after which the first search is over.
const PLATEAU: u32 = 3;

/// What a core has seen since it told last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Finished {
    /// Requests that are over.
    pub(super) count: u64,
    /// How long they took, summed up, in nanoseconds.
    pub(super) time: u64,
    /// All slots were taken at some time.
    pub(super) crowded: bool,
}

/// The measurements and the limit that they come to.
#[derive(Debug)]
pub(super) struct Adaptive {
    least: u64,
    most: u64,
    limit: u64,
    /// When the phase began, and what was seen in it.
    began: u64,
    seen: Finished,
    phase: usize,
    /// The latest phases: requests a second, and nanoseconds a request.
    rates: Latest<RATES>,
    times: Latest<TIMES>,
    /// While the first search goes on: the best rate, and phases since it was found.
    search: Option<(f64, u32)>,
}

impl Adaptive {
    pub(super) fn new(least: u64, most: u64) -> Adaptive {
        Adaptive {
            least,
            most,
            limit: FIRST.clamp(least, most),
            began: 0,
            seen: Finished::default(),
            phase: 0,
            rates: Latest::default(),
            times: Latest::default(),
            search: Some((0.0, 0)),
        }
    }

    /// How many may be under way.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes in what a core has seen. Returns the limit from now on.
    pub(super) fn finished(&mut self, now: u64, seen: Finished) -> u64 {
        self.seen.count += seen.count;
        self.seen.time += seen.time;
        self.seen.crowded |= seen.crowded;
        let round_trips = 2 * self.times.least().unwrap_or(0.0) as u64;
        let passed = now.saturating_sub(self.began);
        if passed >= PHASE.max(round_trips) && self.seen.count > 0 {
            self.end_phase(passed);
            self.began = now;
            self.seen = Finished::default();
        }
        self.limit
    }

    fn end_phase(&mut self, passed: u64) {
        let Finished { count, time, crowded } = self.seen;
        let rate = count as f64 * 1e9 / passed as f64;
        self.times.add(time as f64 / count as f64);
        // Where fewer come than may, the rate says what is asked for, not what can be had.
        if !crowded && rate <= self.rates.most().unwrap_or(0.0) {
            return;
        }
        self.rates.add(rate);
        if !crowded {
            return;
        }
        if let Some((best, since)) = self.search {
            let better = rate > best * 1.25;
            let since = if better { 0 } else { since + 1 };
            self.search = (since < PLATEAU).then_some((best.max(rate), since));
            if better {
                self.limit = (self.limit * 2).clamp(self.least, self.most);
            }
            return;
        }
        let (Some(rate), Some(time)) = (self.rates.most(), self.times.least()) else { return };
        let product = rate * time / 1e9;
        let gain = GAINS[self.phase % GAINS.len()];
        self.phase += 1;
        self.limit = ((product * gain as f64 / 4.0).ceil() as u64).clamp(self.least, self.most);
    }
}

/// The latest so many numbers.
#[derive(Debug)]
struct Latest<const N: usize> {
    numbers: [f64; N],
    count: usize,
}

impl<const N: usize> Default for Latest<N> {
    fn default() -> Self {
        Latest { numbers: [0.0; N], count: 0 }
    }
}

impl<const N: usize> Latest<N> {
    fn add(&mut self, number: f64) {
        self.numbers[self.count % N] = number;
        self.count += 1;
    }

    fn all(&self) -> impl Iterator<Item = f64> {
        self.numbers[..self.count.min(N)].iter().copied()
    }

    fn most(&self) -> Option<f64> {
        self.all().reduce(f64::max)
    }

    fn least(&self) -> Option<f64> {
        self.all().reduce(f64::min)
    }
}

#[cfg(test)]
mod tests;
