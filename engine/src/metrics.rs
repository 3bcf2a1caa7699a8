//! What each worker counts. One writer a number, read from anywhere.

use crate::shared::SharedCount;

/// The counters and gauges of one worker.
#[derive(Debug, Default)]
pub struct Shard {
    /// Connections of clients open now (gauge).
    pub connections: SharedCount,
    /// Connections accepted or taken over.
    pub accepted: SharedCount,
    /// Connections handed to another worker right after they were accepted.
    pub handed_over: SharedCount,
    /// Exchanges ended, whatever came of them.
    pub requests: SharedCount,
    /// Exchanges that ended with an error of any kind.
    pub errors: SharedCount,
    /// Connections made to upstreams.
    pub connects: SharedCount,
    /// Attempts that found a connection in the pool.
    pub reuses: SharedCount,
    /// Connections lost to a panic.
    pub panics: SharedCount,
}
