//! What would become of a request, and why: by the very code that serves, without a socket.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ringway_config::{Balance, HashKey, Period};
use serde::Serialize;

use crate::choose::{choose_upstream, claiming_arm};
use crate::clock;
use crate::error::{ClientError, Error};
use crate::exchange::{Exchange, Request};
use crate::filter::Blueprint;
use crate::forward::find_client;
use crate::http1::{self, Scanner};
use crate::route;
use crate::shared::Shared;
use crate::snapshot::{Action, Destination, HostRule, Route, Snapshot};
use crate::target::{find_route, render_location, retarget};
use crate::upstream::Plan;

/// Up to so many routes that were passed over are all shown to a person.
const FEW: usize = 12;

/// A request to be explained.
#[derive(Debug, Clone)]
pub struct Query {
    /// The method.
    pub method: String,
    /// The host, with its port if one is written; may be empty.
    pub host: String,
    /// Path and query, as a client would write them.
    pub target: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Where the client connects from.
    pub client: IpAddr,
}

/// What would become of it.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The listeners that would take it: all, or those at the port of the URL.
    pub listeners: Vec<SocketAddr>,
    /// The route that takes it.
    pub route: Option<String>,
    /// Routes that rank higher, and why they don't take it.
    pub passed_over: Vec<PassedOver>,
    /// The path as the routes see it.
    pub path: String,
    /// Parameters and captures of the route.
    pub parameters: BTreeMap<String, String>,
    /// The client as the gateway sees it: behind trusted proxies, not the peer.
    pub client: IpAddr,
    /// The filters in the order in which they meet the request.
    pub filters: Vec<FilterOf>,
    /// What the route does.
    pub action: Outcome,
}

/// A route that ranks higher and does not take the request.
#[derive(Debug, Clone, Serialize)]
pub struct PassedOver {
    /// Its name.
    pub route: String,
    /// What of it does not fit.
    pub why: String,
    /// True when host and path fit.
    pub near: bool,
}

/// A filter of the chain.
#[derive(Debug, Clone, Serialize)]
pub struct FilterOf {
    /// Its name.
    pub name: &'static str,
    /// Its settings, secrets masked.
    pub settings: String,
}

/// What the gateway does with the request.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Sends it to an upstream.
    Forward(Box<Forwarded>),
    /// A filter answers it. No filter is run to find that out.
    Answered {
        /// Which.
        by: &'static str,
        /// What makes it do so.
        why: String,
    },
    /// Answers by itself.
    Respond {
        /// The status.
        status: u16,
    },
    /// Sends the client elsewhere.
    Redirect {
        /// The status.
        status: u16,
        /// Where to.
        location: String,
    },
    /// Refuses it.
    Refuse {
        /// The status.
        status: u16,
        /// Why.
        why: String,
    },
}

/// A request as it is sent on.
#[derive(Debug, Clone, Serialize)]
pub struct Forwarded {
    /// The upstream. Of a split by weight, one of those that there are.
    pub upstream: String,
    /// How the upstreams of a split share requests like this one: each with its weight. Empty where
    /// there is no split, or where the request's header or cookie decides.
    pub by_weight: Vec<(String, u32)>,
    /// Path and query as the upstream sees them.
    pub target: String,
    /// `Host` as the upstream sees it.
    pub host: String,
    /// How an endpoint is chosen.
    pub balance: String,
    /// The targets and their weights.
    pub targets: Vec<(String, u32)>,
    /// What decides which of them are used, by name. Empty where nothing is set.
    pub health: BTreeMap<&'static str, String>,
    /// Deadlines by name, in milliseconds.
    pub deadlines_ms: BTreeMap<&'static str, u64>,
}

impl Snapshot {
    /// Says what would become of a request.
    pub fn explain(&self, query: &Query) -> Explanation {
        let peer = SocketAddr::new(query.client, 0);
        let mut exchange = Exchange::new(clock::now());
        exchange.reset(peer, clock::now());
        let mut explanation = Explanation {
            listeners: self.listeners_of(&query.host),
            route: None,
            passed_over: Vec::new(),
            path: String::new(),
            parameters: BTreeMap::new(),
            client: query.client,
            filters: filters(&self.global_filters),
            action: Outcome::Respond { status: 0 },
        };
        let received = receive(self, query, &mut exchange.request);
        let understood = received.is_ok();
        let routed = received.and_then(|()| {
            find_client(&mut exchange, &self.rules);
            explanation.client = exchange.client.address;
            find_route(self, &mut exchange)
        });
        explanation.path = text(&exchange.request.path);
        if !exchange.request.path.is_empty() {
            self.tell_candidates(&exchange, &mut explanation);
        }
        if let Some(at) = exchange.route {
            let route = &self.routes[at];
            explanation.route = Some(route.name.clone());
            explanation.filters.extend(filters(&route.filters));
        }
        let outcome = routed.and_then(|at| {
            retarget(self, at, &mut exchange)?;
            self.outcome(&self.routes[at], &mut exchange)
        });
        let preflight = understood.then(|| self.preflight(&exchange)).flatten();
        let outcome = outcome.unwrap_or_else(|error| Outcome::Refuse {
            status: error.reply().status.unwrap_or(400),
            why: error.to_string(),
        });
        explanation.action = preflight.unwrap_or(outcome);
        explanation
    }

    /// The filter that answers the request because it is a CORS preflight, whether a route takes
    /// it or not.
    fn preflight(&self, exchange: &Exchange) -> Option<Outcome> {
        exchange.request.asked_by_preflight()?;
        let own = exchange.route.map(|at| &self.routes[at].filters[..]).unwrap_or_default();
        let chain = || self.global_filters.iter().chain(own);
        let at = chain().position(|filter| filter.answers_preflights())?;
        let guards = chain().take(at).filter(|filter| filter.guard().is_some());
        let guards: Vec<_> = guards.map(|filter| filter.name()).collect();
        let why = match guards.join(" and ") {
            none if none.is_empty() => "it is a CORS preflight".to_owned(),
            some => format!("it is a CORS preflight; {some} before it may refuse it first"),
        };
        Some(Outcome::Answered { by: chain().nth(at)?.name(), why })
    }

    fn listeners_of(&self, host: &str) -> Vec<SocketAddr> {
        let port = host.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let all = self.server.listen.iter().copied();
        all.filter(|address| port.is_none_or(|port| port == address.port())).collect()
    }

    fn tell_candidates(&self, exchange: &Exchange, explanation: &mut Explanation) {
        let request = &exchange.request;
        let header = |name: &str| request.head.find(request.raw(), name.as_bytes());
        let told = self.table.explain(&route::Request {
            host: request.authority(),
            path: &request.path,
            query: &request.query,
            method: request.method(),
            client: exchange.client.address,
            header: &header,
        });
        let name = |at: usize| self.routes[at].name.clone();
        let passed = told.passed_over.iter().map(|passed| PassedOver {
            route: name(passed.route),
            why: self.table.reason(passed),
            near: !matches!(passed.why, route::Mismatch::Host | route::Mismatch::Path),
        });
        explanation.passed_over = passed.collect();
        explanation.parameters = told.parameters.into_iter().collect();
    }

    fn outcome(&self, route: &Route, exchange: &mut Exchange) -> Result<Outcome, Error> {
        let to = match &route.action {
            Action::Respond(answer) => return Ok(Outcome::Respond { status: answer.status }),
            Action::Redirect { to, status } => {
                let location = render_location(exchange, to)?;
                return Ok(Outcome::Redirect { status: *status, location });
            }
            Action::Forward(to) => to,
        };
        let at = choose_upstream(self, to, exchange, || 0)?;
        let plan = &self.upstreams[at];
        let targets = &plan.settings.targets;
        Ok(Outcome::Forward(Box::new(Forwarded {
            upstream: plan.name.clone(),
            by_weight: self.shares(to, exchange),
            target: text(&exchange.request.target),
            host: match &route.host {
                HostRule::Keep => text(exchange.request.authority()),
                HostRule::Upstream => "that of the endpoint".to_owned(),
                HostRule::Name(name) => name.clone(),
            },
            balance: balance(&plan.settings.balance),
            targets: targets.iter().map(|t| (t.addr.to_string(), t.weight)).collect(),
            health: health(plan),
            deadlines_ms: deadlines(route, plan),
        })))
    }

    /// The upstreams among which weight decides.
    fn shares(&self, to: &Destination, exchange: &Exchange) -> Vec<(String, u32)> {
        match to {
            Destination::Split(arms) if claiming_arm(arms, exchange).is_none() => {
                let shared = arms.iter().filter(|arm| arm.weight > 0);
                shared.map(|arm| (self.upstreams[arm.upstream].name.clone(), arm.weight)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Makes a head of the query and reads it as one that came from a socket.
fn receive(snapshot: &Snapshot, query: &Query, request: &mut Request) -> Result<(), Error> {
    let mut head = format!("{} {} HTTP/1.1\r\n", query.method, query.target);
    if !query.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        let host = if query.host.is_empty() { "localhost" } else { &query.host };
        head += &format!("Host: {host}\r\n");
    }
    for (name, value) in &query.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    request.raw.extend(head.as_bytes());
    let limits = &snapshot.rules.head;
    let len = Scanner::default().scan(request.raw.filled(), limits).map_err(ClientError::Head)?;
    let bytes = &request.raw.filled()[..len.unwrap_or(head.len())];
    http1::parse_request(bytes, &mut request.head, limits).map_err(ClientError::Head)?;
    http1::request_body(&request.head, bytes).map_err(ClientError::Head)?;
    Ok(())
}

fn filters(all: &[Shared<dyn Blueprint>]) -> Vec<FilterOf> {
    all.iter().map(|f| FilterOf { name: f.name(), settings: f.summary() }).collect()
}

pub(crate) fn balance(policy: &Balance) -> String {
    match policy {
        Balance::RoundRobin => "round_robin".to_owned(),
        Balance::Random => "random".to_owned(),
        Balance::LeastRequests => "least_requests".to_owned(),
        Balance::ConsistentHash { by, bounded_load } => {
            let by = match by {
                HashKey::ClientIp => "client_ip".to_owned(),
                HashKey::Header(name) => format!("header {name}"),
                HashKey::Cookie(name) => format!("cookie {name}"),
                HashKey::Path => "path".to_owned(),
            };
            format!("consistent_hash by {by}, bounded_load {bounded_load}")
        }
    }
}

fn health(plan: &Plan) -> BTreeMap<&'static str, String> {
    let health = &plan.settings.health;
    let check = health.check.as_ref().map(|check| ("check", check.to_string()));
    let outliers = health.outlier_detection.as_ref();
    let ejection = outliers.map(|outliers| ("ejection", outliers.to_string()));
    let slow = Some(health.slow_start).filter(|slow| !slow.is_zero());
    let slow = slow.map(|slow| ("slow_start", slow.to_string()));
    let mut all: BTreeMap<_, _> = check.into_iter().chain(ejection).chain(slow).collect();
    if all.contains_key("check") || all.contains_key("ejection") {
        let panic = format!("below {} % healthy all are used", health.panic_threshold);
        all.insert("panic", panic);
    }
    all
}

fn deadlines(route: &Route, plan: &Plan) -> BTreeMap<&'static str, u64> {
    let of = &plan.settings.timeouts;
    let all = [
        ("connect", route.connect.unwrap_or(of.connect.0)),
        ("first_byte", route.first_byte.unwrap_or(of.first_byte.0)),
        ("idle", route.idle.unwrap_or(of.idle.0)),
        ("read", route.read),
        ("write", route.write),
        ("tunnel", route.tunnel),
    ];
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    all.into_iter().map(|(name, time)| (name, millis(time))).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listeners: Vec<_> = self.listeners.iter().map(SocketAddr::to_string).collect();
        match listeners.as_slice() {
            [] => writeln!(f, "listener    none: no listener has this port")?,
            some => writeln!(f, "listener    {}", some.join(", "))?,
        }
        writeln!(f, "client      {}", self.client)?;
        if !self.path.is_empty() {
            writeln!(f, "path        {}", self.path)?;
        }
        self.write_passed_over(f)?;
        writeln!(f, "route       {}", self.route.as_deref().unwrap_or("none"))?;
        for (name, value) in &self.parameters {
            writeln!(f, "parameter   {name} = {value}")?;
        }
        for (at, filter) in self.filters.iter().enumerate() {
            writeln!(f, "filter {:<4} {} {}", at + 1, filter.name, filter.settings)?;
        }
        write!(f, "{}", self.action)
    }
}

impl Explanation {
    /// All routes that were passed over, or of many those that host and path fit.
    fn write_passed_over(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.passed_over.len();
        let shown = self.passed_over.iter().filter(|passed| passed.near || all <= FEW);
        let mut heads = std::iter::once("passed over").chain(std::iter::repeat(""));
        let mut left = all;
        for (passed, head) in shown.zip(&mut heads) {
            writeln!(f, "{head:<11} {}: {}", passed.route, passed.why)?;
            left -= 1;
        }
        if left > 0 {
            let (head, more) = if left == all { ("passed over", "") } else { ("", "more ") };
            writeln!(f, "{head:<11} {left} {more}whose host or path differs (--json lists them)")?;
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Answered { by, why } => writeln!(f, "answered    by filter {by}: {why}"),
            Outcome::Respond { status } => writeln!(f, "answers     {status}"),
            Outcome::Redirect { status, location } => {
                writeln!(f, "redirects   {status} to {location}")
            }
            Outcome::Refuse { status, why } => writeln!(f, "refuses     {status}: {why}"),
            Outcome::Forward(to) => {
                match to.by_weight.as_slice() {
                    [] | [_] => writeln!(f, "upstream    {}", to.upstream)?,
                    shares => {
                        let of = |(name, weight): &(String, u32)| format!("{name} {weight}");
                        let shares: Vec<_> = shares.iter().map(of).collect();
                        let shares = shares.join(", ");
                        writeln!(f, "upstream    {} (one of, by weight: {shares})", to.upstream)?;
                    }
                }
                writeln!(f, "  path      {}", to.target)?;
                writeln!(f, "  host      {}", to.host)?;
                writeln!(f, "  balance   {}", to.balance)?;
                for (target, weight) in &to.targets {
                    writeln!(f, "  target    {target} (weight {weight})")?;
                }
                for (name, what) in &to.health {
                    writeln!(f, "  {name:<9} {what}")?;
                }
                let all = to.deadlines_ms.iter();
                let period = |ms: &u64| Period(Duration::from_millis(*ms));
                let all: Vec<_> = all.map(|(name, ms)| format!("{name} {}", period(ms))).collect();
                writeln!(f, "  deadlines {}", all.join(", "))
            }
        }
    }
}
