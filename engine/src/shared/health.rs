//! What cores tell each other of an endpoint: a word with what is known of it, a number that says
//! that words have changed, failures in a row, and a lock for threads that are no workers.
#![expect(clippy::disallowed_types, reason = "this is one of the files that the ban points to")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A number that anybody may set and anybody reads, each time as a whole.
#[derive(Debug, Default)]
pub struct SharedWord(AtomicU64);

impl SharedWord {
    /// A word with this value.
    pub fn new(value: u64) -> Self {
        SharedWord(AtomicU64::new(value))
    }

    /// The value as it was set last.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it, and says whether that changed anything.
    pub fn set(&self, value: u64) -> bool {
        self.0.swap(value, Ordering::Relaxed) != value
    }
}

/// Says that something else has changed: who sees another number than last time looks again.
#[derive(Debug, Default)]
pub struct SharedEpoch(AtomicU64);

impl SharedEpoch {
    /// Says so. What was written before is seen by whoever sees the new number.
    pub fn bump(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// The number now; a plain load on the processors that Ringway is made for.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// How often something has failed in a row, over all cores.
///
/// Cores do not wait for each other here: a success of one and a failure of another at the same
/// moment may come in either order, as they may on the wire.
#[derive(Debug, Default)]
pub struct SharedStreak(AtomicU64);

impl SharedStreak {
    /// One more failure; says how many there are in a row now.
    pub fn failed(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A success, or a new beginning. Costs a load while there is nothing to forget.
    pub fn end(&self) {
        if self.get() != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    /// How many in a row there are now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that several threads change, one at a time. Not for workers: it blocks.
#[derive(Debug, Default)]
pub struct SharedLock<T>(Mutex<T>);

impl<T> SharedLock<T> {
    /// Puts `value` behind the lock.
    pub fn new(value: T) -> Self {
        SharedLock(Mutex::new(value))
    }

    /// Waits for its turn. A panic of another holder is no reason not to go on: what is kept here
    /// is changed in steps that are whole.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Shared;
    use std::thread;

    #[test]
    fn who_sees_the_epoch_sees_the_word() {
        let (epoch, word) = (Shared::new(SharedEpoch::default()), Shared::new(SharedWord::new(0)));
        let written = (epoch.clone(), word.clone());
        let writing = thread::spawn(move || {
            for n in 1..=10_000 {
                assert!(written.1.set(n));
                written.0.bump();
            }
        });
        let mut seen = 0;
        while seen < 10_000 {
            seen = epoch.get();
            assert!(word.get() >= seen, "epoch {seen}, word {}", word.get());
        }
        writing.join().unwrap();
        assert!(!word.set(10_000), "nothing changed");
    }

    #[test]
    fn exactly_one_failure_of_many_at_once_is_the_nth() {
        let streak = Shared::new(SharedStreak::default());
        let failing: Vec<_> = (0..4)
            .map(|_| {
                let streak = streak.clone();
                thread::spawn(move || (0..1_000).filter(|_| streak.failed() == 1_500).count())
            })
            .collect();
        let nth: usize = failing.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!((nth, streak.get()), (1, 4_000));
        streak.end();
        assert_eq!(streak.failed(), 1);
    }

    #[test]
    fn a_lock_outlives_a_panic() {
        let lock = Shared::new(SharedLock::new(1));
        let other = lock.clone();
        let lost = thread::spawn(move || {
            let _held = other.lock();
            panic!("while it is held");
        });
        assert!(lost.join().is_err());
        *lock.lock() += 1;
        assert_eq!(*lock.lock(), 2);
    }
}
