//! The parts of a route as they are written, and what is needed of them.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{HostHeader, Redirect, Respond, Rewrite, RouteTimeouts, SplitArm};
use crate::findings::Findings;
use crate::template::Template;
use crate::text_or::TextOr;
use crate::units::Period;
use crate::upstream::one;

/// One of the upstreams of a split.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SplitArm")]
pub(crate) struct SplitArmWritten {
    /// The name of the upstream.
    upstream: String,
    /// Its share of the requests that no `header` or `cookie` claims, relative to the others, up to
    /// 1,000,000; 0 gives it only those that it claims.
    #[serde(default = "one")]
    weight: u32,
    /// A request with this header field and value goes here: `{X-Canary: "yes"}`.
    header: Option<IndexMap<String, String>>,
    /// A request with this cookie and value goes here: `{canary: "yes"}`.
    cookie: Option<IndexMap<String, String>>,
}

/// An answer from here.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Respond")]
pub(crate) struct RespondWritten {
    /// The status, 200 to 599.
    #[serde(default = "ok")]
    status: u16,
    /// Header fields of the answer. Its length and date are added.
    #[serde(default)]
    headers: IndexMap<String, String>,
    /// The body.
    #[serde(default)]
    body: String,
}

fn ok() -> u16 {
    200
}

/// Where to send the client, and how.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Redirect")]
pub(crate) struct RedirectFull {
    /// A path or a whole URL: a template. A request whose path would go on with the host of that
    /// URL is answered 500: put a `/` between the two.
    to: Template,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "found")]
    status: u16,
}

fn found() -> u16 {
    302
}

/// Where to send the client: there with status 302, or there with another.
pub(crate) type RedirectWritten = TextOr<RedirectFull, true>;

/// What is changed on the way to the upstream.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rewrite")]
pub(crate) struct RewriteWritten {
    /// The new path: a template, such as `/v2/${rest}`. The query stays.
    path: Option<Template>,
    /// The `Host` that the upstream sees: `keep` what the client sent, `upstream` for the
    /// endpoint's own, or a name.
    #[serde(default = "keep")]
    host: String,
}

fn keep() -> String {
    "keep".to_owned()
}

/// Deadlines of a route. What is left out is as the upstream or the server says.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "RouteTimeouts")]
pub(crate) struct RouteTimeoutsWritten {
    /// Instead of the upstream's `connect`.
    pub(super) connect: Option<Period>,
    /// Instead of the upstream's `first_byte`.
    pub(super) first_byte: Option<Period>,
    /// Instead of the upstream's `idle`.
    pub(super) idle: Option<Period>,
    /// Instead of the server's `read_timeout`.
    read: Option<Period>,
    /// Instead of the server's `write_timeout`.
    write: Option<Period>,
    /// How long a tunnel may stay without a byte either way. When left out, `5m`.
    pub(super) tunnel: Option<Period>,
}

pub(super) fn lower_split(
    arms: Vec<SplitArmWritten>,
    path: &str,
    findings: &mut Findings<'_>,
) -> Vec<SplitArm> {
    let mut lowered = Vec::new();
    for (index, arm) in arms.into_iter().enumerate() {
        let path = format!("{path}.split[{index}]");
        let mut pair = |field: &str, values: Option<IndexMap<String, String>>| {
            let values = values?;
            if values.len() != 1 {
                findings.error(
                    format!("{path}.{field}"),
                    format!("expected one {field} with its value, found {}", values.len()),
                    format!("write `{field}: {{name: value}}`"),
                );
            }
            values.into_iter().next()
        };
        let header = pair("header", arm.header);
        let cookie = pair("cookie", arm.cookie);
        lowered.push(SplitArm {
            upstream: arm.upstream,
            weight: arm.weight,
            header: header.map(|(name, value)| (name.to_ascii_lowercase(), value)),
            cookie,
        });
    }
    lowered
}

impl RespondWritten {
    pub(super) fn lower(self) -> Respond {
        let headers = self.headers.into_iter();
        Respond {
            status: self.status,
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
            body: self.body,
        }
    }
}

pub(super) fn lower_redirect(written: RedirectWritten) -> Redirect {
    match written {
        TextOr::Text(to) => Redirect { to, status: found() },
        TextOr::Other(redirect) => Redirect { to: redirect.to.0, status: redirect.status },
    }
}

impl RewriteWritten {
    pub(super) fn lower(self, path: &str, findings: &mut Findings<'_>) -> Rewrite {
        let host = match self.host.as_str() {
            "keep" => HostHeader::Keep,
            "upstream" => HostHeader::Upstream,
            name => {
                let (host, port) = crate::address::split_port(name);
                let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok());
                if crate::address::host_name(host).is_none() || !port_fits {
                    findings.error(
                        format!("{path}.host"),
                        format!("`{name}` is not a host"),
                        "write `keep`, `upstream`, or a name such as `api.internal`",
                    );
                }
                HostHeader::Name(self.host)
            }
        };
        Rewrite { path: self.path.map(|path| path.0), host }
    }
}

impl RouteTimeoutsWritten {
    pub(super) fn lower(self) -> RouteTimeouts {
        RouteTimeouts {
            connect: self.connect,
            first_byte: self.first_byte,
            idle: self.idle,
            read: self.read,
            write: self.write,
            tunnel: self.tunnel.unwrap_or_else(|| RouteTimeouts::default().tunnel),
        }
    }
}
