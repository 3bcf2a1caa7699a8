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
        if exchange.deadline.is_none() && exchange.try_timeout.is_none() {
            return None;
        }
        let own = exchange.try_timeout.map(|time| clock::now() + time);
        let own = own.map(|at| Until { at, whole_exchange: false });
        let whole = exchange.deadline.map(|at| Until { at, whole_exchange: true });
        own.into_iter().chain(whole).min_by_key(|until| until.at)
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
