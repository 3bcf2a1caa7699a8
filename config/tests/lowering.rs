//! What the settings of a file become.

mod common;

use common::ToyFilter;
use ringway_config::{
    Action, Balance, Bytes, Config, Forward, HashKey, HostHeader, Limit, PathMatch, Period, Route,
    Server, Upgrade, ValueMatch, ValueTest,
};

#[track_caller]
fn config(text: &str) -> Config<ToyFilter> {
    match common::load(text) {
        Ok(loaded) => loaded.config,
        Err(errors) => panic!("{errors}"),
    }
}

/// A file with one route of these fields, in one line.
#[track_caller]
fn route(fields: &str) -> Route<ToyFilter> {
    let targets = "targets: [{addr: 127.0.0.1:8081}]";
    let action =
        if fields.contains("respond") || fields.contains("redirect") { "" } else { targets };
    let text = format!("routes: [{{name: a, {fields}, {action}}}]");
    config(&text).routes.remove(0)
}

#[test]
fn nothing_written_is_every_default() {
    for text in ["server:\nworkers:\nroutes:\n", "{}"] {
        assert_eq!(config(text), Config::default(), "{text}");
    }
}

#[test]
fn a_port_listens_on_every_ipv4_address_and_listen_on_those_it_names() {
    let listen = |text| config(text).server.listen;
    assert_eq!(listen("server: {port: 81}"), ["0.0.0.0:81".parse().unwrap()]);
    let both = listen("server: {listen: ['127.0.0.1:81', '[::]:82']}");
    assert_eq!(both, ["127.0.0.1:81".parse().unwrap(), "[::]:82".parse().unwrap()]);
}

#[test]
fn a_variable_may_be_a_number() {
    let port = |text| config(text).server.listen[0].port();
    assert_eq!(port("server:\n  port: ${PORT}"), 9090);
    assert_eq!(port("server:\n  port: ${UNSET:-81}"), 81);
    assert_eq!(port("server: {port: '${PORT}'}"), 9090);
    assert_eq!(port("server: {port: \"${UNSET:-81}\"}"), 81);
}

#[test]
fn an_empty_variable_is_empty_text() {
    for value in ["${EMPTY}", "\"${EMPTY}\"", "${UNSET:-}"] {
        assert_eq!(config(&format!("server:\n  via: {value}")).server.via, "", "{value}");
    }
}

#[test]
fn a_variable_adds_no_field() {
    let text = "server: {server_header: \"${INJECT}\"}";
    let env = |_: &str| Some("a, port: 1, x: {y".to_owned());
    let loaded = ringway_config::load_str::<ToyFilter>("gateway.yaml", text, &env).unwrap();
    assert_eq!(loaded.config.server.server_header, "a, port: 1, x: {y");
    assert_eq!(loaded.config.server.listen, Server::default().listen);
}

#[test]
fn limits_are_numbers_or_unlimited() {
    let server = config("server: {limits: {max_body: 10MB, max_line: 8KiB}}").server;
    assert_eq!(server.limits.max_body, Limit::Of(10_000_000));
    assert_eq!(server.limits.max_line, Bytes::kib(8));
    let server = config("server: {max_connections_per_client: 5}").server;
    assert_eq!(server.max_connections_per_client, Limit::Of(5));
    assert_eq!(route("max_body: unlimited").max_body, Some(Limit::Unlimited));
    assert_eq!(route("prefix: /").max_body, None);
}

#[test]
fn a_balance_is_a_word_or_has_settings() {
    let balance = |text: &str| match route(&format!("balance: {text}")).action {
        Action::Forward(Forward::Targets(upstream)) => upstream.balance,
        other => panic!("{other:?}"),
    };
    assert_eq!(balance("random"), Balance::Random);
    assert_eq!(balance("least_requests"), Balance::LeastRequests);
    let hash = |by, bounded_load| Balance::ConsistentHash { by, bounded_load };
    assert_eq!(balance("consistent_hash"), hash(HashKey::ClientIp, 1.25));
    assert_eq!(
        balance("{consistent_hash: {by: {header: X-User}, bounded_load: 2}}"),
        hash(HashKey::Header("x-user".to_owned()), 2.0)
    );
}

#[test]
fn conditions_are_lowered_to_what_is_compared() {
    let route = route(
        "host: [API.example.com, '*.Example.com'], pattern: '/:a/*b', methods: [GET], \
         headers: {X-A: 1.0, X-B: {prefix: b}, X-C: {present: false}}, query: {q: {regex: 'a+'}}, \
         clients: [10.0.0.0/8], priority: -3",
    );
    let matching = route.matching;
    assert_eq!(matching.hosts, ["api.example.com", "*.example.com"]);
    assert_eq!(matching.path, PathMatch::Pattern("/:a/*b".to_owned()));
    let test = |name: &str, test| ValueMatch { name: name.to_owned(), test };
    let headers = [
        test("x-a", ValueTest::Exact("1.0".to_owned())),
        test("x-b", ValueTest::Prefix("b".to_owned())),
        test("x-c", ValueTest::Absent),
    ];
    assert_eq!(matching.headers, headers);
    assert_eq!(matching.query, [test("q", ValueTest::Regex("a+".to_owned()))]);
    assert_eq!((matching.clients.len(), matching.priority), (1, -3));
}

#[test]
fn one_host_needs_no_list() {
    assert_eq!(route("host: a.example").matching.hosts, ["a.example"]);
}

#[test]
fn a_redirect_is_a_place_or_a_place_with_a_status() {
    let redirect = |text: &str| match route(text).action {
        Action::Redirect(redirect) => (redirect.to, redirect.status),
        other => panic!("{other:?}"),
    };
    assert_eq!(redirect("redirect: /b"), ("/b".to_owned(), 302));
    let to = redirect("pattern: '/:a', redirect: {to: '/b/${a}', status: 308}");
    assert_eq!(to, ("/b/${a}".to_owned(), 308));
}

#[test]
fn rewrites_are_templates_and_hosts() {
    let rewrite = route("pattern: '/a/*rest', rewrite: {path: '/$${x}/${rest}', host: upstream}");
    assert_eq!(rewrite.rewrite.path.as_deref(), Some("/$${x}/${rest}"));
    assert_eq!(rewrite.rewrite.host, HostHeader::Upstream);
    let named = route("rewrite: {host: 'api.internal:81'}").rewrite.host;
    assert_eq!(named, HostHeader::Name("api.internal:81".to_owned()));
}

#[test]
fn upgrades_and_tunnels_have_defaults() {
    assert_eq!(route("path: /").upgrades, [Upgrade::Websocket]);
    assert_eq!(route("upgrades: []").upgrades, []);
    assert_eq!(route("path: /").timeouts.tunnel, Period::from_secs(300));
}

#[test]
fn an_answer_may_be_json() {
    let text = r#"respond: {body: '{"msg":"gateway alive"}', headers: {Content-Type: a/b}}"#;
    let Action::Respond(respond) = route(text).action else { panic!("an answer") };
    assert_eq!((respond.status, &*respond.body), (200, r#"{"msg":"gateway alive"}"#));
    assert_eq!(respond.headers["content-type"], "a/b");
}

#[test]
fn an_alias_repeats_a_value() {
    let config = config(
        "upstreams:\n  a:\n    targets: &t [{addr: a:1}]\n  b:\n    targets: *t\nroutes:\n  \
         - {name: r, split: [{upstream: a}, {upstream: b, cookie: {c: d}}]}\n",
    );
    assert_eq!(config.upstreams["a"].targets, config.upstreams["b"].targets);
}

#[test]
fn a_source_finds_the_place_of_a_field() {
    let text = "routes:\n  - name: a\n    filters:\n      \
                - headers: {request: {set: {X-A: b}}}\n    targets: [{addr: a:1}]\n";
    let source = common::load(text).unwrap().source;
    let place = |path: &str| {
        let found = source.diagnose(path, String::new(), None);
        (found.line, found.column, found.path)
    };
    let below = "routes[0].filters[0].headers.request.set";
    assert_eq!(place(&format!("{below}.x-a")), (4, 40, format!("{below}.X-A")));
    assert_eq!(
        place("routes[0].filters[0].headers"),
        (4, 9, "routes[0].filters[0].headers".into())
    );
    assert_eq!(place("routes[0].timeouts.idle"), (2, 5, "routes[0].timeouts.idle".into()));
    assert_eq!(place("server"), (0, 0, "server".into()));
}

#[test]
fn a_message_of_somebody_else_is_cleaned_too() {
    let text = "server: {via: \"${WORD}\"}\n\
                global_filters: [{headers: {request: {set: {api_key: hunter2}}}}]\n";
    let source = common::load(text).unwrap().source;
    let message = "`hunter2` and `swordfish` and \u{1b}[31m".to_owned();
    let found = source.diagnose("server.via", message, Some("not swordfish".to_owned()));
    assert_eq!(found.message, "`***` and `${WORD}` and \\u{1b}[31m");
    assert_eq!(found.help.as_deref(), Some("not ${WORD}"));
    assert!(!format!("{source:?}").contains("swordfish"));
}

#[test]
fn files_of_other_systems_are_read_too() {
    let text = "\u{feff}server:\r\n  port: 81\r\n  via: a\r\n";
    assert_eq!(config(text).server.via, "a");
    let errors = common::load("server:\r\n  prot: 81\r\n").expect_err("an unknown field");
    assert!(errors.to_string().contains("2 |   prot: 81\n"), "{errors}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let load = |path: &std::path::Path| {
        ringway_config::load::<ToyFilter>(path, &common::env).expect_err("no file").to_string()
    };
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(load(&folder.join("missing.yaml")).contains("missing.yaml"));
    assert!(load(folder).contains("cannot be read"));
    assert!(load(std::path::Path::new("/dev/zero")).contains("more than 16777216 bytes"));
}

#[test]
fn a_remedy_does_not_show_a_part_of_the_environment() {
    for (line, value) in [
        ("server: {trusted_proxies: [\"${VALUE}\"]}", "10.123.45.6/8"),
        ("upstreams: {a: {targets: [{addr: \"${VALUE}\"}]}}", "https://swordfish"),
        ("routes: [{name: a, respond: {}, path: \"${VALUE}\"}]", "/swordfish?a"),
        ("routes: [{name: a, respond: {}, methods: [\"${VALUE}\"]}]", "sword"),
        ("routes: [{name: a, redirect: \"${VALUE}\"}]", "swordfish"),
        ("server: {listen: [\"${VALUE}\"]}", "swordfish:12345"),
        ("workers: {cores: \"${VALUE}\"}", "swordfish"),
        ("server: {port: \"${VALUE}\"}", "-1"),
    ] {
        let env = |_: &str| Some(value.to_owned());
        let loaded = ringway_config::load_str::<ToyFilter>("gateway.yaml", line, &env);
        let said = loaded.expect_err("an error").to_string().to_lowercase();
        for part in ["10.123", "sword", "12345", "`-1`"] {
            assert!(!said.contains(part), "{said}");
        }
    }
}
