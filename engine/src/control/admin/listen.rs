//! Connections to the admin listener: few, and none of them for as long as it likes.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
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
use super::places::{Open, Place};

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
                let number = place.number;
                let app = TowerToHyperService::new(app.clone());
                let served = connection(stream, Serve { app, peer, place });
                let task = tokio::task::spawn_local(served);
                open.begun(number, task.abort_handle());
            }
            Err(error) => {
                tracing::debug!(%error, "admin: accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, serve: Serve) {
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
    place: Place,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Serve {
    type Response = Response;
    type Error = Infallible;
    type Future =
        <TowerToHyperService<Router> as hyper::service::Service<hyper::Request<Incoming>>>::Future;

    fn call(&self, mut request: hyper::Request<Incoming>) -> Self::Future {
        self.place.has_asked();
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
