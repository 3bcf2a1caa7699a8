//! Bounds how many requests a second may pass, over all cores together.
//!
//! # Settings
//!
//! ```yaml
//! - rate_limit: {qps: 1000, burst: 2000}     # of this route, whoever asks
//! ```
//!
//! ```yaml
//! - rate_limit:
//!     qps: 0.5                  # one request in two seconds
//!     burst: 5                  # but five at once after a rest
//!     key: [client_ip, header:X-Api-Key]
//!     dry_run: true             # counts who would be refused, and lets them pass
//! ```
//!
//! ```yaml
//! - rate_limit: {qps: 10, algorithm: sliding_window, window: 1m, key: client_ip}
//! ```
//!
//! ```yaml
//! - rate_limit: {qps: 50, algorithm: leaky_bucket, burst: 100}   # evenly, in a queue of 100
//! ```
//!
//! Requests with the same `key` share a budget:
//!
//! - `route` (the default): one for each route. In the `filters` of a route that is one budget, in
//!   `global_filters` one for each route, and one for requests that no route takes.
//! - `global`: one for all requests that come to this entry.
//! - `client_ip`: one for each client, behind trusted proxies the one that they name; an IPv6
//!   client is its /64, since whoever has one address there has all of them.
//! - `header:NAME`: one for each value. Clients choose what they send, so take a `client_ip` limit
//!   as well where that matters.
//! - `consumer`, `claim:NAME`: one for each name, or value of a claim, that an `auth` filter before
//!   this one has found.
//! - a list of these: one for each combination.
//!
//! Requests that lack the header, the consumer or the claim share one budget among themselves.
//!
//! Algorithms: `token_bucket` lets `burst` requests pass at once and `qps` in the long run, and in
//! no stretch of time more than both together. `leaky_bucket` lets them pass one by one, `1 / qps`
//! apart; up to `burst` wait for their turn. `fixed_window` lets `qps × window` requests pass in
//! each window, which can be twice as many around its end; `sliding_window` takes the part of the
//! window before into account that has not yet passed, supposing that it was evenly filled. With a
//! handful of requests a window it errs on the strict side.
//!
//! `max_keys` bounds the memory, 22 bytes a key. Beyond it those leave first whose budget is whole
//! again, which loses nothing. When there are none, the one that has used least leaves, its budget
//! is whole again, and `rate_limit_evicted_keys_total` counts it: the bound is too low then.
//!
//! # Answers
//!
//! 429 with the message `rate limit exceeded`, with `Retry-After` (RFC 9110 §10.2.3) and with
//! `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10): the requests `q`
//! in a window of `w` seconds, and that `r` are left, with more in `t` seconds.
//!
//! # State
//!
//! Shared: one word for each key, exact over all cores. Per core: where a limit of the file itself
//! (`route`, `global`) is high, credits that the core took of the shared budget for 10 ms at most.

mod algorithm;
mod key;
mod lease;

use std::cell::RefCell;
use std::future::Future;
use std::hash::RandomState;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ringway_config::{Period, TextOr};
use ringway_engine::clock;
use ringway_engine::exchange::{Answer, Exchange};
use ringway_engine::filter::{Blueprint, Core, Filter, Measure, SettingsError, Step, Verdict};
use ringway_engine::shared::{Rule, Shared, SharedCount, SharedKeys, SharedShards};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{plan, wrong};
use algorithm::{Algorithm, SECOND, Taken, WINDOW_LIMIT};
use key::Key;
use lease::Lease;

/// The highest rate, in requests a second: beyond it, the interval is too short to be told.
const MAX_QPS: f64 = 10_000_000.0;

/// The most keys of one limit: about 220 MB.
const MAX_KEYS: u32 = 10_000_000;

/// The longest that a full bucket takes to fill from empty, in seconds: a year.
const MAX_FILL: u64 = 365 * 24 * 3600;

/// The longest that a request waits in a queue, in seconds. What waits holds a connection and its
/// memory.
const MAX_QUEUE: u64 = 3600;

/// The longest that a core holds credits.
const LEASE_SPAN: u64 = SECOND / 100;

/// The share of a burst that may be on lease: so much less is there at once.
const LEASE_SHARE: u64 = 100;

/// Credits that all cores take together in the span of a lease, at least: with fewer, each request
/// takes its own.
const LEASE_CREDITS: u64 = 32;

/// How many requests may pass, and which ones are counted together.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Requests a second in the long run, up to 10,000,000; may have a fraction.
    pub qps: f64,
    /// Requests that may pass at once after a rest, or with `leaky_bucket` wait in the queue: at
    /// least 1. When left out, `qps` rounded down, and at least 1. Not for windows.
    pub burst: Option<u32>,
    /// What requests are told apart by: `route` (the default), `client_ip`, `header:NAME`,
    /// `consumer`, `claim:NAME`, `global`, or a list of these.
    #[serde(default = "route")]
    pub key: TextOr<Vec<String>>,
    /// How they are counted.
    #[serde(default)]
    pub algorithm: Kind,
    /// The length of a window of `fixed_window` and `sliding_window`, from `1s` to `1d`. When left
    /// out, `1s`. A window takes `qps` × `window` requests, from 1 to 4,194,303.
    pub window: Option<Period>,
    /// How many keys there is room for, up to 10,000,000.
    #[serde(default = "max_keys")]
    pub max_keys: u32,
    /// Whether who is over the limit is only counted, and passes.
    #[serde(default)]
    pub dry_run: bool,
}

/// How requests are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `burst` at once and `qps` in the long run.
    #[default]
    TokenBucket,
    /// In each window that ends now, as far as that can be told from two counts.
    SlidingWindow,
    /// In each window, counted anew at its beginning.
    FixedWindow,
    /// One by one, with a queue.
    LeakyBucket,
}

fn route() -> TextOr<Vec<String>> {
    TextOr::Text("route".to_owned())
}

fn max_keys() -> u32 {
    100_000
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        Ok(plan(Limit(Shared::new(self.lower(clock::now())?))))
    }

    fn lower(&self, start: Instant) -> Result<Plan, SettingsError> {
        if !(self.qps > 0.0 && self.qps <= MAX_QPS) {
            let message = format!("{} requests a second cannot be counted", self.qps);
            return Err(wrong("qps", message, "write a number above 0, up to 10000000"));
        }
        if !(1..=MAX_KEYS).contains(&self.max_keys) {
            let message = format!("there cannot be room for {} keys", self.max_keys);
            return Err(wrong("max_keys", message, "write a number from 1 to 10000000"));
        }
        let keys = self.keys()?;
        let algorithm = self.algorithm()?;
        let by_file = keys.iter().all(Key::is_of_the_file);
        let (algorithm, lease) = if by_file { leased(algorithm) } else { (algorithm, None) };
        Ok(Plan {
            policy: policy(&keys),
            quota: self.quota(),
            algorithm,
            lease,
            start,
            seed: RandomState::new(),
            states: SharedKeys::new(self.max_keys as usize),
            shards: SharedShards::default(),
            summary: self.summary(&keys),
            dry_run: self.dry_run,
            keys,
        })
    }

    fn keys(&self) -> Result<Vec<Key>, SettingsError> {
        let texts = match &self.key {
            TextOr::Text(text) => std::slice::from_ref(text),
            TextOr::Other(texts) => texts.as_slice(),
        };
        const HELP: &str = "write `route`, `client_ip`, `header:NAME`, `consumer`, `claim:NAME` or \
                            `global`, or a list of these";
        if texts.is_empty() {
            return Err(wrong("key", "the list of keys is empty", HELP));
        }
        let keys: Result<Vec<_>, _> = texts.iter().map(|text| Key::parse(text)).collect();
        keys.map_err(|message| wrong("key", message, HELP))
    }

    fn algorithm(&self) -> Result<Algorithm, SettingsError> {
        let windows = matches!(self.algorithm, Kind::FixedWindow | Kind::SlidingWindow);
        match (windows, self.window, self.burst) {
            (false, Some(_), _) => {
                let help = "leave it out, or write `algorithm: sliding_window` or `fixed_window`";
                return Err(wrong("window", "a bucket has no window", help));
            }
            (true, _, Some(_)) => {
                let help = "leave it out: a window takes `qps` × `window` requests";
                return Err(wrong("burst", "a window has no burst", help));
            }
            (_, _, Some(0)) => {
                let help = "write at least 1, or leave it out";
                return Err(wrong("burst", "with a burst of 0 nothing would ever pass", help));
            }
            _ => {}
        }
        if windows {
            let limit = self.window_limit()?;
            let window = self.window().as_secs() * SECOND
                + u64::from(self.window().subsec_nanos()) * (SECOND / 1_000_000_000);
            return Ok(match self.algorithm {
                Kind::FixedWindow => Algorithm::FixedWindow { window, limit },
                _ => Algorithm::SlidingWindow { window, limit },
            });
        }
        // Rounded up, so that the rate is never more than was asked for.
        let interval = (SECOND as f64 / self.qps).ceil() as u64;
        let leaky = self.algorithm == Kind::LeakyBucket;
        let most = if leaky { MAX_QUEUE } else { MAX_FILL };
        let depth = interval.checked_mul(u64::from(self.burst()));
        match depth.filter(|depth| *depth <= most * SECOND) {
            Some(queue) if leaky => Ok(Algorithm::LeakyBucket { interval, queue }),
            Some(depth) => Ok(Algorithm::TokenBucket { interval, depth }),
            None if leaky => {
                let message = "the last in the queue would wait for longer than an hour";
                Err(wrong("burst", message, "write a smaller `burst` or a larger `qps`"))
            }
            None => {
                let message = "the burst would be there again after a year or more";
                Err(wrong("burst", message, "write a smaller `burst` or a larger `qps`"))
            }
        }
    }

    fn window_limit(&self) -> Result<u64, SettingsError> {
        if !(1..=24 * 3600).contains(&self.window().as_secs()) {
            let message = format!("a window of {} is none", Period(self.window()));
            return Err(wrong("window", message, "write a time from `1s` to `1d`"));
        }
        let limit = self.qps * self.window().as_secs_f64();
        if !(1.0..=WINDOW_LIMIT as f64).contains(&limit) {
            let message = format!("a window would take {limit} requests");
            let help = "`qps` × `window` is from 1 to 4194303: write another `window`";
            return Err(wrong("window", message, help));
        }
        Ok(limit as u64)
    }

    fn burst(&self) -> u32 {
        self.burst.unwrap_or_else(|| (self.qps as u32).max(1))
    }

    fn window(&self) -> Duration {
        self.window.map_or(Duration::from_secs(1), |window| window.0)
    }

    /// Requests in a window of whole seconds, for clients: of a bucket, that in which it fills.
    fn quota(&self) -> (u64, u64) {
        let seconds = match self.algorithm {
            Kind::FixedWindow | Kind::SlidingWindow => self.window().as_secs_f64(),
            Kind::TokenBucket | Kind::LeakyBucket => f64::from(self.burst()) / self.qps,
        };
        let seconds = seconds.ceil().max((1.0 / self.qps).ceil());
        ((seconds * self.qps) as u64, seconds as u64)
    }

    fn summary(&self, keys: &[Key]) -> String {
        let keys: Vec<_> = keys.iter().map(Key::to_string).collect();
        let how = match self.algorithm {
            Kind::TokenBucket => format!("burst {}", self.burst()),
            Kind::LeakyBucket => format!("evenly, queue {}", self.burst()),
            Kind::FixedWindow => format!("fixed window {}", Period(self.window())),
            Kind::SlidingWindow => format!("sliding window {}", Period(self.window())),
        };
        let dry_run = if self.dry_run { ", dry run" } else { "" };
        format!("{} a second, {how}, by {}{dry_run}", self.qps, keys.join(" and "))
    }
}

/// The name of the limit in the fields of an answer. The kinds of keys say enough, and nothing
/// that has to be quoted.
fn policy(keys: &[Key]) -> String {
    let kinds: Vec<_> = keys.iter().map(Key::kind).collect();
    kinds.join("+")
}

/// How a core leases credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LeaseTerms {
    /// For how long.
    span: u64,
    /// How many at once.
    most: u64,
}

/// Makes room for leases in a bucket that is large and fast enough for them (see [`lease`]).
fn leased(algorithm: Algorithm) -> (Algorithm, Option<LeaseTerms>) {
    if let Algorithm::TokenBucket { interval, depth } = algorithm {
        let span = LEASE_SPAN.min(depth / LEASE_SHARE);
        let credits = span / interval;
        if credits >= LEASE_CREDITS {
            let terms = LeaseTerms { span, most: credits / 8 };
            return (Algorithm::TokenBucket { interval, depth: depth - span }, Some(terms));
        }
    }
    (algorithm, None)
}

/// The settings once they are checked, and what the cores share.
struct Plan {
    keys: Vec<Key>,
    algorithm: Algorithm,
    lease: Option<LeaseTerms>,
    /// When the clock of the states began.
    start: Instant,
    /// Makes the hash of a key one that no client can aim at.
    seed: RandomState,
    states: SharedKeys,
    shards: SharedShards<Counts>,
    /// The limit's name, its requests and their seconds, for clients.
    policy: String,
    quota: (u64, u64),
    dry_run: bool,
    summary: String,
}

/// What one core has counted.
#[derive(Default)]
struct Counts {
    allowed: SharedCount,
    limited: SharedCount,
    dry_run: SharedCount,
    evicted: SharedCount,
}

/// One of the counts.
type Counter = fn(&Counts) -> &SharedCount;

/// The blueprint: the plan, which instances share with it.
struct Limit(Shared<Plan>);

impl Blueprint for Limit {
    fn name(&self) -> &'static str {
        "rate_limit"
    }

    fn summary(&self) -> String {
        self.0.summary.clone()
    }

    fn instance(&self, core: &Rc<dyn Core>) -> Rc<dyn Filter> {
        Rc::new(RateLimit {
            plan: self.0.clone(),
            counts: self.0.shards.of(core.id()),
            leases: RefCell::default(),
            scratch: RefCell::default(),
            clock: Clock { now: clock::now, sleep: |time| Box::pin(clock::sleep(time)) },
        })
    }

    fn needs_identity(&self) -> Option<&'static str> {
        self.0.keys.iter().any(Key::needs_identity).then_some("key")
    }

    fn measures(&self, into: &mut Vec<Measure>) {
        let requests: [(_, Counter); 3] = [
            ("allowed", |counts| &counts.allowed),
            ("limited", |counts| &counts.limited),
            ("dry_run", |counts| &counts.dry_run),
        ];
        into.extend(requests.map(|(outcome, count)| Measure {
            name: "rate_limit_requests_total",
            help: "Requests that a rate limit allowed, refused, or would have refused (dry_run)",
            counter: true,
            labels: vec![("outcome", outcome.to_owned())],
            value: self.0.shards.sum(count) as f64,
        }));
        into.push(Measure {
            name: "rate_limit_evicted_keys_total",
            help: "Keys that were forgotten before their budget was whole, for want of room",
            counter: true,
            labels: Vec::new(),
            value: self.0.shards.sum(|counts| &counts.evicted) as f64,
        });
        into.push(Measure {
            name: "rate_limit_keys",
            help: "Keys that a rate limit holds, idle ones included",
            counter: false,
            labels: Vec::new(),
            value: self.0.states.len() as f64,
        });
    }
}

type Wait = Pin<Box<dyn Future<Output = ()>>>;

/// The clock of the house, or a test's.
struct Clock {
    now: fn() -> Instant,
    sleep: fn(Duration) -> Wait,
}

/// One core's instance.
struct RateLimit {
    plan: Shared<Plan>,
    counts: Shared<Counts>,
    /// What the core holds for each route, by its place; the first is for requests without one.
    leases: RefCell<Vec<Lease>>,
    scratch: RefCell<Vec<u8>>,
    clock: Clock,
}

impl Filter for RateLimit {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let taken = self.take(exchange);
        match taken {
            Taken { credits: 0, .. } if self.plan.dry_run => {
                self.counts.dry_run.add(1);
                Step::NEXT
            }
            Taken { credits: 0, wait } => {
                self.counts.limited.add(1);
                Step::answer(self.plan.refusal(wait))
            }
            Taken { wait, .. } if wait > 0 && !self.plan.dry_run => {
                self.counts.allowed.add(1);
                let wait = (self.clock.sleep)(Duration::from_nanos(wait.div_ceil(16)));
                Step::Later(Box::pin(async move {
                    wait.await;
                    Verdict::Continue
                }))
            }
            Taken { .. } => {
                self.counts.allowed.add(1);
                Step::NEXT
            }
        }
    }
}

impl RateLimit {
    fn take(&self, exchange: &Exchange) -> Taken {
        let now = self.plan.ticks((self.clock.now)());
        let Some(LeaseTerms { span, most }) = self.plan.lease else {
            return self.take_shared(exchange, now, 1);
        };
        let mut leases = self.leases.borrow_mut();
        let at = exchange.route.map_or(0, |at| at + 1);
        if leases.len() <= at {
            leases.resize_with(at + 1, Lease::default);
        }
        leases[at].take(now, span, most, |want| self.take_shared(exchange, now, want))
    }

    /// Takes up to `want` credits of what all cores share.
    fn take_shared(&self, exchange: &Exchange, now: u64, want: u64) -> Taken {
        let Plan { keys, seed, algorithm, states, .. } = &*self.plan;
        let key = key::hash(keys, exchange, &mut self.scratch.borrow_mut(), seed);
        let changed = states.change(key, &Taking { algorithm: *algorithm, now, want });
        if changed.evicted {
            self.counts.evicted.add(1);
        }
        changed.answer
    }
}

impl Plan {
    fn ticks(&self, now: Instant) -> u64 {
        let time = now.saturating_duration_since(self.start);
        time.as_secs() * SECOND + u64::from(time.subsec_nanos()) * (SECOND / 1_000_000_000)
    }

    /// The answer to whoever may come again after `wait`.
    fn refusal(&self, wait: u64) -> Answer {
        let seconds = wait.div_ceil(SECOND).max(1);
        let (policy, (quota, window)) = (&self.policy, self.quota);
        Answer::message(429, "rate limit exceeded")
            .with_header("Retry-After", seconds.to_string())
            .with_header("RateLimit-Policy", format!("\"{policy}\";q={quota};w={window}"))
            .with_header("RateLimit", format!("\"{policy}\";r=0;t={seconds}"))
    }
}

/// One taking of credits, as the table of keys asks for it.
struct Taking {
    algorithm: Algorithm,
    now: u64,
    want: u64,
}

impl Rule for Taking {
    type Answer = Taken;

    fn change(&self, state: u64) -> (Option<u64>, Taken) {
        self.algorithm.take(state, self.now, self.want)
    }

    fn idle_in(&self, state: u64) -> u64 {
        self.algorithm.idle_in(state, self.now)
    }
}

#[cfg(test)]
mod tests;
