//! Where one message ends and the next begins. Whoever doubts it is answered 400 and closed, and
//! no origin hears of it: this is what request smuggling is made of.

use crate::harness::{Driver, Gate, Gateway, Origin, chunked, scenes};

scenes![
    ambiguous_lengths_are_refused,
    broken_heads_are_refused,
    unusual_requests_are_refused,
    refused_wherever_the_bytes_are_cut,
    equal_lengths_become_one,
    chunked_is_known_in_any_case,
    broken_chunks_are_refused,
    chunk_extensions_are_dropped,
    a_listed_length_still_frames_the_body,
    a_body_is_never_taken_for_a_request,
    an_error_in_the_middle_of_a_body_keeps_the_place,
    broken_answers_are_not_passed_on,
    ambiguous_answers_are_not_passed_on,
];

/// A request that is answered with `status` and closed, and that never reaches the origin.
type Refused<'a> = (u16, &'a str);

#[track_caller]
fn refused(driver: Driver, table: &[Refused<'_>]) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    for (status, request) in table {
        let mut client = gateway.client();
        let answer = client.send(request).answer_or_end();
        let answer = answer.unwrap_or_else(|| panic!("no answer to {request:?}"));
        assert_eq!(answer.status, *status, "to {request:?}: {}", answer.text());
        assert!(answer.closes(), "it does not say that it closes after {request:?}");
        answer.expect_error(*status);
        assert_eq!(client.until_end(), "", "after {request:?}");
    }
    assert_eq!(origin.connections(), 0, "the origin saw {:#?}", origin.requests());
}

/// HTTP_SAFETY rules 1, 2 and 3.
fn ambiguous_lengths_are_refused(driver: Driver) {
    const TABLE: &[(u16, &str)] = &[
        (400, "1.1|Content-Length: 5|Transfer-Encoding: chunked"),
        (400, "1.1|Transfer-Encoding: chunked|Content-Length: 5"),
        (400, "1.1|Content-Length: 5|Content-Length: 6"),
        (400, "1.1|Content-Length: 5, 6"),
        (400, "1.1|Content-Length: 5,"),
        (400, "1.1|Content-Length: +5"),
        (400, "1.1|Content-Length: -5"),
        (400, "1.1|Content-Length: 0x5"),
        (400, "1.1|Content-Length: 5 5"),
        (400, "1.1|Content-Length: 5.0"),
        (400, "1.1|Content-Length:"),
        (400, "1.1|Content-Length: "),
        (400, "1.1|Content-Length: 18446744073709551616"),
        (400, "1.1|Content-Length: 99999999999999999999999"),
        (400, "1.0|Transfer-Encoding: chunked"),
        (501, "1.1|Transfer-Encoding: gzip, chunked"),
        (501, "1.1|Transfer-Encoding: chunked, chunked"),
        (501, "1.1|Transfer-Encoding: chunked|Transfer-Encoding: chunked"),
        (501, "1.1|Transfer-Encoding: chunked, identity"),
        (501, "1.1|Transfer-Encoding: identity"),
        (501, "1.1|Transfer-Encoding: xchunked"),
        (501, "1.1|Transfer-Encoding: \"chunked\""),
        (400, "1.1|Transfer-Encoding: \x0bchunked"),
        (400, "1.1|Transfer-Encoding : chunked"),
    ];
    // As many bytes of the body as the shortest reading asks for.
    let written: Vec<(u16, String)> = TABLE
        .iter()
        .map(|(status, short)| {
            let (version, fields) = short.split_once('|').unwrap();
            let fields = fields.replace('|', "\r\n");
            (*status, format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n"))
        })
        .collect();
    let table: Vec<Refused<'_>> = written.iter().map(|(status, text)| (*status, &**text)).collect();
    refused(driver, &table);
}

/// HTTP_SAFETY rules 5, 6, 15 and 19.
fn broken_heads_are_refused(driver: Driver) {
    refused(
        driver,
        &[
            (400, "GET / HTTP/1.1\nHost: a\n\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nX: y\rZ: w\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nX: y\0\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n"),
            (400, "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nX\t: y\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tfolded\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nX(y): z\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
            (400, "GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nAuthorization: y\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nContent-Type: x\r\nContent-Type: y\r\n\r\n"),
        ],
    );
}

/// HTTP_SAFETY rules 7, 9 and 20.
fn unusual_requests_are_refused(driver: Driver) {
    refused(
        driver,
        &[
            (400, "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
            (400, "GET /\r\nHost: a\r\n\r\n"),
            (400, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
            (505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
            (505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
            (505, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
            (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            (405, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
            (417, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-maybe\r\nContent-Length: 1\r\n\r\na"),
            (417, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\n\r\n"),
            (400, "GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET /a%zzb HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET /a% HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET /a%5Cb HTTP/1.1\r\nHost: a\r\n\r\n"),
        ],
    );
}

fn refused_wherever_the_bytes_are_cut(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let requests = [
        "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ];
    for request in requests {
        let mut client = gateway.client();
        client.send_bytewise(request).answer().expect_error(400);
        for seed in 1..10 {
            let mut client = gateway.client();
            client.send_split(request, seed).answer().expect_error(400);
            client.expect_end();
        }
    }
    assert_eq!(origin.connections(), 0);
}

fn equal_lengths_become_one(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    for fields in ["Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5, 5"] {
        let mut client = gateway.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\nhello"));
        assert_eq!(client.answer().expect(200).json()["body"], "hello");
    }
    for request in origin.requests() {
        assert_eq!(request.head.all("content-length"), ["5"]);
    }
}

fn chunked_is_known_in_any_case(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    for coding in ["chunked", "Chunked", "CHUNKED", " chunked\t"] {
        let mut client = gateway.client();
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:{coding}\r\n");
        client.send(format!("{head}\r\n5\r\nhello\r\n0\r\n\r\n"));
        assert_eq!(client.answer().expect(200).json()["body"], "hello");
    }
}

/// HTTP_SAFETY rule 4. The head may be on its way before the fault is seen, but the origin must
/// never come to think that the request is complete.
fn broken_chunks_are_refused(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(100_000));
    let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(20_000));
    let bodies = [
        "\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\0\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        long.as_str(),
        trailers.as_str(),
    ];
    for body in bodies {
        let short = &body[..body.len().min(60)];
        let mut client = gateway.client();
        client.request("POST", "/", &["Transfer-Encoding: chunked"]).send(body);
        let answer = client.answer_or_end().unwrap_or_else(|| panic!("no answer to {short:?}"));
        assert_eq!(answer.status, 400, "to {short:?}");
        assert_eq!(client.until_end(), "", "after {short:?}");
    }
    assert!(origin.requests().is_empty(), "{:#?}", origin.requests());
}

fn chunk_extensions_are_dropped(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.head()?;
        let mut body = Vec::new();
        while let Some(data) = connection.wire.chunk()? {
            body.extend(data);
        }
        let _ = connection.wire.trailers()?;
        // The strict reader above knows no extensions; what it read is what came.
        connection.write(crate::harness::ok(&String::from_utf8_lossy(&body)))
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.request("POST", "/", &["Transfer-Encoding: chunked"]);
    client.send("5;a=b;c=\"d\"\r\nhello\r\n0000;e\r\n\r\n");
    assert_eq!(client.answer().expect(200).text(), "hello");
}

/// Whoever could strip the framing by naming it in Connection could smuggle a request behind it.
fn a_listed_length_still_frames_the_body(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for (framing, body) in [
        (format!("Content-Length: {}", smuggled.len()), smuggled.to_owned()),
        (
            "Transfer-Encoding: chunked".to_owned(),
            format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len()),
        ),
    ] {
        let listed = "Connection: keep-alive, Content-Length, Transfer-Encoding";
        let mut client = gateway.client();
        client.request("POST", "/", &[listed, &framing]).send(body);
        assert_eq!(client.answer().expect(200).json()["body"], smuggled);
        assert_eq!(client.get("/after").expect(200).json()["target"], "/after");
    }
    assert!(origin.requests().iter().all(|request| request.target != "/smuggled"));
}

/// HTTP_SAFETY rule 8: the route answers by itself and reads no body, which is still a body.
fn a_body_is_never_taken_for_a_request(driver: Driver) {
    let origin = Origin::echo();
    let routes = crate::harness::forward_route(&origin, "");
    let ping = "  - name: ping\n    path: /ping\n    respond:\n      body: pong\n";
    let gateway = Gateway::start(driver, &format!("{routes}{ping}"));
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let fixed = format!(
        "POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    );
    let padded = format!("{smuggled}{}", " ".repeat(200_000));
    let large = chunked("/ping", &[padded.as_str()], &[]);
    for request in [fixed, chunked("/ping", &[smuggled], &[]), large] {
        let mut client = gateway.client();
        client.send(request);
        assert_eq!(client.answer().expect(200).text(), "pong");
        // Read to its end or closed: both are safe, anything else is not.
        client.request("GET", "/after", &["Connection: close"]);
        if let Some(answer) = client.answer_or_end() {
            assert_eq!(answer.expect(200).json()["target"], "/after");
        }
        client.until_end();
    }
    assert!(origin.requests().iter().all(|request| request.target == "/after"));
}

/// The origin gives up when half of the body has gone through. What the client sends after the
/// answer is the other half, no more and no less, whatever the gateway makes of it.
fn an_error_in_the_middle_of_a_body_keeps_the_place(driver: Driver) {
    let half = Gate::default();
    let open = half.clone();
    let origin = Origin::script(move |connection| {
        let Some(head) = connection.head()? else { return Ok(()) };
        if head.line.starts_with("GET") {
            return connection.write(crate::harness::ok(&head.line));
        }
        connection.wire.exactly(1_000)?;
        open.open();
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let other_half = format!("{smuggled}{}", "x".repeat(1_000 - smuggled.len()));
    let after = "GET /after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for framing in ["Content-Length: 2000", "Transfer-Encoding: chunked"] {
        let chunked = framing.ends_with("chunked");
        let piece = |data: &str| match chunked {
            true => format!("{:x}\r\n{data}\r\n", data.len()),
            false => data.to_owned(),
        };
        let mut client = gateway.client();
        client.request("POST", "/", &[framing]);
        // The first half comes by itself, behind a head that was already passed on.
        origin.await_connections(1);
        client.send(piece(&"y".repeat(1_000)));
        if !chunked {
            half.pass().unwrap();
        }
        client.answer().expect_error(502);
        client.send(piece(&other_half)).send(if chunked { "0\r\n\r\n" } else { "" }).send(after);
        if let Some(answer) = client.answer_or_end() {
            assert_eq!(answer.expect(200).text(), "GET /after HTTP/1.1", "{framing}");
        }
        client.until_end();
    }
}

fn broken_answers_are_not_passed_on(driver: Driver) {
    let answers = [
        "garbage\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/3.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\nX: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: y\r\n folded\r\n\r\n",
    ];
    never_passed_on(driver, &answers);
}

fn ambiguous_answers_are_not_passed_on(driver: Driver) {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ];
    never_passed_on(driver, &answers);
}

/// Each of these answers of an origin becomes a 502, and its connection is used no more.
#[track_caller]
fn never_passed_on(driver: Driver, answers: &[&'static str]) {
    let table = answers.to_vec();
    let origin = Origin::script(move |connection| {
        while let Some(request) = connection.request()? {
            let place: usize = request.target[1..].parse().unwrap_or_default();
            connection.write(table[place])?;
        }
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    for (place, answer) in answers.iter().enumerate() {
        let status = gateway.get(&format!("/{place}")).status;
        assert_eq!(status, 502, "for {answer:?}");
        origin.await_ended(place + 1);
    }
}
