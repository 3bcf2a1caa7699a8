//! One check of one endpoint: a connection, and on it a GET whose answer is looked at.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use memchr::memmem;
use ringway_config as config;
use ringway_config::{HealthCheck, HttpProbe, Period};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http1::{self, Body, Decoder, Event, HeadLimits, MAX_FIELDS, Scanner};
use crate::limits::{HEALTH_BODY, HEALTH_HEAD, INTERIM_ANSWERS};
use crate::message::{Method, ResponseHead};

/// Bytes of one read.
const READ: usize = 4096;

/// What to ask, ready to be asked.
pub(super) struct Probe {
    address: SocketAddr,
    timeout: Duration,
    http: Option<(HttpProbe, Vec<u8>)>,
}

impl Probe {
    /// A check of the endpoint at `address`, which is one of `target`.
    pub(super) fn new(settings: &HealthCheck, address: SocketAddr, target: &str) -> Probe {
        let http = match &settings.probe {
            config::Probe::Tcp => None,
            config::Probe::Http(http) => Some((http.clone(), request(http, target))),
        };
        Probe { address, timeout: settings.timeout.0, http }
    }

    /// Asks once. The verdict is `Err` with the reason when the endpoint is not as it should be.
    ///
    /// # Errors
    /// When this process lacks what it takes to ask.
    pub(super) async fn ask(&self) -> io::Result<Result<(), String>> {
        let late = || {
            let timeout = Period(self.timeout);
            Ok(Err(format!("it did not answer within {timeout}")))
        };
        tokio::time::timeout(self.timeout, self.connect_and_ask()).await.unwrap_or_else(|_| late())
    }

    async fn connect_and_ask(&self) -> io::Result<Result<(), String>> {
        let mut stream = match TcpStream::connect(self.address).await {
            // A socket of an ephemeral port may be connected to itself, when nobody listens there.
            Ok(stream) if stream.local_addr()? == self.address => {
                return Ok(Err("it cannot be connected to".to_owned()));
            }
            Ok(stream) => stream,
            Err(error) => {
                return match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EADDRNOTAVAIL) => {
                        Err(error)
                    }
                    _ => Ok(Err(format!("it cannot be connected to: {error}"))),
                };
            }
        };
        let Some((http, request)) = &self.http else { return Ok(Ok(())) };
        Ok(exchange(&mut stream, http, request).await)
    }
}

/// The request, written once.
fn request(http: &HttpProbe, target: &str) -> Vec<u8> {
    let host = http.host.as_deref().unwrap_or(target);
    let mut text = format!("GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", http.path);
    if !http.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
        text += concat!("User-Agent: ringway-health/", env!("CARGO_PKG_VERSION"), "\r\n");
    }
    for (name, value) in &http.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    text.into_bytes()
}

async fn exchange(stream: &mut TcpStream, http: &HttpProbe, request: &[u8]) -> Result<(), String> {
    // An origin may answer and close before it has read all of this; what it said counts.
    let _ = stream.write_all(request).await;
    let mut raw = Vec::with_capacity(READ);
    let mut head = ResponseHead::default();
    let framing = receive_head(stream, &mut raw, &mut head).await?;
    if !http.expect_status.iter().any(|range| range.contains(head.status)) {
        return Err(format!("it answered {}", head.status));
    }
    let text = http.expect_body.as_bytes();
    if text.is_empty() {
        return Ok(());
    }
    let mut body = Expected { text, framing: Framing::new(framing), found: Vec::new() };
    raw.drain(..head.len);
    loop {
        match body.take(&raw)? {
            Search::Found => return Ok(()),
            Search::Over => return Err("its body lacks the expected text".to_owned()),
            Search::More => {}
        }
        raw.clear();
        if let Ok(0) | Err(_) = stream.read_buf(&mut raw).await {
            return Err("its body ended without the expected text".to_owned());
        }
    }
}

/// Reads up to the final head; what was read behind it stays in `raw`.
async fn receive_head(
    stream: &mut TcpStream,
    raw: &mut Vec<u8>,
    head: &mut ResponseHead,
) -> Result<Body, String> {
    let limits =
        HeadLimits { max_head: HEALTH_HEAD, max_line: HEALTH_HEAD, max_fields: MAX_FIELDS };
    let bad = |error| format!("it did not answer in HTTP: {error}");
    let mut scanner = Scanner::default();
    let mut interims = 0;
    loop {
        if let Some(len) = http1::read_response(raw, &mut scanner, head, &limits).map_err(bad)? {
            if !(100..200).contains(&head.status) {
                return http1::response_body(head, &raw[..len], Method::Get).map_err(bad);
            }
            interims += 1;
            if interims > INTERIM_ANSWERS || head.status == 101 {
                return Err("it sent interim answers only".to_owned());
            }
            raw.drain(..len);
            scanner.reset();
            continue;
        }
        raw.reserve(READ);
        match stream.read_buf(raw).await {
            Ok(1..) => {}
            Ok(0) => return Err("it closed the connection without an answer".to_owned()),
            Err(error) => return Err(format!("it did not answer: {error}")),
        }
    }
}

/// The search for a text in a body.
struct Expected<'a> {
    text: &'a [u8],
    framing: Framing,
    /// The body so far, framing taken off.
    found: Vec<u8>,
}

enum Framing {
    Left(u64),
    Chunked(Box<Decoder>),
}

impl Framing {
    fn new(body: Body) -> Framing {
        match body {
            Body::Empty => Framing::Left(0),
            Body::Length(length) => Framing::Left(length),
            Body::UntilClose => Framing::Left(u64::MAX),
            Body::Chunked => Framing::Chunked(Box::default()),
        }
    }
}

enum Search {
    Found,
    /// The body goes on, and so may the search.
    More,
    /// The body is over, or too long to be searched on.
    Over,
}

impl Expected<'_> {
    fn take(&mut self, mut came: &[u8]) -> Result<Search, String> {
        let mut over = false;
        match &mut self.framing {
            Framing::Left(left) => {
                let taken = came.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                self.found.extend_from_slice(&came[..taken]);
                *left -= taken as u64;
                over = *left == 0;
            }
            Framing::Chunked(decoder) => loop {
                let bad = |error| format!("its body is broken: {error}");
                let (used, event) = decoder.decode(came).map_err(bad)?;
                if let Event::Data(range) = &event {
                    self.found.extend_from_slice(&came[range.clone()]);
                }
                came = &came[used..];
                match event {
                    Event::Data(_) => {}
                    Event::More => break,
                    Event::End => {
                        over = true;
                        break;
                    }
                }
            },
        }
        self.found.truncate(HEALTH_BODY);
        Ok(match memmem::find(&self.found, self.text) {
            Some(_) => Search::Found,
            None if over || self.found.len() == HEALTH_BODY => Search::Over,
            None => Search::More,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway_config::StatusRange;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn http(expect_body: &str) -> HttpProbe {
        HttpProbe {
            path: "/check".to_owned(),
            host: None,
            headers: vec![("X-Probe".to_owned(), "us".to_owned())],
            expect_status: vec![StatusRange::DEFAULT],
            expect_body: expect_body.to_owned(),
        }
    }

    fn settings(probe: config::Probe) -> HealthCheck {
        HealthCheck {
            probe,
            interval: Period::from_secs(10),
            timeout: Period::from_secs(10),
            healthy_after: 1,
            unhealthy_after: 1,
        }
    }

    fn ask(settings: &HealthCheck, address: SocketAddr) -> io::Result<Result<(), String>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Probe::new(settings, address, "users:80").ask())
    }

    /// What is made of an origin that sends these pieces, each in a segment of its own, and closes.
    fn verdict(expect_body: &str, pieces: &[&str]) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_nodelay(true).unwrap();
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    asked.push(byte[0]);
                }
                // Who has heard enough may be gone.
                pieces.iter().for_each(|piece| {
                    let _ = stream.write_all(piece.as_bytes());
                });
            });
            ask(&settings(config::Probe::Http(http(expect_body))), address).unwrap()
        })
    }

    #[test]
    fn the_request_is_a_get_that_ends_its_connection() {
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "GET /check HTTP/1.1\r\nHost: users:80\r\nConnection: close\r\n\
             User-Agent: ringway-health/{version}\r\nX-Probe: us\r\n\r\n"
        );
        assert_eq!(String::from_utf8(request(&http(""), "users:80")), Ok(expected));
        let mut other = http("");
        other.host = Some("a".to_owned());
        other.headers = vec![("user-agent".to_owned(), "me".to_owned())];
        let expected =
            "GET /check HTTP/1.1\r\nHost: a\r\nConnection: close\r\nuser-agent: me\r\n\r\n";
        assert_eq!(String::from_utf8(request(&other, "users:80")).unwrap(), expected);
    }

    #[test]
    fn interim_answers_are_passed_over() {
        let hint = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
        assert_eq!(verdict("", &[hint, hint, "HTTP/1.1 204 No Content\r\n\r\n"]), Ok(()));
        let endless = vec![hint; INTERIM_ANSWERS as usize + 1];
        assert_eq!(verdict("", &endless), Err("it sent interim answers only".to_owned()));
        let switch = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
        assert_eq!(verdict("", &[switch]), Err("it sent interim answers only".to_owned()));
    }

    #[test]
    fn a_text_is_found_wherever_it_lies() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n";
        assert_eq!(verdict("fine", &[head, "all is f", "ine"]), Ok(()));
        assert!(verdict("fine", &[head, "all is not.", "fine"]).is_err(), "it is behind the body");
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(verdict("fine", &[chunked, "2\r\nfi\r\n", "2\r\nne\r\n0\r\n\r\n"]), Ok(()));
        assert!(verdict("fine", &[chunked, "2\r\nfi\r\n0\r\n\r\n"]).is_err());
        let broken = verdict("fine", &[chunked, "fine"]).unwrap_err();
        assert!(broken.starts_with("its body is broken: "), "{broken}");
        let close = "HTTP/1.0 200 OK\r\n\r\n";
        assert_eq!(verdict("fine", &[close, "all is ", "fine"]), Ok(()));
        let ended = verdict("fine", &[close, "all is "]).unwrap_err();
        assert_eq!(ended, "its body ended without the expected text");
        let nothing = "HTTP/1.1 204 No Content\r\n\r\n";
        assert!(verdict("fine", &[nothing]).is_err());
    }

    #[test]
    fn a_body_is_searched_up_to_its_bound() {
        let head = "HTTP/1.1 200 OK\r\n\r\n";
        let (inside, outside) = ("x".repeat(HEALTH_BODY - 4), "x".repeat(HEALTH_BODY - 3));
        assert_eq!(verdict("fine", &[head, &inside, "fine"]), Ok(()));
        let lacks = verdict("fine", &[head, &outside, "fine"]).unwrap_err();
        assert_eq!(lacks, "its body lacks the expected text");
    }

    #[test]
    fn a_head_has_its_bound() {
        let field = format!("X: {}\r\n", "x".repeat(HEALTH_HEAD));
        let long = verdict("", &["HTTP/1.1 200 OK\r\n", &field]).unwrap_err();
        assert!(long.starts_with("it did not answer in HTTP: "), "{long}");
    }

    #[test]
    fn who_refuses_or_has_nobody_listening_is_unhealthy() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let tcp = settings(config::Probe::Tcp);
        assert_eq!(ask(&tcp, address).unwrap(), Ok(()));
        drop(listener);
        let refused = ask(&tcp, address).unwrap().unwrap_err();
        assert!(refused.starts_with("it cannot be connected to"), "{refused}");
    }
}
