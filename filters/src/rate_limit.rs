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
mod settings;

use std::cell::RefCell;
use std::future::Future;
use std::hash::RandomState;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ringway_engine::clock;
use ringway_engine::exchange::{Answer, Exchange};
use ringway_engine::filter::{Blueprint, Core, Filter, Measure, SettingsError, Step, Verdict};
use ringway_engine::shared::{Rule, Shared, SharedCount, SharedKeys, SharedShards};

use crate::plan;
use algorithm::{Algorithm, SECOND, Taken};
use key::Key;
use lease::{Lease, LeaseTerms};

pub(crate) use settings::Settings;

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        Ok(plan(Limit(Shared::new(self.lower(clock::now())?))))
    }
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
    /// What the core holds for each route, by its place, with its name: after a reload another may
    /// be in its place. The first is for requests without one.
    leases: RefCell<Vec<(String, Lease)>>,
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
            leases.resize_with(at + 1, Default::default);
        }
        let (route, lease) = &mut leases[at];
        if *route != exchange.route_name {
            route.clone_from(&exchange.route_name);
            *lease = Lease::default();
        }
        lease.take(now, span, most, |want| self.take_shared(exchange, now, want))
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
