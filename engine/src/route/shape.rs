//! What a route says about the path, lowered: canonical bytes, pieces and lengths that the tree,
//! the ranking and the shadow analysis read.

use std::ops::Range;

use ringway_config::{EncodedSlash, PathMatch, PathPolicy};

use super::RouteError;
use super::path::{PathError, normalise};
use super::regexes::{self, Captures};

/// A lowered [`PathMatch`].
#[derive(Debug)]
pub(super) enum Shape {
    Any,
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Pattern(Pattern),
    Regex { text: Box<str>, captures: Captures },
}

/// `/:service/*rest`. The slash before the `*name` is not in the pieces: what follows them is empty
/// or begins with it, exactly as with a prefix.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) pieces: Vec<Piece>,
    /// Whether the last of the names is a `*name`.
    pub(super) rest: bool,
    names: Vec<Box<str>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Never empty; two literals never follow one another.
    Literal(Box<[u8]>),
    /// One segment that is not empty.
    Param,
}

/// The order of paths, the first the better: see the rules in the docs of [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PathRank {
    class: u8,
    length: std::cmp::Reverse<usize>,
    kind: u8,
}

impl Shape {
    /// Lowers what is written.
    ///
    /// # Errors
    /// An error of the route with this index, with the field that is at fault.
    pub(super) fn new(
        route: usize,
        written: &PathMatch,
        policy: &PathPolicy,
    ) -> Result<Shape, RouteError> {
        let error = |field: &str, (message, help): Problem| RouteError {
            route,
            field: field.to_owned(),
            message,
            help,
        };
        match written {
            PathMatch::Any => Ok(Shape::Any),
            PathMatch::Exact(text) => {
                literal(text, policy).map(Shape::Exact).map_err(|problem| error("path", problem))
            }
            PathMatch::Prefix(text) => {
                literal(text, policy).map(Shape::Prefix).map_err(|problem| error("prefix", problem))
            }
            PathMatch::Pattern(text) => Pattern::new(text, policy)
                .map(Shape::Pattern)
                .map_err(|problem| error("pattern", problem)),
            PathMatch::Regex(text) => match regexes::captures(text) {
                Ok(captures) => Ok(Shape::Regex { text: text.as_str().into(), captures }),
                Err(message) => Err(error("regex", (message, None))),
            },
        }
    }

    pub(super) fn rank(&self) -> PathRank {
        let (class, length, kind) = match self {
            Shape::Exact(_) => (0, 0, 0),
            Shape::Prefix(text) => (1, text.len(), 0),
            Shape::Pattern(pattern) => (1, pattern.length(), 1 + u8::from(pattern.rest)),
            Shape::Regex { .. } => (2, 0, 0),
            Shape::Any => (3, 0, 0),
        };
        PathRank { class, length: std::cmp::Reverse(length), kind }
    }

    /// The names of the values that a match has, in the order of [`Shape::fill`]. A capture without
    /// a name of its own is called by its number.
    pub(super) fn names(&self) -> &[Box<str>] {
        match self {
            Shape::Pattern(pattern) => &pattern.names,
            Shape::Regex { captures, .. } => captures.names(),
            Shape::Any | Shape::Exact(_) | Shape::Prefix(_) => &[],
        }
    }

    /// Writes where in the path the values are; the path has matched. A capture that took no part
    /// is empty.
    pub(super) fn fill(
        &self,
        path: &[u8],
        slots: &mut regexes::Slots,
        values: &mut Vec<Range<usize>>,
    ) {
        match self {
            Shape::Pattern(pattern) => pattern.fill(path, values),
            Shape::Regex { captures, .. } => captures.fill(path, slots, values),
            Shape::Any | Shape::Exact(_) | Shape::Prefix(_) => {}
        }
    }

    /// Whether every path that `other` takes is surely taken by this one too. May say no where the
    /// truth is yes.
    pub(super) fn covers(&self, other: &Shape) -> bool {
        match (self, other) {
            (Shape::Any, _) => true,
            (Shape::Exact(mine), Shape::Exact(theirs)) => mine == theirs,
            (Shape::Prefix(prefix), Shape::Exact(text) | Shape::Prefix(text)) => {
                is_below(prefix, text)
            }
            (Shape::Prefix(prefix), Shape::Pattern(pattern)) => match pattern.pieces.first() {
                Some(Piece::Literal(head)) => is_below(prefix, head),
                Some(Piece::Param) | None => false,
            },
            (Shape::Pattern(mine), Shape::Exact(text)) => {
                mine.covers(&[Part::Literal(text)], false)
            }
            (Shape::Pattern(mine), Shape::Prefix(text)) => {
                mine.covers(&[Part::Literal(text)], true)
            }
            (Shape::Pattern(mine), Shape::Pattern(theirs)) => {
                let parts: Vec<_> = theirs.pieces.iter().map(Part::of).collect();
                mine.covers(&parts, theirs.rest)
            }
            (Shape::Regex { text: mine, .. }, Shape::Regex { text: theirs, .. }) => mine == theirs,
            _ => false,
        }
    }

    /// A path that this shape takes, when it has a form: what covers the shape takes this path.
    pub(super) fn sample(&self) -> Option<Vec<u8>> {
        match self {
            Shape::Exact(text) | Shape::Prefix(text) => Some(text.to_vec()),
            Shape::Pattern(pattern) => {
                let mut path = Vec::new();
                for piece in &pattern.pieces {
                    match piece {
                        Piece::Literal(text) => path.extend_from_slice(text),
                        Piece::Param => path.push(b'~'),
                    }
                }
                if path.is_empty() {
                    path.push(b'/');
                }
                Some(path)
            }
            Shape::Any | Shape::Regex { .. } => None,
        }
    }
}

/// Whether the whole of `path` lies at or below the prefix, by segments.
fn is_below(prefix: &[u8], path: &[u8]) -> bool {
    match path.strip_prefix(prefix) {
        Some([]) => true,
        Some([next, ..]) => *next == b'/' || prefix.ends_with(b"/"),
        None => false,
    }
}

/// A message, and what to write instead.
type Problem = (String, Option<String>);

/// The one spelling of a path that the file writes.
fn literal(text: &str, policy: &PathPolicy) -> Result<Box<[u8]>, Problem> {
    if !text.starts_with('/') {
        return Err((
            format!("`{text}` does not start with a slash"),
            Some(format!("write `/{text}`")),
        ));
    }
    if text.contains('?') {
        let help = "leave the query out; `query` matches its parameters".to_owned();
        return Err((format!("`{text}` holds a query, but this is matched on paths"), Some(help)));
    }
    let mut out = Vec::new();
    let normal = normalise(text.as_bytes(), policy, &mut out).map_err(|error| {
        let help = (error == PathError::EncodedSlash
            && policy.encoded_slash == EncodedSlash::Reject)
            .then(|| "`server.path.encoded_slash: keep` lets such paths in".to_owned());
        (format!("no request has the path `{text}`: {error}"), help)
    })?;
    let (path, _) = normal.split(text.as_bytes(), &out);
    let slashes = |path: &[u8]| path.iter().filter(|&&byte| byte == b'/').count();
    if slashes(path) != slashes(text.as_bytes()) {
        let normal = String::from_utf8_lossy(path);
        return Err((
            format!("no request has the path `{text}` once it is normalised"),
            Some(format!("write `{normal}`")),
        ));
    }
    Ok(path.into())
}

impl Pattern {
    fn new(text: &str, policy: &PathPolicy) -> Result<Pattern, Problem> {
        let text = literal(text, policy)?;
        let mut pattern = Pattern { pieces: Vec::new(), rest: false, names: Vec::new() };
        let mut run = Vec::new();
        let mut segments = text[1..].split(|&byte| byte == b'/').peekable();
        while let Some(segment) = segments.next() {
            match segment {
                [b':', name @ ..] => {
                    pattern.add_name(name)?;
                    run.push(b'/');
                    pattern.pieces.push(Piece::Literal(std::mem::take(&mut run).into()));
                    pattern.pieces.push(Piece::Param);
                }
                [b'*', name @ ..] => {
                    pattern.add_name(name)?;
                    pattern.rest = true;
                    if segments.peek().is_some() {
                        let name = String::from_utf8_lossy(segment);
                        return Err((
                            format!("`{name}` takes the rest of the path, so that it must be last"),
                            None,
                        ));
                    }
                }
                _ => {
                    run.push(b'/');
                    run.extend_from_slice(segment);
                }
            }
        }
        if !run.is_empty() {
            pattern.pieces.push(Piece::Literal(run.into()));
        }
        Ok(pattern)
    }

    fn add_name(&mut self, name: &[u8]) -> Result<(), Problem> {
        let name = String::from_utf8_lossy(name);
        let good = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
            && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !good {
            return Err((
                format!("`{name}` is no name for a parameter"),
                Some("use a-z, 0-9 and _, and begin with a letter".to_owned()),
            ));
        }
        if self.names.iter().any(|known| **known == *name) {
            return Err((format!("the parameter `{name}` comes twice"), None));
        }
        self.names.push(name.into());
        Ok(())
    }

    /// The fewest bytes that a matching path has: a parameter is at least one.
    fn length(&self) -> usize {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Literal(text) => text.len(),
                Piece::Param => 1,
            })
            .sum()
    }

    fn fill(&self, path: &[u8], values: &mut Vec<Range<usize>>) {
        let mut at = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => at += text.len(),
                Piece::Param => {
                    let end = segment_end(path, at);
                    values.push(at..end);
                    at = end;
                }
            }
        }
        if self.rest {
            values.push((at + 1).min(path.len())..path.len());
        }
    }

    /// Whether all paths made of `parts`, with anything below them if `open`, are taken.
    fn covers(&self, parts: &[Part<'_>], open: bool) -> bool {
        let mut theirs = Parts { parts, at: 0 };
        for piece in &self.pieces {
            let fits = match piece {
                Piece::Literal(text) => theirs.skip(text),
                Piece::Param => theirs.skip_segment(),
            };
            if !fits {
                return false;
            }
        }
        match self.rest {
            true => theirs.at_boundary(),
            false => theirs.is_done() && !open,
        }
    }
}

/// Where the segment that begins at `at` ends.
pub(super) fn segment_end(path: &[u8], at: usize) -> usize {
    memchr::memchr(b'/', &path[at..]).map_or(path.len(), |length| at + length)
}

/// A piece of another shape, seen by [`Pattern::covers`].
#[derive(Clone, Copy)]
enum Part<'a> {
    Literal(&'a [u8]),
    Param,
}

impl<'a> Part<'a> {
    fn of(piece: &'a Piece) -> Part<'a> {
        match piece {
            Piece::Literal(text) => Part::Literal(text),
            Piece::Param => Part::Param,
        }
    }
}

/// A cursor over parts; `at` is inside the first, which is then a literal.
struct Parts<'a> {
    parts: &'a [Part<'a>],
    at: usize,
}

impl<'a> Parts<'a> {
    fn literal(&self) -> Option<&'a [u8]> {
        match self.parts.first() {
            Some(Part::Literal(text)) => Some(&text[self.at..]),
            _ => None,
        }
    }

    fn advance(&mut self, by: usize) {
        self.at += by;
        if self.literal().is_some_and(<[u8]>::is_empty) {
            self.parts = &self.parts[1..];
            self.at = 0;
        }
    }

    fn skip(&mut self, text: &[u8]) -> bool {
        let fits = self.literal().is_some_and(|literal| literal.starts_with(text));
        if fits {
            self.advance(text.len());
        }
        fits
    }

    fn skip_segment(&mut self) -> bool {
        match (self.literal(), self.parts) {
            (Some(literal), _) => {
                let end = segment_end(literal, 0);
                self.advance(end);
                end > 0
            }
            (None, [Part::Param, rest @ ..]) => {
                self.parts = rest;
                true
            }
            (None, _) => false,
        }
    }

    fn is_done(&self) -> bool {
        self.parts.is_empty()
    }

    fn at_boundary(&self) -> bool {
        self.is_done() || self.literal().is_some_and(|literal| literal.starts_with(b"/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(written: PathMatch) -> Result<Shape, RouteError> {
        Shape::new(7, &written, &PathPolicy::default())
    }

    fn pattern(text: &str) -> Shape {
        shape(PathMatch::Pattern(text.into())).unwrap()
    }

    fn prefix(text: &str) -> Shape {
        shape(PathMatch::Prefix(text.into())).unwrap()
    }

    fn exact(text: &str) -> Shape {
        shape(PathMatch::Exact(text.into())).unwrap()
    }

    #[track_caller]
    fn refused(written: PathMatch, field: &str, part: &str) {
        let error = shape(written).unwrap_err();
        assert_eq!((error.route, error.field.as_str()), (7, field));
        assert!(error.message.contains(part), "{}", error.message);
    }

    #[test]
    fn a_written_path_is_brought_into_its_one_spelling() {
        assert!(matches!(exact("/caf\u{e9}/%2d"), Shape::Exact(text) if *text == *b"/caf%C3%A9/-"));
    }

    #[test]
    fn a_path_that_no_request_can_have_is_refused() {
        refused(PathMatch::Exact("a".into()), "path", "does not start with a slash");
        refused(PathMatch::Prefix("/a?b".into()), "prefix", "holds a query");
        refused(PathMatch::Prefix("/a//b".into()), "prefix", "normalised");
        refused(PathMatch::Prefix("/a/../b".into()), "prefix", "normalised");
        refused(PathMatch::Exact("/%zz".into()), "path", "two hex digits");
        refused(PathMatch::Exact("/a%2fb".into()), "path", "escaped slash");
        refused(PathMatch::Pattern("/*rest/b".into()), "pattern", "must be last");
        refused(PathMatch::Pattern("/:a/:a".into()), "pattern", "comes twice");
        refused(PathMatch::Pattern("/:".into()), "pattern", "no name");
        refused(PathMatch::Pattern("/:Ab".into()), "pattern", "no name");
        refused(PathMatch::Regex("/(".into()), "regex", "unclosed group");
    }

    #[track_caller]
    fn values(shape: &Shape, path: &str) -> Vec<(String, String)> {
        let mut values = Vec::new();
        shape.fill(path.as_bytes(), &mut regexes::Slots::default(), &mut values);
        let names = shape.names().iter().map(ToString::to_string);
        names.zip(values.into_iter().map(|range| path[range].to_owned())).collect()
    }

    #[test]
    fn parameters_are_found_in_the_path() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let both = pattern("/:service/*rest");
        assert_eq!(values(&both, "/u/a/b"), [pair("service", "u"), pair("rest", "a/b")]);
        assert_eq!(values(&both, "/u/"), [pair("service", "u"), pair("rest", "")]);
        assert_eq!(values(&both, "/u"), [pair("service", "u"), pair("rest", "")]);
        assert_eq!(values(&pattern("/a/:id/b"), "/a/77/b"), [pair("id", "77")]);
        assert_eq!(values(&pattern("/*all"), "/x/y"), [pair("all", "x/y")]);
    }

    #[test]
    fn captures_have_names_or_numbers() {
        let regex = shape(PathMatch::Regex("/(\\d+)/(?<tail>.*?)(x)?".into())).unwrap();
        let expected = [("1", "12"), ("tail", "ab"), ("3", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(values(&regex, "/12/ab"), expected);
    }

    #[test]
    fn covering_is_surely_covering() {
        let yes = |mine: Shape, theirs: Shape| assert!(mine.covers(&theirs), "{mine:?} {theirs:?}");
        let no = |mine: Shape, theirs: Shape| assert!(!mine.covers(&theirs), "{mine:?} {theirs:?}");
        yes(Shape::Any, exact("/a"));
        yes(prefix("/a"), prefix("/a/b"));
        yes(prefix("/a"), exact("/a"));
        no(prefix("/a"), prefix("/ab"));
        yes(prefix("/a/"), pattern("/a/:x"));
        yes(prefix("/a"), pattern("/a/*rest"));
        no(prefix("/a/"), pattern("/a/*rest"));
        yes(pattern("/:x"), exact("/a"));
        no(pattern("/:x"), exact("/"));
        no(pattern("/:x"), prefix("/a"));
        yes(pattern("/:x/*rest"), prefix("/a"));
        yes(pattern("/:x/*rest"), prefix("/a/"));
        yes(pattern("/:x/b"), pattern("/a/b"));
        yes(pattern("/:x/b"), pattern("/:y/b"));
        no(pattern("/a/:x"), pattern("/:x/a"));
        no(pattern("/a/b"), pattern("/a/:x"));
        yes(pattern("/*rest"), pattern("/:x/:y"));
        no(pattern("/:x/:y"), pattern("/*rest"));
        no(exact("/a"), prefix("/a"));
    }
}
