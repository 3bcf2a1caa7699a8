//! `upstreams:`: named sets of endpoints, and how a request chooses among them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::findings::Findings;
use crate::health::{Health, HealthCheckWritten, HealthWritten, OutlierDetection};
use crate::units::Period;

/// A set of endpoints that requests are balanced over.
#[derive(Clone, PartialEq, Debug)]
pub struct Upstream {
    /// The endpoints, at least one.
    pub targets: Vec<Target>,
    /// How an endpoint is picked.
    pub balance: Balance,
    /// The idle connections that are kept for later requests.
    pub pool: Pool,
    /// How long an endpoint may take.
    pub timeouts: UpstreamTimeouts,
    /// How often names in `addr` are resolved again. Default 30s.
    pub resolve_every: Period,
    /// How the health of the endpoints is found out, and what follows from it.
    pub health: Box<Health>,
}

impl Upstream {
    /// How often names are resolved again unless the file says otherwise.
    pub const RESOLVE_EVERY: Period = Period::from_secs(30);
}

impl Default for Upstream {
    fn default() -> Upstream {
        Upstream {
            targets: Vec::new(),
            balance: Balance::default(),
            pool: Pool::default(),
            timeouts: UpstreamTimeouts::default(),
            resolve_every: Upstream::RESOLVE_EVERY,
            health: Box::default(),
        }
    }
}

/// One endpoint as it is written; a name that resolves to several addresses is several endpoints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Where it listens.
    pub addr: Address,
    /// Its share of the requests, relative to the others. 0 takes it out; at most 1,000,000.
    pub weight: u32,
}

/// How an endpoint is picked.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Balance {
    /// One after the other, by weight and evenly mixed.
    #[default]
    RoundRobin,
    /// At random, by weight.
    Random,
    /// The one of two random endpoints with fewer requests in flight, by weight.
    LeastRequests,
    /// Always the same endpoint for the same key, as long as it is not overloaded.
    ConsistentHash {
        /// What the key is taken from.
        by: HashKey,
        /// How far above the average load an endpoint may go before its keys move to the next one;
        /// at least 1. Default 1.25.
        bounded_load: f64,
    },
}

/// What the key of `consistent_hash` is taken from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum HashKey {
    /// The client's address.
    #[default]
    ClientIp,
    /// The value of a header field, whose name is in lower case.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
    /// The normalised path, without the query.
    Path,
}

/// The idle connections that are kept for later requests, per core and endpoint.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    /// The most idle connections per core and endpoint, up to 65,536; 0 keeps none.
    pub max_idle: u32,
    /// How long a connection may stay idle before it is closed.
    pub idle_timeout: Period,
    /// How old a connection may grow before it is closed after its current request.
    pub max_age: Period,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool {
            max_idle: 1024,
            idle_timeout: Period::from_secs(30),
            max_age: Period::from_secs(3600),
        }
    }
}

/// How long an endpoint may take. What takes longer is answered 504.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTimeouts {
    /// To accept a connection.
    pub connect: Period,
    /// From the end of the request to the first byte of the response.
    pub first_byte: Period,
    /// Between two bytes, while a body is on its way.
    pub idle: Period,
}

impl Default for UpstreamTimeouts {
    fn default() -> UpstreamTimeouts {
        UpstreamTimeouts {
            connect: Period::from_secs(5),
            first_byte: Period::from_secs(60),
            idle: Period::from_secs(60),
        }
    }
}

/// A set of endpoints that requests are balanced over.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Upstream")]
pub(crate) struct UpstreamWritten {
    /// The endpoints, at least one.
    targets: Vec<TargetWritten>,
    /// How an endpoint is picked.
    #[serde(default)]
    balance: BalanceWritten,
    /// The idle connections that are kept for later requests.
    #[serde(default)]
    pool: Pool,
    /// How long an endpoint may take; then 504.
    #[serde(default)]
    timeouts: UpstreamTimeouts,
    /// How often names in `addr` are resolved again; at least `1s`.
    #[serde(default = "resolve_every")]
    resolve_every: Period,
    /// A check of each endpoint, now and then. When left out, none.
    health_check: Option<HealthCheckWritten>,
    /// Takes endpoints out whose answers are faults. When left out, none.
    outlier_detection: Option<OutlierDetection>,
    /// How long an endpoint that was unhealthy, ejected or drained takes from a tenth of its weight
    /// to all of it; `0` for at once.
    #[serde(default)]
    slow_start: Period,
    /// When fewer per cent of the endpoints than this are healthy, all are used, because so many
    /// faults are more likely one of the checks, and the few that are left would be overrun: 0 to
    /// 100. `0` never uses an unhealthy one; with the default, none of up to ten must be healthy.
    #[serde(default = "panic_threshold")]
    panic_threshold: u32,
}

fn panic_threshold() -> u32 {
    Health::PANIC_THRESHOLD
}

fn resolve_every() -> Period {
    Upstream::RESOLVE_EVERY
}

impl UpstreamWritten {
    /// What is needed of it.
    pub(crate) fn lower(self, path: &str, findings: &mut Findings<'_>) -> Upstream {
        let health = HealthWritten {
            health_check: self.health_check,
            outlier_detection: self.outlier_detection,
            slow_start: Some(self.slow_start),
            panic_threshold: Some(self.panic_threshold),
        };
        Upstream {
            targets: self.targets.into_iter().map(TargetWritten::lower).collect(),
            balance: self.balance.lower(),
            pool: self.pool,
            timeouts: self.timeouts,
            resolve_every: self.resolve_every,
            health: Box::new(health.lower(path, findings)),
        }
    }
}

/// One endpoint.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Target")]
pub(crate) struct TargetWritten {
    /// Where it listens: `http://host:port`, `http://host` (port 80) or `host:port`. A name that
    /// resolves to several addresses is several endpoints.
    addr: Address,
    /// Its share of the requests, relative to the others, up to 1,000,000; 0 takes it out.
    #[serde(default = "one")]
    weight: u32,
}

pub(crate) fn one() -> u32 {
    1
}

impl TargetWritten {
    pub(crate) fn lower(self) -> Target {
        Target { addr: self.addr, weight: self.weight }
    }
}

/// How an endpoint is picked.
#[derive(Deserialize, Serialize, JsonSchema, Default)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Balance")]
pub(crate) enum BalanceWritten {
    /// One after the other, by weight and evenly mixed.
    #[default]
    RoundRobin,
    /// At random, by weight.
    Random,
    /// The one of two random endpoints with fewer requests in flight, by weight.
    LeastRequests,
    /// Always the same endpoint for the same key, as long as it is not overloaded.
    ConsistentHash(ConsistentHash),
}

/// Always the same endpoint for the same key, as long as it is not overloaded.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ConsistentHash {
    /// What the key is taken from.
    by: HashKeyWritten,
    /// How far above the average load an endpoint may go before its keys move to the next one:
    /// 1 to 100.
    bounded_load: f64,
}

impl Default for ConsistentHash {
    fn default() -> ConsistentHash {
        ConsistentHash { by: HashKeyWritten::ClientIp, bounded_load: 1.25 }
    }
}

/// What the key of `consistent_hash` is taken from.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "HashKey")]
pub(crate) enum HashKeyWritten {
    /// The client's address.
    ClientIp,
    /// The value of the header field of this name.
    Header(String),
    /// The value of the cookie of this name.
    Cookie(String),
    /// The normalised path, without the query.
    Path,
}

impl BalanceWritten {
    pub(crate) fn lower(self) -> Balance {
        match self {
            BalanceWritten::RoundRobin => Balance::RoundRobin,
            BalanceWritten::Random => Balance::Random,
            BalanceWritten::LeastRequests => Balance::LeastRequests,
            BalanceWritten::ConsistentHash(hash) => Balance::ConsistentHash {
                by: match hash.by {
                    HashKeyWritten::ClientIp => HashKey::ClientIp,
                    HashKeyWritten::Header(name) => HashKey::Header(name.to_ascii_lowercase()),
                    HashKeyWritten::Cookie(name) => HashKey::Cookie(name),
                    HashKeyWritten::Path => HashKey::Path,
                },
                bounded_load: hash.bounded_load,
            },
        }
    }
}
