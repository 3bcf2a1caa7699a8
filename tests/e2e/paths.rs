//! Filters that change paths and headers, or answer by them: what the origin and the client see.

use crate::harness::{Driver, Gateway, Origin, forward_route, refusing, scenes};

scenes![
    a_preflight_meets_the_filters_of_the_route_it_asks_about,
    a_preflight_that_nobody_answers_is_405,
    errors_tell_browsers_who_may_read_them,
    an_answer_says_what_the_filter_says_and_not_the_upstream,
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
