//! What the admin API tells, as both of its ends know it: the listener that answers and
//! `ringway top` that asks. Plain data; a field that another version does not send has its default.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize};

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
    /// Exchanges under way.
    pub active: u64,
    /// Bytes of request bodies that were received.
    pub bytes_in: u64,
    /// Bytes of response bodies that were sent.
    pub bytes_out: u64,
    /// Processor time of its thread.
    pub cpu_seconds: f64,
    /// How often it waited for events: the turns of its loop that found nothing left to do. The
    /// runtime counts no others.
    pub waits: u64,
    /// Exchanges ended for each of them: how much one turn does. None before the first.
    pub requests_per_wait: Option<f64>,
    /// What the kernel has completed in its ring: accepts, reads, writes, connects and timers. None
    /// on epoll, which completes nothing.
    pub completions: Option<u64>,
    /// Completions for each wait: how much came of one. None before the first wait.
    pub completions_per_wait: Option<f64>,
    /// How often its heartbeat came late, because something held it up.
    pub stalls: u64,
    /// By how much the latest of them was late, in milliseconds.
    pub longest_stall_ms: f64,
}

/// One upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// How an endpoint is chosen.
    pub balance: String,
    /// Its endpoints, in the order of the file.
    pub endpoints: Vec<EndpointStatus>,
}

/// One endpoint of an upstream, over all workers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointStatus {
    /// Its address and port.
    pub address: String,
    /// The target that it is an address of, as the file has it.
    pub target: String,
    /// What it is doing: `healthy`, `slow_start`, `unhealthy`, `ejected` or `draining`.
    pub state: String,
    /// Whether it gets new requests.
    pub used: bool,
    /// What was wrong with its last check; empty while nothing was.
    pub why: String,
    /// Milliseconds for which it stays ejected.
    pub ejected_for_ms: Option<u64>,
    /// Its weight in the file.
    pub weight: u32,
    /// The weight that was set instead while the gateway ran.
    pub set_weight: Option<u32>,
    /// Attempts begun.
    pub requests: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Attempts under way.
    pub in_flight: u64,
    /// Connections made.
    pub connects: u64,
    /// Attempts that found a connection in the pool.
    pub reuses: u64,
    /// The share of attempts that found a connection in the pool; none before the first.
    pub reuse_rate: Option<f64>,
}

/// What `POST /upstreams/{name}/endpoints/{addr}` changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointChange {
    /// Its share beside the others'.
    #[serde(deserialize_with = "present")]
    pub weight: Option<u32>,
    /// True: no new requests. False: new requests again.
    #[serde(deserialize_with = "present")]
    pub drain: Option<bool>,
}

/// A field that is left out where it says nothing: `null` is a mistake.
fn present<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(from).map(Some)
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

/// The answer to `GET /errors/recent`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecentErrors {
    /// Those that are remembered, the latest first.
    pub errors: Vec<ErrorStatus>,
}

/// An exchange that failed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorStatus {
    /// When it ended, in seconds since 1970.
    pub time: f64,
    /// The worker that served it.
    pub worker: usize,
    /// The method, as far as it was understood.
    pub method: String,
    /// The path without its query.
    pub path: String,
    /// The route, or empty.
    pub route: String,
    /// The upstream, or empty.
    pub upstream: String,
    /// The endpoint of the last attempt.
    pub endpoint: Option<String>,
    /// The client.
    pub client: String,
    /// The status that was sent; 0 for none.
    pub status: u16,
    /// The word for the error, as in logs and metrics.
    pub code: String,
    /// The step that failed.
    pub phase: String,
    /// What happened, in a sentence.
    pub message: String,
    /// The id of the exchange.
    pub request_id: String,
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
    /// Header fields.
    #[serde(default)]
    pub headers: Vec<Field>,
    /// Where the client connects from. Default 127.0.0.1.
    #[serde(default = "localhost")]
    pub client: IpAddr,
}

/// A header field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

fn get() -> String {
    "GET".to_owned()
}

fn localhost() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}
