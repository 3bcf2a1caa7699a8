//! Builds a table: lowers every route, ranks all entries, and plants them.

use std::cmp::Reverse;

use ringway_config::{Matching, PathPolicy};

use super::condition::{Conditions, Methods};
use super::host::{HostMatch, HostRank, Hosts};
use super::regexes::Set;
use super::shape::{PathRank, Shape};
use super::tree::{Draft, Entry, List, Tree};
use super::{Compiled, Group, RegexGroup, RouteError, Table};

pub(super) fn build<'m>(
    routes: impl Iterator<Item = &'m Matching>,
    policy: &PathPolicy,
) -> Result<Table, Vec<RouteError>> {
    let mut errors = Vec::new();
    let mut methods = Methods::default();
    let mut compiled = Vec::new();
    let mut wanted = Vec::new();
    for (route, matching) in routes.enumerate() {
        let mut keep = |error| errors.push(error);
        let shape = Shape::new(route, &matching.path, policy).map_err(&mut keep).ok();
        let conditions = Conditions::new(route, matching, &mut methods).map_err(&mut keep).ok();
        let hosts = hosts(route, matching, &mut keep);
        let (Some(shape), Some(conditions)) = (shape, conditions) else { continue };
        for host in hosts {
            wanted.push((Key::new(route, matching, &host, &shape, &conditions), host));
        }
        compiled.push(Compiled { shape, conditions });
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    wanted.sort_by_key(|(key, _)| *key);

    let mut hosts = Hosts::default();
    let mut order = Vec::with_capacity(wanted.len());
    let mut members: Vec<(HostMatch, Vec<Entry>)> = Vec::new();
    for (rank, (key, host)) in wanted.into_iter().enumerate() {
        let group = hosts.group(host.clone(), members.len());
        if group == members.len() {
            members.push((host, Vec::new()));
        }
        let Compiled { shape, conditions } = &compiled[key.route];
        members[group].1.push(Entry {
            rank: rank as u32,
            route: key.route as u32,
            free: conditions.count() == 0,
            plain: shape.names().is_empty(),
        });
        order.push((key.route as u32, group as u32));
    }

    let mut tree = Tree::default();
    let mut groups = Vec::with_capacity(members.len());
    for (host, entries) in members {
        match group(host, &entries, &compiled, &mut tree) {
            Ok(group) => groups.push(group),
            Err(error) => errors.push(error),
        }
    }
    match errors.is_empty() {
        true => Ok(Table { routes: compiled, hosts, groups, tree, methods, order }),
        false => Err(errors),
    }
}

/// The hosts of a route, each once.
fn hosts(route: usize, matching: &Matching, fail: &mut impl FnMut(RouteError)) -> Vec<HostMatch> {
    if matching.hosts.is_empty() {
        return vec![HostMatch::Any];
    }
    let mut hosts = Vec::with_capacity(matching.hosts.len());
    for (place, text) in matching.hosts.iter().enumerate() {
        match HostMatch::new(text) {
            Ok(host) if hosts.contains(&host) => {}
            Ok(host) => hosts.push(host),
            Err((message, help)) => {
                let field = match matching.hosts.len() {
                    1 => "host".to_owned(),
                    _ => format!("host[{place}]"),
                };
                fail(RouteError { route, field, message, help });
            }
        }
    }
    hosts
}

/// The rules of ranking, in their order: the docs of [`super`] have the words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    priority: Reverse<i32>,
    host: HostRank,
    path: PathRank,
    conditions: Reverse<usize>,
    route: usize,
}

impl Key {
    fn new(
        route: usize,
        matching: &Matching,
        host: &HostMatch,
        shape: &Shape,
        conditions: &Conditions,
    ) -> Key {
        Key {
            priority: Reverse(matching.priority),
            host: host.rank(),
            path: shape.rank(),
            conditions: Reverse(conditions.count()),
            route,
        }
    }
}

/// Plants the entries of one host, which come in the order of their rank.
fn group(
    host: HostMatch,
    entries: &[Entry],
    routes: &[Compiled],
    tree: &mut Tree,
) -> Result<Group, RouteError> {
    let mut draft = Draft::default();
    let mut planted = false;
    let mut any = Vec::new();
    let (mut regexes, mut texts) = (Vec::new(), Vec::new());
    for &entry in entries {
        let shape = &routes[entry.route as usize].shape;
        match shape {
            Shape::Any => any.push(entry),
            Shape::Regex { text, .. } => {
                regexes.push(entry);
                texts.push(&**text);
            }
            Shape::Exact(_) | Shape::Prefix(_) | Shape::Pattern(_) => {
                planted |= draft.insert(shape, entry);
            }
        }
    }
    let regexes = match regexes.first() {
        None => None,
        Some(first) => Some(RegexGroup {
            set: Set::new(&texts).map_err(|message| RouteError {
                route: first.route as usize,
                field: "regex".to_owned(),
                message,
                help: Some("make patterns of some of them".to_owned()),
            })?,
            list: tree.add_list(regexes),
        }),
    };
    Ok(Group {
        host,
        best: entries.first().map_or(u32::MAX, |entry| entry.rank),
        root: planted.then(|| tree.plant(draft)),
        regexes,
        any: if any.is_empty() { List::default() } else { tree.add_list(any) },
    })
}
