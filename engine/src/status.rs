//! What the admin API tells, as both of its ends know it: the listener that answers and
//! `ringway top` that asks. Plain data; a field that another version does not send has its default.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The answer to `GET /status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The version of Ringway.
    pub version: String,
    /// Whether it serves or ends.
    pub state: State,
    /// The driver in use: `io_uring` or `epoll`.
    pub driver: String,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// What became of the reloads so far.
    pub reloads: ReloadStatus,
    /// The addresses that requests come in by.
    pub listeners: Vec<SocketAddr>,
    /// How many routes there are.
    pub routes: usize,
    /// Every worker, by its number.
    pub workers: Vec<WorkerStatus>,
    /// Every upstream, in the order of the file.
    pub upstreams: Vec<UpstreamStatus>,
}

/// What became of the reloads so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadStatus {
    /// Those that every worker has adopted.
    pub good: u64,
    /// Those that changed nothing, because the file could not be served.
    pub failed: u64,
    /// Why the last one failed, as long as none has gone well since.
    pub failure: Option<String>,
}

/// The answer to `POST /reload`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reloaded {
    /// Routes that are served now.
    pub routes: usize,
    /// Upstreams, those that are a route's own among them.
    pub upstreams: usize,
    /// Addresses that are listened on.
    pub listeners: usize,
    /// Milliseconds for reading the file and building the snapshot.
    pub build_ms: f64,
    /// Milliseconds from the request to the last worker's adoption.
    pub adopted_ms: f64,
}

/// Whether a gateway serves or ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It listens and serves.
    #[default]
    Ready,
    /// It finishes what is open and accepts nothing new.
    Draining,
}

/// One worker, since its start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerStatus {
    /// Its number, from 0.
    pub id: usize,
    /// Connections of clients open now.
    pub connections: u64,
    /// Connections accepted or taken over.
    pub accepted: u64,
    /// Connections handed to another worker right after they were accepted.
    pub handed_over: u64,
    /// Exchanges ended.
    pub requests: u64,
    /// Those of them that ended with an error of any kind.
    pub errors: u64,
    /// Connections made to upstreams.
    pub upstream_connects: u64,
    /// Attempts that found a connection in the pool.
    pub upstream_reuses: u64,
    /// Connections lost to a panic.
    pub panics: u64,
}

/// One upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// How an endpoint is chosen.
    pub balance: String,
    /// Its targets as the file has them, each with its weight.
    pub targets: Vec<TargetStatus>,
}

/// One target of an upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetStatus {
    /// Host and port as the file has them.
    pub address: String,
    /// Its share beside the others'.
    pub weight: u32,
}

/// The answer to `GET /routes`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Routes {
    /// How many routes fit what was asked for, shown or not.
    pub total: usize,
    /// Those shown, in the order of the file.
    pub routes: Vec<RouteStatus>,
}

/// One route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteStatus {
    /// Its name.
    pub name: String,
    /// Hosts; empty takes any.
    pub hosts: Vec<String>,
    /// What the path must be, such as `prefix /api`; empty takes any.
    pub path: String,
    /// Methods; empty takes any.
    pub methods: Vec<String>,
    /// Further conditions, such as `header x-env = canary`.
    pub conditions: Vec<String>,
    /// Ranks above everything else.
    pub priority: i32,
    /// What it does, such as `forward`.
    pub action: String,
    /// Upstreams that it names, or where it redirects to, or the status it answers with.
    pub to: Vec<String>,
    /// Its filters in their order, global ones first.
    pub filters: Vec<String>,
}

/// What `POST /explain` asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The URL of the request, or its path.
    pub url: String,
    /// The method. Default GET.
    #[serde(default = "get")]
    pub method: String,
    /// Header fields: name and value.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Where the client connects from. Default 127.0.0.1.
    #[serde(default = "localhost")]
    pub client: IpAddr,
}

fn get() -> String {
    "GET".to_owned()
}

fn localhost() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}
