//! Answers instead of an upstream that failed, or has another upstream asked.
//!
//! # Settings
//!
//! ```yaml
//! - fallback:
//!     on: [connect_failure, reset, timeout, denied, 503]
//!     respond:
//!       status: 200
//!       headers: {Content-Type: application/json}
//!       body: '{"orders": []}'
//! ```
//!
//! ```yaml
//! - fallback: {upstream: orders-backup}
//! ```
//!
//! `on` is about what the attempt came to in the end: where a `retry` of the same route has an
//! attempt left, that goes first, whichever of the two filters stands first. `denied` is an attempt
//! that a filter did not let pass, such as an open `circuit_breaker`. Of two `fallback` of one
//! route that both fit, the one further down decides, as answers pass the filters backward.
//!
//! Another upstream is asked once, and only when the request can be sent again: its body had come
//! with its head, or has no more than `max_body`. What comes of that is the answer.
//!
//! # Answers
//!
//! `respond`, or that of the other upstream.
//!
//! # State
//!
//! Shared: how often it was needed.

use std::rc::Rc;

use indexmap::IndexMap;
use ringway_config::Bytes;
use ringway_engine::exchange::{Answer, AnswerBody, Exchange};
use ringway_engine::filter::{
    Blueprint, Core, Filter, Measure, Next, Outcome, SettingsError, Step, Verdict,
};
use ringway_engine::http1::write::{is_safe_value, is_token};
use ringway_engine::message::FieldName;
use ringway_engine::record::Record;
use ringway_engine::shared::{Shared, SharedTotal};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::cause::{self, Cause};
use crate::{plan, wrong};

/// The most that can be asked to be kept of a body: each request under way may hold as much.
const MAX_BODY: Bytes = Bytes(64 << 20);

/// What is done when the attempt failed in the end: `respond` or `upstream`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What an attempt has to come to.
    pub on: Vec<Cause>,
    /// This answer is given.
    pub respond: Option<Respond>,
    /// This upstream is asked.
    pub upstream: Option<String>,
    /// How much of a body is kept for the other upstream, `0` to 64MiB.
    pub max_body: Bytes,
}

impl Default for Settings {
    fn default() -> Self {
        let on = vec![Cause::ConnectFailure, Cause::Reset, Cause::Timeout, Cause::Denied];
        Settings { on, respond: None, upstream: None, max_body: Bytes::kib(64) }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Respond {
    /// Its status, 200 to 599.
    pub status: u16,
    /// Its header fields. Length and date are added.
    pub headers: IndexMap<String, String>,
    /// Its body; may be empty.
    pub body: String,
}

impl Default for Respond {
    fn default() -> Self {
        Respond { status: 503, headers: IndexMap::new(), body: String::new() }
    }
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        cause::check("on", &self.on, |_| true)?;
        let answer = match (&self.respond, &self.upstream) {
            (Some(respond), None) => Some(respond.check()?),
            (None, Some(_)) => None,
            (Some(_), Some(_)) => {
                let message = "there is an answer already: `respond`";
                return Err(wrong("upstream", message, "keep one of the two"));
            }
            (None, None) => {
                let help = "write `respond: {status: 503, body: \"…\"}` or `upstream: backup`";
                return Err(wrong("", "there is nothing to fall back to", help));
            }
        };
        if self.max_body > MAX_BODY {
            let message = format!("{} is too much to keep of each body", self.max_body);
            return Err(wrong("max_body", message, "write a size of at most `64MiB`"));
        }
        let settings = self.clone();
        Ok(plan(Plan { settings, answer, needed: Shared::default() }))
    }
}

impl Respond {
    fn check(&self) -> Result<Answer, SettingsError> {
        let Respond { status, headers, body } = self;
        if !(200..=599).contains(status) {
            let message = format!("{status} is not the status of an answer");
            return Err(wrong("respond.status", message, "write one from 200 to 599"));
        }
        if matches!(status, 204 | 304) && !body.is_empty() {
            let message = format!("an answer with the status {status} has no body");
            return Err(wrong("respond.body", message, "take it out, or change the status"));
        }
        for (name, value) in headers {
            let field = format!("respond.headers.{name}");
            if !is_token(name.as_bytes()) {
                let help = "a name has letters, digits and any of !#$%&'*+-.^_`|~";
                return Err(wrong(field, format!("`{name}` is no name of a header"), help));
            }
            let id = FieldName::from_bytes(name.as_bytes());
            let written = [FieldName::ContentLength, FieldName::Date, FieldName::Server];
            if id.is_hop_by_hop() || written.contains(&id) {
                let message = format!("`{name}` is the gateway's own to write");
                return Err(wrong(field, message, "take it out"));
            }
            if !is_safe_value(value.as_bytes()) {
                let help = "take line breaks and other control characters out";
                return Err(wrong(field, "the value cannot stand in one line of a head", help));
            }
        }
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let body = AnswerBody::Bytes(body.clone().into_bytes());
        Ok(Answer { status: *status, headers, body })
    }
}

/// The settings once they are checked.
struct Plan {
    settings: Settings,
    answer: Option<Answer>,
    needed: Shared<SharedTotal>,
}

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "fallback"
    }

    fn summary(&self) -> String {
        let on = cause::list(&self.settings.on);
        match (&self.answer, &self.settings.upstream) {
            (Some(answer), _) => format!("on {on}: answer {}", answer.status),
            (None, upstream) => {
                format!("on {on}: upstream {}", upstream.as_deref().unwrap_or_default())
            }
        }
    }

    fn instance(&self, _: &Rc<dyn Core>) -> Rc<dyn Filter> {
        Rc::new(Fallback {
            on: self.settings.on.clone(),
            answer: self.answer.clone(),
            max_body: self.settings.max_body.0,
            upstream: self.settings.upstream.as_deref().unwrap_or_default().into(),
            needed: self.needed.clone(),
        })
    }

    fn upstreams(&self) -> Vec<(&'static str, &str)> {
        self.settings.upstream.iter().map(|name| ("upstream", name.as_str())).collect()
    }

    fn instead(&self) -> Option<(&'static str, &str)> {
        self.settings.upstream.as_deref().map(|name| ("upstream", name))
    }

    fn measures(&self, into: &mut Vec<Measure>) {
        into.push(Measure {
            name: "fallbacks_total",
            help: "Requests that were answered by a fallback",
            counter: true,
            labels: Vec::new(),
            value: self.needed.get() as f64,
        });
    }
}

/// One core's instance.
struct Fallback {
    on: Vec<Cause>,
    /// The answer; without one the upstream is asked.
    answer: Option<Answer>,
    max_body: u64,
    upstream: Rc<str>,
    needed: Shared<SharedTotal>,
}

/// The note of an exchange that shall be answered instead, or by the other upstream, unless it is
/// sent again first.
const WANTED: u64 = 1;

/// The note of an exchange whose other upstream has failed as well: two such filters would send it
/// back and forth.
const ASKED: u64 = 2;

impl Filter for Fallback {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        if self.answer.is_none() {
            exchange.request.keep_body(self.max_body);
        }
        Step::NEXT
    }

    fn on_attempt(&self, exchange: &mut Exchange) -> Verdict {
        // Something else was done first, such as a retry.
        if self.answer.is_some() && exchange.note(self) == WANTED {
            exchange.set_note(self, 0);
        }
        Verdict::Continue
    }

    fn on_outcome(&self, exchange: &mut Exchange, outcome: &Outcome<'_>) -> Next {
        if !self.on.iter().any(|cause| cause.is(outcome)) {
            return Next::Accept;
        }
        match &self.answer {
            Some(answer) => {
                exchange.set_note(self, WANTED);
                Next::Answer(Box::new(answer.clone()))
            }
            None if exchange.note(self) == ASKED => Next::Accept,
            None if exchange.upstream == *self.upstream => {
                if exchange.note(self) == WANTED {
                    exchange.set_note(self, ASKED);
                }
                Next::Accept
            }
            None => {
                exchange.set_note(self, WANTED);
                Next::Upstream(self.upstream.clone())
            }
        }
    }

    fn on_end(&self, record: &Record<'_>) {
        let exchange = record.exchange;
        // The other upstream may be asked first as well, where the route has several.
        let answers = self.answer.is_some() || exchange.upstream == *self.upstream;
        if answers && exchange.note(self) != 0 {
            self.needed.add_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use ringway_engine::clock;

    use super::*;
    use crate::tests::{build, core, refused};

    #[test]
    fn it_answers_where_it_is_asked_to() {
        let filter = "- fallback: {on: [503, denied], respond: {status: 200, body: none}}";
        let filter = build(filter).unwrap().instance(&core());
        let mut exchange = Exchange::new(clock::now());
        let mut next = |outcome| filter.on_outcome(&mut exchange, &outcome);
        assert_eq!(next(Outcome::Answered(500)), Next::Accept);
        for outcome in [Outcome::Answered(503), Outcome::Denied(429)] {
            let Next::Answer(answer) = next(outcome) else { panic!("no answer") };
            assert_eq!((answer.status, answer.body), (200, AnswerBody::Bytes(b"none".into())));
        }
    }

    #[test]
    fn another_upstream_is_asked_once() {
        let blueprint = build("- fallback: {on: [5xx], upstream: b}").unwrap();
        assert_eq!(blueprint.upstreams(), [("upstream", "b")]);
        let filter = blueprint.instance(&core());
        let mut exchange = Exchange::new(clock::now());
        exchange.upstream.push('a');
        let next = filter.on_outcome(&mut exchange, &Outcome::Answered(500));
        assert_eq!(next, Next::Upstream("b".into()));
        // The upstream of another such filter is no reason to come back.
        for upstream in ["b", "c", "b"] {
            exchange.upstream = upstream.to_owned();
            assert_eq!(filter.on_outcome(&mut exchange, &Outcome::Answered(500)), Next::Accept);
        }
    }

    #[test]
    fn only_what_was_answered_by_it_counts() {
        let blueprint = build("- fallback: {on: [5xx], respond: {}}").unwrap();
        let filter = blueprint.instance(&core());
        let count = || {
            let mut measures = Vec::new();
            blueprint.measures(&mut measures);
            measures[0].value
        };
        let mut exchange = Exchange::new(clock::now());
        filter.on_outcome(&mut exchange, &Outcome::Answered(500));
        let end = |exchange: &Exchange| {
            let ended = clock::now();
            filter.on_end(&Record { exchange, status: 200, error: None, ended });
        };
        filter.on_attempt(&mut exchange);
        end(&exchange);
        assert_eq!(count(), 0.0, "a retry went first");
        filter.on_outcome(&mut exchange, &Outcome::Answered(500));
        end(&exchange);
        assert_eq!(count(), 1.0);
    }

    /// A route with several upstreams may ask the other one first.
    #[test]
    fn another_upstream_counts_only_where_it_was_needed() {
        let blueprint = build("- fallback: {on: [5xx], upstream: b}").unwrap();
        let filter = blueprint.instance(&core());
        for (asked, expected) in [(["b"].as_slice(), 0.0), (&["a"], 0.0), (&["a", "b"], 1.0)] {
            let mut exchange = Exchange::new(clock::now());
            for upstream in asked {
                exchange.upstream.clear();
                exchange.upstream.push_str(upstream);
                filter.on_attempt(&mut exchange);
                filter.on_outcome(&mut exchange, &Outcome::Answered(500));
            }
            let (error, ended) = (None, clock::now());
            filter.on_end(&Record { exchange: &exchange, status: 500, error, ended });
            let mut measures = Vec::new();
            blueprint.measures(&mut measures);
            assert_eq!(measures[0].value, expected, "{asked:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        refused("- fallback: {}", "fallback", "nothing to fall back to");
        refused("- fallback: {upstream: a, respond: {}}", "fallback.upstream", "one of the two");
        refused("- fallback: {on: [], upstream: a}", "fallback.on", "empty");
        let refuse = |respond: &str, field: &str, part: &str| {
            let filter = format!("- fallback: {{respond: {{{respond}}}}}");
            refused(&filter, &format!("fallback.respond.{field}"), part);
        };
        refuse("status: 100", "status", "200 to 599");
        refuse("status: 204, body: x", "body", "no body");
        refuse("headers: {\"a b\": x}", "headers.a b", "no name");
        refuse("headers: {Connection: x}", "headers.Connection", "gateway's own");
        refuse("headers: {A: \"x\\ny\"}", "headers.A", "one line");
    }
}
