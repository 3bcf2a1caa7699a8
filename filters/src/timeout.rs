//! Bounds the time of the whole exchange: filters, all attempts and pauses, and both bodies.
//!
//! # Settings
//!
//! ```yaml
//! - timeout: {total: 5s}
//! ```
//!
//! The time runs from the first byte of the request. Of several such filters the shortest counts.
//! When it is over is noticed up to two tenths of a second late, and never early.
//!
//! The deadlines of `timeouts` (of a route or an upstream) go on beside it: they are about the
//! pauses within an exchange, this is about all of it. A tunnel (`upgrades: [websocket]`) has no
//! such end.
//!
//! # Answers
//!
//! 504 when no answer has begun; 408 when what has not come is the client's body, which no
//! `circuit_breaker` takes for a failure of the upstream. An answer that has begun breaks off: its
//! connection ends in the midst of it, so that nobody can take it for whole.
//!
//! # State
//!
//! None.

use std::rc::Rc;

use ringway_config::Period;
use ringway_engine::exchange::Exchange;
use ringway_engine::filter::{Blueprint, Core, Filter, SettingsError, Step};
use ringway_engine::shared::Shared;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{plan, wrong};

/// How long an exchange may take.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// From the first byte of the request to the last of the answer, 100ms to 1d.
    pub total: Period,
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        if !(Period::from_millis(100)..=Period::from_secs(86_400)).contains(&self.total) {
            let message = format!("{} is no time for an exchange", self.total);
            return Err(wrong("total", message, "write a time from `100ms` to `1d`"));
        }
        Ok(plan(Plan(self.clone())))
    }
}

/// The settings once they are checked.
struct Plan(Settings);

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "timeout"
    }

    fn summary(&self) -> String {
        format!("{} in all", self.0.total)
    }

    fn instance(&self, _: &Rc<dyn Core>) -> Rc<dyn Filter> {
        Rc::new(Timeout(self.0.total))
    }
}

/// One core's instance.
struct Timeout(Period);

impl Filter for Timeout {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let end = exchange.started + self.0.0;
        exchange.deadline = Some(exchange.deadline.map_or(end, |other| other.min(end)));
        Step::NEXT
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringway_engine::clock;

    use super::*;
    use crate::tests::{build, core, refused};

    #[test]
    fn the_shortest_counts_from_the_first_byte() {
        let mut exchange = Exchange::new(clock::now());
        for (total, seconds) in [("5s", 5), ("2s", 2), ("3s", 2)] {
            let filter = build(&format!("- timeout: {{total: {total}}}")).unwrap();
            filter.instance(&core()).on_request(&mut exchange);
            let expected = exchange.started + Duration::from_secs(seconds);
            assert_eq!(exchange.deadline, Some(expected));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        refused("- timeout: {total: 0s}", "timeout.total", "100ms");
        refused("- timeout: {total: 2d}", "timeout.total", "1d");
    }
}
