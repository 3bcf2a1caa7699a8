//! A request that passes allocates nothing: for each filter that does not wait, all hooks run
//! under a global allocator that counts. Whoever adds a filter adds a row.
//!
//! The first requests may allocate, for what an instance keeps: they warm it up.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::any::Any;
use std::rc::Rc;

use ringway_config::load_str;
use ringway_engine::clock;
use ringway_engine::exchange::Exchange;
use ringway_engine::filter::{Core, Filter, Job, Outcome, Settings as _, Step, Verdict, Waiting};
use ringway_engine::record::Record;
use ringway_filters::FilterSettings;

/// An entry of `filters:` in one line, and the header fields of a request that it lets pass.
const ROWS: &[(&str, &str)] = &[
    ("body_limit: {max: 1MiB}", "Content-Length: 1000"),
    ("cors: {allow_origins: [\"*\"]}", "X-A: a"),
    ("headers: {request: {set: {X-A: a}, remove: [X-B]}, response: {add: {X-C: c}}}", "X-B: b"),
    ("ip_access: {allow: [0.0.0.0/0, 10.0.0.0/8], deny: [192.0.2.0/24]}", "X-A: a"),
    ("mirror: {upstream: a, percent: 0}", "X-A: a"),
    ("rate_limit: {qps: 1000000}", "X-A: a"),
    ("rate_limit: {qps: 1000}", "X-A: a"),
    ("rate_limit: {qps: 1000, key: [client_ip, header:X-Key]}", "X-Key: abc"),
    ("rate_limit: {qps: 1000, key: header:X-Key}", "X-A: a"),
    ("rate_limit: {qps: 1000, algorithm: sliding_window, window: 1m}", "X-A: a"),
    ("rate_limit: {qps: 1000, algorithm: fixed_window, window: 1m}", "X-A: a"),
    ("rate_limit: {qps: 0.001, dry_run: true}", "X-A: a"),
];

/// The only core, with nothing beside it.
struct OnlyCore;

impl Core for OnlyCore {
    fn id(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        1
    }

    fn spawn(&self, _: Waiting<()>) {
        panic!("nothing runs beside a test")
    }

    fn compute(&self, _: Job) -> Waiting<Option<Box<dyn Any + Send>>> {
        panic!("nothing is computed on the pass path")
    }
}

fn instance(entry: &str) -> Rc<dyn Filter> {
    let text = format!("global_filters:\n  - {entry}\nroutes: [{{name: a, respond: {{}}}}]\n");
    let loaded = load_str::<FilterSettings>("row.yaml", &text, &|_| None);
    let config = loaded.unwrap_or_else(|errors| panic!("{errors}")).config;
    let built = config.global_filters[0].build();
    let core: Rc<dyn Core> = Rc::new(OnlyCore);
    built.unwrap_or_else(|error| panic!("{entry}: {error:?}")).instance(&core)
}

/// Has the exchange receive a request with these fields, into the memory that it has.
fn receive(exchange: &mut Exchange, head: &[u8]) {
    exchange.receive(head, exchange.started).unwrap();
    exchange.route = Some(0);
    exchange.route_name.push('a');
    exchange.request_id.extend_from_slice(b"0123456789abcdef");
}

/// One exchange through all hooks.
fn pass(filter: &dyn Filter, exchange: &mut Exchange) {
    match filter.on_request(exchange) {
        Step::Now(Verdict::Continue) => {}
        Step::Now(Verdict::Answer(answer)) => panic!("it answers {}", answer.status),
        Step::Later(_) => panic!("it waits"),
    }
    assert!(matches!(filter.on_attempt(exchange), Verdict::Continue));
    let _ = filter.on_outcome(exchange, &Outcome::Answered(200));
    exchange.response.head.status = 200;
    filter.on_response(exchange);
    let ended = exchange.started;
    filter.on_end(&Record { exchange, status: 200, error: None, ended });
}

#[test]
fn a_request_that_passes_allocates_nothing() {
    for (entry, fields) in ROWS {
        let filter = instance(entry);
        let head = format!("GET /a?b=c HTTP/1.1\r\nHost: gateway.test\r\n{fields}\r\n\r\n");
        // Exchanges keep their memory from one request to the next.
        let mut exchange = Exchange::new(clock::now());
        for _ in 0..3 {
            receive(&mut exchange, head.as_bytes());
            pass(&*filter, &mut exchange);
        }
        receive(&mut exchange, head.as_bytes());
        let counted = allocation_counter::measure(|| pass(&*filter, &mut exchange));
        assert_eq!(counted.count_total, 0, "{entry}: {counted:?}");
    }
}

/// The counting itself works, or the test above would prove nothing.
#[test]
fn an_allocation_is_counted() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![1_u8; 100])));
    assert_eq!(counted.count_total, 1);
}
