//! The sections of a file, each read by itself, so that what is wrong in one hides nothing in
//! another.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use indexmap::IndexMap;
use serde::de::{Deserialize, DeserializeOwned};

use crate::admin::{Admin, AdminWritten};
use crate::document::{Entry, Node, Value};
use crate::findings::Findings;
use crate::reader::{self, Skipped, nearest, one_of};
use crate::route::{Route, RouteWritten};
use crate::server::ServerWritten;
use crate::source::Source;
use crate::upstream::{Upstream, UpstreamWritten};
use crate::{Config, check};

/// The sections of a file, in the order of the reference.
pub(crate) const SECTIONS: [&str; 8] =
    ["workers", "server", "log", "reload", "admin", "upstreams", "routes", "global_filters"];

/// Reads all sections below the topmost node. What is wrong is added to the findings.
pub(crate) fn read<F: DeserializeOwned + Send>(
    root: Option<&Node>,
    source: &Source,
    findings: &mut Findings<'_>,
) -> Config<F> {
    let mut reading = Reading { source, findings, routes: Vec::new(), upstreams: Vec::new() };
    let entries = reading.entries(root);
    let find = |name: &str| entries.iter().find(|entry| &*entry.key == name);
    let mut config = Config {
        workers: reading.section(find("workers")),
        server: reading.server(find("server")),
        log: reading.section(find("log")),
        reload: reading.section(find("reload")),
        admin: find("admin").and_then(|entry| reading.admin(entry)),
        upstreams: reading.upstreams(find("upstreams")),
        routes: Vec::new(),
        global_filters: Vec::new(),
    };
    reading.routes(find("routes"));
    if let Some(entry) = find("global_filters") {
        config.global_filters = reading.filters(&entry.value, "global_filters").unwrap_or_default();
    }
    let Reading { routes, upstreams, findings, .. } = reading;
    check::check(&config, &routes, &upstreams, findings);
    config.routes = routes.into_iter().map(|(_, route)| route).collect();
    config
}

struct Reading<'a, 'f, F> {
    source: &'a Source,
    findings: &'a mut Findings<'f>,
    /// The routes that could be read, each with its number in the file.
    routes: Vec<(usize, Route<F>)>,
    /// The names of all upstreams, whether they could be read or not.
    upstreams: Vec<String>,
}

impl<F: DeserializeOwned + Send> Reading<'_, '_, F> {
    /// The sections that are written.
    fn entries<'n>(&mut self, root: Option<&'n Node>) -> &'n [Entry] {
        let Some(root) = root.filter(|root| !root.is_null()) else {
            // What was cut off or not yet written must not be taken for "serve nothing".
            let help = "write at least one route below `routes:`";
            self.findings.error("", "the file is empty", help);
            return &[];
        };
        let Value::Map(entries) = &root.value else {
            let place = root.place.clone();
            let help = format!("its sections are {}", one_of(&SECTIONS, "and"));
            let message = "the file must be a map of sections".to_owned();
            self.findings.errors.push(self.source.at(Some(place), "", message, Some(help)));
            return &[];
        };
        for entry in entries.iter().filter(|entry| !SECTIONS.contains(&&*entry.key)) {
            let help = match nearest(&entry.key, &SECTIONS) {
                Some(section) => format!("did you mean `{section}`?"),
                None => format!("the sections are {}", one_of(&SECTIONS, "and")),
            };
            let message = format!("unknown section `{}`", entry.key);
            let place = Some(entry.key_place.clone());
            let path = reader::quote_key(&entry.key);
            self.findings.errors.push(self.source.at(place, &path, message, Some(help)));
        }
        entries
    }

    /// Reads a value, or says what is wrong with it.
    fn read<T: for<'de> Deserialize<'de>>(
        &mut self,
        node: &Node,
        path: &str,
        noun: &'static str,
    ) -> Option<T> {
        let mut problems = Vec::new();
        let value = reader::read(node, path, noun, &mut problems);
        for problem in problems {
            let (place, path) = match problem.at {
                Some((place, path)) => (Some(place), path),
                None => (Some(node.place.clone()), path.to_owned()),
            };
            let diagnostic = self.source.at(place, &path, problem.message, problem.help);
            self.findings.errors.push(diagnostic);
        }
        value
    }

    fn section<T: for<'de> Deserialize<'de> + Default>(&mut self, entry: Option<&Entry>) -> T {
        entry.and_then(|entry| self.read(&entry.value, &entry.key, "")).unwrap_or_default()
    }

    fn server(&mut self, entry: Option<&Entry>) -> crate::Server {
        self.section::<ServerWritten>(entry).lower(self.findings)
    }

    fn admin(&mut self, entry: &Entry) -> Option<Admin> {
        let written: AdminWritten = self.read(&entry.value, "admin", "")?;
        written.lower(self.findings)
    }

    fn upstreams(&mut self, entry: Option<&Entry>) -> IndexMap<String, Upstream> {
        let mut upstreams = IndexMap::new();
        let Some(entry) = entry.filter(|entry| !entry.value.is_null()) else { return upstreams };
        let Value::Map(entries) = &entry.value.value else {
            let help = "write `NAME:` and below it `targets:`, for each upstream";
            self.findings.error("upstreams", "expected a map of upstreams by name", help);
            return upstreams;
        };
        for entry in entries {
            self.upstreams.push(entry.key.to_string());
            let path = format!("upstreams.{}", reader::quote_key(&entry.key));
            if let Some(upstream) = self.read::<UpstreamWritten>(&entry.value, &path, "") {
                let upstream = upstream.lower(&path, self.findings);
                upstreams.insert(entry.key.to_string(), upstream);
            }
        }
        upstreams
    }

    fn routes(&mut self, entry: Option<&Entry>) {
        let Some(entry) = entry else { return };
        let nodes = self.list(&entry.value, "routes", "- name: …");
        let source = self.source;
        let read = |first: usize, nodes: &[Arc<Node>]| {
            let mut findings = Findings::new(source);
            let routes = Vec::with_capacity(nodes.len());
            let mut reading =
                Reading { source, findings: &mut findings, routes, upstreams: Vec::new() };
            nodes.iter().enumerate().for_each(|(at, node)| reading.route(first + at, node));
            (reading.routes, findings)
        };
        for (routes, findings) in in_shares(nodes, &read) {
            match self.routes.is_empty() {
                true => self.routes = routes,
                false => self.routes.extend(routes),
            }
            self.findings.errors.extend(findings.errors);
            self.findings.warnings.extend(findings.warnings);
        }
    }

    fn route(&mut self, index: usize, node: &Node) {
        let path = format!("routes[{index}]");
        let before = self.findings.errors.len();
        let written: Option<RouteWritten<Skipped>> = self.read(node, &path, "");
        let filters = match node.get("filters") {
            // What is no list has been spoken about by the route.
            Some(entry) if matches!(entry.value.value, Value::List(_)) => {
                self.filters(&entry.value, &format!("{path}.filters"))
            }
            _ => Some(Vec::new()),
        };
        let Some(written) = written else { return };
        let route = written.lower(&path, filters.unwrap_or_default(), self.findings);
        if self.findings.errors.len() == before {
            check::check_route(&route, &path, self.findings);
            self.routes.push((index, route));
        }
    }

    fn filters(&mut self, node: &Node, path: &str) -> Option<Vec<F>> {
        let nodes = self.list(node, path, "- headers: {…}");
        let mut filters = Some(Vec::with_capacity(nodes.len()));
        for (index, node) in nodes.iter().enumerate() {
            let filter = self.read(node, &format!("{path}[{index}]"), "filter");
            filters = filters.zip(filter).map(|(mut filters, filter)| {
                filters.push(filter);
                filters
            });
        }
        filters
    }

    /// The items of a list; nothing written is an empty one.
    fn list<'n>(&mut self, node: &'n Node, path: &str, example: &str) -> &'n [Arc<Node>] {
        match &node.value {
            Value::List(items) => items,
            Value::Scalar(scalar) if node.is_null() || scalar.broken => &[],
            _ => {
                let place = Some(node.place.clone());
                let help = Some(format!("write one entry a line: `{example}`"));
                let message = "expected a list".to_owned();
                self.findings.errors.push(self.source.at(place, path, message, help));
                &[]
            }
        }
    }
}

/// The fewest items that are worth a thread of their own, and the most threads.
const SHARE: usize = 500;
const MOST: usize = 8;

/// Reads the items of a long list in several shares at once; each is told the number of its first
/// item.
fn in_shares<T: Send>(
    nodes: &[Arc<Node>],
    read: &(impl Fn(usize, &[Arc<Node>]) -> T + Sync),
) -> Vec<T> {
    let most = thread::available_parallelism().map_or(1, usize::from).min(MOST);
    let count = (nodes.len() / SHARE).clamp(1, most);
    let size = nodes.len().div_ceil(count).max(1);
    let mut shares = nodes.chunks(size).enumerate().map(|(at, share)| (at * size, share));
    let Some((_, first)) = shares.next() else { return Vec::new() };
    thread::scope(|scope| {
        let others: Vec<_> =
            shares.map(|(at, share)| scope.spawn(move || read(at, share))).collect();
        let first = read(0, first);
        let others = others.into_iter().map(|share| match share.join() {
            Ok(read) => read,
            Err(panic) => resume_unwind(panic),
        });
        std::iter::once(first).chain(others).collect()
    })
}
