//! A worker at work: runtime made, listeners opened, mailbox heard, until it has drained.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use monoio::io::AsyncReadRent;

use crate::accept::{self, Handle};
use crate::calling;
use crate::clock;
use crate::core::Caller;
use crate::cores::{self, Completions};
use crate::limits::{DRAIN_GRACE, DRAIN_LAST, SUBMISSIONS, SWEEP_EVERY};
use crate::listen::Bound;
use crate::metrics::Usage;
use crate::shared::{Inbox, Shared};
use crate::worker::{Adoption, Common, Message, Worker};

/// What a worker is started with.
pub(crate) struct Start {
    pub(crate) id: usize,
    pub(crate) io_uring: bool,
    pub(crate) core: Option<usize>,
    pub(crate) common: Shared<Common>,
    pub(crate) listeners: Vec<Bound>,
    pub(crate) inbox: Inbox<Message>,
    pub(crate) ear: UnixStream,
}

/// Runs a worker on this thread until it has drained.
///
/// # Errors
/// When the runtime cannot be made.
pub(crate) fn run(start: Start) -> std::io::Result<()> {
    if let Some(id) = start.core
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        tracing::warn!(worker = start.id, core = id, "cannot pin the worker to its core");
    }
    if start.io_uring {
        let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
            .uring_builder(cores::ring_builder())
            .with_entries(SUBMISSIONS)
            .enable_timer()
            .build()?;
        runtime.block_on(live(start));
    } else {
        let mut runtime =
            monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build()?;
        runtime.block_on(live(start));
    }
    Ok(())
}

async fn live(start: Start) {
    let worker = Rc::new(Worker::new(start.id, start.io_uring, start.common));
    let weak = Rc::downgrade(&worker);
    let caller: Caller = Box::new(move |call| Box::pin(calling::call(weak.clone(), call)));
    // The worker is fresh, so nobody can have set it before.
    let _ = worker.caller.set(caller);
    worker.deadlines.sweep(clock::now());
    let mut handles = Vec::new();
    start.listeners.into_iter().for_each(|bound| listen(&worker, bound, &mut handles));
    let mailbox = listen_to_mailbox(worker.clone(), start.inbox, start.ear, handles);
    monoio::spawn(mailbox);
    let completions = worker.io_uring.then(Completions::of_this_thread).flatten();
    if completions.is_some() {
        worker.shard.load.tells_completions();
    }
    sweep_until_drained(&worker, completions).await;
    worker.journals.sweep();
    // Rooms hold the worker; without this it would never be freed.
    worker.clear_rooms();
    let shard = &worker.shard;
    tracing::info!(
        worker = worker.id,
        accepted = shard.accepted.get(),
        handed_over = shard.handed_over.get(),
        requests = shard.requests.get(),
        errors = shard.errors.get(),
        "worker stopped"
    );
}

/// Accepts connections on a socket from now on.
fn listen(worker: &Rc<Worker>, bound: Bound, handles: &mut Vec<Handle>) {
    let address = bound.address;
    match accept::Listener::new(bound, worker.io_uring) {
        Ok((listener, handle)) => {
            handles.push(handle);
            monoio::spawn(listener.run(worker.clone()));
        }
        Err(error) => tracing::error!(worker = worker.id, %address, %error, "cannot listen"),
    }
}

/// The worker's heartbeat: deadlines, pools, and the end of a drain.
async fn sweep_until_drained(worker: &Worker, completions: Option<Completions>) {
    loop {
        let due = clock::now() + SWEEP_EVERY;
        clock::sleep(SWEEP_EVERY).await;
        let now = clock::now();
        let late = now.saturating_duration_since(due);
        worker.shard.load.swept(late, Usage::of_thread());
        if let Some(completions) = &completions {
            worker.shard.load.completions.add(completions.since());
        }
        worker.deadlines.sweep(now);
        worker.journals.sweep();
        worker.failures.sweep(worker.deadlines.coarse());
        worker.stock.sweep(worker.deadlines.coarse());
        worker.end_gone();
        if let Some(end) = worker.drained_at.get() {
            let promised = worker.common.colleagues[worker.id].promised.taken();
            if worker.shard.connections.get() == 0 && promised == 0 {
                return;
            }
            if now >= end {
                let open = worker.shard.connections.get();
                tracing::warn!(worker = worker.id, open, "drain timeout: closing what is open");
                worker.deadlines.end_serving();
                await_connections_end(worker).await;
                worker.deadlines.end_all();
                return await_connections_end(worker).await;
            }
        }
    }
}

/// Gives what has been cut off its turn: clients are told as far as that goes at once, and every
/// exchange has its record.
async fn await_connections_end(worker: &Worker) {
    let end = clock::now() + DRAIN_LAST;
    while worker.shard.connections.get() > 0 && clock::now() < end {
        clock::sleep(DRAIN_LAST / 10).await;
    }
}

async fn listen_to_mailbox(
    worker: Rc<Worker>,
    inbox: Inbox<Message>,
    ear: UnixStream,
    mut listeners: Vec<Handle>,
) {
    let ear =
        ear.set_nonblocking(!worker.io_uring).and_then(|()| monoio::net::UnixStream::from_std(ear));
    let Ok(mut ear) = ear else {
        tracing::error!(worker = worker.id, "the mailbox cannot be heard");
        return;
    };
    let mut bytes = vec![0; 16];
    loop {
        let (heard, back) = ear.read(bytes).await;
        bytes = back;
        inbox.heard();
        while let Some(message) = inbox.take() {
            receive(&worker, message, &mut listeners);
        }
        match heard {
            Ok(1..) => {}
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            // Nobody is left who could send.
            Ok(0) => return,
            Err(error) => {
                tracing::error!(worker = worker.id, %error, "the mailbox is heard no more");
                return;
            }
        }
    }
}

fn receive(worker: &Rc<Worker>, message: Message, listeners: &mut Vec<Handle>) {
    match message {
        Message::Adopt(adoption) => adopt(worker, listeners, *adoption),
        Message::Addresses(addresses) => worker.stock.resolve(addresses),
        Message::Socket(socket, peer, admission) => {
            worker.common.colleagues[worker.id].promised.give();
            accept::take_over(worker, socket, peer, admission);
        }
        Message::Done(number, done) => worker.jobs.done(number, done),
        Message::Drain(time) => drain(worker, listeners, time),
    }
}

/// Serves by another snapshot from now on, and listens where it says.
fn adopt(worker: &Rc<Worker>, listeners: &mut Vec<Handle>, adoption: Adoption) {
    let begun = clock::now();
    worker.adopt(adoption.snapshot, adoption.addresses);
    if !worker.is_draining() {
        adoption.open.into_iter().for_each(|bound| listen(worker, bound, listeners));
    }
    listeners.retain(|listener| {
        let stays = !adoption.close.contains(&listener.address);
        if !stays {
            accept::close(worker, listener);
        }
        stays
    });
    // Whoever waits may have given up.
    let _ = adoption.adopted.try_send(clock::now() - begun);
}

/// Stops accepting; connections that the kernel has already accepted for us are taken in.
fn drain(worker: &Rc<Worker>, listeners: &mut Vec<Handle>, time: Duration) {
    if worker.is_draining() {
        return;
    }
    worker.drained_at.set(Some(clock::now() + time));
    for listener in listeners.drain(..) {
        accept::close(worker, &listener);
    }
    worker.deadlines.end_idle(DRAIN_GRACE);
}
