//! `GET /config` and `/routes`: what is configured, as the snapshot that serves now has it.

use axum::Json;
use axum::extract::{Query, State};
use ringway_config::{PathMatch, ValueMatch, ValueTest};
use serde::{Deserialize, Serialize};

use super::Context;
use super::answer::{Answer, Refusal};
use crate::filter::Blueprint;
use crate::shared::Shared;
use crate::snapshot::{Action, Destination, Route, Snapshot};
use crate::status::{RouteStatus, Routes};

/// Routes shown when nobody says how many, and the most of one answer.
const SHOWN: usize = 1_000;
const MOST: usize = 10_000;

/// More routes than any file has.
const FURTHEST: usize = 1_000_000;

/// The configuration that serves.
#[derive(Debug, Serialize)]
pub(super) struct Configuration {
    /// The file as JSON, secrets masked.
    config: serde_json::Value,
}

/// The file as it was read, values from the environment by their names and secrets masked.
pub(super) async fn config(State(context): State<Shared<Context>>) -> Json<Configuration> {
    Json(Configuration { config: context.snapshot().written.masked() })
}

/// Which routes are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// A part of the name, in any case.
    #[serde(default)]
    find: String,
    /// How many to leave out from the start.
    #[serde(default)]
    offset: usize,
    /// How many to show at most.
    #[serde(default = "shown")]
    limit: usize,
}

fn shown() -> usize {
    SHOWN
}

/// The routes in the order of the file.
pub(super) async fn routes(
    State(context): State<Shared<Context>>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Answer<Routes> {
    let Query(wanted) = wanted.map_err(|error| Refusal::bad(error.body_text()))?;
    if wanted.limit == 0 || wanted.limit > MOST {
        return Err(Refusal::bad(format!("limit: write a number from 1 to {MOST}")));
    }
    if wanted.offset > FURTHEST {
        return Err(Refusal::bad(format!("offset: write a number up to {FURTHEST}")));
    }
    let snapshot = &context.snapshot();
    let part = wanted.find.to_lowercase();
    let fits = |route: &&Route| part.is_empty() || route.name.to_lowercase().contains(&part);
    let fitting = || snapshot.routes.iter().filter(fits);
    let shown = fitting().skip(wanted.offset).take(wanted.limit);
    Ok(Json(Routes {
        total: fitting().count(),
        routes: shown.map(|route| describe(snapshot, route)).collect(),
    }))
}

fn describe(snapshot: &Snapshot, route: &Route) -> RouteStatus {
    let matching = &route.matching;
    let tests = |what: &'static str, tests: &[ValueMatch]| {
        tests.iter().map(|test| condition(what, test)).collect::<Vec<_>>()
    };
    let mut conditions = tests("header", &matching.headers);
    conditions.extend(tests("query", &matching.query));
    conditions.extend(matching.clients.iter().map(|range| format!("client in {range}")));
    let (action, to) = action(snapshot, &route.action);
    let name = |filter: &Shared<dyn Blueprint>| filter.name().to_owned();
    let filters = snapshot.global_filters.iter().chain(&route.filters);
    RouteStatus {
        name: route.name.clone(),
        hosts: matching.hosts.clone(),
        path: path(&matching.path),
        methods: matching.methods.clone(),
        conditions,
        priority: matching.priority,
        action: action.to_owned(),
        to,
        filters: filters.map(name).collect(),
    }
}

fn path(path: &PathMatch) -> String {
    match path {
        PathMatch::Any => String::new(),
        PathMatch::Exact(path) => format!("path {path}"),
        PathMatch::Prefix(path) => format!("prefix {path}"),
        PathMatch::Pattern(path) => format!("pattern {path}"),
        PathMatch::Regex(path) => format!("regex {path}"),
    }
}

fn condition(what: &str, test: &ValueMatch) -> String {
    let name = &test.name;
    match &test.test {
        ValueTest::Present => format!("{what} {name} is there"),
        ValueTest::Absent => format!("{what} {name} is not there"),
        // It may be a key that only some clients know.
        ValueTest::Exact(_) if ringway_config::looks_secret(name) => format!("{what} {name} = ***"),
        ValueTest::Exact(value) => format!("{what} {name} = {value}"),
        ValueTest::Prefix(_) | ValueTest::Regex(_) if ringway_config::looks_secret(name) => {
            format!("{what} {name} is like ***")
        }
        ValueTest::Prefix(value) => format!("{what} {name} begins with {value}"),
        ValueTest::Regex(value) => format!("{what} {name} matches {value}"),
    }
}

fn action(snapshot: &Snapshot, action: &Action) -> (&'static str, Vec<String>) {
    let name = |at: usize| snapshot.upstreams[at].name.clone();
    match action {
        Action::Respond(answer) => ("respond", vec![answer.status.to_string()]),
        Action::Redirect { to, status } => ("redirect", vec![format!("{status} {to}")]),
        Action::Forward(Destination::Upstream(at)) => ("forward", vec![name(*at)]),
        Action::Forward(Destination::Named(template)) => ("forward", vec![template.to_string()]),
        Action::Forward(Destination::Split(arms)) => {
            let arm = |arm: &crate::snapshot::Arm| format!("{} {}", name(arm.upstream), arm.weight);
            ("split", arms.iter().map(arm).collect())
        }
    }
}
