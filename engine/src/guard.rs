//! What a filter that keeps requests out asks of them, as plain data, so that two of them can be
//! held against each other by whoever knows neither ([`Blueprint::guard`]).
//!
//! [`Blueprint::guard`]: crate::filter::Blueprint::guard

/// What is asked of a request before it may pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Guard {
    /// What is asked of every request.
    pub terms: Vec<Term>,
    /// Ways to pass, of which one is enough; none where `terms` are all there is.
    pub ways: Vec<Way>,
}

/// One of several ways to pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// What it is called; no two of a guard have the same name.
    pub name: String,
    /// What is asked of who goes it.
    pub terms: Vec<Term>,
}

/// What one setting asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// The setting, as the file has it.
    pub field: String,
    /// What is asked of the values.
    pub asks: Asks,
    /// The values, as they may be shown once what came from the environment is taken out. Where
    /// there are none, nothing is asked.
    pub values: Vec<String>,
    /// What the values are.
    pub kind: Kind,
}

/// What is asked of the values of a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// A request has one of them; of no values, any will do.
    One,
    /// A request has each of them.
    Each,
    /// What is one of them passes unasked.
    Except,
    /// They are trusted to say who may pass.
    Trust,
}

/// What the values of a term are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Words that are the same or not.
    Word,
    /// Prefixes of whole segments of a path, which hold all that is below them.
    Path,
    /// Ranges of addresses, each `ADDRESS/BITS`.
    Range,
}

impl Term {
    /// A term about words.
    pub fn words(
        field: impl Into<String>,
        asks: Asks,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Term {
        let values = values.into_iter().map(Into::into).collect();
        Term { field: field.into(), asks, values, kind: Kind::Word }
    }

    /// A term about values of another kind.
    pub fn of_kind(self, kind: Kind) -> Term {
        Term { kind, ..self }
    }
}
