//! A connection for one attempt: from the pool, or a new one.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use ringway_config::Pool;

use crate::deadlines::Deadlines;
use crate::error::{Error, GatewayError, UpstreamError};
use crate::io::Stream;
use crate::upstream::Endpoint;
use crate::upstream::endpoint::Idle;

/// A connection to an endpoint, held for one attempt; the endpoint counts it while it is held.
pub(crate) struct Lease {
    /// The connection.
    pub(crate) stream: Stream,
    /// True when it has served before, so that it may have died unnoticed.
    pub(crate) reused: bool,
    born: Duration,
    /// Where it leads.
    pub(crate) endpoint: Rc<Endpoint>,
    _count: InFlight,
}

/// Counts one exchange under way at an endpoint.
struct InFlight(Rc<Endpoint>);

impl InFlight {
    fn new(endpoint: &Rc<Endpoint>) -> Self {
        endpoint.begun();
        InFlight(endpoint.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.over();
    }
}

/// Takes a connection from the endpoint's pool unless `fresh` is asked for, or makes one within
/// `time`.
///
/// # Errors
/// When none can be made; the endpoint is then passed over for a while.
pub(crate) async fn checkout(
    endpoint: Rc<Endpoint>,
    pool: &Pool,
    time: Duration,
    fresh: bool,
    deadlines: &Rc<Deadlines>,
) -> Result<Lease, Error> {
    match Lease::pooled(&endpoint, pool, fresh, deadlines.coarse()) {
        Some(lease) => Ok(lease),
        None => Lease::connect(endpoint, time, deadlines).await,
    }
}

fn failed(endpoint: &Endpoint, error: io::Error, now: Duration) -> Error {
    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) {
        return GatewayError::Resources(error).into();
    }
    endpoint.refused(now);
    endpoint.failed();
    match error.kind() {
        io::ErrorKind::TimedOut => UpstreamError::ConnectTimeout(endpoint.address).into(),
        _ => UpstreamError::Refused(endpoint.address, error).into(),
    }
}

impl Lease {
    /// The connection of the endpoint's pool that was used last, if one is alive and none `fresh`
    /// is asked for.
    pub(crate) fn pooled(
        endpoint: &Rc<Endpoint>,
        pool: &Pool,
        fresh: bool,
        now: Duration,
    ) -> Option<Self> {
        let Idle { stream, born, .. } = if fresh { None } else { endpoint.take_idle(pool, now) }?;
        let count = InFlight::new(endpoint);
        Some(Lease { stream, reused: true, born, endpoint: endpoint.clone(), _count: count })
    }

    /// Makes a connection within `time`. Boxed: it is large, and few exchanges need it.
    ///
    /// # Errors
    /// When none can be made; the endpoint is then passed over for a while.
    pub(crate) fn connect(
        endpoint: Rc<Endpoint>,
        time: Duration,
        deadlines: &Rc<Deadlines>,
    ) -> Pin<Box<impl Future<Output = Result<Self, Error>>>> {
        Box::pin(async move {
            let count = InFlight::new(&endpoint);
            let connected = Stream::connect(endpoint.address, time, deadlines).await;
            let stream = connected.map_err(|e| failed(&endpoint, e, deadlines.coarse()))?;
            endpoint.connected();
            let born = deadlines.coarse();
            Ok(Lease { stream, reused: false, born, endpoint, _count: count })
        })
    }

    /// Gives the connection back to the pool: nothing is under way on it, in either direction.
    pub(crate) fn give_back(self, pool: &Pool, now: Duration) {
        self.endpoint.give_idle(self.stream, self.born, pool, now);
    }
}
