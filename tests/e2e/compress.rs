//! Compressed answers: read by real decoders, event by event, by clients old and new.

use std::io::Read;
use std::process::Command;

use crate::harness::{Driver, Framing, Gate, Gateway, Origin, draw, ok, scenes};

scenes![
    every_coding_can_be_read,
    curl_reads_what_is_compressed,
    a_large_body_goes_through,
    an_event_is_not_held_back,
    an_old_client_reads_until_the_end,
    the_head_is_that_of_the_compressed_answer,
    what_need_not_be_compressed_is_left_alone,
    answers_of_our_own_are_compressed,
    what_breaks_off_does_not_end_in_order,
];

const FILTER: &str = "filters: [compress]";

/// So many bytes or a few more that can be compressed, but not to nothing.
fn text(length: usize) -> String {
    let mut text = String::new();
    let mut seed = 1;
    while text.len() < length {
        text += &format!("{{\"id\":{}}},\n", draw(&mut seed, 1_000));
    }
    text
}

#[track_caller]
fn decoded(coding: &str, bytes: &[u8]) -> String {
    let mut plain = Vec::new();
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain),
        "zstd" => zstd::Decoder::new(bytes).unwrap().read_to_end(&mut plain),
        other => panic!("nobody asked for {other:?}"),
    };
    read.unwrap_or_else(|fault| panic!("{coding} cannot be read: {fault}"));
    String::from_utf8(plain).unwrap()
}

/// What an origin answers, chunked or with its length.
fn answer(body: &str, chunked: bool) -> String {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: \"1\"\r\n\
                Accept-Ranges: bytes\r\n";
    match chunked {
        false => format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()),
        true => {
            let (first, second) = body.split_at(body.len() / 2);
            let chunk = |data: &str| format!("{:x}\r\n{data}\r\n", data.len());
            let end = "0\r\nX-Sum: 1\r\n\r\n";
            let chunks = format!("{}{}{end}", chunk(first), chunk(second));
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}")
        }
    }
}

fn every_coding_can_be_read(driver: Driver) {
    let body = text(20_000);
    for chunked in [false, true] {
        let origin = Origin::answering(answer(&body, chunked));
        let gateway = Gateway::forward_route(driver, &origin, FILTER);
        let mut client = gateway.client();
        for (accepts, coding) in [("gzip", "gzip"), ("br, gzip;q=0.9", "br"), ("*", "zstd")] {
            let asks = format!("Accept-Encoding: {accepts}");
            let answer = client.get_with("/", &[&asks]).expect(200);
            assert_eq!(answer.field("content-encoding"), Some(coding));
            assert_eq!(answer.framing, Framing::Chunked);
            assert_eq!(answer.field("etag"), Some("W/\"1\""));
            assert_eq!(answer.field("vary"), Some("Accept-Encoding"));
            assert_eq!(answer.field("accept-ranges"), None);
            assert!(answer.body.len() < body.len() / 2, "{} bytes", answer.body.len());
            assert!(answer.trailers.is_empty(), "they are about the body as it was");
            assert!(decoded(coding, &answer.body) == body, "{coding}, chunked: {chunked}");
        }
        let plain = client.get("/").expect(200);
        assert_eq!((plain.field("content-encoding"), plain.text() == body), (None, true));
        assert_eq!(plain.field("etag"), Some("\"1\""));
        assert_eq!(plain.field("vary"), Some("Accept-Encoding"));
        assert_eq!(origin.connections(), 1, "the connections stay whole");
    }
}

/// curl asks for all that it can read.
fn curl_reads_what_is_compressed(driver: Driver) {
    let body = text(50_000);
    let origin = Origin::answering(answer(&body, true));
    let gateway = Gateway::forward_route(driver, &origin, FILTER);
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "10", "--compressed"])
        .args(["--write-out", "%{stderr}%header{content-encoding} %{size_download}"])
        .arg(format!("http://{}/", gateway.address()))
        .output()
        .unwrap_or_else(|fault| panic!("this scene needs curl: {fault}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(output.stdout == body.as_bytes(), "{} bytes", output.stdout.len());
    let (coding, size) = said.split_once(' ').unwrap();
    assert!(["zstd", "br", "gzip"].contains(&coding), "{said}");
    assert!(size.trim().parse::<usize>().unwrap() < body.len() / 2, "{said}");
}

fn a_large_body_goes_through(driver: Driver) {
    let body = text(5_000_000);
    let origin = Origin::answering(answer(&body, false));
    let gateway = Gateway::forward_route(driver, &origin, FILTER);
    for coding in ["gzip", "br", "zstd"] {
        let asks = format!("Accept-Encoding: {coding}");
        let answer = gateway.client().get_with("/", &[&asks]).expect(200);
        assert!(decoded(coding, &answer.body) == body, "{coding}");
    }
    gateway.await_rss_kib(64 * 1024);
}

/// The origin sends its second event only after the client has read the first.
fn an_event_is_not_held_back(driver: Driver) {
    for coding in ["gzip", "br", "zstd"] {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::script(move |connection| {
            connection.request()?;
            connection.write(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                 Transfer-Encoding: chunked\r\n\r\n",
            )?;
            for event in ["b\r\ndata: one\n\n\r\n", "b\r\ndata: two\n\n\r\n", "0\r\n\r\n"] {
                held.pass()?;
                connection.write(event)?;
            }
            Ok(())
        });
        let gateway = Gateway::forward_route(driver, &origin, FILTER);
        let mut client = gateway.client();
        client.request("GET", "/", &[&format!("Accept-Encoding: {coding}")]);
        assert_eq!(client.head().field("content-encoding"), Some(coding));
        let mut came = Vec::new();
        for so_far in ["data: one\n\n", "data: one\n\ndata: two\n\n"] {
            gate.open();
            came.extend(client.wire.chunk().unwrap().expect("an event"));
            assert_eq!(begun(coding, &came), so_far, "{coding}");
        }
        gate.open();
        while let Some(more) = client.wire.chunk().unwrap() {
            came.extend(more);
        }
        assert_eq!(decoded(coding, &came), "data: one\n\ndata: two\n\n");
    }
}

/// What can be read of a stream that has not ended.
fn begun(coding: &str, bytes: &[u8]) -> String {
    let mut plain = Vec::new();
    let ended = match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).is_ok(),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain).is_ok(),
        _ => zstd::Decoder::new(bytes).unwrap().read_to_end(&mut plain).is_ok(),
    };
    assert!(!ended, "it goes on");
    String::from_utf8(plain).unwrap()
}

fn an_old_client_reads_until_the_end(driver: Driver) {
    let body = text(20_000);
    let origin = Origin::answering(answer(&body, false));
    let gateway = Gateway::forward_route(driver, &origin, FILTER);
    let mut client = gateway.client();
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\nAccept-Encoding: gzip\r\n\r\n");
    let answer = client.answer().expect(200);
    assert_eq!((answer.framing, answer.closes()), (Framing::UntilClose, true));
    assert_eq!(decoded("gzip", &answer.body), body);
}

fn the_head_is_that_of_the_compressed_answer(driver: Driver) {
    let origin = Origin::script(|connection| {
        while let Some(request) = connection.request()? {
            let whole = answer(&text(20_000), false);
            let head = whole.find("\r\n\r\n").unwrap() + 4;
            let end = if request.method == "HEAD" { head } else { whole.len() };
            connection.write(&whole[..end])?;
        }
        Ok(())
    });
    let gateway = Gateway::forward_route(driver, &origin, FILTER);
    let mut client = gateway.client();
    let asks = ["Accept-Encoding: br"];
    for _ in 0..2 {
        let answer = client.request("HEAD", "/", &asks).answer_to("HEAD").expect(200);
        assert_eq!(answer.field("content-encoding"), Some("br"));
        assert_eq!(answer.field("content-length"), None);
        assert_eq!(answer.field("etag"), Some("W/\"1\""));
    }
    let answer = client.get_with("/", &asks).expect(200);
    assert_eq!(decoded("br", &answer.body), text(20_000), "the connection is where it should be");
}

fn what_need_not_be_compressed_is_left_alone(driver: Driver) {
    let long = text(5_000);
    let with = |fields: &str| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n\r\n{long}", long.len())
    };
    for (said, status) in [
        (ok("short"), 200),
        (with("Content-Type: image/png"), 200),
        (with("Content-Type: text/html\r\nContent-Encoding: br"), 200),
        (with("Content-Type: text/html\r\nCache-Control: no-transform"), 200),
        ("HTTP/1.1 204 No Content\r\nContent-Type: text/html\r\n\r\n".to_owned(), 204),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n".to_owned(), 200),
    ] {
        let origin = Origin::answering(&said);
        let gateway = Gateway::forward_route(driver, &origin, FILTER);
        let answer = gateway.client().get_with("/", &["Accept-Encoding: gzip, br, zstd"]);
        let answer = answer.expect(status);
        assert_ne!(answer.framing, Framing::Chunked, "{said}");
        assert!(said.ends_with(&answer.text()), "{said}");
        assert_eq!(answer.head.all("vary"), [""; 0], "{said}");
    }
    let origin = Origin::answering("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n");
    let gateway = Gateway::forward_route(driver, &origin, FILTER);
    let answer = gateway.client().get_with("/", &["Accept-Encoding: gzip"]).expect(304);
    assert_eq!(answer.field("etag"), Some("W/\"1\""));
}

fn answers_of_our_own_are_compressed(driver: Driver) {
    let body = "pong ".repeat(1_000);
    let gateway = Gateway::start(
        driver,
        &format!(
            "
            routes:
              - name: ping
                path: /ping
                respond:
                  headers: {{Content-Type: text/plain}}
                  body: \"{body}\"
            global_filters:
              - compress: {{min_size: 100B}}
            "
        ),
    );
    let mut client = gateway.client();
    let asks = ["Accept-Encoding: gzip"];
    let answer = client.get_with("/ping", &asks).expect(200);
    assert_eq!(answer.field("content-encoding"), Some("gzip"));
    assert_eq!(answer.framing, Framing::Length(answer.body.len() as u64));
    assert_eq!(decoded("gzip", &answer.body), body);
    let head = client.request("HEAD", "/ping", &asks).answer_to("HEAD").expect(200);
    assert_eq!(head.field("content-length"), answer.field("content-length"));
    assert_eq!(client.get("/ping").expect(200).text(), body);
    let error = client.get_with("/nowhere", &asks).expect(404);
    let plain: serde_json::Value = serde_json::from_str(&decoded("gzip", &error.body)).unwrap();
    assert_eq!(
        (error.field("content-type"), &plain["code"]),
        (Some("application/json"), &404.into())
    );
}

fn what_breaks_off_does_not_end_in_order(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        let whole = answer(&text(20_000), false);
        connection.write(&whole[..10_000])
    });
    let gateway = Gateway::forward_route(driver, &origin, FILTER);
    let mut client = gateway.client();
    client.request("GET", "/", &["Accept-Encoding: gzip"]);
    client.head();
    let rest = loop {
        match client.wire.chunk() {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert!(rest.is_err(), "half an answer has no last chunk");
}
