//! `server:`: where Ringway listens and what it grants a client.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::address::Cidr;
use crate::units::{self, ByteLimit, Bytes, CountLimit, Limit, Period};

/// Where Ringway listens and what it grants a client: deadlines, limits, and how it reads paths.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// The addresses to listen on, each on every worker. At least one, none twice.
    pub listen: Vec<SocketAddr>,
    /// How fresh connections are spread over the workers.
    pub accept: Accept,
    /// The longest that a request head may take, from its first byte to its last. Default 10s.
    pub header_timeout: Period,
    /// The longest pause within a request body. Default 30s.
    pub read_timeout: Period,
    /// The longest that a client may take nothing of its response. Default 30s.
    pub write_timeout: Period,
    /// How long a kept-alive connection may wait for its next request. Default 60s.
    pub idle_timeout: Period,
    /// How long open exchanges may go on after a stop has been asked for. Default 30s.
    pub drain_timeout: Period,
    /// The most client connections at once, over all workers. Default 100,000.
    pub max_connections: u64,
    /// The most connections at once from one client address. Default unlimited.
    pub max_connections_per_client: Limit,
    /// The most requests on one connection before it is closed. Default unlimited.
    pub max_requests_per_connection: Limit,
    /// Bounds of one request.
    pub limits: Limits,
    /// How paths are normalised.
    pub path: PathPolicy,
    /// The proxies whose `X-Forwarded-…` and `Forwarded` fields are believed. Default none.
    pub trusted_proxies: Vec<Cidr>,
    /// The `Server` field of responses; empty leaves it out, which is the default.
    pub server_header: String,
    /// The name in the `Via` field; empty leaves it out. Default `ringway`.
    pub via: String,
    /// Whether a request without `X-Request-ID` is given one. Default true.
    pub request_id: bool,
}

impl Server {
    /// The port that is listened on when neither `listen` nor `port` is written.
    pub const PORT: u16 = 8080;
}

impl Default for Server {
    fn default() -> Server {
        Server {
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Server::PORT)],
            accept: Accept::Balance,
            header_timeout: Period::from_secs(10),
            read_timeout: Period::from_secs(30),
            write_timeout: Period::from_secs(30),
            idle_timeout: Period::from_secs(60),
            drain_timeout: Period::from_secs(30),
            max_connections: 100_000,
            max_connections_per_client: Limit::Unlimited,
            max_requests_per_connection: Limit::Unlimited,
            limits: Limits::default(),
            path: PathPolicy::default(),
            trusted_proxies: Vec::new(),
            server_header: String::new(),
            via: "ringway".to_owned(),
            request_id: true,
        }
    }
}

/// How fresh connections are spread over the workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Accept {
    /// The kernel deals connections out, and a worker that clearly has more than another hands a
    /// fresh one over.
    #[default]
    Balance,
    /// The kernel's dealing stands.
    Kernel,
}

/// Bounds of one request. What goes beyond is answered 414, 431 or 413.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most bytes of a whole request head, from 1KiB to 1MiB.
    pub max_head: Bytes,
    /// The most bytes of one line of it, from 256B up to `max_head`.
    pub max_line: Bytes,
    /// The most header fields of a request, 1 to 100.
    pub max_headers: u32,
    /// The most bytes of a request body, or `unlimited`. A route may set its own.
    #[serde(deserialize_with = "units::byte_limit")]
    #[schemars(with = "ByteLimit")]
    pub max_body: Limit,
    /// The least that a client must send of its body, in bytes a second on average; 0 asks nothing.
    /// A route may set its own.
    pub min_body_rate: Bytes,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_head: Bytes::kib(64),
            max_line: Bytes::kib(16),
            max_headers: 100,
            max_body: Limit::Unlimited,
            min_body_rate: Bytes(0),
        }
    }
}

/// How paths are normalised, once, before they are routed and forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PathPolicy {
    /// Whether `//` becomes `/`.
    pub merge_slashes: bool,
    /// What happens to a request whose path holds `%2F` or `%5C`.
    pub encoded_slash: EncodedSlash,
}

impl Default for PathPolicy {
    fn default() -> PathPolicy {
        PathPolicy { merge_slashes: true, encoded_slash: EncodedSlash::Reject }
    }
}

/// What happens to a request whose path holds an encoded slash or backslash (`%2F`, `%5C`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncodedSlash {
    /// It is answered 400, because upstreams disagree about its meaning.
    #[default]
    Reject,
    /// It stays as it is: a part of its segment, never a separator.
    Keep,
}
