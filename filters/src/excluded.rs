//! Paths that a filter leaves alone.

use std::fmt;

use ringway_config::PathPolicy;
use ringway_engine::filter::SettingsError;
use ringway_engine::guard::{Asks, Kind, Term};
use ringway_engine::route::path::normalise;

use crate::wrong;

/// Prefixes of the normal path, each of whole segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Excluded(Vec<String>);

impl Excluded {
    /// Takes the prefixes, which must be written as the gateway spells paths: what is compared
    /// later is the path that was routed, with dot segments, escapes and `//` settled.
    pub(crate) fn new(field: &str, prefixes: &[String]) -> Result<Self, SettingsError> {
        for (at, prefix) in prefixes.iter().enumerate() {
            check(&format!("{field}[{at}]"), prefix)?;
        }
        Ok(Excluded(prefixes.iter().map(|prefix| trimmed(prefix).to_owned()).collect()))
    }

    /// True when the path, in normal form, is one of the prefixes or below it.
    pub(crate) fn holds(&self, path: &[u8]) -> bool {
        self.0.iter().any(|prefix| {
            path.strip_prefix(prefix.as_bytes())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }

    /// True when every path is below one of the prefixes.
    pub(crate) fn holds_all(&self) -> bool {
        self.0.iter().any(String::is_empty)
    }

    /// The prefixes as a term of a guard.
    pub(crate) fn term(&self, field: &str) -> Term {
        let whole =
            |prefix: &String| if prefix.is_empty() { "/".to_owned() } else { prefix.clone() };
        Term::words(field, Asks::Except, self.0.iter().map(whole)).of_kind(Kind::Path)
    }

    /// True when there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Excluded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join(", "))
    }
}

/// `/public/` means the same as `/public`.
fn trimmed(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

fn check(field: &str, prefix: &str) -> Result<(), SettingsError> {
    let help = "write a path such as `/public`: it takes itself and what is below it";
    if !prefix.starts_with('/') || prefix.contains(['?', '*', '#']) {
        return Err(wrong(field, format!("`{prefix}` is no prefix of a path"), help));
    }
    let mut normal = Vec::new();
    let unchanged = match normalise(prefix.as_bytes(), &PathPolicy::default(), &mut normal) {
        Ok(normal) => normal.unchanged,
        Err(error) => return Err(wrong(field, error.to_string(), help)),
    };
    if !unchanged {
        let normal = String::from_utf8_lossy(&normal).into_owned();
        let help = format!("write `{normal}`");
        return Err(wrong(field, "paths are compared in their normal form", &help));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        let excluded = Excluded::new("e", &["/public/".to_owned(), "/a/b".to_owned()]).unwrap();
        for path in ["/public", "/public/", "/public/x", "/a/b", "/a/b/c"] {
            assert!(excluded.holds(path.as_bytes()), "{path}");
        }
        for path in ["/publicly", "/public;x", "/public%2Fx", "/", "/a", "/Public", "/x/public"] {
            assert!(!excluded.holds(path.as_bytes()), "{path}");
        }
        assert!(!excluded.holds_all());
        let all = Excluded::new("e", &["/".to_owned()]).unwrap();
        assert!(all.holds(b"/anything") && all.holds_all());
    }

    #[test]
    fn what_no_normal_path_can_begin_with_is_refused() {
        for (prefix, part) in [
            ("public", "/public"),
            ("/a/../b", "write `/b`"),
            ("/a//b", "write `/a/b`"),
            ("/%61", "write `/a`"),
            ("/a?b", "no prefix"),
            ("/a/*", "no prefix"),
            ("/a\\b", "path"),
        ] {
            let error = Excluded::new("e", &[prefix.to_owned()]).unwrap_err();
            assert_eq!(error.field, "e[0]");
            let words = format!("{} {}", error.message, error.help.unwrap_or_default());
            assert!(words.contains(part), "{words}");
        }
    }
}
