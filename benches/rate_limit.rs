//! What a decision of `rate_limit` costs: one request through its `on_request`.
//!
//! ```text
//! cargo bench --bench rate_limit
//! ```
//!
//! With several threads each has an instance of its own of the same limit, as cores have, so the
//! figures with as many threads as there are cores are those of the contended limit.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made has failed")]

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use divan::Bencher;
use divan::counter::ItemsCount;
use ringway_engine::exchange::Exchange;
use ringway_engine::filter::{Filter, Step};

use common::{build, core};

mod common;

/// One core, and as many as four.
const THREADS: [usize; 3] = [1, 2, 4];

/// Requests of one measurement.
const BATCH: u32 = 1_000;

/// Clients that take turns.
const CLIENTS: u32 = 10_000;

fn main() {
    divan::main();
}

/// What a thread keeps: its instance, an exchange, and the number of the last client.
type Warm = (Rc<dyn Filter>, Exchange, u32);

/// Requests to one core of the limit, each from the next client.
fn decide(bencher: Bencher, entry: &str) {
    let limit = build(entry);
    thread_local! {
        static WARM: std::cell::RefCell<Option<Warm>> = const { std::cell::RefCell::new(None) };
    }
    // Instances belong to their thread. A benchmark leaves its own behind, so each begins with a
    // look at whose it is.
    let id = AtomicUsize::new(0);
    static NEXT_BENCHMARK: AtomicUsize = AtomicUsize::new(1);
    let stamp = NEXT_BENCHMARK.fetch_add(1, Ordering::Relaxed);
    thread_local! {
        static OWNER: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
    bencher.counter(ItemsCount::new(BATCH)).bench(|| {
        WARM.with_borrow_mut(|warm| {
            if OWNER.replace(stamp) != stamp {
                *warm = None;
            }
            let (filter, exchange, client) = warm.get_or_insert_with(|| {
                let number = id.fetch_add(1, Ordering::Relaxed);
                let exchange = common::exchange("X-Api-Key: 0123456789abcdef\r\n");
                (limit.instance(&core(number, THREADS[2])), exchange, number as u32 * CLIENTS / 4)
            });
            for _ in 0..BATCH {
                *client = (*client + 1) % CLIENTS;
                let address = Ipv4Addr::from_bits(0x0a00_0000 | *client);
                exchange.client.address = IpAddr::V4(address);
                let step = filter.on_request(exchange);
                assert!(matches!(divan::black_box(step), Step::Now(_)));
            }
        });
    });
}

/// All requests of a limit that is high enough to be leased to cores.
#[divan::bench(threads = THREADS)]
fn global_leased(bencher: Bencher) {
    decide(bencher, "rate_limit: {qps: 10000000, burst: 1000000000, key: global}");
}

/// All requests of one limit, each of which takes its own credit of the word that all share.
#[divan::bench(threads = THREADS)]
fn global_direct(bencher: Bencher) {
    decide(bencher, "rate_limit: {qps: 3000, burst: 1000000000, key: global}");
}

/// A budget for each of 10,000 clients.
#[divan::bench(threads = THREADS)]
fn by_client_ip(bencher: Bencher) {
    decide(bencher, "rate_limit: {qps: 10000, burst: 1000000, key: client_ip}");
}

/// A budget for each client and key.
#[divan::bench(threads = THREADS)]
fn by_client_ip_and_header(bencher: Bencher) {
    decide(bencher, "rate_limit: {qps: 10000, burst: 1000000, key: [client_ip, header:X-Api-Key]}");
}

/// Requests over the limit: what it costs to refuse one, the answer included.
#[divan::bench(threads = THREADS)]
fn refused(bencher: Bencher) {
    decide(bencher, "rate_limit: {qps: 0.001, key: global}");
}
