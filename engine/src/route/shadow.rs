//! Routes that can never be reached. Only what is certain is said: a route that is not named here
//! may still be out of reach, but a route that is named here is.

use std::collections::HashMap;

use super::host::HostMatch;
use super::shape::Shape;
use super::tree::{Branch, Entry, List};
use super::{Compiled, Group, Table};

/// A route that no request can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadowed {
    /// Its index.
    pub route: usize,
    /// The index of a better-ranked route that takes what this one could: of its best-ranked host,
    /// if several hosts are each taken by another route.
    pub by: usize,
}

pub(super) fn unreachable(table: &Table) -> Vec<Shadowed> {
    let mut analysis = Analysis::new(table);
    // `None` once any host of the route can be reached.
    let mut verdicts: Vec<Option<Option<usize>>> = vec![Some(None); table.routes.len()];
    for (rank, &(route, group)) in table.order.iter().enumerate() {
        let verdict = &mut verdicts[route as usize];
        let Some(known) = verdict else { continue };
        match analysis.shadow(rank as u32, route, &table.groups[group as usize]) {
            Some(by) => *known = Some(known.unwrap_or(by)),
            None => *verdict = None,
        }
    }
    let shadowed = verdicts.into_iter().enumerate();
    shadowed.filter_map(|(route, by)| Some(Shadowed { route, by: by?? })).collect()
}

/// One table under analysis, and the memory of its walks.
struct Analysis<'t> {
    table: &'t Table,
    branches: Vec<Branch>,
    lists: Vec<List>,
    /// The regular expressions of each group by their text: only equal ones are compared.
    regexes: HashMap<(*const Group, &'t str), Vec<Entry>>,
}

impl<'t> Analysis<'t> {
    fn new(table: &'t Table) -> Analysis<'t> {
        let mut regexes: HashMap<_, Vec<Entry>> = HashMap::new();
        for group in &table.groups {
            for &entry in group.regexes.iter().flat_map(|group| table.tree.all(group.list)) {
                if let Shape::Regex { text, .. } = &table.routes[entry.route as usize].shape {
                    regexes.entry((&raw const *group, &**text)).or_default().push(entry);
                }
            }
        }
        Analysis { table, branches: Vec::new(), lists: Vec::new(), regexes }
    }

    /// A route that takes all requests which the entry of this rank could take.
    fn shadow(&mut self, rank: u32, route: u32, group: &Group) -> Option<usize> {
        let table = self.table;
        let route = &table.routes[route as usize];
        let mut found = None;
        each_wider(table, &group.host, |wider| {
            if found.is_none() {
                found = self.shadow_in(rank, route, wider);
            }
        });
        found
    }

    fn shadow_in(&mut self, rank: u32, route: &Compiled, group: &Group) -> Option<usize> {
        let table = self.table;
        let covers = |entry: &&Entry| {
            let other = &table.routes[entry.route as usize];
            other.shape.covers(&route.shape) && other.conditions.cover(&route.conditions)
        };
        // Only the better-ranked can cover; they come first in every list.
        let first = |entries: &[Entry]| {
            let better = entries.iter().take_while(|entry| entry.rank < rank);
            better.take(MAX_COMPARED).find(covers).map(|entry| entry.route as usize)
        };
        if let Some(by) = first(table.tree.all(group.any)) {
            return Some(by);
        }
        if let Shape::Regex { text, .. } = &route.shape {
            let equal = self.regexes.get(&(&raw const *group, &**text));
            return equal.and_then(|entries| first(entries));
        }
        // What covers the shape takes each of its paths, so that the walk of one path yields all.
        let sample = route.shape.sample()?;
        table.tree.walk(group.root, &sample, &mut self.branches, &mut self.lists);
        self.lists.iter().find_map(|&list| first(table.tree.all(list)))
    }
}

/// How many routes of one host and path are compared with one another before the analysis gives up:
/// it is quadratic in them.
const MAX_COMPARED: usize = 1_000;

/// Calls `visit` with each group whose host takes all that this host takes, itself first.
fn each_wider<'t>(table: &'t Table, host: &HostMatch, mut visit: impl FnMut(&'t Group)) {
    let mut visit = |index: usize| visit(&table.groups[index]);
    match host {
        HostMatch::Exact(name) => table.hosts.each(name, visit),
        // Any one label stands for what the wildcard stands for.
        HostMatch::Below(suffix) => table.hosts.each(&[b"*", &**suffix].concat(), visit),
        HostMatch::Any => table.hosts.each(b"", &mut visit),
    }
}
