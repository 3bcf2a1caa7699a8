//! Connections to origins: used again while they are good, and only then.

use std::time::Duration;

use crate::harness::{Driver, Gate, Gateway, Origin, chunked, eventually, ok, scenes};

scenes![
    one_connection_serves_many,
    a_connection_that_closed_is_not_used,
    a_connection_that_closed_is_let_go,
    a_request_is_repeated_when_a_pooled_connection_dies,
    a_repeated_request_goes_over_a_fresh_connection,
    a_body_that_went_is_not_repeated,
    a_method_that_is_not_idempotent_is_not_repeated,
    a_fresh_connection_that_dies_is_not_repeated,
    unasked_bytes_end_a_connection,
    bytes_after_an_answer_end_a_connection,
    an_unread_body_ends_a_connection,
    close_of_the_origin_is_honoured,
    no_idle_connection_where_none_is_wanted,
    idle_connections_age,
    old_connections_are_retired,
    a_busy_connection_serves_nobody_else,
    a_request_that_an_answer_had_begun_to_is_not_repeated,
];

fn one_connection_serves_many(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    for _ in 0..20 {
        gateway.get("/").expect(200);
        gateway.client().post("/", b"hello").expect(200);
        gateway.client().send(chunked("/", &["hello"], &[])).answer().expect(200);
        gateway.client().request("HEAD", "/", &[]).answer_to("HEAD").expect(200);
    }
    assert_eq!((origin.connections(), origin.requests().len()), (1, 80));
}

fn a_connection_that_closed_is_not_used(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write(ok("once"))
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    for turn in 1..=5 {
        // A POST could not be repeated: the dead connection is noticed before it is used.
        client.post("/", b"hello").expect(200);
        origin.await_ended(turn);
    }
    assert_eq!(origin.connections(), 5);
}

fn a_connection_that_closed_is_let_go(driver: Driver) {
    let close = Gate::default();
    let pass = close.clone();
    let origin = Origin::script(move |connection| {
        connection.request()?;
        connection.write(ok("once"))?;
        pass.pass()
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.get("/").expect(200);
    let pooled = gateway.descriptors();
    close.open();
    eventually("its descriptor is back", || gateway.descriptors() < pooled);
    assert!(!client.dawdle(Duration::from_millis(1)));
}

/// The first connection answers once and dies when it is asked again; later ones are good.
fn dying_on_reuse() -> Origin {
    Origin::script(|connection| {
        connection.request()?;
        connection.write(ok("first"))?;
        while connection.head()?.is_some() && connection.number > 1 {
            connection.write(ok("later"))?;
        }
        Ok(())
    })
}

fn a_request_is_repeated_when_a_pooled_connection_dies(driver: Driver) {
    let origin = dying_on_reuse();
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.get("/1").expect(200);
    assert_eq!(client.get("/2").expect(200).text(), "first");
    assert_eq!(client.get("/3").expect(200).text(), "later");
    assert_eq!(origin.connections(), 2);
}

/// Several pooled connections may be dead for one reason, such as a restart of the origin: the one
/// repetition must not be wasted on the next of them.
fn a_repeated_request_goes_over_a_fresh_connection(driver: Driver) {
    const POOLED: usize = 5;
    let gate = Gate::default();
    let pass = gate.clone();
    let origin = Origin::script(move |connection| {
        connection.request()?;
        if connection.number <= POOLED {
            pass.pass()?;
        }
        connection.write(ok("first"))?;
        // Dies when it is asked again.
        connection.head().map(drop)
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut clients: Vec<_> = (0..POOLED).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.request("GET", "/", &[]);
    }
    origin.await_connections(POOLED);
    for _ in 0..POOLED {
        gate.open();
    }
    for client in &mut clients {
        client.answer().expect(200);
    }
    assert_eq!(gateway.get("/").expect(200).text(), "first");
    assert_eq!(origin.connections(), POOLED + 1);
}

fn a_body_that_went_is_not_repeated(driver: Driver) {
    let origin = dying_on_reuse();
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.get("/1").expect(200);
    client.send(chunked("/2", &["hello"], &[])).answer().expect_error(502);
    assert_eq!(origin.connections(), 1);
}

fn a_method_that_is_not_idempotent_is_not_repeated(driver: Driver) {
    let origin = dying_on_reuse();
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.get("/1").expect(200);
    client.post("/2", b"").expect_error(502);
    assert_eq!(origin.connections(), 1);
}

fn a_fresh_connection_that_dies_is_not_repeated(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.get("/").expect_error(502);
    assert_eq!(origin.connections(), 1);
    // The client's own connection has no part in it.
    client.get("/").expect_error(502);
}

/// HTTP_SAFETY rule 13.
fn unasked_bytes_end_a_connection(driver: Driver) {
    let (later, written) = (Gate::default(), Gate::default());
    let (wait, tell) = (later.clone(), written.clone());
    let origin = Origin::script(move |connection| {
        connection.request()?;
        connection.write(ok("asked"))?;
        if connection.number == 1 {
            wait.pass()?;
            connection.write(ok("unasked"))?;
            tell.open();
        }
        connection.await_end();
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    assert_eq!(client.get("/").expect(200).text(), "asked");
    later.open();
    written.pass().unwrap();
    assert_eq!(client.get("/").expect(200).text(), "asked");
    origin.await_ended(1);
    assert_eq!(origin.connections(), 2);
}

fn bytes_after_an_answer_end_a_connection(driver: Driver) {
    let origin = Origin::script(|connection| {
        while connection.request()?.is_some() {
            connection.write(format!("{}{}", ok("asked"), ok("unasked")))?;
        }
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    for turn in 1..=3 {
        assert_eq!(client.get("/").expect(200).text(), "asked");
        origin.await_ended(turn);
    }
}

/// HTTP_SAFETY rule 8: a connection that still owes body bytes is never used again.
fn an_unread_body_ends_a_connection(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.head()?;
        connection.write(ok("early"))?;
        connection.await_end();
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.request("POST", "/", &["Content-Length: 1000"]).send("the beginning");
    assert_eq!(client.answer().expect(200).text(), "early");
    origin.await_ended(1);
    assert_eq!(gateway.get("/").expect(200).text(), "early");
    assert_eq!(origin.connections(), 2);
}

fn close_of_the_origin_is_honoured(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")?;
        // It is the gateway that ends it.
        connection.await_end();
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    for turn in 1..=3 {
        let answer = client.get("/").expect(200);
        assert!(!answer.closes(), "what the origin wants is no matter of the client's");
        origin.await_ended(turn);
    }
}

fn no_idle_connection_where_none_is_wanted(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = Gateway::forward_route(driver, &origin, "pool:\n  max_idle: 0");
    for turn in 1..=5 {
        gateway.get("/").expect(200);
        origin.await_ended(turn);
    }
}

fn idle_connections_age(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = Gateway::forward_route(driver, &origin, "pool:\n  idle_timeout: 300ms");
    gateway.get("/").expect(200);
    origin.await_ended(1);
    gateway.get("/").expect(200);
}

fn old_connections_are_retired(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = Gateway::forward_route(driver, &origin, "pool:\n  max_age: 300ms");
    let mut client = gateway.client();
    eventually("a connection grows old", || {
        client.get("/").expect(200);
        origin.connections() > 1
    });
    assert!(origin.requests().len() > 2, "{} requests", origin.requests().len());
}

fn a_busy_connection_serves_nobody_else(driver: Driver) {
    let gate = Gate::default();
    let pass = gate.clone();
    let origin = Origin::script(move |connection| {
        while let Some(request) = connection.request()? {
            if request.target == "/slow" {
                pass.pass()?;
            }
            connection.write(ok(&request.target))?;
        }
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut slow = gateway.client();
    slow.request("GET", "/slow", &[]);
    origin.await_requests(1);
    let mut quick = gateway.client();
    for _ in 0..5 {
        assert_eq!(quick.get("/quick").expect(200).text(), "/quick");
    }
    gate.open();
    assert_eq!(slow.answer().expect(200).text(), "/slow");
    assert_eq!(origin.connections(), 2);
    assert!(!slow.dawdle(Duration::from_millis(1)));
}

/// An interim answer is a beginning too: the origin has taken the request up.
fn a_request_that_an_answer_had_begun_to_is_not_repeated(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write(ok("first"))?;
        connection.request()?;
        connection.write("HTTP/1.1 103 Early Hints\r\n\r\n")
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.get("/1").expect(200);
    assert_eq!(client.get("/2").status, 103);
    client.answer().expect_error(502);
    assert_eq!(origin.connections(), 1);
}
