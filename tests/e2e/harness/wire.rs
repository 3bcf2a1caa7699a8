//! One HTTP/1.1 message reader for both ends of the scenes. It is strict on purpose: what it
//! refuses, a client or an origin in the world would refuse too.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// The failure bound of every wait: nothing in a scene takes this long unless it is broken.
pub(crate) const BOUND: Duration = Duration::from_secs(10);

/// A head as it came: the first line and the fields in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// The value of the field `name`, which must not be there twice.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} is there {} times in {self:#?}", all.len());
        all.first().copied()
    }

    /// Every value of the fields `name`, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    fn parse(bytes: &[u8]) -> io::Result<Head> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.strip_suffix("\r\n\r\n").unwrap_or(&text).split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines.map(parse_field).collect::<io::Result<Vec<_>>>()?;
        if line.contains(['\r', '\n']) {
            return Err(malformed(format!("a bare line end in {line:?}")));
        }
        Ok(Head { line, fields })
    }

    /// What the framing fields say of the body; both at once is a fault of the sender.
    fn framing(&self) -> io::Result<Option<Framing>> {
        let coding = self.all("transfer-encoding");
        let lengths = self.all("content-length");
        match (coding.as_slice(), lengths.as_slice()) {
            ([], []) => Ok(None),
            ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
            ([], [length]) => match length.parse() {
                Ok(length) => Ok(Some(Framing::Length(length))),
                Err(_) => Err(malformed(format!("Content-Length {length:?}"))),
            },
            _ => Err(malformed(format!("ambiguous framing {coding:?} {lengths:?}"))),
        }
    }
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A whole request as an origin received it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) head: Head,
    pub(crate) framing: Framing,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Request {
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }
}

/// A whole response as a client received it.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) framing: Framing,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Response {
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|fault| panic!("not JSON ({fault}): {self:#?}"))
    }

    /// Expects the status and hands the response on.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{:?} with body {:?}", self.head, self.text());
        self
    }

    /// Expects an answer that the gateway wrote by itself, in the form every such answer has.
    #[track_caller]
    pub(crate) fn expect_error(self, status: u16) -> Response {
        let answer = self.expect(status);
        let body = answer.json();
        let kind = answer.field("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/json"), "Content-Type is {kind:?}");
        assert_eq!(body["code"], status, "code in {body}");
        assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "message: {body}");
        assert!(body.get("data").is_some_and(serde_json::Value::is_null), "data in {body}");
        assert!(body["request_id"].as_str().is_some_and(|id| !id.is_empty()), "request_id: {body}");
        answer
    }

    /// The first word of the body of `Origin::echo` and its kin, for comparing by eye.
    pub(crate) fn closes(&self) -> bool {
        self.head.all("connection").iter().any(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A socket with what was read from it and not yet used.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Wire> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(BOUND))?;
        stream.set_write_timeout(Some(BOUND))?;
        Ok(Wire { stream, buffer: Vec::new() })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next head, or nothing when the peer closed between two messages.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let bytes = self.take(end + 4);
                return Head::parse(&bytes).map(Some);
            }
            match self.fill() {
                Ok(0) if self.buffer.is_empty() => return Ok(None),
                Ok(0) => return Err(cut(&self.buffer)),
                Ok(_) => {}
                Err(fault) => return Err(fault),
            }
        }
    }

    pub(crate) fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if self.fill()? == 0 {
                return Err(cut(&self.buffer));
            }
        }
        Ok(self.take(length))
    }

    /// The data of the next chunk, or nothing after the last one (its trailers still unread).
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let digits = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(size) = digits.then(|| usize::from_str_radix(&line, 16).ok()).flatten() else {
            return Err(malformed(format!("chunk size {line:?}")));
        };
        if size == 0 {
            return Ok(None);
        }
        let data = self.exactly(size)?;
        match self.exactly(2)?.as_slice() {
            b"\r\n" => Ok(Some(data)),
            other => Err(malformed(format!("after a chunk: {other:?}"))),
        }
    }

    pub(crate) fn trailers(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut trailers = Vec::new();
        loop {
            match self.line()?.as_str() {
                "" => return Ok(trailers),
                line => trailers.push(parse_field(line)?),
            }
        }
    }

    /// Everything until the peer closes; a reset is an error.
    pub(crate) fn until_close(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        let all = self.buffer.len();
        Ok(self.take(all))
    }

    /// Everything until the connection ends, however it ends; false when it did not end.
    pub(crate) fn until_end(&mut self) -> (Vec<u8>, bool) {
        let ended = loop {
            match self.fill() {
                Ok(0) => break true,
                Ok(_) => {}
                Err(fault) => break fault.kind() != ErrorKind::TimedOut,
            }
        };
        let all = self.buffer.len();
        (self.take(all), ended)
    }

    /// Reads for `period` at most and says how many bytes came and whether the peer ended it.
    pub(crate) fn listen(&mut self, period: Duration) -> (usize, bool) {
        let (before, until) = (self.buffer.len(), Instant::now() + period);
        let mut ended = false;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let _ = self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))));
            match self.read_once() {
                Ok(0) => ended = true,
                Ok(_) => continue,
                Err(fault) => ended = fault.kind() != ErrorKind::TimedOut,
            }
            break;
        }
        let _ = self.stream.set_read_timeout(Some(BOUND));
        (self.buffer.len() - before, ended)
    }

    /// Reads and drops `length` bytes; what is left when the peer closes early is an error.
    pub(crate) fn drop_exactly(&mut self, length: u64) -> io::Result<()> {
        let taken = self.buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        self.take(taken);
        let mut left = length - taken as u64;
        let mut block = vec![0; 256 * 1024];
        while left > 0 {
            let most = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match self.stream.read(&mut block[..most])? {
                0 => return Err(cut(b"a body")),
                read => left -= read as u64,
            }
        }
        Ok(())
    }

    pub(crate) fn body(&mut self, framing: Framing) -> io::Result<(Vec<u8>, Trailers)> {
        match framing {
            Framing::None => Ok((Vec::new(), Vec::new())),
            Framing::Length(length) => {
                Ok((self.exactly(usize::try_from(length).unwrap_or(usize::MAX))?, Vec::new()))
            }
            Framing::UntilClose => Ok((self.until_close()?, Vec::new())),
            Framing::Chunked => {
                let mut body = Vec::new();
                while let Some(data) = self.chunk()? {
                    body.extend(data);
                }
                Ok((body, self.trailers()?))
            }
        }
    }

    /// A whole request, or nothing when the peer closed before one.
    pub(crate) fn request(&mut self) -> io::Result<Option<Request>> {
        let Some(head) = self.head()? else { return Ok(None) };
        let framing = head.framing()?.unwrap_or(Framing::None);
        self.rest_of_request(head, framing).map(Some)
    }

    pub(crate) fn rest_of_request(&mut self, head: Head, framing: Framing) -> io::Result<Request> {
        let words: Vec<&str> = head.line.split(' ').collect();
        let &[method, target, "HTTP/1.1"] = words.as_slice() else {
            return Err(malformed(format!("request line {:?}", head.line)));
        };
        let (method, target) = (method.to_owned(), target.to_owned());
        let (body, trailers) = self.body(framing)?;
        Ok(Request { method, target, head, framing, body, trailers })
    }

    /// A whole response to a request of this method; `None` when the peer closed before one.
    pub(crate) fn response(&mut self, method: &str) -> io::Result<Option<Response>> {
        let Some(head) = self.head()? else { return Ok(None) };
        let status = status_of(&head)?;
        let framing = match (status, head.framing()?) {
            (100..=199 | 204 | 304, _) => Framing::None,
            _ if method == "HEAD" => Framing::None,
            (_, Some(framing)) => framing,
            (_, None) => Framing::UntilClose,
        };
        let (body, trailers) = self.body(framing)?;
        Ok(Some(Response { status, head, framing, body, trailers }))
    }

    /// Closes with a reset, as a process that dies with unread bytes does.
    pub(crate) fn reset(&self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    pub(crate) fn finish_writing(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let bytes = self.take(end + 2);
                return Ok(String::from_utf8_lossy(&bytes[..end]).into_owned());
            }
            if self.fill()? == 0 {
                return Err(cut(&self.buffer));
            }
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(length);
        std::mem::replace(&mut self.buffer, rest)
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.read_once()
    }

    fn read_once(&mut self) -> io::Result<usize> {
        let mut block = [0; 16 * 1024];
        let read = self.stream.read(&mut block).map_err(|fault| match fault.kind() {
            // What a read past its timeout says on Linux.
            ErrorKind::WouldBlock => io::Error::new(
                ErrorKind::TimedOut,
                format!("nothing more came; so far {:?}", String::from_utf8_lossy(&self.buffer)),
            ),
            _ => fault,
        })?;
        self.buffer.extend(&block[..read]);
        Ok(read)
    }
}

type Trailers = Vec<(String, String)>;

fn status_of(head: &Head) -> io::Result<u16> {
    let status = head.line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    match status.map(str::parse) {
        Some(Ok(status)) => Ok(status),
        _ => Err(malformed(format!("status line {:?}", head.line))),
    }
}

fn parse_field(line: &str) -> io::Result<(String, String)> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match line.split_once(':') {
        Some((name, value))
            if !name.is_empty()
                && name.bytes().all(token)
                && !value.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control()) =>
        {
            Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
        }
        _ => Err(malformed(format!("field line {line:?}"))),
    }
}

pub(crate) fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn malformed(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

fn cut(left: &[u8]) -> io::Error {
    let left = String::from_utf8_lossy(&left[..left.len().min(200)]).into_owned();
    io::Error::new(ErrorKind::UnexpectedEof, format!("closed in the middle of {left:?}"))
}
