//! Connections to the admin listener: few, and none of them for as long as it likes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::guard::Peer;

/// Connections at once: people, a scraper and a few scripts.
const CONNECTIONS: usize = 64;

/// Of them, from one address: one machine shall not keep the others out.
const CONNECTIONS_BY_CLIENT: usize = 48;

/// How long a connection may take for the head of its next request, its waiting for one included.
const HEAD: Duration = Duration::from_secs(2);

/// How long a client may take nothing of an answer that is under way.
const STALL: Duration = Duration::from_secs(5);

/// Bytes of a request's head, and header fields in it.
const HEAD_BYTES: usize = 32 * 1024;
const HEADERS: usize = 64;

/// Bytes that the kernel keeps for a client that reads slowly. Left to itself it keeps megabytes,
/// which would hide for long that nobody reads.
const SEND_BUFFER: usize = 128 * 1024;

/// Pause after a connection could not be accepted, which is when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections that are open, by client.
#[derive(Default)]
struct Open {
    all: Cell<usize>,
    by_client: RefCell<HashMap<IpAddr, usize>>,
}

/// A connection's place among those; given back when dropped.
struct Place {
    open: Rc<Open>,
    client: IpAddr,
}

impl Place {
    fn take(open: &Rc<Open>, client: IpAddr) -> Option<Self> {
        let mut by_client = open.by_client.borrow_mut();
        let count = by_client.get(&client).copied().unwrap_or(0);
        if open.all.get() >= CONNECTIONS || count >= CONNECTIONS_BY_CLIENT {
            return None;
        }
        by_client.insert(client, count + 1);
        open.all.set(open.all.get() + 1);
        Some(Place { open: open.clone(), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_client = self.open.by_client.borrow_mut();
        if let Some(count) = by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                by_client.remove(&self.client);
            }
        }
        self.open.all.set(self.open.all.get() - 1);
    }
}

/// Serves `app` on every connection until `stop` is sent or dropped. Has to run in a `LocalSet`.
pub(super) async fn serve(listener: TcpListener, app: Router, mut stop: oneshot::Receiver<()>) {
    let open = Rc::<Open>::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stop => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                // One too many is closed at once, which its client sees; there is nothing to wait
                // for that it could not wait for itself.
                let Some(place) = Place::take(&open, peer.ip()) else { continue };
                let app = TowerToHyperService::new(app.clone());
                tokio::task::spawn_local(connection(stream, Serve { app, peer }, place));
            }
            Err(error) => {
                tracing::debug!(%error, "admin: accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, serve: Serve, _place: Place) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Patient { stream, stalled: None }), serve)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "admin: a connection ended early");
    }
}

/// Notes on each request where it comes from.
struct Serve {
    app: TowerToHyperService<Router>,
    peer: SocketAddr,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Serve {
    type Response = Response;
    type Error = Infallible;
    type Future =
        <TowerToHyperService<Router> as hyper::service::Service<hyper::Request<Incoming>>>::Future;

    fn call(&self, mut request: hyper::Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(Peer(self.peer));
        self.app.call(request)
    }
}

/// A stream whose other end has to take something now and then while there is something to take.
struct Patient {
    stream: TcpStream,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl Patient {
    /// Passes a write's outcome on; one that waits for too long becomes an error.
    fn bounded<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.bounded(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_takes_every_place() {
        let open = Rc::<Open>::default();
        let [a, b] = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        let first: Vec<_> = (0..CONNECTIONS).filter_map(|_| Place::take(&open, a)).collect();
        assert_eq!(first.len(), CONNECTIONS_BY_CLIENT);
        let second: Vec<_> = (0..CONNECTIONS).filter_map(|_| Place::take(&open, b)).collect();
        assert_eq!(first.len() + second.len(), CONNECTIONS);
        drop(first);
        assert!(Place::take(&open, a).is_some());
        drop(second);
        assert_eq!((open.all.get(), open.by_client.borrow().len()), (0, 0));
    }
}
