//! Filters that can be served by but are surely not meant so.

use super::{BuildError, Snapshot};
use crate::filter::Blueprint;
use crate::shared::Shared;

/// What filters say of their own settings, and which stand in the wrong order.
pub(super) fn filters(snapshot: &Snapshot) -> Vec<BuildError> {
    let mut found = Vec::new();
    let mut before = Before::default();
    of_list(&mut found, "global_filters", &snapshot.global_filters, &mut before);
    for (at, route) in snapshot.routes.iter().enumerate() {
        of_list(&mut found, &format!("routes[{at}].filters"), &route.filters, &mut before.clone());
    }
    found
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
    before: &mut Before<'a>,
) {
    for (at, filter) in filters.iter().enumerate() {
        found.extend(filter.warnings().into_iter().map(|warning| BuildError {
            path: format!("{place}[{at}].{}", warning.field),
            message: warning.message,
            help: warning.help,
        }));
        let name = filter.name();
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
