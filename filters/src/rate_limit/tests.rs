use std::cell::Cell;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::tests::{build, read, refused};

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
    static SLEPT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn now() -> Instant {
    NOW.get().unwrap_or_else(|| {
        NOW.set(Some(clock::now()));
        now()
    })
}

fn pass(time: Duration) {
    NOW.set(Some(now() + time));
}

/// So many cores of one limit, on a clock that the test moves.
fn limit(filter: &str, cores: usize) -> Vec<RateLimit> {
    build(filter).unwrap();
    let Ok(crate::FilterSettings::RateLimit(settings)) = read(filter) else { panic!("{filter}") };
    let plan = Shared::new(settings.lower(now()).unwrap());
    let sleep = |time| Box::pin(async move { SLEPT.set(SLEPT.get() + time) }) as Wait;
    let core = |core| RateLimit {
        plan: plan.clone(),
        counts: plan.shards.of(core),
        leases: RefCell::default(),
        scratch: RefCell::default(),
        clock: Clock { now, sleep },
    };
    // Nobody starts at the very moment of the first request.
    pass(Duration::from_secs(1000));
    (0..cores).map(core).collect()
}

fn exchange(fields: &str) -> Exchange {
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    Exchange::with_request(head.as_bytes(), now()).unwrap()
}

/// The answer to a request, or how long it waited.
fn ask(core: &RateLimit, exchange: &mut Exchange) -> Result<Duration, Box<Answer>> {
    SLEPT.set(Duration::ZERO);
    let verdict = match core.on_request(exchange) {
        Step::Now(verdict) => verdict,
        Step::Later(mut wait) => {
            let mut context = Context::from_waker(Waker::noop());
            let Poll::Ready(verdict) = wait.as_mut().poll(&mut context) else {
                panic!("the clock of the test never waits")
            };
            verdict
        }
    };
    match verdict {
        Verdict::Continue => Ok(SLEPT.get()),
        Verdict::Answer(answer) => Err(answer),
    }
}

/// How many of so many requests pass, the cores taking turns.
fn passing(cores: &[RateLimit], fields: &str, count: usize) -> usize {
    let turns = cores.iter().cycle().take(count);
    turns.filter(|core| ask(core, &mut exchange(fields)).is_ok()).count()
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let found = answer.headers.iter().find(|(other, _)| other == name);
    found.map_or("", |(_, value)| value)
}

fn measure(limit: &RateLimit, name: &str, outcome: &str) -> f64 {
    let mut measures = Vec::new();
    Limit(limit.plan.clone()).measures(&mut measures);
    let found = measures.iter().find(|measure| {
        measure.name == name && measure.labels.iter().all(|(_, value)| value == outcome)
    });
    found.unwrap_or_else(|| panic!("{name}: {measures:?}")).value
}

#[test]
fn a_burst_of_five_on_eight_cores_is_five() {
    let cores = limit("- rate_limit: {qps: 1, burst: 5}", 8);
    assert_eq!(passing(&cores, "", 100), 5);
    pass(Duration::from_millis(2_500));
    assert_eq!(passing(&cores, "", 100), 2);
    pass(Duration::from_secs(100));
    assert_eq!(passing(&cores[3..4], "", 100), 5, "one core alone has all of it");
}

#[test]
fn a_high_limit_is_leased_and_keeps_its_bound() {
    let cores = limit("- rate_limit: {qps: 100000}", 8);
    let passed = passing(&cores, "", 200_000);
    assert!((98_000..=100_000).contains(&passed), "{passed}");
}

#[test]
fn a_rate_may_have_a_fraction() {
    let cores = limit("- rate_limit: {qps: 0.1}", 1);
    assert_eq!(passing(&cores, "", 3), 1);
    pass(Duration::from_millis(9_999));
    assert_eq!(passing(&cores, "", 3), 0);
    pass(Duration::from_millis(1));
    assert_eq!(passing(&cores, "", 3), 1);
}

#[test]
fn whoever_is_over_the_limit_is_told_when_to_come_again() {
    let cores = limit("- rate_limit: {qps: 0.5, burst: 3}", 1);
    assert_eq!(passing(&cores, "", 3), 3);
    let answer = ask(&cores[0], &mut exchange("")).unwrap_err();
    assert_eq!(*answer, {
        Answer::message(429, "rate limit exceeded")
            .with_header("Retry-After", "2")
            .with_header("RateLimit-Policy", "\"route\";q=3;w=6")
            .with_header("RateLimit", "\"route\";r=0;t=2")
    });
    pass(Duration::from_millis(1_900));
    let answer = ask(&cores[0], &mut exchange("")).unwrap_err();
    assert_eq!(header(&answer, "Retry-After"), "1", "never 0");
    pass(Duration::from_millis(100));
    assert!(ask(&cores[0], &mut exchange("")).is_ok());
}

#[test]
fn the_policy_says_what_passes_in_whole_seconds() {
    for (filter, policy) in [
        ("- rate_limit: {qps: 100}", "\"route\";q=100;w=1"),
        ("- rate_limit: {qps: 100, burst: 5}", "\"route\";q=100;w=1"),
        ("- rate_limit: {qps: 100, burst: 150}", "\"route\";q=200;w=2"),
        ("- rate_limit: {qps: 0.1, key: client_ip}", "\"client_ip\";q=1;w=10"),
        (
            "- rate_limit: {qps: 2, algorithm: fixed_window, window: 1m, key: [route, header:A]}",
            "\"route+header\";q=120;w=60",
        ),
        // As floating point has it, 0.29 × 100 is a little less than 29.
        (
            "- rate_limit: {qps: 0.29, algorithm: fixed_window, window: 100s}",
            "\"route\";q=29;w=100",
        ),
    ] {
        let core = &limit(filter, 1)[0];
        let answer = core.plan.refusal(1);
        assert_eq!(header(&answer, "RateLimit-Policy"), policy, "{filter}");
    }
}

#[test]
fn each_key_has_its_own_budget() {
    let cores = limit("- rate_limit: {qps: 1, burst: 2, key: header:X-Key}", 3);
    assert_eq!(passing(&cores, "X-Key: a\r\n", 10), 2);
    assert_eq!(passing(&cores, "X-Key: b\r\n", 10), 2);
    assert_eq!(passing(&cores, "", 10), 2, "who has none shares one");
    assert_eq!(passing(&cores, "X-Key: a\r\n", 10), 0);
}

#[test]
fn each_route_has_its_own_budget_unless_it_is_global() {
    for (key, second) in [("route", 5_000), ("global", 0)] {
        let cores = limit(&format!("- rate_limit: {{qps: 5000, key: {key}}}"), 1);
        let on_route = |at: usize| {
            (0..6_000)
                .filter(|_| {
                    let mut exchange = exchange("");
                    exchange.route = Some(at);
                    exchange.route_name = at.to_string();
                    ask(&cores[0], &mut exchange).is_ok()
                })
                .count()
        };
        let first = on_route(0);
        assert!((4_900..=5_000).contains(&first), "{key}: {first}");
        let granted = on_route(1);
        assert!((second * 98 / 100..=second).contains(&granted), "{key}: {granted}");
    }
}

/// After a reload another route may have the place of one that was there before. What the core
/// holds for the one is not for the other.
#[test]
fn a_route_that_moves_takes_nothing_of_another() {
    let cores = limit("- rate_limit: {qps: 100000}", 1);
    let pass_as = |name: &str, count: usize| {
        let passes = |_: &usize| {
            let mut exchange = exchange("");
            exchange.route = Some(0);
            exchange.route_name = name.to_owned();
            ask(&cores[0], &mut exchange).is_ok()
        };
        (0..count).filter(passes).count()
    };
    // Until the core has credits in hand.
    assert_eq!(pass_as("a", 1_000), 1_000);
    let burst = pass_as("b", 100_000);
    assert!((98_000..=99_000).contains(&burst), "{burst}: the burst but for what is for leases");
}

#[test]
fn a_dry_run_counts_and_lets_pass() {
    let cores = limit("- rate_limit: {qps: 1, burst: 2, dry_run: true}", 2);
    assert_eq!(passing(&cores, "", 10), 10);
    let of = |outcome| measure(&cores[0], "rate_limit_requests_total", outcome);
    assert_eq!((of("allowed"), of("limited"), of("dry_run")), (2.0, 0.0, 8.0));
}

#[test]
fn what_passes_and_what_does_not_is_counted() {
    let cores = limit("- rate_limit: {qps: 1, burst: 2, key: client_ip}", 2);
    assert_eq!(passing(&cores, "", 10), 2);
    let of = |outcome| measure(&cores[1], "rate_limit_requests_total", outcome);
    assert_eq!((of("allowed"), of("limited"), of("dry_run")), (2.0, 8.0, 0.0));
    assert_eq!(measure(&cores[0], "rate_limit_keys", ""), 1.0);
}

#[test]
fn keys_are_bounded_and_idle_ones_leave_first() {
    let cores = limit("- rate_limit: {qps: 10, burst: 5, key: header:A, max_keys: 100}", 1);
    let evicted = || measure(&cores[0], "rate_limit_evicted_keys_total", "");
    // One after the other, each is idle long before there is no room.
    for key in 0..1_000 {
        assert_eq!(passing(&cores, &format!("A: {key}\r\n"), 1), 1);
        pass(Duration::from_millis(2));
    }
    assert_eq!(evicted(), 0.0);
    // All at once they are not, but who has used most stays.
    assert_eq!(passing(&cores, "A: greedy\r\n", 10), 5);
    for key in 0..1_000 {
        assert_eq!(passing(&cores, &format!("A: {key}\r\n"), 1), 1);
    }
    assert!(evicted() > 800.0, "{}", evicted());
    assert_eq!(passing(&cores, "A: greedy\r\n", 10), 0);
    assert!(measure(&cores[0], "rate_limit_keys", "") <= 160.0);
}

#[test]
fn a_leaky_bucket_delays() {
    let cores = limit("- rate_limit: {qps: 10, burst: 2, algorithm: leaky_bucket}", 2);
    let mut waits = Vec::new();
    for core in cores.iter().cycle().take(4) {
        waits.push(ask(core, &mut exchange("")).map(|wait| wait.as_millis()).ok());
    }
    assert_eq!(waits, [Some(0), Some(100), Some(200), None]);
    let answer = ask(&cores[0], &mut exchange("")).unwrap_err();
    assert_eq!((answer.status, header(&answer, "Retry-After")), (429, "1"));
    pass(Duration::from_millis(150));
    let wait = ask(&cores[0], &mut exchange("")).map(|wait| wait.as_millis());
    assert_eq!(wait, Ok(150));
}

#[test]
fn a_dry_run_does_not_delay() {
    let cores =
        limit("- rate_limit: {qps: 10, burst: 2, algorithm: leaky_bucket, dry_run: true}", 1);
    for _ in 0..5 {
        assert_eq!(ask(&cores[0], &mut exchange("")), Ok(Duration::ZERO));
    }
    assert_eq!(measure(&cores[0], "rate_limit_requests_total", "dry_run"), 2.0);
}

#[test]
fn windows_count() {
    for (algorithm, next) in [("fixed_window", 30), ("sliding_window", 15)] {
        let filter =
            format!("- rate_limit: {{qps: 0.5, algorithm: {algorithm}, window: 1m, key: global}}");
        let cores = limit(&filter, 4);
        // To the beginning of a window: the limit began 1,000 seconds ago.
        pass(Duration::from_secs(20));
        assert_eq!(passing(&cores, "", 100), 30, "{algorithm}");
        pass(Duration::from_secs(59));
        assert_eq!(passing(&cores, "", 100), 0, "{algorithm}");
        let answer = ask(&cores[0], &mut exchange("")).unwrap_err();
        assert_eq!(header(&answer, "RateLimit-Policy"), "\"global\";q=30;w=60");
        pass(Duration::from_secs(31));
        assert_eq!(passing(&cores, "", 100), next, "{algorithm}");
    }
}

#[test]
fn a_window_takes_what_its_settings_come_to() {
    for (qps, window, expected) in
        [("0.29", "100s", 29), ("1.1", "30s", 33), ("0.7", "1m", 42), ("0.35", "5s", 1)]
    {
        for algorithm in ["fixed_window", "sliding_window"] {
            let settings = format!("{{qps: {qps}, algorithm: {algorithm}, window: {window}}}");
            let cores = limit(&format!("- rate_limit: {settings}"), 2);
            // To the beginning of a window: the limit began 1,000 seconds ago.
            pass(Duration::from_secs(200));
            assert_eq!(passing(&cores, "", 100), expected, "{settings}");
        }
    }
}

#[test]
fn who_asks_has_to_be_known_first() {
    let needs = |key: &str| {
        let filter = format!("- rate_limit: {{qps: 1, key: {key}}}");
        build(&filter).unwrap().needs_identity()
    };
    assert_eq!(needs("consumer"), Some("key"));
    assert_eq!(needs("[route, claim:tenant]"), Some("key"));
    assert_eq!(needs("[route, client_ip]"), None);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let wrong = |filter: &str, field, part| {
        refused(&format!("- rate_limit: {{{filter}}}"), &format!("rate_limit.{field}"), part);
    };
    wrong("qps: 0", "qps", "above 0");
    wrong("qps: -1", "qps", "above 0");
    wrong("qps: 1e9", "qps", "10000000");
    wrong("qps: 1, burst: 0", "burst", "at least 1");
    wrong("qps: 0.0001, burst: 4000000", "burst", "year");
    wrong("qps: 1, window: 1s", "window", "no window");
    let leaky = "algorithm: leaky_bucket";
    wrong(&format!("qps: 1, window: 1s, {leaky}"), "window", "no window");
    wrong(&format!("qps: 1, burst: 4000, {leaky}"), "burst", "hour");
    let fixed = "algorithm: fixed_window";
    wrong(&format!("qps: 1, burst: 5, {fixed}"), "burst", "no burst");
    wrong(&format!("qps: 1, window: 100ms, {fixed}"), "window", "1s");
    wrong(&format!("qps: 1, window: 2d, {fixed}"), "window", "1d");
    wrong(&format!("qps: 0.1, {fixed}"), "window", "another `window`");
    wrong(&format!("qps: 1e6, window: 1m, {fixed}"), "window", "4194303");
    wrong("qps: 1, key: cookie", "key", "client_ip");
    wrong("qps: 1, key: []", "key", "empty");
    wrong("qps: 1, key: [route, header]", "key", "which one");
    wrong("qps: 1, max_keys: 0", "max_keys", "from 1");
    assert!(read("- rate_limit: {burst: 5}").unwrap_err().contains("`qps` is missing"));
    assert!(read("- rate_limit: {qps: 5, brst: 5}").unwrap_err().contains("burst"));
}

#[test]
fn it_says_what_it_does_in_one_line() {
    for (filter, summary) in [
        ("{qps: 0.5}", "0.5 a second, burst 1, by route"),
        (
            "{qps: 10, algorithm: fixed_window, window: 90s, key: [route, header:A]}",
            "10 a second, fixed window 1m30s, by route and header:A",
        ),
        (
            "{qps: 10, algorithm: leaky_bucket, dry_run: true}",
            "10 a second, evenly, queue 10, by route, dry run",
        ),
    ] {
        let built = build(&format!("- rate_limit: {filter}")).unwrap();
        assert_eq!(built.summary(), summary);
    }
}
