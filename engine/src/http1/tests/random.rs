//! The properties of [`properties`] over random messages, and over what remains of them after a
//! few bytes were changed.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::http1::properties;

/// Cases a property: enough to meet every branch often, few enough for the whole to take seconds.
fn config() -> ProptestConfig {
    ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() }
}

/// Parts that heads and bodies are made of, and their evil twins.
const PARTS: &[&str] = &[
    "GET",
    "POST",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    " ",
    "  ",
    "\t",
    "/",
    "/a?b",
    "*",
    "http://h",
    "/x#",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "\0",
    "\x7f",
    "\u{e9}",
    ":",
    "Host: a\r\n",
    "Host: [::1]:80\r\n",
    "Host: a b\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 5, 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Connection: close, x\r\n",
    "Connection: keep-alive\r\n",
    "Expect: 100-continue\r\n",
    "X: y\r\n",
    "Upgrade: websocket\r\n",
    "X : y\r\n",
    " folded\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 204\r\n",
    "HTTP/1.1 100 \r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "POST /p HTTP/1.1\r\nHost: a\r\n",
    "hello",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "1;x=y\r\na\r\n",
    "a\r\n0123456789\r\n",
    "0\r\nX: y\r\n\r\n",
    "ff",
    "0\r\nHost: y\r\n\r\n",
    "00000000000000000",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Any sequence of parts.
fn parts() -> impl Strategy<Value = Vec<u8>> {
    vec(select(PARTS), 0..16).prop_map(|parts| parts.concat().into_bytes())
}

/// The same with a few bytes changed.
fn damaged(whole: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let damage =
        vec((any::<prop::sample::Index>(), select(&b"\r\n\0\t :;,0aG\x7f\x80\xff"[..])), 0..3);
    (whole, damage).prop_map(|(mut bytes, damage)| {
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes
    })
}

/// Heads that are valid but for a rare clash of their fields.
fn likely_head(start: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let name = "[A-Za-z0-9_-]{1,12}";
    let value = "([!-~]([ -~]{0,30}[!-~])?)?";
    let line = prop_oneof![
        3 => (name, value).prop_map(|(name, value)| format!("{name}: {value}\r\n")),
        1 => select(&[
            "Content-Length: 3\r\n", "Transfer-Encoding:\tchunked \r\n", "Connection: x, close\r\n",
            "Expect: 100-continue\r\n", "Accept:\r\n", "X:y\r\n", "Cookie: a=b\r\n",
        ][..]).prop_map(str::to_owned),
    ];
    (select(start), vec(line, 0..8))
        .prop_map(|(start, lines)| format!("{start}\r\n{}\r\n", lines.concat()).into_bytes())
}

fn likely_request() -> impl Strategy<Value = Vec<u8>> {
    likely_head(&[
        "GET / HTTP/1.1\r\nHost: a",
        "POST /a/b?c HTTP/1.1\r\nHost: a.example:8080",
        "GET http://x.example/y HTTP/1.1\r\nhost:b",
        "OPTIONS * HTTP/1.1\r\nHost:\tc ",
        "PUT /z HTTP/1.0",
        "\r\nDELETE /q HTTP/1.1\r\nHost: [::1]",
    ])
}

fn likely_response() -> impl Strategy<Value = Vec<u8>> {
    likely_head(&["HTTP/1.1 200 OK", "HTTP/1.1 404", "HTTP/1.0 500 ", "HTTP/1.1 101 Switching"])
}

/// Chunked bodies in all the ways in which they may be written.
fn likely_chunks() -> impl Strategy<Value = Vec<u8>> {
    let chunk = (vec(any::<u8>(), 1..40), 0..4_usize, select(&["", ";a", ";b=\"c\""][..]));
    let trailers = vec(select(&["X: y\r\n", "Host: z\r\n", "Digest:\r\n"][..]), 0..3);
    (vec(chunk, 0..5), trailers, "[ -~]{0,8}").prop_map(|(chunks, trailers, rest)| {
        let mut out = Vec::new();
        for (data, zeros, extension) in chunks {
            let size = format!("{}{:X}{extension}\r\n", "0".repeat(zeros), data.len());
            out.extend_from_slice(size.as_bytes());
            out.extend_from_slice(&data);
            out.extend_from_slice(b"\r\n");
        }
        let end = format!("0\r\n{}\r\n{rest}", trailers.concat());
        out.extend_from_slice(end.as_bytes());
        out
    })
}

/// Messages one after the other, as they are on a connection.
fn likely_stream() -> impl Strategy<Value = Vec<u8>> {
    let with_body = |head: &str, body: Vec<u8>| {
        let length = format!("{head}Content-Length: {}\r\n\r\n", body.len());
        [length.into_bytes(), body].concat()
    };
    let message = prop_oneof![
        likely_request(),
        likely_response(),
        vec(any::<u8>(), 0..60)
            .prop_map(move |body| with_body("POST / HTTP/1.1\r\nHost: a\r\n", body)),
        vec(any::<u8>(), 0..60).prop_map(move |body| with_body("HTTP/1.1 200 OK\r\n", body)),
        likely_chunks().prop_map(|chunks| {
            [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", &chunks[..]]
                .concat()
        }),
        likely_chunks().prop_map(|chunks| {
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &chunks[..]].concat()
        }),
    ];
    vec(message, 1..4).prop_map(|messages| messages.concat())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn heads_of_any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        properties::head(&bytes);
    }

    #[test]
    fn heads_of_any_parts(bytes in damaged(parts())) {
        properties::head(&bytes);
    }

    #[test]
    fn heads_of_likely_requests(bytes in damaged(likely_request())) {
        properties::head(&bytes);
    }

    #[test]
    fn heads_of_likely_responses(bytes in damaged(likely_response())) {
        properties::head(&bytes);
    }

    #[test]
    fn framing_of_any_parts(bytes in damaged(parts())) {
        properties::framing(&bytes);
    }

    #[test]
    fn framing_of_likely_streams(bytes in damaged(likely_stream())) {
        properties::framing(&bytes);
    }

    #[test]
    fn chunks_of_any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        properties::chunked(&bytes);
    }

    #[test]
    fn chunks_of_any_parts(bytes in damaged(parts())) {
        properties::chunked(&bytes);
    }

    #[test]
    fn chunks_of_likely_bodies(bytes in damaged(likely_chunks())) {
        properties::chunked(&bytes);
    }

    #[test]
    fn data_survives_being_chunked(data in vec(any::<u8>(), 0..300), size in 1..50_usize) {
        let mut out = Vec::new();
        data.chunks(size).for_each(|chunk| write_chunk(&mut out, chunk));
        write_last(&mut out, b"X: y\r\n");
        let mut decoder = Decoder::default();
        let (mut read, mut at) = (Vec::new(), 0);
        loop {
            let read_on = decoder.decode(&out[at..]);
            prop_assert!(read_on.is_ok(), "what we write we cannot read");
            let Ok((used, event)) = read_on else { break };
            if let Event::Data(range) = &event {
                read.extend_from_slice(&out[at..][range.clone()]);
            }
            at += used;
            if event == Event::End {
                break;
            }
        }
        prop_assert_eq!(read, data);
        prop_assert_eq!(at, out.len());
        prop_assert_eq!(decoder.trailers(), b"X: y\r\n");
    }
}

/// What a fuzzer has found once.
#[test]
fn a_line_of_the_greatest_length_may_grow_when_it_is_written_anew() {
    for length in 30..=70 {
        let field = format!("A:{}", "x".repeat(length - 2));
        properties::head(format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n").as_bytes());
        properties::head(format!("GET / HTTP/1.1\r\nHost:h\r\n{field}\r\n\r\n").as_bytes());
    }
}
