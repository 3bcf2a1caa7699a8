//! One connection of the load.

use std::io;
use std::net::SocketAddr;

use monoio::buf::IoBufMut as _;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;

use super::wire;

/// One connection.
pub(super) struct Client {
    stream: TcpStream,
    pub(super) buffer: Vec<u8>,
    /// The last answer said that it ends the connection (RFC 9112 §9.6).
    closes: bool,
}

impl Client {
    pub(super) async fn connect(to: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_addr(to).await?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, buffer: Vec::with_capacity(64 * 1024), closes: false })
    }

    /// Connects anew where the last answer announced the end. Who is told so and asks on all the
    /// same has itself to blame; an end that nobody announced is an error.
    pub(super) async fn renew(&mut self, to: SocketAddr) -> io::Result<()> {
        if self.closes {
            *self = Client::connect(to).await?;
        }
        Ok(())
    }

    /// Sends a request and reads its answer, which must be 200 with a body of so many bytes; gives
    /// the request back.
    pub(super) async fn ask(
        &mut self,
        request: Vec<u8>,
        answer: Option<u64>,
    ) -> io::Result<Vec<u8>> {
        let request = self.send(request).await?;
        self.buffer.clear();
        let head = loop {
            self.read().await?;
            if let Some(head) = wire::head(&self.buffer) {
                break head;
            }
        };
        if wire::status(&self.buffer) != 200 {
            return Err(unexpected(&self.buffer));
        }
        let mut body = wire::Body::new(head.framing);
        body.take(&self.buffer[head.len..]);
        while !body.is_done() {
            self.buffer.clear();
            self.read().await?;
            body.take(&self.buffer);
        }
        if let Some(answer) = answer.filter(|&answer| answer != body.len()) {
            return Err(io::Error::other(format!("a body of {} bytes, not {answer}", body.len())));
        }
        self.closes = head.close;
        Ok(request)
    }

    pub(super) async fn send(&mut self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let (written, bytes) = self.stream.write_all(bytes).await;
        written.map(|_| bytes)
    }

    pub(super) async fn read(&mut self) -> io::Result<()> {
        let from = self.buffer.len();
        self.buffer.reserve(16 * 1024);
        let slice = std::mem::take(&mut self.buffer).slice_mut(from..);
        let (read, slice) = self.stream.read(slice).await;
        self.buffer = slice.into_inner();
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// An answer that was not asked for.
pub(super) fn unexpected(answer: &[u8]) -> io::Error {
    io::Error::other(format!("answered with status {}", wire::status(answer)))
}
