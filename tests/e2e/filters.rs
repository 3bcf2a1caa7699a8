//! Filters: the chain around an exchange, seen through the filters that there are.

use std::time::{Duration, Instant};

use crate::harness::{Driver, Gateway, Origin, forward_route, scenes};

scenes![
    headers_are_set_added_and_removed,
    global_filters_come_first,
    filters_work_on_answers_of_our_own,
    a_filter_may_wait,
    a_filter_may_answer,
];

fn headers_are_set_added_and_removed(driver: Driver) {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Inner: 1\r\nCache-Control: private\r\n\r\nhi",
    );
    let headers = "
        filters:
          - headers:
              request:
                set: {X-Team: gateway}
                add: {X-Tag: added}
                remove: [X-Secret]
              response:
                set: {Cache-Control: no-store}
                add: {X-Tag: answered}
                remove: [X-Inner]
    ";
    let gateway = Gateway::forward_route(driver, &origin, headers);
    let mut client = gateway.client();
    for _ in 0..2 {
        let sent = ["x-team: client", "X-Tag: sent", "X-SECRET: s", "X-Other: o"];
        let answer = client.get_with("/", &sent).expect(200);
        assert_eq!(answer.head.all("cache-control"), ["no-store"]);
        assert_eq!(answer.head.all("x-tag"), ["answered"]);
        assert_eq!(answer.head.all("x-inner"), [""; 0]);
    }
    for request in origin.requests() {
        assert_eq!(request.head.all("x-team"), ["gateway"]);
        assert_eq!(request.head.all("x-tag"), ["sent", "added"]);
        assert_eq!(request.head.all("x-secret"), [""; 0]);
        assert_eq!(request.head.all("x-other"), ["o"]);
    }
}

fn global_filters_come_first(driver: Driver) {
    let origin = Origin::saying("hi");
    let route = "
        filters:
          - headers:
              request:
                set: {X-Who: route}
    ";
    let global = "
        global_filters:
          - headers:
              request:
                set: {X-Who: global, X-Global: \"yes\"}
    ";
    let yaml = format!("{}{}", crate::harness::dedent(global), forward_route(&origin, route));
    Gateway::start(driver, &yaml).get("/").expect(200);
    assert_eq!(origin.request().head.all("x-who"), ["route"]);
    assert_eq!(origin.request().field("x-global"), Some("yes"));
}

fn filters_work_on_answers_of_our_own(driver: Driver) {
    let gateway = Gateway::start(
        driver,
        "
        routes:
          - name: ping
            path: /ping
            respond:
              body: pong
            filters:
              - headers:
                  response:
                    set: {X-Tag: answered}
        ",
    );
    let answer = gateway.get("/ping").expect(200);
    assert_eq!((answer.text().as_str(), answer.field("x-tag")), ("pong", Some("answered")));
}

/// HTTP_SAFETY rules 14, 16 and 18: what frames, routes or vouches for a message is not for a
/// filter to change, and no value ends a line.
#[test]
fn filters_cannot_break_the_head() {
    for (side, setting) in [
        ("request", "set: {Content-Length: \"0\"}"),
        ("request", "remove: [Content-Length]"),
        ("request", "set: {Transfer-Encoding: chunked}"),
        ("request", "set: {connection: close}"),
        ("request", "set: {Host: other.test}"),
        ("request", "set: {Upgrade: h2c}"),
        ("request", "set: {X-Forwarded-For: 6.6.6.6}"),
        ("request", "add: {X-A: \"a\\r\\nX-B: b\"}"),
        ("response", "set: {Content-Length: \"0\"}"),
        ("response", "remove: [Transfer-Encoding]"),
        ("response", "set: {X-A: \"a\\r\\nSet-Cookie: b=c\"}"),
        ("response", "set: {Server: somebody}"),
        ("response", "set: {\"X A\": b}"),
    ] {
        let file = format!(
            "routes:\n  - name: ping\n    path: /ping\n    respond: {{body: pong}}\n    filters:\n\
             {:6}- headers: {{{side}: {{{setting}}}}}\n",
            ""
        );
        let (code, said) = crate::cli::ringway(&["check", "-c"], &file);
        assert_eq!(code, Some(1), "{side} {setting}: {said}");
        assert!(said.contains(":6:"), "{side} {setting}: {said}");
    }
}

/// While one request waits in a filter, the same worker serves others.
fn a_filter_may_wait(driver: Driver) {
    let origin = Origin::echo();
    let slow = "
        filters:
          - fault:
              delay: {time: 400ms}
    ";
    let quick = "  - name: quick\n    path: /quick\n    respond:\n      body: quick\n";
    let gateway = Gateway::start(driver, &format!("{}{quick}", forward_route(&origin, slow)));
    let mut waiting = gateway.client();
    let sent = Instant::now();
    waiting.post_begun("/slow", b"hello");
    assert_eq!(gateway.get("/quick").expect(200).text(), "quick");
    assert_eq!(origin.connections(), 0);
    assert_eq!(waiting.answer().expect(200).json()["body"], "hello");
    assert!(sent.elapsed() >= Duration::from_millis(400), "after {:?}", sent.elapsed());
}

fn a_filter_may_answer(driver: Driver) {
    let origin = Origin::echo();
    let abort = "
        filters:
          - fault:
              abort: {status: 503}
    ";
    let gateway = Gateway::forward_route(driver, &origin, abort);
    let mut client = gateway.client();
    client.post("/", b"GET / HTTP/1.1\r\n\r\n").expect_error(503);
    client.get("/").expect_error(503);
    assert_eq!(origin.connections(), 0);
}
