//! What a decision of `circuit_breaker` costs: one attempt through its `on_attempt` and
//! `on_outcome`.
//!
//! ```text
//! cargo bench --bench breaker
//! ```
//!
//! With several threads each has an instance of its own of the same breaker, as cores have.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made has failed")]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use divan::Bencher;
use divan::counter::ItemsCount;
use ringway_engine::exchange::Exchange;
use ringway_engine::filter::{Blueprint, Filter, Next, Outcome, Verdict};
use ringway_engine::shared::Shared;

use common::{build, core};

mod common;

/// One core, and four.
const THREADS: [usize; 2] = [1, 4];

/// Attempts of one measurement.
const BATCH: u32 = 1_000;

fn main() {
    divan::main();
}

fn exchange() -> Exchange {
    let mut exchange = common::exchange("");
    exchange.route_name.push_str("orders");
    exchange.upstream.push_str("orders-backend");
    exchange
}

/// One attempt; whether it was let pass.
fn attempt(filter: &dyn Filter, exchange: &mut Exchange, status: u16) -> bool {
    let (passed, outcome) = match filter.on_attempt(exchange) {
        Verdict::Continue => (true, Outcome::Answered(status)),
        Verdict::Answer(answer) => (false, Outcome::Denied(answer.status)),
    };
    assert_eq!(divan::black_box(filter.on_outcome(exchange, &outcome)), Next::Accept);
    passed
}

/// What a thread keeps: the number of the benchmark that it is for, its instance, and an exchange.
type Warm = (usize, Rc<dyn Filter>, Exchange);

/// Attempts of a breaker, all of which pass or none.
fn decide(bencher: Bencher<'_, '_>, breaker: &Shared<dyn Blueprint>, pass: bool) {
    thread_local! {
        static WARM: RefCell<Option<Warm>> = const { RefCell::new(None) };
    }
    let next_core = AtomicUsize::new(0);
    static NEXT_BENCHMARK: AtomicUsize = AtomicUsize::new(0);
    let stamp = NEXT_BENCHMARK.fetch_add(1, Ordering::Relaxed);
    bencher.counter(ItemsCount::new(BATCH)).bench(|| {
        WARM.with_borrow_mut(|warm| {
            // The benchmark before this one may have left its own behind.
            warm.take_if(|(of, ..)| *of != stamp);
            let (_, filter, exchange) = warm.get_or_insert_with(|| {
                let number = next_core.fetch_add(1, Ordering::Relaxed);
                (stamp, breaker.instance(&core(number, THREADS[1])), exchange())
            });
            for _ in 0..BATCH {
                assert_eq!(attempt(&**filter, exchange, 200), pass);
            }
        });
    });
}

/// Closed, counting failures in a row: a success passes.
#[divan::bench(threads = THREADS)]
fn closed(bencher: Bencher<'_, '_>) {
    decide(bencher, &build("circuit_breaker: {threshold: 5}"), true);
}

/// Closed, counting a share of failures over a window as well.
#[divan::bench(threads = THREADS)]
fn closed_with_ratio(bencher: Bencher<'_, '_>) {
    decide(bencher, &build("circuit_breaker: {threshold: 5, error_ratio: 0.5}"), true);
}

/// Open: an attempt is refused, the answer included.
#[divan::bench(threads = THREADS)]
fn open(bencher: Bencher<'_, '_>) {
    let breaker = build("circuit_breaker: {threshold: 1, timeout: 1d}");
    assert!(attempt(&*breaker.instance(&core(0, THREADS[1])), &mut exchange(), 500));
    decide(bencher, &breaker, false);
}
