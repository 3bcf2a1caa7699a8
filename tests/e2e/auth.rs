//! Who asks: tokens that pass and those that do not, and what the upstream is told.

use std::sync::mpsc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::harness::{BOUND, Driver, Gateway, Origin, chunked, forward_route, scenes};

scenes![
    only_a_good_token_passes,
    a_public_key_is_no_secret,
    the_upstream_is_told_who_asks_by_the_gateway_alone,
    no_trailer_tells_who_asks,
    a_service_that_is_asked_is_told_by_the_gateway_too,
    excluded_paths_are_what_is_routed,
    a_token_that_is_not_forwarded_is_nowhere_in_the_request,
    what_could_be_taken_for_the_credential_is_not_forwarded,
    an_api_key_is_good_for_its_routes,
    a_password_is_verified_off_the_worker,
    too_many_passwords_are_503_and_hold_nobody_up,
    of_several_kinds_one_is_enough,
    who_may_not_is_told_so,
];

pub(crate) const SECRET: &str = "a-secret-of-the-scenes-with-32-bytes-and-more";

const JWT: &str = "
    filters:
      - auth:
          type: jwt
          secret: a-secret-of-the-scenes-with-32-bytes-and-more
          claims_to_headers: {sub: X-User-ID, realm.roles: X-Roles}
          consumer_header: X-Consumer
          exclude_paths: [/public]
";

/// Seconds from now, as a token has them.
pub(crate) fn seconds(from_now: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + from_now
}

pub(crate) fn signed(claims: &Value) -> String {
    sign(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes()))
}

pub(crate) fn sign(header: &Header, claims: &Value, key: &EncodingKey) -> String {
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

/// Everybody has the public key, so a token that is signed with it as a secret is worth nothing.
fn a_public_key_is_no_secret(driver: Driver) {
    let origin = Origin::saying("hi");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/filters/src/auth/tests/rsa.pem");
    let auth = format!("filters:\n  - auth: {{type: jwt, public_key_file: \"{file}\"}}\n");
    let gateway = Gateway::forward_route(driver, &origin, &auth);
    let pem = EncodingKey::from_secret(&std::fs::read(file).unwrap());
    let claims = json!({"sub": "root", "exp": seconds(60)});
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let forged = sign(&Header::new(algorithm), &claims, &pem);
        let answer = gateway.client().get_with("/", &[&forged]).expect_error(401);
        let message = answer.json()["message"].clone();
        assert_eq!(message, "the token is signed in a way that is not accepted");
    }
    assert_eq!(origin.connections(), 0);
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
    // What stands around a value is no part of it (RFC 9110 §5.5): to a service these are `root`.
    let carol = signed(&json!({
        "sub": " root\t", "realm": {"roles": ["user", " root"]}, "exp": seconds(60)
    }));
    let fields = |token| [&forged[..], &[token]].concat();
    client.get_with("/", &fields(&alice)).expect(200);
    client.get_with("/", &fields(&alice)).expect(200);
    client.get_with("/", &fields(&bob)).expect(200);
    client.get_with("/", &fields(&carol)).expect(200);
    client.get_with("/public/a", &forged).expect(200);
    let requests = origin.requests();
    for request in &requests {
        let told = |(name, value): &(String, String)| value.contains("root") || name.contains('_');
        let forged: Vec<_> = request.head.fields.iter().filter(|field| told(field)).collect();
        assert!(forged.is_empty(), "{forged:?}");
    }
    for request in &requests[..2] {
        assert_eq!(request.field("x-user-id"), Some("alice"));
        assert_eq!(request.field("x-consumer"), Some("alice"));
        assert_eq!(request.field("x-roles"), Some("admin,user"));
        assert!(request.field("authorization").is_some());
    }
    for request in &requests[2..] {
        assert_eq!(request.head.all("x-user-id"), [""; 0]);
        assert_eq!(request.head.all("x-roles"), [""; 0]);
    }
}

/// Some programs put what comes behind a body among the headers.
fn no_trailer_tells_who_asks(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward_route(driver, &origin, JWT);
    let token = signed(&json!({"sub": "alice", "exp": seconds(60)}));
    let trailers = ["X-User-ID: root", "x_user.id: root", "X-ROLES: root", "X-Fine: yes"];
    let mut client = gateway.client();
    // One comes with its head, the other is too long for that.
    for chunk in ["hi", &"x".repeat(200_000)] {
        let request = chunked("/", &[chunk], &trailers);
        let request = request.replacen("\r\n\r\n", &format!("\r\n{token}\r\n\r\n"), 1);
        client.send(request).answer().expect(200);
    }
    let requests = origin.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request.trailers, [("X-Fine".to_owned(), "yes".to_owned())]);
    }
}

/// An `auth` says who asks, and another service whether that one may.
fn a_service_that_is_asked_is_told_by_the_gateway_too(driver: Driver) {
    let (origin, service) = (Origin::saying("hi"), Origin::saying("yes"));
    let settings = format!(
        "{JWT}      - forward_auth: {{upstream: service, request_headers: [X-User-ID, X-Roles]}}\n"
    );
    let upstreams = format!(
        "upstreams: {{service: {{targets: [{{addr: \"http://{}\"}}]}}}}\n",
        service.address
    );
    let file = format!("{upstreams}{}", forward_route(&origin, &settings));
    let gateway = Gateway::start(driver, &file);
    let token = signed(&json!({"sub": "alice", "exp": seconds(60)}));
    let forged = ["X-User-ID: root", "X-User-ID: root", "x_user_id: root", "X-Roles: root"];
    gateway.client().get_with("/", &[&forged[..], &[&token]].concat()).expect(200);
    gateway.client().get_with("/public", &forged).expect(200);
    let asked = service.requests();
    assert_eq!(asked[0].head.all("x-user-id"), ["alice"]);
    assert!(!format!("{asked:?}").contains("root"), "{asked:?}");
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
              - forward_auth: {{upstream: service}}
              - headers: {{request: {{set: {{X-Query: \"${{query}}\"}}}}}}
            "
        );
        let service = Origin::saying("it may");
        let upstreams = format!(
            "upstreams: {{service: {{targets: [{{addr: \"http://{}\"}}]}}}}\n",
            service.address
        );
        let yaml = format!("{upstreams}{}", forward_route(&origin, &settings));
        let gateway = Gateway::start(driver, &yaml);
        gateway.client().get("/a?x=1").expect_error(401);
        gateway.client().get_with(target, &[&field, "X-Consumer: bob"]).expect(200);
        let request = origin.requests().pop().unwrap();
        let question = service.requests().pop().unwrap();
        for seen in [&request, &question] {
            assert!(!format!("{seen:?}").contains(token), "{from}: {seen:?}");
        }
        assert_eq!(question.field("x-forwarded-uri"), Some("/a?x=1"));
        assert_eq!(request.field("x-query"), Some("x=1"));
        assert_eq!(
            (request.target.as_str(), request.field("x-consumer")),
            ("/a?x=1", Some("alice"))
        );
        if from.contains("cookie") {
            assert_eq!(request.field("cookie"), Some("a=1; b=2"));
        }
    }
}

/// Programs behind the gateway may read a name that is written otherwise before the one that the
/// gateway has verified the value of.
fn what_could_be_taken_for_the_credential_is_not_forwarded(driver: Driver) {
    let origin = Origin::saying("hi");
    let settings = format!(
        "
        filters:
          - auth:
              any_of:
                - {{type: jwt, secret: {SECRET}, from: {{query: token}}}}
                - {{type: jwt, secret: {SECRET}, from: {{cookie: session}}}}
                - {{type: jwt, secret: {SECRET}, from: {{header: X-Token}}}}
                - {{type: api_key, consumers: [{{name: a, key_hash: {}}}]}}
        ",
        hashed("the-key")
    );
    let gateway = Gateway::forward_route(driver, &origin, &settings);
    let mut client = gateway.client();
    let token = signed(&json!({"sub": "alice", "exp": seconds(60)}));
    let token = token.strip_prefix("Authorization: Bearer ").unwrap();
    // Two that mean the same are two of a kind.
    for (target, field) in [
        (format!("/?token={token}&%74oken=forged"), "X-A: b".to_owned()),
        (format!("/?toke%6E=forged&token={token}"), "X-A: b".to_owned()),
        ("/".to_owned(), format!("Cookie: session =forged; session={token}")),
    ] {
        client.get_with(&target, &[&field]).expect_error(400);
    }
    assert_eq!(origin.connections(), 0);
    // However it is written, it is the credential.
    client.get(&format!("/?%74oken={token}")).expect(200);
    client.get_with("/", &[&format!("Cookie: session = {token}")]).expect(200);
    // Other spellings of a header are not, and go, whoever it is that is let in.
    let forged = ["X_Token: forged", "X.Token: forged", "x_api-key: forged"];
    let header = format!("X-Token: {token}");
    client.get_with("/", &[&forged[..], &[&header]].concat()).expect(200);
    client.get_with(&format!("/?token={token}"), &forged).expect(200);
    client.get_with("/?%74oken=forged&x=1", &["X-API-Key: the-key"]).expect(200);
    for request in origin.requests() {
        assert!(!format!("{request:?}").contains("forged"), "{request:?}");
    }
    assert_eq!(origin.requests().pop().unwrap().target, "/?x=1");
}

/// The hash that `ringway hash-key` prints for a key that it is given.
fn hashed(key: &str) -> String {
    let (code, said) = crate::cli::ringway_reading(&["hash-key", "--stdin"], &format!("{key}\n"));
    assert_eq!(code, Some(0), "{said}");
    let line = said.lines().find(|line| line.contains("key_hash:")).unwrap();
    let hash = line.split_whitespace().last().unwrap();
    assert!(!said.contains(key) && hash.len() == 64, "{said}");
    hash.to_owned()
}

fn an_api_key_is_good_for_its_routes(driver: Driver) {
    let origin = Origin::saying("hi");
    let yaml = format!(
        "
        global_filters:
          - auth:
              type: api_key
              consumer_header: X-Consumer
              consumers:
                - {{name: all, key_hash: {}}}
                - {{name: some, key_hash: {}, routes: [first]}}
                - {{name: old, key_hash: {}, expires: 2020-01-31}}
        routes:
          - name: first
            prefix: /first
            targets: [{{addr: \"http://{address}\"}}]
          - name: second
            prefix: /second
            targets: [{{addr: \"http://{address}\"}}]
        ",
        hashed("key-all"),
        hashed("key-some"),
        hashed("key-old"),
        address = origin.address
    );
    let gateway = Gateway::start(driver, &yaml);
    let mut client = gateway.client();
    let key = |key: &str| [format!("X-API-Key: {key}"), "x_api_key: forged".to_owned()];
    for (sent, target, status) in [
        ("key-all", "/first", 200),
        ("key-all", "/second", 200),
        ("key-some", "/first", 200),
        ("key-some", "/second", 403),
        ("key-old", "/first", 401),
        ("key-none", "/first", 401),
        (&hashed("key-all"), "/first", 401),
    ] {
        let fields = key(sent);
        let answer = client.get_with(target, &[&fields[0], &fields[1]]).expect(status);
        let challenge = answer.field("www-authenticate");
        assert_eq!(challenge.is_some(), status == 401, "{sent} {target}");
    }
    let requests = origin.requests();
    let consumers: Vec<_> = requests.iter().map(|one| one.field("x-consumer").unwrap()).collect();
    assert_eq!(consumers, ["all", "all", "some"]);
    for request in &requests {
        assert!(!format!("{request:?}").to_lowercase().contains("api"), "{request:?}");
    }
}

/// `secret` as bcrypt with the least cost.
fn bcrypt() -> String {
    bcrypt::hash("secret", 4).unwrap()
}

fn a_password_is_verified_off_the_worker(driver: Driver) {
    let origin = Origin::saying("hi");
    let settings = format!(
        "
        filters:
          - auth:
              type: basic
              realm: the shop
              consumer_header: X-Consumer
              users:
                - {{name: alice, password_hash: {}}}
        ",
        bcrypt()
    );
    let gateway = Gateway::forward_route(driver, &origin, &settings);
    let mut client = gateway.client();
    let challenge = "Basic realm=\"the shop\", charset=\"UTF-8\"";
    for field in [
        "X-A: b",
        "Authorization: Bearer YWxpY2U6c2VjcmV0",
        "Authorization: Basic %",
        "Authorization: Basic YWxpY2U6d3Jvbmc=",
        "Authorization: Basic Ym9iOnNlY3JldA==",
    ] {
        let answer = client.get_with("/", &[field]).expect_error(401);
        assert_eq!(answer.field("www-authenticate"), Some(challenge), "{field}");
    }
    assert_eq!(origin.connections(), 0);
    for _ in 0..3 {
        client.get_with("/", &["Authorization: basic YWxpY2U6c2VjcmV0"]).expect(200);
    }
    for request in origin.requests() {
        assert_eq!(request.field("x-consumer"), Some("alice"));
        assert_eq!(request.field("authorization"), None);
    }
}

fn too_many_passwords_are_503_and_hold_nobody_up(driver: Driver) {
    let origin = Origin::saying("hi");
    // Slow enough that many more come than are verified meanwhile.
    let settings = format!(
        "
        filters:
          - auth:
              type: basic
              users: [{{name: alice, password_hash: {}}}]
              exclude_paths: [/public]
        ",
        bcrypt::hash("secret", 5).unwrap()
    );
    let gateway = Gateway::forward_route(driver, &origin, &settings);
    let right = "Authorization: Basic YWxpY2U6c2VjcmV0";
    let wrong = "Authorization: Basic YWxpY2U6d3Jvbmc=";
    let mut first = gateway.client();
    first.get_with("/", &[right]).expect(200);
    let (answered, answers) = mpsc::channel();
    // Two are verified at once and 128 wait.
    let waiting: Vec<_> = (0..300)
        .map(|_| {
            let (mut client, answered) = (gateway.client(), answered.clone());
            client.request("GET", "/", &[wrong]);
            thread::spawn(move || answered.send(client.answer_or_end()))
        })
        .collect();
    drop(answered);
    let refused = loop {
        let answer = answers.recv_timeout(BOUND).unwrap().unwrap();
        if answer.status != 401 {
            break answer;
        }
    };
    let refused = refused.expect_error(503);
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert_eq!(refused.json()["message"], "too many passwords wait to be verified");
    // Nobody else waits for them: who needs no password, and whose is remembered.
    first.get_with("/", &[right]).expect(200);
    gateway.client().get("/public").expect(200);
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.unwrap().status).collect();
    assert!(statuses.iter().all(|status| [401, 503].contains(status)), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == 401).count() >= 100, "{statuses:?}");
    waiting.into_iter().for_each(|client| drop(client.join()));
    gateway.client().get_with("/", &[wrong]).expect_error(401);
}

fn of_several_kinds_one_is_enough(driver: Driver) {
    let origin = Origin::saying("hi");
    let settings = format!(
        "
        filters:
          - auth:
              consumer_header: X-Consumer
              any_of:
                - type: jwt
                  secret: {SECRET}
                  claims_to_headers: {{sub: X-User-ID}}
                - {{type: basic, users: [{{name: alice, password_hash: {}}}]}}
                - {{type: api_key, consumers: [{{name: key, key_hash: {}}}]}}
        ",
        bcrypt(),
        hashed("the-key")
    );
    let gateway = Gateway::forward_route(driver, &origin, &settings);
    let mut client = gateway.client();
    let answer = client.get("/").expect_error(401);
    assert_eq!(
        answer.head.all("www-authenticate"),
        [
            "Bearer realm=\"ringway\"",
            "Basic realm=\"ringway\", charset=\"UTF-8\"",
            "ApiKey realm=\"ringway\""
        ]
    );
    let token = signed(&json!({"sub": "tom", "exp": seconds(60)}));
    let expired = signed(&json!({"sub": "tom", "exp": seconds(-60)}));
    let (good, bad) = ("X-API-Key: the-key", "X-API-Key: another");
    let basic = "Authorization: Basic YWxpY2U6c2VjcmV0";
    for fields in [[&*expired, bad], ["Authorization: Basic YWxpY2U6d3Jvbmc=", bad], ["X: y", bad]]
    {
        client.get_with("/", &fields).expect_error(401);
    }
    let first = client.get_with("/", &[&expired, bad]).expect_error(401).json();
    assert_eq!(first["message"], "the token has expired", "the first that is there tells why");
    for (fields, who) in [
        (vec![&*token, "X-User-ID: root"], "tom"),
        (vec![basic, "X-User-ID: root"], "alice"),
        (vec![good, "X-User-ID: root"], "key"),
        (vec![&*expired, good], "key"),
        (vec!["Authorization: Basic YWxpY2U6d3Jvbmc=", good], "key"),
        (vec![&*token, bad], "tom"),
    ] {
        client.get_with("/", &fields).expect(200);
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.field("x-consumer"), Some(who), "{fields:?}");
        let told = request.field("x-user-id");
        assert_eq!(told, (who == "tom").then_some("tom"), "{fields:?}");
        // What was not verified is not for the upstream.
        assert_eq!(request.field("authorization").is_some(), who == "tom", "{fields:?}");
        assert_eq!(request.field("x-api-key"), None, "{fields:?}");
    }
}

fn who_may_not_is_told_so(driver: Driver) {
    let origin = Origin::saying("hi");
    let settings = format!(
        "
        filters:
          - auth: {{type: jwt, secret: {SECRET}, exclude_paths: [/public]}}
          - authorize: {{roles: [admin], roles_from: realm_access.roles, claims: {{tenant: acme}}}}
        "
    );
    let gateway = Gateway::forward_route(driver, &origin, &settings);
    let mut client = gateway.client();
    let roles = |roles: &[&str], tenant: &str| {
        signed(&json!({
            "sub": "a", "realm_access": {"roles": roles}, "tenant": tenant, "exp": seconds(60)
        }))
    };
    client.get("/").expect_error(401);
    client.get("/public").expect_error(403);
    client.get_with("/", &[&roles(&["user"], "acme")]).expect_error(403);
    let answer = client.get_with("/", &[&roles(&["admin"], "other")]).expect_error(403);
    assert_eq!(answer.json()["message"], "a claim is not as this needs it");
    assert_eq!(origin.connections(), 0);
    client.get_with("/", &[&roles(&["user", "admin"], "acme")]).expect(200);
}

/// What goes by who asks stands behind what tells it.
#[test]
fn authorize_needs_an_auth_before_it() {
    let route = "
        routes:
          - name: a
            path: /
            respond: {}
            filters:
              - authorize: {roles: [a]}
    ";
    let (code, said) = crate::cli::ringway(&["check", "-c"], route);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("put an `auth` filter before it"), "{said}");
}

#[test]
fn a_new_key_is_shown_once_with_its_hash() {
    let (code, said) = crate::cli::ringway_reading(&["hash-key"], "");
    assert_eq!(code, Some(0), "{said}");
    let key = said.lines().find_map(|line| line.strip_prefix("key: ")).unwrap();
    let line = said.lines().find(|line| line.contains("key_hash:")).unwrap();
    assert!(line.ends_with(&hashed(key.trim())), "{said}");
    // A key that is only read in part would be hashed in part.
    for wrong in ["", "\n", " padded \n", &"k".repeat(10_000)] {
        let (code, said) = crate::cli::ringway_reading(&["hash-key", "--stdin"], wrong);
        assert_eq!((code, said.contains("key_hash")), (Some(1), false), "{wrong:?}: {said}");
    }
    for name in ["", "a\nb"] {
        let (code, said) = crate::cli::ringway_reading(&["hash-key", "--name", name], "");
        assert_eq!((code, said.contains("key:")), (Some(2), false), "{name:?}: {said}");
    }
}
