//! Holds two files against each other.
//!
//! Whether something differs is decided by what the files mean, so that a default that is written
//! out is no difference. What differs is then looked up in what is written.

use std::collections::{HashMap, HashSet};

use ringway_config::{Config, Field, Route, Source};
use ringway_filters::FilterSettings;

use super::guards;
use super::{Change, Diff, FieldChange, FilterChange, Kind, Loosened, Lost, Shadowed, Things};
use crate::file::{Opened, fixed};

/// What `new` changes of `old`.
pub(crate) fn compare(old: &Opened, new: &Opened) -> Diff {
    let comparison = Comparison { old, new };
    let routes = comparison.routes();
    Diff {
        settings: comparison.settings(),
        upstreams: comparison.upstreams(),
        global_filters: comparison.filters(
            (&old.config.global_filters, "global_filters"),
            (&new.config.global_filters, "global_filters"),
        ),
        routes_reordered: comparison.reordered(),
        shadowed: comparison.shadowed(),
        lost: comparison.lost(&routes),
        guards: comparison.guards(&routes),
        restart: fixed(&old.config, &new.config).into_iter().map(|fault| fault.path).collect(),
        routes,
    }
}

struct Comparison<'a> {
    old: &'a Opened,
    new: &'a Opened,
}

/// A list of filters, and where it is written.
type Filters<'a> = (&'a [FilterSettings], &'a str);

impl Comparison<'_> {
    fn settings(&self) -> Vec<Change> {
        let (old, new) = (&self.old.config, &self.new.config);
        let sections = [
            ("workers", old.workers == new.workers),
            ("server", old.server == new.server),
            ("log", old.log == new.log),
            ("reload", old.reload == new.reload),
            ("admin", old.admin == new.admin),
        ];
        let changed = sections.into_iter().filter(|(_, same)| !same);
        changed.map(|(name, _)| self.change(name, name, name)).collect()
    }

    fn upstreams(&self) -> Things {
        let (old, new) = (&self.old.config.upstreams, &self.new.config.upstreams);
        let place = |name: &str| format!("upstreams.{}", quoted(name));
        let changed =
            new.iter().filter(|(name, now)| old.get(*name).is_some_and(|was| was != *now));
        Things {
            added: new.keys().filter(|name| !old.contains_key(*name)).cloned().collect(),
            removed: old.keys().filter(|name| !new.contains_key(*name)).cloned().collect(),
            changed: changed
                .map(|(name, _)| self.change(name, &place(name), &place(name)))
                .collect(),
        }
    }

    fn routes(&self) -> Things {
        let (old, new) = (&self.old.config, &self.new.config);
        let (before, after) = (places(old), places(new));
        let removed: Vec<_> = old.routes.iter().filter(|r| !after.contains_key(&*r.name)).collect();
        let mut things = Things::default();
        let mut renamed = HashSet::new();
        for (at, route) in new.routes.iter().enumerate() {
            let was = match before.get(&*route.name) {
                Some(was) => Some(*was),
                // The same requests under another name: it is still the same thing.
                None => removed
                    .iter()
                    .find(|r| r.matching == route.matching && !renamed.contains(&*r.name))
                    .map(|r| before[&*r.name]),
            };
            let Some(was) = was else {
                things.added.push(route.name.clone());
                continue;
            };
            let theirs = &old.routes[was];
            renamed.insert(theirs.name.as_str());
            if theirs != route {
                things.changed.push(self.route((was, theirs), (at, route)));
            }
        }
        let gone = removed.into_iter().filter(|route| !renamed.contains(&*route.name));
        things.removed = gone.map(|route| route.name.clone()).collect();
        things
    }

    fn route(
        &self,
        (was, old): (usize, &Route<FilterSettings>),
        (at, new): (usize, &Route<FilterSettings>),
    ) -> Change {
        let (was, at) = (format!("routes[{was}]"), format!("routes[{at}]"));
        let mut change = self.change(&new.name, &was, &at);
        change
            .fields
            .retain(|change| change.field != "name" && !change.field.starts_with("filters"));
        change.renamed_from = (old.name != new.name).then(|| old.name.clone());
        change.filters = self.filters(
            (&old.filters, &format!("{was}.filters")),
            (&new.filters, &format!("{at}.filters")),
        );
        change
    }

    fn change(&self, name: &str, was: &str, at: &str) -> Change {
        let fields = differing(&self.old.source, was, &self.new.source, at);
        Change { name: name.to_owned(), fields, ..Change::default() }
    }

    /// What becomes of the filters of a list: those with equal settings stay, of what is left those
    /// of one kind have changed, and the rest has come or gone.
    fn filters(&self, (old, was): Filters<'_>, (new, at): Filters<'_>) -> Vec<FilterChange> {
        let kinds = (self.old.source.kinds(was), self.new.source.kinds(at));
        let kind = |kinds: &[String], at: usize| kinds.get(at).cloned().unwrap_or_default();
        let mut left: Vec<usize> = (0..old.len()).collect();
        let mut kept = Vec::new();
        let mut open = Vec::new();
        for (place, settings) in new.iter().enumerate() {
            match left.iter().position(|&at| old[at] == *settings) {
                Some(found) => kept.push((left.remove(found), kind(&kinds.1, place))),
                None => open.push(place),
            }
        }
        let mut changes = Vec::new();
        for place in open {
            let filter = kind(&kinds.1, place);
            let theirs = left.iter().position(|&at| kind(&kinds.0, at) == filter);
            let (change, fields) = match theirs.map(|found| left.remove(found)) {
                Some(theirs) => {
                    let (was, at) = (format!("{was}[{theirs}]"), format!("{at}[{place}]"));
                    let fields = differing(&self.old.source, &was, &self.new.source, &at);
                    (Kind::Changed, fields)
                }
                None => (Kind::Added, Vec::new()),
            };
            changes.push(FilterChange { filter, change, fields });
        }
        changes.extend(left.into_iter().map(|at| FilterChange {
            filter: kind(&kinds.0, at),
            change: Kind::Removed,
            fields: Vec::new(),
        }));
        let moved = kept.windows(2).filter(|pair| pair[0].0 > pair[1].0);
        changes.extend(moved.map(|pair| FilterChange {
            filter: pair[1].1.clone(),
            change: Kind::Moved,
            fields: Vec::new(),
        }));
        changes
    }

    fn reordered(&self) -> bool {
        let (before, after) = (places(&self.old.config), places(&self.new.config));
        let common = |config: &Config<FilterSettings>| -> Vec<String> {
            let both = |name: &str| before.contains_key(name) && after.contains_key(name);
            let names = config.routes.iter().map(|route| &route.name);
            names.filter(|name| both(name)).cloned().collect()
        };
        common(&self.old.config) != common(&self.new.config)
    }

    /// Of routes that no request reaches any more, the filters that kept requests out and that
    /// those requests pass no more: the route that takes them has none of this kind.
    fn lost_in_shadow(&self, routes: &Things) -> Vec<Lost> {
        let shadowed = self.shadowed();
        if shadowed.is_empty() {
            return Vec::new();
        }
        let kinds = |opened: &Opened| -> HashMap<String, Vec<&'static str>> {
            let all = opened.snapshot.guards();
            let named = |(_, of): (&str, Vec<(&'static str, _)>)| {
                of.into_iter().map(|(kind, _)| kind).collect()
            };
            all.map(|guarded| (guarded.0.to_owned(), named(guarded))).collect()
        };
        let (old, new, renamed) = (kinds(self.old), kinds(self.new), renamed(routes));
        let none = Vec::new();
        let mut lost = Vec::new();
        for Shadowed { route, by } in &shadowed {
            let name = renamed.get(&**route).copied().unwrap_or(route);
            let (had, has) = (old.get(name).unwrap_or(&none), new.get(by).unwrap_or(&none));
            lost.extend(had.iter().filter(|kind| !has.contains(kind)).map(|kind| Lost {
                route: route.clone(),
                filter: (*kind).to_owned(),
                guard: true,
            }));
        }
        lost
    }

    fn shadowed(&self) -> Vec<Shadowed> {
        let before: HashSet<_> = self.old.snapshot.shadowed().map(|(route, _)| route).collect();
        let fresh = self.new.snapshot.shadowed().filter(|(route, _)| !before.contains(route));
        fresh.map(|(route, by)| Shadowed { route: route.to_owned(), by: by.to_owned() }).collect()
    }

    /// What becomes of the filters that keep requests out and are still there.
    fn guards(&self, routes: &Things) -> Vec<Loosened> {
        let renamed = renamed(routes);
        let old: HashMap<_, _> = guards::routes(&self.old.config, &self.old.snapshot)
            .map(|route| (route.name, route))
            .collect();
        let mut found: Vec<Loosened> = Vec::new();
        for route in guards::routes(&self.new.config, &self.new.snapshot) {
            let was = old.get(renamed.get(route.name).copied().unwrap_or(route.name));
            for (filter, weaker, what) in guards::compare(was, &route) {
                let what = self.old.source.hide(&self.new.source.hide(&what));
                let same = |one: &&mut Loosened| {
                    one.filter == filter && one.weaker == weaker && one.what == what
                };
                match found.iter_mut().find(same) {
                    Some(known) => known.routes.push(route.name.to_owned()),
                    None => {
                        let (routes, filter) = (vec![route.name.to_owned()], filter.to_owned());
                        found.push(Loosened { routes, filter, weaker, what });
                    }
                }
            }
        }
        found
    }

    /// The routes that pass fewer kinds of filters than before, global ones counted.
    fn lost(&self, routes: &Things) -> Vec<Lost> {
        let renamed = renamed(routes);
        let before = places(&self.old.config);
        let kept_out: HashSet<&str> =
            self.old.snapshot.guards().flat_map(|(_, of)| of).map(|(filter, _)| filter).collect();
        let (old, new) = (&self.old.source, &self.new.source);
        let (global_before, global) = (old.kinds("global_filters"), new.kinds("global_filters"));
        let mut lost = Vec::new();
        for (at, route) in self.new.config.routes.iter().enumerate() {
            let name = renamed.get(&*route.name).copied().unwrap_or(&route.name);
            let Some(was) = before.get(name) else { continue };
            let had = old.kinds(&format!("routes[{was}].filters"));
            let has = new.kinds(&format!("routes[{at}].filters"));
            let mut told = HashSet::new();
            for filter in global_before.iter().chain(&had) {
                let gone = !has.contains(filter) && !global.contains(filter);
                if gone && told.insert(filter) {
                    lost.push(Lost {
                        route: route.name.clone(),
                        filter: filter.clone(),
                        guard: kept_out.contains(filter.as_str()),
                    });
                }
            }
        }
        for shadow in self.lost_in_shadow(routes) {
            if !lost.contains(&shadow) {
                lost.push(shadow);
            }
        }
        lost
    }
}

/// The names that routes had before, by those that they have.
fn renamed(routes: &Things) -> HashMap<&str, &str> {
    let changed = routes.changed.iter();
    changed.filter_map(|change| Some((&*change.name, change.renamed_from.as_deref()?))).collect()
}

fn places(config: &Config<FilterSettings>) -> HashMap<&str, usize> {
    config.routes.iter().enumerate().map(|(at, route)| (route.name.as_str(), at)).collect()
}

/// The name as a step of a field path.
fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// The fields below `was` in one file that are not the same below `at` in the other.
fn differing(old: &Source, was: &str, new: &Source, at: &str) -> Vec<FieldChange> {
    let (old, new) = (old.fields(was), new.fields(at));
    let by_path = |fields: &[Field]| -> HashMap<String, Field> {
        fields.iter().map(|field| (field.path.clone(), field.clone())).collect()
    };
    let (before, after) = (by_path(&old), by_path(&new));
    let gone = old.iter().filter(|field| !after.contains_key(&field.path));
    let gone = gone.map(|field| (field.path.clone(), Some(field.shown.clone()), None));
    let changed = new.iter().filter_map(|field| {
        let was = before.get(&field.path);
        let same = was.is_some_and(|was| was.is_same(field));
        let shown = was.map(|was| was.shown.clone());
        (!same).then(|| (field.path.clone(), shown, Some(field.shown.clone())))
    });
    let all = gone.chain(changed);
    all.map(|(field, before, after)| FieldChange { field, before, after }).collect()
}
