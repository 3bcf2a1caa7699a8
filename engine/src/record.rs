//! What happened: the one record of an exchange that counters, logs, metrics and traces are made
//! of.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::exchange::Exchange;

/// An exchange that is over.
#[derive(Debug)]
pub struct Record<'a> {
    /// The request and its response, as they were in the end.
    pub exchange: &'a Exchange,
    /// The status that the client was sent; 0 when it was sent none.
    pub status: u16,
    /// What went wrong, if anything did, even after the status had been sent.
    pub error: Option<&'a Error>,
    /// When the last byte was handed to the kernel.
    pub ended: Instant,
}

impl Record<'_> {
    /// From the first byte of the request to the last of the response.
    pub fn duration(&self) -> Duration {
        self.ended.saturating_duration_since(self.exchange.started)
    }
}
