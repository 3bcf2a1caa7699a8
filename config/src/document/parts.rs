//! Takes a large text apart in several pieces at once, each on a thread of its own.
//!
//! Nearly all of a large file is its routes, a list whose items stand for themselves. It is cut
//! before some of them, and what comes after a cut is read as the `routes:` of a text of its own.
//! A line that begins with `- ` as far to the right as the first item begins the next item,
//! whatever stands between: nothing that belongs to an item may stand so far to the left (YAML
//! 1.2.2 §8.1.1, §8.2.1), but what is in quotes or brackets, and there the piece before the cut
//! lacks its end. So if every piece is whole, the cuts were right. If one is not, or anything is
//! wrong anywhere, or an alias leads across a cut, nothing is said here: the text is then taken
//! apart as a whole.

use std::ops::Range;
use std::sync::Arc;
use std::thread;

use super::{Builder, Document, Entry, MAX_NODES, Node, Value};
use crate::Environment;

/// The smallest piece, in bytes: less is read before a thread has begun.
const PIECE: usize = 128 * 1024;

/// The most pieces: the parts that are not done in pieces take longer then.
const MOST: usize = 8;

/// The key of the list that is cut, as it stands before its items.
const HEAD: &str = "routes:\n";
const KEY: &str = "routes";

/// Takes a text apart in pieces; `None` when that cannot be done, or is not worth it.
pub(super) fn parse(text: &str, env: Environment<'_>) -> Option<Document> {
    let most = (text.len() / PIECE).min(MOST);
    if most < 2 {
        return None;
    }
    in_pieces(text, env, most.min(thread::available_parallelism().map_or(1, usize::from)))
}

fn in_pieces(text: &str, env: Environment<'_>, most: usize) -> Option<Document> {
    let (key, pieces) = cut(text, most)?;
    let documents = thread::scope(|scope| {
        let later = pieces.iter().skip(1).cloned();
        let later: Vec<_> =
            later.map(|piece| scope.spawn(move || read_later(text, piece, env))).collect();
        let first = Builder::new(&text[pieces[0].clone()], Some(env)).read();
        let later = later.into_iter().map(|thread| thread.join().ok());
        std::iter::once(Some(first)).chain(later).collect::<Option<Vec<_>>>()
    })?;
    join(documents, key)
}

/// Reads a piece that begins with an item. Places are those of the whole text.
fn read_later(text: &str, piece: Range<usize>, env: Environment<'_>) -> Document {
    let part = [HEAD, &text[piece.clone()]].concat();
    Builder { moved: piece.start, head: HEAD.len(), ..Builder::new(&part, Some(env)) }.read()
}

/// Where the key of the list stands, and at most so many pieces of the text.
fn cut(text: &str, most: usize) -> Option<(usize, Vec<Range<usize>>)> {
    let mut keys = lines(text, 0).filter(|(_, line)| line.strip_prefix(KEY).is_some_and(is_key));
    let (key, line) = keys.next().filter(|_| keys.next().is_none())?;
    let mut items = lines(text, key + line.len() + 1).skip_while(|(_, line)| says_nothing(line));
    let (_, first) = items.next()?;
    let indent = first.len() - first.trim_start_matches(' ').len();
    let begins = |line: &str| line[indent..].starts_with("- ");
    if !begins(first) {
        return None;
    }
    let mut pieces = Vec::new();
    let mut start = 0;
    for (at, line) in items {
        if says_nothing(line) {
            continue;
        }
        let margin = line.len() - line.trim_start_matches(' ').len();
        let rest = line.get(indent..).unwrap_or_default();
        // Further to the left is the end of the list.
        if margin < indent || (indent == 0 && !rest.starts_with([' ', '-'])) {
            break;
        }
        let due = text.len() / most * (pieces.len() + 1);
        if rest.starts_with("- ") && at >= due && pieces.len() + 1 < most {
            pieces.push(start..at);
            start = at;
        }
    }
    pieces.push(start..text.len());
    (pieces.len() > 1).then_some((key, pieces))
}

/// Each line from there on, with its place.
fn lines(text: &str, from: usize) -> impl Iterator<Item = (usize, &str)> {
    let rest = text.get(from..).unwrap_or_default();
    rest.split('\n').scan(from, |at, line| {
        let here = *at;
        *at += line.len() + 1;
        Some((here, line))
    })
}

/// What follows the name of a key whose value stands in the lines below.
fn is_key(rest: &str) -> bool {
    rest.strip_prefix(':').is_some_and(|rest| rest.trim_matches(' ').is_empty())
}

/// A line that is empty or holds a comment alone.
fn says_nothing(line: &str) -> bool {
    let line = line.trim_start_matches([' ', '\t', '\r']);
    line.is_empty() || line.starts_with('#')
}

/// Makes one document of the pieces, if each is whole and as it should be.
fn join(documents: Vec<Document>, key: usize) -> Option<Document> {
    if documents.iter().any(|document| !document.whole || !document.faults.is_empty()) {
        return None;
    }
    let mut whole = Document { whole: true, ..Document::default() };
    let mut sections: Vec<Entry> = Vec::new();
    let mut items = Vec::new();
    let last = documents.len() - 1;
    for (number, document) in documents.into_iter().enumerate() {
        whole.hidden.extend(document.hidden);
        whole.from_env.extend(document.from_env);
        whole.secrets.extend(document.secrets);
        let root = Arc::into_inner(document.root?)?;
        let Value::Map(mut entries) = root.value else { return None };
        // The list is cut at its end, but for the last piece, and at its beginning, but for the
        // first.
        let at = if number == 0 { entries.len().checked_sub(1)? } else { 0 };
        let list = entries.get(at).filter(|entry| &*entry.key == KEY)?;
        let right = number > 0 || list.key_place.start == key;
        if !right || (number > 0 && number < last && entries.len() > 1) {
            return None;
        }
        let list = entries.remove(at);
        let node = Arc::into_inner(list.value)?;
        let Value::List(own) = node.value else { return None };
        items.extend(own);
        if number == 0 {
            sections = entries;
            let empty = Node::empty(node.place);
            sections.push(Entry { value: Arc::new(empty), ..list });
        } else {
            let position = sections.iter().position(|entry| &*entry.key == KEY)?;
            let open = Arc::get_mut(&mut sections[position].value)?;
            open.place.end = node.place.end.max(open.place.end);
            sections.extend(entries);
        }
    }
    let list = sections.iter().position(|entry| &*entry.key == KEY)?;
    let list = Arc::get_mut(&mut sections[list].value)?;
    fill(list, Value::List(items));
    let twice = |(at, entry): (usize, &Entry)| sections[..at].iter().any(|e| e.key == entry.key);
    if sections.iter().enumerate().any(twice) {
        return None;
    }
    let end = sections.iter().map(|entry| entry.value.place.end).max()?;
    let start = sections.first()?.key_place.start;
    let mut root = Node::empty(start..end);
    fill(&mut root, Value::Map(sections));
    if root.size > MAX_NODES {
        return None;
    }
    whole.root = Some(Arc::new(root));
    Some(whole)
}

/// Gives a node its value and what follows from it.
fn fill(node: &mut Node, value: Value) {
    let below = |nodes: &mut dyn Iterator<Item = &Arc<Node>>| {
        nodes.fold((1, 1), |(size, height), node| (size + node.size, height.max(node.height + 1)))
    };
    (node.size, node.height) = match &value {
        Value::List(items) => below(&mut items.iter()),
        Value::Map(entries) => below(&mut entries.iter().map(|entry| &entry.value)),
        Value::Scalar(_) => (1, 1),
    };
    node.value = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "WORD").then(|| "swordfish".to_owned())
    }

    /// A node with its place, as text.
    fn shown(node: &Node, out: &mut String) {
        let (place, size, height) = (node.place.start, node.size, node.height);
        out.push_str(&format!("{place}/{size}/{height} "));
        match &node.value {
            Value::Scalar(scalar) => out.push_str(&format!("{:?} {} ", scalar.text, scalar.plain)),
            Value::List(items) => items.iter().for_each(|item| shown(item, out)),
            Value::Map(entries) => entries.iter().for_each(|entry| {
                out.push_str(&format!("{:?}@{:?}: ", entry.key, entry.key_place));
                shown(&entry.value, out);
            }),
        }
    }

    fn all(document: &Document) -> String {
        let mut out = String::new();
        document.root.iter().for_each(|root| shown(root, &mut out));
        let (hidden, secrets) = (&document.hidden, &document.secrets);
        format!("{out} {hidden:?} {secrets:?} {:?}", document.from_env)
    }

    /// Whether a text is read in pieces; if it is, it is read as it is in one.
    #[track_caller]
    fn check(text: &str, most: usize) -> bool {
        let whole = Builder::new(text, Some(&env)).read();
        let Some(pieces) = in_pieces(text, &env, most) else { return false };
        assert!(whole.whole && whole.faults.is_empty(), "{text}");
        assert_eq!(all(&pieces), all(&whole), "{text}");
        true
    }

    fn route(at: usize) -> String {
        format!(
            "  # the next\n  - name: r{at} # a comment\n    prefix: \"/${{WORD}}/{at}\"\n    \
             filters:\n      - headers: {{set: {{X-Token: hunter{at}}}}}\n      - body: \
             |\n          - name: none\n\n    methods: [GET,\n      POST]\n"
        )
    }

    fn routes(count: usize) -> String {
        (0..count).map(route).collect()
    }

    #[test]
    fn pieces_make_what_the_whole_makes() {
        let routes = routes(20);
        for most in 2..8 {
            assert!(check(&format!("routes:\n{routes}"), most));
            let before = "server: {port: 80}\nlog:\n  level: info\n";
            let after = "global_filters:\n  - a: 1\n  - b\nadmin: {token: hunter2}\n";
            assert!(check(&format!("{before}routes:\n\n{routes}{after}"), most));
        }
        let flush = routes.lines().map(|line| format!("{}\n", line.get(2..).unwrap_or_default()));
        let flush: String = flush.collect();
        assert!(check(&format!("routes:\n{flush}"), 4));
        assert!(check(&format!("routes:\n{flush}log: {{}}\n"), 4));
    }

    #[test]
    fn what_cannot_be_cut_is_not() {
        let routes = routes(20);
        for text in [
            String::new(),
            "routes:\n".to_owned(),
            "routes: []\n".to_owned(),
            format!("routes: # here\n{routes}"),
            format!("log: {{}}\nroutes:\n{routes}log: {{}}\n"),
            format!("routes:\n{routes}routes:\n{routes}"),
            format!("routes:\n{routes}\"routes\":\n{routes}"),
            format!("routes:\n{routes}---\nroutes\n"),
            format!("routes:\n{routes}   - name: x\n"),
            format!("routes:\n{routes}  - name: x\n    name: y\n"),
            format!("routes:\n{routes}  - name: ${{UNSET}}\n"),
            format!("routes:\n{routes}  - name: [\n"),
            format!("routes:\n  - &a name\n{routes}  - *a\n"),
            format!("a: \"\nroutes:\n{routes}\"\nb:\n  - c\n"),
            format!("routes:\n  - name: \"\n{}    \"\n", routes.replace('"', "'")),
            format!("other:\n{routes}routes:\n  - name: x\n"),
        ] {
            assert!(!check(&text, 3), "{text}");
        }
    }

    /// Wherever a text ends, and whichever letter it lacks, it is read as it is in one piece.
    #[test]
    fn no_text_is_read_otherwise() {
        let text = format!("routes:\n{}log: {{level: info}}\n", routes(6));
        let mut cut = 0;
        for at in 0..text.len() {
            let without = format!("{}{}", &text[..at], &text[at + 1..]);
            for text in [&text[..at], &without] {
                let whole = Builder::new(text, Some(&env)).read();
                if let Some(pieces) = in_pieces(text, &env, 3) {
                    assert!(whole.whole && whole.faults.is_empty(), "{text}");
                    assert_eq!(all(&pieces), all(&whole), "{text}");
                    cut += 1;
                }
            }
        }
        assert!(cut > text.len() / 2, "{cut} of {}", text.len());
    }
}
