//! A word of state for each of many keys, in memory of a bounded size.
#![expect(clippy::disallowed_types, reason = "this folder is the place that the ban points to")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Keys of one bucket; their tags fill one cache line.
const WAYS: usize = 8;

/// Buckets of one segment. Memory comes a segment at a time (8 KiB), so that a table of which
/// little is used costs little.
const SEGMENT: usize = 64;

/// A word of state for each key, exact over all cores, with room for a bounded number of keys.
///
/// A key stands in one of two buckets. To find it and to change its state takes no lock; only a
/// key that was not there takes one, for the few instructions that find it a place. When both
/// buckets are full, whoever is idle leaves, for an idle key has the state that a new one has, so
/// nothing is lost. Where nobody is idle, the one that would have been soonest leaves, and that is
/// told ([`Changed::evicted`]).
///
/// *Invariant:* while no key is evicted that is not idle, each change is made to the state that
/// the last change of the same key left behind.
#[derive(Debug)]
pub struct SharedKeys {
    segments: Box<[OnceLock<Segment>]>,
    buckets: usize,
}

/// Some of the buckets, and the lock that their newcomers take.
#[derive(Debug)]
struct Segment {
    buckets: Box<[Bucket]>,
    newcomers: Mutex<()>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket {
    /// The key of each place; 0 for none.
    tags: [AtomicU64; WAYS],
    states: [AtomicU64; WAYS],
}

/// What decides about the state of a key.
pub trait Rule {
    /// What a change tells whoever asked for it.
    type Answer;

    /// The next state, or none when it stays; called again when another core was faster. A key
    /// that was never seen has the state 0.
    fn change(&self, state: u64) -> (Option<u64>, Self::Answer);

    /// How long until a key with this state may be forgotten, because it then is as good as one
    /// that was never seen; 0 for at once. Any unit will do.
    fn idle_in(&self, state: u64) -> u64;
}

/// What came of [`SharedKeys::change`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed<T> {
    /// What the rule answered.
    pub answer: T,
    /// A key that was not idle had to leave.
    pub evicted: bool,
}

/// A place in a bucket.
type Place<'a> = (&'a Bucket, usize);

impl SharedKeys {
    /// Room for about this many keys, and never for half as many again and a few.
    pub fn new(keys: usize) -> Self {
        // With two buckets to choose from, a table that is three quarters full still has a place
        // for nearly everybody.
        let buckets = (keys.saturating_mul(4) / 3).div_ceil(WAYS).max(2);
        let segments = buckets.div_ceil(SEGMENT);
        let segments = std::iter::repeat_with(OnceLock::new).take(segments).collect();
        SharedKeys { segments, buckets }
    }

    /// Changes the state of `key` as `rule` says. `key` is the hash of whatever it stands for, by
    /// a secret seed: two keys of the same hash share a state.
    pub fn change<R: Rule>(&self, key: u64, rule: &R) -> Changed<R::Answer> {
        let (segment, both) = self.buckets(key);
        let tag = key.max(1);
        loop {
            if let Some(place) = find(both, tag) {
                if let Some(answer) = change_at(place, tag, rule) {
                    return Changed { answer, evicted: false };
                }
            } else if let Some(changed) = segment.welcome(both, tag, rule) {
                return changed;
            }
        }
    }

    /// How many keys have a place, idle ones included.
    pub fn len(&self) -> usize {
        let segments = self.segments.iter().filter_map(OnceLock::get);
        let buckets = segments.flat_map(|segment| &segment.buckets);
        let tags = buckets.flat_map(|bucket| &bucket.tags);
        tags.filter(|tag| tag.load(Ordering::Relaxed) != 0).count()
    }

    /// True when no key was seen yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The two buckets of a key, which are of the same segment, and maybe the same one.
    fn buckets(&self, key: u64) -> (&Segment, [&Bucket; 2]) {
        let first = below(key, self.buckets);
        let at = first / SEGMENT;
        let count = (self.buckets - at * SEGMENT).min(SEGMENT);
        let segment = self.segments[at].get_or_init(|| Segment {
            buckets: std::iter::repeat_with(Bucket::default).take(count).collect(),
            newcomers: Mutex::default(),
        });
        // The first bucket comes of the upper half of the hash, the second of the lower.
        let second = below(key << 32, count);
        (segment, [&segment.buckets[first % SEGMENT], &segment.buckets[second]])
    }
}

impl Segment {
    /// Gives a newcomer a place; none when it has one by now.
    fn welcome<R: Rule>(
        &self,
        both: [&Bucket; 2],
        tag: u64,
        rule: &R,
    ) -> Option<Changed<R::Answer>> {
        // Nothing is half done when a panic leaves this lock, so a poisoned one is as good.
        let _alone = self.newcomers.lock().unwrap_or_else(PoisonError::into_inner);
        if find(both, tag).is_some() {
            return None;
        }
        let (next, answer) = rule.change(0);
        // Nothing to remember about a key that is as good as unseen.
        let Some(next) = next else { return Some(Changed { answer, evicted: false }) };
        loop {
            let (place, state, idle_in) = poorest(both, rule);
            let (bucket, at) = place;
            let before = bucket.tags[at].swap(0, Ordering::AcqRel);
            // Whoever found the old key here before its tag went may still change its state, and
            // is then not idle any more: another place is taken instead.
            let states = &bucket.states[at];
            if states.compare_exchange(state, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                bucket.tags[at].store(tag, Ordering::Release);
                return Some(Changed { answer, evicted: before != 0 && idle_in > 0 });
            }
            bucket.tags[at].store(before, Ordering::Release);
        }
    }
}

/// Where the key stands.
fn find(both: [&Bucket; 2], tag: u64) -> Option<Place<'_>> {
    both.into_iter().find_map(|bucket| {
        let at = bucket.tags.iter().position(|other| other.load(Ordering::Acquire) == tag)?;
        Some((bucket, at))
    })
}

/// Changes the state there, if the place still is the key's.
fn change_at<R: Rule>((bucket, at): Place<'_>, tag: u64, rule: &R) -> Option<R::Answer> {
    let states = &bucket.states[at];
    let mut state = states.load(Ordering::Acquire);
    loop {
        // A newcomer takes the tag away before it writes the state. While the tag is the same
        // after the state was read, the state was this key's.
        if bucket.tags[at].load(Ordering::Acquire) != tag {
            return None;
        }
        let (next, answer) = rule.change(state);
        let Some(next) = next else { return Some(answer) };
        match states.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(answer),
            Err(other) => state = other,
        }
    }
}

/// The place that can best be given away, its state, and how long until it is idle: one that is
/// empty or idle, of the bucket that has more of these, or else the one that is idle soonest.
fn poorest<'a, R: Rule>(both: [&'a Bucket; 2], rule: &R) -> (Place<'a>, u64, u64) {
    let seen = both.map(|bucket| Seen::of(bucket, rule));
    let better = match &seen {
        [first, second] if first.free == 0 && second.free == 0 => {
            usize::from(second.idle_in < first.idle_in)
        }
        [first, second] => usize::from(second.free > first.free),
    };
    let Seen { at, state, idle_in, .. } = seen[better];
    ((both[better], at), state, idle_in)
}

/// What a newcomer sees in a bucket.
struct Seen {
    /// Places that are empty or idle.
    free: usize,
    /// The best of all places: an empty one, else the one that is idle soonest.
    at: usize,
    state: u64,
    idle_in: u64,
}

impl Seen {
    fn of<R: Rule>(bucket: &Bucket, rule: &R) -> Seen {
        let mut best = Seen { free: 0, at: 0, state: 0, idle_in: u64::MAX };
        let mut best_is_empty = false;
        for at in 0..WAYS {
            let state = bucket.states[at].load(Ordering::Acquire);
            let is_empty = bucket.tags[at].load(Ordering::Relaxed) == 0;
            let idle_in = if is_empty { 0 } else { rule.idle_in(state) };
            if at == 0 || idle_in < best.idle_in || (is_empty && !best_is_empty) {
                best = Seen { at, state, idle_in, ..best };
                best_is_empty = is_empty;
            }
            best.free += usize::from(idle_in == 0);
        }
        best
    }
}

/// A number from `0..bound`, evenly, of the upper bits of a hash.
fn below(hash: u64, bound: usize) -> usize {
    ((u128::from(hash) * bound as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};
    use std::thread;

    use super::*;
    use crate::shared::Shared;

    /// Counts up to a bound; a key is idle while its count is at most `idle`.
    struct Count {
        most: u64,
        idle: u64,
    }

    impl Rule for Count {
        type Answer = bool;

        fn change(&self, state: u64) -> (Option<u64>, bool) {
            ((state < self.most).then_some(state + 1), state < self.most)
        }

        fn idle_in(&self, state: u64) -> u64 {
            state.saturating_sub(self.idle)
        }
    }

    fn hash(seed: &RandomState, key: u64) -> u64 {
        seed.hash_one(key)
    }

    #[test]
    fn every_key_has_a_state_of_its_own() {
        let (keys, seed) = (SharedKeys::new(2_000), RandomState::new());
        let rule = Count { most: 3, idle: 0 };
        for _ in 0..3 {
            for key in 0..1_000 {
                let changed = keys.change(hash(&seed, key), &rule);
                assert_eq!(changed, Changed { answer: true, evicted: false }, "{key}");
            }
        }
        for key in 0..1_000 {
            assert!(!keys.change(hash(&seed, key), &rule).answer, "{key}");
        }
        assert_eq!(keys.len(), 1_000);
    }

    #[test]
    fn a_table_holds_what_it_promises_and_never_much_more() {
        for most in [1, 8, 100, 10_000] {
            let (keys, seed) = (SharedKeys::new(most), RandomState::new());
            let rule = Count { most: 1, idle: 0 };
            let evicted = |range: std::ops::Range<u64>| {
                range.filter(|&key| keys.change(hash(&seed, key), &rule).evicted).count()
            };
            let early = evicted(0..most as u64);
            assert!(early * 100 <= most, "{early} of the first {most} drove others out");
            let late = evicted(most as u64..10 * most as u64 + 100);
            assert!(late > 0, "{most}");
            assert!(keys.len() <= most * 3 / 2 + 2 * WAYS, "{} keys, {most} wanted", keys.len());
        }
    }

    #[test]
    fn idle_keys_leave_first_and_cost_nothing() {
        let (keys, seed) = (SharedKeys::new(64), RandomState::new());
        let busy = Count { most: 100, idle: 1 };
        for key in 0..32 {
            (0..3).for_each(|_| assert!(!keys.change(hash(&seed, key), &busy).evicted));
        }
        for key in 32..10_000 {
            assert!(!keys.change(hash(&seed, key), &busy).evicted, "{key} drove a busy one out");
        }
        let full = Count { most: 3, idle: 1 };
        for key in 0..32 {
            assert!(!keys.change(hash(&seed, key), &full).answer, "{key} was forgotten");
        }
    }

    #[test]
    fn a_key_of_which_nothing_is_to_be_remembered_takes_no_place() {
        let keys = SharedKeys::new(8);
        assert!(!keys.change(7, &Count { most: 0, idle: 0 }).answer);
        assert!(keys.is_empty());
    }

    /// Each of a few keys, old and new ones mixed, is asked for by all threads at once.
    #[test]
    fn keys_are_exact_over_threads() {
        const KEYS: u64 = 500;
        const EACH: u64 = 40;
        let keys = Shared::new(SharedKeys::new(2 * KEYS as usize));
        let seed = RandomState::new();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (keys, seed) = (keys.clone(), seed.clone());
                thread::spawn(move || {
                    let rule = Count { most: EACH, idle: 0 };
                    let ask = |key| keys.change(hash(&seed, key), &rule);
                    let rounds = (0..EACH).flat_map(|_| 0..KEYS);
                    rounds.map(ask).filter(|changed| changed.answer && !changed.evicted).count()
                })
            })
            .collect();
        let granted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(granted as u64, KEYS * EACH);
    }

    /// Newcomers drive idle keys out while others still use them: no grant is lost or made twice.
    #[test]
    fn an_idle_key_that_comes_back_in_time_stays() {
        let keys = Shared::new(SharedKeys::new(8));
        let counter = keys.clone();
        let stranger = thread::spawn(move || {
            let seed = RandomState::new();
            let idle = Count { most: u64::MAX, idle: u64::MAX };
            for key in 0..100_000 {
                counter.change(hash(&seed, key), &idle);
            }
        });
        // To this thread its key is never idle, but to the stranger it always is: what it counts
        // falls back to nothing, and never to anything else.
        struct Told;
        impl Rule for Told {
            type Answer = u64;
            fn change(&self, state: u64) -> (Option<u64>, u64) {
                (Some(state + 1), state)
            }
            fn idle_in(&self, state: u64) -> u64 {
                state
            }
        }
        let mut last = None;
        for _ in 0..100_000 {
            let told = keys.change(42 << 32, &Told).answer;
            assert!(told == 0 || Some(told) == last.map(|last| last + 1), "{told} after {last:?}");
            last = Some(told);
        }
        stranger.join().unwrap();
    }
}
