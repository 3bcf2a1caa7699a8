//! Connections of clients: kept alive, pipelined, closed when they should be.

use std::thread;
use std::time::Duration;

use crate::harness::{Client, Driver, Gate, Gateway, Origin, chunked, ok, scenes};

scenes![
    a_connection_takes_many_requests,
    close_is_honoured,
    nothing_is_served_after_close,
    the_last_answer_comes_though_more_was_sent,
    http_1_0_closes,
    http_1_0_may_stay,
    pipelined_requests_are_answered_in_order,
    pipelined_bodies_are_told_apart,
    a_flood_of_pipelined_requests_is_answered,
    an_empty_line_before_a_request_is_forgiven,
    pieces_make_the_same_request,
    responses_in_pieces_make_the_same_answer,
];

fn a_connection_takes_many_requests(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    for turn in 0..100 {
        let answer = client.get(&format!("/{turn}")).expect(200);
        assert_eq!(answer.json()["target"], format!("/{turn}"));
        assert!(!answer.closes(), "{:?}", answer.head);
    }
}

fn close_is_honoured(driver: Driver) {
    let origin = Origin::saying("bye");
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    let answer = client.get_with("/", &["Connection: Close"]).expect(200);
    assert!(answer.closes(), "{:?}", answer.head);
    client.expect_end();
    // What the client wants of its connection is no matter of the origin's.
    assert_eq!(origin.request().field("connection"), None);
}

fn nothing_is_served_after_close(driver: Driver) {
    let origin = Origin::saying("once");
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    let last = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.send(format!("{last}GET /never HTTP/1.1\r\nHost: a\r\n\r\n"));
    client.answer().expect(200);
    client.until_end();
    assert_eq!(origin.request().target, "/last");
}

/// A close with unread bytes is a reset, which takes along what has not been sent by then.
fn the_last_answer_comes_though_more_was_sent(driver: Driver) {
    let (gate, at_gate) = (Gate::default(), Gate::default());
    let origin = {
        let (gate, at_gate) = (gate.clone(), at_gate.clone());
        Origin::script(move |connection| {
            while connection.request()?.is_some() {
                at_gate.open();
                gate.pass()?;
                connection.write(ok("the last one"))?;
            }
            Ok(())
        })
    };
    let gateway = Gateway::forward(driver, &origin);
    for _ in 0..20 {
        let mut client = gateway.client();
        client.request("GET", "/", &["Connection: close"]);
        at_gate.pass().unwrap();
        client.send("nobody reads this");
        gate.open();
        assert_eq!(client.answer().expect(200).text(), "the last one");
    }
}

fn http_1_0_closes(driver: Driver) {
    let origin = Origin::saying("old friend");
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    let answer = client.send("GET / HTTP/1.0\r\n\r\n").answer().expect(200);
    assert_eq!(answer.text(), "old friend");
    client.expect_end();
}

fn http_1_0_may_stay(driver: Driver) {
    let origin = Origin::saying("old friend");
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.answer().expect(200);
        assert_eq!(
            answer.field("connection").map(str::to_lowercase).as_deref(),
            Some("keep-alive")
        );
    }
}

fn pipelined_requests_are_answered_in_order(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    let requests: String =
        (0..50).map(|turn| format!("GET /{turn} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(requests);
    for turn in 0..50 {
        assert_eq!(client.answer().expect(200).json()["target"], format!("/{turn}"));
    }
}

fn pipelined_bodies_are_told_apart(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    let fixed = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\nGET /no HTTP/1.1\r\n";
    let chunked = chunked("/2", &["GET /neither", " HTTP/1.1\r\n\r\n"], &[]);
    let head = "HEAD /3 HTTP/1.1\r\nHost: a\r\n\r\n";
    let get = "GET /4 HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(format!("{fixed}{chunked}{head}{get}"));
    assert_eq!(client.answer().expect(200).json()["body"], "GET /no HTTP/1.1\r\n");
    assert_eq!(client.answer().expect(200).json()["body"], "GET /neither HTTP/1.1\r\n\r\n");
    assert!(client.answer_to("HEAD").expect(200).field("content-length").is_some());
    assert_eq!(client.answer().expect(200).json()["target"], "/4");
    let targets: Vec<_> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/1", "/2", "/3", "/4"]);
}

/// The client reads nothing until it has sent everything: neither side may wait for the other.
fn a_flood_of_pipelined_requests_is_answered(driver: Driver) {
    const REQUESTS: usize = 5_000;
    let origin = Origin::saying("again");
    let gateway = Gateway::forward(driver, &origin);
    let before = gateway.rss_kib();
    let mut client = gateway.client();
    let mut sender = Client::over(client.wire.stream.try_clone().unwrap());
    let sending = thread::spawn(move || {
        sender.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(REQUESTS));
    });
    origin.await_requests(100);
    for _ in 0..REQUESTS {
        assert_eq!(client.answer().expect(200).text(), "again");
    }
    sending.join().unwrap();
    assert!(!client.dawdle(Duration::from_millis(1)));
    assert_eq!(origin.connections(), 1);
    gateway.await_rss_kib(before + 4 * 1024);
}

/// RFC 9112 §2.2: a server should ignore at least one.
fn an_empty_line_before_a_request_is_forgiven(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n";
    client.send(body).answer().expect(200);
    client.get("/after").expect(200);
}

fn pieces_make_the_same_request(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward_with(driver, &origin, "server:\n  request_id: false");
    let requests = [
        "GET /a?b=%20c HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nX-Long: 0123456789\r\n\r\n".to_owned(),
        "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 26\r\n\r\nabcdefghijklmnopqrstuvwxyz"
            .into(),
        chunked("/c", &["first", "the second\r\n0\r\n\r\n", "3"], &["X-Sum: 42"]),
    ];
    for request in requests {
        let mut client = gateway.client();
        let whole = client.send(&request).answer().expect(200).json();
        let bytewise = client.send_bytewise(&request).answer().expect(200).json();
        assert_eq!(bytewise, whole, "byte by byte");
        for seed in 1..20 {
            let split = client.send_split(&request, seed).answer().expect(200).json();
            assert_eq!(split, whole, "seed {seed}");
        }
    }
}

fn responses_in_pieces_make_the_same_answer(driver: Driver) {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Kind: odd\r\n\r\n\
        5\r\nhello\r\n10;name=\"value\"\r\n0123456789abcdef\r\n0\r\nX-Sum: 21\r\n\r\n";
    let origin = Origin::script(|connection| {
        while let Some(request) = connection.request()? {
            if request.target == "/whole" {
                connection.write(ANSWER)?;
            } else {
                for byte in ANSWER.bytes() {
                    connection.write([byte])?;
                }
            }
        }
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    let whole = client.get("/whole").expect(200);
    let bytewise = client.get("/bytewise").expect(200);
    assert_eq!(whole.text(), "hello0123456789abcdef");
    assert_eq!((bytewise.text(), &bytewise.trailers), (whole.text(), &whole.trailers));
    assert_eq!(bytewise.field("x-kind"), Some("odd"));
}
