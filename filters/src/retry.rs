//! Sends a request again whose attempt failed, to another endpoint where there is one.
//!
//! # Settings
//!
//! ```yaml
//! - retry:
//!     max_retries: 2
//!     retry_on: [502, 503, 504]            # or 5xx, connect_failure, reset, timeout
//!     methods: [GET, HEAD, PUT, DELETE]    # which may be sent twice
//!     backoff: {base: 25ms, max: 250ms}
//!     obey_retry_after: true               # or not sent again at all; by default not looked at
//!     per_try_timeout: 1s                  # what each attempt may take until its answer begins
//!     max_body: 64KiB                      # bodies up to this size can be sent again
//!     budget: {percent: 20, minimum: 10}
//! ```
//!
//! A status in `retry_on` stands for the upstream's own and for the one with which the gateway
//! would answer: `502` covers a connection that was refused or reset, `504` one that was not made
//! or not answered in time.
//!
//! Only `methods` are sent again, by default those that are idempotent (RFC 9110 §9.2.2). A
//! request of which nothing was sent, because no connection could be made, is sent again whatever
//! its method.
//!
//! Before the n-th retry there is a pause of random length, up to `base` × 2ⁿ⁻¹ and at most `max`
//! ("full jitter"), so that the clients of an upstream that stumbles do not come back all at once.
//!
//! An upstream that answers 429 or 503 with `Retry-After` (RFC 9110 §10.2.3, seconds or a date)
//! says how long it wants to be left alone. Mostly that is one endpoint of several, and another
//! answers at once, so a retry does not wait for it. With `obey_retry_after: true` a retry waits at
//! least that long, and is not made where that is longer than `backoff.max`, or than there is time:
//! then the client gets the answer and can wait itself.
//!
//! The budget keeps retries from bringing an upstream down for good: within the last ten seconds
//! there may be `percent` retries to a hundred requests that were sent on, and `minimum` in any
//! case. An attempt that a filter did not let pass (an open `circuit_breaker`) is not repeated.
//!
//! # Answers
//!
//! None of its own: when no retry is left, the client gets what the last attempt came to.
//!
//! # State
//!
//! Shared: the requests and retries of the last ten seconds. Per core: random numbers.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use ringway_config::{Bytes, Period};
use ringway_engine::balance::Rng;
use ringway_engine::clock;
use ringway_engine::exchange::Exchange;
use ringway_engine::filter::{
    Blueprint, Core, Filter, Measure, Next, Outcome, SettingsError, Step, Verdict,
};
use ringway_engine::http1::write::is_token;
use ringway_engine::shared::{Shared, SharedTable, SharedTotal, SharedWindow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cause::{self, Cause, nothing_was_sent};
use crate::{plan, wrong};

/// The most retries of one request: each holds the client up.
const MAX_RETRIES: u32 = 10;

/// What the budget is measured over.
const WINDOW: Duration = Duration::from_secs(10);

/// The longest pause that can be asked for.
const MAX_PAUSE: Period = Period::from_secs(60);

/// The most that can be asked to be kept of a body: each request under way may hold as much.
const MAX_BODY: Bytes = Bytes(64 << 20);

/// When a request is sent again.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How often a request may be sent again, 1 to 10.
    pub max_retries: u32,
    /// What has a request sent again.
    pub retry_on: Vec<Cause>,
    /// Which methods may be sent again after the upstream may have seen the request.
    pub methods: Vec<String>,
    /// The pauses before retries.
    pub backoff: Backoff,
    /// Whether a retry waits for as long as the `Retry-After` of a 429 or 503 says, and is not made
    /// where that is longer than `backoff.max`.
    pub obey_retry_after: bool,
    /// How long each attempt may take until its answer begins, connecting included, 100ms to 1h;
    /// then it counts as a `timeout` (504), and as a `connect_failure` too where no connection was
    /// made. Where the client's body is still on its way, the time runs anew from its end. Noticed
    /// up to two tenths of a second late.
    pub per_try_timeout: Option<Period>,
    /// How much of a body is kept to be sent again, `0` to 64MiB. What came with the head of the
    /// request is kept in any case.
    pub max_body: Bytes,
    /// How many retries there may be beside the requests.
    pub budget: Budget,
}

impl Default for Settings {
    fn default() -> Self {
        let methods = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"];
        Settings {
            max_retries: 2,
            retry_on: vec![Cause::Status(502), Cause::Status(503), Cause::Status(504)],
            methods: methods.map(str::to_owned).into(),
            backoff: Backoff::default(),
            obey_retry_after: false,
            per_try_timeout: None,
            max_body: Bytes::kib(64),
            budget: Budget::default(),
        }
    }
}

/// Pauses of random length, the longest of which doubles from retry to retry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// The longest pause before the first retry; `0s` for none at all.
    pub base: Period,
    /// The longest pause before any retry, up to 1m.
    pub max: Period,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { base: Period::from_millis(25), max: Period::from_millis(250) }
    }
}

/// How many retries there may be within ten seconds, over all cores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Retries to a hundred requests, 0 to 1000.
    pub percent: f64,
    /// Retries that there may be in any case, so that little traffic can be retried at all.
    pub minimum: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { percent: 20.0, minimum: 10 }
    }
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        if !(1..=MAX_RETRIES).contains(&self.max_retries) {
            let message = format!("{} is no number of retries", self.max_retries);
            return Err(wrong("max_retries", message, "write a number from 1 to 10"));
        }
        cause::check("retry_on", &self.retry_on, |cause| cause != Cause::Denied)?;
        for (at, method) in self.methods.iter().enumerate() {
            let field = format!("methods[{at}]");
            if !is_token(method.as_bytes()) || *method != method.to_ascii_uppercase() {
                let help = "write it in upper case, such as `GET`";
                return Err(wrong(field, format!("`{method}` is no method"), help));
            }
            if self.methods[..at].contains(method) {
                return Err(wrong(field, format!("`{method}` is named twice"), "keep one of them"));
            }
        }
        let Backoff { base, max } = self.backoff;
        if max > MAX_PAUSE {
            let message = format!("{max} is too long to hold a client up");
            return Err(wrong("backoff.max", message, "write a time of at most `1m`"));
        }
        if base > max {
            let message = format!("{base} is longer than `max`, which is {max}");
            return Err(wrong("backoff.base", message, "write a shorter one, or a longer `max`"));
        }
        if let Some(time) = self.per_try_timeout
            && !(Period::from_millis(100)..=Period::from_secs(3600)).contains(&time)
        {
            let message = format!("{time} is no time for an attempt");
            return Err(wrong("per_try_timeout", message, "write a time from `100ms` to `1h`"));
        }
        if self.max_body > MAX_BODY {
            let message = format!("{} is too much to keep of each body", self.max_body);
            return Err(wrong("max_body", message, "write a size of at most `64MiB`"));
        }
        let Budget { percent, minimum } = self.budget;
        if !(0.0..=1000.0).contains(&percent) {
            let message = format!("{percent} is no number of retries to a hundred requests");
            return Err(wrong("budget.percent", message, "write a number from 0 to 1000"));
        }
        if percent == 0.0 && minimum == 0 {
            let help = "write a share such as `percent: 20`, or take the filter out";
            return Err(wrong("budget", "it leaves no retry at all", help));
        }
        Ok(plan(Plan { settings: self.clone(), shared: Shared::default() }))
    }
}

/// The settings once they are checked, and what all cores share.
struct Plan {
    settings: Settings,
    shared: Shared<Tally>,
}

/// What all cores count together.
#[derive(Default)]
struct Tally {
    /// Requests, and marked among them the retries; made when the first core knows how many cores
    /// there are.
    window: SharedTable<(), SharedWindow>,
    retries: SharedTotal,
    over_budget: SharedTotal,
    too_soon: SharedTotal,
    exhausted: SharedTotal,
}

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "retry"
    }

    fn warnings(&self) -> Vec<SettingsError> {
        let success = |cause: &Cause| matches!(cause, Cause::Status(200..=299));
        let places = self.settings.retry_on.iter().enumerate().filter(|(_, cause)| success(cause));
        let warn = |(at, _)| {
            let help = "name statuses of failures, such as `502`";
            let message = "an answer of success is thrown away, and the request made again";
            wrong(format!("retry_on[{at}]"), message, help)
        };
        places.map(warn).collect()
    }

    fn summary(&self) -> String {
        let Settings { max_retries, retry_on, methods, backoff, budget, .. } = &self.settings;
        let (causes, methods) = (cause::list(retry_on), methods.join(", "));
        let Budget { percent, minimum } = budget;
        format!(
            "up to {max_retries} after {causes} of {methods}; pauses up to {}, then {}; budget \
             {percent}% and {minimum}",
            backoff.base, backoff.max
        )
    }

    fn instance(&self, core: &Rc<dyn Core>) -> Rc<dyn Filter> {
        let cores = core.count();
        let window = self.shared.window.get((), || SharedWindow::new(WINDOW, cores, clock::now()));
        Rc::new(Retry {
            settings: self.settings.clone(),
            core: core.id(),
            window,
            shared: self.shared.clone(),
            rng: RefCell::new(Rng::new(RandomState::new().hash_one(0))),
        })
    }

    fn measures(&self, into: &mut Vec<Measure>) {
        let Tally { retries, over_budget, too_soon, exhausted, .. } = &*self.shared;
        for (name, help, total) in [
            ("retries_total", "Requests that were sent again", retries),
            ("retries_over_budget_total", "Retries that the budget did not allow", over_budget),
            ("retries_too_soon_total", "Retries that a Retry-After did not allow", too_soon),
            ("retries_exhausted_total", "Requests that failed after their last retry", exhausted),
        ] {
            let value = total.get() as f64;
            into.push(Measure { name, help, counter: true, labels: Vec::new(), value });
        }
    }
}

/// The bit in the note of an exchange that has been counted; the rest of it are its retries.
const ATTEMPTED: u64 = 1 << 32;

/// One core's instance.
struct Retry {
    settings: Settings,
    core: usize,
    window: Shared<SharedWindow>,
    shared: Shared<Tally>,
    rng: RefCell<Rng>,
}

impl Filter for Retry {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        if let Some(time) = self.settings.per_try_timeout {
            let time = exchange.try_timeout.map_or(time.0, |other| other.min(time.0));
            exchange.try_timeout = Some(time);
        }
        let is_asked = |method: &String| method.as_bytes() == exchange.request.method();
        if self.settings.methods.iter().any(is_asked) {
            exchange.request.keep_body(self.settings.max_body.0);
        }
        Step::NEXT
    }

    /// Counts the request with its first attempt: one that another filter refuses is no load.
    fn on_attempt(&self, exchange: &mut Exchange) -> Verdict {
        if exchange.note(self) == 0 {
            self.window.count(self.core, 0, false, exchange.started);
            exchange.set_note(self, ATTEMPTED);
        }
        Verdict::Continue
    }

    fn on_outcome(&self, exchange: &mut Exchange, outcome: &Outcome<'_>) -> Next {
        let settings = &self.settings;
        let is_cause = settings.retry_on.iter().any(|cause| cause.is(outcome));
        if matches!(outcome, Outcome::Denied(_)) || !is_cause {
            return Next::Accept;
        }
        let is_asked = |method: &String| method.as_bytes() == exchange.request.method();
        let may_repeat = settings.methods.iter().any(is_asked) || nothing_was_sent(outcome);
        let done = (exchange.note(self) & !ATTEMPTED) as u32;
        let pause = self.pause(done);
        if !may_repeat || !exchange.may_try_again(pause, clock::now()) {
            return Next::Accept;
        }
        if done >= settings.max_retries {
            self.shared.exhausted.add_one();
            return Next::Accept;
        }
        let asked = match outcome {
            Outcome::Answered(429 | 503) if settings.obey_retry_after => retry_after(exchange),
            _ => None,
        };
        let pause = asked.map_or(pause, |asked| asked.max(pause));
        if pause > settings.backoff.max.0 || !exchange.may_try_again(pause, clock::now()) {
            self.shared.too_soon.add_one();
            return Next::Accept;
        }
        if !self.has_budget() {
            self.shared.over_budget.add_one();
            return Next::Accept;
        }
        self.window.count(self.core, 0, true, clock::now());
        self.shared.retries.add_one();
        exchange.set_note(self, ATTEMPTED | (u64::from(done) + 1));
        Next::RetryAfter(pause)
    }
}

/// How long the answer asks to be left alone (RFC 9110 §10.2.3); nothing of what it says wrongly.
fn retry_after(exchange: &Exchange) -> Option<Duration> {
    let text = std::str::from_utf8(exchange.response.header("Retry-After")?).ok()?;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // What does not fit is longer than anybody waits.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(clock::wall()).unwrap_or_default())
}

impl Retry {
    /// The pause before the next retry, when so many have been made.
    fn pause(&self, done: u32) -> Duration {
        let Backoff { base, max } = self.settings.backoff;
        let longest = base.0.saturating_mul(1 << done.min(MAX_RETRIES)).min(max.0);
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.rng.borrow_mut().below(micros.saturating_add(1)))
    }

    fn has_budget(&self) -> bool {
        let Budget { percent, minimum } = self.settings.budget;
        let (all, retries) = self.window.sum(0, clock::now());
        let requests = all - retries;
        let allowed = (requests as f64 * percent / 100.0).max(f64::from(minimum));
        ((retries + 1) as f64) <= allowed
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use ringway_engine::error::{Error, UpstreamError};

    use super::*;
    use crate::tests::{build, core, refused};

    fn at() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    fn request(method: &str) -> Exchange {
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        Exchange::with_request(head.as_bytes(), clock::now()).unwrap()
    }

    /// How often a request is sent again whose attempts all come to this.
    fn retries(filter: &dyn Filter, method: &str, outcome: &Outcome<'_>) -> usize {
        let mut exchange = request(method);
        assert!(matches!(filter.on_request(&mut exchange), Step::Now(_)));
        filter.on_attempt(&mut exchange);
        let again = |_: &usize| {
            let next = filter.on_outcome(&mut exchange, outcome);
            matches!(next, Next::RetryAfter(_))
        };
        (0..100).take_while(again).count()
    }

    #[test]
    fn it_goes_by_cause_and_method() {
        let filter = build("- retry: {}").unwrap().instance(&core());
        let closed = Error::from(UpstreamError::Closed(at()));
        let refused =
            Error::from(UpstreamError::Refused(at(), std::io::ErrorKind::NotConnected.into()));
        for (method, outcome, times) in [
            ("GET", Outcome::Answered(503), 2),
            ("GET", Outcome::Answered(500), 0),
            ("GET", Outcome::Answered(200), 0),
            ("POST", Outcome::Answered(503), 0),
            ("GET", Outcome::Failed(&closed), 2),
            ("POST", Outcome::Failed(&closed), 0),
            ("POST", Outcome::Failed(&refused), 2),
            ("GET", Outcome::Denied(503), 0),
        ] {
            assert_eq!(retries(&*filter, method, &outcome), times, "{method} {outcome:?}");
        }
    }

    #[test]
    fn an_upstream_is_left_alone_for_as_long_as_it_asks() {
        let build = |more: &str| {
            let settings = format!("- retry: {{backoff: {{base: 0s, max: 30s}}{more}}}");
            build(&settings).unwrap()
        };
        let ask = |filter: &dyn Filter, status: u16, value: &str| {
            let mut exchange = request("GET");
            assert!(matches!(filter.on_request(&mut exchange), Step::Now(_)));
            exchange.response.edits.set("Retry-After", value.as_bytes()).unwrap();
            match filter.on_outcome(&mut exchange, &Outcome::Answered(status)) {
                Next::RetryAfter(pause) => Some(pause.as_secs_f64()),
                next => {
                    assert_eq!(next, Next::Accept);
                    None
                }
            }
        };
        let blueprint = build(", retry_on: [429, 502, 503], obey_retry_after: true");
        let filter = blueprint.instance(&core());
        for (status, value, pause) in [
            (503, "0", Some(0.0)),
            (503, "7", Some(7.0)),
            (429, "30", Some(30.0)),
            (503, "31", None),
            (503, "99999999999999999999999", None),
            (502, "7", Some(0.0)),
            (503, "-7", Some(0.0)),
            (503, "7.5", Some(0.0)),
            (503, "", Some(0.0)),
            (503, "soon", Some(0.0)),
            (503, "Sun, 06 Nov 1994 08:49:37 GMT", Some(0.0)),
            (503, "Fri, 31 Dec 9999 23:59:59 GMT", None),
        ] {
            assert_eq!(ask(&*filter, status, value), pause, "{status} {value}");
        }
        let date = httpdate::fmt_http_date(clock::wall() + Duration::from_secs(20));
        let pause = ask(&*filter, 503, &date).unwrap();
        assert!((17.0..=20.0).contains(&pause), "{pause}");
        let mut measures = Vec::new();
        blueprint.measures(&mut measures);
        let too_soon = measures.iter().find(|one| one.name == "retries_too_soon_total");
        assert_eq!(too_soon.unwrap().value, 3.0);
        let deaf = build("").instance(&core());
        assert_eq!(ask(&*deaf, 503, "31"), Some(0.0));
    }

    #[test]
    fn methods_are_as_they_are_asked_for() {
        let filter = build("- retry: {methods: [POST], max_retries: 1}").unwrap();
        let filter = filter.instance(&core());
        assert_eq!(retries(&*filter, "POST", &Outcome::Answered(503)), 1);
        assert_eq!(retries(&*filter, "GET", &Outcome::Answered(503)), 0);
    }

    #[test]
    fn pauses_grow_and_are_of_any_length() {
        let filter = build("- retry: {backoff: {base: 10ms, max: 25ms}}").unwrap();
        let filter = filter.instance(&core());
        let longest = |retry: usize| {
            let pauses = (0..300).map(|_| {
                let mut exchange = request("GET");
                let mut pause = Duration::MAX;
                for _ in 0..=retry {
                    // Each of them is also a request, so that the budget goes on.
                    (0..10).for_each(|_| drop(filter.on_attempt(&mut request("GET"))));
                    let next = filter.on_outcome(&mut exchange, &Outcome::Answered(503));
                    let Next::RetryAfter(next) = next else { panic!("{next:?}") };
                    pause = next;
                }
                pause
            });
            let pauses: Vec<_> = pauses.collect();
            (*pauses.iter().min().unwrap(), *pauses.iter().max().unwrap())
        };
        let millis = Duration::from_millis;
        let (least, most) = longest(0);
        assert!(least < millis(2) && most > millis(8) && most <= millis(10), "{least:?} {most:?}");
        let (least, most) = longest(1);
        assert!(least < millis(4) && most > millis(17) && most <= millis(20), "{least:?} {most:?}");
    }

    #[test]
    fn all_cores_have_one_budget() {
        let blueprint = build("- retry: {budget: {percent: 20, minimum: 3}}").unwrap();
        let cores = [blueprint.instance(&core()), blueprint.instance(&core())];
        let failed = Outcome::Answered(503);
        let few: usize = (0..4).map(|n| retries(&*cores[n % 2], "GET", &failed)).sum();
        assert_eq!(few, 3, "the minimum, over both");
        // Those that are not sent on, as another filter answers them, add nothing to it.
        (0..96).for_each(|_| drop(cores[0].on_request(&mut request("GET"))));
        assert_eq!(retries(&*cores[0], "GET", &failed), 0);
        (0..96).for_each(|n| drop(cores[n % 2].on_attempt(&mut request("GET"))));
        let more: usize = (0..20).map(|n| retries(&*cores[n % 2], "GET", &failed)).sum();
        let requests = 4 + 96 + 20;
        assert!((20..=requests / 5).contains(&(few + more)), "{few} + {more}");
        let mut measures = Vec::new();
        blueprint.measures(&mut measures);
        assert_eq!(measures[0].value, (few + more) as f64);
        assert!(measures[1].value > 0.0);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let refuse = |settings: &str, field: &str, part: &str| {
            refused(&format!("- retry: {{{settings}}}"), &format!("retry.{field}"), part);
        };
        refuse("max_retries: 0", "max_retries", "1 to 10");
        refuse("max_retries: 11", "max_retries", "1 to 10");
        refuse("retry_on: []", "retry_on", "empty");
        refuse("retry_on: [denied]", "retry_on[0]", "for `fallback` alone");
        refuse("methods: [get]", "methods[0]", "upper case");
        refuse("methods: [GET, GET]", "methods[1]", "twice");
        refuse("per_try_timeout: 0s", "per_try_timeout", "100ms");
        refuse("max_body: 65MiB", "max_body", "64MiB");
        refuse("backoff: {base: 1s}", "backoff.base", "longer than");
        refuse("backoff: {max: 2m}", "backoff.max", "1m");
        refuse("budget: {percent: -1}", "budget.percent", "from 0");
        refuse("budget: {percent: 0, minimum: 0}", "budget", "no retry");
    }

    #[test]
    fn the_summary_is_one_line() {
        let words = build("- retry: {retry_on: [503, reset], methods: [GET]}").unwrap().summary();
        let expected = "up to 2 after 503, reset of GET; pauses up to 25ms, then 250ms; budget \
                        20% and 10";
        assert_eq!(words, expected);
    }
}
