//! When an attempt is over.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::clock;
use crate::error::{Error, GatewayError, UpstreamError};
use crate::exchange::Exchange;
use crate::io::{Reader, Writer};

/// When an attempt is over: when its own time is, or that of the whole exchange.
#[derive(Clone, Copy)]
pub(crate) struct Until {
    at: Instant,
    whole_exchange: bool,
}

impl Until {
    /// Of an attempt that begins now; the usual one may take as long as it likes.
    pub(crate) fn of(exchange: &Exchange) -> Option<Until> {
        Until::of_attempt(exchange.try_timeout, Until::of_exchange(exchange))
    }

    /// Of the whole exchange.
    pub(crate) fn of_exchange(exchange: &Exchange) -> Option<Until> {
        exchange.deadline.map(|at| Until { at, whole_exchange: true })
    }

    /// Of an attempt that has this time from now on, and no more than there is for the exchange.
    pub(crate) fn of_attempt(time: Option<Duration>, exchange: Option<Until>) -> Option<Until> {
        let own = time.map(|time| Until { at: clock::now() + time, whole_exchange: false });
        own.into_iter().chain(exchange).min_by_key(|until| until.at)
    }

    pub(crate) fn left(&self) -> Duration {
        self.at.saturating_duration_since(clock::now())
    }

    /// What it means that this time is over.
    pub(crate) fn error(&self, from: SocketAddr) -> Error {
        match self.whole_exchange {
            true => GatewayError::Timeout.into(),
            false => UpstreamError::TryTimeout(from).into(),
        }
    }
}

/// From the head of the answer on only the deadline of the whole exchange counts, on both sides.
pub(crate) fn relay(deadline: Option<Instant>, reader: &Reader<'_>, client: &Writer<'_>) {
    reader.watch().never_over();
    if let Some(end) = deadline {
        let left = end.saturating_duration_since(clock::now());
        reader.watch().over_within(left);
        client.over_within(left);
    }
}
