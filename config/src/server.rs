//! `server:`: where Ringway listens and what it grants a client.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Cidr;
use crate::findings::Findings;
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
    /// How long open exchanges may go on after a stop has been asked for, or after a reload that
    /// takes their route away. Default 30s.
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
    /// The `Server` field of every response, instead of the upstream's; empty, which is the
    /// default, leaves the upstream's and adds none.
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Accept {
    /// The kernel deals connections out, and a worker that clearly has more than another hands a
    /// fresh one over.
    #[default]
    Balance,
    /// The kernel's dealing stands.
    Kernel,
}

/// Bounds of one request. What goes beyond is answered 414, 431 or 413. The head of an upstream's
/// answer is bound by the defaults of `max_head`, `max_line` and `max_headers`, or by what is set
/// where that is more; one that goes beyond is answered 502.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncodedSlash {
    /// It is answered 400, because upstreams disagree about its meaning.
    #[default]
    Reject,
    /// It stays as it is: a part of its segment, never a separator.
    Keep,
}

/// Where Ringway listens and what it grants a client, as it is written.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Server")]
pub(crate) struct ServerWritten {
    /// The addresses to listen on, such as `["0.0.0.0:8080", "[::]:8080"]`. Instead of `port`.
    listen: Option<Vec<String>>,
    /// The port to listen on, on every IPv4 address; 0 is any free one. Without `listen` and
    /// `port`, 8080.
    port: Option<u16>,
    /// How fresh connections are spread over the workers: `balance`, where a worker that clearly
    /// has more connections than another hands a fresh one over, or `kernel`, where it does not.
    accept: Accept,
    /// The longest that a request head may take, from its first byte to its last; then 408.
    header_timeout: Period,
    /// The longest pause within a request body; then 408.
    read_timeout: Period,
    /// The longest that a client may take nothing of its response; then the connection ends.
    write_timeout: Period,
    /// How long a kept-alive connection may wait for its next request.
    idle_timeout: Period,
    /// How long open exchanges may go on after a stop has been asked for, or after the file was
    /// read again and does not have their route any more; `0s` ends them at once.
    drain_timeout: Period,
    /// The most client connections at once, over all workers: 1 to 10,000,000.
    max_connections: u64,
    /// The most connections at once from one client address, or `unlimited`.
    #[serde(deserialize_with = "units::count_limit")]
    #[schemars(with = "CountLimit")]
    max_connections_per_client: Limit,
    /// The most requests on one connection before it is closed, or `unlimited`.
    #[serde(deserialize_with = "units::count_limit")]
    #[schemars(with = "CountLimit")]
    max_requests_per_connection: Limit,
    /// Bounds of one request.
    limits: Limits,
    /// How paths are normalised, once, before they are routed and forwarded.
    path: PathPolicy,
    /// The proxies whose `X-Forwarded-For`, `-Proto`, `-Host`, `X-Real-IP` and `Forwarded` are
    /// believed: ranges of addresses such as `10.0.0.0/8`. From everybody else they are replaced.
    trusted_proxies: Vec<Cidr>,
    /// The `Server` field of every response, instead of the upstream's; empty leaves the upstream's
    /// as it is and adds none.
    server_header: String,
    /// The name of this gateway in the `Via` field; empty leaves it out.
    via: String,
    /// Whether a request without `X-Request-ID` is given one.
    request_id: bool,
}

impl Default for ServerWritten {
    fn default() -> ServerWritten {
        let server = Server::default();
        ServerWritten {
            listen: None,
            port: None,
            accept: server.accept,
            header_timeout: server.header_timeout,
            read_timeout: server.read_timeout,
            write_timeout: server.write_timeout,
            idle_timeout: server.idle_timeout,
            drain_timeout: server.drain_timeout,
            max_connections: server.max_connections,
            max_connections_per_client: server.max_connections_per_client,
            max_requests_per_connection: server.max_requests_per_connection,
            limits: server.limits,
            path: server.path,
            trusted_proxies: server.trusted_proxies,
            server_header: server.server_header,
            via: server.via,
            request_id: server.request_id,
        }
    }
}

impl ServerWritten {
    /// What is needed of it.
    pub(crate) fn lower(self, findings: &mut Findings<'_>) -> Server {
        let listen = match (&self.listen, self.port) {
            (Some(_), Some(_)) => {
                findings.error(
                    "server.port",
                    "`port` and `listen` contradict each other",
                    "keep one: `listen` names addresses with their ports",
                );
                Vec::new()
            }
            (Some(listen), None) => listeners(listen, findings),
            (None, port) => {
                let port = port.unwrap_or(Server::PORT);
                vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)]
            }
        };
        Server {
            listen,
            accept: self.accept,
            header_timeout: self.header_timeout,
            read_timeout: self.read_timeout,
            write_timeout: self.write_timeout,
            idle_timeout: self.idle_timeout,
            drain_timeout: self.drain_timeout,
            max_connections: self.max_connections,
            max_connections_per_client: self.max_connections_per_client,
            max_requests_per_connection: self.max_requests_per_connection,
            limits: self.limits,
            path: self.path,
            trusted_proxies: self.trusted_proxies,
            server_header: self.server_header,
            via: self.via,
            request_id: self.request_id,
        }
    }
}

/// The addresses to listen on; each must be an IP address with a port, and none may come twice.
fn listeners(written: &[String], findings: &mut Findings<'_>) -> Vec<SocketAddr> {
    if written.is_empty() {
        findings.error("server.listen", "no address to listen on", "write `[\"0.0.0.0:8080\"]`");
    }
    let mut listen = Vec::new();
    for (index, text) in written.iter().enumerate() {
        let path = format!("server.listen[{index}]");
        let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let port = port.unwrap_or(8080);
        match text.parse::<SocketAddr>() {
            // Port 0 is any free one, another each time.
            Ok(addr) if addr.port() != 0 && listen.contains(&addr) => {
                findings.error(path, format!("`{text}` is listed twice"), "keep one");
            }
            Ok(addr) => listen.push(addr),
            Err(_) => findings.error(
                path,
                format!("`{text}` is not an address to listen on"),
                format!(
                    "write an IP address and a port, such as `0.0.0.0:{port}`, `127.0.0.1:{port}` \
                     or `[::]:{port}`"
                ),
            ),
        }
    }
    listen
}
