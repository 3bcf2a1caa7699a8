//! The mechanism of Ringway: everything that moves a request, and nothing that decides policy.
//!
//! # The way of a request
//!
//! ```text
//! socket → accept → connection → http1 head → serve
//!                                             │ target → filters (in) → choose → pool/connect
//!                                             │                                        ↓
//!                                           record ← filters (out) ← response ← attempt
//! ```
//!
//! A reader follows one request through one function, [`serve`], top to bottom. There are two
//! turns only: an attempt may be repeated, and the response passes the filters on its way back.
//! The modules below are declared in the order in which a request meets them.
//!
//! # Invariants
//!
//! *Architecture invariant:* a worker and all that it owns stay on one core. Nothing on the way of
//! a request is shared with another core, so nothing is locked. What does cross cores is in
//! [`shared`], and `clippy.toml` forbids the rest.
//!
//! *Architecture invariant:* the engine knows no filter by name. [`filter::Filter`] is all it
//! sees; a new filter never changes a file here.
//!
//! *Architecture invariant:* protocol code ([`http1`], [`message`], [`route`], [`balance`]) does no
//! I/O and does not ask for the time. It is tested and fuzzed without a socket.
//!
//! *Architecture invariant:* a read is never cancelled. One operation a direction; a deadline
//! shuts the socket down ([`deadlines`]), which completes the operation, and no byte is lost. What
//! is dropped in mid-operation is only what will not be used again.
//!
//! *Architecture invariant:* what can fail, fails in [`Snapshot::build`] or before the first worker
//! starts. A worker serves by a snapshot and cannot fail to.
//!
//! *Architecture invariant:* an idle connection is a small future, a socket and a 1 KiB buffer.
//! The large future with all the states of an exchange is a [`room`] that a core lends to whoever
//! has something to serve. So a warm worker allocates nothing for a request, and idle clients cost
//! next to nothing. (The plan had a connection park after a second, by cancelling its read; with
//! rooms it is parked whenever it waits, and there is nothing to cancel.)
//!
//! # Cores
//!
//! A worker is a thread pinned to a core with its own ring (or epoll), its own `SO_REUSEPORT`
//! listeners, its own pools of buffers and of upstream connections, and its own instances of the
//! filters ([`worker`]). The control thread does everything that is not a request ([`control`]); it
//! speaks to workers through mailboxes. Workers speak to each other only to hand a fresh socket
//! over ([`accept`]).
//!
//! What is known of an endpoint is known once for all cores ([`upstream::Registry`]). A thread of
//! its own makes the checks of all endpoints ([`control`]); workers say how attempts went, each
//! into counters of its own, and tell that thread only when an endpoint has failed too often in a
//! row. What comes of it is a weight: who is out has none, who comes back slowly has a part of
//! it. A worker compares one number a pick, and looks at the weights when it is another than last
//! time. So no policy of [`balance`] knows what health is.
//!
//! # Reload
//!
//! ```text
//! SIGHUP, `ringway reload`, the admin API, a changed file
//!   → control → load and build (a thread of its own) → publish (control) → adopt (each worker)
//! ```
//!
//! *Architecture invariant:* what can fail fails before anything is published: the file, the
//! snapshot, listeners that cannot be bound ([`reload`]). A worker adopts between two requests of a
//! connection, never within one: an exchange ends with the snapshot it began with.
//!
//! *Architecture invariant:* no worker makes or frees ten thousand of anything at once. Chains and
//! upstreams are made when they are first needed, and what nobody needs is freed in slices, or on
//! the control thread ([`adopted`]).
//!
//! What stays as it is in the file keeps its state: filters whose settings stay keep their
//! blueprints and each core's instances, upstreams whose settings stay their plans, and endpoints
//! that stay in an upstream their connections and what is known of them. Exchanges under way whose
//! route is gone, tunnels among them, are ended after `drain_timeout` ([`deadlines`]); those of a
//! route that only changed go on. A listener that is gone takes no more connections; those it took
//! live on.
//!
//! # What others were wounded by, and what excludes it here
//!
//! - *TE.CL and CL.TE smuggling* (CVE-2005-2088, CVE-2026-54387): both fields together are
//!   refused, and framing is written anew from what was understood ([`http1::framing`],
//!   [`forward`]).
//! - *Several or odd `Content-Length`* (CVE-2021-40346, CVE-2023-40225): digits only, all alike,
//!   overflow-checked ([`http1::head`]).
//! - *Bare CR or LF, NUL, folding, a space before the colon* (CVE-2019-9900, CVE-2021-22959):
//!   refused while the head is scanned ([`http1::Scanner`]).
//! - *Chunk extensions and sizes that peers read differently* (CVE-2025-55315, CVE-2025-22871):
//!   one strict decoder, and chunks are written anew ([`http1::chunked`]).
//! - *`Connection: X-Forwarded-For` and friends* (CVE-2022-31813, CVE-2024-45410): end-to-end
//!   names that are listed there are not obeyed ([`message::Field`]).
//! - *h2c upgrade smuggling* (CVE-2026-2833): only `websocket` is forwarded, and only an
//!   upstream's 101 makes a tunnel ([`tunnel`]).
//! - *A response meant for somebody else*: one request a connection at a time; bytes that nobody
//!   asked for close it, in the pool and behind a response ([`upstream`]).
//! - *Path tricks: `%2e%2e`, `..;`, `//`, `%2f`, backslash* (CVE-2021-29492, CVE-2021-32779): one
//!   normal form, made once; routed, checked and sent on are the same bytes ([`route::path`],
//!   [`target`]).
//! - *Forged client addresses* (CVE-2022-24112): forwarding fields are taken from trusted proxies
//!   only ([`forward`]).
//! - *Header injection by rewrites* (CVE-2023-25690): a value with control characters cannot be
//!   written ([`exchange::Edits`], [`template`]).
//! - *Open redirects: `//evil.test`, `@evil.test` behind a host*: what a client wrote into the path
//!   becomes no part of the host that it is sent to ([`target`]).
//! - *Clients that send slowly to have an upstream taken for dead*: an upstream is to blame for the
//!   time that only it was waited for ([`until`]), and no probe is waited for without end
//!   ([`shared`]).
//! - *Slowloris, slow bodies, slow readers*: a deadline for every wait ([`deadlines`], [`relay`]).
#![cfg_attr(
    test,
    allow(clippy::disallowed_types, reason = "tests may share what they like among threads")
)]
#![allow(
    rustdoc::private_intra_doc_links,
    reason = "this page is for who reads the code; `cargo doc --document-private-items` has all"
)]

// Before the first request.
mod control;
pub mod cores;
pub mod explain;
pub mod gateway;
pub mod snapshot;
pub mod live;
mod carried;
mod run;
mod worker;
mod adopted;
mod listen;
pub mod call;
mod calling;
mod core;
mod compute;

// The way of a request.
mod accept;
mod admission;
mod connection;
mod downstream;
mod room;
pub mod http1;
mod serve;
mod course;
mod target;
pub mod route;
pub mod filter;
pub mod guard;
mod choose;
pub mod balance;
pub mod upstream;
mod attempt;
mod hearing;
mod until;
mod upgrade;
mod upload;
mod forward;
mod response;
mod relay;
mod coded;
mod tunnel;
mod respond;
pub mod record;

// What travels, and what it stands on.
pub mod buffer;
pub mod clock;
mod deadlines;
pub mod error;
pub mod exchange;
mod io;
pub mod limits;
pub mod log;
pub mod message;
pub mod metrics;
pub mod recent;
pub mod shared;
pub mod status;
pub mod template;
pub mod times;
pub mod trace;
pub mod url;

pub use control::{local, reload};
pub use gateway::{Running, StartError};
pub use snapshot::{BuildError, Snapshot};
