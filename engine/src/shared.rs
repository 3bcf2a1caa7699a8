//! The primitives that cross cores, all of them, all named `Shared…` (and [`Mailbox`]).
//!
//! A worker owns what it touches; only what is in this file and its folder may be reached from
//! another thread. `clippy.toml` bans the types below everywhere else in the engine and the
//! filters.
//!
//! *Invariant:* nothing here blocks a worker. Its locks are held for one look-up and no system
//! call: that of [`SharedCounts`] when a connection opens or closes, that of [`SharedKeys`] when a
//! key is seen that was not there, that of [`SharedTable`] when a core first asks for a name, that
//! of [`SharedShards`] when a snapshot is adopted or metrics are asked for.
//!
//! *Invariant:* this module imports nothing of the house.
#![expect(clippy::disallowed_types, reason = "this is the file that the ban points to")]

mod breaker;
mod health;
mod keys;
mod map;
mod series;
mod shards;
mod window;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::io::{self, Write};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError};

pub use breaker::{BreakerLimits, BreakerState, PROBES_MOST, Pass, RatioLimit, SharedBreaker};
pub use health::{SharedEpoch, SharedLock, SharedStreak, SharedWord};
pub use keys::{Changed, Rule, SharedKeys};
pub use map::SharedMap;
pub use series::{SharedNames, SharedRing, SharedRow, SharedTally, Words};
pub use shards::SharedShards;
pub use window::SharedWindow;

/// An immutable value that several threads read.
#[derive(Debug, Default)]
pub struct Shared<T: ?Sized>(Arc<T>);

impl<T> Shared<T> {
    /// Puts `value` where every thread can read it.
    pub fn new(value: T) -> Self {
        Shared(Arc::new(value))
    }
}

impl<T: ?Sized> From<Box<T>> for Shared<T> {
    fn from(value: Box<T>) -> Self {
        Shared(value.into())
    }
}

impl<T: ?Sized> Shared<T> {
    /// True when both point to the same value, not merely to equal ones.
    pub fn same(a: &Self, b: &Self) -> bool {
        Arc::ptr_eq(&a.0, &b.0)
    }

    /// Tells this value from every other one that there is at the same time.
    pub fn address(&self) -> usize {
        Arc::as_ptr(&self.0).cast::<()>() as usize
    }

    /// True when nobody else holds it, and so nobody can come to.
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// A number with one writer and any number of readers: a counter or a gauge of one worker.
///
/// One writer means that a load and a store suffice; no locked instruction is paid for a count.
#[derive(Debug, Default)]
pub struct SharedCount(AtomicU64);

impl SharedCount {
    /// Adds `n`. Only the owning worker may call this.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes `n` away, for gauges. Only the owning worker may call this.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// The value as last written; may lag behind by what is in flight between two cores.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that one thread replaces now and then, and that others ask for at any time.
#[derive(Debug)]
pub struct SharedLatest<T> {
    value: ArcSwap<T>,
    version: AtomicU64,
}

impl<T> SharedLatest<T> {
    /// Begins with `value`.
    pub fn new(value: Shared<T>) -> Self {
        SharedLatest { value: ArcSwap::new(value.0), version: AtomicU64::new(0) }
    }

    /// The value as it is now; whoever holds it keeps it.
    pub fn get(&self) -> Shared<T> {
        Shared(self.value.load_full())
    }

    /// Puts another value in its place.
    pub fn set(&self, value: Shared<T>) {
        self.value.store(value.0);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// How often it was replaced. Whoever asks for this first and then for the value has one that
    /// is at least as late, so a core may keep both and ask for the value only when this changes.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

/// A bound that all cores draw on together, exact at any number of cores.
#[derive(Debug)]
pub struct SharedBudget {
    taken: AtomicU64,
    limit: AtomicU64,
}

impl SharedBudget {
    /// A budget of `limit` units, none of them taken.
    pub fn new(limit: u64) -> Self {
        SharedBudget { taken: AtomicU64::new(0), limit: AtomicU64::new(limit) }
    }

    /// Another limit from now on. What is taken stays taken, though it may be more.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The limit as it is now.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Takes one unit; false when all are taken. All cores see this, [`SharedBudget::taken`] and
    /// what is done with a [`SharedFlag`] in one order, so that who takes and then finds a flag
    /// down is seen by whoever looks after the flag is up.
    pub fn take(&self) -> bool {
        let limit = self.limit();
        self.taken
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, |n| (n < limit).then_some(n + 1))
            .is_ok()
    }

    /// Gives one unit back that [`SharedBudget::take`] took.
    pub fn give(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many units are taken now.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }
}

/// A yes or no that one thread raises and others look at.
#[derive(Debug, Default)]
pub struct SharedFlag(AtomicBool);

impl SharedFlag {
    /// Raises the flag; true when it was down, so exactly one caller sees true.
    pub fn raise(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }

    /// Lowers the flag.
    pub fn lower(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// True while the flag is up.
    pub fn is_up(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// How many locks [`SharedCounts`] spreads its keys over.
const STRIPES: usize = 16;

/// Counts by key over all cores, each with the same upper bound. Keys at zero are forgotten, so
/// memory follows what is counted now.
#[derive(Debug)]
pub struct SharedCounts<K> {
    stripes: [Mutex<HashMap<K, u64>>; STRIPES],
    hasher: RandomState,
}

impl<K: Hash + Eq> Default for SharedCounts<K> {
    fn default() -> Self {
        SharedCounts { stripes: Default::default(), hasher: RandomState::new() }
    }
}

impl<K: Hash + Eq> SharedCounts<K> {
    /// Counts `key` up; false, and nothing counted, when it already stands at `limit`.
    pub fn take(&self, key: K, limit: u64) -> bool {
        let mut counts = self.stripe(&key);
        let count = counts.entry(key).or_insert(0);
        let free = *count < limit;
        if free {
            *count += 1;
        }
        free
    }

    /// Counts `key` down again.
    pub fn give(&self, key: &K) {
        let mut counts = self.stripe(key);
        if let Some(count) = counts.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(key);
            }
        }
    }

    fn stripe(&self, key: &K) -> std::sync::MutexGuard<'_, HashMap<K, u64>> {
        let stripe = (self.hasher.hash_one(key) as usize) % STRIPES;
        // A panic while counting leaves a whole number behind, so a poisoned lock is as good.
        self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number that every core adds to, for what is rare: each addition is a locked instruction.
#[derive(Debug, Default)]
pub struct SharedTotal(AtomicU64);

impl SharedTotal {
    /// Adds one.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The number so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Values by name, each made when it is first asked for and the same for every core from then on.
/// A core remembers what it was given, so it asks once.
#[derive(Debug)]
pub struct SharedTable<K, V>(Mutex<BTreeMap<K, Shared<V>>>);

impl<K, V> Default for SharedTable<K, V> {
    fn default() -> Self {
        SharedTable(Mutex::default())
    }
}

impl<K: Ord + Clone, V> SharedTable<K, V> {
    /// The value of `name`, which `make` makes if nobody has asked for it before.
    pub fn get(&self, name: K, make: impl FnOnce() -> V) -> Shared<V> {
        self.lock().entry(name).or_insert_with(|| Shared::new(make())).clone()
    }

    /// All of them, in order.
    pub fn list(&self) -> Vec<(K, Shared<V>)> {
        self.lock().iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<K, Shared<V>>> {
        // A panic in `make` leaves the table as it was, so a poisoned lock is as good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending end of a bounded queue into one thread, with a byte on a socket pair to wake it.
///
/// The byte is coalesced: one is written for any number of messages until the receiver looks.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: Sender<T>,
    bell: Arc<UnixStream>,
    rung: Shared<SharedFlag>,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Mailbox { queue: self.queue.clone(), bell: self.bell.clone(), rung: self.rung.clone() }
    }
}

/// The receiving end of a [`Mailbox`].
#[derive(Debug)]
pub struct Inbox<T> {
    queue: Receiver<T>,
    rung: Shared<SharedFlag>,
}

impl<T> Mailbox<T> {
    /// A mailbox for at most `bound` waiting messages, its inbox, and the socket whose readable
    /// bytes say "look into the inbox".
    ///
    /// # Errors
    /// When the socket pair cannot be made, which is when the process is out of descriptors.
    pub fn new(bound: usize) -> io::Result<(Mailbox<T>, Inbox<T>, UnixStream)> {
        let (sender, receiver) = crossbeam_channel::bounded(bound);
        let (bell, ear) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        let rung = Shared::new(SharedFlag::default());
        let mailbox = Mailbox { queue: sender, bell: Arc::new(bell), rung: rung.clone() };
        Ok((mailbox, Inbox { queue: receiver, rung }, ear))
    }

    /// Queues `message` and wakes the receiver; gives it back when the queue is full or the
    /// receiver is gone. Never blocks.
    ///
    /// # Errors
    /// The message itself, so that nothing is lost.
    pub fn send(&self, message: T) -> Result<(), T> {
        self.queue.try_send(message).map_err(|e| match e {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })?;
        self.ring();
        Ok(())
    }

    /// The same, but waits up to `time` for room: for threads that may, which no worker is.
    ///
    /// # Errors
    /// The message itself, so that nothing is lost.
    pub fn send_within(&self, message: T, time: Duration) -> Result<(), T> {
        self.queue.send_timeout(message, time).map_err(SendTimeoutError::into_inner)?;
        self.ring();
        Ok(())
    }

    fn ring(&self) {
        // The other half of the fence in `heard`.
        fence(Ordering::SeqCst);
        if self.rung.raise() {
            // A full socket holds bytes that will wake the receiver all the same.
            let _ = (&*self.bell).write(&[1]);
        }
    }
}

impl<T> Inbox<T> {
    /// Call when the bell was heard, then take messages until none is left: in this order, a
    /// message sent in between rings again.
    pub fn heard(&self) {
        self.rung.lower();
        // Nothing may be looked for before others can see the flag down, or a message queued in
        // between would neither be found nor ring: a store and a later load need a full fence.
        fence(Ordering::SeqCst);
    }

    /// The next message that waits, if one does.
    pub fn take(&self) -> Option<T> {
        self.queue.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::thread;

    #[test]
    fn a_budget_is_exact_over_threads() {
        let budget = Shared::new(SharedBudget::new(1_000));
        let takers: Vec<_> = (0..4)
            .map(|_| {
                let budget = budget.clone();
                thread::spawn(move || (0..1_000).filter(|_| budget.take()).count())
            })
            .collect();
        let granted: usize = takers.into_iter().map(|t| t.join().unwrap()).sum();
        assert_eq!(granted, 1_000);
        budget.give();
        assert!(budget.take());
        assert!(!budget.take());
    }

    #[test]
    fn the_latest_value_is_seen_by_other_threads_and_the_one_before_stays_whole() {
        let latest = Shared::new(SharedLatest::new(Shared::new(1)));
        let (before, version) = (latest.get(), latest.version());
        let elsewhere = latest.clone();
        thread::spawn(move || elsewhere.set(Shared::new(2))).join().unwrap();
        assert_ne!(latest.version(), version);
        assert_eq!((*before, *latest.get()), (1, 2));
    }

    #[test]
    fn counts_are_bounded_by_key_and_forget_zero() {
        let counts = SharedCounts::default();
        assert!(counts.take("a", 2) && counts.take("a", 2));
        assert!(!counts.take("a", 2));
        assert!(counts.take("b", 2));
        counts.give(&"a");
        assert!(counts.take("a", 2));
        counts.give(&"a");
        counts.give(&"a");
        assert!(counts.stripes.iter().all(|s| !s.lock().unwrap().contains_key("a")));
    }

    #[test]
    fn many_messages_ring_once_and_none_is_lost() {
        let (mailbox, inbox, mut ear) = Mailbox::new(8).unwrap();
        for n in 0..8 {
            mailbox.send(n).unwrap();
        }
        assert_eq!(mailbox.send(8), Err(8), "a full mailbox gives the message back");
        let patience = Duration::from_millis(1);
        assert_eq!(mailbox.send_within(8, patience), Err(8), "and so it does when it stays full");
        let mut byte = [0; 16];
        assert_eq!(ear.read(&mut byte).unwrap(), 1, "eight messages ring once");
        inbox.heard();
        assert_eq!(
            std::iter::from_fn(|| inbox.take()).collect::<Vec<_>>(),
            (0..8).collect::<Vec<_>>()
        );
        mailbox.send(9).unwrap();
        assert_eq!(ear.read(&mut byte).unwrap(), 1, "after `heard` the bell rings again");
    }
}
