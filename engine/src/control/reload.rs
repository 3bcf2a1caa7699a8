//! Reloading: from a file that may have changed to a snapshot that every worker has adopted.
//!
//! A thread of its own does what takes long: it loads the file, builds the snapshot, binds new
//! listeners and looks new names up. Only what has come so far is published by the control thread,
//! so a file that cannot be served changes nothing. Requests to reload that come meanwhile are
//! answered together by one more round.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde_json::Value;

use super::watch::Watch;
use super::{Event, Publication, resolve};
use crate::clock;
use crate::limits::MAILBOX_PATIENCE;
use crate::listen::{self, Bound, help};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::worker::Common;

/// Reads the file again. What it knows of the engine is only the snapshot.
pub trait Loader: Send {
    /// Reads the file and builds the snapshot that follows `before`, which is the one that
    /// [`Loader::published`] was last called for, or that the gateway was started with.
    ///
    /// # Errors
    /// Everything that is wrong with the file, as text to be shown.
    fn load(&mut self, before: &Snapshot) -> Result<Snapshot, String>;

    /// The snapshot loaded last is served by from now on.
    fn published(&mut self);

    /// What [`Loader::load`] would change, for `ringway reload --dry-run`. Changes nothing.
    ///
    /// # Errors
    /// Everything that is wrong with the file, as text to be shown.
    fn preview(&mut self, before: &Snapshot) -> Result<Value, String>;

    /// The file.
    fn path(&self) -> Option<PathBuf>;

    /// True when the file is to be read again as soon as it changes.
    fn watches(&self) -> bool;
}

/// What came of a reload: how it went, or why nothing has changed.
pub type Reloaded = Result<Report, String>;

/// A reload that every worker has adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Routes of the new snapshot.
    pub routes: usize,
    /// Upstreams, those that are a route's own among them.
    pub upstreams: usize,
    /// Addresses that are listened on.
    pub listeners: usize,
    /// How long it took to read the file and to build the snapshot.
    pub build: Duration,
    /// How long it took from the request to the last worker's adoption.
    pub adopted: Duration,
    /// The longest that a worker did nothing else for it.
    pub stall: Duration,
}

/// Somebody asks for a reload, or what it would come to.
pub(crate) struct Ask {
    why: &'static str,
    at: Instant,
    reply: Reply,
}

/// Where to answer.
enum Reply {
    Nowhere,
    Reloaded(Sender<Reloaded>),
    Preview(Sender<Result<Value, String>>),
}

impl Ask {
    pub(super) fn new(why: &'static str, reply: Option<Sender<Reloaded>>) -> Ask {
        let reply = reply.map_or(Reply::Nowhere, Reply::Reloaded);
        Ask { why, at: clock::now(), reply }
    }

    pub(super) fn preview(reply: Sender<Result<Value, String>>) -> Ask {
        Ask { why: "a preview", at: clock::now(), reply: Reply::Preview(reply) }
    }

    /// Answers that nothing will come of it; who asked, and the answer.
    pub(super) fn refuse(self, answer: &'static str) -> (&'static str, &'static str) {
        let why = self.why;
        self.tell(Err(answer.to_owned()));
        (why, answer)
    }

    fn tell(self, reloaded: Reloaded) {
        // Whoever asked may not wait for the answer any more.
        match (self.reply, reloaded) {
            (Reply::Nowhere, _) => {}
            (Reply::Reloaded(reply), reloaded) => drop(reply.try_send(reloaded)),
            (Reply::Preview(reply), Err(error)) => drop(reply.try_send(Err(error))),
            (Reply::Preview(_), Ok(_)) => {}
        }
    }
}

/// An address that is listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listening {
    /// As the file has it; its port may be 0.
    pub(crate) asked: SocketAddr,
    /// Its port chosen.
    pub(crate) address: SocketAddr,
}

/// Requests that may wait while the file is being loaded.
const ASKS: usize = 64;

/// Starts the thread that reloads; where to ask it.
///
/// # Errors
/// When the thread cannot be made.
pub(super) fn start(
    loader: Box<dyn Loader>,
    common: Shared<Common>,
    listening: Vec<Listening>,
    events: Sender<Event>,
) -> io::Result<Sender<Ask>> {
    let (sender, asks) = bounded(ASKS);
    let watch = Watch::start(events.clone())?;
    let mut reloading = Reloading { loader, common, listening, events, watch };
    reloading.follow();
    std::thread::Builder::new().name("ringway-reload".to_owned()).spawn(move || {
        while let Ok(first) = asks.recv() {
            reloading.serve(first, &asks);
        }
    })?;
    Ok(sender)
}

struct Reloading {
    loader: Box<dyn Loader>,
    common: Shared<Common>,
    listening: Vec<Listening>,
    events: Sender<Event>,
    watch: Watch,
}

impl Reloading {
    /// Reloads once for all who ask by now; tells those who only ask what it would come to.
    fn serve(&mut self, first: Ask, others: &Receiver<Ask>) {
        let all = std::iter::once(first).chain(others.try_iter());
        let (previews, asks): (Vec<_>, Vec<_>) =
            all.partition(|ask| matches!(ask.reply, Reply::Preview(_)));
        for ask in previews {
            let Reply::Preview(reply) = ask.reply else { continue };
            let before = self.common.live.snapshot();
            let preview = catch_unwind(AssertUnwindSafe(|| self.loader.preview(&before)));
            let lost = |_| Err("a bug: the preview was lost to a panic".to_owned());
            drop(reply.try_send(preview.unwrap_or_else(lost)));
        }
        let Some((why, at)) = asks.first().map(|ask| (ask.why, ask.at)) else { return };
        // As it is before it is read: what changes later is a change.
        self.watch.reading();
        let reloaded = catch_unwind(AssertUnwindSafe(|| self.reload(at)))
            .unwrap_or_else(|_| Err("a bug: the reload was lost to a panic".to_owned()));
        self.common.live.count(reloaded.as_ref().err().map(String::as_str));
        match &reloaded {
            Ok(report) => tracing::info!(
                why,
                routes = report.routes,
                upstreams = report.upstreams,
                listeners = report.listeners,
                build_ms = report.build.as_millis() as u64,
                adopted_ms = report.adopted.as_millis() as u64,
                stall_us = report.stall.as_micros() as u64,
                "reloaded"
            ),
            Err(error) => tracing::error!("not reloaded, nothing has changed ({why}): {error}"),
        }
        self.follow();
        asks.into_iter().for_each(|ask| ask.tell(reloaded.clone()));
    }

    /// Watches the file as it says itself.
    fn follow(&mut self) {
        let path = self.loader.watches().then(|| self.loader.path()).flatten();
        self.watch.follow(path);
    }

    fn reload(&mut self, since: Instant) -> Reloaded {
        let begun = clock::now();
        let snapshot = self.loader.load(&self.common.live.snapshot())?;
        let build = clock::now() - begun;
        let (listening, open) = self.bind(&snapshot.server.listen)?;
        let gone = self.listening.iter().filter(|old| !listening.contains(old));
        let close = gone.map(|old| old.address).collect();
        let found = resolve::all(&snapshot, &self.common.addresses.get());
        let (routes, upstreams, listeners) = snapshot.counts();
        let count = self.common.colleagues.len();
        let (adopted, acknowledged) = bounded(count);
        let snapshot = Shared::new(snapshot);
        let publication = Publication { snapshot, found, open, close, adopted };
        let published = self.events.send(Event::Publish(Box::new(publication)));
        let stall = published.ok().and_then(|()| await_all(&acknowledged, count));
        let Some(stall) = stall else { return Err("the gateway is stopping".to_owned()) };
        let adopted = clock::now() - since;
        self.loader.published();
        for new in listening.iter().filter(|new| !self.listening.contains(new)) {
            tracing::info!(address = %new.address, "listening");
        }
        for old in self.listening.iter().filter(|old| !listening.contains(old)) {
            tracing::info!(address = %old.address, "no more connections are accepted here");
        }
        self.common.live.listen(listening.iter().map(|listening| listening.address).collect());
        self.listening = listening;
        Ok(Report { routes, upstreams, listeners, build, adopted, stall })
    }

    /// Binds what is not listened on yet, for each worker once.
    fn bind(&self, wanted: &[SocketAddr]) -> Result<(Vec<Listening>, Vec<Vec<Bound>>), String> {
        let count = self.common.colleagues.len();
        let mut left = self.listening.clone();
        let mut listening = Vec::new();
        let mut open: Vec<Vec<Bound>> = (0..count).map(|_| Vec::new()).collect();
        for &asked in wanted {
            if let Some(at) = left.iter().position(|old| old.asked == asked) {
                listening.push(left.swap_remove(at));
                continue;
            }
            let shared = self.listening.iter().any(|old| overlap(old.address, asked));
            let bound = listen::bind(asked, count, shared)
                .map_err(|error| format!("cannot listen on {asked}: {error}{}", help(&error)))?;
            listening.push(Listening { asked, address: bound[0].address });
            bound.into_iter().zip(&mut open).for_each(|(bound, own)| own.push(bound));
        }
        Ok((listening, open))
    }
}

/// Waits until every worker has adopted; the longest that one of them took, if one has.
fn await_all(acknowledged: &Receiver<Duration>, count: usize) -> Option<Duration> {
    let mut longest = None;
    let mut adopted = 0;
    loop {
        match acknowledged.recv_timeout(MAILBOX_PATIENCE) {
            Ok(took) => {
                adopted += 1;
                longest = longest.max(Some(took));
            }
            // Nobody is left who could.
            Err(RecvTimeoutError::Disconnected) => return longest,
            Err(RecvTimeoutError::Timeout) => {
                tracing::error!(adopted, count, "workers do not adopt in time");
                return Some(longest.unwrap_or(MAILBOX_PATIENCE));
            }
        }
    }
}

/// True when two addresses cannot both be bound but by sockets that share them.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    let same = a.is_ipv4() == b.is_ipv4() && (any || a.ip() == b.ip());
    same && a.port() == b.port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_overlaps_with_the_unspecified_one() {
        let overlap = |a: &str, b: &str| overlap(a.parse().unwrap(), b.parse().unwrap());
        assert!(overlap("0.0.0.0:80", "127.0.0.1:80"));
        assert!(overlap("[::1]:80", "[::]:80"));
        assert!(overlap("127.0.0.1:80", "127.0.0.1:80"));
        assert!(!overlap("0.0.0.0:80", "127.0.0.1:81"));
        assert!(!overlap("0.0.0.0:80", "[::1]:80"));
        assert!(!overlap("127.0.0.2:80", "127.0.0.1:80"));
    }
}
