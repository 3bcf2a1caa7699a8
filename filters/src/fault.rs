//! Makes a part of the requests late or fail, to see how clients and the rest of the house bear it.
//!
//! # Settings
//!
//! ```yaml
//! - fault:
//!     delay: {time: 200ms, percent: 10}    # every tenth request waits, at random
//!     abort: {status: 503, percent: 0.5}   # one in two hundred is answered at once
//! ```
//!
//! `percent` is from 0 to 100 and may have a fraction; left out, it is 100. The two are drawn
//! independently, and a request that is chosen for both waits first.
//!
//! # Answers
//!
//! `status` with the message `fault injected`.
//!
//! # State
//!
//! Per core: a source of random numbers.

use std::cell::RefCell;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use ringway_config::Period;
use ringway_engine::balance::Rng;
use ringway_engine::clock;
use ringway_engine::exchange::{Answer, Exchange};
use ringway_engine::filter::{Blueprint, Core, Filter, SettingsError, Step, Verdict};
use ringway_engine::shared::Shared;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{percent, plan, wrong};

/// The longest delay. What waits holds a connection and its memory.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// What goes wrong, and how often. At least one of the two.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Requests that wait before they go on.
    pub delay: Option<Delay>,
    /// Requests that are answered instead of going on.
    pub abort: Option<Abort>,
}

/// Requests that wait.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// How long, up to an hour.
    pub time: Period,
    /// How many of a hundred requests, from 0 to 100.
    #[serde(default = "all")]
    pub percent: f64,
}

/// Requests that are answered.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// The status of the answer, 400 to 599.
    pub status: u16,
    /// How many of a hundred requests, from 0 to 100.
    #[serde(default = "all")]
    pub percent: f64,
}

fn all() -> f64 {
    100.0
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        if self.delay.is_none() && self.abort.is_none() {
            let help = "write `delay: {time: 200ms}` or `abort: {status: 503}`";
            return Err(wrong("", "there is neither a delay nor an abort", help));
        }
        if let Some(delay) = &self.delay {
            percent::check("delay.percent", delay.percent)?;
            if delay.time.is_zero() || delay.time.0 > MAX_DELAY {
                let message = "a delay is longer than nothing and at most an hour";
                return Err(wrong("delay.time", message, "write a time such as `200ms`"));
            }
        }
        if let Some(abort) = &self.abort {
            percent::check("abort.percent", abort.percent)?;
            if !(400..=599).contains(&abort.status) {
                let message = format!("{} is not the status of an error", abort.status);
                return Err(wrong("abort.status", message, "write one from 400 to 599"));
            }
        }
        Ok(plan(Plan(self.clone())))
    }
}

/// The settings once they are checked.
struct Plan(Settings);

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "fault"
    }

    fn summary(&self) -> String {
        let delay = self.0.delay.as_ref();
        let delay = delay.map(|delay| format!("delay {} of {}%", delay.time, delay.percent));
        let abort = self.0.abort.as_ref();
        let abort = abort.map(|abort| format!("answer {} to {}%", abort.status, abort.percent));
        delay.into_iter().chain(abort).collect::<Vec<_>>().join("; ")
    }

    fn instance(&self, _: &Rc<dyn Core>) -> Rc<dyn Filter> {
        // A random seed for each core, or all of them would choose the same requests by number.
        let rng = Rng::new(RandomState::new().hash_one(0));
        let sleep = |time| Box::pin(clock::sleep(time)) as Wait;
        Rc::new(Fault { settings: self.0.clone(), rng: RefCell::new(rng), sleep })
    }
}

type Wait = Pin<Box<dyn Future<Output = ()>>>;

/// One core's instance.
struct Fault {
    settings: Settings,
    rng: RefCell<Rng>,
    /// The clock's, or a test's.
    sleep: fn(Duration) -> Wait,
}

impl Filter for Fault {
    fn on_request<'a>(&'a self, _: &'a mut Exchange) -> Step<'a> {
        let Settings { delay, abort } = &self.settings;
        let delay = delay.as_ref().filter(|delay| self.draws(delay.percent));
        let abort = abort.as_ref().filter(|abort| self.draws(abort.percent));
        let verdict = match abort {
            Some(abort) => {
                Verdict::Answer(Box::new(Answer::message(abort.status, "fault injected")))
            }
            None => Verdict::Continue,
        };
        match delay {
            None => Step::Now(verdict),
            Some(delay) => {
                let wait = (self.sleep)(delay.time.0);
                Step::Later(Box::pin(async move {
                    wait.await;
                    verdict
                }))
            }
        }
    }
}

impl Fault {
    /// True for so many of a hundred calls.
    fn draws(&self, percent: f64) -> bool {
        percent::draws(&mut self.rng.borrow_mut(), percent)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::tests::{build, read, refused};

    thread_local! {
        static SLEPT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// The filter on a clock that moves at once and remembers.
    fn fault(filter: &str) -> Fault {
        build(filter).unwrap();
        let Ok(crate::FilterSettings::Fault(settings)) = read(filter) else { panic!("{filter}") };
        let sleep = |time| Box::pin(async move { SLEPT.set(SLEPT.get() + time) }) as Wait;
        Fault { settings, rng: RefCell::new(Rng::new(1)), sleep }
    }

    /// How long one request waited, and the status it was answered, or 0.
    fn request(fault: &Fault) -> (Duration, u16) {
        SLEPT.set(Duration::ZERO);
        let mut exchange = Exchange::new(clock::now());
        let verdict = match fault.on_request(&mut exchange) {
            Step::Now(verdict) => verdict,
            Step::Later(mut wait) => {
                assert_eq!(SLEPT.get(), Duration::ZERO, "it waits when it is polled");
                let mut context = Context::from_waker(Waker::noop());
                let Poll::Ready(verdict) = wait.as_mut().poll(&mut context) else {
                    panic!("the clock of the test never waits")
                };
                verdict
            }
        };
        match verdict {
            Verdict::Continue => (SLEPT.get(), 0),
            Verdict::Answer(answer) => (SLEPT.get(), answer.status),
        }
    }

    #[test]
    fn a_delay_lets_the_request_go_on_later() {
        let fault = fault("- fault: {delay: {time: 200ms}}");
        assert_eq!(request(&fault), (Duration::from_millis(200), 0));
    }

    #[test]
    fn an_abort_answers() {
        let fault = fault("- fault: {abort: {status: 503}}");
        assert_eq!(request(&fault), (Duration::ZERO, 503));
    }

    #[test]
    fn whoever_is_chosen_for_both_waits_first() {
        let fault = fault("- fault: {delay: {time: 1s}, abort: {status: 500, percent: 100}}");
        assert_eq!(request(&fault), (Duration::from_secs(1), 500));
    }

    #[test]
    fn nobody_is_chosen_at_zero() {
        let fault = fault("- fault: {delay: {time: 1s, percent: 0}}");
        for _ in 0..1_000 {
            assert_eq!(request(&fault), (Duration::ZERO, 0));
        }
    }

    #[test]
    fn shares_are_as_written_and_independent() {
        let fault =
            fault("- fault: {delay: {time: 1s, percent: 20}, abort: {status: 500, percent: 2.5}}");
        let outcomes: Vec<_> = (0..40_000).map(|_| request(&fault)).collect();
        let count = |wanted: &dyn Fn(&(Duration, u16)) -> bool| {
            outcomes.iter().filter(|outcome| wanted(outcome)).count()
        };
        let delayed = count(&|outcome| !outcome.0.is_zero());
        let aborted = count(&|outcome| outcome.1 == 500);
        let both = count(&|outcome| !outcome.0.is_zero() && outcome.1 == 500);
        assert!(delayed.abs_diff(8_000) < 400, "{delayed}");
        assert!(aborted.abs_diff(1_000) < 150, "{aborted}");
        assert!(both.abs_diff(200) < 70, "{both}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        refused("- fault: {}", "fault", "neither");
        refused("- fault: {delay: {time: 0s}}", "fault.delay.time", "longer than nothing");
        refused("- fault: {delay: {time: 2h}}", "fault.delay.time", "at most an hour");
        refused(
            "- fault: {delay: {time: 1s, percent: 101}}",
            "fault.delay.percent",
            "from 0 to 100",
        );
        refused("- fault: {abort: {status: 200}}", "fault.abort.status", "400 to 599");
        refused(
            "- fault: {abort: {status: 500, percent: -1}}",
            "fault.abort.percent",
            "from 0 to 100",
        );
    }

    #[test]
    fn the_summary_is_one_line() {
        let filter = "- fault: {delay: {time: 200ms, percent: 10}, abort: {status: 503}}";
        assert_eq!(build(filter).unwrap().summary(), "delay 200ms of 10%; answer 503 to 100%");
    }
}
