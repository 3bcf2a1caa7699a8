//! Counts and measures exchanges by route, for `/metrics` of the admin listener.
//!
//! # Settings
//!
//! ```yaml
//! - metrics:
//!     enabled: true
//!     buckets: [0.005, 0.05, 0.5, 5]     # seconds, of the whole duration
//!     max_routes: 1000                   # the rest is counted together as `other`
//! ```
//!
//! It belongs into `global_filters`, or to the routes that are to be measured; one that stands in
//! both would count twice, and is refused.
//!
//! # Answers
//!
//! None: it sees every exchange when it is over. What no route took is counted as `unrouted`.
//!
//! # State
//!
//! Per core: a counter for each method and class of status, and two histograms, for each route that
//! this core has served; about a kilobyte each, made with the route's first request. Others only
//! read them. Shared: the names of the routes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ringway_engine::exchange::Exchange;
use ringway_engine::filter::{Blueprint, Core, Filter, Histogram, Measure, SettingsError};
use ringway_engine::message::Method;
use ringway_engine::record::Record;
use ringway_engine::shared::{Shared, SharedCount, SharedMap, SharedNames, SharedRow};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{plan, wrong};

/// Routes that may be told apart at most: a series of numbers each is what Prometheus has to bear.
const MOST_ROUTES: u32 = 10_000;

/// Bounds that a histogram may have; each is a series for every route.
const MOST_BUCKETS: usize = 50;

/// What is counted by route.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether anything is counted by route. What the gateway counts of itself always is.
    pub enabled: bool,
    /// Upper bounds of the histogram of durations, in seconds, rising. At most 50.
    pub buckets: Vec<f64>,
    /// Upper bounds of the histogram of what the gateway adds to the upstream's time, in seconds,
    /// rising. At most 50.
    pub added_buckets: Vec<f64>,
    /// How many routes are counted each by itself, from 1 to 10,000: those that are asked for
    /// first. The rest is counted together as `other`.
    pub max_routes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            enabled: true,
            buckets: vec![
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
            ],
            added_buckets: vec![
                0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                0.5, 1.0,
            ],
            max_routes: 1000,
        }
    }
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        if !(1..=MOST_ROUTES).contains(&self.max_routes) {
            let message = format!("{} routes cannot be told apart", self.max_routes);
            return Err(wrong("max_routes", message, "write a number from 1 to 10000"));
        }
        let duration = bounds("buckets", &self.buckets)?;
        let added = bounds("added_buckets", &self.added_buckets)?;
        let names = SharedNames::new(RESERVED.len() + self.max_routes as usize);
        for name in RESERVED {
            names.number(name);
        }
        let book = Book { duration, added, names, rows: SharedMap::default() };
        Ok(plan(Plan { settings: self.clone(), book: Shared::new(book) }))
    }
}

/// Bounds in nanoseconds.
fn bounds(field: &str, seconds: &[f64]) -> Result<Vec<u64>, SettingsError> {
    let fits = |bound: &f64| (1e-6..=86_400.0).contains(bound);
    let rising = seconds.is_sorted_by(|a, b| a < b);
    if !rising || !seconds.iter().all(fits) || !(1..=MOST_BUCKETS).contains(&seconds.len()) {
        let message = "these are no bounds of a histogram";
        let help = "write up to 50 rising numbers of seconds, such as `[0.01, 0.1, 1]`";
        return Err(wrong(field, message, help));
    }
    Ok(seconds.iter().map(|bound| (bound * 1e9).round() as u64).collect())
}

/// The settings once they are checked.
struct Plan {
    settings: Settings,
    book: Shared<Book>,
}

/// What all cores have counted.
struct Book {
    /// Bounds in nanoseconds.
    duration: Vec<u64>,
    added: Vec<u64>,
    names: SharedNames,
    /// By the number of the core.
    rows: SharedMap<usize, Shared<SharedRow<Series>>>,
}

/// The names that are there from the beginning.
const RESERVED: [&str; 2] = ["other", "unrouted"];
const OTHER: usize = 0;
const UNROUTED: usize = 1;

/// Methods that are told apart; the last stands for all others.
const METHODS: [(Method, &str); 10] = [
    (Method::Get, "GET"),
    (Method::Head, "HEAD"),
    (Method::Post, "POST"),
    (Method::Put, "PUT"),
    (Method::Delete, "DELETE"),
    (Method::Options, "OPTIONS"),
    (Method::Patch, "PATCH"),
    (Method::Trace, "TRACE"),
    (Method::Connect, "CONNECT"),
    (Method::Other, "other"),
];

/// Classes of statuses; the first is that of exchanges which were sent none.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// What one core counts of one route.
#[derive(Debug)]
struct Series {
    requests: [[SharedCount; CLASSES.len()]; METHODS.len()],
    bytes_in: SharedCount,
    bytes_out: SharedCount,
    duration: Lengths,
    added: Lengths,
}

/// How often something took how long.
#[derive(Debug)]
struct Lengths {
    /// One more than there are bounds.
    counts: Box<[SharedCount]>,
    /// Nanoseconds.
    sum: SharedCount,
}

impl Lengths {
    fn new(bounds: &[u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| SharedCount::default()).collect();
        Lengths { counts, sum: SharedCount::default() }
    }

    fn add(&self, bounds: &[u64], length: Duration) {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let place = bounds.iter().position(|bound| nanos <= *bound).unwrap_or(bounds.len());
        self.counts[place].add(1);
        self.sum.add(nanos);
    }
}

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "metrics"
    }

    fn summary(&self) -> String {
        if self.settings.enabled { "by route" } else { "off" }.to_owned()
    }

    fn counts_alone(&self) -> bool {
        self.settings.enabled
    }

    fn instance(&self, core: &Rc<dyn Core>) -> Rc<dyn Filter> {
        if !self.settings.enabled {
            return Rc::new(Off);
        }
        let room = RESERVED.len() + self.settings.max_routes as usize;
        let rows = &self.book.rows;
        let row = rows.get_or_insert_with(core.id(), |_| Shared::new(SharedRow::new(room)));
        Rc::new(Metrics { book: self.book.clone(), row, known: RefCell::default() })
    }

    fn measures(&self, into: &mut Vec<Measure>) {
        let mut sums = BTreeMap::<(usize, usize, usize), u64>::new();
        let mut bytes = BTreeMap::<usize, [u64; 2]>::new();
        self.book.each(|route, series| {
            for (method, classes) in series.requests.iter().enumerate() {
                for (class, count) in classes.iter().enumerate().filter(|(_, n)| n.get() > 0) {
                    *sums.entry((route, method, class)).or_default() += count.get();
                }
            }
            let [bytes_in, bytes_out] = bytes.entry(route).or_default();
            *bytes_in += series.bytes_in.get();
            *bytes_out += series.bytes_out.get();
        });
        for ((route, method, class), count) in sums {
            let labels = vec![
                ("route", self.book.name(route)),
                ("method", METHODS[method].1.to_owned()),
                ("status", CLASSES[class].to_owned()),
            ];
            let help = "Requests that have ended, by route, method and class of status.";
            into.push(counter("requests_total", help, labels, count));
        }
        for (route, [bytes_in, bytes_out]) in bytes {
            let labels = vec![("route", self.book.name(route))];
            let help = "Bytes of request bodies that were received, by route.";
            into.push(counter("route_request_body_bytes_total", help, labels.clone(), bytes_in));
            let help = "Bytes of response bodies that were sent, by route.";
            into.push(counter("route_response_body_bytes_total", help, labels, bytes_out));
        }
    }

    fn histograms(&self, into: &mut Vec<Histogram>) {
        let book = &self.book;
        let help = "From the first byte of the request to the last of the response.";
        book.histogram(into, "request_duration_seconds", help, &book.duration, |s| &s.duration);
        let help = "What the gateway added: the duration without the upstream's part of it.";
        book.histogram(into, "added_latency_seconds", help, &book.added, |s| &s.added);
    }
}

fn counter(
    name: &'static str,
    help: &'static str,
    labels: Vec<(&'static str, String)>,
    value: u64,
) -> Measure {
    Measure { name, help, counter: true, labels, value: value as f64 }
}

impl Book {
    fn name(&self, route: usize) -> String {
        self.names.name(route).unwrap_or(RESERVED[OTHER]).to_owned()
    }

    fn each(&self, mut of: impl FnMut(usize, &Series)) {
        for (_, row) in self.rows.entries() {
            row.iter().for_each(|(route, series)| of(route, series));
        }
    }

    /// Appends a histogram for each route, summed over all cores.
    fn histogram(
        &self,
        into: &mut Vec<Histogram>,
        name: &'static str,
        help: &'static str,
        bounds: &[u64],
        of: fn(&Series) -> &Lengths,
    ) {
        let mut sums = BTreeMap::<usize, (Vec<u64>, u64)>::new();
        self.each(|route, series| {
            let lengths = of(series);
            let (counts, sum) = sums.entry(route).or_default();
            counts.resize(bounds.len() + 1, 0);
            counts.iter_mut().zip(&lengths.counts).for_each(|(sum, count)| *sum += count.get());
            *sum += lengths.sum.get();
        });
        into.extend(sums.into_iter().map(|(route, (counts, sum))| Histogram {
            name,
            help,
            labels: vec![("route", self.name(route))],
            bounds: bounds.iter().map(|nanos| *nanos as f64 / 1e9).collect(),
            counts,
            sum: sum as f64 / 1e9,
        }));
    }
}

/// What counts nothing.
struct Off;

impl Filter for Off {}

/// One core's instance.
struct Metrics {
    book: Shared<Book>,
    row: Shared<SharedRow<Series>>,
    /// By the places of routes in the file.
    known: RefCell<Vec<Option<Known>>>,
}

/// A route whose number was found. A reload may give its place to another, so the name is with it.
#[derive(Clone)]
struct Known {
    name: Box<str>,
    number: usize,
}

impl Filter for Metrics {
    fn on_end(&self, record: &Record<'_>) {
        let book = &*self.book;
        let number = self.number(record.exchange);
        let make = || Series {
            requests: Default::default(),
            bytes_in: SharedCount::default(),
            bytes_out: SharedCount::default(),
            duration: Lengths::new(&book.duration),
            added: Lengths::new(&book.added),
        };
        let Some(series) = self.row.get_or_make(number, make) else { return };
        let method = record.exchange.request.head.method;
        let method = METHODS.iter().position(|(known, _)| *known == method);
        let method = method.unwrap_or(METHODS.len() - 1);
        let class = usize::from(record.status / 100).min(CLASSES.len() - 1);
        series.requests[method][class].add(1);
        series.bytes_in.add(record.bytes_in());
        series.bytes_out.add(record.bytes_out());
        series.duration.add(&book.duration, record.duration());
        series.added.add(&book.added, record.added());
    }
}

impl Metrics {
    /// The number of the route's name. Only the first request of a route on a core allocates.
    fn number(&self, exchange: &Exchange) -> usize {
        let Some(place) = exchange.route else { return UNROUTED };
        let mut known = self.known.borrow_mut();
        if let Some(Some(route)) = known.get(place)
            && *route.name == *exchange.route_name
        {
            return route.number;
        }
        let name = exchange.route_name.as_str();
        let number = self.book.names.number(name).unwrap_or(OTHER);
        if known.len() <= place {
            known.resize(place + 1, None);
        }
        known[place] = Some(Known { name: name.into(), number });
        number
    }
}

#[cfg(test)]
mod tests {
    use ringway_engine::clock;

    use super::*;
    use crate::tests::{TestCore, build, refused};

    struct Scene {
        plan: Shared<dyn Blueprint>,
        cores: Vec<Rc<dyn Filter>>,
    }

    impl Scene {
        fn new(filter: &str) -> Scene {
            let plan = build(filter).unwrap();
            let core = |id| plan.instance(&(Rc::new(TestCore { id, count: 2 }) as Rc<dyn Core>));
            Scene { cores: vec![core(0), core(1)], plan }
        }

        fn end(&self, core: usize, route: Option<(usize, &str)>, status: u16, took: Duration) {
            let head = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n";
            let mut exchange = Exchange::with_request(head, clock::now()).unwrap();
            exchange.route = route.map(|(place, _)| place);
            exchange.route_name.push_str(route.map_or("", |(_, name)| name));
            exchange.request.received = 3;
            exchange.response.sent = 5;
            let ended = exchange.started + took;
            self.cores[core].on_end(&Record { exchange: &exchange, status, error: None, ended });
        }

        /// Name and labels of each counter, with its value.
        fn counts(&self) -> Vec<String> {
            let mut measures = Vec::new();
            self.plan.measures(&mut measures);
            let text = |measure: Measure| {
                let labels: Vec<_> = measure.labels.into_iter().map(|(_, value)| value).collect();
                format!("{} {} {}", measure.name, labels.join(" "), measure.value)
            };
            measures.into_iter().map(text).collect()
        }

        fn requests(&self) -> Vec<String> {
            let all = self.counts().into_iter();
            all.filter_map(|line| line.strip_prefix("requests_total ").map(str::to_owned)).collect()
        }
    }

    const QUICK: Duration = Duration::from_micros(700);

    #[test]
    fn cores_are_summed_by_route_method_and_class() {
        let scene = Scene::new("- metrics: {}");
        for core in [0, 1] {
            scene.end(core, Some((0, "a")), 200, QUICK);
            scene.end(core, Some((1, "b")), 404, QUICK);
        }
        scene.end(0, Some((0, "a")), 204, QUICK);
        scene.end(1, Some((0, "a")), 0, QUICK);
        scene.end(1, None, 404, QUICK);
        let expected = [
            "requests_total unrouted POST 4xx 1",
            "requests_total a POST none 1",
            "requests_total a POST 2xx 3",
            "requests_total b POST 4xx 2",
            "route_request_body_bytes_total unrouted 3",
            "route_response_body_bytes_total unrouted 5",
            "route_request_body_bytes_total a 12",
            "route_response_body_bytes_total a 20",
            "route_request_body_bytes_total b 6",
            "route_response_body_bytes_total b 10",
        ];
        assert_eq!(scene.counts(), expected);
    }

    #[test]
    fn a_length_falls_between_its_bounds() {
        let scene = Scene::new("- metrics: {buckets: [0.001, 0.01, 0.1]}");
        for micros in [1, 1_000, 1_001, 100_000, 100_001, 9_000_000] {
            scene.end(micros as usize % 2, Some((0, "a")), 200, Duration::from_micros(micros));
        }
        let mut histograms = Vec::new();
        scene.plan.histograms(&mut histograms);
        let [duration, added] = histograms.try_into().unwrap();
        assert_eq!(duration.name, "request_duration_seconds");
        assert_eq!(duration.counts, [2, 1, 1, 2]);
        assert_eq!(duration.bounds, [0.001, 0.01, 0.1]);
        assert!((duration.sum - 9.202_003).abs() < 1e-9, "{}", duration.sum);
        assert_eq!((added.name, added.counts.iter().sum()), ("added_latency_seconds", 6_u64));
        assert_eq!(added.labels, [("route", "a".to_owned())]);
    }

    #[test]
    fn routes_beyond_the_bound_are_counted_together_on_all_cores_alike() {
        let scene = Scene::new("- metrics: {max_routes: 2}");
        for (place, name) in ["a", "b", "c", "d", "other"].into_iter().enumerate() {
            scene.end(place % 2, Some((place, name)), 200, QUICK);
            scene.end(1 - place % 2, Some((place, name)), 200, QUICK);
        }
        assert_eq!(scene.requests(), ["other POST 2xx 6", "a POST 2xx 2", "b POST 2xx 2"]);
    }

    #[test]
    fn a_route_keeps_its_numbers_when_a_reload_moves_it() {
        let scene = Scene::new("- metrics: {}");
        scene.end(0, Some((0, "a")), 200, QUICK);
        scene.end(0, Some((0, "b")), 200, QUICK);
        scene.end(0, Some((7, "a")), 200, QUICK);
        assert_eq!(scene.requests(), ["a POST 2xx 2", "b POST 2xx 1"]);
    }

    #[test]
    fn what_is_off_counts_nothing() {
        let scene = Scene::new("- metrics: {enabled: false}");
        scene.end(0, Some((0, "a")), 200, QUICK);
        assert!(scene.counts().is_empty());
        assert!(!scene.plan.counts_alone());
    }

    #[test]
    fn a_series_is_small() {
        let settings = Settings::default();
        let counts = settings.buckets.len() + settings.added_buckets.len() + 2;
        let bytes = size_of::<Series>() + counts * size_of::<SharedCount>();
        assert!(bytes <= 1024, "{bytes} bytes a route and core");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        refused("- metrics: {max_routes: 0}", "metrics.max_routes", "1 to 10000");
        for buckets in ["[]", "[1, 1]", "[2, 1]", "[0]", "[-1]", "[1e9]"] {
            refused(&format!("- metrics: {{buckets: {buckets}}}"), "metrics.buckets", "rising");
        }
        refused("- metrics: {added_buckets: []}", "metrics.added_buckets", "rising");
    }
}
