//! The client of a scene: raw bytes out, whole messages in.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::wire::{BOUND, Head, Response, Wire};

/// One connection to the gateway (or, in the harness's own scenes, straight to an origin).
pub(crate) struct Client {
    pub(crate) wire: Wire,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&address, BOUND)
            .unwrap_or_else(|fault| panic!("cannot connect to {address}: {fault}"));
        Client::over(stream)
    }

    #[track_caller]
    pub(crate) fn over(stream: TcpStream) -> Client {
        Client { wire: Wire::new(stream).unwrap() }
    }

    /// Sends the bytes. A peer that closed already is no failure here: the answer tells.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        let _ = self.wire.write(bytes.as_ref());
        self
    }

    /// Sends the bytes one by one, each in a segment of its own.
    pub(crate) fn send_bytewise(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        for byte in bytes.as_ref() {
            self.send([*byte]);
        }
        self
    }

    /// Sends the bytes cut at places that `seed` decides, the same ones every time.
    pub(crate) fn send_split(&mut self, bytes: impl AsRef<[u8]>, seed: u64) -> &mut Client {
        let (mut rest, mut state) = (bytes.as_ref(), seed | 1);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((1 + draw(&mut state, 24)).min(rest.len()));
            self.send(piece);
            rest = after;
        }
        self
    }

    /// Sends a request without a body.
    pub(crate) fn request(&mut self, method: &str, target: &str, fields: &[&str]) -> &mut Client {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: gateway.test\r\n{fields}\r\n"))
    }

    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.get_with(target, &[])
    }

    #[track_caller]
    pub(crate) fn get_with(&mut self, target: &str, fields: &[&str]) -> Response {
        self.request("GET", target, fields).answer()
    }

    #[track_caller]
    pub(crate) fn post(&mut self, target: &str, body: &[u8]) -> Response {
        self.post_begun(target, body).answer()
    }

    /// A POST whose answer is not waited for.
    pub(crate) fn post_begun(&mut self, target: &str, body: &[u8]) -> &mut Client {
        self.request("POST", target, &[&format!("Content-Length: {}", body.len())]).send(body)
    }

    /// The next response, whole, to any request but HEAD.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Response {
        self.answer_to("GET")
    }

    #[track_caller]
    pub(crate) fn answer_to(&mut self, method: &str) -> Response {
        match self.wire.response(method) {
            Ok(Some(response)) => response,
            Ok(None) => panic!("closed without an answer"),
            Err(fault) => panic!("no whole answer: {fault}"),
        }
    }

    /// The next answer, or nothing when the connection ends (closed or reset) instead.
    pub(crate) fn answer_or_end(&mut self) -> Option<Response> {
        self.wire.response("GET").ok().flatten()
    }

    /// The head of the next response, its body unread.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Head {
        match self.wire.head() {
            Ok(Some(head)) => head,
            Ok(None) => panic!("closed without a head"),
            Err(fault) => panic!("no whole head: {fault}"),
        }
    }

    #[track_caller]
    pub(crate) fn exactly(&mut self, length: usize) -> Vec<u8> {
        self.wire.exactly(length).unwrap_or_else(|fault| panic!("{length} bytes: {fault}"))
    }

    /// The next chunk; `None` for the last one.
    #[track_caller]
    pub(crate) fn chunk(&mut self) -> Option<String> {
        let chunk = self.wire.chunk().unwrap_or_else(|fault| panic!("no chunk: {fault}"));
        chunk.map(|data| String::from_utf8_lossy(&data).into_owned())
    }

    /// Expects that the connection ends and that nothing more comes before.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let (left, ended) = self.wire.until_end();
        assert!(left.is_empty(), "more came: {:?}", String::from_utf8_lossy(&left));
        assert!(ended, "the connection is still open");
    }

    /// Whatever comes until the connection ends, which it must.
    #[track_caller]
    pub(crate) fn until_end(&mut self) -> String {
        let (left, ended) = self.wire.until_end();
        let left = String::from_utf8_lossy(&left).into_owned();
        assert!(ended, "the connection is still open after {left:?}");
        left
    }

    /// Lets `period` pass as a peer that dawdles does; true when the connection ended meanwhile.
    pub(crate) fn dawdle(&mut self, period: Duration) -> bool {
        self.wire.listen(period).1
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        self.wire.reset();
    }
}

/// A number below `bound`, the same ones for the same state (xorshift64): any spread will do, and
/// a seed that failed can be run again.
pub(crate) fn draw(state: &mut u64, bound: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize % bound
}

/// A request with a chunked body, each chunk as given.
pub(crate) fn chunked(target: &str, chunks: &[&str], trailers: &[&str]) -> String {
    let mut text = format!(
        "POST {target} HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    for chunk in chunks {
        text += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
    }
    text += "0\r\n";
    for trailer in trailers {
        text += &format!("{trailer}\r\n");
    }
    text + "\r\n"
}
