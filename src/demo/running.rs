//! A sample service on its own thread: bound before anything starts, ended when it is dropped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use axum::Router;
use tokio::sync::oneshot;

/// A service that answers until this value is dropped.
#[derive(Debug)]
pub(super) struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Takes a port on loopback: a sample service is for this machine only.
pub(super) fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

impl Running {
    /// Serves `app` on `listener`, on a thread called `name`.
    pub(super) fn start(name: &str, listener: TcpListener, app: Router) -> io::Result<Running> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::select! {
                served = axum::serve(listener, app) => served,
                // Sent or dropped: in both cases nobody wants this service any more. Streams that
                // would never end (`/events`) end with the runtime.
                _ = stopped => Ok(()),
            }
        };
        let told = name.to_owned();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(serve) {
                tracing::error!(service = told, %error, "the sample service ended");
            }
        })?;
        Ok(Running { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed by then; there is nothing to add.
            let _ = thread.join();
        }
    }
}
