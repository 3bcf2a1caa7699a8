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
        ("{type: jwt, secret: s, from: {header: Cookie}}", "auth.from.header", "X-Token"),
        ("{type: jwt, secret_file: /nowhere/at/all}", "auth.secret_file", "cannot be read"),
        ("{type: jwt, public_key_file: /dev/null}", "auth.public_key_file", "BEGIN PUBLIC KEY"),
        ("{type: jwt, jwks_file: /dev/null}", "auth.jwks_file", "no JSON"),
        ("{type: jwt, jwks_file: /dev/zero}", "auth.jwks_file", "larger than"),
    ] {
        refused(&format!("- auth: {settings}"), field, part);
    }
    assert!(read("- auth: {type: jwtt}").unwrap_err().contains("did you mean `jwt`"));
    assert!(read("- auth: {type: jwt, secrt: s}").unwrap_err().contains("did you mean `secret`"));
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
