//! A connection for one attempt: from the pool, or a new one.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringway_config::Pool;

use crate::clock::Deadlines;
use crate::error::{Error, GatewayError, UpstreamError};
use crate::io::Stream;
use crate::upstream::Endpoint;

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
    endpoint.begun();
    let count = InFlight(endpoint.clone());
    let idle = if fresh { None } else { endpoint.take_idle(pool, deadlines.coarse()) };
    let (stream, reused, born) = match idle {
        Some(idle) => (idle.stream, true, idle.born),
        None => {
            let connected = Stream::connect(endpoint.address, time, deadlines).await;
            let stream = connected.map_err(|e| failed(&endpoint, e, deadlines.coarse()))?;
            endpoint.connected();
            (stream, false, deadlines.coarse())
        }
    };
    Ok(Lease { stream, reused, born, endpoint, _count: count })
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
    /// Gives the connection back to the pool: nothing is under way on it, in either direction.
    pub(crate) fn give_back(self, pool: &Pool, now: Duration) {
        self.endpoint.give_idle(self.stream, self.born, pool, now);
    }
}
