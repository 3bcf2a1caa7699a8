//! Bounds how many requests are under way at once, over all cores together.
//!
//! # Settings
//!
//! ```yaml
//! - concurrency_limit: {max: 100}
//! ```
//!
//! ```yaml
//! - concurrency_limit:
//!     adaptive: {min: 4, max: 2000}    # finds out by itself how many the upstream bears
//! ```
//!
//! A request counts from here until its exchange is over, whatever comes of it.
//!
//! An adaptive limit measures how many requests a second are finished and how long they take when
//! they do not wait for each other, and allows about the product of both, which is how many an
//! upstream can work on at once (Little's law). It tries a little more and a little less in turn:
//! more, to notice that the upstream has become faster, and less, to see how long a request takes
//! without a queue. While fewer requests come than are allowed it has nothing to learn, and stays.
//!
//! # Answers
//!
//! 503 with the message `too many requests at once` and `Retry-After: 1`.
//!
//! # State
//!
//! Shared: how many are under way, exact over all cores, the limit and what it is made of. Per
//! core: what was measured in the last hundredth of a second.

mod adaptive;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ringway_engine::clock;
use ringway_engine::exchange::{Answer, Exchange, Hold};
use ringway_engine::filter::{Blueprint, Core, Filter, Measure, SettingsError, Step};
use ringway_engine::shared::{Shared, SharedBudget, SharedCount, SharedLock, SharedShards};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{plan, wrong};
use adaptive::{Adaptive, Finished};

/// How long a core gathers what it measures before it tells.
const GATHER: Duration = Duration::from_millis(10);

/// How many requests at once. Exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// So many, at least 1.
    pub max: Option<u32>,
    /// As many as the upstream bears.
    pub adaptive: Option<Bounds>,
}

/// The bounds of a limit that finds itself.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// Never fewer than these, at least 1.
    pub min: u32,
    /// Never more than these.
    pub max: u32,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { min: 4, max: 10_000 }
    }
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        let fixed = |max: u32| (u64::from(max), None, format!("at most {max} at once"));
        let (limit, adaptive, summary) = match (self.max, &self.adaptive) {
            (Some(0), _) => {
                let help = "write at least 1";
                return Err(wrong("max", "with a limit of 0 nothing would ever pass", help));
            }
            (Some(max), None) => fixed(max),
            (None, Some(bounds)) => {
                if bounds.min == 0 || bounds.min > bounds.max {
                    let help = "write a `min` of at least 1 that is not above `max`";
                    let message = format!("{} to {} is no range", bounds.min, bounds.max);
                    return Err(wrong("adaptive.min", message, help));
                }
                let adaptive = Adaptive::new(bounds.min.into(), bounds.max.into());
                let summary = format!("adaptive, {} to {} at once", bounds.min, bounds.max);
                (adaptive.limit(), Some(SharedLock::new(adaptive)), summary)
            }
            (Some(_), Some(_)) => {
                let help = "leave one of them out; `adaptive` has a `max` of its own";
                return Err(wrong("", "a limit is fixed or adaptive, not both", help));
            }
            (None, None) => {
                let help = "write `max: 100` or `adaptive: {}`";
                return Err(wrong("", "there is no limit", help));
            }
        };
        Ok(plan(Plan(Shared::new(Limit {
            slots: SharedBudget::new(limit),
            adaptive,
            start: clock::now(),
            shards: SharedShards::default(),
            summary,
        }))))
    }
}

/// What the cores share.
struct Limit {
    slots: SharedBudget,
    adaptive: Option<SharedLock<Adaptive>>,
    start: Instant,
    shards: SharedShards<SharedCount>,
    summary: String,
}

/// The blueprint: the limit, which instances share with it.
struct Plan(Shared<Limit>);

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "concurrency_limit"
    }

    fn summary(&self) -> String {
        self.0.summary.clone()
    }

    fn instance(&self, core: &Rc<dyn Core>) -> Rc<dyn Filter> {
        Rc::new(ConcurrencyLimit {
            slots: Rc::new(Slots {
                limit: self.0.clone(),
                gathered: Cell::default(),
                told: Cell::new(0),
                now: clock::now,
            }),
            shed: self.0.shards.of(core.id()),
        })
    }

    fn measures(&self, into: &mut Vec<Measure>) {
        let Limit { slots, shards, .. } = &*self.0;
        let measure = |name, help, counter, value: u64| Measure {
            name,
            help,
            counter,
            labels: Vec::new(),
            value: value as f64,
        };
        let shed = shards.sum(|count| count);
        into.extend([
            measure("concurrency_limit_shed_total", "Requests over the limit", true, shed),
            measure("concurrency_limit_in_flight", "Requests under way", false, slots.taken()),
            measure("concurrency_limit_limit", "Requests allowed at once", false, slots.limit()),
        ]);
    }
}

/// One core's instance.
struct ConcurrencyLimit {
    slots: Rc<Slots>,
    shed: Shared<SharedCount>,
}

/// The core's end of the limit, to which slots come back.
struct Slots {
    limit: Shared<Limit>,
    /// What was measured and not told yet, and when it was told last.
    gathered: Cell<Finished>,
    told: Cell<u64>,
    /// The clock's, or a test's.
    now: fn() -> Instant,
}

impl Filter for ConcurrencyLimit {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let slots = &self.slots.limit.slots;
        let passes = slots.take();
        self.slots.crowded(slots.taken() >= slots.limit());
        if !passes {
            self.shed.add(1);
            let answer = Answer::message(503, "too many requests at once");
            return Step::answer(answer.with_header("Retry-After", "1"));
        }
        exchange.hold(self.slots.clone(), self.slots.nanos());
        Step::NEXT
    }
}

impl Hold for Slots {
    fn release(&self, since: u64) {
        self.limit.slots.give();
        let Some(adaptive) = &self.limit.adaptive else { return };
        let now = self.nanos();
        let mut gathered = self.gathered.get();
        gathered.count += 1;
        gathered.time += now.saturating_sub(since);
        if now.saturating_sub(self.told.get()) < GATHER.as_nanos() as u64 {
            self.gathered.set(gathered);
            return;
        }
        self.told.set(now);
        self.gathered.take();
        let limit = adaptive.lock().finished(now, gathered);
        self.limit.slots.set_limit(limit);
    }
}

impl Slots {
    /// Nanoseconds since the limit was made; only an adaptive one asks for the time.
    fn nanos(&self) -> u64 {
        if self.limit.adaptive.is_none() {
            return 0;
        }
        let time = (self.now)().saturating_duration_since(self.limit.start);
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }

    fn crowded(&self, crowded: bool) {
        if crowded {
            self.gathered.set(Finished { crowded, ..self.gathered.get() });
        }
    }
}

#[cfg(test)]
mod tests {
    use ringway_engine::filter::Verdict;

    use super::*;
    use crate::tests::{build, core, read, refused};

    fn exchange() -> Exchange {
        Exchange::with_request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", clock::now()).unwrap()
    }

    fn passes(filter: &dyn Filter, exchange: &mut Exchange) -> bool {
        match filter.on_request(exchange) {
            Step::Now(Verdict::Continue) => true,
            Step::Now(Verdict::Answer(answer)) => {
                assert_eq!(answer.status, 503);
                assert_eq!(answer.headers, [("Retry-After".to_owned(), "1".to_owned())]);
                false
            }
            Step::Later(_) => panic!("nothing to wait for"),
        }
    }

    fn measure(built: &Shared<dyn Blueprint>, name: &str) -> f64 {
        let mut measures = Vec::new();
        built.measures(&mut measures);
        measures.iter().find(|measure| measure.name == name).unwrap().value
    }

    #[test]
    fn so_many_at_once_over_all_cores() {
        let built = build("- concurrency_limit: {max: 2}").unwrap();
        let cores = [built.instance(&core()), built.instance(&core())];
        let mut exchanges = [exchange(), exchange(), exchange()];
        assert!(passes(&*cores[0], &mut exchanges[0]));
        assert!(passes(&*cores[1], &mut exchanges[1]));
        assert!(!passes(&*cores[0], &mut exchanges[2]));
        assert_eq!(measure(&built, "concurrency_limit_in_flight"), 2.0);
        assert_eq!(measure(&built, "concurrency_limit_shed_total"), 1.0);
        // An exchange that is lost in its midst gives its slot back as well.
        exchanges[0] = exchange();
        assert!(passes(&*cores[1], &mut exchanges[2]));
    }

    #[test]
    fn an_adaptive_limit_counts_too_and_gives_back() {
        let built = build("- concurrency_limit: {adaptive: {min: 2, max: 2}}").unwrap();
        let filter = built.instance(&core());
        for _ in 0..1_000 {
            let mut exchanges = [exchange(), exchange(), exchange()];
            let passing = exchanges.iter_mut().map(|exchange| passes(&*filter, exchange));
            assert_eq!(passing.collect::<Vec<_>>(), [true, true, false]);
        }
        assert_eq!(measure(&built, "concurrency_limit_in_flight"), 0.0);
        assert_eq!(measure(&built, "concurrency_limit_limit"), 2.0);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let wrong = |settings: &str, field, part| {
            refused(&format!("- concurrency_limit: {settings}"), field, part);
        };
        wrong("{}", "concurrency_limit", "no limit");
        wrong("{max: 0}", "concurrency_limit.max", "at least 1");
        wrong("{max: 5, adaptive: {}}", "concurrency_limit", "not both");
        wrong("{adaptive: {min: 0}}", "concurrency_limit.adaptive.min", "at least 1");
        wrong("{adaptive: {min: 9, max: 8}}", "concurrency_limit.adaptive.min", "no range");
        assert!(read("- concurrency_limit: {mx: 5}").unwrap_err().contains("max"));
    }

    #[test]
    fn it_says_what_it_does_in_one_line() {
        let summary = |filter| build(filter).unwrap().summary();
        assert_eq!(summary("- concurrency_limit: {max: 5}"), "at most 5 at once");
        let adaptive = "- concurrency_limit: {adaptive: {}}";
        assert_eq!(summary(adaptive), "adaptive, 4 to 10000 at once");
    }
}
