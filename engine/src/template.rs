//! Text with holes: `/v2/${rest}`. The holes are request variables, named in lower case or by the
//! number of a capture; `${UPPER}` is the environment and is gone before a template is parsed.

/// A parsed template. Rendering it allocates nothing but what `out` has to grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Name(Box<str>),
}

/// Why a text is no template, or why a template could not be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `${` without `}`.
    #[error("`${{` is not closed by `}}`")]
    Unclosed,
    /// A name that is neither lower case nor a number.
    #[error(
        "`${{{0}}}` is no variable: a name is made of a-z, 0-9 and _, or is a capture's number"
    )]
    BadName(String),
    /// A CR, LF or NUL in the written text (HTTP_SAFETY rule 18).
    #[error("the text holds a line break or NUL")]
    BadText,
    /// A variable that the request does not have. Names are checked while loading, so that this is
    /// a name which only some requests know.
    #[error("the request has no variable `{0}`")]
    Missing(String),
    /// The value of this variable holds CR, LF or NUL (HTTP_SAFETY rule 18).
    #[error("the value of `{0}` holds a line break or NUL")]
    BadValue(String),
}

/// As the file could have it.
impl std::fmt::Display for Template {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => out.write_str(&text.replace("${", "$${")),
            Part::Name(name) => write!(out, "${{{name}}}"),
        })
    }
}

impl Template {
    /// Reads a template. A `$` that no `{` follows stands for itself, and `$${` for `${`.
    ///
    /// # Errors
    /// [`TemplateError::Unclosed`], [`TemplateError::BadName`], [`TemplateError::BadText`].
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        if text.bytes().any(splits_a_field) {
            return Err(TemplateError::BadText);
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                literal.push_str(&rest[..at]);
                literal.push('{');
                rest = &rest[at + 2..];
                continue;
            }
            literal.push_str(&rest[..at]);
            let after = &rest[at + 2..];
            let end = after.find('}').ok_or(TemplateError::Unclosed)?;
            let name = &after[..end];
            if !is_name(name) {
                return Err(TemplateError::BadName(name.to_owned()));
            }
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::Name(name.into()));
            rest = &after[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Template { parts })
    }

    /// The variables, in the order of the text; one that is used twice comes twice.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Name(name) => Some(&**name),
            Part::Text(_) => None,
        })
    }

    /// The text, when there is no variable in it.
    pub fn as_literal(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text with the values that `vars` appends; it returns false for a name that it
    /// does not know.
    ///
    /// # Errors
    /// [`TemplateError::Missing`] and [`TemplateError::BadValue`]; `out` is then as long as before.
    pub fn render(
        &self,
        vars: &dyn Fn(&str, &mut Vec<u8>) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<(), TemplateError> {
        let start = out.len();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Name(name) => {
                    let before = out.len();
                    let error = if !vars(name, out) {
                        TemplateError::Missing(name.to_string())
                    } else if out[before..].iter().copied().any(splits_a_field) {
                        TemplateError::BadValue(name.to_string())
                    } else {
                        continue;
                    };
                    out.truncate(start);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// What the name of a variable begins with that is a claim of the client's token.
pub const CLAIM: &str = "claims.";

/// The bytes with which a value could end the field that it stands in.
fn splits_a_field(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | 0)
}

/// Escapes the value of a variable, which stands in `out` from `from` on, for the target that `out`
/// begins; false when it cannot stand there. Pieces of the request's own target stay as they are,
/// but where they come into a query: their `&`, `+` and `;` would be more parameters there. What
/// else a client or an issuer chooses freely is one value wherever it stands, and neither a query,
/// nor a segment more, nor a dot segment (HTTP_SAFETY rules 18 and 20).
pub fn escape_in_target(name: &str, out: &mut Vec<u8>, from: usize) -> bool {
    if name.starts_with(CLAIM) || name == "request_id" {
        escape(out, from, |byte| !is_unreserved(byte));
        return !may_climb(&out[from..]);
    }
    if name != "query" && out[..from].contains(&b'?') {
        escape(out, from, |byte| matches!(byte, b'&' | b'+' | b';'));
    }
    true
}

/// Writes the bytes from `from` on that `apart` takes as `%` and two digits (RFC 3986 §2.1).
fn escape(out: &mut Vec<u8>, from: usize, apart: impl Fn(u8) -> bool) {
    if !out[from..].iter().any(|&byte| apart(byte)) {
        return;
    }
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in out.split_off(from) {
        match apart(byte) {
            true => {
                out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]])
            }
            false => out.push(byte),
        }
    }
}

/// The bytes that mean nothing but themselves (RFC 3986 §2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Whether an escaped value is a dot segment by itself, or becomes one where parameters of a
/// segment are cut off (`..;a`).
fn may_climb(value: &[u8]) -> bool {
    let end = value.windows(3).position(|three| three == b"%3B").unwrap_or(value.len());
    matches!(&value[..end], b"." | b"..")
}

fn is_name(name: &str) -> bool {
    // A claim has the name that its issuer gave it (RFC 7519 §4).
    if let Some(claim) = name.strip_prefix(CLAIM) {
        return !claim.is_empty() && claim.bytes().all(|byte| byte.is_ascii_graphic());
    }
    !name.is_empty()
        && (name.bytes().all(|byte| byte.is_ascii_digit())
            || (name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
                && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(name: &str, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(match name {
            "service" => b"users",
            "1" => b"one",
            "rest" => b"",
            "evil" => b"a\r\nSet-Cookie: b",
            _ => return false,
        });
        true
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&str, TemplateError>) {
        let mut out = b"> ".to_vec();
        let result = Template::parse(text).and_then(|template| template.render(&vars, &mut out));
        match (&result, &expected) {
            (Ok(()), Ok(expected)) => {
                assert_eq!(out, [b"> ", expected.as_bytes()].concat(), "{text}");
            }
            _ => {
                assert_eq!(result.err(), expected.err(), "{text}");
                assert_eq!(out, b"> ", "nothing is left behind by {text}");
            }
        }
    }

    #[test]
    fn variables_are_filled_in() {
        check("/v2/${service}/${rest}", Ok("/v2/users/"));
        check("${service}${1}", Ok("usersone"));
        check("", Ok(""));
        check("plain", Ok("plain"));
    }

    #[test]
    fn a_value_stays_one_value_in_a_target() {
        let escaped = |name: &str, before: &str, value: &str| {
            let mut out = [before, value].concat().into_bytes();
            let good = escape_in_target(name, &mut out, before.len());
            good.then(|| String::from_utf8(out).unwrap()[before.len()..].to_owned())
        };
        for name in ["claims.sub", "request_id"] {
            let value = escaped(name, "/of/", "a?b&c#d/e%00 \u{e9}");
            assert_eq!(value.as_deref(), Some("a%3Fb%26c%23d%2Fe%2500%20%C3%A9"));
            assert_eq!(escaped(name, "/of/", "...").as_deref(), Some("..."));
            for climbing in [".", "..", "..;a", ".;"] {
                assert_eq!(escaped(name, "/of/", climbing), None, "{climbing}");
            }
        }
        assert_eq!(escaped("path", "", "/a&b;c+d").as_deref(), Some("/a&b;c+d"));
        assert_eq!(escaped("path", "/?p=", "/a&b;c+d=%26").as_deref(), Some("/a%26b%3Bc%2Bd=%26"));
        assert_eq!(escaped("query", "/?", "a=b&c=d").as_deref(), Some("a=b&c=d"));
    }

    #[test]
    fn a_dollar_may_stand_for_itself() {
        check("$5", Ok("$5"));
        check("a$", Ok("a$"));
        check("$${service}", Ok("${service}"));
        check("$$5 ${service}", Ok("$$5 users"));
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        check("${service", Err(TemplateError::Unclosed));
        check("${}", Err(TemplateError::BadName(String::new())));
        check("${HOME}", Err(TemplateError::BadName("HOME".into())));
        check("${a-b}", Err(TemplateError::BadName("a-b".into())));
        check("${1a}", Err(TemplateError::BadName("1a".into())));
        check("a\nb", Err(TemplateError::BadText));
    }

    #[test]
    fn a_value_cannot_break_out_of_its_field() {
        check("x ${evil}", Err(TemplateError::BadValue("evil".into())));
        check("x ${nobody}", Err(TemplateError::Missing("nobody".into())));
    }

    #[test]
    fn names_and_literals_are_told_apart() {
        let template = Template::parse("/${a}/${b}/${a}").unwrap();
        assert_eq!(template.names().collect::<Vec<_>>(), ["a", "b", "a"]);
        assert_eq!(template.as_literal(), None);
        assert_eq!(Template::parse("/x").unwrap().as_literal(), Some("/x"));
    }
}
