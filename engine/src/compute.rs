//! Threads for what must not be done on a worker, because it takes long: verifying a password. What
//! waits for somebody else, such as fetching keys, is given a thread of its own from here.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::filter::Job;
use crate::limits::{COMPUTE_QUEUE, COMPUTE_THREADS};

/// What a job came to; `None` when it panicked, or was never begun.
pub(crate) type Done = Option<Box<dyn Any + Send>>;

/// A job and where its result goes.
pub(crate) struct Task {
    pub(crate) job: Job,
    pub(crate) reply: Box<dyn FnOnce(Done) + Send>,
}

/// The threads, by their queue; they end when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct Pool(Sender<Task>);

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// When one cannot be made.
    pub(crate) fn start() -> io::Result<Pool> {
        let (sender, receiver) = bounded(COMPUTE_QUEUE);
        for id in 0..COMPUTE_THREADS {
            let tasks = receiver.clone();
            let thread = std::thread::Builder::new().name(format!("ringway-comp-{id}"));
            thread.spawn(move || work(&tasks))?;
        }
        Ok(Pool(sender))
    }

    /// Queues a task; false when too many wait already.
    pub(crate) fn give(&self, task: Task) -> bool {
        self.0.try_send(task).is_ok()
    }
}

fn work(tasks: &Receiver<Task>) {
    for Task { job, reply } in tasks {
        // What a job owns is dropped with it, and what it shares is left whole by a panic.
        let done = catch_unwind(AssertUnwindSafe(job));
        if done.is_err() {
            tracing::error!("a job off the workers was lost to a panic");
        }
        reply(done.ok());
    }
}
