//! Regular expressions on paths and values. All match whole texts, in time linear in the text
//! (`regex-automata`), and see bytes: `\w`, `\d` and `(?i)` are ASCII.
//!
//! The crate below `regex` is used because it lends out the memory of a search: the set of patterns
//! that matched and the slots of the captures live in [`super::Found`], so that a request allocates
//! nothing.

use std::ops::Range;

use regex_automata::meta::Regex;
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind, PatternSet};

/// The most bytes that one compiled set may take. The default of 10 MB is for one pattern; a host
/// group may have hundreds.
const MAX_COMPILED: usize = 64 * 1024 * 1024;

/// The regular expressions of one host group, the best-ranked first.
#[derive(Debug)]
pub(super) struct Set(Regex);

impl Set {
    /// Compiles texts that [`captures`] has accepted.
    ///
    /// # Errors
    /// A message: together they are too large.
    pub(super) fn new(texts: &[&str]) -> Result<Set, String> {
        let wrapped: Vec<_> = texts.iter().map(|text| whole(text)).collect();
        let texts: Vec<_> = wrapped.iter().map(String::as_str).collect();
        let config = Regex::config()
            .utf8_empty(false)
            .nfa_size_limit(Some(MAX_COMPILED))
            .which_captures(WhichCaptures::None)
            // Otherwise the search ends with the first pattern that matches.
            .match_kind(MatchKind::All);
        Regex::builder().configure(config).syntax(bytes()).build_many(&texts).map(Set).map_err(
            |error| format!("the regular expressions of a host cannot be one set: {error}"),
        )
    }

    /// Finds all that match the path, as their places in the set, in its order.
    pub(super) fn matches<'m>(
        &self,
        path: &[u8],
        matched: &'m mut Matched,
    ) -> impl Iterator<Item = usize> + use<'m> {
        if matched.0.capacity() < self.0.pattern_len() {
            matched.0 = PatternSet::new(self.0.pattern_len());
        }
        matched.0.clear();
        self.0.which_overlapping_matches(&Input::new(path), &mut matched.0);
        matched.0.iter().map(|pattern| pattern.as_usize())
    }
}

/// The memory of [`Set::matches`].
#[derive(Debug)]
pub(super) struct Matched(PatternSet);

impl Default for Matched {
    fn default() -> Matched {
        Matched(PatternSet::new(0))
    }
}

/// The groups of one regular expression.
#[derive(Debug)]
pub(super) struct Captures {
    /// `None` when there is no group, so that nothing needs to be searched for.
    regex: Option<Regex>,
    names: Box<[Box<str>]>,
}

/// The memory of [`Captures::fill`].
#[derive(Debug, Default)]
pub(super) struct Slots(Vec<Option<NonMaxUsize>>);

/// Checks a text and compiles it for its groups.
///
/// # Errors
/// A message with the place in the text.
pub(super) fn captures(text: &str) -> Result<Captures, String> {
    let regex = compile(text)?;
    let names: Box<[Box<str>]> = regex
        .group_info()
        .pattern_names(regex_automata::PatternID::ZERO)
        .enumerate()
        .skip(1)
        .map(|(number, name)| name.map_or_else(|| number.to_string().into(), Into::into))
        .collect();
    Ok(Captures { regex: (!names.is_empty()).then_some(regex), names })
}

impl Captures {
    pub(super) fn names(&self) -> &[Box<str>] {
        &self.names
    }

    pub(super) fn fill(&self, path: &[u8], slots: &mut Slots, values: &mut Vec<Range<usize>>) {
        let Some(regex) = &self.regex else { return };
        let slots = &mut slots.0;
        slots.clear();
        slots.resize(regex.group_info().slot_len(), None);
        regex.search_slots(&Input::new(path), slots);
        values.extend(slots.chunks_exact(2).skip(1).map(|pair| match (pair[0], pair[1]) {
            (Some(start), Some(end)) => start.get()..end.get(),
            _ => 0..0,
        }));
    }
}

/// A test on a value.
#[derive(Debug)]
pub(super) struct Test(Regex);

impl Test {
    /// # Errors
    /// A message with the place in the text.
    pub(super) fn new(text: &str) -> Result<Test, String> {
        compile(text).map(Test)
    }

    pub(super) fn is_match(&self, value: &[u8]) -> bool {
        self.0.is_match(Input::new(value))
    }
}

fn compile(text: &str) -> Result<Regex, String> {
    // Alone first: the place in an error is then one in the text as it is written, and no
    // unbalanced parenthesis closes the group around it.
    syntax::parse_with(text, &bytes()).map_err(|error| error.to_string())?;
    Regex::builder()
        .configure(Regex::config().utf8_empty(false))
        .syntax(bytes())
        .build(&whole(text))
        .map_err(|error| error.to_string())
}

fn whole(text: &str) -> String {
    format!(r"\A(?:{text})\z")
}

fn bytes() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_must_match_as_a_whole() {
        let test = Test::new("a|bc").unwrap();
        assert!(test.is_match(b"a") && test.is_match(b"bc"));
        assert!(!test.is_match(b"ab") && !test.is_match(b"abc") && !test.is_match(b"xbc"));
        assert!(!Test::new("(?m)^a$").unwrap().is_match(b"a\nb"));
    }

    #[test]
    fn a_set_tells_all_that_match() {
        let set = Set::new(&["/a.*", "/b.*", "/.*"]).unwrap();
        let mut matched = Matched::default();
        assert_eq!(set.matches(b"/ax", &mut matched).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(set.matches(b"/x", &mut matched).collect::<Vec<_>>(), [2]);
        assert_eq!(set.matches(b"x", &mut matched).count(), 0);
    }

    #[test]
    fn parentheses_cannot_break_out() {
        assert!(Test::new("a)|(b").is_err());
        assert!(captures("(?<x>a)(?<x>b)").unwrap_err().contains("duplicate"));
    }

    #[test]
    fn a_capture_may_take_no_part() {
        let captures = captures("/(a)?(b)").unwrap();
        let (mut slots, mut values) = (Slots::default(), Vec::new());
        captures.fill(b"/b", &mut slots, &mut values);
        assert_eq!(values, [0..0, 1..2]);
    }
}
