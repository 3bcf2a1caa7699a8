//! Carries the trace of a request on, and begins one where there is none (W3C Trace Context).
//!
//! # Settings
//!
//! ```yaml
//! - trace:
//!     begin: true      # a request without a valid `traceparent` begins a trace
//!     sample: 100      # of a hundred that begin here, so many ask to be recorded
//! ```
//!
//! A valid `traceparent` goes on with this hop as its parent and its flags as they were, and
//! `tracestate` with it; an invalid one is dropped together with its `tracestate`, as if neither
//! had been there. The trace id is in the log (`trace_id`).
//!
//! # Answers
//!
//! None.
//!
//! # State
//!
//! Per core: a source of random numbers.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use ringway_engine::balance::Rng;
use ringway_engine::exchange::Exchange;
use ringway_engine::filter::{Blueprint, Core, Filter, SettingsError, Step};
use ringway_engine::shared::Shared;
use ringway_engine::trace::Trace;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{plan, wrong};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// What becomes of a request without a trace.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether a request without a valid `traceparent` begins a trace.
    pub begin: bool,
    /// How many of a hundred traces that begin here are marked as sampled, from 0 to 100. Most
    /// programs record a trace if, and only if, whoever calls them has marked it.
    pub sample: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { begin: true, sample: 100.0 }
    }
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        if !(0.0..=100.0).contains(&self.sample) {
            let message = format!("{} is no percentage", self.sample);
            return Err(wrong("sample", message, "write a number from 0 to 100"));
        }
        Ok(plan(Plan(self.clone())))
    }
}

/// The settings once they are checked.
struct Plan(Settings);

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "trace"
    }

    fn summary(&self) -> String {
        match self.0.begin {
            true => format!("begin where there is none, {}% sampled", self.0.sample),
            false => "carry on what there is".to_owned(),
        }
    }

    fn instance(&self, core: &Rc<dyn Core>) -> Rc<dyn Filter> {
        // Two cores that drew the same numbers would give two traces one id.
        let rng = Rng::new(RandomState::new().hash_one(core.id()));
        Rc::new(Tracing { settings: self.0.clone(), rng: RefCell::new(rng) })
    }
}

/// One core's instance.
struct Tracing {
    settings: Settings,
    rng: RefCell<Rng>,
}

impl Filter for Tracing {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let theirs = received(exchange);
        let mut rng = self.rng.borrow_mut();
        let trace = match theirs {
            Some(trace) => Some(trace.next_hop(rng.next_u64())),
            None if self.settings.begin => {
                let sampled = (rng.below(1_000_000) as f64) < self.settings.sample * 10_000.0;
                Some(Trace::new([rng.next_u64(), rng.next_u64(), rng.next_u64()], sampled))
            }
            None => None,
        };
        let edits = &mut exchange.request.edits;
        let done = match &trace {
            Some(trace) => edits.set(TRACEPARENT, &trace.write()),
            None => edits.remove(TRACEPARENT),
        };
        done.expect("invariant: the name is a token, and the value digits and dashes");
        if theirs.is_none() {
            // It speaks of a trace that nobody knows (§3.3.1.2).
            edits.remove(TRACESTATE).expect("invariant: the name is a token");
        }
        exchange.trace = trace;
        Step::NEXT
    }
}

/// What the client says, if it says it once (§3.2).
fn received(exchange: &Exchange) -> Option<Trace> {
    let request = &exchange.request;
    let mut all = request.head.all(request.raw(), TRACEPARENT.as_bytes());
    let first = all.next()?;
    if all.next().is_some() { None } else { Trace::parse(first) }
}

#[cfg(test)]
mod tests {
    use ringway_engine::clock;
    use ringway_engine::trace::{RANDOM, SAMPLED};

    use super::*;
    use crate::tests::{build, core, refused};

    const THEIRS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// The request with these header lines as the upstream sees it.
    fn request(filter: &str, lines: &str) -> Exchange {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut exchange = Exchange::with_request(head.as_bytes(), clock::now()).unwrap();
        drop(build(filter).unwrap().instance(&core()).on_request(&mut exchange));
        exchange
    }

    fn sent(exchange: &Exchange) -> Option<Trace> {
        let value = exchange.request.header(TRACEPARENT);
        value.map(|value| Trace::parse(value).expect("what is sent is valid"))
    }

    #[test]
    fn a_trace_goes_on_with_this_hop_as_parent() {
        let lines = format!("Traceparent: {THEIRS}\r\nTracestate: a=1,b=2\r\n");
        let exchange = request("- trace: {sample: 0}", &lines);
        let (theirs, ours) = (Trace::parse(THEIRS.as_bytes()).unwrap(), sent(&exchange).unwrap());
        assert_eq!((ours.id, ours.flags), (theirs.id, SAMPLED));
        assert_ne!(ours.parent, theirs.parent);
        assert_eq!(exchange.request.header(TRACESTATE), Some(&b"a=1,b=2"[..]));
        assert_eq!(exchange.trace, Some(ours));
    }

    #[test]
    fn what_is_no_trace_is_replaced_by_a_new_one() {
        let twice = format!("traceparent: {THEIRS}\r\ntraceparent: {THEIRS}\r\n");
        for lines in ["", "traceparent: 00-bad\r\n", &twice] {
            let exchange = request("- trace", &format!("{lines}tracestate: a=1\r\n"));
            let ours = sent(&exchange).unwrap();
            assert_eq!(ours.flags, SAMPLED | RANDOM);
            assert_ne!(Some(ours.id), Trace::parse(THEIRS.as_bytes()).map(|trace| trace.id));
            assert_eq!(exchange.request.header(TRACESTATE), None);
        }
        let two = ["- trace: {}"; 2].map(|filter| sent(&request(filter, "")).unwrap().id);
        assert_ne!(two[0], two[1]);
    }

    #[test]
    fn nothing_begins_where_nothing_is_to() {
        let exchange = request("- trace: {begin: false}", "traceparent: 00-bad\r\n");
        assert_eq!((sent(&exchange), exchange.trace), (None, None));
    }

    #[test]
    fn a_share_is_sampled() {
        let sampled = |filter: &str| {
            let filter = build(filter).unwrap().instance(&core());
            let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
            let mut exchange = Exchange::with_request(head, clock::now()).unwrap();
            (0..2_000)
                .filter(|_| {
                    drop(filter.on_request(&mut exchange));
                    exchange.trace.is_some_and(|trace| trace.flags & SAMPLED != 0)
                })
                .count()
        };
        assert_eq!((sampled("- trace: {sample: 0}"), sampled("- trace: {}")), (0, 2_000));
        assert!((300..700).contains(&sampled("- trace: {sample: 25}")));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        refused("- trace: {sample: 101}", "trace.sample", "from 0 to 100");
    }
}
