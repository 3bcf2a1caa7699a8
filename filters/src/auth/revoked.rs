//! Tokens that are not good any more although they have not ended: a file with one JSON object a
//! line, `{"jti": "…"}` for one token or `{"sub": "…"}` for all of somebody. Lines can be appended
//! while the gateway runs.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use ringway_engine::shared::{Shared, SharedLatest};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::local::read_bounded;

/// The largest file, in bytes: about a million entries.
const MAX_FILE: usize = 64 * 1024 * 1024;

/// The file, and the list as it was last read.
pub(super) struct Revoked {
    pub(super) path: PathBuf,
    pub(super) list: SharedLatest<List>,
}

/// What is revoked.
#[derive(Default)]
pub(super) struct List {
    tokens: HashSet<String>,
    subjects: HashSet<String>,
}

/// One line.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Jti(String),
    Sub(String),
}

impl Revoked {
    /// Reads the file for the first time.
    pub(super) fn new(path: &Path) -> Result<Self, String> {
        let list = SharedLatest::new(Shared::new(List::read(path)?));
        Ok(Revoked { path: path.to_owned(), list })
    }

    /// Reads the file again; the last good list stays when it cannot be read.
    pub(super) fn reread(&self) {
        match List::read(&self.path) {
            Ok(list) => {
                let (tokens, subjects) = (list.tokens.len(), list.subjects.len());
                tracing::info!(tokens, subjects, "read what is revoked");
                self.list.set(Shared::new(list));
            }
            Err(error) => {
                let file = self.path.display();
                tracing::error!(%file, "what is revoked stays as it was: {error}");
            }
        }
    }
}

impl List {
    fn read(path: &Path) -> Result<List, String> {
        List::parse(&read_bounded(path, MAX_FILE)?)
    }

    fn parse(text: &[u8]) -> Result<List, String> {
        let mut list = List::default();
        for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice(line) {
                Ok(Line::Jti(id)) => list.tokens.insert(id),
                Ok(Line::Sub(subject)) => list.subjects.insert(subject),
                Err(_) => {
                    let line = at + 1;
                    return Err(format!(
                        "line {line} is neither {{\"jti\": \"…\"}} nor {{\"sub\": \"…\"}}"
                    ));
                }
            };
        }
        Ok(list)
    }

    /// Whether a token with these claims is revoked.
    pub(super) fn holds(&self, claims: &Map<String, Value>) -> bool {
        let among = |set: &HashSet<String>, name: &str| {
            claims.get(name).and_then(Value::as_str).is_some_and(|value| set.contains(value))
        };
        among(&self.tokens, "jti") || among(&self.subjects, "sub")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(list: &List, claims: Value) -> bool {
        list.holds(claims.as_object().unwrap())
    }

    #[test]
    fn a_token_is_revoked_by_its_id_or_by_whose_it_is() {
        let text = b"{\"jti\": \"1\"}\r\n\n  {\"sub\":\"al\\u0069ce\"}  \n{\"jti\": \"2\"}";
        let list = List::parse(text).unwrap();
        for claims in [json!({"jti": "1"}), json!({"jti": "2"}), json!({"sub": "alice", "jti": 7})]
        {
            assert!(holds(&list, claims.clone()), "{claims}");
        }
        for claims in [json!({}), json!({"jti": 1}), json!({"sub": "1", "jti": "alice"})] {
            assert!(!holds(&list, claims.clone()), "{claims}");
        }
        assert!(!holds(&List::parse(b"").unwrap(), json!({"jti": "1"})));
    }

    #[test]
    fn a_line_that_says_something_else_is_an_error() {
        for line in [
            "jti: 1",
            "{\"jti\": 1}",
            "{}",
            "[\"a\"]",
            "{\"jti\":\"a\",\"sub\":\"b\"}",
            "{\"iss\":\"a\"}",
            "\"jti\"",
        ] {
            let error = List::parse(format!("{{\"jti\":\"0\"}}\n{line}").as_bytes()).err().unwrap();
            assert!(error.contains("line 2"), "{line}: {error}");
        }
    }
}
