//! Filters that change paths and headers, or answer by them: what the origin and the client see.

use crate::harness::{Driver, Gateway, Origin, dedent, forward_route, refusing, scenes};

scenes![
    a_preflight_meets_the_filters_of_the_route_it_asks_about,
    a_preflight_that_nobody_answers_is_405,
    errors_tell_browsers_who_may_read_them,
    an_answer_says_what_the_filter_says_and_not_the_upstream,
    headers_take_what_the_request_knows,
    headers_go_on_under_another_name,
    what_the_gateway_writes_itself_can_be_taken_away,
    a_route_can_name_itself_and_its_client,
    browsers_are_told_to_be_strict,
    a_client_is_sent_to_the_one_address,
    a_path_is_rewritten_and_stays_a_path,
    a_request_has_one_id,
    an_id_is_no_way_out_of_a_path,
];

const PREFLIGHT: [&str; 2] = ["Origin: https://app.test", "Access-Control-Request-Method: POST"];

/// The route takes POST alone and refuses what carries no credentials, as `auth` would.
fn a_preflight_meets_the_filters_of_the_route_it_asks_about(driver: Driver) {
    let origin = Origin::echo();
    let restricted = "
        methods: [POST]
        filters:
          - cors:
              allow_origins: [\"https://app.test\"]
              allow_methods: [POST]
          - fault:
              abort: {status: 401}
    ";
    let gateway = Gateway::forward_route(driver, &origin, restricted);
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.request("OPTIONS", "/a", &PREFLIGHT).answer().expect(204);
        assert_eq!(answer.field("access-control-allow-origin"), Some("https://app.test"));
        assert_eq!(answer.field("access-control-allow-methods"), Some("POST"));
        assert_eq!(answer.field("content-length"), None);
    }
    let answer = client.post("/a", b"hello").expect_error(401);
    assert_eq!(answer.field("access-control-allow-origin"), None);
    assert_eq!(answer.field("vary"), Some("Origin"));
    assert_eq!(origin.connections(), 0);
    let put = ["Origin: https://app.test", "Access-Control-Request-Method: PUT"];
    let answer = client.request("OPTIONS", "/a", &put).answer().expect_error(405);
    assert_eq!(answer.field("allow"), Some("POST"), "no route takes PUT either");
}

fn a_preflight_that_nobody_answers_is_405(driver: Driver) {
    let origin = Origin::echo();
    let tagged = "
        methods: [GET, POST]
        filters:
          - headers:
              response:
                set: {X-Route: \"seen\"}
    ";
    let gateway = Gateway::forward_route(driver, &origin, tagged);
    let answer = gateway.client().request("OPTIONS", "/", &PREFLIGHT).answer().expect_error(405);
    assert_eq!(answer.field("allow"), Some("GET, POST"));
    assert_eq!(answer.field("x-route"), Some("seen"), "the route's filters were met");
    // Other OPTIONS requests are no preflights.
    let answer = gateway.client().request("OPTIONS", "/", &[]).answer().expect_error(405);
    assert_eq!((answer.field("allow"), answer.field("x-route")), (Some("GET, POST"), None));
    assert_eq!(origin.connections(), 0);
}

fn errors_tell_browsers_who_may_read_them(driver: Driver) {
    let gateway = Gateway::start(
        driver,
        &format!(
            "
            routes:
              - name: down
                prefix: /down
                targets: [{{addr: \"http://{}\"}}]
            global_filters:
              - cors:
                  allow_origins: [\"https://*.test\"]
                  allow_credentials: true
            ",
            refusing()
        ),
    );
    let mut client = gateway.client();
    for (target, status) in [("/down", 502), ("/nowhere", 404)] {
        let answer = client.get_with(target, &["Origin: https://app.test"]).expect_error(status);
        assert_eq!(answer.field("access-control-allow-origin"), Some("https://app.test"));
        assert_eq!(answer.field("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.field("vary"), Some("Origin"));
        let answer = client.get_with(target, &["Origin: https://evil.example"]);
        assert_eq!(answer.expect_error(status).field("access-control-allow-origin"), None);
    }
    let answer = client.request("OPTIONS", "/nowhere", &PREFLIGHT).answer().expect(204);
    assert_eq!(answer.field("access-control-allow-origin"), Some("https://app.test"));
}

fn an_answer_says_what_the_filter_says_and_not_the_upstream(driver: Driver) {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVary: Accept-Encoding\r\n\
         access-control-allow-origin: https://other.test\r\n\
         Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: X-A\r\n\r\nhi",
    );
    let cors = "
        filters:
          - cors:
              allow_origins: [\"https://app.test\"]
              expose_headers: [X-B]
    ";
    let gateway = Gateway::start(driver, &forward_route(&origin, cors));
    let mut client = gateway.client();
    let answer = client.get_with("/", &["Origin: https://app.test"]).expect(200);
    assert_eq!(answer.head.all("access-control-allow-origin"), ["https://app.test"]);
    assert_eq!(answer.head.all("access-control-expose-headers"), ["X-B"]);
    assert_eq!(answer.head.all("access-control-allow-credentials"), [""; 0]);
    assert_eq!(answer.head.all("vary"), ["Accept-Encoding", "Origin"]);
    let answer = client.get("/").expect(200);
    assert_eq!(answer.head.all("access-control-allow-origin"), [""; 0]);
    assert_eq!(answer.head.all("vary"), ["Accept-Encoding", "Origin"]);
}

fn headers_take_what_the_request_knows(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = Gateway::start(
        driver,
        &format!(
            "
            routes:
              - name: orders
                pattern: /users/:user/orders/*rest
                targets: [{{addr: \"http://{}\"}}]
                filters:
                  - headers:
                      request:
                        set: {{X-User: \"${{user}}\", X-Route: \"${{route}} of ${{host}}\"}}
                        add: {{X-Rest: \"<${{rest}}>\", X-Query: \"${{query}}\"}}
                      response:
                        set: {{X-Client: \"${{client_ip}}\", X-Id: \"${{request_id}}\"}}
            ",
            origin.address
        ),
    );
    let sent = ["X-User: forged", "X_User: forged", "X-Query: own", "X-Request-ID: 42"];
    let mut client = gateway.client();
    let answer = client.get_with("/users/ann%20b/orders/1/2", &sent).expect(200);
    assert_eq!(answer.field("x-client"), Some("127.0.0.1"));
    assert_eq!(answer.field("x-id"), Some("42"));
    client.get("/users/bob/orders/1?a=%0d%0aX-Evil:1").expect(200);
    let [first, second] = origin.requests().try_into().unwrap();
    assert_eq!(first.head.all("x-user"), ["ann%20b"]);
    assert_eq!(first.head.all("x_user"), [""; 0]);
    assert_eq!(first.field("x-route"), Some("orders of gateway.test"));
    assert_eq!(first.field("x-rest"), Some("<1/2>"));
    assert_eq!(first.head.all("x-query"), ["own"], "an empty value is no value");
    assert_eq!(second.field("x-query"), Some("a=%0d%0aX-Evil:1"));
    assert_eq!(second.field("x-evil"), None);
}

fn headers_go_on_under_another_name(driver: Driver) {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Took: 1\r\nX-Took: 2\r\n\
         X-Time: old\r\n\r\nhi",
    );
    let rename = "
        filters:
          - headers:
              request:
                rename: {X-Token: Authorization}
              response:
                rename: {X-Took: X-Time}
    ";
    let gateway = Gateway::forward_route(driver, &origin, rename);
    let sent = ["X-Token: a", "x-token: b", "Authorization: forged"];
    let answer = gateway.client().get_with("/", &sent).expect(200);
    assert_eq!(answer.head.all("x-time"), ["1", "2"]);
    assert_eq!(answer.head.all("x-took"), [""; 0]);
    assert_eq!(origin.request().head.all("authorization"), ["a"]);
    assert_eq!(origin.request().head.all("x-token"), [""; 0]);
}

fn what_the_gateway_writes_itself_can_be_taken_away(driver: Driver) {
    let origin =
        Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: inner\r\n\r\nhi");
    let yaml = "
        server:
          server_header: ringway
        global_filters:
          - headers:
              response:
                remove: [Server]
    ";
    let yaml = format!("{}{}", dedent(yaml), forward_route(&origin, ""));
    let gateway = Gateway::start(driver, &yaml);
    assert_eq!(gateway.get("/").expect(200).head.all("server"), [""; 0]);
    let left = Gateway::start(driver, &yaml.replace("remove: [Server]", "remove: [X-A]"));
    assert_eq!(left.get("/").expect(200).head.all("server"), ["ringway"]);
}

fn a_route_can_name_itself_and_its_client(driver: Driver) {
    let origin = Origin::saying("hi");
    let rewrite = "
        rewrite:
          path: /${route}/${client_ip}${path}
    ";
    let gateway = Gateway::forward_route(driver, &origin, rewrite);
    gateway.get("/a?b=c").expect(200);
    assert_eq!(origin.request().target, "/all/127.0.0.1/a?b=c");
}

/// A variable that a request may not have is found while the file is loaded.
#[test]
fn templates_of_filters_are_checked_with_the_file() {
    let check = |filter: &str, global: &str, says: &[&str]| {
        let file = format!(
            "routes:\n  - name: a\n    pattern: /:user/x\n    respond: {{}}\n    filters:\n\
             {:6}- headers: {{{filter}}}\n{global}",
            ""
        );
        let (code, said) = crate::cli::ringway(&["check", "-c"], &file);
        assert_eq!(code, Some(i32::from(!says.is_empty())), "{said}");
        says.iter().for_each(|part| assert!(said.contains(part), "no {part} in {said}"));
    };
    check("request: {set: {X-A: \"${user}\"}}", "", &[]);
    let misspelt = "response: {add: {X-A: \"${usr}\"}}";
    check(misspelt, "", &[":6:", "no variable `usr`", "did you mean `${user}`?"]);
    let global = "global_filters:\n  - headers: {request: {set: {X-A: \"${user}\"}}}\n";
    check("request: {remove: [X-A]}", global, &[":8:", "not every route", "`global_filters`"]);
    let claims = "request: {set: {X-A: \"${claims.X-Role}\"}}";
    check(claims, "", &[":6:", "nothing before this filter tells who asks", "`auth`"]);
    check("request: {set: {X-A: \"${user\"}}", "", &[":6:", "without `}`"]);
}

fn browsers_are_told_to_be_strict(driver: Driver) {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Frame-Options: DENY\r\n\
         X-Powered-By: inner\r\n\r\nhi",
    );
    let yaml = "
        server:
          trusted_proxies: [127.0.0.1]
          server_header: ringway
        global_filters:
          - security_headers
    ";
    let yaml = format!("{}{}", dedent(yaml), forward_route(&origin, ""));
    let gateway = Gateway::start(driver, &yaml);
    let answer = gateway.client().get_with("/", &["X-Forwarded-Proto: https"]).expect(200);
    assert_eq!(answer.head.all("x-frame-options"), ["DENY"]);
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.field("strict-transport-security"), Some("max-age=31536000"));
    assert_eq!(answer.field("x-powered-by"), Some("inner"));
    let answer = gateway.get("/").expect(200);
    assert_eq!(answer.field("strict-transport-security"), None, "it came over plain http");

    let strict = "- security_headers: {override: true, hide_server: true}";
    let gateway = Gateway::start(driver, &yaml.replace("- security_headers", strict));
    let answer = gateway.get("/").expect(200);
    assert_eq!(answer.head.all("x-frame-options"), ["SAMEORIGIN"]);
    assert_eq!(answer.head.all("server"), [""; 0]);
    assert_eq!(answer.head.all("x-powered-by"), [""; 0]);
}

fn a_client_is_sent_to_the_one_address(driver: Driver) {
    let origin = Origin::echo();
    let yaml = "
        server:
          trusted_proxies: [127.0.0.1]
          path: {merge_slashes: false}
        global_filters:
          - redirect:
              scheme: https
              trailing_slash: remove
    ";
    let yaml = format!("{}{}", dedent(yaml), forward_route(&origin, ""));
    let gateway = Gateway::start(driver, &yaml);
    let mut client = gateway.client();
    let answer = client.get("/a/%7eb/?c=d").expect(308);
    assert_eq!(answer.field("location"), Some("https://gateway.test/a/~b?c=d"));
    let https = ["X-Forwarded-Proto: https"];
    let answer = client.get_with("//evil.test/", &https).expect(308);
    assert_eq!(answer.field("location"), Some("/evil.test"), "a path and no host");
    client.get_with("/a/../%2e./..;/x?y", &https).expect(200);
    assert_eq!(origin.request().target, "/x?y");
}

fn a_path_is_rewritten_and_stays_a_path(driver: Driver) {
    let origin = Origin::saying("hi");
    let rewrite = r#"
        filters:
          - rewrite:
              rules:
                - {regex: "/blog/([0-9]+)/(?<slug>[^/]+)", replacement: "/posts/${slug}?year=${1}"}
                - {regex: "/join/(.*)_(.*)", replacement: "/${1}${2}"}
                - {regex: "/route/.*", replacement: "/${route}"}
    "#;
    let gateway = Gateway::forward_route(driver, &origin, rewrite);
    let mut client = gateway.client();
    for (asked, sent) in [
        ("/blog/2024/a-b?c", "/posts/a-b?year=2024"),
        ("/other?c", "/other?c"),
        ("/route/x?c", "/all?c"),
        ("/join/a/._./secret", "/secret"),
        ("/join/%2e_%2e/up", "/up"),
        ("/join//_/evil.test", "/evil.test"),
        ("/join/a%250d_%250aX:b", "/a%250d%250aX:b"),
        ("/join/%0_d", "400"),
        ("/join/%25_0d%0a", "/%250d%0A"),
        ("/join/..%2_fetc", "400"),
    ] {
        let answer = client.get(asked);
        match sent.parse() {
            Ok(status) => {
                answer.expect_error(status);
                client = gateway.client();
            }
            Err(_) => {
                answer.expect(200);
                assert_eq!(origin.requests().last().unwrap().target, sent, "{asked}");
            }
        }
    }
}

fn a_request_has_one_id(driver: Driver) {
    let origin = Origin::saying("hi");
    let filters = "
        filters:
          - request_id:
              header: X-Correlation-ID
              trust: never
              format: uuid_v7
          - headers:
              request:
                set: {X-Copy: \"${request_id}\"}
    ";
    let gateway = Gateway::forward_route(driver, &origin, filters);
    let sent = ["X-Request-ID: theirs", "X-Correlation-ID: forged"];
    let answer = gateway.client().get_with("/", &sent).expect(200);
    let id = answer.field("x-correlation-id").unwrap();
    assert_eq!((id.len(), &id[14..15]), (36, "7"), "{id}");
    let request = origin.request();
    assert_eq!(request.head.all("x-correlation-id"), [id]);
    assert_eq!(request.head.all("x-copy"), [id]);
    assert_eq!(request.head.all("x-request-id"), [""; 0]);

    let usual = Gateway::forward_route(driver, &origin, "filters: [request_id]");
    let answer = usual.client().get_with("/", &["X-Request-ID: theirs"]).expect(200);
    assert_eq!(answer.head.all("x-request-id"), ["theirs"]);
    assert_eq!(origin.requests()[1].head.all("x-request-id"), ["theirs"]);
    let made = usual.get("/").expect(200);
    assert_eq!(origin.requests()[2].head.all("x-request-id"), made.head.all("x-request-id"));
}

/// The client writes its id as it likes; in the path that is made with it, it is one segment.
fn an_id_is_no_way_out_of_a_path(driver: Driver) {
    let origin = Origin::echo();
    let rewrite = "
        rewrite:
          path: \"/of/${request_id}\"
    ";
    let gateway = Gateway::forward_route(driver, &origin, rewrite);
    let mut client = gateway.client();
    for (id, sent) in [("a-1", "/of/a-1"), ("a?b=c&d", "/of/a%3Fb%3Dc%26d?q=1"), (".a", "/of/.a")] {
        let query = if sent.contains('?') { "?q=1" } else { "" };
        client.get_with(&format!("/x{query}"), &[&format!("X-Request-ID: {id}")]).expect(200);
        assert_eq!(origin.requests().last().unwrap().target, sent, "{id}");
    }
    let before = origin.count();
    for id in ["../admin", "..", "..;x", "..%3b/admin"] {
        client.get_with("/x", &[&format!("X-Request-ID: {id}")]).expect_error(500);
    }
    assert_eq!(origin.count(), before);
}
