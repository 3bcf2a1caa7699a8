//! Filters that bound what passes: how often, how much at once, how large, from where.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Driver, Gateway, Origin, Response, dedent, forward_route, scenes};

scenes![
    over_the_rate_is_429_and_passes_after_the_wait,
    a_burst_is_exact_over_four_workers,
    a_rate_holds_over_four_workers,
    each_key_has_its_own_budget,
    each_client_has_its_own_budget,
    a_dry_run_lets_pass,
    a_leaky_bucket_delays,
    a_window_counts,
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
    let passed = many(&gateway, 4, 100);
    let most = 60 + (start.elapsed().as_secs_f64() * 40.0) as usize;
    assert!((60..=most).contains(&passed), "{passed}, at most {most}");
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
