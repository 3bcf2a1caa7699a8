//! Interim answers, and final ones that come before the body does.

use crate::harness::{Driver, Framing, Gateway, Origin, ok, scenes};

scenes![
    continue_is_passed_on,
    a_refusal_comes_before_the_body,
    an_answer_of_our_own_comes_before_the_body,
    http_1_0_expects_nothing,
    early_hints_are_passed_on,
    http_1_0_gets_no_interim_answers,
    interim_answers_are_bounded,
    an_answer_may_come_before_the_body_is_read,
];

/// HTTP_SAFETY rule 9, RFC 9110 §10.1.1.
fn continue_is_passed_on(driver: Driver) {
    let origin = Origin::script(|connection| {
        while let Some(head) = connection.head()? {
            if head.field("expect").is_some() {
                connection.write("HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let request = connection.wire.rest_of_request(head, Framing::Length(5))?;
            connection.write(ok(&String::from_utf8_lossy(&request.body)))?;
        }
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    for _ in 0..3 {
        client.request("POST", "/", &["Expect: 100-continue", "Content-Length: 5"]);
        client.answer().expect(100);
        assert_eq!(client.send("hello").answer().expect(200).text(), "hello");
    }
    // A client that does not wait for it is served too.
    client.request("POST", "/", &["Expect: 100-Continue", "Content-Length: 5"]).send("again");
    let mut answer = client.answer();
    while answer.status == 100 {
        answer = client.answer();
    }
    assert_eq!(answer.expect(200).text(), "again");
}

fn a_refusal_comes_before_the_body(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.head()?;
        connection.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")?;
        connection.await_end();
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.request("POST", "/", &["Expect: 100-continue", "Content-Length: 500000"]);
    let mut answer = client.answer();
    while answer.status == 100 {
        answer = client.answer();
    }
    assert_eq!(answer.expect(403).text(), "no");
    // The body will not come, so the connection cannot go on.
    client.expect_end();
    origin.await_ended(1);
}

/// Whether the body will follow is not known, so nothing can follow it on this connection.
fn an_answer_of_our_own_comes_before_the_body(driver: Driver) {
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
    for (target, status) in [("/ping", 200), ("/nowhere", 404)] {
        let mut client = gateway.client();
        client.request("POST", target, &["Expect: 100-continue", "Content-Length: 5"]);
        let answer = client.answer().expect(status);
        assert!(answer.closes(), "{:?}", answer.head);
        client.expect_end();
    }
}

/// RFC 9110 §10.1.1: an expectation in a 1.0 request is ignored, and a 1.0 client knows no 100.
fn http_1_0_expects_nothing(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.answer().expect(200).json()["body"], "hello");
}

/// HTTP_SAFETY rule 10.
fn early_hints_are_passed_on(driver: Driver) {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n\
         Content-Length: 5\r\n\r\nhello",
    );
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    for _ in 0..2 {
        let hints = client.get("/").expect(103);
        assert_eq!(hints.field("link"), Some("</a.css>"));
        assert_eq!(client.answer().expect(200).text(), "hello");
    }
    assert_eq!(origin.connections(), 1);
}

fn http_1_0_gets_no_interim_answers(driver: Driver) {
    let origin = Origin::answering(format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", ok("hello")));
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    assert_eq!(client.send("GET / HTTP/1.0\r\n\r\n").answer().expect(200).text(), "hello");
}

fn interim_answers_are_bounded(driver: Driver) {
    let flood = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000);
    let origin = Origin::answering(format!("{flood}{}", ok("hello")));
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.request("GET", "/", &[]);
    let mut interim = 0;
    let last = loop {
        match client.answer() {
            answer if answer.status == 103 => interim += 1,
            answer => break answer,
        }
    };
    assert_eq!(last.status, 502, "after {interim} interim answers");
    assert!(interim < 100, "{interim} interim answers");
}

fn an_answer_may_come_before_the_body_is_read(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.head()?;
        connection.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")?;
        connection.await_end();
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.request("POST", "/", &["Content-Length: 100000000"]).send("only the beginning");
    assert_eq!(client.answer().expect(413).text(), "big");
    client.send("more of it").until_end();
    origin.await_ended(1);
}
