//! Listeners: where the gateway can be reached.

use std::net::TcpListener;
use std::process::Command;
use std::thread;

use crate::harness::{Client, Driver, Gateway, Origin, RINGWAY, scenes};

scenes![
    a_get_goes_through,
    every_listener_serves,
    workers_share_a_listener,
    connections_are_spread_over_workers,
    the_kernel_may_deal_them_out,
    workers_are_as_many_as_cores,
    logs_can_be_json,
    a_client_that_finished_sending_gets_its_answer,
    many_clients_at_once,
];

fn a_get_goes_through(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let answer = gateway.get("/hello?name=you").expect(200).json();
    assert_eq!((&answer["method"], &answer["target"]), (&"GET".into(), &"/hello?name=you".into()));
}

fn every_listener_serves(driver: Driver) {
    let origin = Origin::saying("here");
    let listen = r#"
        server:
          listen: ["127.0.0.1:0", "[::1]:0"]
    "#;
    let gateway = Gateway::forward_with(driver, &origin, listen);
    assert_eq!(gateway.addresses.len(), 2, "{:?}", gateway.addresses);
    for address in &gateway.addresses {
        assert_eq!(Client::connect(*address).get("/").expect(200).text(), "here");
    }
}

fn workers_share_a_listener(driver: Driver) {
    let origin = Origin::saying("here");
    let gateway = Gateway::forward_with(driver, &origin, "workers:\n  count: 2");
    for _ in 0..100 {
        gateway.get("/").expect(200);
    }
}

/// The kernel deals connections out by a hash, so by chance; what a worker has clearly too many of
/// it hands over.
fn connections_are_spread_over_workers(driver: Driver) {
    let origin = Origin::saying("here");
    let mut gateway = Gateway::forward_with(driver, &origin, "workers:\n  count: 2");
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..64 {
        let mut client = gateway.client();
        client.get("/").expect(200);
        clients.push(client);
    }
    gateway.terminate();
    assert_eq!(gateway.exit().code(), Some(0));
    let log = gateway.log();
    let counts: Vec<u64> = log
        .lines()
        .filter_map(|line| {
            line.split_once("worker stopped")?
                .1
                .split_once("accepted=")?
                .1
                .split(' ')
                .next()?
                .parse()
                .ok()
        })
        .collect();
    assert_eq!((counts.len(), counts.iter().sum()), (2, 64), "{log}");
    assert!(counts.iter().all(|count| *count >= 26), "{counts:?}");
}

fn the_kernel_may_deal_them_out(driver: Driver) {
    let origin = Origin::saying("here");
    let kernel = "
        server:
          accept: kernel
        workers:
          count: 2
          pin: false
    ";
    let gateway = Gateway::forward_with(driver, &origin, kernel);
    for _ in 0..20 {
        assert_eq!(gateway.get("/").expect(200).text(), "here");
    }
}

fn workers_are_as_many_as_cores(driver: Driver) {
    let origin = Origin::saying("here");
    let gateway = Gateway::forward_with(driver, &origin, "workers:\n  count: auto");
    assert_eq!(gateway.get("/").expect(200).text(), "here");
    let cores = thread::available_parallelism().unwrap();
    gateway.await_log(&["listening", &format!("workers={cores}")]);
    gateway.await_log(&["listening", driver.name()]);
}

fn logs_can_be_json(driver: Driver) {
    let origin = Origin::saying("here");
    let mut gateway = Gateway::forward_with(driver, &origin, "log:\n  format: json");
    gateway.get("/").expect(200);
    gateway.terminate();
    assert_eq!(gateway.exit().code(), Some(0));
    for line in gateway.log().lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(message["level"].is_string(), "{message:#}");
    }
}

fn a_client_that_finished_sending_gets_its_answer(driver: Driver) {
    let origin = Origin::saying("still here");
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.request("GET", "/", &[]).wire.finish_writing();
    assert_eq!(client.answer().expect(200).text(), "still here");
    client.expect_end();
}

fn many_clients_at_once(driver: Driver) {
    let origin = Origin::saying("you too");
    let gateway = Gateway::forward(driver, &origin);
    let mut clients: Vec<Client> = (0..200).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.request("GET", "/", &[]);
    }
    for client in &mut clients {
        assert_eq!(client.answer().expect(200).text(), "you too");
    }
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let yaml = format!(
        "server:\n  listen: [\"{address}\"]\n\
         routes:\n  - name: ping\n    path: /ping\n    respond:\n      body: pong\n"
    );
    std::fs::write(file.path(), yaml).unwrap();
    let output = Command::new(RINGWAY).args(["run", "-c"]).arg(file.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it ran: {said}");
    assert!(said.contains(&address.to_string()), "the address is not named: {said}");
}
