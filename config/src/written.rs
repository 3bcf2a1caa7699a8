//! A file as it is shown to whoever asks what is configured: its values as they are written, its
//! secrets masked.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::document::{self, Node, Scalar, Value};
use crate::secret::{MASK, holds_password, looks_secret, says_nothing_secret};

/// The text of a file that has been loaded. It keeps the text only and takes it apart again when
/// somebody asks, which is seldom, so that a file costs no more memory than its bytes.
#[derive(Clone, Default)]
pub struct Written {
    text: Arc<str>,
}

impl Written {
    pub(crate) fn new(text: Arc<str>) -> Written {
        Written { text }
    }

    /// The file as JSON, in the order in which it is written and without its comments, which may
    /// hold anything. A value from the environment stands there as `${NAME}`. Everything below a
    /// field that looks secret is `***`, and so is a text that looks like a password's hash, a
    /// private key, the credentials of a request, or a URL with a password or a key in it.
    pub fn masked(&self) -> Json {
        let document = document::parse_as_written(&self.text);
        match document.root.as_deref() {
            Some(root) => {
                let mut secrets = HashSet::new();
                find_secrets(root, false, &mut secrets);
                json(root, &secrets)
            }
            None => Json::Object(Map::new()),
        }
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Written").field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

/// Collects where the values below secret fields are written. What an alias repeats is written in
/// one place, so it is a secret wherever it stands.
fn find_secrets(node: &Node, secret: bool, secrets: &mut HashSet<usize>) {
    match &node.value {
        Value::Map(entries) => entries.iter().for_each(|entry| {
            let secret = secret || looks_secret(&entry.key) || is_cookies(&entry.key, &entry.value);
            find_secrets(&entry.value, secret, secrets);
        }),
        Value::List(items) => items.iter().for_each(|item| find_secrets(item, secret, secrets)),
        Value::Scalar(scalar) if secret && !says_nothing_secret(&scalar.text, scalar.plain) => {
            secrets.insert(node.place.start);
        }
        Value::Scalar(_) => {}
    }
}

/// Whether a field holds cookies that are sent, and not the name of one that is looked at.
pub(crate) fn is_cookies(key: &str, value: &Node) -> bool {
    let named = key.eq_ignore_ascii_case("cookie") || key.eq_ignore_ascii_case("set-cookie");
    named && matches!(&value.value, Value::Scalar(scalar) if scalar.text.contains('='))
}

/// A node as JSON. The document has bounded depth and size, its aliases written out.
fn json(node: &Node, secrets: &HashSet<usize>) -> Json {
    match &node.value {
        Value::Map(entries) => {
            let fields = entries.iter();
            let fields = fields.map(|entry| (entry.key.to_string(), json(&entry.value, secrets)));
            Json::Object(fields.collect())
        }
        Value::List(items) => Json::Array(items.iter().map(|item| json(item, secrets)).collect()),
        Value::Scalar(_) if node.is_null() => Json::Null,
        Value::Scalar(scalar)
            if secrets.contains(&node.place.start) || looks_secret_by_itself(&scalar.text) =>
        {
            Json::String(MASK.to_owned())
        }
        Value::Scalar(scalar) => plain(scalar),
    }
}

/// A number or a truth value where one is written without quotes, else text.
fn plain(scalar: &Scalar) -> Json {
    let text = &*scalar.text;
    let other = || Json::String(text.to_owned());
    match text {
        _ if !scalar.plain => other(),
        "true" => Json::Bool(true),
        "false" => Json::Bool(false),
        // What serde_json reads as a number is one in YAML 1.2's core schema too.
        _ => text.parse().map_or_else(|_| other(), Json::Number),
    }
}

/// Whether a text is secret whatever its field is called.
pub(crate) fn looks_secret_by_itself(text: &str) -> bool {
    const HASHES: [&str; 4] = ["$2", "$argon2", "$pbkdf2", "$scrypt"];
    holds_password(text)
        || text.contains("PRIVATE KEY-----")
        || HASHES.iter().any(|start| text.starts_with(start))
        || is_credentials(text)
        || asks_with_key(text)
}

/// Whether a text is what a request shows as `Authorization` (RFC 9110 §11.4), under whatever name
/// it is sent.
fn is_credentials(text: &str) -> bool {
    let known = |scheme: &str| ["basic", "bearer"].contains(&&*scheme.to_ascii_lowercase());
    let words = |text: &str| text.split_whitespace().count();
    text.split_once(' ').is_some_and(|(scheme, rest)| known(scheme) && words(rest) == 1)
}

/// Whether a text is a path or a URL whose query has a secret in it, such as `/healthz?token=…`. A
/// template puts there what a request has, which is none of ours.
fn asks_with_key(text: &str) -> bool {
    let query = text.split_once('?').map_or("", |(_, query)| query);
    query.split('&').filter_map(|pair| pair.split_once('=')).any(|(name, value)| {
        let fixed = !value.is_empty() && !value.starts_with("${");
        fixed && looks_secret(name) && !says_nothing_secret(value, false)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        Written::new(text.into()).masked().to_string()
    }

    #[test]
    fn a_file_is_shown_as_it_is_written_and_in_its_order() {
        let text = "
routes: # the comment hunter2 is not shown
  - name: \"8080\"
    prefix: ${PREFIX:-/api}
    priority: -3
    strip_prefix: true
    targets: &t [{addr: http://127.0.0.1:80, weight: 2}]
  - {name: b, targets: *t, timeouts: }
";
        let targets = r#""targets":[{"addr":"http://127.0.0.1:80","weight":2}]"#;
        let first =
            r#"{"name":"8080","prefix":"${PREFIX:-/api}","priority":-3,"strip_prefix":true"#;
        assert_eq!(
            masked(text),
            format!(
                r#"{{"routes":[{first},{targets}}},{{"name":"b",{targets},"timeouts":null}}]}}"#
            )
        );
        assert_eq!(masked(""), "{}");
    }

    #[test]
    fn what_surely_is_no_secret_is_shown() {
        assert_eq!(masked("{key: client_ip}"), r#"{"key":"client_ip"}"#);
        assert_eq!(masked(r#"key: [global, "claim:sub"]"#), r#"{"key":["global","claim:sub"]}"#);
        assert_eq!(masked("allow_credentials: true"), r#"{"allow_credentials":true}"#);
        assert_eq!(masked(r#"password: "true""#), r#"{"password":"***"}"#);
        for shown in [
            r#"{"to":"/search?key=${query.q}&page=2"}"#,
            r#"{"body":"bearer of news"}"#,
            r#"{"hash":{"cookie":"sid"}}"#,
        ] {
            assert_eq!(masked(shown), shown);
        }
    }

    #[test]
    fn secrets_are_masked_wherever_they_are() {
        for text in [
            "admin: {token: hunter2}",
            "admin: {token: \"${T:-hunter2}\"}",
            "auth: {api_keys: [hunter2, {a: hunter2}]}",
            "auth: {tokens: {alice: {bob: hunter2}}}",
            "auth:\n  secret: |\n    hunter2\n",
            "headers: {set: {Authorization: Bearer hunter2}}",
            "url: http://me:hunter2@example.com/",
            "health_check: {path: \"/healthz?a=b&token=hunter2\"}",
            "health_check: {headers: {X-Upstream-Auth: Bearer hunter2, Cookie: sid=hunter2}}",
            "users: {alice: $2b$12$hunter2}",
            "users: {alice: $argon2id$v=19$hunter2}",
            "pem: \"-----BEGIN PRIVATE KEY-----hunter2\"",
            "a: &a hunter2\nsecret: *a",
        ] {
            let shown = masked(text);
            assert!(shown.contains("***") && !shown.contains("hunter2"), "{text}: {shown}");
        }
    }
}
