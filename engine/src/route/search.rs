//! The search: one code for [`super::Table::find`] and [`super::Table::explain`], which watches.

use super::condition::MethodSet;
use super::tree::{Entry, List};
use super::{Found, Group, Mismatch, Outcome, Request, Table};

/// Sees what a search does. `()` sees nothing and costs nothing.
pub(super) trait Observer {
    /// A group of entries is opened.
    fn opened(&mut self, group: usize);
    /// Host and path of an entry fit, but this did not.
    fn passed_over(&mut self, entry: Entry, why: Mismatch);
}

impl Observer for () {
    fn opened(&mut self, _: usize) {}
    fn passed_over(&mut self, _: Entry, _: Mismatch) {}
}

pub(super) fn search<O: Observer>(
    table: &Table,
    request: &Request<'_>,
    found: &mut Found,
    observer: &mut O,
) -> Outcome {
    found.clear();
    let method = table.methods.bit(request.method);
    let mut search =
        Search { table, request, method, found, observer, best: u32::MAX, winner: None, allow: 0 };
    table.hosts.each(request.host, |group| search.group(group));
    let Search { winner, allow, .. } = search;
    match winner {
        Some(entry) => {
            let route = entry.route as usize;
            if !entry.plain {
                let shape = &table.routes[route].shape;
                shape.fill(request.path, &mut found.slots, &mut found.values);
                found.name_values(shape.names());
            }
            Outcome::Route(route)
        }
        None if allow != 0 => {
            table.methods.write(allow, &mut found.allow);
            Outcome::MethodNotAllowed
        }
        None => Outcome::NotFound,
    }
}

struct Search<'a, 'r, O> {
    table: &'a Table,
    request: &'a Request<'r>,
    method: MethodSet,
    found: &'a mut Found,
    observer: &'a mut O,
    /// The rank of the winner so far. Only what is lower is worth a look.
    best: u32,
    winner: Option<Entry>,
    /// The methods with which routes would have taken the request.
    allow: MethodSet,
}

impl<O: Observer> Search<'_, '_, O> {
    fn group(&mut self, index: usize) {
        let group = &self.table.groups[index];
        if group.best >= self.best {
            return;
        }
        self.observer.opened(index);
        let Found { branches, lists, .. } = &mut *self.found;
        self.table.tree.walk(group.root, self.request.path, branches, lists);
        self.merge();
        self.regexes(group);
        self.list(group.any);
    }

    /// Goes through the lists of the walk as if they were one.
    fn merge(&mut self) {
        loop {
            let mut next: Option<(usize, Entry)> = None;
            let mut rank = self.best;
            for (place, &list) in self.found.lists.iter().enumerate() {
                match self.table.tree.first(list) {
                    Some(entry) if entry.rank < rank => {
                        rank = entry.rank;
                        next = Some((place, *entry));
                    }
                    _ => {}
                }
            }
            let Some((place, entry)) = next else { return };
            if self.consider(entry) {
                return;
            }
            let list = &mut self.found.lists[place];
            *list = list.rest();
        }
    }

    fn regexes(&mut self, group: &Group) {
        let Some(regexes) = &group.regexes else { return };
        let entries = self.table.tree.all(regexes.list);
        if entries.first().is_none_or(|entry| entry.rank >= self.best) {
            return;
        }
        let mut matched = std::mem::take(&mut self.found.matched);
        for place in regexes.set.matches(self.request.path, &mut matched) {
            let entry = entries[place];
            if entry.rank >= self.best || self.consider(entry) {
                break;
            }
        }
        self.found.matched = matched;
    }

    fn list(&mut self, list: List) {
        for &entry in self.table.tree.all(list) {
            if entry.rank >= self.best || self.consider(entry) {
                return;
            }
        }
    }

    /// Whether an entry whose host and path fit takes the request.
    fn consider(&mut self, entry: Entry) -> bool {
        let conditions = &self.table.routes[entry.route as usize].conditions;
        if !entry.free
            && let Err(why) = conditions.check(self.request, self.method, &mut self.found.scratch)
        {
            if why == Mismatch::Method {
                self.allow |= conditions.methods;
            }
            self.observer.passed_over(entry, why);
            return false;
        }
        self.best = entry.rank;
        self.winner = Some(entry);
        true
    }
}
