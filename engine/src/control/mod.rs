//! The control thread: everything that is not a request.

pub(crate) mod errands;
pub(crate) mod resolve;
pub(crate) mod signals;

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::limits::MAILBOX_PATIENCE;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::upstream::Addresses;
use crate::worker::{Common, Message};

/// What the control thread is told.
pub(crate) enum Event {
    /// Drain and stop.
    Stop,
    /// Log files have been renamed: open them anew.
    ReopenLogs,
    /// All workers have stopped.
    Stopped,
    /// Names stand for these addresses now.
    Resolved(Addresses),
}

/// Events that may wait for the control thread.
const EVENTS: usize = 64;

/// The control thread's handle.
pub(crate) struct Control {
    events: Sender<Event>,
    thread: JoinHandle<()>,
}

impl Control {
    /// Starts the control thread, and beside it the one that resolves names, which may block.
    ///
    /// # Errors
    /// When a thread cannot be made.
    pub(crate) fn start(
        snapshot: Shared<Snapshot>,
        common: Shared<Common>,
        resolved: Shared<Addresses>,
        drain_timeout: Duration,
    ) -> io::Result<Self> {
        let (sender, receiver) = bounded(EVENTS);
        resolve::start(&snapshot, resolved, sender.clone())?;
        errands::start(snapshot.errands())?;
        let thread = std::thread::Builder::new()
            .name("ringway-control".to_owned())
            .spawn(move || control(&receiver, &common, drain_timeout))?;
        Ok(Control { events: sender, thread })
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

fn control(events: &Receiver<Event>, common: &Common, drain_timeout: Duration) {
    for event in events {
        match event {
            Event::Stop => {
                tracing::info!(?drain_timeout, "stopping: finishing what is open");
                tell_all(common, || Message::Drain(drain_timeout));
            }
            Event::Resolved(addresses) => {
                let addresses = Shared::new(addresses);
                tell_all(common, || Message::Addresses(addresses.clone()));
            }
            Event::ReopenLogs => {
                tracing::info!("opening the log files anew");
                common.logs.reopen();
            }
            Event::Stopped => return,
        }
    }
}

fn tell_all(common: &Common, message: impl Fn() -> Message) {
    for (worker, colleague) in common.colleagues.iter().enumerate() {
        if colleague.mailbox.send_within(message(), MAILBOX_PATIENCE).is_err() {
            tracing::error!(worker, "the worker does not hear: its mailbox stays full");
        }
    }
}
