//! Text → a tree of nodes, each with its place in the text.
//!
//! The tree is what the sections are read from (see [`crate::reader`]) and what a diagnostic finds
//! its place in. It is bounded in size and depth, aliases included, before anything is built of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Seen;
use std::ops::Range;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::Environment;
use crate::environment::{self, Hidden};
use crate::secret::{holds_password, looks_secret, says_nothing_secret};

/// The largest file, in bytes: a hundred times what 1,000 routes need.
pub(crate) const MAX_TEXT: usize = 16 << 20;

/// The most nodes of a file when every alias is written out, so that no file can multiply itself.
const MAX_NODES: usize = 1_000_000;

/// The deepest nesting: the format itself needs eight levels, filters have the rest.
const MAX_DEPTH: usize = 32;

/// A place in the text: a range of bytes.
pub(crate) type Place = Range<usize>;

/// A value of the document.
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
    /// How many nodes there are from here down, aliases written out.
    size: usize,
    /// How many levels there are from here down, aliases written out.
    height: usize,
}

pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Arc<Node>>),
    Map(Vec<Entry>),
}

impl Node {
    /// Whether the value of a field that looks secret is to be hidden.
    fn may_be_secret(&self) -> bool {
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
    /// What it says as a template, where that differs (see [`environment::Resolved`]).
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
    take_apart(text, Some(env))
}

/// Takes a text apart and leaves its values as they are written, `${NAME}` and all.
pub(crate) fn parse_as_written(text: &str) -> Document {
    take_apart(text, None)
}

fn take_apart(text: &str, env: Option<Environment<'_>>) -> Document {
    let mut builder = Builder {
        text,
        env,
        document: Document::default(),
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
    };
    match builder.run() {
        Ok(()) => builder.document.whole = true,
        Err(fault) => {
            builder.document.last_key =
                builder.open.iter_mut().rev().find_map(|open| open.key.take()).map(|key| key.0);
            builder.document.root = None;
            builder.document.faults.push(fault);
        }
    }
    builder.document
}

/// A collection whose end has not been seen.
struct Open {
    start: usize,
    anchor: usize,
    value: Value,
    /// The key that waits for its value.
    key: Option<(Box<str>, Place)>,
    /// Where each key was first written.
    keys: HashMap<Box<str>, Place>,
    size: usize,
    height: usize,
}

struct Builder<'a> {
    text: &'a str,
    /// Where values of the environment come from; without it, none are put in.
    env: Option<Environment<'a>>,
    document: Document,
    open: Vec<Open>,
    anchors: HashMap<usize, Arc<Node>>,
    nodes: usize,
}

impl Builder<'_> {
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
        start..end
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
        match open.keys.entry(key.into()) {
            Seen::Vacant(seen) => {
                seen.insert(place.clone());
            }
            Seen::Occupied(seen) => {
                let first = self.text[..seen.get().start].matches('\n').count() + 1;
                self.document.faults.push(fault(
                    place.clone(),
                    format!("`{key}` is written twice"),
                    format!("keep one: the first is in line {first}"),
                ));
            }
        }
        open.key = Some((key.into(), place));
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
            keys: HashMap::new(),
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
                let Some((key, key_place)) = open.key.take() else { return Ok(()) };
                if looks_secret(&key) && node.may_be_secret() {
                    self.document.secrets.push(node.place.clone());
                }
                // Of a key that is written twice, the first counts.
                if open.keys.get(&key) == Some(&key_place) {
                    entries.push(Entry { key, key_place, value: node });
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
