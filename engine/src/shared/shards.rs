//! What each core counts by itself, where others can sum it up.
#![expect(clippy::disallowed_types, reason = "this folder is the place that the ban points to")]

use std::sync::{Mutex, PoisonError};

use super::{Shared, SharedCount};

/// A part for each core that asks for one, made when it does: counters that only their core
/// writes ([`SharedCount`]), and that anybody may sum.
#[derive(Debug, Default)]
pub struct SharedShards<T>(Mutex<Vec<Option<Shared<T>>>>);

impl<T: Default> SharedShards<T> {
    /// The part of this core. Takes a lock, so ask once, when an instance is made.
    pub fn of(&self, core: usize) -> Shared<T> {
        // A panic leaves whole parts behind, so a poisoned lock is as good.
        let mut shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shards.len() <= core {
            shards.resize_with(core + 1, || None);
        }
        shards[core].get_or_insert_with(|| Shared::new(T::default())).clone()
    }

    /// One of the counters, summed over all cores.
    pub fn sum(&self, counter: impl Fn(&T) -> &SharedCount) -> u64 {
        let shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shards.iter().flatten().map(|shard| counter(shard).get()).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_core_has_its_own_and_all_are_summed() {
        let shards = SharedShards::<SharedCount>::default();
        shards.of(3).add(2);
        shards.of(0).add(1);
        shards.of(3).add(4);
        assert_eq!((shards.of(3).get(), shards.of(1).get()), (6, 0));
        assert_eq!(shards.sum(|count| count), 7);
    }
}
