//! What is published as a whole: who reads sees one state of it, and never waits.

use arc_swap::ArcSwap;

use super::Shared;

/// A value that is replaced as a whole now and then, and read from anywhere without a lock.
#[derive(Debug)]
pub struct SharedLatest<T>(ArcSwap<T>);

impl<T> SharedLatest<T> {
    /// Begins with `value`.
    pub fn new(value: Shared<T>) -> Self {
        SharedLatest(ArcSwap::new(value.0))
    }

    /// The value that was published last.
    pub fn load(&self) -> Shared<T> {
        Shared(self.0.load_full())
    }

    /// Publishes `value` instead.
    pub fn store(&self, value: Shared<T>) {
        self.0.store(value.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_read_keeps_what_was_there() {
        let latest = SharedLatest::new(Shared::new(1));
        let before = latest.load();
        latest.store(Shared::new(2));
        assert_eq!((*before, *latest.load()), (1, 2));
    }
}
