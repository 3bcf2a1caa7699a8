//! The place of each field in the text, and what must not be shown of it.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::diagnostic::{Diagnostic, Severity};
use crate::document::{Document, Node, Place, Value};
use crate::environment::Hidden;
use crate::reader::quote_key;
use crate::secret::{MASK, holds_password, looks_secret, says_nothing_secret};
use crate::written::Written;

/// The most characters of a line that a snippet shows.
const SNIPPET_WIDTH: usize = 100;

/// A value of fewer bytes than this is hidden only where it stands in quotes.
const SHORT: usize = 4;

/// A file that has been read: it knows the place of each field.
#[derive(Clone, Default)]
pub struct Source {
    file: String,
    text: Arc<str>,
    /// Where each line begins, once somebody asks.
    lines: OnceLock<Vec<usize>>,
    root: Option<Arc<Node>>,
    /// What came from the environment.
    from_outside: Vec<Hidden>,
    /// What must not be shown in a message, the longest first, once there is one.
    hidden: OnceLock<Vec<Hidden>>,
    /// Where secrets are written.
    secrets: Vec<Place>,
    /// Where values came from the environment, and what they are.
    from_env: Vec<(Place, Box<str>)>,
    /// Whether nothing of the text can be shown, because nobody knows what in it is a secret.
    opaque: bool,
}

impl Source {
    /// A file of which nothing is known but its name.
    pub(crate) fn unread(file: String) -> Source {
        Source { file, ..Source::default() }
    }

    pub(crate) fn new(file: &str, text: &str, document: &mut Document) -> Source {
        let mut source = Source {
            file: file.to_owned(),
            text: text.into(),
            lines: OnceLock::new(),
            root: document.root.clone(),
            from_outside: std::mem::take(&mut document.hidden),
            hidden: OnceLock::new(),
            secrets: std::mem::take(&mut document.secrets),
            from_env: std::mem::take(&mut document.from_env),
            opaque: document.last_key.as_deref().is_some_and(looks_secret),
        };
        source.secrets.sort_by_key(|place| (place.start, place.end));
        source
    }

    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let later = self.text.match_indices('\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(later).collect()
        })
    }

    fn hidden(&self) -> &[Hidden] {
        self.hidden.get_or_init(|| {
            let mut all = self.from_outside.clone();
            if let Some(root) = self.root.as_deref() {
                hide_secrets(root, &mut all);
            }
            all.retain(|hidden| !hidden.value.is_empty());
            all.sort_by_key(|hidden| std::cmp::Reverse(hidden.value.len()));
            all.dedup();
            all
        })
    }

    /// An error about a field, with the place found from the field's path, such as
    /// `routes[3].filters[0].headers`. Where the path is not in the file, its nearest parent is.
    ///
    /// Values that came from the environment and values of fields that look secret are taken out
    /// of the message, the help and the snippet; those of fewer than four bytes where they stand in
    /// quotes. A message that shows a value should therefore show it whole, in backquotes.
    pub fn diagnose(&self, path: &str, message: String, help: Option<String>) -> Diagnostic {
        let (place, path) = self.find(path);
        self.at(place, &path, message, help)
    }

    /// The same as a warning.
    pub fn warn(&self, path: &str, message: String, help: Option<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..self.diagnose(path, message, help) }
    }

    /// The text itself, to be shown with its secrets masked.
    pub fn written(&self) -> Written {
        Written::new(self.text.clone())
    }

    /// An error at a place that is known.
    pub(crate) fn at(
        &self,
        place: Option<Place>,
        path: &str,
        message: String,
        help: Option<String>,
    ) -> Diagnostic {
        // A remedy made of a value from the environment would show it.
        let origin = self.from_env.iter().find(|(written, _)| place.as_ref() == Some(written));
        let help = match (help.map(|help| self.hide(&help)), origin) {
            (Some(help), Some((_, value))) if self.tells_of(&help, value) => {
                Some("correct the value in the environment".to_owned())
            }
            (help, _) => help,
        };
        let (line, column, snippet) = match place {
            Some(place) => self.snippet(&place),
            None => (0, 0, String::new()),
        };
        Diagnostic {
            severity: Severity::Error,
            file: self.file.clone(),
            line,
            column,
            path: path.to_owned(),
            message: self.hide(&message),
            help,
            snippet,
        }
    }

    /// The field path of a place.
    pub(crate) fn path_of(&self, place: &Place) -> String {
        let mut path = String::new();
        let mut node = self.root.as_deref();
        let holds = |outer: &Place| outer.start <= place.start && place.end <= outer.end;
        while let Some(here) = node {
            node = None;
            match &here.value {
                Value::Map(entries) => {
                    let found = entries
                        .iter()
                        .find(|entry| holds(&entry.value.place) || holds(&entry.key_place));
                    if let Some(entry) = found {
                        if !path.is_empty() {
                            path.push('.');
                        }
                        path.push_str(&quote_key(&entry.key));
                        node = holds(&entry.value.place).then_some(&*entry.value);
                    }
                }
                Value::List(items) => {
                    let found = items.iter().enumerate().find(|(_, item)| holds(&item.place));
                    if let Some((index, item)) = found {
                        path.push_str(&format!("[{index}]"));
                        node = Some(item);
                    }
                }
                Value::Scalar(_) => {}
            }
        }
        path
    }

    /// The place of a field, which is that of its value if it is a scalar, else of its key; and its
    /// path as the file has it, where header names may have another case.
    fn find(&self, path: &str) -> (Option<Place>, String) {
        let mut node = self.root.as_deref();
        let mut place = None;
        let mut written = String::new();
        for step in steps(path) {
            let next = match (node.map(|node| (node, &node.value)), &step) {
                (Some((node, Value::Map(_))), Step::Key(key)) => {
                    node.get_any_case(key).map(|entry| {
                        let scalar = matches!(entry.value.value, Value::Scalar(_));
                        let whole = scalar && !entry.value.place.is_empty();
                        let place = if whole { &entry.value.place } else { &entry.key_place };
                        (Some(place.clone()), &*entry.value, Step::Key(entry.key.to_string()))
                    })
                }
                (Some((_, Value::List(items))), Step::Index(index)) => {
                    items.get(*index).map(|item| (Some(item.place.clone()), &**item, step.clone()))
                }
                _ => None,
            };
            let shown = match next {
                Some((at, below, shown)) => {
                    (place, node) = (at, Some(below));
                    shown
                }
                None => {
                    node = None;
                    step
                }
            };
            shown.add_to(&mut written);
        }
        (place, written)
    }

    /// Line, column, and the line with marks below the place.
    fn snippet(&self, place: &Place) -> (usize, usize, String) {
        let mut start = place.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let line = self.lines().partition_point(|begin| *begin <= start).max(1);
        let line_start = self.lines().get(line - 1).copied().unwrap_or(0);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let column = self.text[line_start..start].chars().count() + 1;
        if self.opaque {
            return (line, column, String::new());
        }
        let mut shown: Vec<char> = Vec::new();
        let mut marks: Vec<char> = Vec::new();
        let mut masked = None;
        for (at, letter) in self.text[line_start..line_end].char_indices() {
            let at = line_start + at;
            let mark = if at >= start && at < place.end.max(start + 1) { '^' } else { ' ' };
            let secret = self.secret_at(at);
            match secret {
                Some(secret) if masked == Some(secret) => continue,
                Some(_) => {
                    shown.extend(MASK.chars());
                    marks.extend([mark; MASK.len()]);
                }
                None => {
                    shown.push(if letter.is_control() { ' ' } else { letter });
                    marks.push(mark);
                }
            }
            masked = secret;
        }
        if !marks.contains(&'^') {
            marks.push('^');
        }
        (line, column, cut(&shown, &marks))
    }

    /// What diagnostics call the file.
    pub fn name(&self) -> &str {
        &self.file
    }

    /// The text of the file.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// What is written at a place such as `routes[3]`.
    pub(crate) fn node(&self, path: &str) -> Option<&Node> {
        steps(path).into_iter().try_fold(self.root.as_deref()?, |node, step| {
            match (&node.value, step) {
                (Value::Map(_), Step::Key(key)) => node.get(&key).map(|entry| &*entry.value),
                (Value::List(items), Step::Index(index)) => items.get(index).map(|item| &**item),
                _ => None,
            }
        })
    }

    pub(crate) fn is_secret_at(&self, at: usize) -> bool {
        self.secret_at(at).is_some()
    }

    fn secret_at(&self, at: usize) -> Option<usize> {
        let next = self.secrets.partition_point(|secret| secret.end <= at);
        self.secrets.get(next).filter(|secret| secret.start <= at).map(|_| next)
    }

    /// Whether a text from which values have been taken out still has a part of this one in it, be
    /// it in another case. What stands in the place of a value tells nothing.
    fn tells_of(&self, text: &str, value: &str) -> bool {
        let bare = |text: String, hidden: &Hidden| text.replace(&hidden.shown, "");
        let text = self.hidden().iter().fold(text.to_owned(), bare).to_ascii_lowercase();
        let value = value.to_ascii_lowercase();
        let holds = |part: &[u8]| text.as_bytes().windows(SHORT).any(|window| window == part);
        value.as_bytes().windows(SHORT).any(holds)
    }

    /// Takes out what must not be shown, as [`diagnose`](Source::diagnose) does, and control
    /// characters.
    pub fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for hidden in self.hidden() {
            if text.contains(&hidden.value) {
                text = replace(&text, &hidden.value, &hidden.shown);
            }
            let escaped = hidden.value.escape_debug().to_string();
            if escaped != hidden.value && text.contains(&escaped) {
                text = replace(&text, &escaped, &hidden.shown);
            }
        }
        match text.contains(char::is_control) {
            true => text.chars().flat_map(printable).collect(),
            false => text,
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Source").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A control character is shown as its escape, so that a file cannot steer a terminal.
fn printable(letter: char) -> impl Iterator<Item = char> {
    let escaped = letter.is_control().then(|| letter.escape_default());
    let plain = escaped.is_none().then_some(letter);
    escaped.into_iter().flatten().chain(plain)
}

/// Replaces a value everywhere; a short one only in quotes, because it may be part of any word.
fn replace(text: &str, value: &str, shown: &str) -> String {
    if value.len() >= SHORT {
        return text.replace(value, shown);
    }
    let mut text = text.to_owned();
    for quote in ['`', '"', '\''] {
        text = text.replace(&format!("{quote}{value}{quote}"), &format!("{quote}{shown}{quote}"));
    }
    text
}

/// A long line is cut around its marks.
fn cut(shown: &[char], marks: &[char]) -> String {
    let first = marks.iter().position(|mark| *mark == '^').unwrap_or(0);
    let last = marks.iter().rposition(|mark| *mark == '^').unwrap_or(0);
    let start = match shown.len() > SNIPPET_WIDTH {
        true => first.saturating_sub(SNIPPET_WIDTH / 2),
        false => 0,
    };
    let end = (start + SNIPPET_WIDTH).min(shown.len());
    let part = |chars: &[char], range: Range<usize>| -> String {
        chars.get(range).unwrap_or_default().iter().collect()
    };
    let before = if start > 0 { "…" } else { "" };
    let after = if end < shown.len() { "…" } else { "" };
    let indent = " ".repeat(first - start + before.chars().count());
    let carets = "^".repeat((last + 1).min(start + SNIPPET_WIDTH).saturating_sub(first).max(1));
    format!("{before}{}{after}\n{indent}{carets}", part(shown, start..end).trim_end())
}

/// Hides the values of fields that look secret.
fn hide_secrets(root: &Node, hidden: &mut Vec<Hidden>) {
    let mut stack = vec![(root, false)];
    while let Some((node, secret)) = stack.pop() {
        match &node.value {
            Value::Map(entries) => {
                stack.extend(entries.iter().map(|entry| (&*entry.value, looks_secret(&entry.key))))
            }
            Value::List(items) => stack.extend(items.iter().map(|item| (&**item, secret))),
            // A value from the environment is hidden already.
            Value::Scalar(scalar)
                if (secret && !says_nothing_secret(&scalar.text, scalar.plain)
                    || holds_password(&scalar.text))
                    && !scalar.from_env
                    && !scalar.broken =>
            {
                let value = scalar.text.to_string();
                // A small number would be hidden in places that have nothing to do with it.
                if value.len() >= SHORT || value.parse::<f64>().is_err() {
                    hidden.push(Hidden { value, shown: MASK.to_owned() });
                }
            }
            Value::Scalar(_) => {}
        }
    }
}

/// One step of a field path.
#[derive(Clone)]
enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    fn add_to(&self, path: &mut String) {
        match self {
            Step::Index(index) => path.push_str(&format!("[{index}]")),
            Step::Key(key) => {
                path.push_str(if path.is_empty() { "" } else { "." });
                path.push_str(&quote_key(key));
            }
        }
    }
}

/// The steps of `routes[3].headers."X-A".regex`.
fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while let Some(letter) = rest.chars().next() {
        match letter {
            '.' => rest = &rest[1..],
            '[' => {
                let end = rest.find(']').unwrap_or(rest.len());
                let index = rest[1..end].parse().unwrap_or(usize::MAX);
                steps.push(Step::Index(index));
                rest = rest.get(end + 1..).unwrap_or_default();
            }
            '"' => {
                let end = rest[1..].find('"').map_or(rest.len(), |at| at + 1);
                steps.push(Step::Key(rest[1..end].to_owned()));
                rest = rest.get(end + 1..).unwrap_or_default();
            }
            _ => {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                steps.push(Step::Key(rest[..end].to_owned()));
                rest = &rest[end..];
            }
        }
    }
    steps
}
