//! What one core remembers of credentials that were good: bounded, and quick to ask.

use std::hash::{BuildHasher, RandomState};

use indexmap::IndexMap;

/// How many bytes at the end of a credential are hashed. A token ends with its signature, in which
/// two tokens differ; whatever is found is compared as a whole.
const HASHED: usize = 64;

/// Values by a keyed hash. When it is full, a value leaves that was not asked for since the hand
/// last passed it (the clock algorithm).
pub(super) struct Memory<T> {
    entries: IndexMap<u64, Entry<T>, RandomState>,
    hand: usize,
    bound: usize,
}

struct Entry<T> {
    value: T,
    used: bool,
}

impl<T> Memory<T> {
    /// An empty memory for so many values. It takes room as it fills.
    pub(super) fn new(bound: usize) -> Self {
        Memory { entries: IndexMap::default(), hand: 0, bound }
    }

    /// Where a credential is kept. The hash is keyed anew for each memory, so that nobody can
    /// choose credentials that meet in one place.
    pub(super) fn place(&self, credential: &[u8]) -> u64 {
        let from = credential.len().saturating_sub(HASHED);
        self.entries.hasher().hash_one(&credential[from..])
    }

    /// The value at a place, if it is the one that is meant.
    pub(super) fn find(&mut self, place: u64, meant: impl FnOnce(&T) -> bool) -> Option<&T> {
        let entry = self.entries.get_mut(&place).filter(|entry| meant(&entry.value))?;
        entry.used = true;
        Some(&entry.value)
    }

    /// Puts a value at a place, instead of whatever is there.
    pub(super) fn put(&mut self, place: u64, value: T) {
        while self.entries.len() >= self.bound && !self.entries.contains_key(&place) {
            self.hand %= self.entries.len();
            let entry = &mut self.entries[self.hand];
            if std::mem::take(&mut entry.used) {
                self.hand += 1;
            } else {
                self.entries.swap_remove_index(self.hand);
            }
        }
        self.entries.insert(place, Entry { value, used: false });
    }

    /// Forgets what is at a place.
    pub(super) fn forget(&mut self, place: u64) {
        self.entries.swap_remove(&place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_leaves() {
        let mut memory = Memory::new(4);
        for value in 0..4u64 {
            memory.put(value, value);
        }
        for value in 4..100 {
            assert_eq!(memory.find(0, |_| true), Some(&0), "before {value}");
            memory.put(value, value);
            assert_eq!(memory.entries.len(), 4);
        }
    }

    #[test]
    fn only_what_is_meant_is_found() {
        let mut memory = Memory::new(4);
        memory.put(7, "a");
        assert_eq!(memory.find(7, |value| *value == "b"), None);
        memory.put(7, "b");
        assert_eq!(memory.find(7, |value| *value == "b"), Some(&"b"));
        memory.forget(7);
        assert_eq!(memory.find(7, |_| true), None);
    }

    #[test]
    fn the_place_depends_on_the_end_and_on_the_memory() {
        let memory = Memory::<()>::new(1);
        let long = [[b'a'; 100], [b'b'; 100]].concat();
        assert_eq!(memory.place(&long), memory.place(&long[100..]));
        assert_ne!(memory.place(b"a"), memory.place(b"b"));
        assert_ne!(memory.place(b"a"), Memory::<()>::new(1).place(b"a"));
    }
}
