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

impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

/// Everything that is wrong with a file, in the order of its lines.
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
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            diagnostic.fmt(out)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// A file that has been read: it knows the place of each field.
#[derive(Clone, Default)]
pub struct Source {
    pub(crate) file: String,
}

impl Source {
    /// An error about a field, with the place found from the field's path, such as
    /// `routes[3].filters[0].headers`. Where the path is not in the file, its nearest parent is.
    pub fn diagnose(&self, path: &str, message: String, help: Option<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            file: self.file.clone(),
            line: 0,
            column: 0,
            path: path.to_owned(),
            message,
            help,
            snippet: String::new(),
        }
    }

    /// The same as a warning.
    pub fn warn(&self, path: &str, message: String, help: Option<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..self.diagnose(path, message, help) }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Source").field("file", &self.file).finish_non_exhaustive()
    }
}
