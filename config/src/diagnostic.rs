//! What is wrong with a file, where, and what to write instead.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong with a file, or that deserves attention.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnostic {
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// The column in characters, from 1; 0 when the whole file is meant.
    pub column: usize,
    /// The field, such as `routes[3].filters[0].headers`; empty for the whole file.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// The line of the file, with secrets left out, and a second line that points at the place.
    /// Empty when there is no place to point at.
    pub snippet: String,
}

/// Whether a file can be used all the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but hardly means what it says.
    Warning,
}

/// Place, message, snippet and help on several lines, without colours.
impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        write!(out, "{severity}: {}\n {margin}--> {}", self.message, self.file)?;
        if self.line > 0 {
            write!(out, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(out, " ({})", self.path)?;
        }
        if let Some((line, marks)) = self.snippet.split_once('\n') {
            write!(out, "\n {margin} |\n {number} | {line}\n {margin} | {marks}")?;
        }
        if let Some(help) = &self.help {
            write!(out, "\n {margin} = help: {help}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a file, in the order of its lines. Displayed with an empty line
/// between two.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts them into the order of the lines.
    pub(crate) fn sort(&mut self) {
        self.0.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str("\n\n")?;
            }
            diagnostic.fmt(out)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
