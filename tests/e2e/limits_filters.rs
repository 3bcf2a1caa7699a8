//! Filters that bound what passes: how often, how much at once, how large, from where.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{
    Driver, End, Gate, Gateway, Origin, Response, chunked, dedent, eventually, forward_route, ok,
    scenes,
};

scenes![
    over_the_rate_is_429_and_passes_after_the_wait,
    a_burst_is_exact_over_four_workers,
    a_rate_holds_over_four_workers,
    each_key_has_its_own_budget,
    each_client_has_its_own_budget,
    a_dry_run_lets_pass,
    a_leaky_bucket_delays,
    a_window_counts,
    too_many_at_once_are_503,
    an_adaptive_limit_passes_what_is_borne,
    an_adaptive_limit_follows_an_upstream_that_slows_down_and_recovers,
    a_long_body_is_413_at_once,
    a_chunked_body_is_413_on_its_way,
    who_is_not_allowed_is_403,
];

/// Waits for as long as the answer says, as a polite client does.
fn wait_as_told(answer: &Response) {
    let seconds = answer.field("retry-after").unwrap().parse().unwrap();
    let end = Instant::now() + Duration::from_secs(seconds);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

fn over_the_rate_is_429_and_passes_after_the_wait(driver: Driver) {
    let origin = Origin::saying("hi");
    let limit = "
        filters:
          - rate_limit: {qps: 1, burst: 3}
    ";
    let gateway = Gateway::forward_route(driver, &origin, limit);
    let mut client = gateway.client();
    (0..3).for_each(|_| drop(client.get("/").expect(200)));
    let answer = client.get("/");
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert_eq!(answer.field("ratelimit-policy"), Some("\"route\";q=3;w=3"));
    assert_eq!(answer.field("ratelimit"), Some("\"route\";r=0;t=1"));
    assert_eq!(answer.json()["message"], "rate limit exceeded");
    wait_as_told(&answer.expect(429));
    client.get("/").expect(200);
    assert_eq!(origin.count(), 4);
}

fn many(gateway: &Gateway, clients: usize, each: usize) -> usize {
    let ask = || {
        let mut passed = 0;
        for _ in 0..each {
            // A connection of its own comes to whichever worker the kernel chooses.
            match gateway.get("/").status {
                200 => passed += 1,
                status => assert_eq!(status, 429),
            }
        }
        passed
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    })
}

fn a_burst_is_exact_over_four_workers(driver: Driver) {
    let origin = Origin::saying("hi");
    let limit = "
        filters:
          - rate_limit: {qps: 0.001, burst: 50}
    ";
    let workers = "
        workers:
          count: 4
    ";
    let file = format!("{}{}", dedent(workers), forward_route(&origin, limit));
    let gateway = Gateway::start(driver, &file);
    assert_eq!(many(&gateway, 8, 20), 50);
    assert_eq!(origin.count(), 50);
}

fn a_rate_holds_over_four_workers(driver: Driver) {
    let origin = Origin::saying("hi");
    let limit = "
        filters:
          - rate_limit: {qps: 40, burst: 60}
    ";
    let workers = "
        workers:
          count: 4
    ";
    let file = format!("{}{}", dedent(workers), forward_route(&origin, limit));
    let start = Instant::now();
    let gateway = Gateway::start(driver, &file);
    let mut passed = many(&gateway, 1, 1);
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(1500) {
        passed += many(&gateway, 4, 50);
    }
    let least = 60.0 + since.elapsed().as_secs_f64() * 40.0;
    passed += many(&gateway, 1, 70);
    let most = 60.0 + start.elapsed().as_secs_f64() * 40.0;
    assert!(passed as f64 <= most, "{passed}, at most {most}");
    assert!(passed as f64 >= least * 0.98, "{passed}, nearly {least}");
}

fn each_key_has_its_own_budget(driver: Driver) {
    let origin = Origin::saying("hi");
    let limit = "
        filters:
          - rate_limit: {qps: 0.001, burst: 2, key: header:X-Api-Key}
    ";
    let gateway = Gateway::forward_route(driver, &origin, limit);
    let mut client = gateway.client();
    for key in [&["X-Api-Key: a"][..], &["x-api-key: b"], &[]] {
        client.get_with("/", key).expect(200);
        client.get_with("/", key).expect(200);
        client.get_with("/", key).expect(429);
    }
}

fn each_client_has_its_own_budget(driver: Driver) {
    let origin = Origin::saying("hi");
    let limit = "
        filters:
          - rate_limit: {qps: 0.001, burst: 1, key: client_ip}
    ";
    let trust = "
        server:
          trusted_proxies: [127.0.0.9]
    ";
    let file = format!("{}{}", dedent(trust), forward_route(&origin, limit));
    let gateway = Gateway::start(driver, &file);
    gateway.client_from([127, 0, 0, 2]).get("/").expect(200);
    gateway.client_from([127, 0, 0, 2]).get("/").expect(429);
    gateway.client_from([127, 0, 0, 3]).get("/").expect(200);
    // Behind a proxy that is trusted the client is whom it names, and nobody else is believed.
    let mut proxy = gateway.client_from([127, 0, 0, 9]);
    proxy.get_with("/", &["X-Forwarded-For: 10.0.0.1"]).expect(200);
    proxy.get_with("/", &["X-Forwarded-For: 10.0.0.1"]).expect(429);
    proxy.get_with("/", &["X-Forwarded-For: 10.0.0.2"]).expect(200);
    let mut liar = gateway.client_from([127, 0, 0, 3]);
    liar.get_with("/", &["X-Forwarded-For: 10.0.0.3"]).expect(429);
}

fn a_dry_run_lets_pass(driver: Driver) {
    let origin = Origin::saying("hi");
    let limit = "
        filters:
          - rate_limit: {qps: 0.001, burst: 1, dry_run: true}
    ";
    let gateway = Gateway::forward_route(driver, &origin, limit);
    let mut client = gateway.client();
    (0..5).for_each(|_| drop(client.get("/").expect(200)));
}

fn a_leaky_bucket_delays(driver: Driver) {
    let origin = Origin::saying("hi");
    let limit = "
        filters:
          - rate_limit: {qps: 5, burst: 2, algorithm: leaky_bucket}
    ";
    let gateway = Gateway::forward_route(driver, &origin, limit);
    let mut clients: Vec<_> = (0..4).map(|_| gateway.client()).collect();
    let start = Instant::now();
    clients[0].get("/").expect(200);
    let mut refused = 0;
    for client in &mut clients {
        client.request("GET", "/", &[]);
    }
    for client in &mut clients {
        match client.answer().status {
            200 => {}
            status => {
                assert_eq!(status, 429);
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 2, "two fit into the queue");
    assert!(start.elapsed() >= Duration::from_millis(400), "after {:?}", start.elapsed());
    assert_eq!(origin.count(), 3);
}

fn a_window_counts(driver: Driver) {
    let origin = Origin::saying("hi");
    let limit = "
        filters:
          - rate_limit: {qps: 0.01, algorithm: sliding_window, window: 10m}
    ";
    let gateway = Gateway::forward_route(driver, &origin, limit);
    let mut client = gateway.client();
    (0..6).for_each(|_| drop(client.get("/").expect(200)));
    let answer = client.get("/").expect(429);
    assert_eq!(answer.field("ratelimit-policy"), Some("\"route\";q=6;w=600"));
}

fn too_many_at_once_are_503(driver: Driver) {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::script(move |connection| {
        while connection.request()?.is_some() {
            held.pass()?;
            connection.write(ok("hi"))?;
        }
        Ok(())
    });
    let limit = "
        filters:
          - concurrency_limit: {max: 2}
    ";
    let gateway = Gateway::forward_route(driver, &origin, limit);
    let (mut one, mut two, mut three) = (gateway.client(), gateway.client(), gateway.client());
    one.request("GET", "/", &[]);
    two.request("GET", "/", &[]);
    origin.await_requests(2);
    let answer = three.get("/").expect_error(503);
    assert_eq!(answer.field("retry-after"), Some("1"));
    gate.open();
    gate.open();
    one.answer().expect(200);
    two.answer().expect(200);
    gate.open();
    three.get("/").expect(200);
    assert_eq!(origin.count(), 3);
}

fn an_adaptive_limit_passes_what_is_borne(driver: Driver) {
    let origin = Origin::saying("hi");
    let limit = "
        filters:
          - concurrency_limit:
              adaptive: {min: 4, max: 100}
    ";
    let gateway = Gateway::forward_route(driver, &origin, limit);
    let mut client = gateway.client();
    (0..200).for_each(|_| drop(client.get("/").expect(200)));
}

/// An upstream that works on so many requests at once, each for 8 ms; the others wait.
#[derive(Clone, Default)]
struct Slots(Arc<(Mutex<SlotsState>, Condvar)>);

#[derive(Default)]
struct SlotsState {
    free: isize,
    /// Requests that are here, and the most that were at once since somebody asked.
    here: usize,
    most: usize,
}

impl Slots {
    /// Makes so many more, or fewer.
    fn add(&self, count: isize) {
        self.0.0.lock().unwrap().free += count;
        self.0.1.notify_all();
    }

    fn work(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.here += 1;
        state.most = state.most.max(state.here);
        let mut state = self.0.1.wait_while(state, |state| state.free <= 0).unwrap();
        state.free -= 1;
        drop(state);
        let end = Instant::now() + Duration::from_millis(8);
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            thread::park_timeout(left);
        }
        self.0.0.lock().unwrap().here -= 1;
        self.add(1);
    }

    /// The most that were here at once since this was asked last.
    fn take_most(&self) -> usize {
        let mut state = self.0.0.lock().unwrap();
        let here = state.here;
        std::mem::replace(&mut state.most, here)
    }
}

fn an_adaptive_limit_follows_an_upstream_that_slows_down_and_recovers(driver: Driver) {
    let slots = Slots::default();
    slots.add(8);
    let working = slots.clone();
    let origin = Origin::script(move |connection| {
        while connection.request()?.is_some() {
            working.work();
            connection.write(ok("hi"))?;
        }
        Ok(())
    });
    let limit = "
        filters:
          - concurrency_limit:
              adaptive: {min: 1, max: 8}
    ";
    let workers = "
        workers:
          count: 2
    ";
    let file = format!("{}{}", dedent(workers), forward_route(&origin, limit));
    let gateway = Gateway::start(driver, &file);
    let (passed, shed, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let ask = || {
        let mut client = gateway.client();
        while !done.load(Ordering::Relaxed) {
            match client.get("/") {
                answer if answer.status == 200 => drop(passed.fetch_add(1, Ordering::Relaxed)),
                answer => {
                    assert_eq!(answer.expect_error(503).field("retry-after"), Some("1"));
                    shed.fetch_add(1, Ordering::Relaxed);
                    // Not as polite as it is asked to be, but no storm.
                    client.dawdle(Duration::from_millis(25));
                }
            }
        }
    };
    // The most that are at the origin while some requests pass.
    let most = || {
        slots.take_most();
        let before = passed.load(Ordering::Relaxed);
        eventually("some pass", || passed.load(Ordering::Relaxed) >= before + 10);
        slots.take_most()
    };
    thread::scope(|scope| {
        (0..12).for_each(|_| drop(scope.spawn(ask)));
        // However this scene ends, they do.
        let _end = End(&done);
        eventually("as many as the origin bears", || most() >= 7);
        slots.add(-7);
        let before = shed.load(Ordering::Relaxed);
        eventually("no more than a slow one bears, and a few that wait", || most() <= 4);
        assert!(shed.load(Ordering::Relaxed) > before);
        slots.add(7);
        eventually("as many as before", || most() >= 7);
    });
}

fn a_long_body_is_413_at_once(driver: Driver) {
    let origin = Origin::echo();
    let limit = "
        filters:
          - body_limit: {max: 10B}
    ";
    let gateway = Gateway::forward_route(driver, &origin, limit);
    let mut client = gateway.client();
    client.post("/", b"0123456789").expect(200);
    client.post("/", b"0123456789a").expect_error(413);
    // Before any of it has come.
    gateway.client().request("POST", "/", &["Content-Length: 11"]).answer().expect_error(413);
    assert_eq!(origin.count(), 1);
}

fn a_chunked_body_is_413_on_its_way(driver: Driver) {
    let origin = Origin::echo();
    let limit = "
        filters:
          - body_limit: {max: 10B}
    ";
    let gateway = Gateway::forward_route(driver, &origin, limit);
    gateway.client().send(chunked("/", &["01234", "56789"], &[])).answer().expect(200);
    gateway.client().send(chunked("/", &["01234", "56789", "a"], &[])).answer().expect_error(413);
    // Also when the first part of it has gone up before the rest comes.
    let mut client = gateway.client();
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .send("5\r\n01234\r\n");
    origin.await_connections(1);
    client.send("6\r\n56789a\r\n").answer().expect_error(413);
    assert_eq!(origin.count(), 1);
}

fn who_is_not_allowed_is_403(driver: Driver) {
    let origin = Origin::saying("hi");
    let access = "
        filters:
          - ip_access:
              allow: [127.0.0.0/24, 10.0.0.0/8]
              deny: [127.0.0.3, 10.6.0.0/16]
    ";
    let trust = "
        server:
          trusted_proxies: [127.0.0.9]
    ";
    let file = format!("{}{}", dedent(trust), forward_route(&origin, access));
    let gateway = Gateway::start(driver, &file);
    gateway.client_from([127, 0, 0, 2]).get("/").expect(200);
    gateway.client_from([127, 0, 0, 3]).get("/").expect_error(403);
    gateway.client_from([127, 0, 1, 1]).get("/").expect_error(403);
    let mut proxy = gateway.client_from([127, 0, 0, 9]);
    proxy.get_with("/", &["X-Forwarded-For: 10.0.0.1"]).expect(200);
    proxy.get_with("/", &["X-Forwarded-For: 10.6.0.1"]).expect_error(403);
    proxy.get_with("/", &["X-Forwarded-For: 192.0.2.1"]).expect_error(403);
    // Nobody else is believed.
    let mut liar = gateway.client_from([127, 0, 0, 3]);
    liar.get_with("/", &["X-Forwarded-For: 10.0.0.1"]).expect_error(403);
}
