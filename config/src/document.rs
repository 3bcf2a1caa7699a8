//! Text → a tree of nodes, each with its place in the text.
//!
//! The tree is what the sections are read from (see [`crate::reader`]) and what a diagnostic finds
//! its place in. It is bounded in size and depth, aliases included, before anything is built of it.

mod node;
mod parts;

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::Environment;
use crate::environment::{self, Hidden};
use crate::secret::{holds_password, looks_secret};

pub(crate) use node::{Entry, Node, Place, Scalar, Value};

/// The largest file, in bytes: a hundred times what 1,000 routes need.
pub(crate) const MAX_TEXT: usize = 16 << 20;

/// The most nodes of a file when every alias is written out, so that no file can multiply itself.
const MAX_NODES: usize = 1_000_000;

/// The deepest nesting: the format itself needs eight levels, filters have the rest.
const MAX_DEPTH: usize = 32;

/// Something wrong with the text as such.
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// A text that has been taken apart.
#[derive(Default)]
pub(crate) struct Document {
    /// The topmost node; `None` when nothing is written or nothing could be read.
    pub(crate) root: Option<Arc<Node>>,
    /// What is wrong with it.
    pub(crate) faults: Vec<Fault>,
    /// What must not be shown.
    pub(crate) hidden: Vec<Hidden>,
    /// Where values came from the environment, and what they are.
    pub(crate) from_env: Vec<(Place, Box<str>)>,
    /// Where the values of fields that look secret are.
    pub(crate) secrets: Vec<Place>,
    /// The key whose value was being read when the text could not be understood.
    pub(crate) last_key: Option<Box<str>>,
    /// Whether the text could be understood to its end.
    pub(crate) whole: bool,
}

/// Takes a text apart and puts the environment in.
pub(crate) fn parse(text: &str, env: Environment<'_>) -> Document {
    parts::parse(text, env).unwrap_or_else(|| Builder::new(text, Some(env)).read())
}

/// Takes a text apart and leaves its values as they are written, `${NAME}` and all.
pub(crate) fn parse_as_written(text: &str) -> Document {
    Builder::new(text, None).read()
}

/// A collection whose end has not been seen.
struct Open {
    start: usize,
    anchor: usize,
    value: Value,
    /// The key that waits for its value.
    key: Option<Key>,
    /// The places of the entries by their keys, as far as there are too many to look through.
    index: HashMap<Box<str>, usize>,
    size: usize,
    height: usize,
}

/// A key that waits for its value.
struct Key {
    text: Box<str>,
    place: Place,
    /// It has been written before in the same map.
    again: bool,
}

/// The entries of a map that are looked through for a key; with more, they are indexed.
const FEW: usize = 16;

impl Open {
    /// Where a key was first written, if it was.
    fn first(&mut self, key: &str) -> Option<&Place> {
        let Value::Map(entries) = &self.value else { return None };
        let found = if entries.len() <= FEW {
            entries.iter().position(|entry| &*entry.key == key)
        } else {
            let new = entries.iter().enumerate().skip(self.index.len());
            self.index.extend(new.map(|(at, entry)| (entry.key.clone(), at)));
            self.index.get(key).copied()
        };
        found.map(|at| &entries[at].key_place)
    }
}

struct Builder<'a> {
    text: &'a str,
    /// Where values of the environment come from; without it, none are put in.
    env: Option<Environment<'a>>,
    document: Document,
    open: Vec<Open>,
    anchors: HashMap<usize, Arc<Node>>,
    nodes: usize,
    /// Bytes at the beginning of the text that are not in the file, and where in it the rest is.
    head: usize,
    moved: usize,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, env: Option<Environment<'a>>) -> Builder<'a> {
        Builder {
            text,
            env,
            document: Document::default(),
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            head: 0,
            moved: 0,
        }
    }

    fn read(mut self) -> Document {
        match self.run() {
            Ok(()) => self.document.whole = true,
            Err(fault) => {
                let mut open = self.open.into_iter().rev();
                self.document.last_key = open.find_map(|open| open.key).map(|key| key.text);
                self.document.root = None;
                self.document.faults.push(fault);
            }
        }
        self.document
    }

    fn run(&mut self) -> Result<(), Fault> {
        if self.text.len() > MAX_TEXT {
            return Err(fault(
                0..0,
                format!("the file has more than {MAX_TEXT} bytes"),
                "split what it describes over several gateways",
            ));
        }
        let options = granit_parser::options! {
            disallow_directives: true,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        let mut documents = 0;
        for event in Parser::new_from_str_with_options(self.text, options) {
            let (event, span) = event.map_err(|error| {
                let at = error.marker().byte_offset().unwrap_or(0).min(self.text.len());
                self.not_yaml(at, &error.info())
            })?;
            let place = self.place(&span);
            match event {
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(fault(
                            place,
                            "a second document begins here".to_owned(),
                            "write one document a file: remove the line `---`",
                        ));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    refuse_tag(&place, tag.is_some())?;
                    self.scalar(&text, style == ScalarStyle::Plain, place, anchor)?;
                }
                Event::SequenceStart(_, anchor, tag) => {
                    refuse_tag(&place, tag.is_some())?;
                    self.begin(place, anchor, Value::List(Vec::new()))?;
                }
                Event::MappingStart(_, anchor, tag) => {
                    refuse_tag(&place, tag.is_some())?;
                    self.begin(place, anchor, Value::Map(Vec::new()))?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(place)?,
                Event::Alias(anchor) => self.alias(anchor, place)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// What to say where the grammar of YAML ends.
    fn not_yaml(&self, at: usize, info: &str) -> Fault {
        if info.contains("recursion limit") {
            return too_deep(at..at);
        }
        let before = self.text.get(..at).unwrap_or_default();
        let help = if before.ends_with('$') || before.ends_with("${") {
            "within `{…}` and `[…]`, put `${…}` in quotes"
        } else if info.contains("tab") {
            "indent with spaces"
        } else if info.contains("directives are disallowed") {
            "remove the line that begins with `%`"
        } else if info.contains("unknown anchor") {
            "text that begins with `*` needs quotes"
        } else {
            "check the indentation, the brackets and the quotes here and in the lines above"
        };
        fault(at..at, format!("this is not YAML: {info}"), help)
    }

    fn place(&self, span: &Span) -> Place {
        let start = span.start.byte_offset().unwrap_or(0).min(self.text.len());
        let end = span.end.byte_offset().unwrap_or(start).clamp(start, self.text.len());
        let in_file = |at: usize| at.saturating_sub(self.head) + self.moved;
        in_file(start)..in_file(end)
    }

    /// Whether the next node is a key.
    fn expects_key(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| matches!(open.value, Value::Map(_)) && open.key.is_none())
    }

    fn scalar(&mut self, raw: &str, plain: bool, place: Place, anchor: usize) -> Result<(), Fault> {
        if self.expects_key() {
            return self.key(raw, place);
        }
        if holds_password(raw) {
            self.document.secrets.push(place.clone());
        }
        let resolved = match self.env {
            Some(env) => environment::resolve(raw, env, &mut self.document.hidden),
            None => Ok(environment::Resolved { text: raw.to_owned(), ..Default::default() }),
        };
        let broken = resolved.is_err();
        let resolved = resolved.unwrap_or_else(|(message, help)| {
            self.document.faults.push(fault(place.clone(), message, help));
            environment::Resolved::default()
        });
        if resolved.from_env {
            self.document.from_env.push((place.clone(), resolved.text.as_str().into()));
        }
        let scalar = Scalar {
            text: resolved.text.into(),
            template: resolved.template.map(String::into_boxed_str),
            plain,
            from_env: resolved.from_env,
            substituted: resolved.substituted,
            variable: resolved.variable.map(String::into_boxed_str),
            broken,
        };
        let node = Node { place, value: Value::Scalar(scalar), size: 1, height: 1 };
        self.add(Arc::new(node), anchor)
    }

    fn key(&mut self, key: &str, place: Place) -> Result<(), Fault> {
        if key == "<<" {
            return Err(fault(
                place,
                "`<<` does not merge here: YAML 1.2 has no merge keys".to_owned(),
                "write the fields out, or refer to a whole value with `*name`",
            ));
        }
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        let first = open.first(key).map(|first| first.start);
        if let Some(first) = first {
            let before = self.text.get(..first).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            self.document.faults.push(fault(
                place.clone(),
                format!("`{key}` is written twice"),
                format!("keep one: the first is in line {line}"),
            ));
        }
        open.key = Some(Key { text: key.into(), place, again: first.is_some() });
        Ok(())
    }

    fn begin(&mut self, place: Place, anchor: usize, value: Value) -> Result<(), Fault> {
        if self.expects_key() {
            return Err(fault(
                place,
                "a list or a map cannot be a key".to_owned(),
                "write a name before the colon; text that begins with `{` or `[` needs quotes",
            ));
        }
        self.check_depth(1, &place)?;
        self.open.push(Open {
            start: place.start,
            anchor,
            value,
            key: None,
            index: HashMap::new(),
            size: 1,
            height: 1,
        });
        Ok(())
    }

    fn end(&mut self, place: Place) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let node = Node {
            place: open.start..place.end.max(open.start),
            value: open.value,
            size: open.size,
            height: open.height,
        };
        self.nodes -= open.size - 1;
        self.add(Arc::new(node), open.anchor)
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), Fault> {
        if self.expects_key() {
            return Err(fault(
                place,
                "an alias cannot be a key".to_owned(),
                "write the name before the colon; text that begins with `*` needs quotes",
            ));
        }
        match self.anchors.get(&anchor).cloned() {
            Some(node) => {
                self.check_depth(node.height, &place)?;
                self.add(node, 0)
            }
            None => Err(fault(
                place,
                "this value contains itself".to_owned(),
                "an alias may only refer to a value that ends before it",
            )),
        }
    }

    fn check_depth(&self, height: usize, place: &Place) -> Result<(), Fault> {
        match self.open.len() + height > MAX_DEPTH {
            true => Err(too_deep(place.clone())),
            false => Ok(()),
        }
    }

    /// Puts a finished node into the innermost open collection.
    fn add(&mut self, node: Arc<Node>, anchor: usize) -> Result<(), Fault> {
        self.nodes += node.size;
        if self.nodes > MAX_NODES {
            return Err(fault(
                node.place.clone(),
                format!("the file has more than {MAX_NODES} values, its aliases written out"),
                "use fewer aliases, or split what it describes over several gateways",
            ));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        let Some(open) = self.open.last_mut() else {
            self.document.root = Some(node);
            return Ok(());
        };
        open.size += node.size;
        open.height = open.height.max(node.height + 1);
        match &mut open.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => {
                let Some(key) = open.key.take() else { return Ok(()) };
                if looks_secret(&key.text) && node.may_be_secret() {
                    self.document.secrets.push(node.place.clone());
                }
                // Of a key that is written twice, the first counts.
                if !key.again {
                    entries.push(Entry { key: key.text, key_place: key.place, value: node });
                }
            }
            Value::Scalar(_) => {}
        }
        Ok(())
    }
}

fn too_deep(place: Place) -> Fault {
    fault(
        place,
        format!("values are nested more than {MAX_DEPTH} levels deep"),
        "no setting needs that: is a bracket or the indentation wrong?",
    )
}

fn refuse_tag(place: &Place, tagged: bool) -> Result<(), Fault> {
    match tagged {
        true => Err(fault(
            place.clone(),
            "tags (`!name`) have no meaning here".to_owned(),
            "remove the tag; text that begins with `!` needs quotes",
        )),
        false => Ok(()),
    }
}

fn fault(place: Place, message: String, help: impl Into<String>) -> Fault {
    Fault { place, message, help: Some(help.into()) }
}
