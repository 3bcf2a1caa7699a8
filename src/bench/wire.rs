//! Just enough HTTP/1.1 for a load and an origin that both trust each other: where a message ends.
//!
//! This is not the gateway's codec. What is measured must not be measured with itself.

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// A head that has come whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Its bytes, with the empty line.
    pub(super) len: usize,
    pub(super) framing: Framing,
    /// The sender will close the connection.
    pub(super) close: bool,
}

/// Reads a head; `None` while it is not whole.
pub(super) fn head(bytes: &[u8]) -> Option<Head> {
    let len = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    let mut head = Head { len, framing: Framing::Length(0), close: false };
    for line in bytes[..len].split(|&byte| byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = std::str::from_utf8(value).unwrap_or_default();
            head.framing = Framing::Length(digits.parse().unwrap_or_default());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            head.framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case(b"connection") {
            head.close = value.eq_ignore_ascii_case(b"close");
        }
    }
    Some(head)
}

/// The status in a response's first line; 0 for anything else.
pub(super) fn status(bytes: &[u8]) -> u16 {
    let digits = bytes.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// A body on its way in.
#[derive(Debug)]
pub(super) struct Body {
    state: State,
    /// Its bytes, of chunks as far as their sizes are known.
    len: u64,
}

#[derive(Debug)]
enum State {
    Length(u64),
    /// In the line of a chunk's size, as far as it has been read.
    Size(u64),
    /// In a chunk, with so many bytes to come, its line end among them.
    Chunk(u64),
    /// Behind the last chunk: how much of its empty line is to come.
    Last(u64),
    Done,
}

impl Body {
    /// A body of which nothing has come.
    pub(super) fn new(framing: Framing) -> Body {
        let (state, len) = match framing {
            Framing::Length(0) => (State::Done, 0),
            Framing::Length(len) => (State::Length(len), len),
            Framing::Chunked => (State::Size(0), 0),
        };
        Body { state, len }
    }

    /// How long it is, once it is done.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// True when all of it has come.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes what came; how much of it belonged to the body.
    pub(super) fn take(&mut self, input: &[u8]) -> usize {
        let mut used = 0;
        while used < input.len() && !self.is_done() {
            let rest = &input[used..];
            let skip = |left: u64| (left.min(rest.len() as u64)) as usize;
            match &mut self.state {
                State::Length(left) => {
                    let n = skip(*left);
                    used += n;
                    *left -= n as u64;
                    if *left == 0 {
                        self.state = State::Done;
                    }
                }
                State::Chunk(left) | State::Last(left) => {
                    let n = skip(*left);
                    used += n;
                    *left -= n as u64;
                    if *left == 0 {
                        let last = matches!(self.state, State::Last(_));
                        self.state = if last { State::Done } else { State::Size(0) };
                    }
                }
                State::Size(size) => {
                    used += 1;
                    match rest[0] {
                        b'\n' if *size == 0 => self.state = State::Last(2),
                        b'\n' => {
                            self.len += *size;
                            self.state = State::Chunk(*size + 2);
                        }
                        digit => {
                            let digit = (digit as char).to_digit(16);
                            *size = digit.map_or(*size, |digit| *size * 16 + u64::from(digit));
                        }
                    }
                }
                State::Done => {}
            }
        }
        used
    }
}

/// A body of `len` bytes in chunks of 16 KiB.
pub(super) fn chunked(len: usize) -> Vec<u8> {
    const CHUNK: usize = 16 * 1024;
    let mut body = Vec::with_capacity(len + len / CHUNK * 8 + 16);
    let mut left = len;
    while left > 0 {
        let n = left.min(CHUNK);
        body.extend_from_slice(format!("{n:x}\r\n").as_bytes());
        body.resize(body.len() + n, b'x');
        body.extend_from_slice(b"\r\n");
        left -= n;
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_where_its_body_ends() {
        let head = |text: &str| head(text.as_bytes());
        assert_eq!(head("HTTP/1.1 200 OK\r\nContent-"), None);
        let fixed = head("HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nhello").unwrap();
        assert_eq!((fixed.len, fixed.framing), (39, Framing::Length(13)));
        let chunks = head("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        assert_eq!((chunks.framing, chunks.close), (Framing::Chunked, false));
        assert!(head("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap().close);
        assert_eq!(status(b"HTTP/1.1 404 Not Found"), 404);
        assert_eq!(status(b"nonsense"), 0);
    }

    #[test]
    fn a_body_ends_where_it_should_however_it_comes() {
        for len in [0, 1, 16 * 1024, 100_000] {
            let mut bytes = chunked(len);
            let whole = bytes.len();
            bytes.extend_from_slice(b"HTTP");
            for step in [1, 7, 4096, bytes.len()] {
                let mut body = Body::new(Framing::Chunked);
                let taken: usize = bytes.chunks(step).map(|piece| body.take(piece)).sum();
                assert!(body.is_done());
                assert_eq!((taken, body.len()), (whole, len as u64), "by {step}");
            }
        }
        let mut body = Body::new(Framing::Length(5));
        assert_eq!((body.take(b"hel"), body.is_done()), (3, false));
        assert_eq!((body.take(b"lo!"), body.is_done()), (2, true));
    }
}
