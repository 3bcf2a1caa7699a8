//! Bounds how large the body of a request may be.
//!
//! # Settings
//!
//! ```yaml
//! - body_limit: {max: 1MiB}
//! ```
//!
//! It can only narrow what the route's own `max_body` (or `server.limits.max_body`) allows. Of
//! several, the smallest counts.
//!
//! # Answers
//!
//! 413 with the message `the request body is too large`: at once where `Content-Length` says so,
//! and otherwise as soon as more has come; what the upstream has had of it by then is cut off, so
//! it cannot be taken for the whole.
//!
//! # State
//!
//! Shared: a counter for each core.

use std::rc::Rc;

use ringway_config::Bytes;
use ringway_engine::exchange::{Answer, Exchange};
use ringway_engine::filter::{Blueprint, Core, Filter, Measure, SettingsError, Step};
use ringway_engine::shared::{Shared, SharedCount, SharedShards};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::plan;

/// How large a body may be.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The most bytes of a request body; `0` allows none.
    pub max: Bytes,
}

impl Settings {
    /// Nothing can be wrong.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        Ok(plan(Plan { max: self.max, refused: SharedShards::default() }))
    }
}

/// The settings, and what was counted.
struct Plan {
    max: Bytes,
    refused: SharedShards<SharedCount>,
}

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "body_limit"
    }

    fn summary(&self) -> String {
        format!("at most {}", self.max)
    }

    fn instance(&self, core: &Rc<dyn Core>) -> Rc<dyn Filter> {
        Rc::new(BodyLimit { max: self.max.0, refused: self.refused.of(core.id()) })
    }

    fn measures(&self, into: &mut Vec<Measure>) {
        into.push(Measure {
            name: "body_limit_refused_total",
            help: "Requests refused because of the length that they announced",
            counter: true,
            labels: Vec::new(),
            value: self.refused.sum(|count| count) as f64,
        });
    }
}

/// One core's instance.
struct BodyLimit {
    max: u64,
    refused: Shared<SharedCount>,
}

impl Filter for BodyLimit {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let request = &mut exchange.request;
        if request.head.content_length.is_some_and(|length| length > self.max) {
            self.refused.add(1);
            return Step::answer(Answer::message(413, "the request body is too large"));
        }
        let most = request.max_body.map_or(self.max, |other| other.min(self.max));
        request.max_body = Some(most);
        Step::NEXT
    }
}

#[cfg(test)]
mod tests {
    use ringway_engine::clock;
    use ringway_engine::filter::Verdict;

    use super::*;
    use crate::tests::{build, core, read};

    /// The status of a request with this field, or the bound that it passes with.
    fn request(filter: &str, fields: &str, before: Option<u64>) -> Result<Option<u64>, u16> {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut exchange = Exchange::with_request(head.as_bytes(), clock::now()).unwrap();
        exchange.request.max_body = before;
        let filter = build(filter).unwrap().instance(&core());
        if let Step::Now(Verdict::Answer(answer)) = filter.on_request(&mut exchange) {
            return Err(answer.status);
        }
        Ok(exchange.request.max_body)
    }

    #[test]
    fn a_length_that_is_too_large_is_refused_at_once() {
        let filter = "- body_limit: {max: 1kB}";
        assert_eq!(request(filter, "Content-Length: 1001\r\n", None), Err(413));
        assert_eq!(request(filter, "Content-Length: 1000\r\n", None), Ok(Some(1000)));
    }

    #[test]
    fn what_has_no_length_is_bounded_on_its_way() {
        let chunked = "Transfer-Encoding: chunked\r\n";
        assert_eq!(request("- body_limit: {max: 1kB}", chunked, None), Ok(Some(1000)));
        assert_eq!(request("- body_limit: {max: 0}", "", None), Ok(Some(0)));
    }

    #[test]
    fn the_smallest_limit_counts() {
        assert_eq!(request("- body_limit: {max: 1kB}", "", Some(10)), Ok(Some(10)));
        assert_eq!(request("- body_limit: {max: 1kB}", "", Some(10_000)), Ok(Some(1000)));
    }

    #[test]
    fn what_was_refused_is_counted() {
        let built = build("- body_limit: {max: 1kB}").unwrap();
        let filter = built.instance(&core());
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n";
        let mut exchange = Exchange::with_request(head, clock::now()).unwrap();
        assert!(matches!(filter.on_request(&mut exchange), Step::Now(Verdict::Answer(_))));
        let mut measures = Vec::new();
        built.measures(&mut measures);
        assert_eq!(measures[0].value, 1.0);
    }

    #[test]
    fn a_size_without_a_unit_is_refused() {
        assert!(read("- body_limit: {max: 100}").unwrap_err().contains("no unit"));
        assert!(read("- body_limit: {}").unwrap_err().contains("`max` is missing"));
    }
}
