//! Where lowering and checking put what they find.

use std::fmt;

use crate::diagnostic::Diagnostic;
use crate::source::Source;

/// What has been found wrong with a file so far.
pub(crate) struct Findings<'a> {
    source: &'a Source,
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(source: &'a Source) -> Findings<'a> {
        Findings { source, errors: Vec::new(), warnings: Vec::new() }
    }

    /// Something wrong with the field of this path, and what to write instead.
    pub(crate) fn error(
        &mut self,
        path: impl fmt::Display,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let path = path.to_string();
        self.errors.push(self.source.diagnose(&path, message.into(), Some(help.into())));
    }

    /// Something that can be, but is hardly meant.
    pub(crate) fn warn(
        &mut self,
        path: impl fmt::Display,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let path = path.to_string();
        self.warnings.push(self.source.warn(&path, message.into(), Some(help.into())));
    }
}
