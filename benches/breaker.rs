//! What a decision of `circuit_breaker` costs: one attempt through its `on_attempt` and
//! `on_outcome`.
//!
//! ```text
//! cargo bench --bench breaker
//! ```
//!
//! With several threads each has an instance of its own of the same breaker, as cores have.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made has failed")]

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use divan::Bencher;
use divan::counter::ItemsCount;
use ringway_config::load_str;
use ringway_engine::clock;
use ringway_engine::exchange::Exchange;
use ringway_engine::filter::{Blueprint, Core, Filter, Job, Next, Outcome, Settings as _};
use ringway_engine::filter::{Verdict, Waiting};
use ringway_engine::shared::Shared;
use ringway_filters::FilterSettings;

/// One core, and four.
const THREADS: [usize; 2] = [1, 4];

/// Attempts of one measurement.
const BATCH: u32 = 1_000;

fn main() {
    divan::main();
}

/// One of the cores.
struct OneCore(usize);

impl Core for OneCore {
    fn id(&self) -> usize {
        self.0
    }

    fn count(&self) -> usize {
        THREADS[1]
    }

    fn spawn(&self, _: Waiting<()>) {
        unreachable!("a breaker runs nothing beside")
    }

    fn compute(&self, _: Job) -> Waiting<Option<Box<dyn Any + Send>>> {
        unreachable!("a breaker computes nothing")
    }
}

fn build(entry: &str) -> Shared<dyn Blueprint> {
    let text = format!("global_filters:\n  - {entry}\nroutes: [{{name: a, respond: {{}}}}]\n");
    let config = load_str::<FilterSettings>("bench.yaml", &text, &|_| None).unwrap().config;
    config.global_filters[0].build().unwrap()
}

fn exchange() -> Exchange {
    let head = b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
    let mut exchange = Exchange::with_request(head, clock::now()).unwrap();
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
                let core: Rc<dyn Core> = Rc::new(OneCore(number));
                (stamp, breaker.instance(&core), exchange())
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
    let core: Rc<dyn Core> = Rc::new(OneCore(0));
    assert!(attempt(&*breaker.instance(&core), &mut exchange(), 500));
    decide(bencher, &breaker, false);
}
