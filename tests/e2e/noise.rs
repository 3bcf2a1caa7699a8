//! Requests and answers put together from good and bad parts. What comes of one is not known
//! beforehand, but this is: the origin can read whatever reaches it, the client can read whatever
//! comes back (both readers of the harness are strict), and the next client is served.

use std::io::ErrorKind;

use crate::harness::{Client, Driver, Gateway, Origin, draw, scenes};

scenes![noisy_requests, noisy_answers];

const ROUNDS: u64 = 400;

const LINES: &[&str] = &[
    "GET / HTTP/1.1",
    "GET / HTTP/1.1",
    "POST /a HTTP/1.1",
    "POST /a HTTP/1.1",
    "PUT /%41/../b?c=%zz HTTP/1.1",
    "HEAD /a//b HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "GET http://other.test/x HTTP/1.1",
    "GET / HTTP/1.0",
    "DELETE /;x/..;y/ HTTP/1.1",
    "TRACE / HTTP/1.1",
    "CONNECT a:1 HTTP/1.1",
    "get / HTTP/1.1",
    "GET /\t HTTP/1.1",
    "GET /\u{e9} HTTP/1.1",
    "POST / HTTP/2.0",
    "",
];

const FIELDS: &[&str] = &[
    "Content-Length: 5",
    "Content-Length: 5",
    "content-length:0",
    "Content-Length: 05",
    "Content-Length: 5, 5",
    "Content-Length: 7",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
    "transfer-encoding:\tCHUNKED ",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, chunked",
    "Connection: close",
    "Connection: keep-alive, X-A, Content-Length",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "Expect: nothing",
    "TE: trailers",
    "Trailer: X-A",
    "X-A: b",
    "X-A:",
    "X-A: a\u{80}b",
    "X-A: a\x01b",
    "X-A : b",
    " X-A: b",
    "X-Forwarded-For: 1.2.3.4, ,",
    "Forwarded: for=\"[::1]\";;",
    "Cookie: a=b; c",
    "Host: again.test",
    "Content-Encoding: gzip",
    "Range: bytes=0-0",
    "no colon",
    "X-B: c\nX-C: d",
    "X-B: c\rX-C: d",
];

const BODIES: &[&str] = &[
    "",
    "hello",
    "hello",
    "hell",
    "5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\nX-T: u\r\n\r\n",
    "3\r\nhello\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
    "0\r\n\r\n",
    "fffffffffffffffff\r\n",
    "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
];

fn pick<'a>(state: &mut u64, list: &[&'a str]) -> &'a str {
    list[draw(state, list.len())]
}

fn fields(state: &mut u64, most: usize) -> String {
    (0..draw(state, most)).map(|_| format!("{}\r\n", pick(state, FIELDS))).collect()
}

/// One message or several, seldom a good one.
fn message(seed: u64, first: impl Fn(&mut u64) -> String) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..1 + draw(&mut state, 3))
        .map(|_| {
            let (line, fields) = (first(&mut state), fields(&mut state, 4));
            format!("{line}\r\n{fields}\r\n{}", pick(&mut state, BODIES))
        })
        .collect()
}

/// Reads answers until the connection ends; whatever comes must be readable.
#[track_caller]
fn read_all(client: &mut Client, about: &str) {
    client.wire.finish_writing();
    loop {
        // After HEAD, a length is no promise of a body; such rounds stop at the first answer.
        let method = if about.contains("HEAD ") { "HEAD" } else { "GET" };
        match client.wire.response(method) {
            Ok(Some(answer)) if answer.status == 101 || method == "HEAD" => return,
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(fault) if fault.kind() == ErrorKind::InvalidData => {
                panic!("{fault} in the answer to {about:?}")
            }
            Err(fault) if fault.kind() == ErrorKind::TimedOut => {
                panic!("it hangs on {about:?}: {fault}")
            }
            Err(_) => return,
        }
    }
}

fn noisy_requests(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward_with(driver, &origin, "server:\n  read_timeout: 1s");
    for seed in 0..ROUNDS {
        let noise = message(seed, |state| {
            let host = if draw(state, 8) == 0 { "" } else { "\r\nHost: a" };
            format!("{}{host}", pick(state, LINES))
        });
        let mut client = gateway.client();
        match seed % 2 {
            0 => client.send(&noise),
            _ => client.send_split(&noise, seed),
        };
        read_all(&mut client, &noise);
    }
    gateway.get("/after").expect(200);
    // Enough of it is good for this to be a test of more than the first line of defence.
    assert!(origin.count() > ROUNDS as usize / 10, "{} requests", origin.count());
}

fn noisy_answers(driver: Driver) {
    const STATUS: &[&str] = &[
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 304 Not Modified",
        "HTTP/1.1 404 Not Found",
        "HTTP/1.1 500 \u{e9}",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 103 Early Hints",
        "HTTP/1.1 100 Continue",
        "HTTP/1.1 101 Switching Protocols",
        "HTTP/1.1 999 What",
        "HTTP/1.1 99 What",
        "HTTP/2.0 200 OK",
        "ICY 200 OK",
        "",
    ];
    let origin = Origin::script(|connection| {
        while let Some(request) = connection.request()? {
            let Ok(seed) = request.target[1..].parse() else {
                connection.write(crate::harness::ok("after"))?;
                continue;
            };
            let noise = message(seed, |state| pick(state, STATUS).to_owned());
            if seed % 2 == 0 {
                connection.write(&noise)?;
            } else {
                for byte in noise.bytes() {
                    connection.write([byte])?;
                }
            }
            if seed % 3 == 0 {
                return Ok(());
            }
        }
        Ok(())
    });
    let short = "timeouts:\n  first_byte: 200ms\n  idle: 200ms";
    let gateway = Gateway::forward_route(driver, &origin, short);
    for seed in 0..ROUNDS / 2 {
        let mut client = gateway.client();
        client.request("GET", &format!("/{seed}"), &[]);
        read_all(&mut client, &format!("seed {seed}"));
        if seed % 10 == 0 {
            assert_eq!(gateway.get("/after").expect(200).text(), "after", "seed {seed}");
        }
    }
}
