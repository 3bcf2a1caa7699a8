//! What filters that are gone have counted, so that no counter falls while it can be read.
//!
//! A filter whose settings change is built anew and counts from nothing. Alone under its name, it
//! would be a counter that begins again, which Prometheus understands; but where several filters
//! count under one name and labels, their sum would fall to what the others have, and Prometheus
//! would take all of that for new.

use std::collections::BTreeMap;

use crate::filter::{Blueprint, Measure};
use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// Labels that own their text.
pub(crate) type OwnedLabels = Vec<(&'static str, String)>;

/// Counters of filters that are gone, by name and labels. Bounded by the names of routes and
/// upstreams that there are: with a name its numbers go.
#[derive(Debug, Default)]
pub(crate) struct Carried(BTreeMap<(&'static str, OwnedLabels), f64>);

impl Carried {
    /// What is carried on when `next` takes the place of `last`. Exchanges that `last` still ends
    /// are not in it.
    pub(crate) fn over(&self, last: &Snapshot, next: &Snapshot) -> Carried {
        let mut sums = self.0.clone();
        for (route, filter) in last.filters() {
            if !next.blueprints.contains(&filter.address()) {
                add(&mut sums, route, filter);
            }
        }
        sums.retain(|(_, labels), _| {
            labels.iter().all(|(label, name)| match *label {
                "route" => next.route_names.contains(name),
                "upstream" => next.names.contains(name),
                _ => true,
            })
        });
        Carried(sums)
    }

    /// What is to be added to the counter of this name.
    pub(crate) fn of(&self, name: &'static str, labels: &OwnedLabels) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        self.0.get(&(name, labels.clone())).copied().unwrap_or_default()
    }
}

fn add(
    sums: &mut BTreeMap<(&'static str, OwnedLabels), f64>,
    route: Option<&str>,
    filter: &Shared<dyn Blueprint>,
) {
    let mut measures = Vec::new();
    filter.measures(&mut measures);
    for Measure { name, counter, labels, value, .. } in measures {
        if counter && value > 0.0 {
            *sums.entry((name, of_route(route, labels))).or_default() += value;
        }
    }
}

/// The labels of a number that a filter of this route counts, global ones of none.
pub(crate) fn of_route(route: Option<&str>, mut labels: OwnedLabels) -> OwnedLabels {
    if let Some(route) = route.filter(|_| labels.iter().all(|(name, _)| *name != "route")) {
        labels.insert(0, ("route", route.to_owned()));
    }
    labels
}
