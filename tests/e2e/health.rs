//! Health: endpoints that fall ill are found, left alone, and taken back, without a failed request.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::harness::{Client, Driver, Gateway, Origin, eventually, ok, refusing, scenes};

scenes![
    a_bad_status_takes_an_endpoint_out_and_a_good_one_back,
    a_body_that_lacks_the_text_takes_an_endpoint_out,
    a_chunked_body_is_searched,
    an_endpoint_that_never_answers_costs_a_timeout_each,
    an_endpoint_that_is_not_there_is_taken_in_when_it_comes,
    an_endpoint_that_breaks_off_is_unhealthy,
    a_connection_may_be_all_that_is_asked,
    a_check_has_its_host_and_headers,
    one_check_for_all_workers,
    what_changes_is_told_once,
    failures_count_over_all_workers,
    answers_in_between_end_the_row,
    refusals_eject_too,
    an_ejection_ends,
    no_more_than_the_share_is_ejected,
    with_too_few_healthy_ones_all_are_used,
    without_a_threshold_none_may_be_left,
    who_comes_back_begins_slowly,
    a_reload_keeps_what_is_known,
    a_reload_brings_other_checks,
];

/// An origin that can fall ill.
struct Patient {
    origin: Origin,
    ill: Arc<Mutex<Option<&'static str>>>,
}

/// Never answers.
const SILENT: &str = "";
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

impl Patient {
    /// Says its name to everybody, and `fine` to checks. The illness shows in what is asked for
    /// below `/check` only, or in all that is asked for.
    fn new(name: &'static str, shows_everywhere: bool) -> Patient {
        let ill = Arc::new(Mutex::new(None));
        let state = ill.clone();
        let origin = Origin::script(move |connection| {
            while let Some(request) = connection.request()? {
                let check = request.target.starts_with("/check");
                let ill = state.lock().unwrap().filter(|_| check || shows_everywhere);
                match ill {
                    Some(SILENT) => {
                        connection.await_end();
                        return Ok(());
                    }
                    Some(answer) => connection.write(answer)?,
                    None => connection.write(ok(if check { "all is fine" } else { name }))?,
                }
            }
            Ok(())
        });
        Patient { origin, ill }
    }

    fn address(&self) -> SocketAddr {
        self.origin.address
    }

    fn falls_ill(&self, answer: &'static str) {
        *self.ill.lock().unwrap() = Some(answer);
    }

    fn recovers(&self) {
        *self.ill.lock().unwrap() = None;
    }

    /// Waits until it has been checked so many times more.
    #[track_caller]
    fn await_checks(&self, count: usize) {
        let seen = self.checks();
        eventually("checks", || self.checks() >= seen + count);
    }

    fn checks(&self) -> usize {
        self.origin.requests().iter().filter(|request| request.target.starts_with("/check")).count()
    }
}

/// The file of a gateway that balances over these endpoints, with further settings.
fn file(endpoints: &[SocketAddr], settings: &[&str]) -> String {
    let targets: String =
        endpoints.iter().map(|address| format!("      - addr: {address}\n")).collect();
    let settings: String = settings.iter().map(|setting| format!("    {setting}\n")).collect();
    format!("upstreams:\n  pair:\n    targets:\n{targets}{settings}{ROUTE}")
}

const ROUTE: &str = "routes:\n  - {name: all, prefix: /, upstream: pair}\n";

fn over(driver: Driver, endpoints: &[SocketAddr], settings: &[&str]) -> Gateway {
    Gateway::start(driver, &file(endpoints, settings))
}

/// Checks every 100 ms; two alike make a verdict.
const CHECK: &str = "health_check: {path: /check, interval: 100ms, timeout: 100ms, \
                     healthy_after: 2, unhealthy_after: 2}";

fn ask(client: &mut Client) -> String {
    client.get("/").expect(200).text()
}

/// Who answers so many requests, none of which fails.
#[track_caller]
fn who_answers(gateway: &Gateway, requests: usize) -> BTreeSet<String> {
    let mut client = gateway.client();
    (0..requests).map(|_| ask(&mut client)).collect()
}

fn named(names: &[&str]) -> BTreeSet<String> {
    names.iter().copied().map(str::to_owned).collect()
}

#[track_caller]
fn await_verdict(gateway: &Gateway, verdict: &str, address: SocketAddr) -> String {
    gateway.await_log(&[verdict, &format!("endpoint={address}")])
}

const UNHEALTHY: &str = "an endpoint is unhealthy";
const HEALTHY: &str = "an endpoint is healthy again";
const EJECTED: &str = "an endpoint is ejected";

/// How often the log has a line with these words.
fn told(gateway: &Gateway, words: &str) -> usize {
    gateway.log().lines().filter(|line| line.contains(words)).count()
}

/// Both serve; `a` falls ill and is left alone; it recovers and serves again.
#[track_caller]
fn falls_ill_and_recovers(driver: Driver, check: &str, illness: &'static str, why: &str) {
    let (a, b) = (Patient::new("a", false), Patient::new("b", false));
    let gateway = over(driver, &[a.address(), b.address()], &[check]);
    a.await_checks(1);
    b.await_checks(1);
    assert_eq!(who_answers(&gateway, 10), named(&["a", "b"]));
    a.falls_ill(illness);
    let line = await_verdict(&gateway, UNHEALTHY, a.address());
    assert!(line.contains(why), "{line}");
    assert_eq!(who_answers(&gateway, 10), named(&["b"]));
    a.recovers();
    await_verdict(&gateway, HEALTHY, a.address());
    assert_eq!(who_answers(&gateway, 10), named(&["a", "b"]));
}

fn a_bad_status_takes_an_endpoint_out_and_a_good_one_back(driver: Driver) {
    falls_ill_and_recovers(driver, CHECK, UNAVAILABLE, "it answered 503");
}

fn a_body_that_lacks_the_text_takes_an_endpoint_out(driver: Driver) {
    let check = "health_check: {path: /check, interval: 100ms, expect_body: is fine}";
    let poorly = "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\nall is not so fine";
    falls_ill_and_recovers(driver, check, poorly, "its body lacks the expected text");
}

fn a_chunked_body_is_searched(driver: Driver) {
    let check = "health_check: {path: /check, interval: 100ms, expect_status: [201, 300-302], \
                 expect_body: fine}";
    let chunks = "HTTP/1.1 302 Found\r\nTransfer-Encoding: chunked\r\n\r\n\
                  2\r\nfi\r\n3;a=b\r\nne!\r\n0\r\n\r\n";
    let fine = Origin::answering(chunks);
    let not = Origin::answering(chunks.replace("302 Found", "200 OK"));
    let gateway = over(driver, &[fine.address, not.address], &[check]);
    let line = await_verdict(&gateway, UNHEALTHY, not.address);
    assert!(line.contains("it answered 200"), "{line}");
    fine.await_requests(5);
    assert_eq!(told(&gateway, UNHEALTHY), 1);
}

fn an_endpoint_that_never_answers_costs_a_timeout_each(driver: Driver) {
    let (a, b) = (Patient::new("a", false), Patient::new("b", false));
    a.falls_ill(SILENT);
    let gateway = over(driver, &[a.address(), b.address()], &[CHECK]);
    let line = await_verdict(&gateway, UNHEALTHY, a.address());
    assert!(line.contains("it did not answer within 100ms"), "{line}");
    // One at a time: each is given up before the next begins.
    a.await_checks(5);
    a.origin.await_ended(a.checks() - 1);
    b.await_checks(5);
    assert_eq!(who_answers(&gateway, 10), named(&["b"]));
    a.recovers();
    await_verdict(&gateway, HEALTHY, a.address());
    assert_eq!(who_answers(&gateway, 10), named(&["a", "b"]));
}

fn an_endpoint_that_is_not_there_is_taken_in_when_it_comes(driver: Driver) {
    let (late, b) = (refusing(), Patient::new("b", false));
    let gateway = over(driver, &[late, b.address()], &[CHECK]);
    let line = await_verdict(&gateway, UNHEALTHY, late);
    assert!(line.contains("it cannot be connected to"), "{line}");
    assert_eq!(who_answers(&gateway, 10), named(&["b"]));
    let _late = Origin::script_at(late, |connection| {
        while connection.request()?.is_some() {
            connection.write(ok("late"))?;
        }
        Ok(())
    });
    await_verdict(&gateway, HEALTHY, late);
    // At once, though the core has passed it over for having refused.
    assert_eq!(who_answers(&gateway, 10), named(&["b", "late"]));
}

fn an_endpoint_that_breaks_off_is_unhealthy(driver: Driver) {
    let closing = Origin::script(|connection| connection.request().map(|_| ()));
    let odd = Origin::answering("220 mail.example.com ESMTP\r\n\r\n");
    let b = Patient::new("b", false);
    let gateway = over(driver, &[closing.address, odd.address, b.address()], &[CHECK]);
    let line = await_verdict(&gateway, UNHEALTHY, closing.address);
    assert!(line.contains("it closed the connection without an answer"), "{line}");
    let line = await_verdict(&gateway, UNHEALTHY, odd.address);
    assert!(line.contains("it did not answer in HTTP"), "{line}");
    assert_eq!(who_answers(&gateway, 10), named(&["b"]));
}

fn a_connection_may_be_all_that_is_asked(driver: Driver) {
    let address = refusing();
    let connecting = move || {
        Origin::script_at(address, |connection| {
            while connection.request()?.is_some() {
                connection.write(ok("a"))?;
            }
            Ok(())
        })
    };
    let (a, b) = (connecting(), Patient::new("b", false));
    let check = "health_check: {tcp: true, interval: 100ms, healthy_after: 1, unhealthy_after: 1}";
    let gateway = over(driver, &[address, b.address()], &[check]);
    a.await_ended(3);
    assert_eq!(a.count(), 0, "nothing is sent");
    drop(a);
    await_verdict(&gateway, UNHEALTHY, address);
    assert_eq!(who_answers(&gateway, 10), named(&["b"]));
    let _a = connecting();
    await_verdict(&gateway, HEALTHY, address);
    assert_eq!(who_answers(&gateway, 10), named(&["a", "b"]));
}

fn a_check_has_its_host_and_headers(driver: Driver) {
    let a = Patient::new("a", false);
    let check = "health_check: {path: \"/check?deep=1\", interval: 100ms, host: \"a.internal:81\", \
                 headers: {X-Probe: ringway, User-Agent: us}}";
    let _gateway = over(driver, &[a.address()], &[check]);
    a.await_checks(1);
    let request = a.origin.requests().remove(0);
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/check?deep=1"));
    assert_eq!(request.head.all("host"), ["a.internal:81"]);
    assert_eq!(request.head.all("x-probe"), ["ringway"]);
    assert_eq!(request.head.all("user-agent"), ["us"]);
    assert_eq!(request.head.all("connection"), ["close"]);

    let b = Patient::new("b", false);
    let _gateway = over(driver, &[b.address()], &["health_check: {path: /check}"]);
    b.await_checks(1);
    let request = b.origin.request();
    assert_eq!(request.head.all("host"), [b.address().to_string()]);
    let agent = request.field("user-agent").unwrap();
    assert!(agent.starts_with("ringway-health/"), "{agent}");
}

/// Checks of four workers at four times the rate would have come in fours.
fn one_check_for_all_workers(driver: Driver) {
    let (a, b) = (Patient::new("a", false), Patient::new("b", false));
    let slow = "health_check: {path: /check, interval: 1h}";
    let workers = format!("workers:\n  count: 4\n{}", file(&[a.address(), b.address()], &[slow]));
    let gateway = Gateway::start(driver, &workers);
    a.origin.await_requests(1);
    b.origin.await_requests(1);
    assert_eq!(who_answers(&gateway, 10), named(&["a", "b"]));
    assert_eq!((a.checks(), b.checks()), (1, 1));
}

fn what_changes_is_told_once(driver: Driver) {
    let a = Patient::new("a", false);
    let gateway = over(driver, &[a.address()], &[CHECK]);
    a.await_checks(1);
    a.falls_ill(UNAVAILABLE);
    await_verdict(&gateway, UNHEALTHY, a.address());
    a.await_checks(5);
    a.recovers();
    await_verdict(&gateway, HEALTHY, a.address());
    a.await_checks(5);
    assert_eq!((told(&gateway, UNHEALTHY), told(&gateway, HEALTHY)), (1, 1));
}

/// Requests over so many connections that each worker has some, until so many have failed.
fn fail(gateway: &Gateway, failures: usize) {
    let mut clients: Vec<Client> = (0..16).map(|_| gateway.client()).collect();
    let mut failed = 0;
    for turn in 0.. {
        failed += usize::from(clients[turn % 16].get("/").status == 503);
        if failed == failures {
            return;
        }
    }
}

fn failures_count_over_all_workers(driver: Driver) {
    let (a, b) = (Patient::new("a", true), Patient::new("b", true));
    a.falls_ill(UNAVAILABLE);
    let outliers = "outlier_detection: {consecutive_failures: 16, ejection_time: 1h, \
                    max_ejection_time: 1h}";
    let file = file(&[a.address(), b.address()], &[outliers]);
    let gateway = Gateway::start(driver, &format!("workers:\n  count: 2\n{file}"));
    // As many in all as may not be: no single worker has seen all of them.
    fail(&gateway, 16);
    await_verdict(&gateway, EJECTED, a.address());
    for _ in 0..16 {
        assert_eq!(who_answers(&gateway, 4), named(&["b"]));
    }
}

fn answers_in_between_end_the_row(driver: Driver) {
    let (a, b) = (Patient::new("a", true), Patient::new("b", true));
    let outliers = "outlier_detection: {consecutive_failures: 3, ejection_time: 1h, \
                    max_ejection_time: 1h}";
    let gateway = over(driver, &[a.address(), b.address()], &[outliers]);
    let mut client = gateway.client();
    for _ in 0..5 {
        a.falls_ill(UNAVAILABLE);
        fail(&gateway, 2);
        a.recovers();
        while ask(&mut client) != "a" {}
    }
    assert_eq!(told(&gateway, EJECTED), 0);
    a.falls_ill(UNAVAILABLE);
    fail(&gateway, 3);
    await_verdict(&gateway, EJECTED, a.address());
}

/// Nothing fails for the client: what was refused goes to the other one.
fn refusals_eject_too(driver: Driver) {
    let (gone, b) = (refusing(), Patient::new("b", true));
    let outliers = "outlier_detection: {consecutive_failures: 2, ejection_time: 1h, \
                    max_ejection_time: 1h}";
    let gateway = over(driver, &[gone, b.address()], &[outliers]);
    let mut client = gateway.client();
    eventually("an ejection", || {
        assert_eq!(ask(&mut client), "b");
        told(&gateway, EJECTED) == 1
    });
}

fn an_ejection_ends(driver: Driver) {
    let (a, b) = (Patient::new("a", true), Patient::new("b", true));
    a.falls_ill(UNAVAILABLE);
    let outliers = "outlier_detection: {consecutive_failures: 2, ejection_time: 300ms}";
    let gateway = over(driver, &[a.address(), b.address()], &[outliers]);
    fail(&gateway, 2);
    let line = await_verdict(&gateway, EJECTED, a.address());
    assert!(line.contains("time=300ms"), "{line}");
    await_verdict(&gateway, "an endpoint is back from ejection", a.address());
    // Still ill: out for twice as long.
    fail(&gateway, 2);
    gateway.await_log(&[EJECTED, "time=600ms"]);
    a.recovers();
    eventually("it is back", || who_answers(&gateway, 4) == named(&["a", "b"]));
}

fn no_more_than_the_share_is_ejected(driver: Driver) {
    let patients = [Patient::new("a", true), Patient::new("b", true), Patient::new("c", true)];
    patients.iter().for_each(|patient| patient.falls_ill(UNAVAILABLE));
    let addresses = patients.each_ref().map(Patient::address);
    let outliers = "outlier_detection: {consecutive_failures: 2, max_ejected: 40}";
    let gateway = over(driver, &addresses, &[outliers]);
    fail(&gateway, 6);
    gateway.await_log(&[EJECTED]);
    let before: Vec<usize> = patients.iter().map(|patient| patient.origin.count()).collect();
    fail(&gateway, 20);
    let after: Vec<usize> = patients.iter().map(|patient| patient.origin.count()).collect();
    let asked = before.iter().zip(&after).filter(|(before, after)| before < after).count();
    assert_eq!((told(&gateway, EJECTED), asked), (1, 2), "{before:?} {after:?}");
}

fn with_too_few_healthy_ones_all_are_used(driver: Driver) {
    let patients = [Patient::new("a", false), Patient::new("b", false), Patient::new("c", false)];
    let addresses = patients.each_ref().map(Patient::address);
    let gateway = over(driver, &addresses, &[CHECK, "panic_threshold: 50"]);
    patients[0].falls_ill(UNAVAILABLE);
    await_verdict(&gateway, UNHEALTHY, addresses[0]);
    assert_eq!(who_answers(&gateway, 12), named(&["b", "c"]), "two of three are enough");
    patients[1].falls_ill(UNAVAILABLE);
    gateway.await_log(&["too few endpoints are healthy", "upstream=\"pair\""]);
    assert_eq!(who_answers(&gateway, 12), named(&["a", "b", "c"]));
    patients[1].recovers();
    gateway.await_log(&["using healthy endpoints only, as usual", "upstream=\"pair\""]);
    assert_eq!(who_answers(&gateway, 12), named(&["b", "c"]));
}

fn without_a_threshold_none_may_be_left(driver: Driver) {
    let a = Patient::new("a", false);
    let gateway = over(driver, &[a.address()], &[CHECK, "panic_threshold: 0"]);
    a.await_checks(1);
    assert_eq!(who_answers(&gateway, 2), named(&["a"]));
    a.falls_ill(UNAVAILABLE);
    await_verdict(&gateway, UNHEALTHY, a.address());
    gateway.get("/").expect_error(503);
    a.recovers();
    await_verdict(&gateway, HEALTHY, a.address());
    assert_eq!(who_answers(&gateway, 2), named(&["a"]));
}

fn who_comes_back_begins_slowly(driver: Driver) {
    for balance in ["round_robin", "random", "least_requests"] {
        let (a, b) = (Patient::new("a", false), Patient::new("b", false));
        a.falls_ill(UNAVAILABLE);
        let balance = format!("balance: {balance}");
        let settings = [CHECK, "slow_start: 1h", &balance];
        let gateway = over(driver, &[a.address(), b.address()], &settings);
        await_verdict(&gateway, UNHEALTHY, a.address());
        a.recovers();
        await_verdict(&gateway, HEALTHY, a.address());
        let mut client = gateway.client();
        let share = (0..220).filter(|_| ask(&mut client) == "a").count();
        // A tenth beside a whole is 20 of 220; six standard deviations are 26.
        assert!((1..=46).contains(&share), "{share} of 220 with {balance}");
    }
}

fn a_reload_keeps_what_is_known(driver: Driver) {
    let (a, b) = (Patient::new("a", false), Patient::new("b", false));
    let file = file(&[a.address(), b.address()], &[CHECK]);
    let gateway = Gateway::start(driver, &file);
    a.falls_ill(UNAVAILABLE);
    await_verdict(&gateway, UNHEALTHY, a.address());
    let more = "  - {name: ping, path: /ping, respond: {body: pong}}\n";
    gateway.reload(&format!("{file}{more}"));
    assert_eq!(gateway.get("/ping").expect(200).text(), "pong");
    assert_eq!(who_answers(&gateway, 10), named(&["b"]));
    // Another setting of the same upstream, too.
    gateway.reload(&file.replace("targets:", "balance: random\n    targets:"));
    assert_eq!(who_answers(&gateway, 10), named(&["b"]));
    assert_eq!(told(&gateway, UNHEALTHY), 1);
    a.recovers();
    await_verdict(&gateway, HEALTHY, a.address());
}

fn a_reload_brings_other_checks(driver: Driver) {
    let (a, b) = (Patient::new("a", false), Patient::new("b", false));
    a.falls_ill(UNAVAILABLE);
    let addresses = [a.address(), b.address()];
    let gateway = over(driver, &addresses, &[]);
    assert_eq!(who_answers(&gateway, 10), named(&["a", "b"]));
    gateway.reload(&file(&addresses, &[CHECK]));
    await_verdict(&gateway, UNHEALTHY, a.address());
    assert_eq!(who_answers(&gateway, 10), named(&["b"]));
    gateway.reload(&file(&addresses, &[]));
    assert_eq!(who_answers(&gateway, 10), named(&["a", "b"]), "nobody says otherwise any more");
    // What was under way when the checks ended may still have come.
    let (before, other) = (a.checks(), Patient::new("other", false));
    let gone = gateway.reload(&file(&[other.address()], &[CHECK]));
    assert!(gone.contains("reloaded"), "{gone}");
    other.await_checks(5);
    assert!(a.checks() <= before + 1, "checked {} times more", a.checks() - before);
}

#[test]
fn explain_tells_what_decides() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/health.yaml");
    let (code, said) = crate::cli::run(&["explain", "-c", file, "GET", "/users"]);
    assert_eq!(code, Some(0), "{said}");
    for line in [
        "  check     GET /healthz for 200 with ",
        " within 1s, every 2s; out after 3, back after 2",
        "  ejection  after 5 failures in a row for 10s, at most 5m; at most 50 % of the endpoints",
        "  panic     below 40 % healthy all are used",
        "  slow_start 30s",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert!(!said.contains("X-Probe"), "{said}");
    let (_, said) = crate::cli::run(&["explain", "-c", file, "GET", "/mail"]);
    assert!(said.contains("  check     a connection within 2s, every 10s; "), "{said}");
}
