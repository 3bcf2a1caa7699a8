//! Secrets: a text that is never shown, and which fields look like one.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, Serializer};

/// What stands for a secret wherever one would be shown.
pub(crate) const MASK: &str = "***";

/// A text that is never shown: neither `Debug` nor `Serialize` tells it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for whoever has to compare or to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(MASK)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// Parts of the names of secrets.
const PARTS: [&str; 9] = [
    "secret",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "api_key",
    "apikey",
    "private",
    "authorization",
];

/// Whole names of secrets.
const NAMES: [&str; 5] = ["token", "tokens", "key", "keys", "key_hash"];

/// Whether a field of this name probably holds a secret; a name that is misspelt by two letters
/// after the first is one too, because it is shown in an error.
pub fn looks_secret(key: &str) -> bool {
    KNOWN.with_borrow_mut(|known| match known.get(key) {
        Some(secret) => *secret,
        None => {
            let secret = is_secret(key);
            if known.len() < MOST_KNOWN {
                known.insert(key.into(), secret);
            }
            secret
        }
    })
}

thread_local! {
    /// What was said of names before: a file of ten thousand routes has the same dozen names ten
    /// thousand times, and how far two words are apart takes long to tell.
    static KNOWN: RefCell<HashMap<Box<str>, bool>> = RefCell::default();
}

/// How many names are remembered, so that no file fills the memory with names of its own.
const MOST_KNOWN: usize = 1000;

fn is_secret(key: &str) -> bool {
    const MISSPELT: usize = 2;
    let key = key.to_ascii_lowercase().replace('-', "_");
    let misspelt = |part: &&str| {
        key.as_bytes().first() == part.as_bytes().first()
            && key.len().abs_diff(part.len()) <= MISSPELT
            && strsim::damerau_levenshtein(&key, part) <= MISSPELT
    };
    // Two letters apart from `secret` and still another word, which has a path under it.
    if key == "socket" {
        return false;
    }
    NAMES.contains(&&*key)
        || key.ends_with("_token")
        || key.ends_with("_key")
        || PARTS.iter().any(|part| key.contains(part))
        || PARTS.iter().any(misspelt)
}

/// Whether a text under `key` says what requests are told apart by, as limits have it, and is no
/// secret; misspelt by two letters it still says so, because it is shown in an error.
fn tells_apart(text: &str) -> bool {
    const WORDS: [&str; 6] = ["route", "global", "client_ip", "consumer", "header", "claim"];
    /// What it is called elsewhere, which is an error here that has to be shown.
    const ELSEWHERE: [&str; 10] = [
        "ip",
        "ip_address",
        "remote_addr",
        "source_ip",
        "host",
        "path",
        "method",
        "user",
        "cookie",
        "query",
    ];
    let near = |word: &&str| {
        text.as_bytes().first() == word.as_bytes().first()
            && strsim::damerau_levenshtein(text, word) <= 2
    };
    // The bound comes first: how far two long texts are apart takes long to tell.
    (text.len() <= 12 && WORDS.iter().any(near))
        || ELSEWHERE.contains(&text)
        || ["header:", "claim:", "cookie:"].iter().any(|kind| text.starts_with(kind))
}

/// Whether what a field that looks secret says is surely none: what requests are told apart by, or
/// a truth value, which is `plain`, without quotes.
pub(crate) fn says_nothing_secret(text: &str, plain: bool) -> bool {
    tells_apart(text) || (plain && matches!(text, "true" | "false"))
}

/// Whether a text is a URL with a user and a password in it (RFC 3986 §3.2.1).
pub(crate) fn holds_password(text: &str) -> bool {
    let authority = text.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    authority.is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::{Secret, holds_password, looks_secret, tells_apart};

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret("correct-horse".to_owned());
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret).expect("JSON"), "\"***\"");
        assert_eq!(secret.expose(), "correct-horse");
    }

    #[test]
    fn a_url_may_hold_a_password() {
        assert!(holds_password("http://me:hunter2@example.com/a"));
        assert!(!holds_password("http://example.com/a@b"));
        assert!(!holds_password("me@example.com"));
    }

    #[test]
    fn names_of_secrets_are_known_also_when_misspelt() {
        for name in ["secret", "jwt_secret", "API-Key", "password", "passwrd", "secert", "token"] {
            assert!(looks_secret(name), "{name}");
        }
    }

    #[test]
    fn what_tells_requests_apart_is_no_secret() {
        assert!(tells_apart("client_ip") && tells_apart("header:X-Api-Key"));
        assert!(tells_apart("client-ip") && tells_apart("consumr") && tells_apart("routes"));
        assert!(tells_apart("ip") && tells_apart("remote_addr"));
        assert!(!tells_apart("hunter2") && !tells_apart("correct-horse"));
    }

    #[test]
    fn other_names_are_not() {
        for name in ["server", "prefix", "path", "status", "cookie", "socket", "token_bucket"] {
            assert!(!looks_secret(name), "{name}");
        }
    }
}
