//! `consistent_hash`: a key always gets the same endpoint, as long as that is usable and not
//! overloaded. On all cores, and after a restart.
//!
//! This is rendezvous hashing (Thaler and Ravishankar, 1998): each endpoint has a score for the
//! key, and the best score wins. Against a ring of points it has exact shares by weight, nothing to
//! rebuild, moves no key but those of an endpoint that comes or goes, and knows the next best of a
//! key for bounded load without a walk. What it costs is one look at each endpoint, a few
//! nanoseconds; a ring would win from hundreds of endpoints on.
//!
//! Bounded load (Mirrokni, Thorup and Zadimoghaddam, 2016): an endpoint takes no more than
//! `bounded_load` times its share of the requests in flight; its keys go to their next best until
//! it has room again.

use std::net::{IpAddr, SocketAddr};

use super::{Load, Rng, key_of, mix};

/// The state of `consistent_hash`.
#[derive(Debug)]
pub(super) struct ConsistentHash {
    ids: Vec<u64>,
    /// All weights are the same, so that scores need no logarithm.
    even: bool,
    bounded_load: f64,
    /// For requests without a key.
    rng: Rng,
}

impl ConsistentHash {
    pub(super) fn new(bounded_load: f64, rng: Rng) -> ConsistentHash {
        ConsistentHash { ids: Vec::new(), even: true, bounded_load: bounded_load.max(1.0), rng }
    }

    pub(super) fn rebuild(&mut self, endpoints: &[Load]) {
        self.ids.clear();
        self.ids.extend(endpoints.iter().map(|endpoint| id_of(endpoint.address)));
        let first = endpoints.first().map(|endpoint| endpoint.weight);
        self.even = endpoints.iter().all(|endpoint| Some(endpoint.weight) == first);
    }

    pub(super) fn pick(&mut self, endpoints: &[Load], key: Option<u64>) -> Option<usize> {
        let key = key.unwrap_or_else(|| self.rng.next_u64());
        let open = endpoints.iter().filter(|endpoint| endpoint.is_open());
        let (weights, in_flight) = open.fold((0_u64, 0_u64), |(weights, in_flight), endpoint| {
            (weights + u64::from(endpoint.weight), in_flight + u64::from(endpoint.in_flight))
        });
        let room = self.bounded_load * (in_flight + 1) as f64 / weights as f64;
        let has_room = |endpoint: &Load| {
            f64::from(endpoint.in_flight) < (room * f64::from(endpoint.weight)).ceil()
        };
        // Some endpoint always has room: together they have for more than what is in flight. Only
        // rounding could deny it.
        self.best(endpoints, key, has_room).or_else(|| self.best(endpoints, key, |_| true))
    }

    fn best(
        &self,
        endpoints: &[Load],
        key: u64,
        has_room: impl Fn(&Load) -> bool,
    ) -> Option<usize> {
        let candidates = || {
            let pairs = endpoints.iter().zip(&self.ids).enumerate();
            pairs.filter(|(_, (endpoint, _))| endpoint.is_open() && has_room(endpoint))
        };
        if self.even {
            let best = candidates().max_by_key(|(_, (_, id))| mix(key ^ **id));
            return best.map(|(place, _)| place);
        }
        let score = |endpoint: &Load, id: u64| {
            // Evenly from (0, 1), so that this is an exponential variate whose rate is the weight;
            // the least of several is each one's as often as its rate is of the sum.
            let unit = ((mix(key ^ id) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
            -unit.ln() / f64::from(endpoint.weight)
        };
        let best = candidates()
            .map(|(place, (endpoint, id))| (place, score(endpoint, *id)))
            .min_by(|(_, one), (_, other)| one.total_cmp(other));
        best.map(|(place, _)| place)
    }
}

/// What stands for an endpoint in a score. A mapped IPv6 address is the IPv4 address that it maps.
fn id_of(address: SocketAddr) -> u64 {
    let mut bytes = [0; 18];
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes[..16].copy_from_slice(&ip.octets()),
    }
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    key_of(&bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{check_shares, count, endpoints};
    use super::{ConsistentHash, Load, Rng, key_of};

    fn policy(endpoints: &[Load]) -> ConsistentHash {
        let mut policy = ConsistentHash::new(1.25, Rng::new(0));
        policy.rebuild(endpoints);
        policy
    }

    fn keys(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|number| key_of(format!("client-{number}").as_bytes()))
    }

    #[test]
    fn shares_go_by_weight() {
        for weights in [&[1, 1, 1, 1][..], &[3, 1], &[1, 0, 10, 100]] {
            let endpoints = endpoints(weights);
            let mut policy = policy(&endpoints);
            let keys: Vec<_> = keys(20_000).collect();
            let counts =
                count(keys.len(), &endpoints, |turn| policy.pick(&endpoints, Some(keys[turn])));
            check_shares(&counts, weights);
        }
    }

    #[test]
    fn a_key_stays_whatever_the_order_of_the_list() {
        let list = endpoints(&[1, 2, 3, 4]);
        let reversed: Vec<_> = list.iter().rev().copied().collect();
        let (mut one, mut other) = (policy(&list), policy(&reversed));
        for key in keys(500) {
            let here = list[one.pick(&list, Some(key)).unwrap()].address;
            let there = reversed[other.pick(&reversed, Some(key)).unwrap()].address;
            assert_eq!(here, there);
        }
    }

    #[test]
    fn an_overloaded_endpoint_sends_its_keys_to_the_next() {
        let mut endpoints = endpoints(&[1; 4]);
        let mut policy = policy(&endpoints);
        let home = policy.pick(&endpoints, Some(9)).unwrap();
        endpoints[home].in_flight = 100;
        let away = policy.pick(&endpoints, Some(9)).unwrap();
        assert_ne!(home, away);
        endpoints[home].in_flight = 0;
        assert_eq!(policy.pick(&endpoints, Some(9)), Some(home));
    }

    #[test]
    fn one_hot_key_never_overloads_an_endpoint() {
        let weights = [1, 2, 1];
        let mut endpoints = endpoints(&weights);
        let mut policy = policy(&endpoints);
        for turn in 1..=1_000_u32 {
            let place = policy.pick(&endpoints, Some(42)).unwrap();
            endpoints[place].in_flight += 1;
            let share = f64::from(turn) * f64::from(weights[place]) / 4.0;
            assert!(f64::from(endpoints[place].in_flight) <= (1.25 * share).ceil());
        }
    }

    #[test]
    fn requests_without_a_key_are_spread() {
        let endpoints = endpoints(&[1, 1, 1]);
        let mut policy = policy(&endpoints);
        check_shares(&count(10_000, &endpoints, |_| policy.pick(&endpoints, None)), &[1, 1, 1]);
    }

    proptest! {
        /// Minimal disruption: when one endpoint goes, only its own keys move; when it comes back,
        /// they come back to it.
        #[test]
        fn only_the_keys_of_a_lost_endpoint_move(
            weights in prop::collection::vec(1..5_u32, 2..12),
            lost: prop::sample::Index,
            even: bool,
        ) {
            let weights = if even { vec![1; weights.len()] } else { weights };
            let before = endpoints(&weights);
            let lost = lost.index(before.len());
            let mut after = before.clone();
            let gone = after.remove(lost).address;
            let mut paused = before.clone();
            paused[lost].usable = false;
            let (mut whole, mut rest) = (policy(&before), policy(&after));
            for key in keys(200) {
                let home = before[whole.pick(&before, Some(key)).unwrap()].address;
                let now = after[rest.pick(&after, Some(key)).unwrap()].address;
                let meanwhile = paused[whole.pick(&paused, Some(key)).unwrap()].address;
                prop_assert_eq!(now, meanwhile);
                if home != gone {
                    prop_assert_eq!(home, now);
                }
            }
        }
    }
}
