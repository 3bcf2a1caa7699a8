//! When an attempt is over.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::clock;
use crate::error::{Error, GatewayError, UpstreamError};
use crate::exchange::Exchange;

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
