//! Spares an upstream that fails: after so many failures nothing is sent to it for a while.
//!
//! # Settings
//!
//! ```yaml
//! - circuit_breaker:
//!     threshold: 5              # so many failures in a row open it …
//!     error_ratio: 0.5          # … and so does this share of failures
//!     window: 10s               # within this time
//!     minimum_requests: 20      # of at least so many requests
//!     timeout: 30s              # how long it stays open
//!     half_open_max: 2          # how many requests are then let through to find out
//!     failures: [5xx, timeout]  # what counts as a failure
//! ```
//!
//! Each upstream of a route has a breaker of its own. Closed, it lets everything pass and counts.
//! Open, it lets nothing pass. After `timeout` it is half-open: it lets `half_open_max` requests
//! pass; when all of them go well it closes, and when one fails it opens again. A request that
//! comes to nothing (its client left) makes room for another, and so does one that has not come to
//! anything after another `timeout` or two: its client may be slow to send.
//!
//! What counts is that an answer begins and which status it has, not how its body ends. A request
//! that is refused by one endpoint and taken by another at once has not failed. Every attempt of a
//! `retry` counts by itself. That the time of a `timeout` is over counts where the upstream had
//! three quarters of it, and not where the client was slow to send. An upstream all of whose
//! endpoints are out (`health_check`, `outlier_detection`) was not asked, and that does not count.
//!
//! # Answers
//!
//! 503 with `Retry-After` while it is open; a `fallback` of the same route answers instead.
//!
//! # State
//!
//! Shared: one state for the whole process and each upstream of a route. It is kept over a reload
//! that leaves these settings as they are.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use ringway_config::Period;
use ringway_engine::clock;
use ringway_engine::error::{Error, UpstreamError};
use ringway_engine::exchange::{Answer, Exchange, Hold};
use ringway_engine::filter::{
    Blueprint, Core, Filter, Measure, Next, Outcome, SettingsError, Verdict,
};
use ringway_engine::shared::{
    BreakerLimits, BreakerState, PROBES_MOST, Pass, RatioLimit, Shared, SharedBreaker, SharedTable,
    SharedWindow,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::cause::{self, Cause};
use crate::{plan, wrong};

/// Failures in a row where nothing else is asked for.
const USUAL_THRESHOLD: u32 = 5;

/// The window of `error_ratio` where none is asked for.
const USUAL_WINDOW: Period = Period::from_secs(10);

/// The requests that `error_ratio` needs where no number is asked for.
const USUAL_MINIMUM: u32 = 20;

/// The most that can be asked for: so many can be told apart from more in any window.
const MOST_MINIMUM: u32 = 30_000;

/// When an upstream is spared, and for how long.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How many failures in a row open it, 1 to 1,000,000. Without this and `error_ratio`, 5.
    pub threshold: Option<u32>,
    /// Which share of failures opens it: above 0, and 1 for all.
    pub error_ratio: Option<f64>,
    /// Over which time `error_ratio` counts, 1s to 1h. Without this, 10s.
    pub window: Option<Period>,
    /// How many requests the window must have before `error_ratio` means anything, 1 to 30,000.
    /// Without this, 20.
    pub minimum_requests: Option<u32>,
    /// How long it stays open, 100ms to 1d.
    pub timeout: Period,
    /// How many requests are let through once that is over; as many must go well. 1 to 1000.
    pub half_open_max: u32,
    /// What counts as a failure.
    pub failures: Vec<Cause>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            threshold: None,
            error_ratio: None,
            window: None,
            minimum_requests: None,
            timeout: Period::from_secs(30),
            half_open_max: 1,
            failures: vec![Cause::ServerError],
        }
    }
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        if let Some(threshold) = self.threshold
            && !(1..=1_000_000).contains(&threshold)
        {
            let message = format!("{threshold} is no number of failures in a row");
            return Err(wrong("threshold", message, "write a number from 1 to 1000000"));
        }
        if let Some(share) = self.error_ratio
            && !(share > 0.0 && share <= 1.0)
        {
            let help = "write a share above 0 and up to 1, such as `0.5`";
            return Err(wrong("error_ratio", format!("{share} is no share of failures"), help));
        }
        let alone = [
            ("window", self.window.is_some()),
            ("minimum_requests", self.minimum_requests.is_some()),
        ];
        if let Some((field, _)) = alone.iter().find(|(_, is_set)| *is_set)
            && self.error_ratio.is_none()
        {
            let help = "write `error_ratio: 0.5` as well, or take it out";
            return Err(wrong(*field, "it means nothing without `error_ratio`", help));
        }
        let window = self.window.unwrap_or(USUAL_WINDOW);
        if !(Period::from_secs(1)..=Period::from_secs(3600)).contains(&window) {
            let message = format!("{window} is no window to count over");
            return Err(wrong("window", message, "write a time from `1s` to `1h`"));
        }
        if let Some(minimum) = self.minimum_requests
            && !(1..=MOST_MINIMUM).contains(&minimum)
        {
            let message = format!("{minimum} is no number of requests");
            return Err(wrong("minimum_requests", message, "write a number from 1 to 30000"));
        }
        if !(Period::from_millis(100)..=Period::from_secs(86_400)).contains(&self.timeout) {
            let message = format!("{} is no time to stay open", self.timeout);
            return Err(wrong("timeout", message, "write a time from `100ms` to `1d`"));
        }
        if !(1..=1000).contains(&self.half_open_max) {
            let message = format!("{} is no number of requests to let through", self.half_open_max);
            return Err(wrong("half_open_max", message, "write a number from 1 to 1000"));
        }
        cause::check("failures", &self.failures, |cause| cause != Cause::Denied)?;
        Ok(plan(Plan {
            settings: self.clone(),
            limits: self.limits(),
            breakers: Shared::default(),
        }))
    }

    fn limits(&self) -> BreakerLimits {
        let or_usual = if self.error_ratio.is_none() { USUAL_THRESHOLD } else { 0 };
        BreakerLimits {
            threshold: self.threshold.unwrap_or(or_usual),
            ratio: self.error_ratio.map(|share| RatioLimit {
                share,
                window: self.window.unwrap_or(USUAL_WINDOW).0,
                minimum: self.minimum_requests.unwrap_or(USUAL_MINIMUM).into(),
            }),
            timeout: self.timeout.0,
            probes: self.half_open_max,
        }
    }
}

const _: () = assert!(PROBES_MOST >= 1000 && SharedWindow::SURE as u32 >= MOST_MINIMUM);

/// The breakers of all routes that have this filter, by route and upstream.
type Breakers = SharedTable<(String, String), SharedBreaker>;

/// The settings once they are checked, and what all cores share.
struct Plan {
    settings: Settings,
    limits: BreakerLimits,
    breakers: Shared<Breakers>,
}

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "circuit_breaker"
    }

    fn summary(&self) -> String {
        let BreakerLimits { threshold, ratio, .. } = &self.limits;
        let in_a_row = (*threshold > 0).then(|| format!("{threshold} in a row"));
        let share = ratio.as_ref().map(|RatioLimit { share, minimum, .. }| {
            let window = self.settings.window.unwrap_or(USUAL_WINDOW);
            format!("{}% of at least {minimum} in {window}", share * 100.0)
        });
        let opens: Vec<_> = in_a_row.into_iter().chain(share).collect();
        let Settings { timeout, half_open_max, failures, .. } = &self.settings;
        let failures = cause::list(failures);
        let opens = opens.join(" or ");
        format!("opens for {timeout} after {opens} of {failures}; {half_open_max} half-open")
    }

    fn instance(&self, core: &Rc<dyn Core>) -> Rc<dyn Filter> {
        Rc::new(CircuitBreaker {
            limits: self.limits.clone(),
            failures: self.settings.failures.clone(),
            core: core.id(),
            cores: core.count(),
            shared: self.breakers.clone(),
            known: RefCell::default(),
            probes: Rc::default(),
        })
    }

    fn measures(&self, into: &mut Vec<Measure>) {
        for ((route, upstream), breaker) in self.breakers.list() {
            let state = match breaker.state() {
                BreakerState::Closed => 0.0,
                BreakerState::HalfOpen => 1.0,
                BreakerState::Open => 2.0,
            };
            let mut measure = |name, help, counter, value| {
                let labels = vec![("route", route.clone()), ("upstream", upstream.clone())];
                into.push(Measure { name, help, counter, labels, value });
            };
            let help = "0 closed, 1 half-open, 2 open";
            measure("circuit_breaker_state", help, false, state);
            let help = "How often it has opened";
            measure("circuit_breaker_opened_total", help, true, breaker.opened() as f64);
            let help = "Attempts that it has not let pass";
            measure("circuit_breaker_refused_total", help, true, breaker.refused() as f64);
        }
    }
}

/// One core's instance.
struct CircuitBreaker {
    limits: BreakerLimits,
    failures: Vec<Cause>,
    core: usize,
    cores: usize,
    shared: Shared<Breakers>,
    /// The breakers that this core has met, by route and upstream.
    known: RefCell<HashMap<String, HashMap<String, Shared<SharedBreaker>>>>,
    probes: Rc<Probes>,
}

/// The probes that exchanges of this core have under way. One that is lost, to a panic or because
/// its client left, gives its place back with the exchange.
#[derive(Default)]
struct Probes {
    out: RefCell<HashMap<u64, (Shared<SharedBreaker>, Pass)>>,
    next: Cell<u64>,
}

impl Probes {
    fn begin(&self, breaker: Shared<SharedBreaker>, pass: Pass) -> u64 {
        let token = self.next.replace(self.next.get() + 1);
        self.out.borrow_mut().insert(token, (breaker, pass));
        token
    }

    fn end(&self, token: u64) -> Option<(Shared<SharedBreaker>, Pass)> {
        self.out.borrow_mut().remove(&token)
    }
}

impl Hold for Probes {
    fn release(&self, token: u64) {
        if let Some((breaker, pass)) = self.end(token) {
            breaker.abandoned(pass);
        }
    }
}

/// What an exchange has been given for its attempt, as the note that it carries.
enum Given {
    Nothing,
    Pass(Pass),
    Probe(u64),
}

impl Given {
    fn of_note(note: u64) -> Given {
        match (note, note & 1) {
            (0, _) => Given::Nothing,
            (_, 1) => Given::Probe(note >> 1),
            _ => Given::Pass(Pass::from_number((note >> 1) as u32 - 1)),
        }
    }

    fn to_note(&self) -> u64 {
        match self {
            Given::Nothing => 0,
            Given::Pass(pass) => (u64::from(pass.to_number()) + 1) << 1,
            Given::Probe(token) => token << 1 | 1,
        }
    }
}

impl Filter for CircuitBreaker {
    fn on_attempt(&self, exchange: &mut Exchange) -> Verdict {
        // An endpoint that refused was passed over: it is still the same attempt.
        if exchange.note(self) != 0 {
            return Verdict::Continue;
        }
        let admitted = self.with_breaker(exchange, |breaker| {
            breaker.admit(clock::now).map(|pass| match pass.probe {
                true => Given::Probe(self.probes.begin(breaker.clone(), pass)),
                false => Given::Pass(pass),
            })
        });
        match admitted {
            Ok(given) => {
                if let Given::Probe(token) = given {
                    exchange.hold(self.probes.clone(), token);
                }
                exchange.set_note(self, given.to_note());
                Verdict::Continue
            }
            Err(left) => {
                let seconds = left.as_millis().div_ceil(1000).max(1).to_string();
                let answer = Answer::message(503, "the upstream is failing and is not asked");
                Verdict::Answer(Box::new(answer.with_header("Retry-After", seconds)))
            }
        }
    }

    fn on_outcome(&self, exchange: &mut Exchange, outcome: &Outcome<'_>) -> Next {
        let given = Given::of_note(exchange.note(self));
        exchange.set_note(self, 0);
        match given {
            Given::Nothing => {}
            Given::Pass(pass) => {
                self.with_breaker(exchange, |breaker| self.settle(breaker, pass, outcome));
            }
            Given::Probe(token) => {
                if let Some((breaker, pass)) = self.probes.end(token) {
                    self.settle(&breaker, pass, outcome);
                }
            }
        }
        Next::Accept
    }
}

impl CircuitBreaker {
    fn settle(&self, breaker: &SharedBreaker, pass: Pass, outcome: &Outcome<'_>) {
        let is_failure = || self.failures.iter().any(|cause| cause.is(outcome));
        match outcome {
            // Another filter did not let it pass: the upstream was not asked.
            Outcome::Denied(_) => breaker.abandoned(pass),
            // The client's fault or the gateway's: also where others had most of the time.
            Outcome::Failed(Error::Client(_) | Error::Gateway(_)) => breaker.abandoned(pass),
            // Nobody was asked, and there may be somebody to ask long before `timeout` is over.
            Outcome::Failed(Error::Upstream(UpstreamError::NoEndpoint)) => breaker.abandoned(pass),
            _ if is_failure() => breaker.failed(pass, self.core, clock::now()),
            Outcome::Answered(_) => breaker.succeeded(pass, self.core, clock::now),
            // One that is not to count.
            Outcome::Failed(Error::Upstream(_)) => breaker.abandoned(pass),
        }
    }

    /// Calls `with` with the breaker of the route and the upstream of this attempt.
    fn with_breaker<T>(
        &self,
        exchange: &Exchange,
        with: impl FnOnce(&Shared<SharedBreaker>) -> T,
    ) -> T {
        let (route, upstream) = (&exchange.route_name, &exchange.upstream);
        let known = self.known.borrow();
        if let Some(breaker) = known.get(route).and_then(|of_route| of_route.get(upstream)) {
            return with(breaker);
        }
        drop(known);
        let make = || SharedBreaker::new(self.limits.clone(), self.cores, clock::now());
        let breaker = self.shared.get((route.clone(), upstream.clone()), make);
        let mut known = self.known.borrow_mut();
        let of_route = known.entry(route.clone()).or_default();
        with(of_route.entry(upstream.clone()).or_insert(breaker))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use ringway_engine::error::{ClientError, GatewayError};

    use super::*;
    use crate::tests::{build, core, refused};

    /// One attempt that comes to this status, or to nothing when there is none; what the client of
    /// a refused one is told.
    fn attempt(
        filter: &dyn Filter,
        exchange: &mut Exchange,
        status: Option<u16>,
    ) -> Option<Answer> {
        if let Verdict::Answer(answer) = filter.on_attempt(exchange) {
            let outcome = Outcome::Denied(answer.status);
            assert_eq!(filter.on_outcome(exchange, &outcome), Next::Accept);
            return Some(*answer);
        }
        let refused = Error::from(UpstreamError::Closed(SocketAddr::from(([127, 0, 0, 1], 1))));
        let outcome = status.map_or(Outcome::Failed(&refused), Outcome::Answered);
        assert_eq!(filter.on_outcome(exchange, &outcome), Next::Accept);
        None
    }

    fn exchange(upstream: &str) -> Exchange {
        let mut exchange = Exchange::new(clock::now());
        exchange.upstream.push_str(upstream);
        exchange
    }

    #[test]
    fn failures_in_a_row_open_it_for_one_upstream() {
        let blueprint = build("- circuit_breaker: {threshold: 3, timeout: 30s}").unwrap();
        let filter = blueprint.instance(&core());
        for status in [Some(500), None, Some(200), None, Some(503), Some(599)] {
            assert_eq!(attempt(&*filter, &mut exchange("a"), status), None);
        }
        let answer = attempt(&*filter, &mut exchange("a"), Some(200)).unwrap();
        assert_eq!(answer.status, 503);
        assert_eq!(answer.headers, [("Retry-After".to_owned(), "30".to_owned())]);
        assert_eq!(attempt(&*filter, &mut exchange("b"), Some(200)), None);
        let mut measures = Vec::new();
        blueprint.measures(&mut measures);
        let values: Vec<_> = measures.iter().map(|measure| measure.value).collect();
        assert_eq!(values, [2.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn all_cores_have_one_state() {
        let blueprint = build("- circuit_breaker: {threshold: 4}").unwrap();
        let cores = [blueprint.instance(&core()), blueprint.instance(&core())];
        for turn in 0..4 {
            assert_eq!(attempt(&*cores[turn % 2], &mut exchange("a"), None), None);
        }
        assert!(attempt(&*cores[0], &mut exchange("a"), None).is_some());
        assert!(attempt(&*cores[1], &mut exchange("a"), None).is_some());
    }

    #[test]
    fn what_says_nothing_about_the_upstream_does_not_count() {
        let filter = build("- circuit_breaker: {threshold: 1}").unwrap().instance(&core());
        let mut exchange = exchange("a");
        assert!(matches!(filter.on_attempt(&mut exchange), Verdict::Continue));
        for error in [
            Error::from(ClientError::BodyTimeout),
            GatewayError::Timeout.into(),
            UpstreamError::NoEndpoint.into(),
        ] {
            filter.on_outcome(&mut exchange, &Outcome::Failed(&error));
            assert!(matches!(filter.on_attempt(&mut exchange), Verdict::Continue));
        }
        assert!(matches!(filter.on_attempt(&mut exchange), Verdict::Continue));
        filter.on_outcome(&mut exchange, &Outcome::Denied(503));
        assert_eq!(attempt(&*filter, &mut exchange, Some(404)), None);
        assert_eq!(attempt(&*filter, &mut exchange, Some(200)), None);
    }

    #[test]
    fn one_chooses_what_counts() {
        let filter = build("- circuit_breaker: {threshold: 1, failures: [429]}").unwrap();
        let filter = filter.instance(&core());
        assert_eq!(attempt(&*filter, &mut exchange("a"), Some(500)), None);
        assert_eq!(attempt(&*filter, &mut exchange("a"), None), None);
        assert_eq!(attempt(&*filter, &mut exchange("a"), Some(429)), None);
        assert!(attempt(&*filter, &mut exchange("a"), Some(200)).is_some());
    }

    #[test]
    fn a_lost_probe_gives_its_place_back() {
        let filter = build("- circuit_breaker: {threshold: 1}").unwrap();
        let filter = filter.instance(&core());
        let probes = Rc::<Probes>::default();
        let limits = BreakerLimits {
            threshold: 1,
            ratio: None,
            timeout: std::time::Duration::ZERO,
            probes: 1,
        };
        let breaker = Shared::new(SharedBreaker::new(limits, 1, clock::now()));
        breaker.failed(breaker.admit(clock::now).unwrap(), 0, clock::now());
        let pass = breaker.admit(clock::now).unwrap();
        assert!(breaker.admit(clock::now).is_err());
        let mut exchange = exchange("a");
        exchange.hold(probes.clone(), probes.begin(breaker.clone(), pass));
        drop(exchange);
        assert!(breaker.admit(clock::now).unwrap().probe);
        drop(filter);
    }

    #[test]
    fn a_note_is_what_was_given() {
        for note in [0, 2, 3, 9 << 1, 9 << 1 | 1] {
            assert_eq!(Given::of_note(note).to_note(), note);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let refuse = |settings: &str, field: &str, part: &str| {
            let field = format!("circuit_breaker.{field}");
            refused(&format!("- circuit_breaker: {{{settings}}}"), &field, part);
        };
        refuse("threshold: 0", "threshold", "from 1");
        refuse("error_ratio: 50", "error_ratio", "up to 1");
        refuse("window: 10s", "window", "error_ratio");
        refuse("minimum_requests: 3", "minimum_requests", "error_ratio");
        refuse("error_ratio: 0.5, window: 10ms", "window", "1s");
        refuse("error_ratio: 0.5, minimum_requests: 0", "minimum_requests", "from 1");
        refuse("error_ratio: 0.5, minimum_requests: 30001", "minimum_requests", "to 30000");
        refuse("timeout: 0s", "timeout", "100ms");
        refuse("half_open_max: 0", "half_open_max", "from 1");
        refuse("failures: []", "failures", "empty");
        refuse("failures: [denied]", "failures[0]", "for `fallback` alone");
        refuse("failures: [500, 500]", "failures[1]", "twice");
    }

    #[test]
    fn the_summary_is_one_line() {
        let summary = |filter: &str| build(filter).unwrap().summary();
        let words = summary("- circuit_breaker: {threshold: 5, timeout: 30s}");
        assert_eq!(words, "opens for 30s after 5 in a row of 5xx; 1 half-open");
        let words = summary("- circuit_breaker: {error_ratio: 0.25, failures: [503, timeout]}");
        let expected = "opens for 30s after 25% of at least 20 in 10s of 503, timeout; 1 half-open";
        assert_eq!(words, expected);
    }
}
