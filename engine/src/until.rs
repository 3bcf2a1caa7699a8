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
    /// Since when only the upstream is waited for.
    since: Instant,
    /// How long the exchange may take, if it is that which is over.
    whole: Option<Duration>,
}

impl Until {
    /// Of an attempt that begins now; the usual one may take as long as it likes.
    pub(crate) fn of(exchange: &Exchange) -> Option<Until> {
        Until::of_attempt(exchange.try_timeout, Until::of_exchange(exchange))
    }

    /// Of the whole exchange.
    pub(crate) fn of_exchange(exchange: &Exchange) -> Option<Until> {
        let whole = |at: Instant| Some(at.saturating_duration_since(exchange.started));
        exchange.deadline.map(|at| Until { at, since: clock::now(), whole: whole(at) })
    }

    /// Of an attempt that has this time from now on, and no more than there is for the exchange.
    pub(crate) fn of_attempt(time: Option<Duration>, exchange: Option<Until>) -> Option<Until> {
        if time.is_none() && exchange.is_none() {
            return None;
        }
        let since = clock::now();
        let own = time.map(|time| Until { at: since + time, since, whole: None });
        let exchange = exchange.map(|until| Until { since, ..until });
        own.into_iter().chain(exchange).min_by_key(|until| until.at)
    }

    pub(crate) fn left(&self) -> Duration {
        self.at.saturating_duration_since(clock::now())
    }

    /// What it means that this time is over. The upstream is to blame when it had most of it:
    /// otherwise clients that send slowly could make any upstream look slow.
    pub(crate) fn error(&self, from: SocketAddr) -> Error {
        let waited = self.at.saturating_duration_since(self.since);
        match self.whole {
            None => UpstreamError::TryTimeout(from).into(),
            Some(whole) if waited * 4 >= whole * 3 => UpstreamError::ExchangeTimeout(from).into(),
            Some(_) => GatewayError::Timeout.into(),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whose fault it is when so many of ten seconds were left for the upstream.
    #[track_caller]
    fn check(left: u32, is_upstreams: bool) {
        let started = clock::now();
        let whole = Duration::from_secs(10);
        let since = started + whole - Duration::from_secs(left.into());
        let until = Until { at: started + whole, since, whole: Some(whole) };
        let error = until.error(SocketAddr::from(([127, 0, 0, 1], 1)));
        assert_eq!(matches!(error, Error::Upstream(_)), is_upstreams, "{left}: {error}");
        assert_eq!(error.reply().status, Some(504));
    }

    #[test]
    fn an_upstream_is_to_blame_for_its_own_time_only() {
        check(10, true);
        check(8, true);
        check(7, false);
        check(0, false);
    }
}
