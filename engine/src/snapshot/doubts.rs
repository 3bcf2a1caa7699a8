//! What can be served but is surely not meant: no routes, upstreams that nothing leads to, what
//! filters say of themselves, and those that stand in the wrong order.

use std::collections::HashSet;

use super::{Action, BuildError, Destination, Route, Snapshot};
use crate::filter::Blueprint;
use crate::shared::Shared;

/// A warning where there is no route: an indentation that is wrong, or a section that is commented
/// out, looks like that.
pub(super) fn routes(snapshot: &Snapshot) -> Option<BuildError> {
    snapshot.routes.is_empty().then(|| BuildError {
        path: "routes".to_owned(),
        message: "there is no route: every request is answered 404".to_owned(),
        help: Some("write at least one route below `routes:`".to_owned()),
    })
}

/// A warning for each upstream that neither a route nor a filter names. A template may come to any
/// of them.
pub(super) fn upstreams(snapshot: &Snapshot) -> Vec<BuildError> {
    let mut used: Vec<usize> = Vec::new();
    for route in &snapshot.routes {
        match &route.action {
            Action::Forward(Destination::Named(_)) => return Vec::new(),
            Action::Forward(Destination::Upstream(at)) => used.push(*at),
            Action::Forward(Destination::Split(arms)) => {
                used.extend(arms.iter().map(|arm| arm.upstream));
            }
            Action::Respond(_) | Action::Redirect { .. } => {}
        }
    }
    for (_, filter) in snapshot.filters() {
        let named = filter.upstreams().into_iter();
        used.extend(named.filter_map(|(_, name)| snapshot.by_name.get(name).copied()));
    }
    let mut unused: Vec<_> = snapshot.by_name.iter().filter(|(_, at)| !used.contains(at)).collect();
    unused.sort_by_key(|(_, at)| **at);
    let warn = |name: &String| BuildError {
        path: format!("upstreams.{name}"),
        message: format!("no route points to the upstream `{name}`"),
        help: Some(format!("write `upstream: {name}` in a route, or remove it")),
    };
    unused.into_iter().map(|(name, _)| warn(name)).collect()
}

/// What filters say of their own settings, and which stand in the wrong order.
pub(super) fn filters(snapshot: &Snapshot) -> Vec<BuildError> {
    let mut found = Vec::new();
    let mut before = Before::default();
    let routes = &snapshot.route_names;
    of_list(&mut found, "global_filters", &snapshot.global_filters, routes, &mut before);
    for (at, route) in snapshot.routes.iter().enumerate() {
        let place = format!("routes[{at}].filters");
        found.extend(same_upstream(snapshot, route, &place));
        of_list(&mut found, &place, &route.filters, routes, &mut before.clone());
    }
    found
}

/// A warning for each filter that has the route's only upstream asked in place of itself.
fn same_upstream(snapshot: &Snapshot, route: &Route, place: &str) -> Vec<BuildError> {
    let Action::Forward(Destination::Upstream(own)) = &route.action else { return Vec::new() };
    let filters = route.filters.iter().enumerate();
    let named = filters.filter_map(|(at, filter)| Some((at, filter.name(), filter.instead()?)));
    let same = named.filter(|(_, _, (_, name))| snapshot.by_name.get(*name) == Some(own));
    let warn = |(at, filter, (field, name))| BuildError {
        path: format!("{place}[{at}].{filter}.{field}"),
        message: format!("`{name}` is the upstream of the route itself: nobody else is asked"),
        help: Some("name another one".to_owned()),
    };
    same.map(warn).collect()
}

/// What stands before a filter in its chain.
#[derive(Clone, Default)]
struct Before<'a> {
    /// The last one that asks for credentials.
    asks: Option<&'a str>,
    /// One answers preflights, so that none comes further.
    answers: bool,
}

/// The same of one list.
fn of_list<'a>(
    found: &mut Vec<BuildError>,
    place: &str,
    filters: &'a [Shared<dyn Blueprint>],
    routes: &HashSet<String>,
    before: &mut Before<'a>,
) {
    for (at, filter) in filters.iter().enumerate() {
        let name = filter.name();
        found.extend(filter.warnings().into_iter().map(|warning| BuildError {
            path: format!("{place}[{at}].{name}.{}", warning.field),
            message: warning.message,
            help: warning.help,
        }));
        let strange = filter.routes().into_iter().filter(|(_, route)| !routes.contains(*route));
        found.extend(strange.map(|(field, route)| BuildError {
            path: format!("{place}[{at}].{name}.{field}"),
            message: format!("there is no route `{route}`"),
            help: Some("write the name of a route, or take it out".to_owned()),
        }));
        if filter.answers_preflights() {
            if let Some(asks) = before.asks.filter(|_| !before.answers) {
                found.push(BuildError {
                    path: format!("{place}[{at}].{name}"),
                    message: format!(
                        "a preflight carries no credentials: `{asks}` refuses it before `{name}` \
                         can answer"
                    ),
                    help: Some(format!("put `{name}` before `{asks}`")),
                });
            }
            before.answers = true;
        }
        if filter.identifies() {
            before.asks = Some(name);
        }
    }
}
