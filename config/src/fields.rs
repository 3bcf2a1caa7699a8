//! What is written in a file, field by field, to be held against another file.

use crate::document::{Node, Value};
use crate::reader::quote_key;
use crate::secret::{MASK, looks_secret, says_nothing_secret};
use crate::source::Source;
use crate::written::{is_cookies, looks_secret_by_itself};

/// A field that is written, without those below it.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// Where it stands below the place that was asked for: `timeouts.connect`; empty for itself.
    pub path: String,
    /// Its value as it may be shown: what is secret or comes from the environment is not.
    pub shown: String,
    value: Box<str>,
}

impl Field {
    /// True when both have the same value, shown or not.
    pub fn is_same(&self, other: &Field) -> bool {
        self.value == other.value
    }
}

impl std::fmt::Debug for Field {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Field").field("path", &self.path).field("shown", &self.shown).finish()
    }
}

impl Source {
    /// The fields that are written below a place such as `routes[3]`, in the order of the file.
    pub fn fields(&self, path: &str) -> Vec<Field> {
        let mut fields = Vec::new();
        if let Some(node) = self.node(path) {
            self.collect(node, String::new(), false, &mut fields);
        }
        fields
    }

    /// What each entry of the list at this place is: the key of `- headers: {…}`, or the bare word.
    pub fn kinds(&self, path: &str) -> Vec<String> {
        let kind = |node: &Node| match &node.value {
            Value::Scalar(scalar) => scalar.text.to_string(),
            Value::Map(entries) => entries.first().map(|e| e.key.to_string()).unwrap_or_default(),
            Value::List(_) => String::new(),
        };
        match self.node(path).map(|node| &node.value) {
            Some(Value::List(items)) => items.iter().map(|item| kind(item)).collect(),
            _ => Vec::new(),
        }
    }

    fn collect(&self, node: &Node, path: String, secret: bool, fields: &mut Vec<Field>) {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    let dot = if path.is_empty() { "" } else { "." };
                    let path = format!("{path}{dot}{}", quote_key(&entry.key));
                    // What stands below a secret is one too.
                    let named = looks_secret(&entry.key) || is_cookies(&entry.key, &entry.value);
                    let secret = secret || named;
                    self.collect(&entry.value, path, secret, fields);
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.collect(item, format!("{path}[{index}]"), secret, fields);
                }
            }
            Value::Scalar(scalar) => {
                let secret = secret && !says_nothing_secret(&scalar.text, scalar.plain);
                let hidden = secret || scalar.from_env || looks_secret_by_itself(&scalar.text);
                let hidden = hidden || self.is_secret_at(node.place.start);
                let shown = if hidden { MASK.to_owned() } else { self.hide(&scalar.text) };
                fields.push(Field { path, shown, value: scalar.text.clone() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::load_str;

    /// Any filter.
    #[derive(Debug, serde::Deserialize)]
    struct Any(#[allow(dead_code, reason = "it is only read")] serde_json::Value);

    #[test]
    fn secrets_and_the_environment_are_masked_wherever_they_stand() {
        let text = "
routes:
  - name: a
    prefix: /
    respond: {body: \"${WORD}\", status: 201}
    filters:
      - auth:
          secret: hunter2
          keys: {alice: in-the-map, bob: [in-the-list]}
          url: http://me:hunter3@example.com/
          key: client_ip
";
        let env = |_: &str| Some("swordfish".to_owned());
        let source = load_str::<Any>("a.yaml", text, &env).unwrap().source;
        let fields = source.fields("routes[0]");
        let shown = format!("{fields:?}");
        for secret in ["hunter", "in-the", "swordfish"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        let status = fields.iter().find(|field| field.path == "respond.status").unwrap();
        assert_eq!(status.shown, "201");
        assert!(fields.iter().any(|field| field.shown == "client_ip"), "{shown}");
        assert_eq!(source.kinds("routes[0].filters"), ["auth"]);
        let other = text.replace("hunter2", "hunter9");
        let other = load_str::<Any>("a.yaml", &other, &env).unwrap().source.fields("routes[0]");
        let changed: Vec<_> = fields.iter().zip(&other).filter(|(a, b)| !a.is_same(b)).collect();
        assert_eq!(changed.len(), 1);
        assert_eq!(changed[0].0.path, "filters[0].auth.secret");
    }
}
