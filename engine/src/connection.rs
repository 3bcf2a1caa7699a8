//! The life of one client's connection: wait for a request, have it served, wait again.
//!
//! While it waits, a connection is this small future, its socket and an idle buffer. Serving
//! takes a [`Room`]: the large future with all the states of an exchange, which a core keeps a
//! few of and lends to whichever connection has something to serve. So ten thousand idle
//! connections cost ten thousand times very little, and a busy one allocates nothing.

use std::any::Any;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use crate::admission::Admission;
use crate::buffer::Buffer;
use crate::clock;
use crate::downstream::{After, Connection};
use crate::exchange::Exchange;
use crate::io::Stream;
use crate::limits::{DRAIN_BODY, DRAIN_GRACE, LINGER};
use crate::room::{Desk, Done, Room};
use crate::serve::serve;
use crate::worker::Worker;

/// Starts the life of a connection.
pub(crate) fn spawn(worker: &Rc<Worker>, stream: Stream, peer: SocketAddr, admission: Admission) {
    let shard = worker.shard.clone();
    let connection = Box::new(Connection::new(stream, peer, admission, shard));
    worker.spawn(guarded(worker.clone(), connection));
}

/// Lives, and survives a panic: it costs this connection, nothing else (HTTP_SAFETY rule 28).
async fn guarded(worker: Rc<Worker>, connection: Box<Connection>) {
    let peer = connection.peer;
    let shard = worker.shard.clone();
    let mut life = pin!(live(worker, connection));
    let lived = poll_fn(|context| {
        // The future is dropped after a panic and never polled again, and what it shares with
        // others on this core is counters and pools, which a panic leaves whole.
        match catch_unwind(AssertUnwindSafe(|| life.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await;
    if let Err(panic) = lived {
        shard.panics.add(1);
        tracing::error!(%peer, message = message(&*panic), "a connection was lost to a panic");
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

async fn live(worker: Rc<Worker>, mut connection: Box<Connection>) {
    let mut buffer = Buffer::default();
    loop {
        if buffer.is_empty() {
            worker.buffers.give(buffer);
            match wait(&worker, &mut connection).await {
                Some(filled) => buffer = filled,
                None => return,
            }
        }
        connection.served += 1;
        let mut room = worker.room(|| Room::new(|desk| work(worker.clone(), desk)));
        let done = room.serve(connection, buffer).await;
        worker.give_room(room);
        (connection, buffer) = (done.connection, done.buffer);
        match done.after {
            // While draining, the next answer says that it is the last one: the client was not
            // told yet, and its next request may be on its way.
            After::Keep => {}
            After::Close => break,
            After::Linger => {
                // Boxed, so that idle connections need not have room for what few ever do.
                Box::pin(linger(&mut connection, &mut buffer)).await;
                break;
            }
        }
    }
    worker.buffers.give(buffer);
}

/// Waits for the first bytes of a request in a small buffer; `None` when there will be none.
async fn wait(worker: &Worker, connection: &mut Connection) -> Option<Buffer> {
    let adopted = worker.adopted();
    let rules = &adopted.snapshot.rules;
    let first = connection.served == 0;
    let mut time = if first { rules.header_timeout } else { rules.idle_timeout };
    if worker.is_draining() {
        time = time.min(DRAIN_GRACE);
    }
    drop(adopted);
    connection.stream.watch().waits(true);
    let mut reader = connection.stream.reader();
    reader.within(time);
    let (result, buffer) = reader.read(worker.buffers.idle()).await;
    connection.stream.watch().waits(false);
    match result {
        Ok(1..) => Some(buffer),
        Ok(0) | Err(_) => {
            worker.buffers.give(buffer);
            None
        }
    }
}

/// Ends the sending direction and reads what still comes, within bounds.
async fn linger(connection: &mut Connection, buffer: &mut Buffer) {
    let (mut reader, writer) = connection.stream.split();
    writer.end();
    reader.within(LINGER);
    let end = clock::now() + LINGER;
    let mut left = DRAIN_BODY;
    while left > 0 && clock::now() < end {
        buffer.clear();
        if buffer.capacity() == 0 {
            *buffer = Buffer::with_capacity(crate::limits::IDLE_READ);
        }
        let (result, back) = reader.read(std::mem::take(buffer)).await;
        *buffer = back;
        match result {
            Ok(n @ 1..) => left = left.saturating_sub(n as u64),
            Ok(0) | Err(_) => return,
        }
    }
}

/// What goes on in a room, for ever.
async fn work(worker: Rc<Worker>, desk: Rc<Desk>) -> Infallible {
    let mut exchange = Exchange::new(clock::now());
    loop {
        let (mut connection, buffer) = desk.next().await;
        exchange.reset(connection.peer, clock::now());
        exchange.request.raw = buffer;
        let after = serve(&worker, &mut connection, &mut exchange).await;
        let buffer = std::mem::take(&mut exchange.request.raw);
        worker.buffers.give(std::mem::take(&mut exchange.response.raw));
        desk.done(Done { connection, buffer, after });
    }
}
