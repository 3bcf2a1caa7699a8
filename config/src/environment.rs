//! `${NAME}` and `${NAME:-default}` in values: the environment, put in while a file is read.
//!
//! It is put in after the text has been parsed, so that a value cannot add a field. Upper case
//! names the environment; `${lower_case}` and `${claims.Any-Name}` name request variables and are
//! left for templates; `$${` is a plain `${`.

use std::fmt;

use crate::Environment;
use crate::template::CLAIM;

/// A value that must not be shown, and what is shown in its place.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hidden {
    pub(crate) value: String,
    pub(crate) shown: String,
}

impl fmt::Debug for Hidden {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.shown)
    }
}

/// A value with the environment put in.
#[derive(Default)]
pub(crate) struct Resolved {
    /// What it says.
    pub(crate) text: String,
    /// What it says as a template, where that differs: `${` that came from the environment or from
    /// `$${` stays escaped there, so that it names no request variable.
    pub(crate) template: Option<String>,
    /// Whether a part came from the environment.
    pub(crate) from_env: bool,
    /// Whether a part came from the environment or from a default.
    pub(crate) substituted: bool,
    /// The first request variable in it, with its braces.
    pub(crate) variable: Option<String>,
}

/// Puts the environment into a value. What came from there is added to `hidden`.
///
/// # Errors
/// What is wrong with the value, and what to write instead.
pub(crate) fn resolve(
    raw: &str,
    env: Environment<'_>,
    hidden: &mut Vec<Hidden>,
) -> Result<Resolved, (String, String)> {
    if !raw.contains("${") {
        return Ok(Resolved { text: raw.to_owned(), ..Resolved::default() });
    }
    let mut resolved = Resolved::default();
    let mut template = String::new();
    let mut rest = raw;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            resolved.text.push_str(&rest[..at - 1]);
            resolved.text.push_str("${");
            template.push_str(&rest[..at + 2]);
            rest = &rest[at + 2..];
            continue;
        }
        resolved.text.push_str(&rest[..at]);
        template.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}').map(|end| at + end) else {
            return Err((
                "`${` without `}`".to_owned(),
                "close it, or write `$${` for a plain `${`".to_owned(),
            ));
        };
        let whole = &rest[at..=end];
        match Name::of(&rest[at + 2..end])? {
            Name::Variable => {
                resolved.variable.get_or_insert_with(|| whole.to_owned());
                resolved.text.push_str(whole);
                template.push_str(whole);
            }
            Name::Environment { name, default } => {
                let value = look_up(name, default, env)?;
                resolved.substituted = true;
                if value.1 {
                    resolved.from_env = true;
                    hidden.push(Hidden { value: value.0.clone(), shown: format!("${{{name}}}") });
                }
                template.push_str(&value.0.replace("${", "$${"));
                resolved.text.push_str(&value.0);
            }
        }
        rest = &rest[end + 1..];
    }
    resolved.text.push_str(rest);
    template.push_str(rest);
    if resolved.from_env && raw != resolved.text {
        hidden.push(Hidden { value: resolved.text.clone(), shown: raw.to_owned() });
    }
    resolved.template = (template != resolved.text).then_some(template);
    Ok(resolved)
}

/// The value of a variable, and whether it came from the environment.
fn look_up(
    name: &str,
    default: Option<&str>,
    env: Environment<'_>,
) -> Result<(String, bool), (String, String)> {
    match (env(name).filter(|value| default.is_none() || !value.is_empty()), default) {
        (Some(value), _) => Ok((value, true)),
        (None, Some(default)) => Ok((default.to_owned(), false)),
        (None, None) => Err((
            format!("the environment variable `{name}` is not set"),
            format!("set it, or write a default: `${{{name}:-…}}`"),
        )),
    }
}

/// What stands between the braces.
enum Name<'a> {
    Environment { name: &'a str, default: Option<&'a str> },
    Variable,
}

impl Name<'_> {
    fn of(inner: &str) -> Result<Name<'_>, (String, String)> {
        // A claim has the name that its issuer gave it, such as `https://issuer/Roles`.
        if let Some(claim) = inner.strip_prefix(CLAIM) {
            return match !claim.is_empty() && claim.bytes().all(|byte| byte.is_ascii_graphic()) {
                true => Ok(Name::Variable),
                false => Err((
                    format!("`${{{inner}}}` names no claim"),
                    "write the name of a claim, such as `${claims.sub}`".to_owned(),
                )),
            };
        }
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let upper = name.bytes().any(|byte| byte.is_ascii_uppercase());
        let lower = name.bytes().any(|byte| byte.is_ascii_lowercase());
        let begins_well = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        if !name.bytes().all(word) || name.is_empty() || (upper && (lower || !begins_well)) {
            let claim = ["claims:", "claim.", "claim:"].into_iter();
            let claim = claim.filter_map(|kind| inner.strip_prefix(kind)).find(|c| !c.is_empty());
            let help = match claim {
                Some(claim) => format!("write `${{{CLAIM}{claim}}}` for what a token claims"),
                None => "write `${UPPER_CASE}` for the environment, `${lower_case}` for a request \
                         variable, `$${` for a plain `${`"
                    .to_owned(),
            };
            return Err((format!("`${{{inner}}}` is no name"), help));
        }
        match default {
            _ if upper => Ok(Name::Environment { name, default }),
            None => Ok(Name::Variable),
            Some(_) => Err((
                format!("the request variable `${{{name}}}` cannot have a default"),
                format!("write `${{{name}}}`, or an environment variable in upper case"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::resolve;

    fn env(name: &str) -> Option<String> {
        match name {
            "WORD" => Some("swordfish".to_owned()),
            "SNEAKY" => Some("${service}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[track_caller]
    fn check(raw: &str, text: &str, template: &str) {
        let resolved = resolve(raw, &env, &mut Vec::new()).expect("a value");
        assert_eq!(resolved.text, text);
        assert_eq!(resolved.template.as_deref().unwrap_or(text), template);
    }

    #[test]
    fn upper_case_is_the_environment_and_lower_case_is_left() {
        check("a", "a", "a");
        check("$5 {a} $", "$5 {a} $", "$5 {a} $");
        check("${WORD}", "swordfish", "swordfish");
        check("<${WORD}/${WORD}>", "<swordfish/swordfish>", "<swordfish/swordfish>");
        check("${UNSET:-a:-b}", "a:-b", "a:-b");
        check("${EMPTY:-a}", "a", "a");
        check("${EMPTY}", "", "");
        check(
            "/${service}/${1}/${WORD}",
            "/${service}/${1}/swordfish",
            "/${service}/${1}/swordfish",
        );
    }

    #[test]
    fn neither_an_escape_nor_the_environment_names_a_request_variable() {
        check("$${service}", "${service}", "$${service}");
        check("${SNEAKY}", "${service}", "$${service}");
    }

    #[test]
    fn only_a_request_variable_that_is_written_is_one() {
        let variable = |raw| resolve(raw, &env, &mut Vec::new()).expect("a value").variable;
        assert_eq!(variable("${SNEAKY} $${a}"), None);
        assert_eq!(variable("${a} ${b}").as_deref(), Some("${a}"));
    }

    #[test]
    fn a_claim_may_have_any_name() {
        for raw in ["${claims.sub}", "${claims.X-Role}", "${claims.https://id.test/Roles:-a}"] {
            check(raw, raw, raw);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for raw in [
            "${claims.}",
            "${claims.a b}",
            "${claim.a}",
            "${",
            "${}",
            "${a",
            "${Word}",
            "${a-b}",
            "${1A}",
            "${a:-b}",
            "${UNSET}",
        ] {
            assert!(resolve(raw, &env, &mut Vec::new()).is_err(), "{raw}");
        }
    }

    #[test]
    fn what_came_from_the_environment_is_noted_alone_and_in_its_value() {
        let mut hidden = Vec::new();
        resolve("a${WORD}", &env, &mut hidden).expect("a value");
        let noted: Vec<_> = hidden.iter().map(|hidden| (&*hidden.value, &*hidden.shown)).collect();
        assert_eq!(noted, [("swordfish", "${WORD}"), ("aswordfish", "a${WORD}")]);
    }
}
