//! A few values by key.
#![expect(clippy::disallowed_types, reason = "the ban points to this folder")]

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A few values by key, looked up when a snapshot is adopted or a scrape comes, never on the way
/// of a request: the lock is held for one look-up among a handful.
#[derive(Debug)]
pub struct SharedMap<K, V>(Mutex<Vec<(K, V)>>);

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        SharedMap(Mutex::default())
    }
}

impl<K: PartialEq + Clone, V: Clone> SharedMap<K, V> {
    /// The value of `key`, made by `make` when there is none.
    pub fn get_or_insert_with(&self, key: K, make: impl FnOnce(&K) -> V) -> V {
        let mut entries = self.lock();
        if let Some((_, value)) = entries.iter().find(|(known, _)| *known == key) {
            return value.clone();
        }
        let value = make(&key);
        entries.push((key, value.clone()));
        value
    }

    /// Keeps the entries that `keep` says true of.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.lock().retain(|(key, value)| keep(key, value));
    }

    /// All there is, in the order in which it came.
    pub fn entries(&self) -> Vec<(K, V)> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(K, V)>> {
        // A panic while an entry is made leaves the list as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_once() {
        let map = SharedMap::default();
        assert_eq!(map.get_or_insert_with("a", |_| 1), 1);
        assert_eq!(map.get_or_insert_with("a", |_| panic!("it is there")), 1);
        assert_eq!(map.get_or_insert_with("b", |_| 2), 2);
        assert_eq!(map.entries(), [("a", 1), ("b", 2)]);
        map.retain(|key, _| *key == "b");
        assert_eq!(map.entries(), [("b", 2)]);
    }
}
