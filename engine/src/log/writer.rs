//! The thread that writes one output, and what it does when it cannot.
//!
//! ```text
//! writing ── error ──> failing: the batch is kept and tried again, the queue fills, workers drop
//!    ^                    │
//!    └── it takes bytes ──┘
//! ```

use std::io::{self, ErrorKind};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, select_biased};

use super::output::Target;
use super::{Batch, Order, Output, State};
use crate::limits::{LOG_PAUSE_FIRST, LOG_PAUSE_MOST, LOG_WIDEST};
use crate::shared::Shared;

/// One output's writer.
pub(super) struct Writer {
    output: Output,
    batches: Receiver<Batch>,
    spare: Sender<Vec<u8>>,
    orders: Receiver<Order>,
    state: Shared<State>,
    target: Option<Target>,
    /// Nothing more will come than what waits already.
    ending: bool,
    /// Dropped with the writer, for whoever waits for its end.
    done: Option<Sender<()>>,
}

/// There is nothing more to write, or no way to write it before the end.
struct Stop;

impl Writer {
    pub(super) fn new(
        output: Output,
        batches: Receiver<Batch>,
        spare: Sender<Vec<u8>>,
        orders: Receiver<Order>,
        state: Shared<State>,
    ) -> Self {
        Writer { output, batches, spare, orders, state, target: None, ending: false, done: None }
    }

    /// Writes until nobody is left to send anything, or until it is told to end.
    pub(super) fn run(mut self) {
        // What cannot be opened is to be known at once, not with the first record.
        if let Err(error) = self.open() {
            self.failed(&error);
        }
        while let Ok(()) = self.turn() {}
    }

    fn turn(&mut self) -> Result<(), Stop> {
        if self.ending {
            let batch = self.batches.try_recv().map_err(|_| Stop)?;
            return self.write(batch);
        }
        // Orders first: what is queued belongs to the new file as much as to the old one.
        select_biased! {
            recv(self.orders) -> order => self.obey(order.ok()),
            recv(self.batches) -> batch => match batch {
                Ok(batch) => self.write(batch)?,
                Err(_) => self.ending = true,
            },
        }
        Ok(())
    }

    /// No order any more means that no snapshot uses the output.
    fn obey(&mut self, order: Option<Order>) {
        match order {
            // Standard output and a connected socket have no name that could have changed.
            Some(Order::Reopen) if matches!(self.output, Output::File(_)) => {
                self.target = None;
                if let Err(error) = self.open() {
                    self.failed(&error);
                }
            }
            Some(Order::Reopen) => {}
            Some(Order::End(done)) => (self.ending, self.done) = (true, Some(done)),
            None => self.ending = true,
        }
    }

    /// Writes a batch, however long that takes. Workers do not wait for it: they drop.
    fn write(&mut self, mut batch: Batch) -> Result<(), Stop> {
        let mut from = 0;
        let mut pause = LOG_PAUSE_FIRST;
        while from < batch.text.len() {
            match self.attempt(&batch.text[from..]) {
                Ok(written) => {
                    from += written;
                    pause = LOG_PAUSE_FIRST;
                    self.recovered();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed(&error);
                    let reopened = self.pause(pause)?;
                    pause = (pause * 2).min(LOG_PAUSE_MOST);
                    if reopened || self.target.is_none() {
                        // Whoever reads from here on, another reader or another file under the
                        // name, shall not begin in the midst of a line.
                        from = start_of_line(&batch.text, from);
                    }
                }
            }
        }
        self.state.written.add(batch.records);
        batch.text.clear();
        if batch.text.capacity() <= LOG_WIDEST {
            // With enough in stock it is freed.
            let _ = self.spare.try_send(batch.text);
        }
        Ok(())
    }

    fn attempt(&mut self, text: &[u8]) -> io::Result<usize> {
        match self.open()?.write(text) {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            other => other,
        }
    }

    fn open(&mut self) -> io::Result<&mut Target> {
        Ok(match &mut self.target {
            Some(target) => target,
            closed => closed.insert(self.output.open()?),
        })
    }

    /// Says so once, and lets go of a connection that is of no use any more.
    fn failed(&mut self, error: &io::Error) {
        // A reader that takes nothing for the moment is slow, not gone.
        if error.kind() == ErrorKind::WouldBlock {
            return;
        }
        if self.target.as_ref().is_some_and(Target::is_lost) {
            self.target = None;
        }
        if self.state.failing.raise() {
            tracing::error!(
                output = %self.output,
                %error,
                "the log cannot be written: its records wait, and are dropped when too many do"
            );
        }
    }

    fn recovered(&self) {
        if self.state.failing.is_up() {
            self.state.failing.lower();
            tracing::info!(output = %self.output, "the log is written again");
        }
    }

    /// Waits before the next try, or until there is an order; true when that was to open the output
    /// anew. The end of the process does not wait for an output that fails.
    fn pause(&mut self, time: Duration) -> Result<bool, Stop> {
        if self.ending && self.state.failing.is_up() {
            return Err(Stop);
        }
        match self.orders.recv_timeout(time) {
            Ok(order) => {
                let reopened = matches!(order, Order::Reopen);
                self.obey(Some(order));
                return Ok(reopened && matches!(self.output, Output::File(_)));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                // It comes at once, so the pause is to be made here.
                self.obey(None);
                std::thread::sleep(time);
            }
        }
        Ok(false)
    }
}

/// Where the line begins that has a byte at `from`, or ends right before it.
fn start_of_line(text: &[u8], from: usize) -> usize {
    text[..from].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)
}
