//! Types of content, as the settings name them.

use ringway_engine::filter::SettingsError;

use crate::wrong;

/// A type of content, or several: what stands before and behind the star.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Pattern {
    Exact(String),
    Any { before: String, behind: String },
}

impl Pattern {
    pub(super) fn read(text: &str, field: &str) -> Result<Pattern, SettingsError> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+*/".contains(&byte);
        let slashes = text.bytes().filter(|&byte| byte == b'/').count();
        let stars = text.bytes().filter(|&byte| byte == b'*').count();
        if slashes != 1 || stars > 1 || !text.bytes().all(letter) {
            let message = format!("`{}` is no type of content", text.escape_debug());
            let help = "write one such as `application/json`, `text/*` or `application/*+json`";
            return Err(wrong(field, message, help));
        }
        let text = text.to_ascii_lowercase();
        Ok(match text.split_once('*') {
            None => Pattern::Exact(text),
            Some((before, behind)) => {
                Pattern::Any { before: before.to_owned(), behind: behind.to_owned() }
            }
        })
    }

    pub(super) fn fits(&self, kind: &[u8]) -> bool {
        match self {
            Pattern::Exact(text) => kind.eq_ignore_ascii_case(text.as_bytes()),
            Pattern::Any { before, behind } => {
                let (before, behind) = (before.as_bytes(), behind.as_bytes());
                kind.len() > before.len() + behind.len()
                    && kind[..before.len()].eq_ignore_ascii_case(before)
                    && kind[kind.len() - behind.len()..].eq_ignore_ascii_case(behind)
            }
        }
    }
}
