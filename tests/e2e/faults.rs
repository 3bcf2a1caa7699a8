//! What breaks around the gateway: it costs the exchange that it breaks, and no other.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::harness::{Client, Driver, Gate, Gateway, Origin, SWITCH, chunked, eventually, scenes};

scenes![
    an_origin_killed_in_the_middle_costs_its_exchange,
    a_client_reset_in_the_middle_costs_its_exchange,
    noise_costs_nobody_anything,
    a_crowd_never_mixes_answers,
    nothing_leaks,
    nothing_spins,
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

/// Many clients on two workers, each with a word of its own in every request; some of them behave.
fn a_crowd_never_mixes_answers(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward_with(driver, &origin, "workers:\n  count: 2");
    thread::scope(|scope| {
        for member in 0..8 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut client = gateway.client();
                for turn in 0..60 {
                    client = member_of_a_crowd(gateway, client, member, turn);
                }
            });
        }
    });
}

/// One thing that a client may do, and the client to go on with.
fn member_of_a_crowd(gateway: &Gateway, mut client: Client, member: u64, turn: u64) -> Client {
    let word = format!("word-{member}-{turn}-{}", "x".repeat((turn as usize * 997) % 20_000));
    let short = format!("/{member}/{turn}");
    match (turn * 7 + member) % 8 {
        0 => assert_eq!(client.get(&short).expect(200).json()["target"], *short),
        1 => said(&client.post("/", word.as_bytes()).expect(200).json(), &word),
        2 => {
            let (first, second) = word.split_at(word.len() / 2);
            client.send_split(chunked("/", &[first, second], &[]), turn);
            said(&client.answer().expect(200).json(), &word);
        }
        3 => {
            client.request("GET", &short, &[]).post_begun("/", word.as_bytes());
            assert_eq!(client.answer().expect(200).json()["target"], *short);
            said(&client.answer().expect(200).json(), &word);
        }
        4 => {
            client.post_begun("/", word.as_bytes());
            client.reset();
            return gateway.client();
        }
        5 => {
            client.request("POST", "/", &["Content-Length: 30000"]).send(&word);
            client.reset();
            return gateway.client();
        }
        6 => {
            client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {short}\n\r\n"));
            client.answer().expect_error(400);
            client.until_end();
            return gateway.client();
        }
        _ => {
            client.get_with(&short, &["Connection: close"]).expect(200);
            client.expect_end();
            return gateway.client();
        }
    }
    client
}

/// The echo tells the length and the beginning of what it received.
#[track_caller]
fn said(echo: &serde_json::Value, word: &str) {
    let beginning = &word[..word.len().min(1000)];
    assert_eq!((&echo["length"], &echo["body"]), (&word.len().into(), &beginning.into()));
}

/// Whatever comes to whatever end, its descriptors and its memory come back.
fn nothing_leaks(driver: Driver) {
    let origin = Origin::script(|connection| {
        while let Some(request) = connection.request()? {
            match request.target.as_str() {
                "/cut" => {
                    return connection.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut");
                }
                "/garbage" => connection.write("garbage\r\n\r\n")?,
                "/gone" => return Ok(()),
                "/reset" => {
                    connection.reset();
                    return Ok(());
                }
                "/tunnel" => {
                    connection.write(SWITCH)?;
                    connection.await_end();
                }
                _ => connection.write(crate::harness::ok("fine"))?,
            }
        }
        Ok(())
    });
    let gateway = Gateway::forward_route(driver, &origin, "pool:\n  max_idle: 0");
    let round = || {
        for target in ["/", "/cut", "/garbage", "/gone", "/reset", "/%00"] {
            gateway.client().request("GET", target, &[]).answer_or_end();
            gateway.client().request("GET", target, &[]);
            let mut left = gateway.client();
            left.request("GET", target, &[]);
            left.reset();
        }
        let mut tunnel = gateway.client();
        tunnel.request("GET", "/tunnel", &["Connection: Upgrade", "Upgrade: websocket"]).head();
        gateway.client().post_begun("/", &[b'x'; 100]).answer_or_end();
        gateway.client().request("POST", "/", &["Content-Length: 100"]).send("half");
    };
    // What is allocated once and for all is so after some rounds.
    for _ in 0..20 {
        round();
    }
    let (descriptors, memory) = (gateway.descriptors(), gateway.rss_kib());
    for _ in 0..50 {
        round();
    }
    eventually("the descriptors are back", || gateway.descriptors() <= descriptors);
    gateway.await_rss_kib(memory + 1024);
}

/// Connections in every state in which nothing is to be done cost no processor time.
fn nothing_spins(driver: Driver) {
    let end = Gate::default();
    let pass = end.clone();
    let origin = Origin::script(move |connection| {
        let Some(request) = connection.request()? else { return Ok(()) };
        match request.target.as_str() {
            "/tunnel" => {
                connection.write(SWITCH)?;
                connection.wire.finish_writing();
            }
            "/stuck" => connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?,
            _ => {}
        }
        pass.pass()
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut clients: Vec<Client> = (0..6).map(|_| gateway.client()).collect();
    let [silent, begun, gone, tunnel, stuck, body] = clients.as_mut_slice() else { return };
    begun.send("GET / HT");
    gone.request("GET", "/held", &[]).wire.finish_writing();
    tunnel.request("GET", "/tunnel", &["Connection: Upgrade", "Upgrade: websocket"]).head();
    stuck.request("GET", "/stuck", &[]).head();
    body.request("POST", "/body", &["Content-Length: 10"]).send("half");
    origin.await_requests(3);

    let before = gateway.cpu_time();
    assert!(!silent.dawdle(Duration::from_secs(1)));
    let used = gateway.cpu_time() - before;

    assert!(used <= Duration::from_millis(200), "{used:?} within a second of nothing");
    for _ in 0..3 {
        end.open();
    }
}
