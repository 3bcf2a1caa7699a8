//! Every number of the engine that a user cannot set: its name, its unit, its reason.
//!
//! What a user can set is in the file (`config/REFERENCE.md`); what belongs to the syntax of
//! HTTP/1.1 is beside its code in `http1/`.

use std::time::Duration;

/// Bytes. What a connection holds while it waits for its next request. Most heads fit, so most
/// requests need one read; a longer one moves to a [`USUAL_BUFFER`]. With the rest of an idle
/// connection it stays under 2 KiB.
pub const IDLE_READ: usize = 1024;

/// Bytes. A head and a body of 16 KiB, which is a size that programs like: one read, one send.
pub const USUAL_BUFFER: usize = 20 * 1024;

/// Bytes. What a head may usually gain on its way through: forwarding fields, a date, a filter's
/// edits. One that gains more is written all the same.
pub const HEAD_GROWS: usize = 1024;

/// Bytes. Enough that a long body costs few operations, small enough to stay in the L2 cache.
pub const LARGE_BUFFER: usize = 64 * 1024;

/// Bytes. Each send wakes the receiver and each read tells the sender of new room: with a quarter
/// as many of both a long body costs about a fifth less, and larger ones gain no more. Too much to
/// have for everybody, so only [`LOANS`] bodies a core have it at a time.
pub const HUGE_BUFFER: usize = 256 * 1024;

/// Bodies of one core that may be relayed in huge buffers at the same time, one or two each; the
/// others go in large ones. What that comes to is 32 MiB.
pub const LOANS: usize = 64;

/// Bytes. What framing may add to a piece of a body that is read from chunks and written in
/// chunks: the beginning and the end of a chunk that the piece only continues, and the last chunk.
pub const CHUNK_GROWS: usize = 32;

/// Buffers of each size that a core keeps in stock; more are freed.
pub const POOLED_BUFFERS: usize = 256;

/// Rooms (futures that serve an exchange) that a core keeps in stock.
pub const POOLED_ROOMS: usize = 256;

/// How often deadlines are swept, so how late one may be noticed.
pub const SWEEP_EVERY: Duration = Duration::from_millis(100);

/// How long accepting must go well before a shortage of descriptors counts as over: connections
/// that come and go at the limit would otherwise fill the log.
pub const EXHAUSTION_OVER: Duration = Duration::from_secs(1);

/// Parts of a former snapshot that a worker frees at a time, and things that it keeps for routes
/// that it looks at: so few that it is a small part of a millisecond.
pub const RETIRED_AT_ONCE: usize = 1024;

/// How long nothing must have happened to a file before it is read again: programs write it in
/// several steps.
pub const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// How long something may go on happening to a file before it is read all the same.
pub const SETTLED_AT_LAST: Duration = Duration::from_secs(1);

/// How often the file is looked at where no change was noticed: some file systems tell of none.
pub const WATCHED_EVERY: Duration = Duration::from_secs(30);

/// How long `ringway reload` may take to put its question and to take the answer.
pub const LOCAL_PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of such a question.
pub const LOCAL_QUESTION: u64 = 64;

/// How long it is waited for the answer to be found: new names may have to be resolved.
pub const RELOAD_PATIENCE: Duration = Duration::from_secs(60);

/// Messages that wait for a worker: snapshots, endpoint lists, handed-over sockets.
pub const MAILBOX: usize = 1024;

/// How long the control thread waits for room in a worker's mailbox before it gives up on it.
pub const MAILBOX_PATIENCE: Duration = Duration::from_secs(5);

/// Threads that do what would block a worker. Passwords are slow to verify on purpose; two threads
/// are enough to wait for one and verify another, and leave the cores to the workers.
pub const COMPUTE_THREADS: usize = 2;

/// Jobs that wait for such a thread. With a tenth of a second each, the last waits several seconds;
/// more are refused.
pub const COMPUTE_QUEUE: usize = 128;

/// Connections that wait in the kernel to be accepted; `net.core.somaxconn` caps it.
pub const BACKLOG: i32 = 4096;

/// Interim (1xx) answers passed on for one request before the upstream counts as broken
/// (RFC 9110 §15.2 names no bound; an endless stream of them would hold the exchange open).
pub const INTERIM_ANSWERS: u32 = 16;

/// Bytes of an unread request body that are read and dropped to keep a connection, rather than
/// closed: closing early can cost the client the answer (RFC 9112 §9.6).
pub const DRAIN_BODY: u64 = 64 * 1024;

/// How long a drain waits for another request of a connection: it may be on its way, and nobody has
/// been told to send it elsewhere. What comes is answered with `Connection: close`.
pub const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// How long what a drain cuts off has for its end: twice, once when its upstream is shut and once
/// when its client is. Nothing in it waits for anybody.
pub const DRAIN_LAST: Duration = Duration::from_millis(100);

/// How long closing waits for the client to take the last bytes (lingering close, RFC 9112 §9.6).
pub const LINGER: Duration = Duration::from_secs(2);

/// First pause after an endpoint refused a connection; it doubles with each refusal.
pub const ENDPOINT_PAUSE_FIRST: Duration = Duration::from_millis(200);

/// Longest pause of an endpoint that keeps refusing.
pub const ENDPOINT_PAUSE_MOST: Duration = Duration::from_secs(30);

/// The first check of an endpoint comes at a random moment within this, or within its interval
/// where that is shorter: soon, but not all endpoints at once.
pub const HEALTH_FIRST_CHECK: Duration = Duration::from_secs(1);

/// Bytes of the head of an answer to a check.
pub const HEALTH_HEAD: usize = 64 * 1024;

/// Bytes of the body of an answer to a check that are searched for what is expected in it.
pub const HEALTH_BODY: usize = 64 * 1024;

/// A slow start grows in so many steps; more would only rebuild balancers more often.
pub const SLOW_START_STEPS: u32 = 20;

/// The shortest step of a slow start.
pub const SLOW_START_STEP: Duration = Duration::from_millis(100);

/// Endpoints that fail and wait to be looked at; what does not fit is told again by their next
/// failures.
pub const FAILING: usize = 1024;

/// Attempts of one exchange, whatever the filters ask for: a bound on the one loop.
pub const ATTEMPTS: usize = 32;

/// Grace before a slow body is measured against `min_body_rate`: TCP starts slowly.
pub const BODY_RATE_GRACE: Duration = Duration::from_secs(5);

/// A worker hands a fresh connection over when it has more than this many above the least
/// loaded one, and an eighth more: below that, moving costs more than it evens out.
pub const HANDOVER_SLACK: u64 = 2;

/// Completion queue entries a ring; several a connection at the limit of 16 Ki connections.
pub const COMPLETIONS: u32 = 16 * 1024;

/// Submission queue entries a ring: what one loop turn may queue before it must submit early.
pub const SUBMISSIONS: u32 = 2048;

/// Bytes of a client's own X-Request-ID that are kept; a longer one is replaced.
pub const REQUEST_ID: usize = 128;

/// Bytes. A worker hands its log records over when it has so many: few enough operations on the
/// queue, and little to lose in a crash. The sweep hands over what is fewer.
pub const LOG_BATCH: usize = 32 * 1024;

/// Batches of log records that wait for one output, all workers together: about 10 MiB. More
/// are dropped and counted.
pub const LOG_QUEUE: usize = 256;

/// Empty batches kept for use again, an output.
pub const LOG_SPARE: usize = 32;

/// Bytes. The room of a batch that is kept for use again; one that a giant record has widened is
/// freed.
pub const LOG_WIDEST: usize = 4 * LOG_BATCH;

/// First pause after an output of the log failed; it doubles with each failure.
pub const LOG_PAUSE_FIRST: Duration = Duration::from_millis(50);

/// Longest pause of an output that keeps failing.
pub const LOG_PAUSE_MOST: Duration = Duration::from_secs(1);

/// How long the end of the process waits for what the log still has to write.
pub const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// How late a worker's sweep may be before something is said to have held the worker up. The timer
/// itself is a millisecond or two late.
pub const STALL: Duration = Duration::from_millis(10);

/// Exchanges that failed and are kept for whoever asks.
pub const RECENT_ERRORS: usize = 256;

/// How many of them a worker keeps in a second: more than anybody reads, and few enough that a
/// flood of failures costs nothing more.
pub const RECENT_RATE: u32 = 50;

/// Bytes of the path of such an exchange.
pub const RECENT_PATH: usize = 256;

/// How often a worker warns of an upstream that keeps failing; the first failure is told of at
/// once.
pub const WARN_EVERY: Duration = Duration::from_secs(10);

/// Idle upstream connections looked at in one sweep of one endpoint.
pub const SWEPT_CONNECTIONS: usize = 128;

/// Unwanted upstream connections that a core closes in one sweep: each takes up to ten
/// microseconds, so that all together take less than a millisecond.
pub const CLOSED_AT_ONCE: usize = 96;

const _: () = assert!(IDLE_READ < USUAL_BUFFER && USUAL_BUFFER < LARGE_BUFFER);
const _: () = assert!(2 * (LARGE_BUFFER + CHUNK_GROWS) <= HUGE_BUFFER);
const _: () = assert!(COMPLETIONS >= SUBMISSIONS);
const _: () = assert!(ENDPOINT_PAUSE_FIRST.as_millis() < ENDPOINT_PAUSE_MOST.as_millis());
