//! The origin behind every gateway that is measured: cheap, so that it is never the bottleneck.
//!
//! The path says what it answers: `/b/1024` a body of 1,024 bytes, `/c/1024` the same in chunks,
//! `/ws` an echo of bytes after an upgrade.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::task::JoinHandle;
use monoio::time;

use super::wire;

/// How long connections may take to end.
const LEFT: Duration = Duration::from_secs(10);

/// An origin at work on this thread's runtime.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    counts: Rc<Counts>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    accepted: Cell<u64>,
    open: Cell<u64>,
    /// No more are accepted.
    over: Cell<bool>,
}

impl Origin {
    /// Starts it on any port of loopback.
    ///
    /// # Errors
    /// When no port can be had.
    pub(super) fn start() -> io::Result<Origin> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let counts = Rc::<Counts>::default();
        let accepting = monoio::spawn(accept(listener, counts.clone()));
        Ok(Origin { address, counts, accepting })
    }

    /// Connections that it has accepted.
    pub(super) fn accepted(&self) -> u64 {
        self.counts.accepted.get()
    }

    /// Waits until all connections have ended, as they do soon when a gateway has.
    ///
    /// # Errors
    /// When they do not.
    pub(super) async fn is_left(&self) -> io::Result<()> {
        self.counts.are_none_open().await
    }

    /// Ends it, once all connections have ended. What is under way when a runtime ends keeps its
    /// descriptor for as long as the process lasts.
    ///
    /// # Errors
    /// When connections stay open.
    pub(super) async fn end(self) -> io::Result<()> {
        let Origin { address, counts, accepting } = self;
        counts.are_none_open().await?;
        counts.over.set(true);
        // The accept under way ends with this one.
        let last = TcpStream::connect_addr(address).await?;
        accepting.await;
        drop(last);
        // Its other end is seen to close: by then the ring has been told to close the listener too.
        counts.are_none_open().await
    }
}

impl Counts {
    async fn are_none_open(&self) -> io::Result<()> {
        let left = async {
            while self.open.get() > 0 {
                time::sleep(Duration::from_millis(5)).await;
            }
        };
        let left = time::timeout(LEFT, left).await;
        left.map_err(|_| io::Error::other(format!("{} connections stay open", self.open.get())))
    }
}

async fn accept(listener: TcpListener, counts: Rc<Counts>) {
    while !counts.over.get() {
        match listener.accept().await {
            Ok((stream, _)) => {
                counts.accepted.set(counts.accepted.get() + 1);
                counts.open.set(counts.open.get() + 1);
                let counts = counts.clone();
                monoio::spawn(async move {
                    serve(stream).await;
                    counts.open.set(counts.open.get() - 1);
                });
            }
            // Out of descriptors, until some connection has ended.
            Err(_) => time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(64 * 1024);
    let (mut path, mut answer) = (Vec::new(), Vec::new());
    loop {
        buffer.clear();
        let Some(head) = receive(&mut stream, &mut buffer).await else { return };
        let asked = path_of(&buffer[..head.len]);
        if asked == b"/ws" {
            return echo(stream, buffer).await;
        }
        // The same is asked again and again on a connection: it is made once.
        if asked != path {
            path = asked.to_vec();
            answer = answer_to(&path);
        }
        let written;
        (written, answer) = stream.write_all(answer).await;
        if written.is_err() || head.close {
            return;
        }
    }
}

/// Reads a request with its body, which is dropped.
async fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<wire::Head> {
    let head = loop {
        if !read(stream, buffer).await {
            return None;
        }
        if let Some(head) = wire::head(buffer) {
            break head;
        }
    };
    let mut body = wire::Body::new(head.framing);
    body.take(&buffer[head.len..]);
    while !body.is_done() {
        buffer.truncate(head.len);
        if !read(stream, buffer).await {
            return None;
        }
        body.take(&buffer[head.len..]);
    }
    Some(head)
}

/// Reads once behind what the buffer holds; false at the end of the stream.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    use monoio::buf::IoBufMut as _;
    let from = buffer.len();
    buffer.reserve(16 * 1024);
    let (read, slice) = stream.read(std::mem::take(buffer).slice_mut(from..)).await;
    *buffer = slice.into_inner();
    matches!(read, Ok(1..))
}

fn path_of(head: &[u8]) -> &[u8] {
    let path = head.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    path.split(|&byte| byte == b'?').next().unwrap_or_default()
}

fn answer_to(path: &[u8]) -> Vec<u8> {
    let path = std::str::from_utf8(path).unwrap_or_default();
    let len = path.rsplit('/').next().and_then(|len| len.parse().ok()).unwrap_or(100);
    let head = "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: application/octet-stream\r\n";
    if path.starts_with("/c/") {
        let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        [head.as_bytes(), &wire::chunked(len)].concat()
    } else {
        let head = format!("{head}Content-Length: {len}\r\n\r\n");
        [head.as_bytes(), &vec![b'x'; len]].concat()
    }
}

/// Sends back what comes.
async fn echo(mut stream: TcpStream, buffer: Vec<u8>) {
    let head = wire::head(&buffer).map_or(buffer.len(), |head| head.len);
    let mut out =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            .to_vec();
    out.extend_from_slice(&buffer[head..]);
    let mut buffer = buffer;
    loop {
        let written;
        (written, out) = stream.write_all(out).await;
        if written.is_err() {
            return;
        }
        buffer.clear();
        if !read(&mut stream, &mut buffer).await {
            return;
        }
        std::mem::swap(&mut buffer, &mut out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::{Load, Pattern};
    use super::super::on_runtime;
    use super::super::rows::Ask;
    use super::*;

    /// The next row needs the descriptors.
    #[test]
    fn nothing_of_it_is_left_when_its_runtime_ends() {
        let work = async {
            let origin = Origin::start().unwrap();
            let (to, request) = (origin.address, Ask::Get.bytes("").into());
            let answer = Some(Ask::Get.answer());
            let pattern = Pattern::KeepAlive;
            let running = Load { to, pattern, connections: 64, request, answer }.start();
            let outcome = running.measure(Duration::from_millis(50)).await;
            running.stop().await;
            assert!(outcome.answers > 0 && outcome.errors == 0, "{outcome:?}");
            assert_eq!(origin.accepted(), 64);
            origin.end().await.unwrap();
            to.port()
        };
        let ours = format!(":{:04X}", on_runtime(work).unwrap());
        let sockets = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        for socket in sockets.lines().skip(1) {
            let fields: Vec<&str> = socket.split_whitespace().collect();
            let of_origin = fields[1].ends_with(&ours) || fields[2].ends_with(&ours);
            // What the system remembers for a while has no descriptor.
            assert!(!of_origin || fields[9] == "0", "{socket}");
        }
    }
}
