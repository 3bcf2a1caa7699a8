//! The wall clock jumps while requests pass: an hour forwards, then a day backwards. Limits,
//! deadlines and checks go by the monotonic clock and feel nothing of it; dates follow.
//!
//! The library of Debian's faketime stands between the gateway and the system's clock. It is told
//! another time by a file, at any moment, and leaves the monotonic clock alone.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::harness::{Client, Driver, End, Gateway, Origin, Response, eventually, scenes};

scenes![an_hour_forwards_and_a_day_backwards];

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Has the gateway believe that it is so many seconds later.
fn jump(file: &Path, seconds: i64) {
    // In one step: it is read at any moment.
    let beside = file.with_extension("new");
    fs::write(&beside, format!("{seconds:+}\n")).unwrap();
    fs::rename(beside, file).unwrap();
}

/// By how many seconds the date of an answer is later than it is.
fn ahead(answer: &Response) -> i64 {
    let date = httpdate::parse_http_date(answer.field("date").unwrap()).unwrap();
    match date.duration_since(SystemTime::now()) {
        Ok(ahead) => ahead.as_secs().cast_signed(),
        Err(behind) => -behind.duration().as_secs().cast_signed(),
    }
}

fn await_date(client: &mut Client, wanted: i64) {
    eventually("the date follows (the package `faketime` is needed)", || {
        (ahead(&client.get("/").expect(200)) - wanted).abs() <= 5
    });
}

fn an_hour_forwards_and_a_day_backwards(driver: Driver) {
    let origin = Origin::saying("hi");
    let address = origin.address;
    let file = format!(
        "
        workers:
          count: 2
        server:
          idle_timeout: 30m
        upstreams:
          hi:
            targets:
              - addr: {address}
            health_check:
              path: /health
              interval: 100ms
        routes:
          - name: all
            prefix: /
            upstream: hi
          - name: limited
            path: /limited
            upstream: hi
            filters:
              - rate_limit: {{qps: 0.001, burst: 5}}
        "
    );
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    jump(&clock, 0);
    let gateway = Gateway::start_with_clock(driver, &file, &clock);
    let over = AtomicBool::new(false);
    let mut idle = gateway.client();
    idle.get("/").expect(200);
    thread::scope(|scope| {
        // However this scene ends, they do.
        let _end = End(&over);
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = gateway.client();
                while !over.load(Ordering::Relaxed) {
                    let answer = client.get("/").expect(200);
                    assert!(!answer.closes(), "{:?}", answer.head);
                }
            });
        }
        let mut client = gateway.client();
        (0..3).for_each(|_| drop(client.get("/limited").expect(200)));
        jump(&clock, HOUR);
        await_date(&mut client, HOUR);
        // An hour would have been three more.
        (0..2).for_each(|_| drop(client.get("/limited").expect(200)));
        client.get("/limited").expect(429);
        jump(&clock, -DAY);
        await_date(&mut client, -DAY);
        let refused = client.get("/limited").expect(429);
        let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
        assert!((900..=1000).contains(&wait), "{wait} s");
        // Checks go on, and nobody is taken for unhealthy meanwhile.
        let checks = || origin.requests().iter().filter(|seen| seen.target == "/health").count();
        let before = checks();
        eventually("three more checks", || checks() >= before + 3);
    });
    idle.get("/").expect(200);
    assert!(!idle.dawdle(Duration::from_millis(300)), "it is kept open");
    let log = gateway.log();
    for word in ["unhealthy", "ejected", "stall", "ERROR"] {
        assert!(!log.contains(word), "{word}:\n{log}");
    }
}
