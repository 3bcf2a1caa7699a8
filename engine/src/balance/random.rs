//! `random`: an endpoint at random, by weight. Nothing to remember, and even in the long run.

use super::weighted::Weighted;
use super::{Load, Rng};

/// The state of `random`. A pick is a binary search.
#[derive(Debug)]
pub(super) struct Random {
    weighted: Weighted,
    rng: Rng,
}

impl Random {
    pub(super) fn new(rng: Rng) -> Random {
        Random { weighted: Weighted::default(), rng }
    }

    pub(super) fn rebuild(&mut self, endpoints: &[Load]) {
        self.weighted.rebuild(endpoints);
    }

    pub(super) fn pick(&mut self, endpoints: &[Load]) -> Option<usize> {
        self.weighted.draw(endpoints, None, &mut self.rng)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_shares, count, endpoints};
    use super::*;

    #[test]
    fn shares_go_by_weight() {
        for weights in [&[1, 1, 1][..], &[3, 1], &[1, 0, 10, 100], &[1_000_000, 1_000_000]] {
            let endpoints = endpoints(weights);
            let mut random = Random::new(Rng::new(1));
            random.rebuild(&endpoints);
            check_shares(&count(30_000, &endpoints, |_| random.pick(&endpoints)), weights);
        }
    }
}
