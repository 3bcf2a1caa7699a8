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
    /// When the last byte of the response was handed to the kernel, or the exchange broke off.
    pub ended: Instant,
}

impl Record<'_> {
    /// From the first byte of the request to the last of the response.
    pub fn duration(&self) -> Duration {
        self.ended.saturating_duration_since(self.exchange.started)
    }

    /// How long the upstream had it; zero when none was asked.
    pub fn upstream(&self) -> Duration {
        self.exchange.times.upstream(self.ended)
    }

    /// What the gateway added: the duration without the upstream's part of it.
    pub fn added(&self) -> Duration {
        self.duration().saturating_sub(self.upstream())
    }

    /// From the first byte of the request to the first of the upstream's answer.
    pub fn first_byte(&self) -> Option<Duration> {
        self.since_start(self.exchange.times.first_byte)
    }

    /// From the first byte of the request to the last of the upstream's answer.
    pub fn last_byte(&self) -> Option<Duration> {
        self.since_start(self.exchange.times.last_byte)
    }

    /// Bytes of the request's body that were received.
    pub fn bytes_in(&self) -> u64 {
        self.exchange.request.received
    }

    /// Bytes of the response's body that were sent, or were to be when it broke off.
    pub fn bytes_out(&self) -> u64 {
        self.exchange.response.sent
    }

    fn since_start(&self, at: Option<Instant>) -> Option<Duration> {
        at.map(|at| at.saturating_duration_since(self.exchange.started))
    }
}
