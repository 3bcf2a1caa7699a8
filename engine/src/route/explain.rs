//! Why a request takes the route that it takes.

use super::search::{Observer, search};
use super::tree::Entry;
use super::{Found, Mismatch, Outcome, Request, Table};

/// What became of a request, and what better-ranked routes had against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The same as [`Table::find`] says.
    pub outcome: Outcome,
    /// Every route that ranks before the one that took the request, or every route if none did, in
    /// the order of their rank. Each comes once, with the reason that came nearest.
    pub passed_over: Vec<PassedOver>,
    /// Names and values of the parameters or captures.
    pub parameters: Vec<(String, String)>,
    /// The value of `Allow` if the method was not allowed, else empty.
    pub allow: String,
}

/// A route that did not take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Its index.
    pub route: usize,
    /// What did not fit.
    pub why: Mismatch,
}

/// Keeps everything that the search says, by rank.
struct Witness {
    opened: Vec<bool>,
    passed_over: Vec<Option<Mismatch>>,
}

impl Observer for Witness {
    fn opened(&mut self, group: usize) {
        self.opened[group] = true;
    }

    fn passed_over(&mut self, entry: Entry, why: Mismatch) {
        self.passed_over[entry.rank as usize] = Some(why);
    }
}

pub(super) fn explain(table: &Table, request: &Request<'_>) -> Explanation {
    let mut found = Found::default();
    let mut witness = Witness {
        opened: vec![false; table.groups.len()],
        passed_over: vec![None; table.order.len()],
    };
    let outcome = search(table, request, &mut found, &mut witness);
    let mut places = vec![None; table.routes.len()];
    let mut passed_over: Vec<PassedOver> = Vec::new();
    for (rank, &(route, group)) in table.order.iter().enumerate() {
        let route = route as usize;
        let why = match witness.passed_over[rank] {
            Some(why) => why,
            // The search opened the host and went by: then it was the path that did not fit, or the
            // entry is the winner itself.
            None if witness.opened[group as usize] => {
                if outcome == Outcome::Route(route) {
                    break;
                }
                Mismatch::Path
            }
            None => Mismatch::Host,
        };
        match places[route] {
            None => {
                places[route] = Some(passed_over.len());
                passed_over.push(PassedOver { route, why });
            }
            Some(place) => {
                let known: &mut PassedOver = &mut passed_over[place];
                known.why = known.why.max(why);
            }
        }
    }
    passed_over.retain(|passed| outcome != Outcome::Route(passed.route));
    let parameters = match outcome {
        Outcome::Route(route) => table
            .parameters(route)
            .zip(found.values())
            .map(|(name, range)| {
                let value = String::from_utf8_lossy(&request.path[range.clone()]);
                (name.to_owned(), value.into_owned())
            })
            .collect(),
        Outcome::NotFound | Outcome::MethodNotAllowed => Vec::new(),
    };
    let allow = String::from_utf8_lossy(found.allow()).into_owned();
    Explanation { outcome, passed_over, parameters, allow }
}
