//! Whether an endpoint is fit to be asked: active checks, ejection of outliers, and the way back.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::findings::Findings;
use crate::text_or::TextOr;
use crate::units::{Period, UnitError, describe_as_text, read_as_text};

/// How the health of an upstream's endpoints is found out, and what follows from it.
#[derive(Clone, PartialEq, Debug)]
pub struct Health {
    /// Checks that Ringway makes by itself.
    pub check: Option<HealthCheck>,
    /// What is learnt from the requests themselves.
    pub outlier_detection: Option<OutlierDetection>,
    /// How long an endpoint that came back takes to its full share; zero for at once.
    pub slow_start: Period,
    /// With fewer per cent of healthy endpoints than this all of them are used, 0 to 100.
    pub panic_threshold: u32,
}

impl Health {
    /// With fewer per cent of healthy endpoints all are used, unless the file says otherwise.
    pub const PANIC_THRESHOLD: u32 = 10;
}

impl Default for Health {
    fn default() -> Health {
        Health {
            check: None,
            outlier_detection: None,
            slow_start: Period::default(),
            panic_threshold: Health::PANIC_THRESHOLD,
        }
    }
}

/// A check of each endpoint, now and then.
#[derive(Clone, PartialEq, Debug)]
pub struct HealthCheck {
    /// What is asked of it.
    pub probe: Probe,
    /// From the beginning of one check to that of the next, give or take a tenth.
    pub interval: Period,
    /// How long one check may take; at most `interval`.
    pub timeout: Period,
    /// So many checks in a row must pass before an unhealthy endpoint is used again.
    pub healthy_after: u32,
    /// So many checks in a row must fail before a healthy endpoint is used no more.
    pub unhealthy_after: u32,
}

/// What a check asks.
#[derive(Clone, PartialEq, Debug)]
pub enum Probe {
    /// That a connection can be made.
    Tcp,
    /// That a GET is answered as expected.
    Http(HttpProbe),
}

/// A GET, and what must come back.
#[derive(Clone, PartialEq)]
pub struct HttpProbe {
    /// Path and query.
    pub path: String,
    /// `Host`; the target's own when it is not set.
    pub host: Option<String>,
    /// Further header fields. Values may be secret, so they are never shown.
    pub headers: Vec<(String, String)>,
    /// The statuses of which one must come.
    pub expect_status: Vec<StatusRange>,
    /// What the body must contain within its first 64 KiB; empty for anything.
    pub expect_body: String,
}

/// Values of headers are left out.
impl fmt::Debug for HttpProbe {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        out.debug_struct("HttpProbe")
            .field("path", &self.path)
            .field("host", &self.host)
            .field("headers", &names)
            .field("expect_status", &self.expect_status)
            .field("expect_body", &self.expect_body)
            .finish()
    }
}

/// What is asked, how often, and what must come back; no header, whose value may be secret.
impl fmt::Display for HealthCheck {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.probe {
            Probe::Tcp => out.write_str("a connection")?,
            Probe::Http(http) => {
                write!(out, "GET {}", http.path)?;
                let statuses = http.expect_status.iter().map(StatusRange::to_string);
                write!(out, " for {}", statuses.collect::<Vec<_>>().join(", "))?;
                if !http.expect_body.is_empty() {
                    write!(out, " with {:?}", http.expect_body)?;
                }
            }
        }
        let HealthCheck { interval, timeout, healthy_after, unhealthy_after, .. } = self;
        write!(out, " within {timeout}, every {interval}; ")?;
        write!(out, "out after {unhealthy_after}, back after {healthy_after}")
    }
}

/// When an endpoint is ejected, and for how long.
impl fmt::Display for OutlierDetection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OutlierDetection { consecutive_failures, ejection_time, .. } = self;
        let OutlierDetection { max_ejection_time, max_ejected, .. } = self;
        write!(out, "after {consecutive_failures} failures in a row for {ejection_time}, ")?;
        write!(out, "at most {max_ejection_time}; at most {max_ejected} % of the endpoints")
    }
}

/// One status, or all from one to another: `200`, `200-299`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl StatusRange {
    /// What counts as healthy unless the file says otherwise.
    pub const DEFAULT: StatusRange = StatusRange { first: 200, last: 399 };

    /// Whether the status lies in the range.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl FromStr for StatusRange {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<StatusRange, UnitError> {
        let wrong = || {
            UnitError::new(
                format!("`{text}` is not a range of statuses"),
                "write a status from 200 to 599, or a range such as `200-299`",
            )
        };
        let status = |text: &str| match text.trim().parse::<u16>() {
            Ok(status) if (200..=599).contains(&status) => Ok(status),
            _ => Err(wrong()),
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (status(first)?, status(last)?);
        if first <= last { Ok(StatusRange { first, last }) } else { Err(wrong()) }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(out, "{}", self.first),
            false => write!(out, "{}-{}", self.first, self.last),
        }
    }
}

impl fmt::Debug for StatusRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

read_as_text!(StatusRange);
describe_as_text!(StatusRange, "status or range", "^([0-9]{3}(-[0-9]{3})?|\\$\\{.*\\})$");

/// Takes an endpoint out for a while whose answers are faults, over all cores together.
///
/// An answer with a status of 500 or more, a connection that cannot be made, and an answer that
/// does not come or breaks off count as failures; any other answer ends the row.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutlierDetection {
    /// So many failures in a row eject an endpoint, 1 to 10,000.
    pub consecutive_failures: u32,
    /// How long the first ejection lasts; each further one twice as long as the last. An endpoint
    /// that then stays in for as long as it was out begins anew. At least `100ms`.
    pub ejection_time: Period,
    /// The longest ejection.
    pub max_ejection_time: Period,
    /// At most so many per cent of the upstream's endpoints are out by ejection at a time, 1 to
    /// 100. With one of few endpoints being more than that, none is ejected.
    pub max_ejected: u32,
}

impl Default for OutlierDetection {
    fn default() -> OutlierDetection {
        OutlierDetection {
            consecutive_failures: 5,
            ejection_time: Period::from_secs(10),
            max_ejection_time: Period::from_secs(300),
            max_ejected: 50,
        }
    }
}

/// A check of each endpoint, now and then, once for the whole process: a GET of `path`, or with
/// `tcp: true` no more than a connection.
///
/// An endpoint is used until its first check has failed, which takes it out by itself; after that,
/// `unhealthy_after` and `healthy_after` decide.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "HealthCheck")]
pub(crate) struct HealthCheckWritten {
    /// Path and query of a GET, such as `/healthz`. Either this or `tcp`.
    path: Option<String>,
    /// Instead of `path`: a connection that can be made is all that is asked.
    #[serde(default)]
    tcp: bool,
    /// From the beginning of one check to that of the next, give or take a tenth, so that checks do
    /// not come in waves; at least `100ms`.
    #[serde(default = "interval")]
    interval: Period,
    /// How long one check may take, from connecting to the last byte that is looked at. At most
    /// `interval`. When left out, `2s`, or `interval` where that is shorter.
    timeout: Option<Period>,
    /// So many checks in a row must pass before an unhealthy endpoint is used again, 1 to 100.
    #[serde(default = "healthy_after")]
    healthy_after: u32,
    /// So many checks in a row must fail before a healthy endpoint is used no more, 1 to 100.
    #[serde(default = "unhealthy_after")]
    unhealthy_after: u32,
    /// The statuses that are healthy: `200`, `"200-299"`, or a list such as `[200, "300-399"]`.
    /// When left out, 200 to 399.
    expect_status: Option<TextOr<Vec<StatusRange>>>,
    /// Text that the body must contain within its first 64 KiB; at most 1024 bytes.
    #[serde(default)]
    expect_body: String,
    /// `Host` of the check. When left out, host and port of the target.
    host: Option<String>,
    /// Further header fields of the check, such as `{X-Probe: ringway}`.
    #[serde(default)]
    headers: IndexMap<String, String>,
}

fn interval() -> Period {
    Period::from_secs(5)
}

fn healthy_after() -> u32 {
    2
}

fn unhealthy_after() -> u32 {
    3
}

/// The time of one check unless the file says otherwise.
const TIMEOUT: Period = Period::from_secs(2);

/// The settings of health as they stand in an upstream, or beside the `targets` of a route.
#[derive(Default)]
pub(crate) struct HealthWritten {
    pub(crate) health_check: Option<HealthCheckWritten>,
    pub(crate) outlier_detection: Option<OutlierDetection>,
    pub(crate) slow_start: Option<Period>,
    pub(crate) panic_threshold: Option<u32>,
}

impl HealthWritten {
    /// What is needed of it. `path` is the field path of the upstream or the route.
    pub(crate) fn lower(self, path: &str, findings: &mut Findings<'_>) -> Health {
        let check = self
            .health_check
            .and_then(|check| check.lower(&format!("{path}.health_check"), findings));
        Health {
            check,
            outlier_detection: self.outlier_detection,
            slow_start: self.slow_start.unwrap_or_default(),
            panic_threshold: self.panic_threshold.unwrap_or(Health::PANIC_THRESHOLD),
        }
    }
}

impl HealthCheckWritten {
    fn lower(self, path: &str, findings: &mut Findings<'_>) -> Option<HealthCheck> {
        let (interval, timeout) = (self.interval, self.timeout);
        let (healthy_after, unhealthy_after) = (self.healthy_after, self.unhealthy_after);
        let probe = match (self.tcp, self.path.is_some()) {
            (true, true) => {
                findings.error(
                    format!("{path}.tcp"),
                    "`path` and `tcp` contradict each other",
                    "keep one: `path` asks for an answer, `tcp` for a connection",
                );
                return None;
            }
            (false, false) => {
                findings.error(
                    path,
                    "the check does not say what to ask",
                    "add a path such as `path: /healthz`, or `tcp: true`",
                );
                return None;
            }
            (true, false) => {
                self.refuse_http(path, findings);
                Probe::Tcp
            }
            (false, true) => Probe::Http(self.http(path, findings)),
        };
        Some(HealthCheck {
            probe,
            interval,
            timeout: timeout.unwrap_or(TIMEOUT.min(interval)),
            healthy_after,
            unhealthy_after,
        })
    }

    /// Names the settings that a check of the connection alone has no use for.
    fn refuse_http(&self, path: &str, findings: &mut Findings<'_>) {
        let written = [
            ("expect_status", self.expect_status.is_some()),
            ("expect_body", !self.expect_body.is_empty()),
            ("host", self.host.is_some()),
            ("headers", !self.headers.is_empty()),
        ];
        for (field, _) in written.into_iter().filter(|(_, written)| *written) {
            findings.error(
                format!("{path}.{field}"),
                format!("`{field}` does nothing beside `tcp`: nothing is sent"),
                format!("remove `{field}`, or write `path` instead of `tcp`"),
            );
        }
    }

    fn http(self, path: &str, findings: &mut Findings<'_>) -> HttpProbe {
        let expect_status = match self.expect_status {
            None => vec![StatusRange::DEFAULT],
            Some(TextOr::Other(ranges)) => ranges,
            Some(TextOr::Text(text)) => match text.parse() {
                Ok(range) => vec![range],
                Err(UnitError { message, help }) => {
                    findings.error(format!("{path}.expect_status"), message, help);
                    vec![StatusRange::DEFAULT]
                }
            },
        };
        HttpProbe {
            path: self.path.unwrap_or_default(),
            host: self.host,
            headers: self.headers.into_iter().collect(),
            expect_status,
            expect_body: self.expect_body,
        }
    }
}
