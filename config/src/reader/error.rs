//! What is wrong with a value, and what to write instead.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::document::Place;

/// Something wrong with a value.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// The place and the field path, once they are known.
    pub(crate) at: Option<(Place, String)>,
    /// Whether it has been said already and only ends the reading.
    pub(crate) said: bool,
    /// Whether something of another kind stands here than the type can be read from.
    pub(super) mismatch: bool,
    /// The field that an unknown one was probably meant to be, or that is missing.
    field: Option<String>,
}

impl Problem {
    pub(crate) fn new(message: String, help: Option<String>) -> Problem {
        Problem { message, help, at: None, said: false, mismatch: false, field: None }
    }

    /// The end of a reading for a reason that has been said.
    pub(super) fn said() -> Problem {
        Problem { said: true, ..Problem::new(String::new(), None) }
    }

    /// A field that the type does not have.
    pub(super) fn unknown_field(
        name: &str,
        fields: &[&str],
        place: Place,
        path: String,
    ) -> Problem {
        let likely = nearest(name, fields);
        let help = match likely {
            Some(field) => format!("did you mean `{field}`?"),
            None if fields.is_empty() => "there are no fields here: remove it".to_owned(),
            None => format!("the fields here are {}", one_of(fields, "and")),
        };
        let mut problem = Problem::new(format!("unknown field `{name}`"), Some(help));
        problem.field = likely.map(str::to_owned);
        problem.at = Some((place, path));
        problem
    }

    /// Gives it a place, unless a more exact one is known.
    pub(super) fn locate(&mut self, place: Place, path: impl Fn() -> String) {
        if self.at.is_none() {
            self.at = Some((place, path()));
        }
    }

    /// Whether it only says what one of the others says better: a missing field that is there
    /// under a misspelt name.
    pub(super) fn follows_from(&self, others: &[Problem]) -> bool {
        self.said || (self.field.is_some() && others.iter().any(|other| other.field == self.field))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    /// The first line is the message, the rest is the help.
    fn custom<T: fmt::Display>(message: T) -> Problem {
        let text = message.to_string();
        match text.split_once('\n') {
            Some((message, help)) => Problem::new(message.to_owned(), Some(help.to_owned())),
            None => Problem::new(text, None),
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Problem {
        let found = match found {
            Unexpected::Map => "a map".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Unit => "nothing".to_owned(),
            Unexpected::Bool(value) => format!("`{value}`"),
            Unexpected::Unsigned(value) => format!("the number `{value}`"),
            Unexpected::Signed(value) => format!("the number `{value}`"),
            Unexpected::Float(value) => format!("the number `{value}`"),
            Unexpected::Str(value) => format!("`{value}`"),
            other => other.to_string(),
        };
        Problem::new(format!("expected {expected}, found {found}"), None)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Problem {
        Problem::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Problem {
        Problem::new(format!("expected {expected}, found {length} values"), None)
    }

    fn unknown_variant(name: &str, expected: &'static [&'static str]) -> Problem {
        Problem::new(
            format!("unknown value `{name}`"),
            Some(format!("write {}", one_of(expected, "or"))),
        )
    }

    fn unknown_field(name: &str, expected: &'static [&'static str]) -> Problem {
        Problem { at: None, ..Problem::unknown_field(name, expected, 0..0, String::new()) }
    }

    fn missing_field(field: &'static str) -> Problem {
        let mut problem = Problem::new(
            format!("the field `{field}` is missing"),
            Some(format!("add `{field}: …`")),
        );
        problem.field = Some(field.to_owned());
        problem
    }

    fn duplicate_field(field: &'static str) -> Problem {
        Problem::new(format!("`{field}` is written twice"), Some("keep one".to_owned()))
    }
}

/// The word that was probably meant, if one is near.
pub(crate) fn nearest<'a>(
    word: &str,
    words: impl IntoIterator<Item = &'a (impl AsRef<str> + ?Sized + 'a)>,
) -> Option<&'a str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let word = plain(word);
    words
        .into_iter()
        .map(AsRef::as_ref)
        .map(|candidate| (distance(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= word.len().max(candidate.len()).div_ceil(3))
        .filter(|(distance, candidate)| *distance < word.len().min(candidate.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How far two words are apart; a word that begins with the other is near whatever the rest.
fn distance(word: &str, candidate: &str) -> usize {
    let begins = |long: &str, short: &str| short.len() >= 4 && long.starts_with(short);
    match begins(candidate, word) || begins(word, candidate) {
        true => usize::from(word != candidate),
        false => strsim::damerau_levenshtein(word, candidate),
    }
}

/// Words as a sentence has them: `a`, `b` or `c`.
pub(crate) fn one_of(words: &[impl AsRef<str>], last: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{}`", word.as_ref())).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [word] => word.clone(),
        [words @ .., word] => format!("{} {last} {word}", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_in_another_case_is_nearer_than_one_that_it_begins_with() {
        let schemes = ["http", "https"];
        assert_eq!(nearest("HTTPS", &schemes), Some("https"));
        assert_eq!(nearest("Http", &schemes), Some("http"));
        assert_eq!(nearest("httpss", &schemes), Some("http"));
        assert_eq!(nearest("ftp", &["udp"]), None);
    }
}
