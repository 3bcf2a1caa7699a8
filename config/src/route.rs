//! `routes:`: which requests a route takes, and what it does with them.

mod parts;
mod written;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use written::RouteWritten;

use crate::condition::Matching;
use crate::units::{Bytes, Limit, Period};
use crate::upstream::Upstream;

/// Which requests are taken, and what is done with them. `F` is the settings of a filter.
#[derive(Clone, PartialEq, Debug)]
pub struct Route<F> {
    /// The name, which is unique: logs, metrics and `ringway explain` use it.
    pub name: String,
    /// Which requests the route takes.
    pub matching: Matching,
    /// What it does with them.
    pub action: Action,
    /// The filters of the route, in the order in which a request passes them.
    pub filters: Vec<F>,
    /// Whether the `prefix` is taken off the path that the upstream sees; at least `/` remains.
    pub strip_prefix: bool,
    /// What else is changed on the way to the upstream.
    pub rewrite: Rewrite,
    /// Deadlines that differ from those of the server and the upstream.
    pub timeouts: RouteTimeouts,
    /// The most bytes of a request body; `None` is what the server allows.
    pub max_body: Option<Limit>,
    /// The least bytes a second of a request body; `None` is what the server asks.
    pub min_body_rate: Option<Bytes>,
    /// The protocols that a connection may be upgraded to. Default `websocket`.
    pub upgrades: Vec<Upgrade>,
}

/// What a route does with a request.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Hand it to an upstream.
    Forward(Forward),
    /// Answer it from here.
    Respond(Respond),
    /// Send the client elsewhere.
    Redirect(Redirect),
}

/// Which upstream a request is handed to.
#[derive(Clone, PartialEq, Debug)]
pub enum Forward {
    /// The one of this name; or a template of it, such as `${service}`.
    Upstream(String),
    /// One of the route's own, which bears the route's name.
    Targets(Upstream),
    /// One of several.
    Split(Vec<SplitArm>),
}

/// One of the upstreams of a split.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SplitArm {
    /// The name of the upstream.
    pub upstream: String,
    /// Its share of the requests that no arm claims by header or cookie, relative to the others.
    pub weight: u32,
    /// A header field (name in lower case) and the value that claims a request for this arm.
    pub header: Option<(String, String)>,
    /// A cookie and the value that claims a request for this arm.
    pub cookie: Option<(String, String)>,
}

/// An answer from Ringway itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Respond {
    /// The status, 200 to 599. Default 200.
    pub status: u16,
    /// Header fields of the answer, by name in lower case.
    pub headers: IndexMap<String, String>,
    /// The body; may be empty.
    pub body: String,
}

impl Default for Respond {
    fn default() -> Respond {
        Respond { status: 200, headers: IndexMap::new(), body: String::new() }
    }
}

/// A redirection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// The `Location` of the answer: a template.
    pub to: String,
    /// The status: 301, 302, 303, 307 or 308. Default 302.
    pub status: u16,
}

/// What is changed on the way to the upstream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rewrite {
    /// A template of the new path; `None` keeps it.
    pub path: Option<String>,
    /// The `Host` that the upstream sees.
    pub host: HostHeader,
}

/// The `Host` that the upstream sees.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum HostHeader {
    /// What the client sent.
    #[default]
    Keep,
    /// The endpoint's own, as it is written in `addr`.
    Upstream,
    /// This one.
    Name(String),
}

/// Deadlines of a route. `None` is what the upstream or the server says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteTimeouts {
    /// Instead of the upstream's `connect`.
    pub connect: Option<Period>,
    /// Instead of the upstream's `first_byte`.
    pub first_byte: Option<Period>,
    /// Instead of the upstream's `idle`.
    pub idle: Option<Period>,
    /// Instead of the server's `read_timeout`.
    pub read: Option<Period>,
    /// Instead of the server's `write_timeout`.
    pub write: Option<Period>,
    /// How long a tunnel may stay without a byte either way. Default 5m.
    pub tunnel: Period,
}

impl Default for RouteTimeouts {
    fn default() -> RouteTimeouts {
        RouteTimeouts {
            connect: None,
            first_byte: None,
            idle: None,
            read: None,
            write: None,
            tunnel: Period::from_secs(300),
        }
    }
}

/// A protocol that a connection may be upgraded to (RFC 9110 §7.8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Upgrade {
    /// RFC 6455.
    Websocket,
}

impl Upgrade {
    /// The token of the `Upgrade` field, in lower case.
    pub const fn token(self) -> &'static str {
        match self {
            Upgrade::Websocket => "websocket",
        }
    }
}
