//! Stage 7: which endpoint of an upstream gets the next attempt. One file a policy.
//!
//! A balancer belongs to one core and sees that core's requests only: cores agree about keys
//! (`consistent_hash`) without speaking to each other, and for the rest even shares per core are
//! even shares in all.
//!
//! *Architecture invariant*: no I/O, no clock, no health: whether an endpoint may be picked comes
//! with each call. A pick allocates nothing, and the same seed picks the same endpoints.

mod consistent_hash;
mod least_requests;
mod random;
mod rng;
mod round_robin;
mod weighted;

use std::net::SocketAddr;

use ringway_config::Balance;

use self::consistent_hash::ConsistentHash;
use self::least_requests::LeastRequests;
use self::random::Random;
use self::round_robin::RoundRobin;

pub use self::rng::Rng;

/// One endpoint as a balancer sees it at the moment of a pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Where it is; its identity for `consistent_hash`.
    pub address: SocketAddr,
    /// Its share of the requests, relative to the others. 0 is never picked.
    pub weight: u32,
    /// The exchanges that this core has under way with it.
    pub in_flight: u32,
    /// Whether it may be picked: it is healthy, not paused, and not tried already.
    pub usable: bool,
}

impl Load {
    /// An endpoint at this moment.
    pub fn new(address: SocketAddr, weight: u32, in_flight: u32, usable: bool) -> Load {
        Load { address, weight, in_flight, usable }
    }

    fn is_open(&self) -> bool {
        self.usable && self.weight > 0
    }
}

/// The policy of one upstream on one core, with its state.
#[derive(Debug)]
pub struct Balancer {
    policy: Policy,
}

#[derive(Debug)]
enum Policy {
    RoundRobin(RoundRobin),
    Random(Random),
    LeastRequests(LeastRequests),
    ConsistentHash(ConsistentHash),
}

impl Balancer {
    /// A balancer without endpoints yet. Cores are given different seeds, so that they do not all
    /// begin with the same endpoint.
    pub fn new(settings: &Balance, seed: u64) -> Balancer {
        let rng = Rng::new(seed);
        let policy = match settings {
            Balance::RoundRobin => Policy::RoundRobin(RoundRobin::new(rng)),
            Balance::Random => Policy::Random(Random::new(rng)),
            Balance::LeastRequests => Policy::LeastRequests(LeastRequests::new(rng)),
            Balance::ConsistentHash { bounded_load, .. } => {
                Policy::ConsistentHash(ConsistentHash::new(*bounded_load, rng))
            }
        };
        Balancer { policy }
    }

    /// Takes a new list of endpoints, or new weights. Loads and usability do not matter here.
    pub fn rebuild(&mut self, endpoints: &[Load]) {
        match &mut self.policy {
            Policy::RoundRobin(policy) => policy.rebuild(endpoints),
            Policy::Random(policy) => policy.rebuild(endpoints),
            Policy::LeastRequests(policy) => policy.rebuild(endpoints),
            Policy::ConsistentHash(policy) => policy.rebuild(endpoints),
        }
    }

    /// Picks an endpoint by its place in the list, which is the one of the last
    /// [`Balancer::rebuild`]. `None` if none is usable. `key` is what `consistent_hash` goes by
    /// ([`key_of`]); a request without one is spread at random.
    pub fn pick(&mut self, endpoints: &[Load], key: Option<u64>) -> Option<usize> {
        match &mut self.policy {
            Policy::RoundRobin(policy) => policy.pick(endpoints),
            Policy::Random(policy) => policy.pick(endpoints),
            Policy::LeastRequests(policy) => policy.pick(endpoints),
            Policy::ConsistentHash(policy) => policy.pick(endpoints, key),
        }
    }
}

/// The key of a value such as a client address or a cookie. The same on every core, in every
/// process and in every version: a restart moves no key.
pub fn key_of(value: &[u8]) -> u64 {
    // FNV-1a, and a finish that lets each bit of the value reach each bit of the key.
    let fnv = value.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(fnv)
}

/// The finish of SplitMix64: a bijection after which neighbours have nothing in common.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Endpoints with these weights, all idle and usable.
    pub(super) fn endpoints(weights: &[u32]) -> Vec<Load> {
        let endpoint = |(place, &weight): (usize, &u32)| {
            let address = SocketAddr::from(([10, 0, (place >> 8) as u8, place as u8], 8080));
            Load::new(address, weight, 0, true)
        };
        weights.iter().enumerate().map(endpoint).collect()
    }

    /// How often each was picked.
    pub(super) fn count(
        picks: usize,
        endpoints: &[Load],
        mut pick: impl FnMut(usize) -> Option<usize>,
    ) -> Vec<usize> {
        let mut counts = vec![0; endpoints.len()];
        (0..picks).filter_map(&mut pick).for_each(|place| counts[place] += 1);
        counts
    }

    /// Counts are shares of `picks` by weight, give or take five standard deviations.
    #[track_caller]
    pub(super) fn check_shares(counts: &[usize], weights: &[u32]) {
        let picks = counts.iter().sum::<usize>() as f64;
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        for (&count, &weight) in counts.iter().zip(weights) {
            let share = f64::from(weight) / total;
            let allowed = 5.0 * (picks * share * (1.0 - share)).sqrt() + 1.0;
            let off = (count as f64 - picks * share).abs();
            assert!(off <= allowed, "{counts:?} for {weights:?}");
        }
    }

    fn policies() -> [Balance; 4] {
        let by = ringway_config::HashKey::ClientIp;
        [
            Balance::RoundRobin,
            Balance::Random,
            Balance::LeastRequests,
            Balance::ConsistentHash { by, bounded_load: 1.25 },
        ]
    }

    #[test]
    fn no_policy_picks_what_cannot_be_used() {
        for settings in policies() {
            let mut balancer = Balancer::new(&settings, 7);
            let mut endpoints = endpoints(&[1, 0, 5, 1]);
            balancer.rebuild(&endpoints);
            endpoints[2].usable = false;
            for key in 0..500 {
                let picked = balancer.pick(&endpoints, Some(mix(key)));
                assert!(matches!(picked, Some(0 | 3)), "{settings:?} picked {picked:?}");
            }
            endpoints[0].usable = false;
            assert_eq!(balancer.pick(&endpoints, Some(1)), Some(3), "{settings:?}");
            endpoints[3].usable = false;
            assert_eq!(balancer.pick(&endpoints, Some(1)), None, "{settings:?}");
            assert_eq!(balancer.pick(&endpoints, None), None, "{settings:?}");
        }
    }

    #[test]
    fn every_policy_does_without_endpoints_and_takes_new_ones() {
        for settings in policies() {
            let mut balancer = Balancer::new(&settings, 7);
            assert_eq!(balancer.pick(&[], None), None);
            for count in [3, 1, 9, 0, 2] {
                let endpoints = endpoints(&vec![1; count]);
                balancer.rebuild(&endpoints);
                let picked = balancer.pick(&endpoints, Some(3));
                assert_eq!(picked.is_some(), count > 0, "{settings:?}");
                assert!(picked.is_none_or(|place| place < count), "{settings:?}");
            }
        }
    }

    #[test]
    fn the_same_seed_picks_the_same() {
        for settings in policies() {
            let endpoints = endpoints(&[3, 2, 1]);
            let picks = |seed| {
                let mut balancer = Balancer::new(&settings, seed);
                balancer.rebuild(&endpoints);
                (0..50).map(|_| balancer.pick(&endpoints, None)).collect::<Vec<_>>()
            };
            assert_eq!(picks(11), picks(11), "{settings:?}");
        }
    }

    #[test]
    fn a_key_never_changes() {
        // Written down once: other values here would move every client at an update.
        assert_eq!(key_of(b""), 0xf52a_15e9_a9b5_e89b);
        assert_eq!(key_of(b"10.0.0.1"), key_of(b"10.0.0.1"));
        assert_ne!(key_of(b"10.0.0.1"), key_of(b"10.0.0.2"));
    }
}
