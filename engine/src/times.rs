//! When the steps of an exchange came to pass.

use std::time::{Duration, Instant};

/// The steps of an exchange on the upstream's side, as they come to pass. An exchange that never
/// went upstream has none of them.
///
/// They cost two readings of the clock for an answer that comes in one piece on a pooled
/// connection, and one more each for a new connection and for a body that is relayed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When the attempt under way began.
    attempt: Option<Instant>,
    /// How long connections to upstreams took to be made, over all attempts; zero where the pool
    /// had one.
    pub connect: Duration,
    /// When the first byte of the answer was there, that of the last attempt.
    pub first_byte: Option<Instant>,
    /// When the last byte of the answer was there.
    pub last_byte: Option<Instant>,
    /// How long the attempts took that are over.
    spent: Duration,
    /// When the gateway's own answer had been sent, where it then waited for a body to drop.
    pub(crate) answered: Option<Instant>,
}

impl Times {
    /// An attempt begins.
    pub(crate) fn attempt_begins(&mut self, now: Instant) {
        self.attempt = Some(now);
        (self.first_byte, self.last_byte) = (None, None);
    }

    /// A new connection was made for it.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.connect += self.attempt.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
    }

    /// The attempt came to nothing that the client is answered with.
    pub(crate) fn attempt_ends(&mut self, now: Instant) {
        let began = self.attempt.take();
        self.spent += began.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
    }

    /// How long the upstream had the exchange: from the beginning of each attempt to its last byte
    /// or its failure. Waiting for a client that takes its response slowly is in it, as no more
    /// is read from the upstream meanwhile.
    pub fn upstream(&self, ended: Instant) -> Duration {
        let until = self.last_byte.unwrap_or(ended);
        self.spent + self.attempt.map_or(Duration::ZERO, |at| until.saturating_duration_since(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn every_attempt_is_the_upstreams_time_and_pauses_are_not() {
        let start = clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut times = Times::default();
        assert_eq!(times.upstream(at(5)), Duration::ZERO);
        times.attempt_begins(at(10));
        times.connected(at(12));
        times.attempt_ends(at(20));
        times.attempt_begins(at(50));
        times.connected(at(51));
        times.first_byte = Some(at(60));
        assert_eq!(times.upstream(at(100)), Duration::from_millis(60), "an answer under way");
        times.last_byte = Some(at(70));
        assert_eq!(times.upstream(at(100)), Duration::from_millis(30));
        assert_eq!(times.connect, Duration::from_millis(3));
    }
}
