//! The admin API: a listener of its own, on a thread of its own, that tells what runs and takes
//! orders. It is for operators and their programs, never for the clients of the gateway.
//!
//! *Architecture invariant:* it asks only what is shared (counts with one writer, immutable
//! snapshots) and sends events to the control thread. So however it is asked, and however slowly
//! its clients read, no worker waits for it or does anything for it.
//!
//! HTTP_SAFETY rule 27: it has its own socket, on loopback by default; elsewhere the file does not
//! load without a token, and there is no default one.

mod answer;
mod explain;
mod guard;
mod listen;
mod metrics;
mod openapi;
mod page;
mod places;
mod reload;
mod routes;
mod status;
mod upstreams;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Instant;

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};
use crossbeam_channel::Sender;
use ringway_config as config;
use tokio::sync::oneshot;

use self::answer::Refusal;
use super::Event;
use crate::clock;
use crate::shared::{Shared, SharedCount};
use crate::snapshot::Snapshot;
use crate::worker::Common;

/// What is answered without the token: whether it is alive and ready, for whoever watches over the
/// process, and the files of the page, which ask for the token.
const PUBLIC: &[&str] = &["/health", "/ready", "/", "/page.css", "/page.js", "/page.svg"];

/// What the admin API asks.
pub(crate) struct Asked {
    pub(crate) common: Shared<Common>,
    /// Where the control thread hears what it is to do.
    pub(crate) events: Sender<Event>,
    pub(crate) io_uring: bool,
}

/// What every handler has.
struct Context {
    asked: Asked,
    /// Where the admin API listens, port chosen. A reload does not move it.
    address: SocketAddr,
    started: Instant,
    /// When a refusal was last logged, in milliseconds since the start.
    refused_at: SharedCount,
}

impl Context {
    /// The snapshot that requests are served by now.
    fn snapshot(&self) -> Shared<Snapshot> {
        self.asked.common.live.snapshot()
    }
}

/// The endpoints: method, path, handler. The document describes the same ones; a test compares.
fn endpoints() -> Vec<(Method, &'static str, MethodRouter<Shared<Context>>)> {
    vec![
        (Method::GET, "/", get(page::index)),
        (Method::GET, "/page.css", get(page::style)),
        (Method::GET, "/page.js", get(page::script)),
        (Method::GET, "/page.svg", get(page::sign)),
        (Method::GET, "/health", get(status::health)),
        (Method::GET, "/ready", get(status::ready)),
        (Method::GET, "/openapi.json", get(openapi::openapi)),
        (Method::GET, "/status", get(status::status)),
        (Method::GET, "/metrics", get(metrics::metrics)),
        (Method::GET, "/errors/recent", get(metrics::recent)),
        (Method::GET, "/config", get(routes::config)),
        (Method::GET, "/routes", get(routes::routes)),
        (Method::POST, "/explain", post(explain::explain)),
        (Method::POST, "/reload", post(reload::reload)),
        (Method::POST, "/upstreams/{name}/endpoints/{addr}", post(upstreams::change)),
    ]
}

fn router(context: &Shared<Context>) -> Router {
    let all = endpoints().into_iter();
    let guarded = |method, handler: MethodRouter<_>| match method {
        Method::POST => handler.route_layer(from_fn(guard::guard_post)),
        _ => handler,
    };
    all.fold(Router::new(), |router, (method, path, handler)| {
        router.route(path, guarded(method, handler))
    })
    .fallback(|| async {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "there is nothing here; /openapi.json tells what there is",
        )
    })
    .method_not_allowed_fallback(|| async {
        let message = "this cannot be asked with this method; see `Allow`";
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message)
    })
    .layer(from_fn_with_state(context.clone(), guard::guard))
    .with_state(context.clone())
}

/// The listening socket, before anything answers on it.
pub(crate) struct Listener {
    settings: config::Admin,
    socket: TcpListener,
}

impl Listener {
    /// Takes the address.
    ///
    /// # Errors
    /// The address and the system's error.
    pub(crate) fn bind(settings: config::Admin) -> Result<Self, (SocketAddr, io::Error)> {
        let address = settings.listen;
        let socket = TcpListener::bind(address).and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        let socket = socket.map_err(|error| (address, error))?;
        Ok(Listener { settings, socket })
    }

    /// Answers from now on.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub(crate) fn start(self, asked: Asked) -> io::Result<Admin> {
        let address = self.socket.local_addr()?;
        tracing::info!(%address, token = self.settings.token.is_some(), "admin API");
        let started = clock::now();
        let refused_at = SharedCount::default();
        let context = Shared::new(Context { asked, address, started, refused_at });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let socket = self.socket;
        let thread = std::thread::Builder::new().name("ringway-admin".to_owned());
        let thread = thread.spawn(move || {
            let tasks = tokio::task::LocalSet::new();
            tasks.block_on(&runtime, async move {
                match tokio::net::TcpListener::from_std(socket) {
                    Ok(listener) => listen::serve(listener, router(&context), stopped).await,
                    Err(error) => tracing::error!(%error, "the admin API cannot listen"),
                }
            });
            drop(tasks);
            // Whoever waits for a reload to come to an end does not hold up the end of the process.
            runtime.shutdown_background();
        })?;
        Ok(Admin { stop, thread })
    }
}

/// The admin API at work.
pub(crate) struct Admin {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Admin {
    /// Closes the listener and every connection.
    pub(crate) fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}
