//! Rules across sections, and bounds that no type expresses.

mod health;
mod route;
mod upstream;
mod value;

use std::collections::{HashMap, HashSet};

use crate::Config;
use crate::admin;
use crate::findings::Findings;
use crate::reader::{nearest, one_of, quote_key};
use crate::route::{Action, Forward, Route};
use crate::server::Server;
use crate::template;
use crate::units::{Bytes, Period};
use crate::workers::{Count, Workers};

pub(crate) use route::check as check_route;

/// Checks what could be read, but for each route by itself ([`check_route`]). `routes` has each
/// route with its number in the file, `upstreams` the names of all upstreams, whether they could be
/// read or not.
pub(crate) fn check<F>(
    config: &Config<F>,
    routes: &[(usize, Route<F>)],
    upstreams: &[String],
    findings: &mut Findings<'_>,
) {
    check_workers(&config.workers, findings);
    check_server(&config.server, findings);
    if let Some(settings) = &config.admin {
        admin::check(settings, &config.server, findings);
    }
    for (name, upstream) in &config.upstreams {
        let path = format!("upstreams.{}", quote_key(name));
        value::check_name(name, &path, "an upstream", findings);
        upstream::check(upstream, &path, findings);
        check_period(upstream.timeouts.connect, format!("{path}.timeouts.connect"), findings);
        check_period(upstream.timeouts.first_byte, format!("{path}.timeouts.first_byte"), findings);
        check_period(upstream.timeouts.idle, format!("{path}.timeouts.idle"), findings);
    }
    check_names(routes, upstreams, findings);
    check_references(routes, upstreams, findings);
}

fn check_workers(workers: &Workers, findings: &mut Findings<'_>) {
    if let (Count::Exactly(count), Some(cores)) = (workers.count, &workers.cores)
        && count > cores.0.len()
    {
        findings.error(
            "workers.count",
            format!("`{count}` workers, but `cores` names only {}", cores.0.len()),
            format!("write `count: {}` or leave it out, or name more cores", cores.0.len()),
        );
    }
}

fn check_server(server: &Server, findings: &mut Findings<'_>) {
    let periods = [
        ("header_timeout", server.header_timeout),
        ("read_timeout", server.read_timeout),
        ("write_timeout", server.write_timeout),
        ("idle_timeout", server.idle_timeout),
    ];
    for (field, period) in periods {
        check_period(period, format!("server.{field}"), findings);
    }
    const CONNECTIONS: u64 = 10_000_000;
    if !(1..=CONNECTIONS).contains(&server.max_connections) {
        findings.error(
            "server.max_connections",
            format!("`{}` connections are out of bounds", server.max_connections),
            format!("write a number from 1 to {CONNECTIONS}"),
        );
    }
    let counts = [
        ("max_connections_per_client", server.max_connections_per_client),
        ("max_requests_per_connection", server.max_requests_per_connection),
    ];
    for (field, limit) in counts {
        if limit.get() == 0 {
            findings.error(
                format!("server.{field}"),
                "a limit of 0 serves nobody",
                "write at least 1, or `unlimited`",
            );
        }
    }
    check_limits(server, findings);
    value::check_field_value(&server.server_header, "server.server_header", findings);
    if !server.via.is_empty() && !value::is_token(&server.via) {
        findings.error(
            "server.via",
            format!("`{}` cannot stand in `Via`", server.via),
            "write one word of letters, digits, `-`, `_` and `.`, or `\"\"` for no `Via`",
        );
    }
}

fn check_limits(server: &Server, findings: &mut Findings<'_>) {
    const MIN_HEAD: Bytes = Bytes::kib(1);
    const MAX_HEAD: Bytes = Bytes::kib(1024);
    const MIN_LINE: Bytes = Bytes(256);
    const MAX_HEADERS: u32 = 100;
    let limits = &server.limits;
    if !(MIN_HEAD..=MAX_HEAD).contains(&limits.max_head) {
        findings.error(
            "server.limits.max_head",
            format!("a head of `{}` is out of bounds", limits.max_head),
            format!("write a size from `{MIN_HEAD}` to `{MAX_HEAD}`"),
        );
    } else if !(MIN_LINE..=limits.max_head).contains(&limits.max_line) {
        findings.error(
            "server.limits.max_line",
            format!("a line of `{}` is out of bounds", limits.max_line),
            format!("write a size from `{MIN_LINE}` to that of `max_head`, `{}`", limits.max_head),
        );
    }
    if !(1..=MAX_HEADERS).contains(&limits.max_headers) {
        findings.error(
            "server.limits.max_headers",
            format!("`{}` header fields are out of bounds", limits.max_headers),
            format!("write a number from 1 to {MAX_HEADERS}"),
        );
    }
}

/// A deadline of zero would end everything before it has begun.
fn check_period(period: Period, path: String, findings: &mut Findings<'_>) {
    if period.is_zero() {
        findings.error(
            path,
            "a deadline of zero ends everything at once",
            "write at least `1ms`; there is no way to wait for ever, but `1d` is a long time",
        );
    }
}

/// Routes have names of their own, and so have upstreams.
fn check_names<F>(routes: &[(usize, Route<F>)], upstreams: &[String], findings: &mut Findings<'_>) {
    let mut first = HashMap::new();
    let upstreams: HashSet<_> = upstreams.iter().map(String::as_str).collect();
    for (index, route) in routes {
        let path = format!("routes[{index}].name");
        value::check_name(&route.name, &path, "a route", findings);
        if let Some(other) = first.get(route.name.as_str()) {
            findings.error(
                path,
                format!("`{}` is the name of routes[{other}] too", route.name),
                "give each route its own name: logs and metrics tell them apart by it",
            );
            continue;
        }
        first.insert(route.name.as_str(), *index);
        let own = matches!(route.action, Action::Forward(Forward::Targets(_)));
        if own && upstreams.contains(route.name.as_str()) {
            findings.error(
                path,
                format!("`{}` has targets of its own and the name of an upstream", route.name),
                format!(
                    "write `upstream: {}` instead of `targets`, or name the route otherwise",
                    route.name
                ),
            );
        }
    }
}

/// What to write where an upstream is named that is not among these.
pub fn unknown_upstream(name: &str, upstreams: &[String]) -> String {
    match nearest(name, upstreams) {
        Some(near) => format!("did you mean `{near}`?"),
        None if upstreams.is_empty() => {
            format!("add it: `upstreams: {{{name}: {{targets: […]}}}}`")
        }
        None => format!("the upstreams are {}", one_of(upstreams, "and")),
    }
}

/// Routes point to upstreams that there are.
fn check_references<F>(
    routes: &[(usize, Route<F>)],
    upstreams: &[String],
    findings: &mut Findings<'_>,
) {
    let known: HashSet<&str> = upstreams.iter().map(String::as_str).collect();
    let refer = |name: &str, path: String, findings: &mut Findings<'_>| {
        if known.contains(name) {
            return;
        }
        let help = unknown_upstream(name, upstreams);
        findings.error(path, format!("there is no upstream `{name}`"), help);
    };
    for (index, route) in routes {
        match &route.action {
            Action::Forward(Forward::Upstream(name)) => {
                let path = format!("routes[{index}].upstream");
                match template::variables(name).next() {
                    Some(_) if upstreams.is_empty() => findings.error(
                        path,
                        format!("`{name}` cannot name an upstream: there are none"),
                        "add those that it may name: `upstreams: {NAME: {targets: […]}}`",
                    ),
                    Some(_) => {}
                    None => refer(name, path, findings),
                }
            }
            Action::Forward(Forward::Split(arms)) => {
                for (arm, split) in arms.iter().enumerate() {
                    let path = format!("routes[{index}].split[{arm}].upstream");
                    refer(&split.upstream, path, findings);
                }
            }
            _ => {}
        }
    }
}
