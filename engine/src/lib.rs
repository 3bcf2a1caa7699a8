//! The mechanism of Ringway.

mod accept;
mod attempt;
pub mod balance;
pub mod buffer;
pub mod clock;
mod connection;
pub mod error;
pub mod exchange;
pub mod filter;
mod forward;
pub mod gateway;
pub mod http1;
mod io;
pub mod limits;
pub mod message;
pub mod metrics;
pub mod record;
mod relay;
mod respond;
pub mod route;
mod serve;
pub mod shared;
pub mod snapshot;
pub mod template;
mod tunnel;
pub mod upstream;
mod worker;
