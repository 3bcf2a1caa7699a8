//! What is counted by name: numbers for names that all cores agree on, a row of values for each
//! core, a tally of words, and the last few of something. None of them has a lock.
#![expect(clippy::disallowed_types, reason = "the ban points to this folder")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use super::{Shared, SharedCount};

/// Names and the numbers by which all cores know them, from 0. A name keeps its number, and there
/// is a bound on names, so that what is counted by them cannot grow for ever.
#[derive(Debug)]
pub struct SharedNames(Box<[OnceLock<Box<str>>]>);

impl SharedNames {
    /// Room for so many names.
    pub fn new(bound: usize) -> Self {
        SharedNames((0..bound).map(|_| OnceLock::new()).collect())
    }

    /// The number of `name`, which it is given now if it has none; `None` when there is no room.
    /// Looks at every name before it: remember what it says.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|slot| &**slot.get_or_init(|| name.into()) == name)
    }

    /// The name with this number.
    pub fn name(&self, number: usize) -> Option<&str> {
        self.0.get(number)?.get().map(|name| &**name)
    }
}

/// One core's values by number, each made when it is first needed. Others may read them.
#[derive(Debug)]
pub struct SharedRow<T>(Box<[OnceLock<Box<T>>]>);

impl<T> SharedRow<T> {
    /// Room for so many values, none of them made.
    pub fn new(bound: usize) -> Self {
        SharedRow((0..bound).map(|_| OnceLock::new()).collect())
    }

    /// The value with this number, made by `make` when there is none; `None` out of bounds.
    pub fn get_or_make(&self, number: usize, make: impl FnOnce() -> T) -> Option<&T> {
        self.0.get(number).map(|slot| &**slot.get_or_init(|| Box::new(make())))
    }

    /// The values that were made, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let values = self.0.iter().enumerate();
        values.filter_map(|(number, slot)| slot.get().map(|value| (number, &**value)))
    }
}

/// Pairs of words that a [`SharedTally`] tells apart; what is beyond them counts as the last.
const WORDS: usize = 64;

/// A pair of words that the program itself has written.
pub type Words = (&'static str, &'static str);

/// How often one core came across each of a few pairs of words.
#[derive(Debug)]
pub struct SharedTally(Box<[(OnceLock<Words>, SharedCount)]>);

impl Default for SharedTally {
    fn default() -> Self {
        SharedTally((0..WORDS).map(|_| Default::default()).collect())
    }
}

impl SharedTally {
    /// Counts `words`. Only the owning worker may call this.
    pub fn add(&self, words: Words) {
        let its = self.0.iter().find(|(known, _)| *known.get_or_init(|| words) == words);
        if let Some((_, count)) = its.or(self.0.last()) {
            count.add(1);
        }
    }

    /// Every pair that was counted, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Words, u64)> {
        self.0.iter().filter_map(|(words, count)| words.get().map(|words| (*words, count.get())))
    }
}

/// The last few of something that any thread may add to.
#[derive(Debug)]
pub struct SharedRing<T> {
    slots: Box<[ArcSwapOption<(u64, T)>]>,
    added: AtomicU64,
}

impl<T: Clone> SharedRing<T> {
    /// Keeps the last `bound`, which is more than none.
    pub fn new(bound: usize) -> Self {
        let slots = (0..bound.max(1)).map(|_| ArcSwapOption::empty()).collect();
        SharedRing { slots, added: AtomicU64::new(0) }
    }

    /// Adds one in the place of the oldest.
    pub fn push(&self, value: T) {
        let number = self.added.fetch_add(1, Ordering::Relaxed);
        let slot = number as usize % self.slots.len();
        self.slots[slot].store(Some(Shared::new((number, value)).0));
    }

    /// What there is, the latest first.
    pub fn latest(&self) -> Vec<T> {
        let mut kept: Vec<_> = self.slots.iter().filter_map(|slot| slot.load_full()).collect();
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.0));
        kept.iter().map(|kept| kept.1.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn all_cores_agree_on_the_numbers_of_names() {
        let names = Shared::new(SharedNames::new(100));
        let numbers = || {
            let names = names.clone();
            move || (0..150).map(|n| names.number(&format!("n{n}"))).collect::<Vec<_>>()
        };
        let cores: Vec<_> = (0..4).map(|_| thread::spawn(numbers())).collect();
        let all: Vec<Vec<_>> = cores.into_iter().map(|core| core.join().unwrap()).collect();
        assert!(all.iter().all(|core| *core == all[0]));
        assert_eq!(all[0].iter().flatten().count(), 100);
        let number = names.number("n7").unwrap();
        assert_eq!(names.name(number), Some("n7"));
        assert_eq!(names.name(100), None);
    }

    #[test]
    fn a_row_is_made_value_by_value() {
        let row = SharedRow::new(3);
        assert_eq!(row.iter().count(), 0);
        assert_eq!(row.get_or_make(2, || "c"), Some(&"c"));
        assert_eq!(row.get_or_make(2, || panic!("it is there")), Some(&"c"));
        assert_eq!(row.get_or_make(3, || "d"), None);
        assert_eq!(row.iter().collect::<Vec<_>>(), [(2, &"c")]);
    }

    #[test]
    fn a_tally_counts_words_and_is_bounded() {
        let tally = SharedTally::default();
        (0..3).for_each(|_| tally.add(("a", "b")));
        tally.add(("a", "c"));
        assert_eq!(tally.iter().collect::<Vec<_>>(), [(("a", "b"), 3), (("a", "c"), 1)]);
        for number in 0..100 {
            tally.add(("n", format!("{number}").leak()));
        }
        assert_eq!(tally.iter().count(), WORDS);
        assert_eq!(tally.iter().map(|(_, count)| count).sum::<u64>(), 104);
    }

    #[test]
    fn a_ring_keeps_the_latest() {
        let ring = SharedRing::new(3);
        assert_eq!(ring.latest(), [0; 0]);
        (0..5).for_each(|number| ring.push(number));
        assert_eq!(ring.latest(), [4, 3, 2]);
    }
}
