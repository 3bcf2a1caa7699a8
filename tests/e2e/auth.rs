//! Who asks: tokens that pass and those that do not, and what the upstream is told.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::harness::{Driver, Gateway, Origin, forward_route, scenes};

scenes![
    only_a_good_token_passes,
    the_upstream_is_told_who_asks_by_the_gateway_alone,
    excluded_paths_are_what_is_routed,
    a_token_that_is_not_forwarded_is_nowhere_in_the_request,
];

const SECRET: &str = "a-secret-of-the-scenes-with-32-bytes-and-more";

const JWT: &str = "
    filters:
      - auth:
          type: jwt
          secret: a-secret-of-the-scenes-with-32-bytes-and-more
          claims_to_headers: {sub: X-User-ID, realm.roles: X-Roles}
          exclude_paths: [/public]
";

/// Seconds from now, as a token has them.
fn seconds(from_now: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + from_now
}

fn signed(claims: &Value) -> String {
    sign(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes()))
}

fn sign(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    format!("Authorization: Bearer {}", encode(header, claims, key).unwrap())
}

fn only_a_good_token_passes(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = Gateway::forward_route(driver, &origin, JWT);
    let mut client = gateway.client();

    let answer = client.get("/").expect_error(401);
    assert_eq!(answer.field("www-authenticate"), Some("Bearer realm=\"ringway\""));
    client.get_with("/", &["Authorization: Basic YTpi"]).expect_error(401);

    let good = json!({"sub": "alice", "exp": seconds(60)});
    let other = EncodingKey::from_secret(b"another-secret-of-32-bytes-and-more-than-that");
    let header = Header::new(Algorithm::HS256);
    let none = "Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.".to_owned();
    for (token, reason) in [
        (sign(&header, &good, &other), "the signature of the token is wrong"),
        (signed(&json!({"sub": "alice", "exp": seconds(-60)})), "the token has expired"),
        (signed(&json!({"sub": "alice"})), "the token lacks a claim that is required"),
        (none, "the token is signed in a way that is not accepted"),
        ("Authorization: Bearer a.b".to_owned(), "the token is not of the form"),
    ] {
        for _ in 0..2 {
            let answer = client.get_with("/", &[&token]).expect_error(401);
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(message.starts_with(reason), "{token}: {message}");
            let challenge = answer.field("www-authenticate").unwrap().to_owned();
            let expected = "Bearer realm=\"ringway\", error=\"invalid_token\", error_description=";
            assert!(challenge.starts_with(expected), "{challenge}");
            assert!(!answer.text().contains(SECRET));
        }
    }
    assert_eq!(origin.connections(), 0);
    for _ in 0..3 {
        client.get_with("/", &[&signed(&good)]).expect(200);
    }
    // Several are refused always, wherever they come from (HTTP_SAFETY rule 19).
    client.get_with("/", &[&signed(&good), &signed(&good)]).expect_error(400);
    assert_eq!(origin.count(), 3);
}

fn the_upstream_is_told_who_asks_by_the_gateway_alone(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = Gateway::forward_route(driver, &origin, JWT);
    let mut client = gateway.client();
    let forged = [
        "X-User-ID: root",
        "x-user-id: root",
        "X_User_ID: root",
        "X.User.Id: root",
        "x-user_id: root",
        "X_ROLES: root",
        "Connection: X-User-ID, keep-alive",
    ];
    let alice = signed(&json!({
        "sub": "alice", "realm": {"roles": ["admin", "user"]}, "exp": seconds(60)
    }));
    let bob = signed(&json!({"sub": "bob\r\nX-User-ID: root", "exp": seconds(60)}));
    let fields = |token| [&forged[..], &[token]].concat();
    client.get_with("/", &fields(&alice)).expect(200);
    client.get_with("/", &fields(&alice)).expect(200);
    client.get_with("/", &fields(&bob)).expect(200);
    client.get_with("/public/a", &forged).expect(200);
    let requests = origin.requests();
    for request in &requests {
        let told = |(name, value): &(String, String)| value.contains("root") || name.contains('_');
        let forged: Vec<_> = request.head.fields.iter().filter(|field| told(field)).collect();
        assert!(forged.is_empty(), "{forged:?}");
    }
    for request in &requests[..2] {
        assert_eq!(request.field("x-user-id"), Some("alice"));
        assert_eq!(request.field("x-roles"), Some("admin,user"));
        assert!(request.field("authorization").is_some());
    }
    for request in &requests[2..] {
        assert_eq!(request.head.all("x-user-id"), [""; 0]);
        assert_eq!(request.head.all("x-roles"), [""; 0]);
    }
}

fn excluded_paths_are_what_is_routed(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = Gateway::forward_route(driver, &origin, JWT);
    let mut client = gateway.client();
    let free = [
        "/public",
        "/public/",
        "/public/a?b=c",
        "//public/a",
        "/./public",
        "/a/../public",
        "/%70ublic/a",
        "/a/%2e%2e/public",
    ];
    for target in free {
        client.get(target).expect(200);
    }
    for target in [
        "/public/../private",
        "/public/%2e%2e/private",
        "/public/./../private",
        "/public//../private",
        "/publicly",
        "/Public",
        "/public;a",
        "/public/%2E./private",
    ] {
        client.get(target).expect_error(401);
    }
    // What hides a slash never gets as far as a filter.
    for target in ["/public%2f..%2fprivate", "/public/..%2fprivate", "/public/..%5cprivate"] {
        gateway.client().get(target).expect_error(400);
    }
    assert_eq!(origin.count(), free.len());
}

fn a_token_that_is_not_forwarded_is_nowhere_in_the_request(driver: Driver) {
    let token = signed(&json!({"sub": "alice", "exp": seconds(60)}));
    let token = token.strip_prefix("Authorization: Bearer ").unwrap();
    for (from, target, field) in [
        ("", "/a?x=1", format!("Authorization: Bearer {token}")),
        ("from: {header: X-Token}", "/a?x=1", format!("x-token: {token}")),
        ("from: {cookie: session}", "/a?x=1", format!("Cookie: a=1; session={token}; b=2")),
        ("from: {query: token}", &format!("/a?token={token}&x=1"), "X-A: b".to_owned()),
    ] {
        let origin = Origin::saying("hi");
        let settings = format!(
            "
            filters:
              - auth:
                  type: jwt
                  secret: {SECRET}
                  forward: false
                  consumer_header: X-Consumer
                  {from}
            "
        );
        let gateway = Gateway::start(driver, &forward_route(&origin, &settings));
        gateway.client().get("/a?x=1").expect_error(401);
        gateway.client().get_with(target, &[&field, "X-Consumer: bob"]).expect(200);
        let request = origin.requests().pop().unwrap();
        assert!(!format!("{request:?}").contains(token), "{from}: {request:?}");
        assert_eq!(
            (request.target.as_str(), request.field("x-consumer")),
            ("/a?x=1", Some("alice"))
        );
        if from.contains("cookie") {
            assert_eq!(request.field("cookie"), Some("a=1; b=2"));
        }
    }
}
