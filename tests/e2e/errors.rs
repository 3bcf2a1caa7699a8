//! Errors: what a client is told, and that it can tell them apart.

use crate::harness::{Driver, Gateway, Origin, forward_route, refusing, scenes};

scenes![
    nothing_there_is_404,
    the_wrong_method_is_405,
    nobody_listening_is_502,
    nobody_to_ask_is_503,
    errors_keep_the_connection,
    errors_carry_the_request_id,
    errors_to_head_have_no_body,
    errors_carry_nothing_that_was_sent,
    logs_escape_what_was_sent,
    an_answer_with_a_huge_head_is_502,
    limits_of_requests_are_not_those_of_answers,
];

fn nothing_there_is_404(driver: Driver) {
    let gateway = Gateway::start(
        driver,
        "
        routes:
          - name: ping
            path: /ping
            respond:
              body: pong
        ",
    );
    let answer = gateway.get("/nowhere").expect_error(404);
    assert_eq!(answer.field("server"), None);
}

fn the_wrong_method_is_405(driver: Driver) {
    let origin = Origin::saying("hi");
    let routes = forward_route(&origin, "methods: [GET, POST]");
    let gateway = Gateway::start(driver, &routes);
    let mut client = gateway.client();
    client.get("/").expect(200);
    for method in ["DELETE", "TRACE", "BREW"] {
        let answer = client.request(method, "/", &[]).answer().expect_error(405);
        let allow = answer.field("allow").unwrap_or_default().replace(' ', "");
        let mut allow: Vec<&str> = allow.split(',').collect();
        allow.sort_unstable();
        // HEAD is offered wherever GET is, or left out: both are honest.
        allow.retain(|method| *method != "HEAD");
        assert_eq!(allow, ["GET", "POST"], "{method}");
    }
}

fn dead(driver: Driver) -> Gateway {
    let routes = format!(
        "routes:\n  - name: all\n    prefix: /\n    targets:\n      - addr: http://{}\n",
        refusing()
    );
    Gateway::start(driver, &routes)
}

fn nobody_listening_is_502(driver: Driver) {
    let gateway = dead(driver);
    // The endpoint is on its pause at the second turn, and still what is wrong is the same.
    for _ in 0..3 {
        gateway.get("/").expect_error(502);
    }
}

/// RFC 6761 §6.4: no name under `invalid` ever resolves.
fn nobody_to_ask_is_503(driver: Driver) {
    let gateway = Gateway::start(
        driver,
        "
        routes:
          - name: all
            prefix: /
            targets:
              - addr: http://nobody.invalid:80
        ",
    );
    gateway.get("/").expect_error(503);
}

fn errors_keep_the_connection(driver: Driver) {
    let gateway = dead(driver);
    let mut client = gateway.client();
    for _ in 0..5 {
        let answer = client.get("/").expect_error(502);
        assert!(!answer.closes(), "{:?}", answer.head);
    }
    // A body that nobody took is not taken for the next request.
    client.post("/", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect_error(502);
    client.get("/").expect_error(502);
}

fn errors_carry_the_request_id(driver: Driver) {
    let gateway = dead(driver);
    let answer = gateway.client().get_with("/", &["X-Request-ID: mine-42"]).expect_error(502);
    assert_eq!(answer.json()["request_id"], "mine-42");
    // An id that would break out of the JSON, or is no id at all, does not come back as it was.
    let answer = gateway.client().get_with("/", &["X-Request-ID: a\"b\\c"]).expect_error(502);
    assert!(answer.json()["request_id"].is_string());
}

fn errors_to_head_have_no_body(driver: Driver) {
    let gateway = dead(driver);
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.request("HEAD", "/", &[]).answer_to("HEAD").expect(502);
        assert!(answer.field("content-type").is_some_and(|kind| kind.contains("json")));
    }
    client.get("/").expect_error(502);
}

/// HTTP_SAFETY rule 26.
fn errors_carry_nothing_that_was_sent(driver: Driver) {
    let gateway = dead(driver);
    let secrets = ["Authorization: Bearer s3cret", "Cookie: id=s3cret", "X-Odd: s3cret"];
    let mut client = gateway.client();
    let answer = client.get_with("/s3cret?token=s3cret", &secrets).expect_error(502);
    let all = format!("{:?} {}", answer.head, answer.text());
    assert!(!all.contains("s3cret"), "{all}");
    // TRACE would mirror what was sent.
    client.request("TRACE", "/", &secrets).answer().expect_error(405);
    assert!(!gateway.log().contains("s3cret"), "{}", gateway.log());
}

/// HTTP_SAFETY rule 27: what a client sends must not steer the terminal of whoever reads the log,
/// nor look like a line of its own.
fn logs_escape_what_was_sent(driver: Driver) {
    let origin = Origin::answering("HTTP/1.1 200 \x1b[31m\r\nX\x1b: y\r\n\r\n");
    let logged = "log:\n  level: debug";
    let gateway = Gateway::forward_with(driver, &origin, logged);
    for sent in [
        "GET /\x1b[31mred HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[31m\r\n\r\n",
        "G\x1bT / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \x1b[31m\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        gateway.client().send(sent).answer_or_end();
    }
    let log = gateway.log();
    let plain = |letter: char| letter == '\n' || !letter.is_control();
    assert!(log.chars().all(plain), "{log:?}");
}

fn an_answer_with_a_huge_head_is_502(driver: Driver) {
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(100_000));
    let origin = Origin::answering(endless);
    let gateway = Gateway::forward(driver, &origin);
    gateway.get("/").expect_error(502);
    origin.await_ended(1);
}

fn limits_of_requests_are_not_those_of_answers(driver: Driver) {
    let fields: String = (0..20).map(|n| format!("X-{n}: {}\r\n", "y".repeat(500))).collect();
    let origin =
        Origin::answering(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nhi"));
    let small = "
        server:
          limits: {max_head: 1KiB, max_line: 256B, max_headers: 10}
    ";
    let gateway = Gateway::forward_with(driver, &origin, small);
    assert_eq!(gateway.get("/").expect(200).field("x-19").map(str::len), Some(500));
    let client = || gateway.client();
    client().get_with("/", &["X: y"; 11]).expect_error(431);
    client().get_with("/", &[&format!("X: {}", "y".repeat(300))]).expect_error(431);
}
