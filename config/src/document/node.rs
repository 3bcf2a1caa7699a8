//! What the tree is made of.

use std::ops::Range;
use std::sync::Arc;

use crate::secret::says_nothing_secret;

/// A place in the text: a range of bytes.
pub(crate) type Place = Range<usize>;

/// A value of the document.
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
    /// How many nodes there are from here down, aliases written out.
    pub(super) size: usize,
    /// How many levels there are from here down, aliases written out.
    pub(super) height: usize,
}

pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Arc<Node>>),
    Map(Vec<Entry>),
}

impl Node {
    /// Whether the value of a field that looks secret is to be hidden.
    pub(super) fn may_be_secret(&self) -> bool {
        match &self.value {
            Value::Scalar(scalar) => !says_nothing_secret(&scalar.text, scalar.plain),
            Value::List(items) => items.iter().any(|item| item.may_be_secret()),
            Value::Map(_) => false,
        }
    }
}

/// A key and its value.
pub(crate) struct Entry {
    pub(crate) key: Box<str>,
    pub(crate) key_place: Place,
    pub(crate) value: Arc<Node>,
}

/// A value that is no collection, after environment variables have been put in.
pub(crate) struct Scalar {
    /// What it says.
    pub(crate) text: Box<str>,
    /// What it says as a template, where that differs (see [`crate::environment::Resolved`]).
    pub(crate) template: Option<Box<str>>,
    /// Whether it is written without quotes, so that it may be a number.
    pub(crate) plain: bool,
    /// Whether a part came from the environment.
    pub(crate) from_env: bool,
    /// Whether a part came from the environment or from the default of a variable. Then it may be a
    /// number in quotes too, because within `{…}` and `[…]` YAML asks for quotes around `${…}`.
    pub(crate) substituted: bool,
    /// The first request variable in it, such as `${service}`.
    pub(crate) variable: Option<Box<str>>,
    /// Whether it could not be resolved, which has been said already.
    pub(crate) broken: bool,
}

impl Node {
    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| &*entry.key == key),
            _ => None,
        }
    }

    /// The same; where no key is equal, one that differs in case: header names are lowered.
    pub(crate) fn get_any_case(&self, key: &str) -> Option<&Entry> {
        self.get(key).or_else(|| match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(key)),
            _ => None,
        })
    }

    /// Nothing, at a place.
    pub(crate) fn empty(place: Place) -> Node {
        Node { place, value: Value::Map(Vec::new()), size: 1, height: 1 }
    }

    /// Whether nothing is written here: `key:`, `key: ~` or `key: null`.
    pub(crate) fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar(scalar) => {
                scalar.plain
                    && !scalar.substituted
                    && !scalar.broken
                    && matches!(&*scalar.text, "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }
}
