//! Credits that a core holds for itself for a short while, so that not each request has to reach
//! for the word that all cores share.
//!
//! Why the sum over all cores stays exact: credits are taken from a bucket whose depth is less
//! than the burst by what the rate fills in one [`Lease`]'s span `d`, and are used within `d` or
//! never. Requests that pass in `[s, e]` use credits taken in `(s − d, e]`, of which the bucket
//! gives at most its depth and what `e − s + d` fills: `burst − rate·d + rate·(e − s + d)`, which
//! is `burst + rate·(e − s)`.
//!
//! A core takes as many at once as it uses in an eighth of the span, so what it holds when its
//! clients turn away is little, and is lost to the bucket only once. Nothing is given back: what
//! came back could be lent again, and be older in the end than `d`.

use super::algorithm::{Algorithm, SECOND, Taken};

/// The longest that a core holds credits.
const LEASE_SPAN: u64 = SECOND / 100;

/// The share of a burst that may be on lease: so much less is there at once.
const LEASE_SHARE: u64 = 100;

/// Credits that all cores take together in the span of a lease, at least: with fewer, each request
/// takes its own.
const LEASE_CREDITS: u64 = 32;

/// Parts of the span for which a core takes credits at once.
const PARTS: u64 = 8;

/// How a core leases credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeaseTerms {
    /// For how long.
    pub(super) span: u64,
    /// How many at once.
    pub(super) most: u64,
}

/// Makes room for leases in a bucket that is large and fast enough for them (see above).
pub(super) fn leased(algorithm: Algorithm) -> (Algorithm, Option<LeaseTerms>) {
    if let Algorithm::TokenBucket { interval, depth } = algorithm {
        let span = LEASE_SPAN.min(depth / LEASE_SHARE);
        let credits = span / interval;
        if credits >= LEASE_CREDITS {
            let terms = LeaseTerms { span, most: credits / 8 };
            return (Algorithm::TokenBucket { interval, depth: depth - span }, Some(terms));
        }
    }
    (algorithm, None)
}

/// What one core holds of one bucket.
#[derive(Debug, Clone, Default)]
pub(super) struct Lease {
    /// Credits left.
    credits: u64,
    /// How many there were.
    taken: u64,
    /// When they were taken, and when they are void.
    since: u64,
    until: u64,
    /// The bucket has nothing before.
    nothing_before: u64,
}

impl Lease {
    /// Takes one credit: of those held, or with `refill`, which takes up to so many at once of
    /// the bucket. `span` is how long they may be held, and `most` how many at once.
    pub(super) fn take(
        &mut self,
        now: u64,
        span: u64,
        most: u64,
        refill: impl FnOnce(u64) -> Taken,
    ) -> Taken {
        if now < self.nothing_before {
            // A bucket only ever fills with time, so there is no need to look again.
            return Taken { credits: 0, wait: self.nothing_before - now };
        }
        if self.credits > 0 && now < self.until {
            self.credits -= 1;
            return Taken { credits: 1, wait: 0 };
        }
        let got = refill(self.pace(now, span).min(most).max(1));
        if got.credits == 0 {
            self.nothing_before = now + got.wait;
            return got;
        }
        *self = Lease {
            credits: got.credits - 1,
            taken: got.credits,
            since: now,
            until: now + span,
            nothing_before: 0,
        };
        Taken { credits: 1, wait: 0 }
    }

    /// How many are used in a part of the span, going by the last ones; at most twice as many.
    fn pace(&self, now: u64, span: u64) -> u64 {
        let used = self.taken - self.credits;
        let time = u128::from(now.saturating_sub(self.since).max(1));
        let pace = u128::from(used) * u128::from(span / PARTS) / time;
        u64::try_from(pace).unwrap_or(u64::MAX).min(2 * self.taken)
    }
}

#[cfg(test)]
mod tests;
