//! Deadlines (HTTP_SAFETY rule 23). Each is set short and waited for by what it does; the other
//! ones stay far away, so that what happened can only be this one.

use std::thread;
use std::time::Duration;

use crate::harness::{BOUND, Client, Deaf, Driver, Framing, Gate, Gateway, Origin, ok, scenes};

scenes![
    a_head_that_does_not_end_is_late,
    a_head_in_drops_is_late_all_the_same,
    a_client_that_says_nothing_is_let_go,
    an_idle_connection_is_let_go,
    a_body_that_stops_is_late,
    a_chunked_body_that_stops_is_late,
    a_slow_body_that_goes_on_is_not_late,
    a_route_has_its_own_pause,
    an_endpoint_that_does_not_accept_is_late,
    an_answer_that_does_not_begin_is_late,
    an_answer_is_waited_for_from_the_end_of_the_request,
    an_answer_that_stops_is_cut,
    a_slow_answer_that_goes_on_is_not_cut,
    a_client_that_looks_away_is_no_pause_of_the_origin,
    an_origin_that_looks_away_is_no_pause_of_the_client,
    an_origin_that_thinks_is_no_pause_of_the_client,
    a_client_that_takes_nothing_is_let_go,
    an_origin_that_takes_nothing_is_let_go,
    a_body_below_the_minimum_rate_is_late,
    a_slow_reader_that_goes_on_is_not_let_go,
];

fn a_head_that_does_not_end_is_late(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = Gateway::forward_with(driver, &origin, "server:\n  header_timeout: 300ms");
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n").answer().expect_error(408);
    client.expect_end();
    assert_eq!(origin.connections(), 0);
    // The second head of a connection has the same deadline.
    let mut client = gateway.client();
    client.get("/").expect(200);
    client.send("GET / HT").answer().expect_error(408);
    client.expect_end();
}

/// Slowloris: each byte is a sign of life, none is progress.
fn a_head_in_drops_is_late_all_the_same(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = Gateway::forward_with(driver, &origin, "server:\n  header_timeout: 300ms");
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    let drop = Duration::from_millis(50);
    let drops = BOUND.as_millis() / drop.as_millis();
    let ended = (0..drops).any(|_| client.send("x").dawdle(drop));
    assert!(ended, "still open after {drops} drops");
}

fn a_client_that_says_nothing_is_let_go(driver: Driver) {
    let origin = Origin::saying("hi");
    let short = "
        server:
          header_timeout: 300ms
          idle_timeout: 300ms
    ";
    let gateway = Gateway::forward_with(driver, &origin, short);
    let said = gateway.client().until_end();
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
}

fn an_idle_connection_is_let_go(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = Gateway::forward_with(driver, &origin, "server:\n  idle_timeout: 300ms");
    let mut client = gateway.client();
    client.get("/").expect(200);
    // Without a word: an answer here could be taken for that of a request just sent.
    client.expect_end();
}

fn a_body_that_stops_is_late(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward_with(driver, &origin, "server:\n  read_timeout: 300ms");
    let mut client = gateway.client();
    client.request("POST", "/", &["Content-Length: 10"]).send("abc");
    client.answer().expect_error(408);
    client.expect_end();
    origin.await_ended(1);
    assert!(origin.requests().is_empty());
}

fn a_chunked_body_that_stops_is_late(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward_with(driver, &origin, "server:\n  read_timeout: 300ms");
    let mut client = gateway.client();
    client.request("POST", "/", &["Transfer-Encoding: chunked"]).send("5\r\nhello\r\n5\r\nhe");
    client.answer().expect_error(408);
    client.expect_end();
    origin.await_ended(1);
    assert!(origin.requests().is_empty());
}

fn a_slow_body_that_goes_on_is_not_late(driver: Driver) {
    let origin = Origin::echo();
    let short = "
        server:
          header_timeout: 600ms
          read_timeout: 600ms
          idle_timeout: 600ms
    ";
    let gateway = Gateway::forward_with(driver, &origin, short);
    let mut client = gateway.client();
    client.request("POST", "/", &["Content-Length: 12"]);
    for byte in b"twelve bytes" {
        assert!(!client.send([*byte]).dawdle(Duration::from_millis(100)));
    }
    assert_eq!(client.answer().expect(200).json()["body"], "twelve bytes");
}

fn a_route_has_its_own_pause(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward_route(driver, &origin, "timeouts:\n  read: 300ms");
    let mut client = gateway.client();
    client.request("POST", "/", &["Content-Length: 10"]).send("abc");
    client.answer().expect_error(408);
}

fn an_endpoint_that_does_not_accept_is_late(driver: Driver) {
    let deaf = Deaf::new();
    let routes = format!(
        "
        routes:
          - name: all
            prefix: /
            targets:
              - addr: http://{}
            timeouts:
              connect: 300ms
        ",
        deaf.address
    );
    let gateway = Gateway::start(driver, &routes);
    let mut client = gateway.client();
    client.get("/").expect_error(504);
}

fn an_answer_that_does_not_begin_is_late(driver: Driver) {
    let origin = Origin::script(|connection| {
        while let Some(request) = connection.request()? {
            if request.target == "/late" {
                connection.await_end();
            } else {
                connection.write(ok("in time"))?;
            }
        }
        Ok(())
    });
    let gateway = Gateway::forward_route(driver, &origin, "timeouts:\n  first_byte: 300ms");
    let mut client = gateway.client();
    client.get("/late").expect_error(504);
    origin.await_ended(1);
    assert_eq!(client.get("/").expect(200).text(), "in time");
}

fn an_answer_is_waited_for_from_the_end_of_the_request(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward_route(driver, &origin, "timeouts:\n  first_byte: 500ms");
    let mut client = gateway.client();
    client.request("POST", "/", &["Content-Length: 12"]);
    for byte in b"twelve bytes" {
        assert!(!client.send([*byte]).dawdle(Duration::from_millis(100)));
    }
    assert_eq!(client.answer().expect(200).json()["body"], "twelve bytes");
}

fn an_answer_that_stops_is_cut(driver: Driver) {
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let origin = Origin::script(move |connection| {
            connection.request()?;
            connection.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n"))?;
            connection.await_end();
            Ok(())
        });
        let gateway = Gateway::forward_route(driver, &origin, "timeouts:\n  idle: 300ms");
        let mut client = gateway.client();
        client.request("GET", "/", &[]);
        assert!(client.wire.response("GET").is_err(), "a cut answer looked whole");
        origin.await_ended(1);
    }
}

fn a_slow_answer_that_goes_on_is_not_cut(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")?;
        for byte in b"twelve bytes" {
            connection.write([*byte])?;
            connection.wire.listen(Duration::from_millis(100));
        }
        Ok(())
    });
    let short = "
        timeouts:
          first_byte: 600ms
          idle: 600ms
    ";
    let gateway = Gateway::forward_route(driver, &origin, short);
    assert_eq!(gateway.get("/").expect(200).text(), "twelve bytes");
}

/// Longer than the deadlines of these scenes, shorter than the default ones.
fn look_away() {
    thread::park_timeout(Duration::from_millis(800));
}

/// The body fills every buffer on the way, so that the gateway has to wait for the slow end. That
/// is no silence of the quick end, whose own deadline is a short one.
const MORE_THAN_BUFFERS: usize = 24 << 20;

fn a_client_that_looks_away_is_no_pause_of_the_origin(driver: Driver) {
    let origin = Origin::answering(ok(&"x".repeat(MORE_THAN_BUFFERS)));
    let short = "timeouts:\n  first_byte: 300ms\n  idle: 300ms";
    let gateway = Gateway::forward_route(driver, &origin, short);
    let mut client = gateway.client();
    client.request("GET", "/", &[]).head();
    for _ in 0..3 {
        look_away();
        client.exactly(MORE_THAN_BUFFERS / 4);
    }
    client.exactly(MORE_THAN_BUFFERS / 4);
    client.request("GET", "/", &[]).head();
}

fn an_origin_that_looks_away_is_no_pause_of_the_client(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.head()?;
        for _ in 0..3 {
            look_away();
            connection.wire.drop_exactly(MORE_THAN_BUFFERS as u64 / 4)?;
        }
        connection.wire.drop_exactly(MORE_THAN_BUFFERS as u64 / 4)?;
        connection.write(ok("all of it"))?;
        connection.request().map(drop)
    });
    let gateway = Gateway::forward_with(driver, &origin, "server:\n  read_timeout: 300ms");
    let mut client = gateway.client();
    let answer = client.post("/", &vec![b'x'; MORE_THAN_BUFFERS]).expect(200);
    assert_eq!(answer.text(), "all of it");
    assert!(!answer.closes());
}

fn an_origin_that_thinks_is_no_pause_of_the_client(driver: Driver) {
    let origin = Origin::script(|connection| {
        while connection.request()?.is_some() {
            look_away();
            connection.write(ok("after all"))?;
        }
        Ok(())
    });
    let short = "
        server:
          header_timeout: 300ms
          read_timeout: 300ms
          write_timeout: 300ms
          idle_timeout: 300ms
    ";
    let gateway = Gateway::forward_with(driver, &origin, short);
    let mut client = gateway.client();
    for _ in 0..2 {
        // In two pieces, so that a part of the body is read for itself.
        client.request("POST", "/", &["Content-Length: 10"]).send("hello");
        assert!(!client.dawdle(Duration::from_millis(100)));
        assert_eq!(client.send("again").answer().expect(200).text(), "after all");
        assert_eq!(client.get("/").expect(200).text(), "after all");
    }
}

fn a_client_that_takes_nothing_is_let_go(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")?;
        let block = vec![b'x'; 64 * 1024];
        loop {
            connection.write(&block)?;
        }
    });
    let gateway = Gateway::forward_with(driver, &origin, "server:\n  write_timeout: 300ms");
    let mut client = gateway.client();
    let head = client.request("GET", "/", &[]).head();
    assert_eq!(head.field("content-length"), Some("100000000000"));
    // The client reads no further, and the gateway does not wait for it for ever.
    origin.await_ended(1);
}

fn an_origin_that_takes_nothing_is_let_go(driver: Driver) {
    let done = Gate::default();
    let pass = done.clone();
    let origin = Origin::script(move |connection| {
        connection.head()?;
        // Reads nothing of the body, and does not close either.
        pass.pass()
    });
    let gateway = Gateway::forward_route(driver, &origin, "timeouts:\n  idle: 300ms");
    let mut client = gateway.client();
    client.request("POST", "/", &["Content-Length: 100000000000"]);
    let mut sender = Client::over(client.wire.stream.try_clone().unwrap());
    let sending = thread::spawn(move || {
        let block = vec![b'x'; 64 * 1024];
        while sender.wire.write(&block).is_ok() {}
    });
    // What is answered may be lost to the bytes that are still on their way; the end is not.
    if let Some(answer) = client.answer_or_end() {
        answer.expect_error(504);
    }
    client.until_end();
    sending.join().unwrap();
    done.open();
}

/// The gateway leaves a body some seconds before it measures (TCP starts slowly), so this scene
/// takes them too.
fn a_body_below_the_minimum_rate_is_late(driver: Driver) {
    let origin = Origin::echo();
    let rate = "
        server:
          limits:
            min_body_rate: 1KiB
    ";
    let gateway = Gateway::forward_with(driver, &origin, rate);
    let mut client = gateway.client();
    client.request("POST", "/", &["Content-Length: 100000"]);
    let drop = Duration::from_millis(100);
    let ended = (0..BOUND.as_millis() / drop.as_millis()).any(|_| {
        let (came, ended) = client.send("x").wire.listen(drop);
        came > 0 || ended
    });
    assert!(ended, "still open");
    let answer = client.answer().expect_error(408);
    assert!(matches!(answer.framing, Framing::Length(_)));
    origin.await_ended(1);
}

/// A client that reads steadily, but takes longer than the deadline to empty so much of the
/// gateway's send buffer that the system lets it go on writing.
fn a_slow_reader_that_goes_on_is_not_let_go(driver: Driver) {
    const LENGTH: usize = 32 << 20;
    let origin = Origin::answering(ok(&"x".repeat(LENGTH)));
    let gateway = Gateway::forward_with(driver, &origin, "server:\n  write_timeout: 300ms");
    let mut client = gateway.client();
    client.request("GET", "/", &[]).head();
    let mut clock = gateway.client();
    let (slow, piece) = (40, 64 * 1024);
    for _ in 0..slow {
        client.exactly(piece);
        clock.dawdle(Duration::from_millis(50));
    }
    client.wire.drop_exactly((LENGTH - slow * piece) as u64).unwrap();
}
