//! Settings that cannot be meant, and what is shown of those that can.

use crate::tests::{build, read, refused};

#[test]
fn what_cannot_be_meant_is_refused() {
    for (settings, field, part) in [
        ("{}", "auth.type", "type: jwt"),
        ("{type: jwt}", "auth", "no key"),
        ("{type: jwt, secret: \"\"}", "auth.secret", "anybody could sign"),
        ("{type: jwt, secret: s, algorithms: [none]}", "auth.algorithms[0]", "HS256"),
        ("{type: jwt, secret: s, algorithms: [HS256, hs384]}", "auth.algorithms[1]", "HS384"),
        ("{type: jwt, secret: s, algorithms: [RS256]}", "auth.algorithms", "an RSA key for RS*"),
        ("{type: jwt, secret: s, leeway: 1h}", "auth.leeway", "10m"),
        ("{type: jwt, secret: s, realm: \"a\\\"b\"}", "auth.realm", "quotes"),
        ("{type: jwt, secret: s, exclude_paths: [public]}", "auth.exclude_paths[0]", "/public"),
        ("{type: jwt, secret: s, consumer_header: Host}", "auth.consumer_header", "X-User-ID"),
        (
            "{type: jwt, secret: s, claims_to_headers: {sub: \"a b\"}}",
            "auth.claims_to_headers.sub",
            "X-User-ID",
        ),
        (
            "{type: jwt, secret: s, claims_to_headers: {a: X-A, b: x-a}}",
            "auth.claims_to_headers.b",
            "two claims",
        ),
        // Programs behind the gateway take these for one (RFC 3875 §4.1.18).
        (
            "{type: jwt, secret: s, claims_to_headers: {a: X-A, b: X_A}}",
            "auth.claims_to_headers.b",
            "two claims",
        ),
        (
            "{type: jwt, secret: s, claims_to_headers: {\"\": X-A}}",
            "auth.claims_to_headers",
            "no name",
        ),
        (
            "{type: jwt, secret: s, consumer_header: X-A, claims_to_headers: {a: x_a}}",
            "auth.consumer_header",
            "the claim `a` too",
        ),
        ("{type: jwt, secret: s, audience: \"\"}", "auth.audience", "a name is empty"),
        ("{type: jwt, secret: s, issuer: [a, \"\"]}", "auth.issuer", "leave `issuer` out"),
        ("{type: jwt, secret: s, from: {header: Cookie}}", "auth.from.header", "X-Token"),
        ("{type: jwt, secret_file: /nowhere/at/all}", "auth.secret_file", "cannot be read"),
        ("{type: jwt, public_key_file: /dev/null}", "auth.public_key_file", "BEGIN PUBLIC KEY"),
        ("{type: jwt, jwks_file: /dev/null}", "auth.jwks_file", "no JSON"),
        ("{type: jwt, jwks_url: \"ftp://a/b\"}", "auth.jwks_url", "no URL of HTTP"),
        ("{type: jwt, jwks_url: \"/b\"}", "auth.jwks_url", "no URL of HTTP"),
        ("{type: jwt, jwks_url: \"http://a b\"}", "auth.jwks_url", "no URL"),
        ("{type: jwt, jwks_url: \"http://u:p@a/b\"}", "auth.jwks_url", "password"),
        ("{type: jwt, secret: s, jwks_cooldown: 1s}", "auth.jwks_cooldown", "add `jwks_url`"),
        (
            "{type: jwt, jwks_url: \"http://a\", jwks_refresh_every: 0}",
            "auth.jwks_refresh_every",
            "from 1s to 1d",
        ),
        (
            "{type: jwt, jwks_url: \"http://a\", jwks_cooldown: 2h}",
            "auth.jwks_cooldown",
            "from 1ms to 1h",
        ),
        ("{type: jwt, secret: s, revoked_file: /nowhere}", "auth.revoked_file", "make the file"),
        ("{type: jwt, jwks_file: /dev/zero}", "auth.jwks_file", "larger than"),
    ] {
        refused(&format!("- auth: {settings}"), field, part);
    }
    assert!(read("- auth: {type: jwtt}").unwrap_err().contains("did you mean `jwt`"));
    assert!(read("- auth: {type: jwt, secrt: s}").unwrap_err().contains("did you mean `secret`"));
}

#[test]
fn one_header_may_tell_the_consumer_and_the_claim_that_it_is() {
    let filter =
        "- auth: {type: jwt, secret: s, consumer_header: X-A, claims_to_headers: {sub: X-A}}";
    assert!(build(filter).is_ok());
}

#[test]
fn a_secret_is_never_shown() {
    let filter = "- auth: {type: jwt, secret: hunter2-hunter2, issuer: a, exclude_paths: [/p]}";
    let built = build(filter).unwrap();
    assert_eq!(built.summary(), "jwt by secret, issuer a; except /p");
    assert!(built.identifies());
    assert!(!format!("{:?}", read(filter).unwrap()).contains("hunter2"));
}

#[test]
fn keys_are_read_from_files() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, field) in [
        ("secret", "a-secret\r\n", "secret_file"),
        ("key.pem", include_str!("ec.pem"), "public_key_file"),
        ("jwks.json", "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AAAA\"}]}", "jwks_file"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let filter = format!("- auth: {{type: jwt, {field}: \"{}\"}}", path.display());
        assert_eq!(build(&filter).unwrap().summary(), format!("jwt by {field}"));
    }
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let filter = format!("- auth: {{type: jwt, secret_file: \"{}\"}}", empty.display());
    refused(&filter, "auth.secret_file", "anybody could sign");
}

#[test]
fn settings_belong_to_a_type() {
    let hash = crate::hash_key("k");
    let key = format!("type: api_key, consumers: [{{name: a, key_hash: {hash}}}]");
    for (settings, field, part) in [
        (format!("{{{key}, leeway: 1s, issuer: a}}"), "auth.issuer", "`issuer`, `leeway`"),
        (format!("{{{key}, users: [{{name: a, password_hash: b}}]}}"), "auth.users", "type: basic"),
        ("{type: jwt, secret: s, remember: 1m}".to_owned(), "auth.remember", "type: basic"),
        ("{type: basic, from: {query: a}}".to_owned(), "auth.from", "`type: jwt` and `type: api"),
        ("{secret: s}".to_owned(), "auth.secret", "without a type"),
        ("{type: api_key}".to_owned(), "auth.consumers", "nobody could pass"),
        ("{type: basic}".to_owned(), "auth.users", "nobody could pass"),
        ("{any_of: [{type: jwt, secret: \"\"}]}".to_owned(), "auth.any_of[0].secret", "empty"),
        (format!("{{any_of: [{{{key}}}, {{}}]}}"), "auth.any_of[1].type", "type: jwt"),
        (format!("{{any_of: [{{{key}, realm: a}}]}}"), "auth.any_of[0].realm", "beside `any_of`"),
        (format!("{{any_of: [{{any_of: [{{{key}}}]}}]}}"), "auth.any_of[0].any_of", "outer list"),
        (format!("{{{key}, any_of: [{{{key}}}]}}"), "auth.any_of", "a `type` beside `any_of`"),
        (format!("{{any_of: [{{{key}}}], forward: true}}"), "auth.forward", "an entry"),
    ] {
        refused(&format!("- auth: {settings}"), field, part);
    }
    for (consumer, field, part) in [
        ("{name: a, key_hash: secret}", "key_hash", "64 hex digits"),
        ("{name: \"\", key_hash: HASH}", "name", "whose key"),
        ("{name: a, key_hash: HASH, expires: tomorrow}", "expires", "2027-01-31"),
    ] {
        let consumer = consumer.replace("HASH", &hash);
        let field = format!("auth.consumers[0].{field}");
        refused(&format!("- auth: {{type: api_key, consumers: [{consumer}]}}"), &field, part);
    }
    let twice = format!("{{name: a, key_hash: {hash}}}, {{name: b, key_hash: {hash}}}");
    let filter = format!("- auth: {{type: api_key, consumers: [{twice}]}}");
    refused(&filter, "auth.consumers[1].key_hash", "the same key");
    let user = "{name: a, password_hash: plain}";
    let filter = format!("- auth: {{type: basic, users: [{user}]}}");
    refused(&filter, "auth.users[0].password_hash", "neither an argon2 nor a bcrypt");
}
