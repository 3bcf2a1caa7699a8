//! Limits (HTTP_SAFETY rules 21 to 23): what is too much is told so, and others do not notice.

use crate::harness::{Client, Driver, Gateway, Origin, chunked, eventually, forward_route, scenes};

scenes![
    a_target_too_long_is_414,
    a_field_too_long_is_431,
    fields_too_many_are_431,
    a_head_too_large_is_431,
    limits_can_be_narrowed,
    limits_can_be_widened,
    an_endless_head_is_cut_short,
    a_body_too_large_is_413,
    a_route_has_its_own_maximum,
    connections_are_limited,
    connections_of_a_client_are_limited,
    requests_of_a_connection_are_limited,
    descriptors_that_run_out_come_back,
    the_last_answer_arrives_whole,
];

#[track_caller]
fn refused(gateway: &Gateway, request: &str, status: u16) {
    let mut client = gateway.client();
    client.send(request).answer().expect_error(status);
    client.expect_end();
}

fn a_target_too_long_is_414(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let long = "a".repeat(16 * 1024 + 1);
    refused(&gateway, &format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414);
    refused(&gateway, &format!("GET /?{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414);
    let fits = format!("/{}", "a".repeat(16_000));
    assert_eq!(gateway.get(&fits).expect(200).json()["target"], fits);
    assert_eq!(origin.requests().len(), 1);
}

fn a_field_too_long_is_431(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let long = "a".repeat(16 * 1024 + 1);
    refused(&gateway, &format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 431);
    refused(&gateway, &format!("GET / HTTP/1.1\r\nHost: a\r\n{long}: x\r\n\r\n"), 431);
    assert_eq!(origin.connections(), 0);
}

fn fields_too_many_are_431(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let fields = |count: usize| "X: y\r\n".repeat(count);
    refused(&gateway, &format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(100)), 431);
    let mut client = gateway.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(99))).answer().expect(200);
}

fn a_head_too_large_is_431(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let field = format!("X: {}\r\n", "a".repeat(8_000));
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", field.repeat(9));
    refused(&gateway, &head, 431);
    assert_eq!(origin.connections(), 0);
}

fn limits_can_be_narrowed(driver: Driver) {
    let origin = Origin::echo();
    let narrow = "
        server:
          limits:
            max_head: 2KiB
            max_line: 1KiB
            max_headers: 10
    ";
    let gateway = Gateway::forward_with(driver, &origin, narrow);
    let long = "a".repeat(1024);
    let fields = |count: usize, size: usize| format!("X: {}\r\n", &long[..size]).repeat(count);
    refused(&gateway, &format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414);
    refused(&gateway, &format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(1, 1024)), 431);
    refused(&gateway, &format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(10, 1)), 431);
    refused(&gateway, &format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(5, 500)), 431);
    gateway.get("/").expect(200);
}

fn limits_can_be_widened(driver: Driver) {
    let long = "a".repeat(100_000);
    let origin = Origin::answering(format!(
        "HTTP/1.1 200 OK\r\nX-Long: {long}\r\nX-Longer: {long}\r\nContent-Length: 2\r\n\r\nhi"
    ));
    let wide = "
        server:
          limits:
            max_head: 512KiB
            max_line: 128KiB
    ";
    let gateway = Gateway::forward_with(driver, &origin, wide);
    let mut client = gateway.client();
    for _ in 0..2 {
        let fields = [&*format!("X-Long: {long}"), &*format!("X-Longer: {long}")];
        let answer = client.get_with(&format!("/{long}"), &fields).expect(200);
        assert_eq!((answer.field("x-longer"), answer.text().as_str()), (Some(&*long), "hi"));
    }
    for request in origin.requests() {
        assert_eq!(request.target, format!("/{long}"));
        assert_eq!(request.field("x-longer"), Some(&*long));
    }
}

/// A head that never ends is answered as soon as it is too much, not when it is over.
fn an_endless_head_is_cut_short(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    for (beginning, status) in [
        (format!("GET /{}", "a".repeat(70_000)), 414),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(70_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "X: y\r\n".repeat(5_000)), 431),
    ] {
        let mut client = gateway.client();
        client.send(beginning).answer().expect_error(status);
        client.expect_end();
    }
}

fn a_body_too_large_is_413(driver: Driver) {
    let origin = Origin::echo();
    let small = "
        server:
          limits:
            max_body: 1KiB
    ";
    let gateway = Gateway::forward_with(driver, &origin, small);
    let (fits, large) = ("a".repeat(1024), "a".repeat(1025));
    let mut client = gateway.client();
    client.post("/", fits.as_bytes()).expect(200);
    client.send(chunked("/", &[&fits[..512], &fits[512..]], &[])).answer().expect(200);
    // What is announced is refused before it is sent.
    client.request("POST", "/", &["Content-Length: 1025"]).answer().expect_error(413);
    client.expect_end();
    refused(&gateway, &chunked("/", &[&large], &[]), 413);
    refused(&gateway, &chunked("/", &[&fits, "a"], &[]), 413);
    let mut client = gateway.client();
    client.post("/", &vec![b'a'; 500_000]).expect_error(413);
    client.expect_end();
    assert_eq!(origin.requests().len(), 2, "{:#?}", origin.requests());
}

fn a_route_has_its_own_maximum(driver: Driver) {
    let origin = Origin::echo();
    let routes = forward_route(&origin, "max_body: 1KiB");
    let server = "server:\n  limits:\n    max_body: 10B\n";
    let gateway = Gateway::start(driver, &format!("{server}{routes}"));
    let mut client = gateway.client();
    client.post("/", &[b'a'; 1024]).expect(200);
    client.post("/", &[b'a'; 1025]).expect_error(413);
}

/// Whether the gateway lets this connection in: it answers 200, or it ends it (with a 503 or
/// without a word).
fn admitted(mut client: Client) -> Option<Client> {
    client.request("GET", "/", &[]);
    match client.answer_or_end() {
        Some(answer) if answer.status == 200 => Some(client),
        Some(answer) => {
            answer.expect_error(503);
            None
        }
        None => None,
    }
}

fn connections_are_limited(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = Gateway::forward_with(driver, &origin, "server:\n  max_connections: 2");
    let first = admitted(gateway.client()).unwrap();
    let _second = admitted(gateway.client()).unwrap();
    assert!(admitted(gateway.client()).is_none());
    drop(first);
    eventually("a place is free again", || admitted(gateway.client()).is_some());
}

fn connections_of_a_client_are_limited(driver: Driver) {
    let origin = Origin::saying("hi");
    let one = "server:\n  max_connections_per_client: 1";
    let gateway = Gateway::forward_with(driver, &origin, one);
    let first = admitted(gateway.client()).unwrap();
    assert!(admitted(gateway.client()).is_none());
    // Somebody else does not notice.
    let _other = admitted(gateway.client_from([127, 0, 0, 2])).unwrap();
    drop(first);
    eventually("a place is free again", || admitted(gateway.client()).is_some());
}

fn requests_of_a_connection_are_limited(driver: Driver) {
    let origin = Origin::saying("hi");
    let three = "server:\n  max_requests_per_connection: 3";
    let gateway = Gateway::forward_with(driver, &origin, three);
    let mut client = gateway.client();
    assert!(!client.get("/").expect(200).closes());
    assert!(!client.get("/").expect(200).closes());
    assert!(client.get("/").expect(200).closes());
    client.expect_end();
}

fn descriptors_that_run_out_come_back(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = Gateway::start_with_nofile(driver, &forward_route(&origin, ""), 64);
    // More than fit; those that do not wait in the kernel's queue.
    let clients: Vec<Client> = (0..150).map(|_| gateway.client()).collect();
    let line = gateway.await_log(&["cannot accept"]);
    drop(clients);
    eventually("it serves again", || admitted(gateway.client()).is_some());
    for _ in 0..20 {
        gateway.get("/").expect(200);
    }
    let lines = gateway.log().lines().filter(|line| line.contains("cannot accept")).count();
    assert_eq!(lines, 1, "one line says it all ({line}):\n{}", gateway.log());
}

/// A client that does not know that this answer is the last sends its next request, and a close
/// upon unread bytes would be a reset, which takes along what is still on its way to the client
/// (RFC 9112 §9.6).
fn the_last_answer_arrives_whole(driver: Driver) {
    let text = "x".repeat(1 << 20);
    let origin = Origin::saying(&text);
    let one = "server:\n  max_requests_per_connection: 1";
    let gateway = Gateway::forward_with(driver, &origin, one);
    let mut client = gateway.client();
    client.request("GET", "/", &[]);
    for _ in 0..1_000 {
        client.request("GET", "/next", &[]);
    }
    origin.await_requests(1);
    // Some other connection shows that time has passed, in which nothing is read.
    gateway.client().dawdle(std::time::Duration::from_millis(300));
    assert!(client.answer().expect(200).text() == text, "the answer is another");
    client.expect_end();
}
