//! What it costs to find the route of a request among 10, 1,000 and 10,000.
//!
//! ```text
//! cargo bench --bench route
//! ```
//!
//! All routes of a table are of one kind and have one host. Each search is for another of them, so
//! that neither the processor's caches nor its guesses know the way already.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made has failed")]

use std::net::{IpAddr, Ipv4Addr};

use divan::{Bencher, black_box};
use ringway_config::{Matching, PathMatch, PathPolicy};
use ringway_engine::route::{Found, Outcome, Request, Table};

/// How many routes there are.
const ROUTES: [usize; 3] = [10, 1_000, 10_000];

const HOST: &str = "api.example.com";

fn main() {
    divan::main();
}

/// Routes of one kind; `path` makes the path of a request that only the route of that number takes.
fn search(
    bencher: Bencher<'_, '_>,
    count: usize,
    route: impl Fn(usize) -> PathMatch,
    path: impl Fn(usize) -> String,
) {
    let hosts = || vec![HOST.to_owned()];
    let matching = |number| Matching { hosts: hosts(), path: route(number), ..Matching::default() };
    let routes: Vec<_> = (0..count).map(matching).collect();
    let table = Table::build(&routes, &PathPolicy::default()).unwrap();
    let paths: Vec<_> = (0..count).map(path).collect();
    let (mut found, mut number) = (Found::default(), 0);
    bencher.bench_local(|| {
        // A step that meets every route, and never a neighbour of the last one.
        number = (number + 7_919) % count;
        let outcome = table.find(
            &Request {
                host: black_box(HOST.as_bytes()),
                path: black_box(paths[number].as_bytes()),
                query: b"",
                method: b"GET",
                client: IpAddr::V4(Ipv4Addr::LOCALHOST),
                header: &|_| None,
            },
            &mut found,
        );
        assert_eq!(outcome, Outcome::Route(number));
    });
}

/// The service and what it does in the path of a route.
fn service(number: usize) -> String {
    format!("/api/v1/team-{}/service-{number}", number % 50)
}

#[divan::bench(args = ROUTES, sample_size = 1_000)]
fn exact(bencher: Bencher<'_, '_>, count: usize) {
    let route = |number| PathMatch::Exact(service(number) + "/status");
    search(bencher, count, route, |number| service(number) + "/status");
}

#[divan::bench(args = ROUTES, sample_size = 1_000)]
fn prefix(bencher: Bencher<'_, '_>, count: usize) {
    let route = |number| PathMatch::Prefix(service(number));
    search(bencher, count, route, |number| service(number) + "/orders/4711");
}

#[divan::bench(args = ROUTES, sample_size = 1_000)]
fn pattern(bencher: Bencher<'_, '_>, count: usize) {
    let route = |number| PathMatch::Pattern(service(number) + "/users/:user/orders/:order");
    search(bencher, count, route, |number| service(number) + "/users/alice/orders/4711");
}
