//! `least_requests`: of two endpoints drawn at random by weight, the one with fewer requests in
//! flight for its weight.
//!
//! Two are enough: the longest queue grows with the logarithm of a logarithm (Mitzenmacher, 2001),
//! and cores that do not know each other's requests do not all run to the same endpoint, as they
//! would if each took the least of all.

use super::weighted::Weighted;
use super::{Load, Rng};

/// The state of `least_requests`. A pick is two binary searches.
#[derive(Debug)]
pub(super) struct LeastRequests {
    weighted: Weighted,
    rng: Rng,
}

impl LeastRequests {
    pub(super) fn new(rng: Rng) -> LeastRequests {
        LeastRequests { weighted: Weighted::default(), rng }
    }

    pub(super) fn rebuild(&mut self, endpoints: &[Load]) {
        self.weighted.rebuild(endpoints);
    }

    pub(super) fn pick(&mut self, endpoints: &[Load]) -> Option<usize> {
        let first = self.weighted.draw(endpoints, None, &mut self.rng)?;
        let Some(second) = self.weighted.draw(endpoints, Some(first), &mut self.rng) else {
            return Some(first);
        };
        // A tie goes to the first, which was drawn by weight.
        Some(if is_busier(&endpoints[first], &endpoints[second]) { second } else { first })
    }
}

/// Compares what the loads for each weight would be with one request more. Idle endpoints are not
/// compared, or the one of less weight would get nothing while there is little to do.
fn is_busier(one: &Load, other: &Load) -> bool {
    if one.in_flight == 0 && other.in_flight == 0 {
        return false;
    }
    let with_one_more = |load: &Load| u64::from(load.in_flight) + 1;
    with_one_more(one) * u64::from(other.weight) > with_one_more(other) * u64::from(one.weight)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_shares, count, endpoints};
    use super::*;

    fn policy(endpoints: &[Load]) -> LeastRequests {
        let mut policy = LeastRequests::new(Rng::new(3));
        policy.rebuild(endpoints);
        policy
    }

    #[test]
    fn of_two_the_less_busy_is_picked() {
        let mut endpoints = endpoints(&[1, 1]);
        endpoints[0].in_flight = 1;
        let mut policy = policy(&endpoints);
        assert_eq!(count(100, &endpoints, |_| policy.pick(&endpoints)), [0, 100]);
    }

    #[test]
    fn load_counts_for_its_weight() {
        let mut endpoints = endpoints(&[10, 1]);
        endpoints[0].in_flight = 8;
        let mut policy = policy(&endpoints);
        assert_eq!(count(100, &endpoints, |_| policy.pick(&endpoints)), [100, 0]);
        endpoints[0].in_flight = 10;
        assert_eq!(count(100, &endpoints, |_| policy.pick(&endpoints)), [0, 100]);
    }

    #[test]
    fn idle_endpoints_get_their_shares() {
        let weights = [10, 1];
        let endpoints = endpoints(&weights);
        let mut policy = policy(&endpoints);
        check_shares(&count(20_000, &endpoints, |_| policy.pick(&endpoints)), &weights);
    }

    #[test]
    fn ties_are_spread() {
        let endpoints = endpoints(&[1; 5]);
        let mut policy = policy(&endpoints);
        check_shares(&count(20_000, &endpoints, |_| policy.pick(&endpoints)), &[1; 5]);
    }

    #[test]
    fn the_busiest_of_all_is_never_picked() {
        let mut endpoints = endpoints(&[1; 6]);
        endpoints[4].in_flight = 9;
        let mut policy = policy(&endpoints);
        assert_eq!(count(1_000, &endpoints, |_| policy.pick(&endpoints))[4], 0);
    }

    #[test]
    fn requests_that_stay_are_spread_by_weight() {
        let weights = [4, 2, 1, 1];
        let mut endpoints = endpoints(&weights);
        let mut policy = policy(&endpoints);
        for _ in 0..800 {
            let place = policy.pick(&endpoints).unwrap();
            endpoints[place].in_flight += 1;
        }
        for (endpoint, weight) in endpoints.iter().zip(weights) {
            let share = 100 * weight;
            assert!(endpoint.in_flight.abs_diff(share) <= 20, "{endpoints:?}");
        }
    }
}
