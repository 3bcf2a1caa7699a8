//! A route as it is written, and what is needed of it.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::parts::{
    RedirectWritten, RespondWritten, RewriteWritten, RouteTimeoutsWritten, SplitArmWritten,
    lower_redirect, lower_split,
};
use super::{Action, Forward, Respond, Rewrite, Route, Upgrade};
use crate::address::Cidr;
use crate::condition::{self, Matching, PathMatch, ValueTestWritten};
use crate::findings::Findings;
use crate::health::{HealthCheckWritten, HealthWritten, OutlierDetection};
use crate::template::Template;
use crate::text_or::TextOr;
use crate::units::{self, ByteLimit, Bytes, Limit, Period};
use crate::upstream::{BalanceWritten, Pool, TargetWritten, Upstream, UpstreamTimeouts};

/// Which requests are taken, and what is done with them.
///
/// A request goes to the route that ranks highest among those whose conditions all hold: first by
/// `priority`, then by host (exact before `*.` before none), then by path (`path`, then `prefix`
/// and `pattern` by the length of their literal part, then `regex`, then none), then by the number
/// of further conditions, then by the order of the file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Route")]
pub(crate) struct RouteWritten<F> {
    /// The name, which no other route has: logs, metrics and `ringway explain` use it.
    name: String,
    /// The host, or a list of hosts of which one must fit: `api.example.com`, or
    /// `*.example.com` for everything below. Without a port. When left out, any.
    host: Option<TextOr<Vec<String>>>,
    /// Exactly this path.
    path: Option<String>,
    /// This path, or one below it: `/api` takes `/api` and `/api/x`, never `/apix`.
    prefix: Option<String>,
    /// A path with parameters: `/:service/*rest`. `:name` is one segment that is not empty, `*name`
    /// at the end is the rest, which may be empty.
    pattern: Option<String>,
    /// A regular expression that must match the whole path.
    regex: Option<String>,
    /// Methods in upper case, of which one must fit, such as `[GET, POST]`. When left out, any.
    methods: Option<Vec<String>>,
    /// Tests on header fields by name, which must all hold: `X-Env: canary`,
    /// `X-Env: {prefix: can}`, `X-Env: {regex: "can.*"}`, `X-Env: {present: true}`.
    #[serde(default)]
    headers: IndexMap<String, ValueTestWritten>,
    /// Tests on query parameters by name, written like those of `headers`.
    #[serde(default)]
    query: IndexMap<String, ValueTestWritten>,
    /// Ranges of client addresses, of which one must fit: `[10.0.0.0/8]`. When left out, any.
    clients: Option<Vec<Cidr>>,
    /// Ranks above everything else: the higher goes first.
    #[serde(default)]
    priority: i32,
    /// What to do: hand the request to these endpoints.
    targets: Option<Vec<TargetWritten>>,
    /// With `targets`: how an endpoint is picked.
    balance: Option<BalanceWritten>,
    /// With `targets`: the idle connections that are kept.
    pool: Option<Pool>,
    /// With `targets`: how often names are resolved again.
    resolve_every: Option<Period>,
    /// With `targets`: a check of each endpoint, now and then.
    health_check: Option<HealthCheckWritten>,
    /// With `targets`: takes endpoints out whose answers are faults.
    outlier_detection: Option<OutlierDetection>,
    /// With `targets`: how long an endpoint that came back takes to its full share.
    slow_start: Option<Period>,
    /// With `targets`: when fewer per cent of the endpoints are healthy, all are used.
    panic_threshold: Option<u32>,
    /// What to do: hand the request to the upstream of this name. A template: with
    /// `pattern: /:service/*rest`, `${service}` is the upstream that the path names.
    upstream: Option<Template>,
    /// What to do: share the requests out among several upstreams.
    split: Option<Vec<SplitArmWritten>>,
    /// What to do: answer from here.
    respond: Option<RespondWritten>,
    /// What to do: send the client elsewhere, `redirect: /new` or
    /// `redirect: {to: /new, status: 301}`.
    redirect: Option<RedirectWritten>,
    /// The filters of the route, in the order in which a request passes them, after
    /// `global_filters`.
    #[serde(default = "Vec::<F>::new")]
    #[expect(dead_code, reason = "each filter is read by itself; this one is for the schema")]
    filters: Vec<F>,
    /// Whether `prefix` is taken off the path that the upstream sees; at least `/` remains.
    #[serde(default)]
    strip_prefix: bool,
    /// What else is changed on the way to the upstream.
    rewrite: Option<RewriteWritten>,
    /// Deadlines that differ from those of the server and the upstream.
    timeouts: Option<RouteTimeoutsWritten>,
    /// The most bytes of a request body, or `unlimited`, instead of the server's.
    #[serde(default, deserialize_with = "units::optional_byte_limit")]
    #[schemars(with = "Option<ByteLimit>")]
    max_body: Option<Limit>,
    /// The least that a client must send of its body, in bytes a second, instead of the server's.
    min_body_rate: Option<Bytes>,
    /// The protocols that a connection may be upgraded to: `[websocket]`, or `[]` for none. When
    /// left out, `websocket`.
    upgrades: Option<Vec<Upgrade>>,
}

/// The fields that say what a route does.
const ACTIONS: [&str; 5] = ["targets", "upstream", "split", "respond", "redirect"];

impl<F> RouteWritten<F> {
    /// What is needed of it. `path` is its field path, `filters` are its filters.
    pub(crate) fn lower<G>(
        mut self,
        path: &str,
        filters: Vec<G>,
        findings: &mut Findings<'_>,
    ) -> Route<G> {
        self.check_company(path, findings);
        let timeouts = self.timeouts.take().unwrap_or_default();
        let rewrite = match self.rewrite.take() {
            Some(rewrite) => rewrite.lower(&format!("{path}.rewrite"), findings),
            None => Rewrite::default(),
        };
        if self.strip_prefix && rewrite.path.is_some() {
            findings.error(
                format!("{path}.strip_prefix"),
                "`strip_prefix` and `rewrite.path` contradict each other",
                "keep one: `rewrite.path` is the whole new path",
            );
        }
        let action = self.action(path, findings);
        let matching = Matching {
            hosts: hosts(self.host, &format!("{path}.host"), findings),
            path: PathMatch::default(),
            methods: not_empty(self.methods, &format!("{path}.methods"), findings),
            headers: condition::value_matches(self.headers, &format!("{path}.headers"), findings),
            query: condition::value_matches(self.query, &format!("{path}.query"), findings),
            clients: not_empty(self.clients, &format!("{path}.clients"), findings),
            priority: self.priority,
        };
        let paths = [
            ("path", self.path.map(PathMatch::Exact)),
            ("prefix", self.prefix.map(PathMatch::Prefix)),
            ("pattern", self.pattern.map(PathMatch::Pattern)),
            ("regex", self.regex.map(PathMatch::Regex)),
        ];
        let path_match = one_path(paths, path, findings);
        if self.strip_prefix && !matches!(path_match, Some(PathMatch::Prefix(_))) {
            findings.error(
                format!("{path}.strip_prefix"),
                "`strip_prefix` without `prefix`",
                "add the `prefix` that is to be taken off, or write `rewrite: {path: …}`",
            );
        }
        Route {
            name: self.name,
            matching: Matching {
                headers: lower_case_names(matching.headers),
                path: path_match.unwrap_or_default(),
                ..matching
            },
            action,
            filters,
            strip_prefix: self.strip_prefix,
            rewrite,
            timeouts: timeouts.lower(),
            max_body: self.max_body,
            min_body_rate: self.min_body_rate,
            upgrades: self.upgrades.unwrap_or_else(|| vec![Upgrade::Websocket]),
        }
    }

    /// Names the settings that do not go with what the route does.
    fn check_company(&self, path: &str, findings: &mut Findings<'_>) {
        let timeouts = self.timeouts.as_ref();
        if self.targets.is_none() {
            let written = [
                ("balance", self.balance.is_some()),
                ("pool", self.pool.is_some()),
                ("resolve_every", self.resolve_every.is_some()),
                ("health_check", self.health_check.is_some()),
                ("outlier_detection", self.outlier_detection.is_some()),
                ("slow_start", self.slow_start.is_some()),
                ("panic_threshold", self.panic_threshold.is_some()),
            ];
            for (field, _) in written.into_iter().filter(|(_, written)| *written) {
                findings.error(
                    format!("{path}.{field}"),
                    format!("`{field}` without `targets`"),
                    format!("write it in the upstream: `upstreams: {{NAME: {{{field}: …}}}}`"),
                );
            }
        }
        let answers = [("respond", self.respond.is_some()), ("redirect", self.redirect.is_some())];
        let Some((answer, _)) = answers.into_iter().find(|(_, written)| *written) else { return };
        let period = |field: fn(&RouteTimeoutsWritten) -> Option<Period>| {
            timeouts.is_some_and(|timeouts| field(timeouts).is_some())
        };
        let written = [
            ("strip_prefix", self.strip_prefix),
            ("rewrite", self.rewrite.is_some()),
            ("upgrades", self.upgrades.is_some()),
            ("timeouts.connect", period(|timeouts| timeouts.connect)),
            ("timeouts.first_byte", period(|timeouts| timeouts.first_byte)),
            ("timeouts.idle", period(|timeouts| timeouts.idle)),
            ("timeouts.tunnel", period(|timeouts| timeouts.tunnel)),
        ];
        for (field, _) in written.into_iter().filter(|(_, written)| *written) {
            findings.error(
                format!("{path}.{field}"),
                format!("`{field}` does nothing beside `{answer}`: no upstream sees the request"),
                format!("remove `{field}`"),
            );
        }
    }

    /// The one thing that the route does.
    fn action(&mut self, path: &str, findings: &mut Findings<'_>) -> Action {
        let written = [
            self.targets.is_some(),
            self.upstream.is_some(),
            self.split.is_some(),
            self.respond.is_some(),
            self.redirect.is_some(),
        ];
        let written: Vec<&str> = ACTIONS
            .iter()
            .zip(written)
            .filter(|(_, written)| *written)
            .map(|(name, _)| *name)
            .collect();
        match written.as_slice() {
            [] => findings.error(
                path,
                format!("the route `{}` does not say what to do", self.name),
                format!("add {}", crate::reader::one_of(&ACTIONS, "or")),
            ),
            [_] => {}
            [first, rest @ ..] => {
                for other in rest {
                    findings.error(
                        format!("{path}.{other}"),
                        format!("`{first}` and `{other}` contradict each other"),
                        "keep one: a route does one thing",
                    );
                }
            }
        }
        if let Some(targets) = self.targets.take() {
            let health = HealthWritten {
                health_check: self.health_check.take(),
                outlier_detection: self.outlier_detection.take(),
                slow_start: self.slow_start.take(),
                panic_threshold: self.panic_threshold.take(),
            };
            Action::Forward(Forward::Targets(Upstream {
                targets: targets.into_iter().map(TargetWritten::lower).collect(),
                balance: self.balance.take().unwrap_or_default().lower(),
                pool: self.pool.take().unwrap_or_default(),
                timeouts: UpstreamTimeouts::default(),
                resolve_every: self.resolve_every.unwrap_or(Upstream::RESOLVE_EVERY),
                health: Box::new(health.lower(path, findings)),
            }))
        } else if let Some(upstream) = self.upstream.take() {
            Action::Forward(Forward::Upstream(upstream.0))
        } else if let Some(split) = self.split.take() {
            Action::Forward(Forward::Split(lower_split(split, path, findings)))
        } else if let Some(redirect) = self.redirect.take() {
            Action::Redirect(lower_redirect(redirect))
        } else {
            let respond = self.respond.take();
            Action::Respond(respond.map_or_else(Respond::default, RespondWritten::lower))
        }
    }
}

/// The one condition on the path.
fn one_path(
    written: [(&str, Option<PathMatch>); 4],
    path: &str,
    findings: &mut Findings<'_>,
) -> Option<PathMatch> {
    let mut written = written.into_iter().filter_map(|(name, path)| Some((name, path?)));
    let (first, path_match) = written.next()?;
    for (other, _) in written {
        findings.error(
            format!("{path}.{other}"),
            format!("`{first}` and `{other}` contradict each other"),
            "keep one: a route has one condition on the path",
        );
    }
    Some(path_match)
}

/// A list that says nothing when it is left out, and would say nothing sensible when it is empty.
fn not_empty<T>(list: Option<Vec<T>>, path: &str, findings: &mut Findings<'_>) -> Vec<T> {
    if list.as_ref().is_some_and(Vec::is_empty) {
        findings.error(
            path,
            "the list is empty, so nothing can fit",
            "name one, or remove the field",
        );
    }
    list.unwrap_or_default()
}

/// Host names in lower case, each of a form that can fit.
fn hosts(
    written: Option<TextOr<Vec<String>>>,
    path: &str,
    findings: &mut Findings<'_>,
) -> Vec<String> {
    let (single, written) = match written {
        Some(TextOr::Text(text)) => (true, Some(vec![text])),
        Some(TextOr::Other(texts)) => (false, Some(texts)),
        None => (false, None),
    };
    let mut hosts = Vec::new();
    for (index, text) in not_empty(written, path, findings).into_iter().enumerate() {
        let place = if single { String::new() } else { format!("[{index}]") };
        match condition::host_pattern(&text) {
            Ok(host) => hosts.push(host),
            Err(help) => {
                findings.error(format!("{path}{place}"), format!("`{text}` is not a host"), help)
            }
        }
    }
    hosts
}

/// Names of header fields are compared without regard to case (RFC 9110 §5.1).
fn lower_case_names(mut tests: Vec<condition::ValueMatch>) -> Vec<condition::ValueMatch> {
    tests.iter_mut().for_each(|test| test.name.make_ascii_lowercase());
    tests
}
