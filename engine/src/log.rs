//! The way of log records off a worker: formatted in place, handed over in batches through a
//! bounded queue, written by a thread of the output's own.
//!
//! ```text
//! on_end → Journal (one a core and output) ─ batches → queue → Writer → file, stdout, socket
//!                 └──────────── empty batches ←──────────────────┘
//! ```
//!
//! *Invariant:* nothing here blocks a worker, and after warm-up nothing allocates: what does not
//! fit into the queue is dropped, counted, and told in the log itself as soon as there is room.

mod output;
mod writer;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::clock;
use crate::limits::{LOG_BATCH, LOG_QUEUE, LOG_SPARE, LOG_WIDEST};
use crate::shared::{Shared, SharedCount, SharedFlag, SharedMap};

pub use output::Output;
use writer::Writer;

/// Records on their way to an output, whole lines.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) text: Vec<u8>,
    pub(crate) records: u64,
}

/// What an output's writer is told beside its batches.
#[derive(Debug)]
pub(crate) enum Order {
    /// Open the file anew: it has been renamed.
    Reopen,
    /// Write what there is and end; the sender is dropped when that is done.
    End(Sender<()>),
}

/// Orders that wait for a writer. One that finds no room says what another has said already.
const ORDERS: usize = 8;

/// Every output of the process.
#[derive(Debug, Default)]
pub struct Logs {
    channels: SharedMap<Output, Shared<Channel>>,
}

/// The way to one output, and what is counted on it.
#[derive(Debug)]
struct Channel {
    batches: Sender<Batch>,
    spare: Receiver<Vec<u8>>,
    orders: Sender<Order>,
    state: Shared<State>,
    /// What each core has handed over and dropped, by its number.
    cores: SharedMap<usize, Shared<Counts>>,
}

/// What a writer shows of itself.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Records written.
    pub(crate) written: SharedCount,
    /// Up while the output cannot be written to.
    pub(crate) failing: SharedFlag,
}

/// What one core counts of one output, in records.
#[derive(Debug, Default)]
struct Counts {
    /// Handed over to the writer.
    taken: SharedCount,
    /// Found no room.
    dropped: SharedCount,
}

/// An output as metrics show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputView {
    /// What it is, as the file says it: `stdout`, `file:…`, `socket:…`.
    pub output: String,
    /// Records written.
    pub written: u64,
    /// Records that found no room in the queue.
    pub dropped: u64,
    /// True while it cannot be written to.
    pub failing: bool,
}

impl Logs {
    /// Core `core`'s way to `output`, whose writer is started when there is none. What cannot be
    /// opened is tried again by the writer; without a thread for it, every record is dropped.
    fn journal(&self, output: &Output, core: usize) -> Journal {
        self.forget_unused();
        let channel = self.channels.get_or_insert_with(output.clone(), |output| {
            Shared::new(Channel::start(output.clone()))
        });
        let counts = channel.cores.get_or_insert_with(core, |_| Shared::default());
        Journal { channel, counts, open: RefCell::default(), untold: Cell::new(0) }
    }

    /// Has every output opened anew, for files that have been renamed.
    pub fn reopen(&self) {
        self.forget_unused();
        for (_, channel) in self.channels.entries() {
            // A full queue of orders has this one in it already.
            let _ = channel.orders.try_send(Order::Reopen);
        }
    }

    /// Has everything written that was handed over, within `patience` for all outputs together,
    /// and says so where that was not to be done.
    pub fn finish(&self, patience: Duration) {
        let end = clock::now() + patience;
        let channels = self.channels.entries();
        let ends: Vec<_> = channels.iter().map(|(_, channel)| channel.end()).collect();
        for ((output, channel), done) in channels.iter().zip(ends) {
            // Nothing is ever sent: the writer drops its end when it is done.
            let _ = done.recv_timeout(end.saturating_duration_since(clock::now()));
            let view = channel.view(output);
            let unwritten = channel.sum(|counts| &counts.taken) - view.written;
            if view.dropped + unwritten > 0 {
                let OutputView { output, written, dropped, .. } = view;
                tracing::warn!(output, written, dropped, unwritten, "log records were lost");
            }
        }
    }

    /// Every output there is.
    pub fn list(&self) -> Vec<OutputView> {
        self.channels.entries().iter().map(|(output, channel)| channel.view(output)).collect()
    }

    /// Ends writers that no snapshot uses any more: with the channel, its queues are dropped.
    fn forget_unused(&self) {
        self.channels.retain(|_, channel| !channel.is_last());
    }
}

impl Channel {
    fn start(output: Output) -> Channel {
        let (batches, waiting) = bounded(LOG_QUEUE);
        let (spare_sender, spare) = bounded(LOG_SPARE);
        let (orders, ordered) = bounded(ORDERS);
        let state = Shared::new(State::default());
        let writer = Writer::new(output, waiting, spare_sender, ordered, state.clone());
        let thread = std::thread::Builder::new().name("ringway-log".to_owned());
        if let Err(error) = thread.spawn(move || writer.run()) {
            state.failing.raise();
            tracing::error!(%error, "no thread to write the log: its records are dropped");
        }
        Channel { batches, spare, orders, state, cores: SharedMap::default() }
    }

    fn end(&self) -> Receiver<()> {
        let (done, wait) = bounded(0);
        let _ = self.orders.send_timeout(Order::End(done), Duration::from_millis(100));
        wait
    }

    fn view(&self, output: &Output) -> OutputView {
        OutputView {
            output: output.to_string(),
            written: self.state.written.get(),
            dropped: self.sum(|counts| &counts.dropped),
            failing: self.state.failing.is_up(),
        }
    }

    fn sum(&self, of: impl Fn(&Counts) -> &SharedCount) -> u64 {
        self.cores.entries().iter().map(|(_, counts)| of(counts).get()).sum()
    }
}

/// One core's way to one output: records are appended to a batch, which is handed over when it is
/// full, and by every sweep.
pub struct Journal {
    channel: Shared<Channel>,
    counts: Shared<Counts>,
    open: RefCell<Batch>,
    /// Records dropped that the log has not told of.
    untold: Cell<u64>,
}

impl Journal {
    /// Takes the record that `write` appends, line end included. After records were dropped, the
    /// line that `notice` makes of their number comes first.
    pub fn write(&self, write: impl FnOnce(&mut Vec<u8>), notice: impl FnOnce(&mut Vec<u8>, u64)) {
        let mut open = self.open.borrow_mut();
        if open.records == 0 {
            // All at once, and with room for the record that fills it: growing step by step would
            // copy what there is again and again.
            open.text.reserve(LOG_BATCH + LOG_BATCH / 4);
            if self.untold.get() > 0 {
                notice(&mut open.text, self.untold.get());
            }
        }
        write(&mut open.text);
        open.records += 1;
        if open.text.len() >= LOG_BATCH {
            self.hand_over(&mut open);
        }
    }

    /// Hands over what there is.
    pub(crate) fn flush(&self) {
        let mut open = self.open.borrow_mut();
        if open.records > 0 {
            self.hand_over(&mut open);
        }
    }

    fn hand_over(&self, open: &mut Batch) {
        let batch = std::mem::take(open);
        let records = batch.records;
        // Every record before this batch has been told of at its beginning, or is in this number.
        let told = self.untold.replace(0);
        match self.channel.batches.try_send(batch) {
            Ok(()) => {
                self.counts.taken.add(records);
                open.text = self.channel.spare.try_recv().unwrap_or_default();
            }
            Err(back) => {
                let mut batch = back.into_inner();
                self.counts.dropped.add(records);
                self.untold.set(told + records);
                batch.text.clear();
                if batch.text.capacity() <= LOG_WIDEST {
                    open.text = batch.text;
                }
            }
        }
    }
}

/// The ways of one core to all its outputs.
pub(crate) struct Journals {
    logs: Shared<Logs>,
    core: usize,
    open: RefCell<Vec<(Output, Rc<Journal>)>>,
}

impl Journals {
    /// Those of core `core`, none of them in use.
    pub(crate) fn new(logs: Shared<Logs>, core: usize) -> Self {
        Journals { logs, core, open: RefCell::default() }
    }

    /// The way to `output`, one for all filters that ask for it.
    pub(crate) fn open(&self, output: &Output) -> Rc<Journal> {
        let mut open = self.open.borrow_mut();
        if let Some((_, journal)) = open.iter().find(|(known, _)| known == output) {
            return journal.clone();
        }
        let journal = Rc::new(self.logs.journal(output, self.core));
        open.push((output.clone(), journal.clone()));
        journal
    }

    /// Hands over what there is, and forgets ways that no filter holds.
    pub(crate) fn sweep(&self) {
        self.open.borrow_mut().retain(|(_, journal)| {
            journal.flush();
            Rc::strong_count(journal) > 1
        });
    }
}

#[cfg(test)]
mod tests;
