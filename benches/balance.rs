//! What it costs to pick an endpoint: `consistent_hash`, which looks at each of them, and the
//! default beside it.
//!
//! ```text
//! cargo bench --bench balance
//! ```
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made has failed")]

use std::net::{Ipv4Addr, SocketAddr};

use divan::{Bencher, black_box};
use ringway_config::{Balance, HashKey};
use ringway_engine::balance::{Balancer, Load, key_of};

/// How many endpoints an upstream has.
const ENDPOINTS: [u32; 3] = [3, 10, 100];

fn main() {
    divan::main();
}

/// Picks among so many endpoints with these weights, for another client each time, and busy ones
/// among them.
fn pick(bencher: Bencher<'_, '_>, settings: &Balance, count: u32, weight: impl Fn(u32) -> u32) {
    let endpoint = |number: u32| {
        let address = SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 | number), 8080));
        Load::new(address, weight(number), number % 4, true)
    };
    let endpoints: Vec<_> = (0..count).map(endpoint).collect();
    let mut balancer = Balancer::new(settings, 1);
    balancer.rebuild(&endpoints);
    let mut client = 0_u32;
    bencher.bench_local(|| {
        client = client.wrapping_add(1);
        let key = key_of(&client.to_be_bytes());
        balancer.pick(black_box(&endpoints), Some(key)).unwrap()
    });
}

fn by_client() -> Balance {
    Balance::ConsistentHash { by: HashKey::ClientIp, bounded_load: 1.25 }
}

#[divan::bench(args = ENDPOINTS, sample_size = 1_000)]
fn consistent_hash(bencher: Bencher<'_, '_>, count: u32) {
    pick(bencher, &by_client(), count, |_| 1);
}

#[divan::bench(args = ENDPOINTS, sample_size = 1_000)]
fn consistent_hash_with_weights(bencher: Bencher<'_, '_>, count: u32) {
    pick(bencher, &by_client(), count, |number| 1 + number % 3);
}

#[divan::bench(args = ENDPOINTS, sample_size = 1_000)]
fn round_robin(bencher: Bencher<'_, '_>, count: u32) {
    pick(bencher, &Balance::RoundRobin, count, |_| 1);
}
