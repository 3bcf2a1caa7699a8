//! Memory: what it costs to hold many connections, or to pass on large bodies.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::{Client, Driver, Gate, Gateway, Origin, ok, scenes};

scenes![
    ten_thousand_idle_connections_are_cheap,
    a_client_that_reads_nothing_costs_no_memory,
    gigabytes_go_up,
    gigabytes_go_down,
];

const CONNECTIONS: usize = 10_000;

/// What one of them may cost: nginx needs 0.7, HAProxy 1.1.
const KIB_EACH: u64 = 2;

fn ten_thousand_idle_connections_are_cheap(driver: Driver) {
    allow_descriptors(CONNECTIONS as u64 + 1_000);
    let origin = Origin::saying("hi");
    let long = "
        server:
          idle_timeout: 10m
          header_timeout: 10m
    ";
    let gateway = Gateway::forward_with(driver, &origin, long);
    // What the first exchanges need once and for all is no cost of idleness.
    for _ in 0..100 {
        gateway.get("/").expect(200);
    }
    let before = gateway.rss_kib();

    let mut clients: Vec<Client> = Vec::with_capacity(CONNECTIONS);
    while clients.len() < CONNECTIONS {
        let mut client = gateway.client();
        client.get("/").expect(200);
        clients.push(client);
    }

    let after = gateway.await_rss_kib(before + KIB_EACH * CONNECTIONS as u64);
    for client in clients.iter_mut().step_by(CONNECTIONS / 100) {
        assert_eq!(client.get("/").expect(200).text(), "hi");
    }
    eprintln!("{driver:?}: {CONNECTIONS} idle connections cost {} KiB", after - before);
}

/// Both ends of this scene need a descriptor a connection; children inherit the limit.
fn allow_descriptors(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let maximum = limit.maximum;
        assert!(maximum.is_none_or(|maximum| maximum >= wanted), "ulimit -Hn is {maximum:?}");
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    }
}

fn a_client_that_reads_nothing_costs_no_memory(driver: Driver) {
    let written = Arc::new(AtomicU64::new(0));
    let count = written.clone();
    let full = Gate::default();
    let open = full.clone();
    let origin = Origin::script(move |connection| {
        connection.request()?;
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")?;
        // So long without room in the socket means that nobody takes anything any more.
        connection.wire.stream.set_write_timeout(Some(Duration::from_millis(500)))?;
        let block = vec![b'x'; 64 * 1024];
        while let Ok(taken @ 1..) = connection.wire.stream.write(&block) {
            count.fetch_add(taken as u64, Ordering::Relaxed);
        }
        open.open();
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let before = gateway.rss_kib();
    let mut client = gateway.client();
    client.request("GET", "/", &[]).head();
    full.pass().unwrap();
    let taken = written.load(Ordering::Relaxed) >> 20;
    assert!(taken < 64, "{taken} MiB were taken from the origin");
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 4 * 1024, "grown by {grown} KiB");
}

/// What goes through in the scenes of large bodies: 2 GiB, or 10 GiB with `RINGWAY_LONG`.
fn long_body() -> u64 {
    let gibibytes = if std::env::var_os("RINGWAY_LONG").is_some() { 10 } else { 2 };
    gibibytes << 30
}

/// What a gateway may grow by while a long body passes: buffers, never the body.
const GROWTH_KIB: u64 = 16 * 1024;

fn gigabytes_go_up(driver: Driver) {
    let length = long_body();
    let origin = Origin::script(move |connection| {
        connection.head()?;
        connection.wire.drop_exactly(length)?;
        connection.write(ok("all of it"))
    });
    let gateway = Gateway::forward(driver, &origin);
    let before = gateway.rss_kib();
    let mut client = gateway.client();
    client.request("POST", "/", &[&format!("Content-Length: {length}")]);
    let block = vec![b'x'; 1 << 20];
    for _ in 0..length >> 20 {
        client.send(&block);
    }
    let grown = gateway.rss_kib().saturating_sub(before);
    assert_eq!(client.answer().expect(200).text(), "all of it");
    assert!(grown < GROWTH_KIB, "grown by {grown} KiB");
}

fn gigabytes_go_down(driver: Driver) {
    let length = long_body();
    let origin = Origin::script(move |connection| {
        connection.request()?;
        connection.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"))?;
        let block = vec![b'x'; 1 << 20];
        for _ in 0..length >> 20 {
            connection.write(&block)?;
        }
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let before = gateway.rss_kib();
    let mut client = gateway.client();
    client.request("GET", "/", &[]).head();
    client.wire.drop_exactly(length - 1).unwrap();
    let grown = gateway.rss_kib().saturating_sub(before);
    assert_eq!(client.exactly(1), b"x");
    assert!(grown < GROWTH_KIB, "grown by {grown} KiB");
}
