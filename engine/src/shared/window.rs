//! Two counts over a sliding window of time and over all cores: how many there were, and how many
//! of them were marked (as failed, as repeated).
//!
//! Each core counts in a shard of its own, so that counting shares no cache line with another
//! core; whoever wants the sum reads all shards, which is meant to be rare.
#![expect(clippy::disallowed_types, reason = "a primitive that crosses cores")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Parts of a window; it slides by one of them.
const PARTS: u64 = 10;

/// Bits of a count, of which a part has two.
const COUNT_BITS: u32 = 16;

/// The largest count of a part. Where there are more, both counts are halved, which leaves their
/// ratio as it is.
const COUNT_MOST: u64 = (1 << COUNT_BITS) - 1;

/// Bits of the number of a part.
const TICK_BITS: u32 = 24;

/// How many, and how many of them marked, within the last `window`; see the page above.
#[derive(Debug)]
pub struct SharedWindow {
    shards: Box<[Shard]>,
    part: Duration,
    born: Instant,
}

/// One core's counts, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard([AtomicU64; PARTS as usize]);

/// What one core counted in one part: era, number of the part, marked, all, from the top, in one
/// word, so that a reader never sees one without the others.
#[derive(Clone, Copy)]
struct Part(u64);

impl SharedWindow {
    /// However many there were in a window, its sum is at least this once it has been reached: no
    /// halving of a part goes below it.
    pub const SURE: u64 = COUNT_MOST / 2;

    /// An empty window of this length, for so many cores, which begins at `now`. It covers between
    /// nine and ten tenths of `window`.
    pub fn new(window: Duration, cores: usize, now: Instant) -> Self {
        let shards = (0..cores.max(1)).map(|_| Shard::default()).collect();
        let part = (window / PARTS as u32).max(Duration::from_millis(1));
        SharedWindow { shards, part, born: now }
    }

    /// Counts one. Only the worker with this number may call this for `core`. Counts of another
    /// `era` than the one asked for are left out of a sum: a new era forgets what was before.
    pub fn count(&self, core: usize, era: u8, marked: bool, now: Instant) {
        let tick = self.tick(now);
        let Some(shard) = self.shards.get(core) else { return };
        let cell = &shard.0[(tick % PARTS) as usize];
        let before = Part(cell.load(Ordering::Relaxed));
        // Somebody may count as of a moment ago, but a part that is over does not come back.
        let behind = before.era() == era && age(tick, before.tick()) > 1 << (TICK_BITS - 1);
        let same = before.era() == era && before.tick() == tick & mask(TICK_BITS);
        let part = if same || behind { before } else { Part::new(era, tick) };
        cell.store(part.with_one(marked).0, Ordering::Relaxed);
    }

    /// How many there were in the window that ends `now`, and how many of them were marked.
    pub fn sum(&self, era: u8, now: Instant) -> (u64, u64) {
        let tick = self.tick(now);
        let parts = self.shards.iter().flat_map(|shard| &shard.0);
        let parts = parts.map(|cell| Part(cell.load(Ordering::Relaxed)));
        let current = parts.filter(|part| part.era() == era && age(tick, part.tick()) < PARTS);
        current.fold((0, 0), |(all, marked), part| (all + part.all(), marked + part.marked()))
    }

    fn tick(&self, now: Instant) -> u64 {
        // The part before the first one is never counted in, so that an empty word is none.
        let passed = now.saturating_duration_since(self.born).as_nanos() / self.part.as_nanos();
        PARTS + passed as u64
    }
}

impl Part {
    fn new(era: u8, tick: u64) -> Part {
        let tick = tick & mask(TICK_BITS);
        Part((u64::from(era) << TICK_BITS | tick) << (2 * COUNT_BITS))
    }

    fn era(self) -> u8 {
        (self.0 >> (TICK_BITS + 2 * COUNT_BITS)) as u8
    }

    fn tick(self) -> u64 {
        self.0 >> (2 * COUNT_BITS) & mask(TICK_BITS)
    }

    fn marked(self) -> u64 {
        self.0 >> COUNT_BITS & COUNT_MOST
    }

    fn all(self) -> u64 {
        self.0 & COUNT_MOST
    }

    fn with_one(self, marked: bool) -> Part {
        let (mut all, mut of_them) = (self.all(), self.marked());
        if all == COUNT_MOST {
            (all, of_them) = (all / 2, of_them / 2);
        }
        let tag = self.0 >> (2 * COUNT_BITS);
        let counts = (of_them + u64::from(marked)) << COUNT_BITS | (all + 1);
        Part(tag << (2 * COUNT_BITS) | counts)
    }
}

/// How many parts ago `then` was, by the bits that a word has room for.
fn age(tick: u64, then: u64) -> u64 {
    tick.wrapping_sub(then) & mask(TICK_BITS)
}

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn all_cores_count_and_the_old_is_forgotten() {
        let start = clock::now();
        let window = SharedWindow::new(10 * SECOND, 3, start);
        for second in 0..10 {
            window.count(second % 3, 0, second < 4, start + SECOND * second as u32);
        }
        assert_eq!(window.sum(0, start + 9 * SECOND), (10, 4));
        assert_eq!(window.sum(0, start + 10 * SECOND), (9, 3), "the first second is over");
        assert_eq!(window.sum(0, start + 18 * SECOND), (1, 0));
        assert_eq!(window.sum(0, start + 30 * SECOND), (0, 0));
        window.count(0, 0, true, start + 30 * SECOND);
        assert_eq!(window.sum(0, start + 30 * SECOND), (1, 1), "a part is used again");
    }

    #[test]
    fn a_new_era_begins_at_nothing() {
        let start = clock::now();
        let window = SharedWindow::new(10 * SECOND, 1, start);
        (0..5).for_each(|_| window.count(0, 7, true, start));
        assert_eq!(window.sum(8, start), (0, 0));
        window.count(0, 8, false, start);
        assert_eq!((window.sum(8, start), window.sum(7, start)), ((1, 0), (0, 0)));
    }

    #[test]
    fn what_comes_late_counts_where_the_window_is() {
        let start = clock::now();
        let window = SharedWindow::new(10 * SECOND, 1, start);
        window.count(0, 0, false, start + 20 * SECOND);
        window.count(0, 0, false, start + 10 * SECOND);
        assert_eq!(window.sum(0, start + 20 * SECOND), (2, 0));
    }

    #[test]
    fn a_ratio_outlasts_what_a_word_can_count() {
        let start = clock::now();
        let window = SharedWindow::new(10 * SECOND, 1, start);
        (0..1_000_000).for_each(|n| window.count(0, 0, n % 4 == 0, start));
        let (all, marked) = window.sum(0, start);
        assert!((SharedWindow::SURE..=COUNT_MOST).contains(&all), "{all}");
        assert!((marked as f64 / all as f64 - 0.25).abs() < 0.01, "{marked} of {all}");
    }
}
