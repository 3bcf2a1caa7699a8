//! What can be served but is surely not meant: upstreams that nothing leads to, and what filters
//! say of themselves.

use super::{Action, BuildError, Destination, Snapshot};
use crate::filter::{Blueprint, SettingsError};
use crate::shared::Shared;

/// What filters have to say of themselves, each at its place in the file.
pub(super) fn filters(snapshot: &Snapshot) -> Vec<BuildError> {
    let mut warnings = Vec::new();
    let mut look = |list: &dyn Fn() -> String, filters: &[Shared<dyn Blueprint>]| {
        for (at, filter) in filters.iter().enumerate() {
            let own = filter.warnings().into_iter();
            warnings.extend(own.map(|SettingsError { field, message, help }| {
                let path = format!("{}[{at}].{}.{field}", list(), filter.name());
                BuildError { path, message, help }
            }));
        }
    };
    look(&|| "global_filters".to_owned(), &snapshot.global_filters);
    for (at, route) in snapshot.routes.iter().enumerate() {
        look(&|| format!("routes[{at}].filters"), &route.filters);
    }
    warnings
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
