//! `round_robin`: one after the other by weight, evenly mixed. Weights 3 and 1 make `a a b a`,
//! never `a a a b`.
//!
//! The smooth form, as nginx has it: at each pick every endpoint gains its weight in credit, the
//! richest is picked and pays what all gained together. An endpoint that cannot be used neither
//! gains nor pays, and comes back without a burst.

use super::{Load, Rng};

/// The most picks that the start is moved by.
const MOST_STEPS: usize = 64;

/// The state of `round_robin`. A pick looks at each endpoint once.
#[derive(Debug)]
pub(super) struct RoundRobin {
    credit: Vec<i64>,
    rng: Rng,
}

impl RoundRobin {
    pub(super) fn new(rng: Rng) -> RoundRobin {
        RoundRobin { credit: Vec::new(), rng }
    }

    pub(super) fn rebuild(&mut self, endpoints: &[Load]) {
        self.credit.clear();
        self.credit.resize(endpoints.len(), 0);
        // Each core starts somewhere else in the round, or the first endpoint would get the first
        // request of all of them.
        let steps = self.rng.below(endpoints.len().min(MOST_STEPS) as u64);
        for _ in 0..steps {
            self.pick_among(endpoints, |endpoint| endpoint.weight > 0);
        }
    }

    pub(super) fn pick(&mut self, endpoints: &[Load]) -> Option<usize> {
        self.pick_among(endpoints, Load::is_open)
    }

    fn pick_among(&mut self, endpoints: &[Load], open: impl Fn(&Load) -> bool) -> Option<usize> {
        let mut richest: Option<(usize, i64)> = None;
        let mut total = 0;
        for (place, (endpoint, credit)) in endpoints.iter().zip(&mut self.credit).enumerate() {
            if !open(endpoint) {
                continue;
            }
            let weight = i64::from(endpoint.weight);
            *credit += weight;
            total += weight;
            if richest.is_none_or(|(_, most)| *credit > most) {
                richest = Some((place, *credit));
            }
        }
        let (place, _) = richest?;
        self.credit[place] -= total;
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{count, endpoints};
    use super::*;

    /// Without the steps that a rebuild makes.
    fn from_the_start(endpoints: &[Load]) -> RoundRobin {
        RoundRobin { credit: vec![0; endpoints.len()], rng: Rng::new(0) }
    }

    #[test]
    fn weights_are_mixed_evenly() {
        let endpoints = endpoints(&[5, 1, 1]);
        let mut policy = from_the_start(&endpoints);
        let picks: Vec<_> = (0..14).filter_map(|_| policy.pick(&endpoints)).collect();
        assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn a_round_is_exact_wherever_it_starts() {
        let endpoints = endpoints(&[3, 0, 1, 7]);
        for seed in 0..20 {
            let mut policy = RoundRobin::new(Rng::new(seed));
            policy.rebuild(&endpoints);
            assert_eq!(count(110, &endpoints, |_| policy.pick(&endpoints)), [30, 0, 10, 70]);
        }
    }

    #[test]
    fn cores_start_at_different_endpoints() {
        let endpoints = endpoints(&[1; 8]);
        let first = |seed| {
            let mut policy = RoundRobin::new(Rng::new(seed));
            policy.rebuild(&endpoints);
            policy.pick(&endpoints)
        };
        let firsts: std::collections::HashSet<_> = (0..32).map(first).collect();
        assert!(firsts.len() > 4, "{firsts:?}");
    }

    #[test]
    fn an_endpoint_comes_back_without_a_burst() {
        let mut endpoints = endpoints(&[1, 1, 1]);
        let mut policy = from_the_start(&endpoints);
        endpoints[1].usable = false;
        assert_eq!(count(100, &endpoints, |_| policy.pick(&endpoints)), [50, 0, 50]);
        endpoints[1].usable = true;
        let after = count(9, &endpoints, |_| policy.pick(&endpoints));
        assert!(after.iter().all(|&count| (2..=4).contains(&count)), "{after:?}");
    }
}
