//! A request that passes allocates nothing: for each filter that does not wait, all hooks run
//! under a global allocator that counts. Whoever adds a filter adds a row.
//!
//! The first requests may allocate, for what an instance keeps: they warm it up.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::any::Any;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ringway_config::load_str;
use ringway_engine::clock;
use ringway_engine::exchange::Exchange;
use ringway_engine::filter::{
    Core, Filter, Job, Next, Outcome, Settings as _, Step, Verdict, Waiting,
};
use ringway_engine::record::Record;
use ringway_filters::FilterSettings;

/// Entries of `filters:`, each in one line, and the header fields of a request that they let pass.
const ROWS: &[(&[&str], &str)] = &[
    (&[JWT], TOKEN),
    (&[JWT, "authorize: {roles: [admin], claims: {sub: [bob, alice]}}"], TOKEN),
    (&[JWT, "headers: {request: {set: {X-Who: \"${claims.sub}/${claims.roles}\"}}}"], TOKEN),
    (&[JWT_OF_COOKIE], COOKIE),
    (&[JWT_OF_QUERY], "X-A: a"),
    (&[API_KEY], "X-API-Key: the-key"),
    (&[API_KEY_OR_BASIC], "X-API-Key: the-key"),
    (&[API_KEY_OR_BASIC], "Authorization: Basic YWxpY2U6c2VjcmV0"),
    (&[API_KEY, "authorize: {consumers: [a]}"], "X-API-Key: the-key"),
    (&["body_limit: {max: 1MiB}"], "Content-Length: 1000"),
    (&["circuit_breaker: {threshold: 5}"], "X-A: a"),
    (&["circuit_breaker: {error_ratio: 0.5, window: 10s}"], "X-A: a"),
    (&["compress"], "Accept-Encoding: identity"),
    (&["concurrency_limit: {max: 100}"], "X-A: a"),
    (&["concurrency_limit: {adaptive: {}}"], "X-A: a"),
    (&["cors: {allow_origins: [\"*\"]}"], "X-A: a"),
    (&["cors: {allow_origins: [\"*\"]}"], "Origin: https://a.example"),
    (
        &["cors: {allow_origins: [\"https://a.example\"], allow_credentials: true, \
           expose_headers: [X-A]}"],
        "Origin: https://a.example",
    ),
    (&["fallback: {respond: {status: 503}}"], "X-A: a"),
    (&["fallback: {upstream: backup}"], "X-A: a"),
    (&["headers: {request: {set: {X-A: a}, remove: [X-B]}, response: {add: {X-C: c}}}"], "X-B: b"),
    (
        &["headers: {request: {set: {X-A: \"${client_ip} ${host}${path}?${query}\"}, \
           rename: {X-B: X-D}}, response: {set: {X-C: \"${request_id} ${route}\"}}}"],
        "X-B: b",
    ),
    (&["ip_access: {allow: [0.0.0.0/0, 10.0.0.0/8], deny: [192.0.2.0/24]}"], "X-A: a"),
    (&["logging: {output: {file: /dev/null}, headers: {request: [X-A]}}"], "X-A: a"),
    (&["logging: {format: text, output: {file: /dev/null}}"], "Referer: http://a/?token=b"),
    (
        &["logging: {format: template, template: \"${time} ${method} ${path} ${status}\", \
           output: {file: /dev/null}, sample: {5xx: 10}, slow: 1s}"],
        "X-A: a",
    ),
    (&["metrics"], "X-A: a"),
    (&["mirror: {upstream: backup, percent: 0}"], "X-A: a"),
    (&["rate_limit: {qps: 1000000}"], "X-A: a"),
    (&["rate_limit: {qps: 1000}"], "X-A: a"),
    (&["rate_limit: {qps: 1000, key: [client_ip, header:X-Key]}"], "X-Key: abc"),
    (&["rate_limit: {qps: 1000, key: header:X-Key}"], "X-A: a"),
    (&["rate_limit: {qps: 1000, algorithm: sliding_window, window: 1m}"], "X-A: a"),
    (&["rate_limit: {qps: 1000, algorithm: fixed_window, window: 1m}"], "X-A: a"),
    (&["rate_limit: {qps: 0.001, dry_run: true}"], "X-A: a"),
    (&["redirect: {host: gateway.test, trailing_slash: remove}"], "X-A: a"),
    (&["request_id"], "X-A: a"),
    (&["request_id: {header: X-Correlation-ID, format: uuid_v7}"], "X-A: a"),
    (&["request_id: {header: X-Correlation-ID}"], "X-Correlation-ID: theirs"),
    (&["retry: {max_retries: 2, per_try_timeout: 1s}"], "X-A: a"),
    (
        &["rewrite: {rules: [{regex: /b, replacement: /c}, \
           {regex: \"/(?<all>.*)\", replacement: \"/v2/${all}\"}]}"],
        "X-A: a",
    ),
    (&["security_headers"], "X-A: a"),
    (&["security_headers: {override: true, hide_server: true}"], "X-A: a"),
    (&["timeout: {total: 5s}"], "X-A: a"),
    (&["trace"], "X-A: a"),
    (&["trace"], "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
];

const JWT: &str = "auth: {type: jwt, secret: a-secret-of-the-tests-with-32-bytes-and-more, \
                   require_expiry: false, claims_to_headers: {sub: X-User-ID}}";

/// `{"sub": "alice", "roles": ["admin"]}`, signed with the secret above. The first request has it
/// verified, later ones find it remembered.
const TOKEN: &str = "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.\
                     eyJzdWIiOiJhbGljZSIsInJvbGVzIjpbImFkbWluIl19.\
                     rFMCn9o3vg2qkAwrZJAEcTMJRaMsuu2pbELE5Nk1JyE";

/// The same token, left out of what the upstream sees.
const JWT_OF_COOKIE: &str = "auth: {type: jwt, \
     secret: a-secret-of-the-tests-with-32-bytes-and-more, require_expiry: false, \
     from: {cookie: session}, forward: false, consumer_header: X-Consumer}";

const COOKIE: &str = "Cookie: a=1; session=eyJhbGciOiJIUzI1NiJ9.\
                      eyJzdWIiOiJhbGljZSIsInJvbGVzIjpbImFkbWluIl19.\
                      rFMCn9o3vg2qkAwrZJAEcTMJRaMsuu2pbELE5Nk1JyE; b=2";

/// With the token that one row looks for.
const TARGET: &str = "/a?b=c&token=eyJhbGciOiJIUzI1NiJ9.\
                      eyJzdWIiOiJhbGljZSIsInJvbGVzIjpbImFkbWluIl19.\
                      rFMCn9o3vg2qkAwrZJAEcTMJRaMsuu2pbELE5Nk1JyE";

const JWT_OF_QUERY: &str = "auth: {type: jwt, \
     secret: a-secret-of-the-tests-with-32-bytes-and-more, require_expiry: false, \
     from: {query: token}, forward: false}";

/// `secret` as bcrypt of the least cost.
const API_KEY_OR_BASIC: &str = "auth: {consumer_header: X-Consumer, any_of: [\
     {type: api_key, consumers: [{name: a, key_hash: \
     ad44dc8e51cfbfa55e81ddbb626b466241069045066846e7e4cd096131505290}]}, \
     {type: basic, users: [{name: alice, password_hash: HASH}]}]}";

const API_KEY: &str = "auth: {type: api_key, consumers: [{name: a, key_hash: \
                       ad44dc8e51cfbfa55e81ddbb626b466241069045066846e7e4cd096131505290}]}";

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

    /// Passwords are computed when they come for the first time.
    fn compute(&self, job: Job) -> Waiting<Option<Box<dyn Any + Send>>> {
        Box::pin(std::future::ready(Some(job())))
    }
}

fn chain(entries: &[&str]) -> Vec<Rc<dyn Filter>> {
    let list: String = entries.iter().map(|entry| format!("  - {entry}\n")).collect();
    let list = list.replace("HASH", &bcrypt::hash("secret", 4).unwrap());
    let text = format!("global_filters:\n{list}routes: [{{name: a, respond: {{}}}}]\n");
    let loaded = load_str::<FilterSettings>("row.yaml", &text, &|_| None);
    let config = loaded.unwrap_or_else(|errors| panic!("{errors}")).config;
    let core: Rc<dyn Core> = Rc::new(OnlyCore);
    let built = config.global_filters.iter().map(|filter| filter.build().unwrap());
    built.map(|filter| filter.instance(&core)).collect()
}

/// Has the exchange receive a request with these fields, into the memory that it has.
fn receive(exchange: &mut Exchange, head: &[u8]) {
    exchange.receive(head, exchange.started).unwrap();
    exchange.route = Some(0);
    exchange.route_name.push('a');
    exchange.upstream.push_str("upstream");
    exchange.request_id.extend_from_slice(b"0123456789abcdef");
}

/// One exchange through all hooks.
fn pass(chain: &[Rc<dyn Filter>], exchange: &mut Exchange, may_wait: bool) {
    for filter in chain {
        let verdict = match filter.on_request(exchange) {
            Step::Now(verdict) => verdict,
            Step::Later(wait) if may_wait => done_at_once(wait),
            Step::Later(_) => panic!("it waits"),
        };
        if let Verdict::Answer(answer) = verdict {
            panic!("it answers {}", answer.status);
        }
    }
    for filter in chain {
        assert!(matches!(filter.on_attempt(exchange), Verdict::Continue));
    }
    for filter in chain.iter().rev() {
        assert_eq!(filter.on_outcome(exchange, &Outcome::Answered(200)), Next::Accept);
    }
    exchange.response.head.status = 200;
    chain.iter().rev().for_each(|filter| filter.on_response(exchange));
    let ended = exchange.started;
    let record = Record { exchange, status: 200, error: None, ended };
    chain.iter().rev().for_each(|filter| filter.on_end(&record));
}

/// What a filter waited for, which took no time.
fn done_at_once(mut wait: Pin<Box<dyn Future<Output = Verdict> + '_>>) -> Verdict {
    match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(verdict) => verdict,
        Poll::Pending => panic!("it waits for long"),
    }
}

#[test]
fn a_request_that_passes_allocates_nothing() {
    let mut faults = String::new();
    for (entries, fields) in ROWS {
        let chain = chain(entries);
        let head = format!("GET {TARGET} HTTP/1.1\r\nHost: gateway.test\r\n{fields}\r\n\r\n");
        // Exchanges keep their memory from one request to the next. What a filter holds of one is
        // given back when it receives the next.
        let mut exchange = Exchange::new(clock::now());
        let mut once = |may_wait| {
            receive(&mut exchange, head.as_bytes());
            pass(&chain, &mut exchange, may_wait);
        };
        (0..3).for_each(|_| once(true));
        let counted = allocation_counter::measure(|| (0..10).for_each(|_| once(false)));
        if counted.count_total != 0 {
            faults += &format!("{entries:?} ({fields}): {counted:?} in ten requests\n");
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// The counting itself works, or the test above would prove nothing.
#[test]
fn an_allocation_is_counted() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![1_u8; 100])));
    assert_eq!(counted.count_total, 1);
}
