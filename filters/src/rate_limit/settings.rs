//! The settings as they are written, and what they come to once they are checked.

use std::hash::RandomState;
use std::time::{Duration, Instant};

use ringway_config::{Period, TextOr};
use ringway_engine::filter::SettingsError;
use ringway_engine::shared::{SharedKeys, SharedShards};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Plan;
use super::algorithm::{Algorithm, SECOND, WINDOW_LIMIT};
use super::key::Key;
use super::lease::leased;
use crate::wrong;

/// The highest rate, in requests a second: beyond it, the interval is too short to be told.
const MAX_QPS: f64 = 10_000_000.0;

/// The most keys of one limit: about 220 MB.
const MAX_KEYS: u32 = 10_000_000;

/// The longest that a full bucket takes to fill from empty, in seconds: a year.
const MAX_FILL: u64 = 365 * 24 * 3600;

/// The longest that a request waits in a queue, in seconds. What waits holds a connection and its
/// memory.
const MAX_QUEUE: u64 = 3600;

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
    /// The settings that count, checked; the clock of the states begins at `start`.
    pub(super) fn lower(&self, start: Instant) -> Result<Plan, SettingsError> {
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
        if !(1..=WINDOW_LIMIT).contains(&whole(limit)) {
            let message = format!("a window would take {limit} requests");
            let help = "`qps` × `window` is from 1 to 4194303: write another `window`";
            return Err(wrong("window", message, help));
        }
        Ok(whole(limit))
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
        (whole(seconds * self.qps), seconds as u64)
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

/// A product without its fraction. What is missing to a whole number by less than a part in a
/// thousand million is the error of the multiplication: 0.29 × 100 comes to 28.999….
fn whole(product: f64) -> u64 {
    (product * (1.0 + 1e-9)) as u64
}

/// The name of the limit in the fields of an answer. The kinds of keys say enough, and nothing
/// that has to be quoted.
fn policy(keys: &[Key]) -> String {
    let kinds: Vec<_> = keys.iter().map(Key::kind).collect();
    kinds.join("+")
}
