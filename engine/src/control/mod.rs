//! The control thread: everything that is not a request.

pub(crate) mod admin;
pub(crate) mod errands;
pub mod local;
pub(crate) mod health;
pub mod reload;
pub(crate) mod resolve;
pub(crate) mod scrape;
pub(crate) mod signals;
mod trail;
mod watch;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use crate::limits::MAILBOX_PATIENCE;
use crate::listen::Bound;
use crate::shared::Shared;
use crate::snapshot::{Snapshot, bound};
use crate::upstream::Addresses;
use crate::worker::{Adoption, Common, Message};

use reload::{Ask, Listening, Loader, Reloaded};

/// What the control thread is told.
pub(crate) enum Event {
    /// Drain and stop.
    Stop,
    /// Log files have been renamed: open them anew.
    ReopenLogs,
    /// All workers have stopped.
    Stopped,
    /// These names stand for other addresses now.
    Resolved(Addresses),
    /// Read the file again and serve by it.
    Reload {
        /// Who or what asks, for the log.
        why: &'static str,
        /// Where to say what came of it.
        reply: Option<Sender<Reloaded>>,
    },
    /// Tell what a reload would change.
    Preview {
        /// Where to say it.
        reply: Sender<Result<serde_json::Value, String>>,
    },
    /// A snapshot is ready to be served by.
    Publish(Box<Publication>),
}

/// A snapshot that is ready to be served by, with all that belongs to it.
pub(crate) struct Publication {
    snapshot: Shared<Snapshot>,
    /// The addresses of targets that the snapshot before did not have.
    found: Addresses,
    /// For each worker, what it is to listen on too.
    open: Vec<Vec<Bound>>,
    /// What nobody is to listen on any more.
    close: Vec<SocketAddr>,
    /// Told by each worker that has adopted it how long that took.
    adopted: Sender<Duration>,
}

/// Events that may wait for the control thread.
const EVENTS: usize = 64;

/// How often is looked whether a former snapshot can be freed.
const RETIRE_EVERY: Duration = Duration::from_secs(1);

/// The control thread's handle.
pub(crate) struct Control {
    events: Sender<Event>,
    thread: JoinHandle<()>,
}

impl Control {
    /// Starts the control thread, and beside it those that do what may take long: resolve names,
    /// do filters' errands, load the file again if there is somebody who can.
    ///
    /// # Errors
    /// When a thread cannot be made.
    pub(crate) fn start(
        common: Shared<Common>,
        listening: Vec<Listening>,
        loader: Option<Box<dyn Loader>>,
    ) -> io::Result<Self> {
        let (events, receiver) = bounded(EVENTS);
        health::start(common.registry.clone())?;
        let (resolver, renewed) = bounded(1);
        resolve::start(common.clone(), renewed, events.clone())?;
        let (errands, renewed) = bounded(1);
        errands::start(common.live.clone(), renewed)?;
        let asks = match loader {
            Some(loader) => {
                local::start(loader.path(), events.clone());
                Some(reload::start(loader, common.clone(), listening, events.clone())?)
            }
            None => None,
        };
        let renewed = [resolver, errands];
        let desk = Desk { common, asks, renewed, retired: Vec::new(), stopping: false };
        let thread = std::thread::Builder::new()
            .name("ringway-control".to_owned())
            .spawn(move || desk.work(&receiver))?;
        Ok(Control { events, thread })
    }

    /// Where to send it events.
    pub(crate) fn events(&self) -> Sender<Event> {
        self.events.clone()
    }

    /// Waits for its end.
    pub(crate) fn wait(self) {
        let _ = self.thread.join();
    }
}

/// What the control thread works with.
struct Desk {
    common: Shared<Common>,
    /// The thread that reloads, if there is one.
    asks: Option<Sender<Ask>>,
    /// Threads that want to know of every snapshot.
    renewed: [Sender<()>; 2],
    /// Former snapshots that are still in use. They are freed here and not on a worker.
    retired: Vec<Shared<Snapshot>>,
    stopping: bool,
}

impl Desk {
    fn work(mut self, events: &Receiver<Event>) {
        loop {
            let event = if self.retired.is_empty() {
                events.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                events.recv_timeout(RETIRE_EVERY)
            };
            match event {
                Ok(Event::Stop) => self.stop(),
                Ok(Event::Resolved(changed)) => self.resolved(changed),
                Ok(Event::Reload { why, reply }) => self.reload(Ask::new(why, reply)),
                Ok(Event::Preview { reply }) => self.reload(Ask::preview(reply)),
                Ok(Event::Publish(publication)) => self.publish(*publication),
                Ok(Event::ReopenLogs) => {
                    tracing::info!("opening the log files anew");
                    self.common.logs.reopen();
                }
                Ok(Event::Stopped) | Err(RecvTimeoutError::Disconnected) => {
                    self.common.registry.close();
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.retired.retain(|snapshot| !snapshot.is_last());
        }
    }

    fn stop(&mut self) {
        let drain_timeout = self.common.live.snapshot().server.drain_timeout.0;
        tracing::info!(?drain_timeout, "stopping: finishing what is open");
        self.stopping = true;
        self.common.draining.raise();
        self.tell_all(|_| Message::Drain(drain_timeout));
    }

    fn resolved(&self, changed: Addresses) {
        let mut addresses = (*self.common.addresses.get()).clone();
        // What was removed meanwhile does not come back.
        addresses.extend(
            changed.into_iter().filter(|(name, _)| self.common.addresses.get().contains_key(name)),
        );
        let addresses = Shared::new(addresses);
        self.common.addresses.set(addresses.clone());
        self.common.registry.adopt(&self.common.live.snapshot().upstreams, &addresses);
        self.tell_all(|_| Message::Addresses(addresses.clone()));
    }

    fn reload(&self, ask: Ask) {
        let refused = match &self.asks {
            _ if self.stopping => ask.refuse("the gateway is stopping"),
            None => ask.refuse("this gateway has no file to read again"),
            Some(asks) => match asks.try_send(ask) {
                Ok(()) => return,
                // So many ask already that what is asked for is about to be done.
                Err(TrySendError::Full(ask)) => ask.refuse("too many reloads wait already"),
                Err(TrySendError::Disconnected(ask)) => ask.refuse("nobody can reload any more"),
            },
        };
        tracing::warn!("not reloaded ({}): {}", refused.0, refused.1);
    }

    fn publish(&mut self, mut publication: Publication) {
        if self.stopping {
            return;
        }
        let snapshot = publication.snapshot;
        let server = &snapshot.server;
        let per_client = bound(server.max_connections_per_client);
        self.common.places.set_limits(server.max_connections, per_client);
        let addresses = addresses_of(&snapshot, self.common.addresses.get(), publication.found);
        self.common.addresses.set(addresses.clone());
        self.common.registry.adopt(&snapshot.upstreams, &addresses);
        self.retired.push(self.common.live.snapshot());
        self.common.live.publish(snapshot.clone());
        self.tell_all(|worker| {
            Message::Adopt(Box::new(Adoption {
                snapshot: snapshot.clone(),
                addresses: addresses.clone(),
                open: std::mem::take(&mut publication.open[worker]),
                close: publication.close.clone(),
                adopted: publication.adopted.clone(),
            }))
        });
        for renewed in &self.renewed {
            // Full, it has still to look at what it will then find.
            let _ = renewed.try_send(());
        }
    }

    fn tell_all(&self, mut message: impl FnMut(usize) -> Message) {
        for (worker, colleague) in self.common.colleagues.iter().enumerate() {
            if colleague.mailbox.send_within(message(worker), MAILBOX_PATIENCE).is_err() {
                tracing::error!(worker, "the worker does not hear: its mailbox stays full");
            }
        }
    }
}

/// The addresses of the snapshot's targets: those that were known, as far as it has them, and those
/// that were found for it.
fn addresses_of(
    snapshot: &Snapshot,
    known: Shared<Addresses>,
    found: Addresses,
) -> Shared<Addresses> {
    let targets: HashSet<_> = snapshot.targets().map(|(target, _)| target).collect();
    if found.is_empty() && targets.len() == known.len() {
        // All of its targets are known, so none is known that it does not have.
        return known;
    }
    let mut addresses = found;
    for target in targets {
        if let Some(found) = known.get(target) {
            addresses.entry(target.clone()).or_insert_with(|| found.clone());
        }
    }
    Shared::new(addresses)
}
