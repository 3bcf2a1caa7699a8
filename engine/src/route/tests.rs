//! Scenes of ranking, conditions, explanation and shadows; `a > b` says which of two routes wins.

use std::net::{IpAddr, Ipv4Addr};

use ringway_config::{Cidr, Matching, PathMatch, PathPolicy, ValueMatch, ValueTest};

use super::*;

/// A route by its fields, in the words of the file.
fn route() -> Matching {
    Matching::default()
}

trait Fields {
    fn host(self, host: &str) -> Self;
    fn exact(self, path: &str) -> Self;
    fn prefix(self, path: &str) -> Self;
    fn pattern(self, path: &str) -> Self;
    fn regex(self, path: &str) -> Self;
    fn method(self, method: &str) -> Self;
    fn header(self, name: &str, value: &str) -> Self;
    fn query(self, name: &str) -> Self;
    fn priority(self, priority: i32) -> Self;
    fn client(self, addr: [u8; 4], bits: u8) -> Self;
}

impl Fields for Matching {
    fn host(mut self, host: &str) -> Matching {
        self.hosts.push(host.into());
        self
    }

    fn exact(self, path: &str) -> Matching {
        Matching { path: PathMatch::Exact(path.into()), ..self }
    }

    fn prefix(self, path: &str) -> Matching {
        Matching { path: PathMatch::Prefix(path.into()), ..self }
    }

    fn pattern(self, path: &str) -> Matching {
        Matching { path: PathMatch::Pattern(path.into()), ..self }
    }

    fn regex(self, path: &str) -> Matching {
        Matching { path: PathMatch::Regex(path.into()), ..self }
    }

    fn method(mut self, method: &str) -> Matching {
        self.methods.push(method.into());
        self
    }

    fn header(mut self, name: &str, value: &str) -> Matching {
        self.headers.push(ValueMatch { name: name.into(), test: ValueTest::Exact(value.into()) });
        self
    }

    fn query(mut self, name: &str) -> Matching {
        self.query.push(ValueMatch { name: name.into(), test: ValueTest::Present });
        self
    }

    fn priority(self, priority: i32) -> Matching {
        Matching { priority, ..self }
    }

    fn client(mut self, addr: [u8; 4], bits: u8) -> Matching {
        self.clients.push(Cidr { addr: IpAddr::from(addr), bits });
        self
    }
}

fn table(routes: &[Matching]) -> Table {
    Table::build(routes, &PathPolicy::default()).unwrap()
}

/// `GET host/path?query`, from 10.0.0.1, with `X-Env: canary`.
fn with_request<T>(target: &str, act: impl FnOnce(&Request<'_>) -> T) -> T {
    let (method, target) = target.split_once(' ').unwrap();
    let (target, query) = target.split_once('?').unwrap_or((target, ""));
    let (host, path) = target.split_at(target.find('/').unwrap());
    let header = |name: &str| (name == "x-env").then_some(&b"canary"[..]);
    act(&Request {
        host: host.as_bytes(),
        path: path.as_bytes(),
        query: query.as_bytes(),
        method: method.as_bytes(),
        client: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        header: &header,
    })
}

fn find(table: &Table, target: &str) -> (Outcome, Found) {
    let mut found = Found::default();
    let outcome = with_request(target, |request| table.find(request, &mut found));
    let explained = with_request(target, |request| table.explain(request));
    assert_eq!(explained.outcome, outcome, "explain and find agree about {target}");
    (outcome, found)
}

/// The first route takes the request although the second would too; the order of the file must not
/// matter.
#[track_caller]
fn beats(target: &str, winner: Matching, loser: Matching) {
    let both = [winner, loser];
    assert_eq!(find(&table(&both), target).0, Outcome::Route(0), "in this order");
    assert_eq!(find(&table(&both[1..]), target).0, Outcome::Route(0), "the second alone");
    let [winner, loser] = both;
    assert_eq!(find(&table(&[loser, winner]), target).0, Outcome::Route(1), "turned round");
}

const TARGET: &str = "GET www.a.com/api/users?q=1";

#[test]
fn an_exact_host_beats_a_wildcard() {
    beats(TARGET, route().host("www.a.com"), route().host("*.a.com").exact("/api/users"));
}

#[test]
fn a_longer_wildcard_beats_a_shorter() {
    beats(TARGET, route().host("*.a.com"), route().host("*.com").exact("/api/users"));
}

#[test]
fn a_wildcard_beats_no_host() {
    beats(TARGET, route().host("*.com"), route().exact("/api/users"));
}

#[test]
fn an_exact_path_beats_every_other() {
    beats(TARGET, route().exact("/api/users"), route().prefix("/api/users"));
    beats(TARGET, route().exact("/api/users"), route().pattern("/api/:kind").query("q"));
    beats(TARGET, route().exact("/api/users"), route().regex("/api/.*"));
}

#[test]
fn a_longer_prefix_beats_a_shorter() {
    beats(TARGET, route().prefix("/api/users"), route().prefix("/api").method("GET"));
}

#[test]
fn pattern_and_prefix_go_by_length_together() {
    beats(TARGET, route().pattern("/api/:kind"), route().prefix("/api"));
    beats(TARGET, route().prefix("/api/users"), route().pattern("/api/:kind"));
    beats(TARGET, route().pattern("/api/:kind"), route().pattern("/:any/*rest"));
    beats(TARGET, route().pattern("/:any/*rest"), route().prefix("/"));
}

#[test]
fn of_the_same_length_a_prefix_comes_first_and_a_rest_last() {
    beats("GET a/x/y", route().prefix("/x/y"), route().pattern("/x/:v"));
    beats("GET a/x/y", route().pattern("/x/:v"), route().pattern("/x/:v/*rest"));
}

#[test]
fn a_pattern_beats_a_regex_and_a_regex_no_path() {
    beats(TARGET, route().prefix("/"), route().regex("/api/users").method("GET"));
    beats(TARGET, route().regex(".*"), route().method("GET").query("q"));
}

#[test]
fn more_conditions_beat_fewer() {
    let prefix = || route().prefix("/api");
    beats(TARGET, prefix().method("GET"), prefix());
    beats(TARGET, prefix().query("q"), prefix());
    beats(TARGET, prefix().header("x-env", "canary"), prefix());
    beats(TARGET, prefix().client([10, 0, 0, 0], 8), prefix());
    beats(TARGET, prefix().method("GET").query("q"), prefix().method("GET"));
}

#[test]
fn the_order_of_the_file_decides_at_last() {
    let same = table(&[route().regex("/a.*"), route().regex("/api.*"), route().regex("/api.*")]);
    assert_eq!(find(&same, TARGET).0, Outcome::Route(0));
    let same = table(&[route().prefix("/api").method("GET"), route().prefix("/api").query("q")]);
    assert_eq!(find(&same, TARGET).0, Outcome::Route(0));
}

#[test]
fn priority_beats_everything() {
    beats(TARGET, route().priority(1), route().host("www.a.com").exact("/api/users"));
    beats(TARGET, route().regex(".*").priority(2), route().exact("/api/users").priority(1));
    beats(TARGET, route().prefix("/"), route().exact("/api/users").priority(-1));
}

#[test]
fn a_route_whose_conditions_fail_leaves_the_request_to_the_next() {
    let table = table(&[
        route().host("www.a.com").exact("/api/users").header("x-env", "production"),
        route().host("www.a.com").prefix("/api").client([192, 168, 0, 0], 16),
        route().host("*.a.com").regex("/api/.*").query("missing"),
        route().prefix("/api"),
    ]);
    assert_eq!(find(&table, TARGET).0, Outcome::Route(3));
}

#[test]
fn a_route_may_have_several_hosts() {
    let table = table(&[route().host("a.com").host("*.a.com").host("A.com."), route()]);
    assert_eq!(find(&table, "GET a.com/").0, Outcome::Route(0));
    assert_eq!(find(&table, "GET x.a.com/").0, Outcome::Route(0));
    assert_eq!(find(&table, "GET b.com/").0, Outcome::Route(1));
}

#[test]
fn parameters_and_captures_are_found() {
    let table = table(&[
        route().pattern("/:service/*rest"),
        route().regex(r"/v(\d+)/(?<name>\w+)").priority(1),
    ]);
    let value = |target: &str, name: &str| {
        let (outcome, found) = find(&table, target);
        assert!(matches!(outcome, Outcome::Route(_)), "{target}: {outcome:?}");
        let path = &target[target.find('/').unwrap()..];
        let value = found.value(name, path.as_bytes());
        value.map(|value| String::from_utf8(value.to_vec()).unwrap())
    };
    assert_eq!(value("GET a/users/1/2", "service").as_deref(), Some("users"));
    assert_eq!(value("GET a/users/1/2", "rest").as_deref(), Some("1/2"));
    assert_eq!(value("GET a/v12/cats", "1").as_deref(), Some("12"));
    assert_eq!(value("GET a/v12/cats", "name").as_deref(), Some("cats"));
    assert_eq!(value("GET a/v12/cats", "service"), None);
    assert_eq!(table.parameters(1).collect::<Vec<_>>(), ["1", "name"]);
}

#[test]
fn the_prefix_is_stripped_down_to_a_slash() {
    let table = table(&[route().prefix("/api/v1"), route().prefix("/x/"), route().exact("/y")]);
    let strip = |route, path: &'static str| {
        std::str::from_utf8(table.strip_prefix(route, path.as_bytes())).unwrap()
    };
    assert_eq!(strip(0, "/api/v1"), "/");
    assert_eq!(strip(0, "/api/v1/"), "/");
    assert_eq!(strip(0, "/api/v1/users/7"), "/users/7");
    assert_eq!(strip(1, "/x/y"), "/y");
    assert_eq!(strip(1, "/x/"), "/");
    assert_eq!(strip(2, "/y"), "/y");
}

#[test]
fn only_a_wrong_method_is_answered_with_allow() {
    let table = table(&[
        route().prefix("/api").method("POST").method("PUT"),
        route().exact("/api/users").method("DELETE"),
        route().exact("/api/users").method("PATCH").query("missing"),
        route().prefix("/other").method("POST"),
    ]);
    let (outcome, found) = find(&table, TARGET);
    assert_eq!(outcome, Outcome::MethodNotAllowed);
    assert_eq!(found.allow(), b"POST, PUT, DELETE");
    assert_eq!(find(&table, "GET a/nothing").0, Outcome::NotFound);
    assert_eq!(find(&table, "PUT a/api").0, Outcome::Route(0));
}

#[test]
fn what_was_found_is_forgotten_by_the_next_search() {
    let table = table(&[route().pattern("/a/:x"), route().exact("/b").method("POST")]);
    let mut found = Found::default();
    with_request("GET h/b", |request| table.find(request, &mut found));
    assert_eq!(found.allow(), b"POST");
    with_request("GET h/a/1", |request| table.find(request, &mut found));
    assert_eq!(found.allow(), b"");
    assert_eq!(found.values(), std::slice::from_ref(&(3..4)));
    with_request("GET h/c", |request| table.find(request, &mut found));
    assert!(found.values().is_empty());
}

#[test]
fn the_asterisk_form_is_taken_by_a_route_without_path() {
    let any = table(&[route().prefix("/"), route().pattern("/*rest"), route()]);
    let header = |_: &str| None;
    let request = Request {
        host: b"a",
        path: b"*",
        query: b"",
        method: b"OPTIONS",
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        header: &header,
    };
    assert_eq!(any.find(&request, &mut Found::default()), Outcome::Route(2));
}

#[test]
fn an_empty_table_finds_nothing() {
    assert_eq!(find(&table(&[]), TARGET).0, Outcome::NotFound);
    assert!(table(&[]).unreachable().is_empty());
}

#[test]
fn an_explanation_names_what_each_better_route_had_against_the_request() {
    let table = table(&[
        route().host("b.com").exact("/api/users"),
        route().host("b.com").host("www.a.com").prefix("/other"),
        route().prefix("/api/users").header("x-env", "production"),
        route().prefix("/api/users").method("POST"),
        route().prefix("/api"),
        route().prefix("/"),
    ]);
    let explanation = with_request(TARGET, |request| table.explain(request));
    assert_eq!(explanation.outcome, Outcome::Route(4));
    let passed: Vec<_> =
        explanation.passed_over.iter().map(|passed| (passed.route, passed.why)).collect();
    assert_eq!(
        passed,
        [(0, Mismatch::Host), (1, Mismatch::Path), (2, Mismatch::Header(0)), (3, Mismatch::Method),]
    );
}

#[test]
fn an_explanation_of_nothing_names_every_route() {
    let table = table(&[route().prefix("/a").method("POST"), route().host("b.com")]);
    let explanation = with_request("GET h/a", |request| table.explain(request));
    assert_eq!(explanation.outcome, Outcome::MethodNotAllowed);
    assert_eq!(explanation.allow, "POST");
    assert_eq!(explanation.passed_over.len(), 2);
}

#[test]
fn an_explanation_gives_the_parameters() {
    let table = table(&[route().pattern("/:service/*rest")]);
    let explanation = with_request("GET h/users/1", |request| table.explain(request));
    let expected = [("service", "users"), ("rest", "1")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(explanation.parameters, expected);
}

#[track_caller]
fn shadows(routes: &[Matching], expected: &[(usize, usize)]) {
    let shadowed = table(routes).unreachable();
    let pairs: Vec<_> = shadowed.iter().map(|shadowed| (shadowed.route, shadowed.by)).collect();
    assert_eq!(pairs, expected);
}

#[test]
fn the_same_route_twice_is_a_shadow() {
    shadows(&[route().prefix("/a"), route().prefix("/a")], &[(1, 0)]);
    shadows(&[route().host("a.com"), route().host("A.com")], &[(1, 0)]);
    shadows(&[route().pattern("/:a"), route().pattern("/:b")], &[(1, 0)]);
    shadows(&[route().regex("/a+"), route().regex("/a+")], &[(1, 0)]);
    shadows(&[route().exact("/a").method("GET"), route().exact("/a").method("GET")], &[(1, 0)]);
}

#[test]
fn what_priority_lifts_casts_a_shadow() {
    shadows(&[route().prefix("/a"), route().prefix("/").priority(1)], &[(0, 1)]);
    shadows(&[route().host("a.com").regex("/x"), route().priority(1)], &[(0, 1)]);
    shadows(&[route().host("*.a.com").exact("/x"), route().host("*.com").priority(1)], &[(0, 1)]);
}

#[test]
fn a_route_with_a_way_of_its_own_is_in_no_shadow() {
    shadows(&[route().prefix("/a"), route().prefix("/a/b"), route()], &[]);
    shadows(&[route().exact("/a").method("GET"), route().exact("/a").method("PUT")], &[]);
    shadows(&[route().exact("/a").query("q"), route().exact("/a").method("GET")], &[]);
    shadows(&[route().host("a.com"), route().host("a.com").host("b.com")], &[]);
    shadows(&[route().host("*.a.com").priority(1), route().host("a.com")], &[]);
}

#[test]
fn several_hosts_may_be_shadowed_by_several_routes() {
    let routes =
        [route().host("a.com"), route().host("b.com"), route().host("a.com").host("b.com")];
    shadows(&routes, &[(2, 0)]);
}

#[test]
fn all_errors_come_at_once() {
    let routes = [
        route().prefix("a").host("*").host("b"),
        route().regex("("),
        route().host("x:80").prefix("/"),
    ];
    let errors = Table::build(&routes, &PathPolicy::default()).unwrap_err();
    let places: Vec<_> = errors.iter().map(|error| (error.route, error.field.as_str())).collect();
    assert_eq!(places, [(0, "prefix"), (0, "host[0]"), (1, "regex"), (2, "host")]);
}

/// The plainest reading of the rules: every route is tried, in the order of its rank.
mod against_the_plain_reading {
    use proptest::prelude::*;

    use super::*;

    fn any_path() -> impl Strategy<Value = PathMatch> {
        let literal = prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/b"]);
        let pattern = prop::sample::select(vec![
            "/:x", "/a/:x", "/:x/b", "/:x/*r", "/a/*r", "/*r", "/:x/:y", "/a/:x/c",
        ]);
        let regex = prop::sample::select(vec!["/a.*", ".*b", "/(a|b)", "/a/.+"]);
        prop_oneof![
            Just(PathMatch::Any),
            literal.clone().prop_map(|text| PathMatch::Exact(text.into())),
            literal.prop_map(|text| PathMatch::Prefix(text.into())),
            pattern.prop_map(|text| PathMatch::Pattern(text.into())),
            regex.prop_map(|text| PathMatch::Regex(text.into())),
        ]
    }

    fn any_route() -> impl Strategy<Value = Matching> {
        let hosts = prop::collection::vec(
            prop::sample::select(vec!["a.com", "*.a.com", "*.x.a.com", "*.com"]),
            0..3,
        );
        let priority = prop_oneof![4 => Just(0), 1 => -1..2];
        (hosts, any_path(), any::<[bool; 3]>(), priority).prop_map(
            |(hosts, path, [method, query, header], priority)| {
                let mut route = Matching { path, priority, ..route() };
                for host in hosts {
                    route = route.host(host);
                }
                if method {
                    route = route.method("POST");
                }
                if query {
                    route = route.query("q");
                }
                if header {
                    route = route.header("x-env", "canary");
                }
                route
            },
        )
    }

    fn plain_path(path: &PathMatch, given: &str) -> bool {
        let below = |prefix: &str| {
            given.strip_prefix(prefix).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')
            })
        };
        match path {
            PathMatch::Any => true,
            PathMatch::Exact(text) => given == text,
            PathMatch::Prefix(text) => below(text),
            PathMatch::Pattern(text) => {
                let mut given = given[1..].split('/');
                let mut wanted = text[1..].split('/');
                loop {
                    match (wanted.next(), given.next()) {
                        (Some(wanted), _) if wanted.starts_with('*') => return true,
                        (Some(wanted), Some(given)) if wanted.starts_with(':') => {
                            if given.is_empty() {
                                return false;
                            }
                        }
                        (Some(wanted), Some(given)) if wanted == given => {}
                        (None, None) => return true,
                        _ => return false,
                    }
                }
            }
            PathMatch::Regex(text) => match text.as_str() {
                "/a.*" => given.starts_with("/a"),
                ".*b" => given.ends_with('b'),
                "/(a|b)" => given == "/a" || given == "/b",
                "/a/.+" => given.len() > 3 && given.starts_with("/a/"),
                other => panic!("{other}"),
            },
        }
    }

    fn plain_host(host: &str, given: &str) -> bool {
        match host.strip_prefix('*') {
            Some(suffix) => given.len() > suffix.len() && given.ends_with(suffix),
            None => given == host,
        }
    }

    /// Whether the route takes the request, and the best rank with which it does, written down in
    /// another way than in the code.
    fn plain_rank(route: &Matching, host: &str, path: &str, post: bool) -> Option<[i64; 6]> {
        let hosts = match route.hosts.is_empty() {
            true => Some([2, 0]),
            false => route
                .hosts
                .iter()
                .filter(|candidate| plain_host(candidate, host))
                .map(|host| [i64::from(host.starts_with('*')), -(host.len() as i64)])
                .map(|[class, length]| if class == 0 { [0, 0] } else { [class, length] })
                .min(),
        }?;
        if !plain_path(&route.path, path) || (!route.methods.is_empty() && !post) {
            return None;
        }
        let length = |text: &str| match text.rfind("/*") {
            Some(end) => end,
            None => text.len(),
        };
        let [class, length] = match &route.path {
            PathMatch::Exact(_) => [0, 0],
            PathMatch::Prefix(text) => [1, -4 * text.len() as i64],
            PathMatch::Pattern(text) => {
                let rest = i64::from(text.contains('*'));
                let names = 2 * text.matches(':').count() as i64;
                let short = length(text) as i64 - names + text.matches(':').count() as i64;
                [1, -4 * short + 1 + rest]
            }
            PathMatch::Regex(_) => [2, 0],
            PathMatch::Any => [3, 0],
        };
        let conditions = route.methods.len() + route.query.len() + route.headers.len();
        let priority = -i64::from(route.priority);
        Some([priority, hosts[0], hosts[1], class, length, -(conditions as i64)])
    }

    proptest! {
        #[test]
        fn the_search_finds_what_the_plain_reading_finds(
            routes in prop::collection::vec(any_route(), 0..12),
            host in prop::sample::select(vec!["a.com", "x.a.com", "y.x.a.com", "b.com", "c"]),
            path in prop::sample::select(vec![
                "/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/b", "/b/b", "/c", "/a/x/c", "//b",
            ]),
            post: bool,
        ) {
            let table = table(&routes);
            let method = if post { "POST" } else { "GET" };
            let (outcome, _) = find(&table, &format!("{method} {host}{path}?q"));
            let plain = routes
                .iter()
                .enumerate()
                .filter_map(|(index, route)| Some((plain_rank(route, host, path, post)?, index)))
                .min();
            match (outcome, plain) {
                (Outcome::Route(found), Some((_, plain))) => prop_assert_eq!(found, plain),
                (Outcome::NotFound, None) => {}
                (Outcome::MethodNotAllowed, None) => {
                    let taken = |route| plain_rank(route, host, path, true).is_some();
                    prop_assert!(method == "GET" && routes.iter().any(taken));
                }
                _ => prop_assert!(false, "{:?} {:?}", outcome, plain),
            }

            // A route that is said to be out of reach is never found.
            for shadowed in table.unreachable() {
                prop_assert_ne!(outcome, Outcome::Route(shadowed.route));
            }
        }
    }
}
