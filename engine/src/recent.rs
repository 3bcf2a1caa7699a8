//! Exchanges that failed: the last few, for whoever asks, and warnings at a rate that a log bears.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use crate::clock;
use crate::error::Error;
use crate::limits::{RECENT_ERRORS, RECENT_PATH, RECENT_RATE, WARN_EVERY};
use crate::record::Record;
use crate::shared::SharedRing;

/// An exchange that failed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RecentError {
    /// When it ended.
    pub time: SystemTime,
    /// The worker that served it.
    pub worker: usize,
    /// The method, as far as it was understood.
    pub method: String,
    /// The path without its query, which may hold secrets; cut when it is long.
    pub path: String,
    /// The route's name, or empty.
    pub route: String,
    /// The upstream's name, or empty.
    pub upstream: String,
    /// The endpoint of the last attempt.
    pub endpoint: Option<SocketAddr>,
    /// The client.
    pub client: IpAddr,
    /// The status that was sent; 0 for none.
    pub status: u16,
    /// The word for the error, as in logs and metrics.
    pub code: &'static str,
    /// The step that failed.
    pub phase: &'static str,
    /// What happened, in a sentence.
    pub message: String,
    /// The id of the exchange.
    pub request_id: String,
}

/// The last exchanges that failed, of all workers.
#[derive(Debug)]
pub struct Errors(SharedRing<RecentError>);

impl Default for Errors {
    fn default() -> Self {
        Errors(SharedRing::new(RECENT_ERRORS))
    }
}

impl Errors {
    /// The last ones, the latest first.
    pub fn recent(&self) -> Vec<RecentError> {
        self.0.latest()
    }

    fn keep(&self, worker: usize, record: &Record<'_>, error: &Error) {
        let exchange = record.exchange;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let path = &exchange.request.path;
        self.0.push(RecentError {
            time: clock::wall(),
            worker,
            method: text(exchange.request.method()),
            path: text(&path[..path.len().min(RECENT_PATH)]),
            route: exchange.route_name.clone(),
            upstream: exchange.upstream.clone(),
            endpoint: exchange.endpoint,
            client: exchange.client.address,
            status: record.status,
            code: error.reply().code,
            phase: error.phase(),
            message: error.to_string(),
            request_id: text(&exchange.request_id),
        });
    }
}

/// One worker's failures: which of them are told of, and how often.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// Failures of this second that are kept for whoever asks.
    kept: Cell<(u64, u32)>,
    /// Those that were told of lately.
    told: RefCell<Vec<Told>>,
}

#[derive(Debug)]
struct Told {
    /// The upstream's name, or empty for failures of the gateway itself.
    of: String,
    at: Duration,
    /// How many more there were since.
    more: u64,
}

impl Failures {
    /// An exchange failed. Keeps it for whoever asks, unless so many do that nobody could read
    /// them; an upstream's failure or the gateway's own is warned of, at its rate. `now` is on the
    /// core's coarse clock.
    pub(crate) fn failed(
        &self,
        errors: &Errors,
        worker: usize,
        record: &Record<'_>,
        now: Duration,
    ) {
        let Some(error) = record.error else { return };
        let (second, count) = self.kept.get();
        let count = if second == now.as_secs() { count + 1 } else { 0 };
        self.kept.set((now.as_secs(), count));
        if count < RECENT_RATE {
            errors.keep(worker, record, error);
        }
        let exchange = record.exchange;
        let (code, route) = (error.reply().code, &exchange.route_name);
        let id = || String::from_utf8_lossy(&exchange.request_id);
        match error {
            Error::Client(_) => tracing::debug!(code, route, request_id = %id(), "{error}"),
            _ if self.is_news(&exchange.upstream, now) => {
                let upstream = &exchange.upstream;
                tracing::warn!(code, route, upstream, request_id = %id(), "{error}");
            }
            _ => tracing::debug!(code, route, request_id = %id(), "{error}"),
        }
    }

    /// An endpoint of `upstream` was passed over for another.
    pub(crate) fn passed_over(&self, upstream: &str, error: &Error, now: Duration) {
        if self.is_news(upstream, now) {
            tracing::warn!(upstream, "{error}");
        } else {
            tracing::debug!(upstream, "{error}");
        }
    }

    /// True for the first failure of its kind in a while; others are counted.
    fn is_news(&self, of: &str, now: Duration) -> bool {
        let mut told = self.told.borrow_mut();
        if let Some(told) = told.iter_mut().find(|told| told.of == of) {
            told.more += 1;
            return false;
        }
        told.push(Told { of: of.to_owned(), at: now, more: 0 });
        true
    }

    /// Says how many more failures there were than have been told of, once in a while, and forgets
    /// what has not failed again.
    pub(crate) fn sweep(&self, now: Duration) {
        self.told.borrow_mut().retain_mut(|told| {
            if now < told.at + WARN_EVERY {
                return true;
            }
            let failed = told.more > 0;
            if failed {
                tracing::warn!(
                    upstream = told.of,
                    failures = told.more,
                    "more failures in the last {WARN_EVERY:?}"
                );
            }
            (told.at, told.more) = (now, 0);
            failed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::UpstreamError;
    use crate::exchange::Exchange;

    fn fail(failures: &Failures, errors: &Errors, path: &str, now: Duration) {
        let head = format!("GET {path}?secret HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut exchange = Exchange::with_request(head.as_bytes(), clock::now()).unwrap();
        exchange.upstream.push_str("main");
        let error = Error::from(UpstreamError::NoEndpoint);
        let ended = exchange.started;
        let record = Record { exchange: &exchange, status: 503, error: Some(&error), ended };
        failures.failed(errors, 1, &record, now);
    }

    #[test]
    fn the_last_errors_are_kept_and_a_flood_is_not() {
        let (failures, errors) = (Failures::default(), Errors::default());
        fail(&failures, &errors, "/a", Duration::from_secs(1));
        (0..10_000).for_each(|_| fail(&failures, &errors, "/b", Duration::from_secs(2)));
        let recent = errors.recent();
        assert_eq!(recent.len(), 1 + RECENT_RATE as usize);
        let first = recent.last().unwrap();
        assert_eq!((first.path.as_str(), first.status, first.worker), ("/a", 503, 1));
        assert_eq!((first.code, first.phase), ("no_endpoint", "endpoint"));
        assert!(recent.iter().all(|error| !format!("{error:?}").contains("secret")));
    }

    #[test]
    fn the_first_failure_is_news_and_the_rest_a_number() {
        let failures = Failures::default();
        let second = Duration::from_secs(1);
        assert!(failures.is_news("a", second) && failures.is_news("b", second));
        assert!(!failures.is_news("a", second * 2));
        failures.sweep(second * 2);
        assert!(!failures.is_news("a", second * 3), "it was told of a moment ago");
        failures.sweep(second + WARN_EVERY);
        assert!(failures.is_news("b", second + WARN_EVERY), "it had not failed again");
        assert!(!failures.is_news("a", second + WARN_EVERY), "its number was told just now");
        failures.sweep(second + WARN_EVERY * 2);
        failures.sweep(second + WARN_EVERY * 3);
        assert!(failures.is_news("a", second + WARN_EVERY * 3));
    }
}
