//! Routes: which one takes a request, and what it makes of the path.

use crate::harness::{Client, Driver, Gateway, Origin, forward_route, scenes};

scenes![
    hosts_are_exact_then_wildcard_then_any,
    paths_are_exact_then_prefix_then_regex,
    a_prefix_ends_at_a_segment,
    methods_headers_and_queries_decide,
    client_addresses_decide,
    priority_goes_before_everything,
    the_path_is_normalised_once,
    encoded_slashes_may_be_kept,
    a_prefix_can_be_stripped,
    a_path_can_be_rewritten_with_parameters,
    a_path_can_be_rewritten_with_captures,
    a_parameter_can_name_the_upstream,
    respond_answers_by_itself,
    redirect_sends_elsewhere,
    redirect_never_names_another_host,
    answers_without_content_promise_none,
];

/// A route that answers with its own name.
fn named(name: &str, conditions: &str) -> String {
    format!("  - name: {name}\n    respond:\n      body: {name}\n    {conditions}\n")
}

fn routes(list: &[(&str, &str)]) -> String {
    let routes: String = list.iter().map(|(name, conditions)| named(name, conditions)).collect();
    format!("routes:\n{routes}")
}

/// The route that takes this request, or the status of the answer.
fn taken(client: &mut Client, target: &str, fields: &[&str]) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let host = if fields.contains("Host:") { "" } else { "Host: gateway.test\r\n" };
    client.send(format!("GET {target} HTTP/1.1\r\n{host}{fields}\r\n"));
    let answer = client.answer();
    if answer.status == 200 { answer.text() } else { answer.status.to_string() }
}

fn hosts_are_exact_then_wildcard_then_any(driver: Driver) {
    let gateway = Gateway::start(
        driver,
        &routes(&[
            ("any", "prefix: /"),
            ("wild", "host: \"*.example.com\""),
            ("wilder", "host: \"*.b.example.com\""),
            ("exact", "host: [api.example.com, www.example.com]"),
        ]),
    );
    let mut client = gateway.client();
    for (host, route) in [
        ("api.example.com", "exact"),
        ("API.Example.COM:8080", "exact"),
        ("www.example.com", "exact"),
        ("x.example.com", "wild"),
        ("a.b.example.com", "wilder"),
        ("example.com", "any"),
        ("example.org", "any"),
        ("127.0.0.1:80", "any"),
        ("[::1]:80", "any"),
    ] {
        assert_eq!(taken(&mut client, "/", &[&format!("Host: {host}")]), route, "{host}");
    }
    // RFC 9112 §3.2.2: the absolute form counts, whatever Host says.
    let absolute = "http://api.example.com/";
    assert_eq!(taken(&mut client, absolute, &["Host: elsewhere.test"]), "exact");
}

fn paths_are_exact_then_prefix_then_regex(driver: Driver) {
    let gateway = Gateway::start(
        driver,
        &routes(&[
            ("regex", "regex: /v[0-9]+/.*"),
            ("short", "prefix: /api"),
            ("long", "prefix: /api/v1"),
            ("pattern", "pattern: /users/:id/posts"),
            ("exact", "path: /api/v1/health"),
        ]),
    );
    let mut client = gateway.client();
    for (path, route) in [
        ("/api/v1/health", "exact"),
        ("/api/v1/health/more", "long"),
        ("/api/v1", "long"),
        ("/api/v2", "short"),
        ("/users/7/posts", "pattern"),
        ("/users//posts", "404"),
        ("/users/7", "404"),
        ("/v2/x", "regex"),
        ("/xv2/x", "404"),
        ("/", "404"),
    ] {
        assert_eq!(taken(&mut client, path, &[]), route, "{path}");
    }
}

fn a_prefix_ends_at_a_segment(driver: Driver) {
    let gateway = Gateway::start(driver, &routes(&[("users", "prefix: /api/users")]));
    let mut client = gateway.client();
    for (path, route) in [
        ("/api/users", "users"),
        ("/api/users/", "users"),
        ("/api/users/7", "users"),
        ("/api/users?x", "users"),
        ("/api/usersx", "404"),
        ("/api/user", "404"),
        ("/api/users/../admin", "404"),
        ("/api/%75sers", "users"),
    ] {
        assert_eq!(taken(&mut client, path, &[]), route, "{path}");
    }
}

fn methods_headers_and_queries_decide(driver: Driver) {
    let gateway = Gateway::start(
        driver,
        &routes(&[
            ("any", "prefix: /"),
            ("reading", "prefix: /\n    methods: [GET, HEAD]"),
            ("canary", "prefix: /\n    headers: {X-Env: canary}"),
            ("numbered", "prefix: /\n    headers: {X-Build: {regex: \"[0-9]+\"}}"),
            ("debug", "prefix: /\n    query: {debug: {present: true}}"),
            (
                "both",
                "prefix: /\n    headers: {X-Env: canary}\n    query: {debug: {present: true}}",
            ),
        ]),
    );
    let mut client = gateway.client();
    for (target, fields, route) in [
        ("/", &[][..], "reading"),
        ("/", &["X-Env: canaryx"], "reading"),
        ("/", &["X-Build: 42b"], "reading"),
        ("/?debugging=1", &[], "reading"),
        // One condition each, so the order of the file decides.
        ("/", &["x-env: canary"], "reading"),
        // More conditions come first.
        ("/?debug=1", &["X-Env: canary"], "both"),
        ("/?a=b&debug", &["X-Env: canary"], "both"),
    ] {
        assert_eq!(taken(&mut client, target, fields), route, "{target} {fields:?}");
    }
    for (target, fields, route) in [
        ("/", "X-Env: canary", "canary"),
        ("/", "X-Build: 42", "numbered"),
        ("/?debug=1", "X-Build: 42", "numbered"),
        ("/?debug=1", "X-Other: 1", "debug"),
        ("/", "X-Other: 1", "any"),
    ] {
        let answer = client.request("PUT", target, &[fields]).answer().expect(200);
        assert_eq!(answer.text(), route, "PUT {target} {fields:?}");
    }
}

fn client_addresses_decide(driver: Driver) {
    let gateway = Gateway::start(
        driver,
        &routes(&[
            ("guest", "prefix: /"),
            ("staff", "prefix: /\n    clients: [127.0.0.2/32, 10.0.0.0/8]"),
        ]),
    );
    assert_eq!(taken(&mut gateway.client(), "/", &[]), "guest");
    assert_eq!(taken(&mut gateway.client_from([127, 0, 0, 2]), "/", &[]), "staff");
    // Nobody is staff because he says so.
    let lie = ["X-Forwarded-For: 10.1.2.3", "X-Real-IP: 10.1.2.3", "Forwarded: for=10.1.2.3"];
    assert_eq!(taken(&mut gateway.client(), "/", &lie), "guest");
}

fn priority_goes_before_everything(driver: Driver) {
    let gateway = Gateway::start(
        driver,
        &routes(&[("exact", "path: /a"), ("first", "prefix: /\n    priority: 10")]),
    );
    assert_eq!(taken(&mut gateway.client(), "/a", &[]), "first");
}

/// HTTP_SAFETY rule 20: what is routed and what is forwarded are the same bytes.
fn the_path_is_normalised_once(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    for (sent, received) in [
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/../../b", "/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/.%2E/b", "/b"),
        ("/a/..;x/b", "/b"),
        ("/a//b", "/a/b"),
        ("/%41%7e", "/A~"),
        ("/a%c3%a9", "/a%C3%A9"),
        ("/a?b=../%2e&c=%00", "/a?b=../%2e&c=%00"),
        ("/a?", "/a?"),
        ("http://gateway.test/x?y", "/x?y"),
        ("http://gateway.test", "/"),
    ] {
        let answer = client.get(sent).expect(200).json();
        assert_eq!(answer["target"], received, "{sent}");
    }
}

fn encoded_slashes_may_be_kept(driver: Driver) {
    let origin = Origin::echo();
    let keep = "
        server:
          path:
            encoded_slash: keep
            merge_slashes: false
    ";
    let gateway = Gateway::forward_with(driver, &origin, keep);
    let mut client = gateway.client();
    for (sent, received) in [("/a%2fb", "/a%2Fb"), ("/a%5Cb", "/a%5Cb"), ("/a//b", "/a//b")] {
        assert_eq!(client.get(sent).expect(200).json()["target"], received, "{sent}");
    }
}

fn a_prefix_can_be_stripped(driver: Driver) {
    let origin = Origin::echo();
    let routes =
        forward_route(&origin, "strip_prefix: true").replace("prefix: /\n", "prefix: /api/v1\n");
    let gateway = Gateway::start(driver, &routes);
    let mut client = gateway.client();
    for (sent, received) in [
        ("/api/v1/users/7?x=y", "/users/7?x=y"),
        ("/api/v1", "/"),
        ("/api/v1/", "/"),
        ("/api/v1?x", "/?x"),
    ] {
        assert_eq!(client.get(sent).expect(200).json()["target"], received, "{sent}");
    }
    // Two slashes after the prefix must not become an authority.
    let doubled = client.get("/api/v1//evil.test/").expect(200).json();
    assert_eq!(doubled["target"], "/evil.test/");
}

fn a_path_can_be_rewritten_with_parameters(driver: Driver) {
    let origin = Origin::echo();
    let routes = forward_route(&origin, "rewrite:\n  path: /u/${id}/files/${rest}")
        .replace("prefix: /\n", "pattern: /users/:id/*rest\n");
    let gateway = Gateway::start(driver, &routes);
    let mut client = gateway.client();
    for (sent, received) in [
        ("/users/7/a/b?q=1", "/u/7/files/a/b?q=1"),
        ("/users/7/", "/u/7/files/"),
        ("/users/%20/a", "/u/%20/files/a"),
    ] {
        assert_eq!(client.get(sent).expect(200).json()["target"], received, "{sent}");
    }
}

fn a_path_can_be_rewritten_with_captures(driver: Driver) {
    let origin = Origin::echo();
    let routes = forward_route(&origin, "rewrite:\n  path: /${2}/${year}")
        .replace("prefix: /\n", "regex: \"/(?<year>[0-9]{4})/([a-z]+)\"\n");
    let gateway = Gateway::start(driver, &routes);
    assert_eq!(gateway.get("/2026/news").expect(200).json()["target"], "/news/2026");
    gateway.get("/26/news").expect_error(404);
}

fn a_parameter_can_name_the_upstream(driver: Driver) {
    let (users, orders) = (Origin::saying("users"), Origin::saying("orders"));
    let gateway = Gateway::start(
        driver,
        &format!(
            "
            upstreams:
              users:
                targets:
                  - addr: http://{}
              orders:
                targets:
                  - addr: http://{}
            routes:
              - name: services
                pattern: /:service/*path
                upstream: ${{service}}
                rewrite:
                  path: /${{path}}
            ",
            users.address, orders.address
        ),
    );
    let mut client = gateway.client();
    assert_eq!(client.get("/users/a/b").expect(200).text(), "users");
    assert_eq!(client.get("/orders/").expect(200).text(), "orders");
    client.get("/nobody/").expect_error(404);
    assert_eq!(users.request().target, "/a/b");
    assert_eq!(orders.request().target, "/");
}

fn respond_answers_by_itself(driver: Driver) {
    let gateway = Gateway::start(
        driver,
        r#"
        routes:
          - name: ping
            path: /ping
            respond:
              status: 201
              headers:
                Content-Type: application/json
                X-Kind: own
              body: '{"msg":"gateway alive"}'
        "#,
    );
    let mut client = gateway.client();
    let answer = client.get("/ping").expect(201);
    assert_eq!(answer.json()["msg"], "gateway alive");
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("x-kind"), Some("own"));
    let head = client.request("HEAD", "/ping", &[]).answer_to("HEAD").expect(201);
    assert_eq!(head.field("content-length"), Some("23"));
    client.get("/pong").expect_error(404);
}

fn redirect_sends_elsewhere(driver: Driver) {
    let gateway = Gateway::start(
        driver,
        "
        routes:
          - name: old
            pattern: /old/*rest
            redirect:
              to: https://new.test/${rest}
              status: 301
          - name: default
            path: /moved
            redirect:
              to: /here
        ",
    );
    let mut client = gateway.client();
    let answer = client.get("/old/a/b").expect(301);
    assert_eq!(answer.field("location"), Some("https://new.test/a/b"));
    assert_eq!(client.get("/moved").expect(302).field("location"), Some("/here"));
    // HTTP_SAFETY rule 18: nothing of a path ends a line of the head.
    let answer = client.get("/old/%0d%0aSet-Cookie:%20a=b");
    assert_eq!(answer.field("set-cookie"), None);
}

/// `//evil.test` in a Location is a host (RFC 3986 §4.2), whatever the file's author meant.
fn redirect_never_names_another_host(driver: Driver) {
    let gateway = Gateway::start(
        driver,
        "
        server:
          path:
            merge_slashes: false
        routes:
          - name: old
            pattern: /old/*rest
            redirect: /${rest}
          - name: moved
            regex: /moved(?<rest>.*)
            redirect: https://x.test${rest}
          - name: parameter
            pattern: /parameter/:host
            redirect: https://x.test${host}/
        ",
    );
    for target in ["/old//evil.test", "/old///evil.test", "/old//evil.test/%2e%2e"] {
        let answer = gateway.get(target);
        let location = answer.field("location").unwrap_or_default();
        assert!(!location.starts_with("//"), "{target} → {location}");
    }
    assert_eq!(gateway.get("/old/a//b").expect(302).field("location"), Some("/a//b"));
    for target in ["/moved.evil.test", "/moved@evil.test", "/moved:81", "/moved-evil.test"] {
        gateway.get(target).expect_error(500);
    }
    gateway.get("/parameter/.evil.test").expect_error(500);
    let moved = gateway.get("/moved/a@b").expect(302);
    assert_eq!(moved.field("location"), Some("https://x.test/a@b"));
}

/// RFC 9110 §8.6: a cache would take the length of a 304 for that of what it has stored.
fn answers_without_content_promise_none(driver: Driver) {
    for status in [204, 304] {
        let routes =
            format!("routes:\n  - name: none\n    path: /\n    respond:\n      status: {status}\n");
        let gateway = Gateway::start(driver, &routes);
        let mut client = gateway.client();
        for _ in 0..2 {
            assert_eq!(client.get("/").expect(status).field("content-length"), None);
        }
    }
}
