//! The gateway as its users have it: the real binary, real sockets, both drivers. Each scene reads
//! from top to bottom: origin, gateway, client, act, expect. Files follow the way of a request.
//!
//! Every scene runs once on io_uring and once on epoll (`stage::scene::io_uring`). Nothing is
//! shared between scenes, ports are 0, and what has to be waited for is waited for as an event.
#![allow(clippy::unwrap_used, reason = "a scene that cannot go on has failed")]

mod harness;

mod listen;

mod connection;

mod framing;

mod route;

mod filters;

mod auth;
mod limits_filters;

mod auth_keys;

mod auth_https;

mod resilience;

mod mirror;

mod paths;

mod compress;

mod logging;

mod metrics;

mod balance;

mod pool;

mod health;

mod forward;

mod body;

mod interim;

mod upgrade;

mod deadlines;

mod limits;

mod errors;

mod faults;

mod noise;

mod memory;

mod clock_jumps;

mod reload;

mod shutdown;

mod admin;

mod page;

mod top;

mod curl;

mod cli;

mod diff;

mod bench;
