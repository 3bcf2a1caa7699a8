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
        let mut list = List::default();
        list.append(&read_bounded(path, MAX_FILE)?)?;
        let list = SharedLatest::new(Shared::new(list));
        Ok(Revoked { path: path.to_owned(), list })
    }

    /// Reads the file again. When something is wrong with it, all that was revoked stays so, and
    /// what the other lines say is revoked too: one that is broken must not let anybody in.
    pub(super) fn reread(&self) {
        let mut list = List::default();
        let read = read_bounded(&self.path, MAX_FILE).and_then(|text| list.append(&text));
        if let Err(error) = read {
            let file = self.path.display();
            tracing::error!(%file, "what was revoked stays so: {error}");
            let before = self.list.get();
            list.tokens.extend(before.tokens.iter().cloned());
            list.subjects.extend(before.subjects.iter().cloned());
        }
        let (tokens, subjects) = (list.tokens.len(), list.subjects.len());
        tracing::info!(tokens, subjects, "read what is revoked");
        self.list.set(Shared::new(list));
    }
}

impl List {
    /// Adds what the lines say that can be read.
    ///
    /// # Errors
    /// Which line is the first that cannot.
    fn append(&mut self, text: &[u8]) -> Result<(), String> {
        let mut broken = None;
        for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice(line) {
                Ok(Line::Jti(id)) => drop(self.tokens.insert(id)),
                Ok(Line::Sub(subject)) => drop(self.subjects.insert(subject)),
                Err(_) => drop(broken.get_or_insert(at + 1)),
            }
        }
        match broken {
            None => Ok(()),
            Some(line) => {
                Err(format!("line {line} is neither {{\"jti\": \"…\"}} nor {{\"sub\": \"…\"}}"))
            }
        }
    }

    /// Whether a token with these claims is revoked.
    pub(super) fn holds(&self, claims: &Map<String, Value>) -> bool {
        let among = |set: &HashSet<String>, name: &str| match claims.get(name) {
            Some(Value::String(text)) => set.contains(text),
            // An id is a text (RFC 7519 §4.1.7), but there are tokens with a number for one.
            Some(Value::Number(number)) => set.contains(&number.to_string()),
            _ => false,
        };
        among(&self.tokens, "jti") || among(&self.subjects, "sub")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &[u8]) -> Result<List, String> {
        let mut list = List::default();
        list.append(text).map(|()| list)
    }

    fn holds(list: &List, claims: Value) -> bool {
        list.holds(claims.as_object().unwrap())
    }

    #[test]
    fn a_token_is_revoked_by_its_id_or_by_whose_it_is() {
        let text = b"{\"jti\": \"1\"}\r\n\n  {\"sub\":\"al\\u0069ce\"}  \n{\"jti\": \"2\"}";
        let list = parse(text).unwrap();
        for claims in [
            json!({"jti": "1"}),
            json!({"jti": "2"}),
            json!({"jti": 2}),
            json!({"sub": "alice", "jti": 7}),
        ] {
            assert!(holds(&list, claims.clone()), "{claims}");
        }
        for claims in [
            json!({}),
            json!({"jti": 3}),
            json!({"jti": ["1"]}),
            json!({"sub": "1", "jti": "alice"}),
        ] {
            assert!(!holds(&list, claims.clone()), "{claims}");
        }
        assert!(!holds(&parse(b"").unwrap(), json!({"jti": "1"})));
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
            let error = parse(format!("{{\"jti\":\"0\"}}\n{line}").as_bytes()).err().unwrap();
            assert!(error.contains("line 2"), "{line}: {error}");
        }
    }
    #[test]
    fn a_broken_line_lets_nobody_in() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"jti\": \"1\"}\n").unwrap();
        let revoked = Revoked::new(file.path()).unwrap();
        std::fs::write(file.path(), "{\"jti\": \"2\"}{\"jti\": \"3\"}\n{\"sub\": \"a\"}\n")
            .unwrap();
        revoked.reread();
        let list = revoked.list.get();
        assert!(holds(&list, json!({"jti": "1"})) && holds(&list, json!({"sub": "a"})));
        std::fs::remove_file(file.path()).unwrap();
        revoked.reread();
        assert!(holds(&revoked.list.get(), json!({"jti": "1"})));
        std::fs::write(file.path(), "").unwrap();
        revoked.reread();
        assert!(!holds(&revoked.list.get(), json!({"jti": "1"})), "a good file says all there is");
    }
}
