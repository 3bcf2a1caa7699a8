//! Stage 5: which route takes a request.
//!
//! A route may be reached through several hosts; each of them makes an *entry*, and all entries of
//! the table stand in one fixed order, from the best-ranked to the last:
//!
//! 1. `priority`, the higher first;
//! 2. host: exact, then `*.` by the longer name, then none;
//! 3. path: `path`, then `prefix` and `pattern` by the fewest bytes that a matching path has (a
//!    parameter counts as one; on a tie `prefix`, then `pattern`, then `pattern` with a rest), then
//!    `regex`, then none;
//! 4. number of conditions: methods, each header, each query parameter, clients;
//! 5. the order of the file.
//!
//! The first entry in this order whose host, path and conditions all fit takes the request.
//! The place in the order is made a number while building, so that a search only compares numbers:
//! it opens the groups of a host from the best, asks the radix tree which lists of entries the path
//! passes, merges those by number, and passes over whatever could not beat what it has. That is how
//! regular expressions run only when nothing better took the request, and how `priority` costs
//! nothing where it is not used.
//!
//! *Architecture invariant*: no I/O, no clock, and no memory of a request: a [`Table`] never
//! changes and all cores share it. What a search needs to write lies in [`Found`], which a worker
//! reuses.

mod build;
mod condition;
mod explain;
mod host;
pub mod path;
pub mod query;
mod regexes;
mod search;
mod shadow;
mod shape;
mod tree;

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use ringway_config::{Matching, PathPolicy};

use self::condition::{Conditions, Methods};
use self::host::Hosts;
use self::shape::Shape;
use self::tree::{Branch, List, Root, Tree};

pub use self::explain::{Explanation, PassedOver};
pub use self::shadow::Shadowed;

/// What of a request decides its route.
pub struct Request<'a> {
    /// The authority as the client sent it, perhaps with a port; may be empty.
    pub host: &'a [u8],
    /// The path as [`path::normalise`] made it.
    pub path: &'a [u8],
    /// The query without its `?`; empty if there is none.
    pub query: &'a [u8],
    /// The method as the client sent it.
    pub method: &'a [u8],
    /// The address of the client, or the one that a trusted proxy named.
    pub client: IpAddr,
    /// The value of the first header field of a name, which is given in lower case.
    pub header: &'a dyn Fn(&str) -> Option<&'a [u8]>,
}

/// Whom a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The route with this index.
    Route(usize),
    /// No route takes it: 404.
    NotFound,
    /// Some route would, if only the method were another: 405, with [`Found::allow`].
    MethodNotAllowed,
}

/// What a search found, and its memory. One per worker, used again for every request of any table.
#[derive(Debug, Default)]
pub struct Found {
    values: Vec<Range<usize>>,
    /// The names of the values, one behind the other, and where each ends.
    names: String,
    name_ends: Vec<usize>,
    allow: Vec<u8>,
    branches: Vec<Branch>,
    lists: Vec<List>,
    matched: regexes::Matched,
    slots: regexes::Slots,
    scratch: Vec<u8>,
}

impl Found {
    /// Forgets what was found; the memory stays.
    pub fn clear(&mut self) {
        self.values.clear();
        self.names.clear();
        self.name_ends.clear();
        self.allow.clear();
    }

    /// The value of a parameter or capture, given the path that was searched for.
    pub fn value<'p>(&self, name: &str, path: &'p [u8]) -> Option<&'p [u8]> {
        let start = |place: usize| place.checked_sub(1).map_or(0, |before| self.name_ends[before]);
        let place = (0..self.name_ends.len())
            .find(|&place| &self.names[start(place)..self.name_ends[place]] == name)?;
        path.get(self.values.get(place)?.clone())
    }

    /// Notes the names of the values, so that they are known without the table.
    fn name_values(&mut self, names: &[Box<str>]) {
        for name in names {
            self.names.push_str(name);
            self.name_ends.push(self.names.len());
        }
    }

    /// The value of `Allow` after [`Outcome::MethodNotAllowed`]: `GET, POST`.
    pub fn allow(&self) -> &[u8] {
        &self.allow
    }

    /// Takes the value of `Allow` out, so that another search does not forget it.
    pub(crate) fn take_allow(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.allow)
    }

    /// Puts back what [`Found::take_allow`] took.
    pub(crate) fn put_allow(&mut self, allow: Vec<u8>) {
        self.allow = allow;
    }

    /// Where in the path the parameters or captures of the route are, in the order of
    /// [`Table::parameters`].
    pub fn values(&self) -> &[Range<usize>] {
        &self.values
    }
}

/// All routes of a snapshot, ready to be searched.
#[derive(Debug)]
pub struct Table {
    routes: Vec<Compiled>,
    hosts: Hosts,
    groups: Vec<Group>,
    tree: Tree,
    methods: Methods,
    /// Route and group of each entry, by rank.
    order: Vec<(u32, u32)>,
}

#[derive(Debug)]
struct Compiled {
    shape: Shape,
    conditions: Conditions,
}

/// All entries of one host.
#[derive(Debug)]
struct Group {
    host: host::HostMatch,
    /// The lowest rank of all of them.
    best: u32,
    root: Root,
    regexes: Option<RegexGroup>,
    /// Those that ask for no path.
    any: List,
}

#[derive(Debug)]
struct RegexGroup {
    set: regexes::Set,
    /// In the order of the set.
    list: List,
}

/// Why a table cannot be built. The field path is relative to the route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("route {route}: {field}: {message}")]
pub struct RouteError {
    /// The index of the route.
    pub route: usize,
    /// The field that is at fault: `prefix`, `host[1]`, `headers.x-env.regex`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// What to write instead, if that can be said.
    pub help: Option<String>,
}

/// What of a route did not fit a request. Ordered by how near it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mismatch {
    /// The host.
    Host,
    /// The path.
    Path,
    /// The client's address.
    Client,
    /// The test on a header field with this index.
    Header(usize),
    /// The test on a query parameter with this index.
    Query(usize),
    /// The method, and nothing else.
    Method,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Mismatch::Host => "the host differs",
            Mismatch::Path => "the path differs",
            Mismatch::Client => "the client address is in none of its ranges",
            Mismatch::Header(_) => "a header field differs",
            Mismatch::Query(_) => "a query parameter differs",
            Mismatch::Method => "the method is not among its methods",
        })
    }
}

impl Table {
    /// Builds the table of these routes, which are known by their index from then on.
    /// `policy` is how the paths of requests are normalised; those of routes are as well.
    ///
    /// # Errors
    /// All routes that cannot be.
    pub fn build<'m>(
        routes: impl IntoIterator<Item = &'m Matching>,
        policy: &PathPolicy,
    ) -> Result<Table, Vec<RouteError>> {
        build::build(routes.into_iter(), policy)
    }

    /// Finds the route of a request. Allocates nothing once `found` has seen a request like it.
    pub fn find(&self, request: &Request<'_>, found: &mut Found) -> Outcome {
        search::search(self, request, found, &mut ())
    }

    /// Says what [`Table::find`] does with a request, and why each better-ranked route did not take
    /// it.
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        explain::explain(self, request)
    }

    /// What a route had against a request, in words, with the name of what does not fit.
    pub fn reason(&self, passed: &PassedOver) -> String {
        let conditions = &self.routes[passed.route].conditions;
        match passed.why {
            Mismatch::Header(at) => format!("the header `{}` differs", conditions.header_name(at)),
            Mismatch::Query(at) => {
                format!("the query parameter `{}` differs", conditions.query_name(at))
            }
            other => other.to_string(),
        }
    }

    /// Routes that surely can never be reached, because a better-ranked one takes all that they
    /// could.
    pub fn unreachable(&self) -> Vec<Shadowed> {
        shadow::unreachable(self)
    }

    /// The names of a route's parameters or captures; a capture without a name has its number.
    pub fn parameters(&self, route: usize) -> impl Iterator<Item = &str> {
        self.routes[route].shape.names().iter().map(|name| &**name)
    }

    /// The path without the prefix of the route; what is left begins with a slash. The path of a
    /// route that has no prefix is left alone.
    pub fn strip_prefix<'p>(&self, route: usize, path: &'p [u8]) -> &'p [u8] {
        let Shape::Prefix(prefix) = &self.routes[route].shape else { return path };
        let rest = path.get(prefix.strip_suffix(b"/").unwrap_or(prefix).len()..);
        rest.filter(|rest| !rest.is_empty()).unwrap_or(b"/")
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

#[cfg(test)]
mod tests;
