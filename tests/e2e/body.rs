//! Bodies: every framing there is, both ways, and what may break off in the middle.

use crate::harness::{Driver, Framing, Gate, Gateway, Origin, chunked, ok, scenes};

scenes![
    fixed_bodies_pass,
    chunked_bodies_pass_with_trailers,
    chunked_answers_pass_with_trailers,
    forbidden_trailers_are_dropped,
    what_a_filter_replaces_comes_in_no_trailer,
    what_a_filter_replaces_of_an_answer_comes_in_no_trailer,
    long_bodies_pass_in_any_framing,
    answers_until_close_pass,
    answers_of_http_1_0_pass,
    chunks_are_undone_for_http_1_0,
    answers_without_a_body_have_none,
    events_arrive_one_by_one,
    uploads_arrive_piece_by_piece,
    a_reset_origin_cuts_the_answer,
    a_short_answer_is_seen_to_be_cut,
    a_reset_client_ends_the_exchange,
    a_client_that_leaves_ends_the_download,
    a_cut_answer_until_close_does_not_look_whole,
];

fn fixed_bodies_pass(driver: Driver) {
    let origin = Origin::script(|connection| {
        while let Some(request) = connection.request()? {
            let text = String::from_utf8_lossy(&request.body).into_owned();
            connection.write(ok(&text))?;
        }
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    for size in [0, 1, 1000, 16 * 1024, 64 * 1024, 64 * 1024 + 1, 1_000_000] {
        let body = "0123456789".repeat(size / 10 + 1);
        let body = &body.as_bytes()[..size];
        let answer = client.post("/", body).expect(200);
        assert!(answer.body == body, "{size} bytes came back as {}", answer.body.len());
        assert_eq!(answer.framing, Framing::Length(size as u64));
    }
    assert_eq!(origin.connections(), 1);
}

fn chunked_bodies_pass_with_trailers(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let large = "x".repeat(100_000);
    let mut client = gateway.client();
    client.send(chunked("/", &["a", "bc", &large], &["X-Sum: 42"])).answer().expect(200);
    client.send(chunked("/", &[], &[])).answer().expect(200);
    let requests = origin.requests();
    assert_eq!(requests[0].framing, Framing::Chunked);
    assert_eq!(requests[0].body.len(), 100_003);
    assert_eq!(requests[0].trailers, [("X-Sum".to_owned(), "42".to_owned())]);
    assert!(requests[1].body.is_empty());
}

fn chunked_answers_pass_with_trailers(driver: Driver) {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         3\r\nabc\r\n00a;ext=\"1\"\r\n0123456789\r\n0\r\nX-Sum: 42\r\n\r\n",
    );
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    for _ in 0..3 {
        let answer = client.get("/").expect(200);
        assert_eq!((answer.framing, answer.text().as_str()), (Framing::Chunked, "abc0123456789"));
        assert_eq!(answer.trailers, [("X-Sum".to_owned(), "42".to_owned())]);
    }
    assert_eq!(origin.connections(), 1);
}

/// RFC 9110 §6.5.1: what frames, routes or authorises a message is no trailer.
fn forbidden_trailers_are_dropped(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let trailers = [
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Host: evil.test",
        "Authorization: me",
        "Connection: close",
        "X-Forwarded-For: 6.6.6.6",
        "X-Fine: yes",
    ];
    let mut client = gateway.client();
    client.send(chunked("/", &["hi"], &trailers)).answer().expect(200);
    assert_eq!(origin.request().trailers, [("X-Fine".to_owned(), "yes".to_owned())]);
}

/// HTTP_SAFETY rule 17: programs that join trailers to the head would find there what was removed.
fn what_a_filter_replaces_comes_in_no_trailer(driver: Driver) {
    let origin = Origin::echo();
    let filters = "
        global_filters:
          - headers: {request: {remove: [X-User-ID], set: {X-Role: guest}, add: {X-Seen: \"1\"}}}
          - retry: {max_body: 1KiB}
    ";
    let gateway = Gateway::forward_with(driver, &origin, filters);
    let mut client = gateway.client();
    let trailers =
        ["x-user-id: root", "X_User.ID: root", "X-Role: admin", "X-Seen: 2", "X-Sum: 42"];
    // All with the head; and with the head gone before, kept for a retry and too long for that.
    client.send(chunked("/", &["hi"], &trailers)).answer().expect(200);
    client.send_bytewise(chunked("/", &["hi"], &trailers)).answer().expect(200);
    client.send(chunked("/", &["hi", &"x".repeat(100_000)], &trailers)).answer().expect(200);
    for request in origin.requests() {
        let kept = [("X-Seen".to_owned(), "2".to_owned()), ("X-Sum".to_owned(), "42".to_owned())];
        assert_eq!(request.trailers, kept);
    }
}

fn what_a_filter_replaces_of_an_answer_comes_in_no_trailer(driver: Driver) {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\
         x-secret: 1\r\nX_Secret: 2\r\nX-Role: admin\r\nX-Sum: 42\r\n\r\n",
    );
    let filters = "
        global_filters:
          - headers: {response: {remove: [X-Secret], set: {X-Role: guest}}}
    ";
    let gateway = Gateway::forward_with(driver, &origin, filters);
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.get("/").expect(200);
        assert_eq!((answer.text().as_str(), answer.field("x-role")), ("abc", Some("guest")));
        assert_eq!(answer.trailers, [("X-Sum".to_owned(), "42".to_owned())]);
    }
}

/// Long enough for the largest buffers, in chunks that fit nothing; each byte tells its place.
fn long_bodies_pass_in_any_framing(driver: Driver) {
    let body: String = (0..400_000).map(|number| format!("{number:07}")).collect();
    let mut chunks = Vec::new();
    let mut rest = body.as_str();
    for size in [7, 16_384, 65_536, 300_001].iter().cycle() {
        let (chunk, behind) = rest.split_at(rest.len().min(*size));
        chunks.push(chunk);
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    let sent = chunked("/", &chunks, &["X-Sum: 42"]);
    let head = sent.find("\r\n\r\n").unwrap();
    let coded = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked{}", &sent[head..]);
    let open = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
    let origin = Origin::script(move |connection| {
        while let Some(request) = connection.request()? {
            match request.target.as_str() {
                "/open" => return connection.write(&open),
                _ => connection.write(&coded)?,
            }
        }
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    let answer = client.send(&sent).answer().expect(200);
    assert!(answer.text() == body, "{} bytes came back", answer.body.len());
    assert_eq!(answer.trailers, [("X-Sum".to_owned(), "42".to_owned())]);
    let request = origin.request();
    assert!(request.body == body.as_bytes(), "{} bytes came up", request.body.len());
    assert_eq!(request.trailers, [("X-Sum".to_owned(), "42".to_owned())]);
    let answer = client.get("/open").expect(200);
    assert!(answer.text() == body, "{} bytes came until the close", answer.body.len());
}

fn answers_until_close_pass(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write("HTTP/1.1 200 OK\r\nX-Kind: open\r\n\r\nuntil ")?;
        connection.write("the end")
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    let answer = client.get("/").expect(200);
    assert_eq!((answer.text().as_str(), answer.field("x-kind")), ("until the end", Some("open")));
    if answer.framing == Framing::Chunked {
        assert_eq!(client.get("/").expect(200).text(), "until the end");
    }
}

fn answers_of_http_1_0_pass(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold")
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    for turn in 1..=3 {
        assert_eq!(client.get("/").expect(200).text(), "old");
        origin.await_ended(turn);
    }
}

fn chunks_are_undone_for_http_1_0(driver: Driver) {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    let keep = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let answer = client.send(keep).answer().expect(200);
    assert_eq!((answer.framing, answer.text().as_str()), (Framing::UntilClose, "abcde"));
}

/// HTTP_SAFETY rule 11.
fn answers_without_a_body_have_none(driver: Driver) {
    let origin = Origin::script(|connection| {
        while let Some(request) = connection.request()? {
            let answer = match request.target.as_str() {
                "/204" => "HTTP/1.1 204 No Content\r\nX-Kind: a\r\n\r\n",
                "/204-lying" => "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
                "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\n",
                "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                "/head-chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "/head-lying" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend",
            };
            connection.write(answer)?;
        }
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    for (method, target, status) in [
        ("GET", "/204", 204),
        ("GET", "/204-lying", 204),
        ("GET", "/304", 304),
        ("HEAD", "/head", 200),
        ("HEAD", "/head-chunked", 200),
        ("HEAD", "/head-lying", 200),
    ] {
        client.request(method, target, &[]).answer_to(method).expect(status);
        // The next answer begins where this one ended.
        assert_eq!(client.get("/end").expect(200).text(), "end", "after {method} {target}");
    }
    let head = client.request("HEAD", "/head", &[]).answer_to("HEAD").expect(200);
    assert_eq!(head.field("content-length"), Some("5"));
}

fn events_arrive_one_by_one(driver: Driver) {
    let held = Gate::default();
    let pass = held.clone();
    let origin = Origin::script(move |connection| {
        connection.request()?;
        connection.write(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
        )?;
        for event in 1..=5 {
            connection.write(format!("9\r\ndata: {event}\n\n\r\n"))?;
            pass.pass()?;
        }
        connection.write("0\r\n\r\n")
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    let head = client.request("GET", "/events", &[]).head();
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    for event in 1..=5 {
        // The origin writes no further event until this one has arrived.
        assert_eq!(client.chunk(), Some(format!("data: {event}\n\n")));
        held.open();
    }
    assert_eq!(client.chunk(), None);
}

fn uploads_arrive_piece_by_piece(driver: Driver) {
    let arrived = Gate::default();
    let open = arrived.clone();
    let origin = Origin::script(move |connection| {
        connection.head()?;
        while connection.wire.chunk()?.is_some() {
            open.open();
        }
        connection.wire.trailers()?;
        connection.write(ok("all of it"))
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.request("POST", "/", &["Transfer-Encoding: chunked"]);
    for piece in ["one", "two", "three"] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
        // The client sends no further piece until this one has arrived.
        arrived.pass().unwrap();
    }
    assert_eq!(client.send("0\r\n\r\n").answer().expect(200).text(), "all of it");
}

fn a_reset_origin_cuts_the_answer(driver: Driver) {
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let origin = Origin::script(move |connection| {
            connection.request()?;
            connection.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n"))?;
            // The request after this one never comes: the gateway has read what was written.
            connection.reset();
            Ok(())
        });
        let gateway = Gateway::forward(driver, &origin);
        let mut client = gateway.client();
        client.request("GET", "/", &[]);
        // A reset may overtake the answer (502 then); what is never seen is a whole 200.
        if let Ok(Some(answer)) = client.wire.response("GET") {
            answer.expect_error(502);
        }
    }
}

fn a_short_answer_is_seen_to_be_cut(driver: Driver) {
    for (head, body) in [
        ("Content-Length: 100", "only this"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n"),
    ] {
        let origin = Origin::script(move |connection| {
            connection.request()?;
            connection.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}"))
        });
        let gateway = Gateway::forward(driver, &origin);
        let mut client = gateway.client();
        client.request("GET", "/", &[]);
        if let Ok(Some(answer)) = client.wire.response("GET") {
            answer.expect_error(502);
        }
        client.until_end();
    }
}

fn a_reset_client_ends_the_exchange(driver: Driver) {
    let origin = Origin::script(|connection| {
        if connection.head()?.is_some() {
            connection.await_end();
        }
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.request("POST", "/", &["Content-Length: 1000"]).send("the beginning");
    origin.await_connections(1);
    client.reset();
    // The origin learns that the rest will not come, and others do not notice.
    origin.await_ended(1);
}

fn a_client_that_leaves_ends_the_download(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")?;
        let block = vec![b'x'; 64 * 1024];
        loop {
            connection.write(&block)?;
        }
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.request("GET", "/", &[]).head();
    client.exactly(100_000);
    client.reset();
    origin.await_ended(1);
}

/// An HTTP/1.0 client takes an orderly end for the end of the body, also where it has not sent all
/// of its own.
fn a_cut_answer_until_close_does_not_look_whole(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.head()?;
        connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
    assert!(client.wire.response("POST").is_err(), "a cut answer looked whole");
}
