//! What breaks around the gateway: it costs the exchange that it breaks, and no other.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::harness::{Client, Driver, Gateway, Origin, scenes};

scenes![
    an_origin_killed_in_the_middle_costs_its_exchange,
    a_client_reset_in_the_middle_costs_its_exchange,
    noise_costs_nobody_anything,
];

/// Set for the process that `KilledOrigin` starts: this test binary, told to be an origin.
const BE_AN_ORIGIN: &str = "RINGWAY_TEST_BE_AN_ORIGIN";

/// An origin in a process of its own, which can be killed as only a process can.
struct KilledOrigin {
    address: SocketAddr,
    child: Child,
}

impl KilledOrigin {
    fn start() -> KilledOrigin {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::be_an_origin", "--nocapture"])
            .env(BE_AN_ORIGIN, "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.find_map(|line| line.ok()?.split_once("origin at ")?.1.parse().ok());
        KilledOrigin { address: line.unwrap(), child }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for KilledOrigin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other half of `KilledOrigin`: begins an answer to every request and never ends it. Does
/// nothing when the suite runs it.
#[test]
fn be_an_origin() {
    if std::env::var_os(BE_AN_ORIGIN).is_none() {
        return;
    }
    let origin = Origin::script(|connection| {
        while connection.request()?.is_some() {
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegun")?;
        }
        Ok(())
    });
    println!("origin at {}", origin.address);
    loop {
        std::thread::park();
    }
}

fn an_origin_killed_in_the_middle_costs_its_exchange(driver: Driver) {
    let mut killed = KilledOrigin::start();
    let origin = Origin::saying("fine");
    let gateway = Gateway::start(
        driver,
        &format!(
            "
            routes:
              - name: killed
                prefix: /killed
                targets:
                  - addr: http://{}
              - name: fine
                prefix: /
                targets:
                  - addr: http://{}
            ",
            killed.address, origin.address
        ),
    );
    let mut clients: Vec<Client> = (0..10).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.request("GET", "/killed", &[]).head();
        assert_eq!(client.exactly(5), b"begun");
    }
    let mut other = gateway.client();
    other.get("/").expect(200);

    killed.kill();

    for client in &mut clients {
        client.expect_end();
    }
    assert_eq!(other.get("/").expect(200).text(), "fine");
    gateway.get("/killed").expect_error(502);
}

fn a_client_reset_in_the_middle_costs_its_exchange(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let mut other = gateway.client();
    other.get("/before").expect(200);
    for turn in 1..=20 {
        let mut client = gateway.client();
        client.request("POST", "/", &["Content-Length: 1000000"]).send("begun");
        origin.await_connections(turn.min(2));
        client.reset();
        other.get("/meanwhile").expect(200);
    }
    assert_eq!(origin.requests().len(), 21);
}

fn noise_costs_nobody_anything(driver: Driver) {
    let origin = Origin::saying("fine");
    let gateway = Gateway::forward(driver, &origin);
    let mut other = gateway.client();
    other.get("/").expect(200);
    let noise: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    for turn in 0..20 {
        let mut client = gateway.client();
        client.send(&noise[turn * 13..]);
        let said = client.until_end();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
        // A TLS handshake, as a browser begins one at the wrong port.
        let mut client = gateway.client();
        let said = client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").until_end();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
        other.get("/").expect(200);
    }
}
