//! The end: what is open is finished, nothing new begins, and it does not take for ever.

use std::thread;

use rustix::process::Signal;

use crate::harness::{Client, Driver, Gate, Gateway, Origin, eventually, ok, scenes};

scenes![
    what_is_open_is_finished,
    an_interrupt_does_the_same,
    a_download_is_finished,
    a_half_read_request_is_answered,
    draining_is_bounded,
    what_is_cut_off_is_told_and_logged,
    a_second_signal_ends_it_at_once,
    a_signal_right_after_the_start_is_heard,
    a_tunnel_does_not_hold_it_up,
    nothing_open_ends_at_once,
    what_has_connected_is_served,
    a_crowd_loses_no_answer,
    an_idle_connection_does_not_hold_it_up,
    what_the_end_cuts_does_not_look_whole,
];

/// An origin that answers when told.
fn held(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::script(move |connection| {
        while connection.request()?.is_some() {
            gate.pass()?;
            connection.write(ok("at last"))?;
        }
        Ok(())
    })
}

fn finishes(driver: Driver, signal: Signal) {
    let gate = Gate::default();
    let origin = held(&gate);
    let mut gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.request("GET", "/", &[]);
    origin.await_requests(1);

    gateway.signal(signal);
    eventually("new connections are refused", || gateway.refuses());
    gate.open();

    let answer = client.answer().expect(200);
    assert_eq!(answer.text(), "at last");
    assert!(answer.closes(), "{:?}", answer.head);
    client.expect_end();
    assert_eq!(gateway.exit().code(), Some(0));
}

fn what_is_open_is_finished(driver: Driver) {
    finishes(driver, Signal::TERM);
}

fn an_interrupt_does_the_same(driver: Driver) {
    finishes(driver, Signal::INT);
}

fn a_download_is_finished(driver: Driver) {
    let gate = Gate::default();
    let pass = gate.clone();
    let origin = Origin::script(move |connection| {
        connection.request()?;
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nfirst ")?;
        pass.pass()?;
        connection.write("later")
    });
    let mut gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.request("GET", "/", &[]).head();
    assert_eq!(client.exactly(6), b"first ");
    gateway.terminate();
    eventually("new connections are refused", || gateway.refuses());
    gate.open();
    assert_eq!(client.exactly(5), b"later");
    client.expect_end();
    assert_eq!(gateway.exit().code(), Some(0));
}

/// Its head is on the way, so the client cannot know that nobody will read it.
fn a_half_read_request_is_answered(driver: Driver) {
    let origin = Origin::saying("in time");
    let mut gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    // An answered request shows that the connection was accepted.
    client.get("/").expect(200);
    client.send("GET / HTTP/1.1\r\nHo");
    assert!(!client.dawdle(std::time::Duration::from_millis(100)));
    gateway.terminate();
    eventually("new connections are refused", || gateway.refuses());
    client.send("st: a\r\n\r\n");
    let answer = client.answer().expect(200);
    assert!(answer.closes(), "{:?}", answer.head);
    assert_eq!(gateway.exit().code(), Some(0));
}

fn draining_is_bounded(driver: Driver) {
    let gate = Gate::default();
    let origin = held(&gate);
    let bound = "server:\n  drain_timeout: 500ms";
    let mut gateway = Gateway::forward_with(driver, &origin, bound);
    let mut client = gateway.client();
    client.request("GET", "/", &[]);
    origin.await_requests(1);
    gateway.terminate();
    assert_eq!(gateway.exit().code(), Some(0));
    assert!(client.answer_or_end().is_none_or(|answer| answer.status >= 500));
}

fn what_is_cut_off_is_told_and_logged(driver: Driver) {
    let gate = Gate::default();
    let origin = held(&gate);
    let folder = tempfile::TempDir::new().unwrap();
    let log = folder.path().join("access.log");
    let sections = format!(
        "server:\n  drain_timeout: 500ms\nglobal_filters:\n  - logging: {{output: {{file: {}}}}}",
        log.display()
    );
    let mut gateway = Gateway::forward_with(driver, &origin, &sections);
    let (mut waiting, mut sending) = (gateway.client(), gateway.client());
    waiting.request("GET", "/waiting", &[]);
    origin.await_requests(1);
    sending.request("POST", "/sending", &["Content-Length: 100"]).send("not all");
    eventually("both are at the origin", || origin.connections() == 2);
    gateway.terminate();
    assert!(waiting.answer().closes());
    assert_eq!(gateway.exit().code(), Some(0));
    let text = std::fs::read_to_string(&log).unwrap();
    let mut records: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    records.sort_by_key(|record| record["path"].to_string());
    let said = records.iter().map(|record| [&record["path"], &record["error"]]);
    let expected = [["/sending", "drained"], ["/waiting", "drained"]];
    assert_eq!(said.collect::<Vec<_>>(), expected, "{text}");
}

fn a_second_signal_ends_it_at_once(driver: Driver) {
    let gate = Gate::default();
    let origin = held(&gate);
    // Its own end is further away than the bound of every wait.
    let mut gateway = Gateway::forward_with(driver, &origin, "server:\n  drain_timeout: 1h");
    let mut client = gateway.client();
    client.request("GET", "/", &[]);
    origin.await_requests(1);
    gateway.terminate();
    eventually("new connections are refused", || gateway.refuses());
    gateway.terminate();
    gateway.exit();
    client.until_end();
}

/// Whoever waits for "listening" may ask for the end at once, as a deployment that failed does.
fn a_signal_right_after_the_start_is_heard(driver: Driver) {
    let origin = Origin::saying("hi");
    for _ in 0..20 {
        let mut gateway = Gateway::forward(driver, &origin);
        gateway.terminate();
        let status = gateway.exit();
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

fn a_tunnel_does_not_hold_it_up(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\n\r\n",
        )?;
        connection.await_end();
        Ok(())
    });
    let bound = "server:\n  drain_timeout: 500ms";
    let mut gateway = Gateway::forward_with(driver, &origin, bound);
    let mut client = gateway.client();
    client.request("GET", "/", &["Connection: Upgrade", "Upgrade: websocket"]).head();
    gateway.terminate();
    client.expect_end();
    assert_eq!(gateway.exit().code(), Some(0));
}

fn nothing_open_ends_at_once(driver: Driver) {
    let origin = Origin::saying("hi");
    let mut gateway = Gateway::forward_with(driver, &origin, "workers:\n  count: 2");
    gateway.get("/").expect(200);
    gateway.terminate();
    assert_eq!(gateway.exit().code(), Some(0));
}

/// A connection that the kernel has accepted for us is ours, though nobody has looked at it yet.
fn what_has_connected_is_served(driver: Driver) {
    let origin = Origin::saying("in time");
    let mut gateway = Gateway::forward(driver, &origin);
    let mut clients: Vec<Client> = (0..50).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.request("GET", "/", &[]);
    }
    gateway.terminate();
    for client in &mut clients {
        assert_eq!(client.answer().expect(200).text(), "in time");
    }
    assert_eq!(gateway.exit().code(), Some(0));
}

/// Whoever is in the middle of something when the end comes gets a whole answer, and whoever sends
/// one request after the other is told when the last one was.
fn a_crowd_loses_no_answer(driver: Driver) {
    let origin = Origin::echo();
    let mut gateway = Gateway::forward_with(driver, &origin, "workers:\n  count: 2");
    let address = gateway.address();
    let crowd: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::connect(address);
                client.get("/").expect(200);
                loop {
                    client.post_begun("/", b"hello");
                    // Each is answered, and the last answer says that it is the last.
                    if client.answer_to("POST").expect(200).closes() {
                        return;
                    }
                }
            })
        })
        .collect();
    origin.await_requests(500);
    gateway.terminate();
    for member in crowd {
        member.join().unwrap();
    }
    assert_eq!(gateway.exit().code(), Some(0));
}

fn an_idle_connection_does_not_hold_it_up(driver: Driver) {
    let origin = Origin::saying("hi");
    let mut gateway = Gateway::forward(driver, &origin);
    let (mut used, mut silent) = (gateway.client(), gateway.client());
    used.get("/").expect(200);
    gateway.terminate();
    used.expect_end();
    silent.expect_end();
    assert_eq!(gateway.exit().code(), Some(0));
}

/// An HTTP/1.0 client takes an orderly end for the end of the body.
fn what_the_end_cuts_does_not_look_whole(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")?;
        connection.await_end();
        Ok(())
    });
    let bound = "server:\n  drain_timeout: 500ms";
    let mut gateway = Gateway::forward_with(driver, &origin, bound);
    let mut client = gateway.client();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").head();
    assert_eq!(client.exactly(4), b"half");
    gateway.terminate();
    assert!(client.wire.until_close().is_err(), "a cut answer looked whole");
    assert_eq!(gateway.exit().code(), Some(0));
}
