//! Text with request variables in it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Text in which `${lower_case}` names a request variable: a parameter of the route's `pattern`, or
/// a capture of its `regex` by name or number, or one that every request has: `${client_ip}`,
/// `${host}` (with its port if the client sent one), `${path}` and `${query}` (without its `?`) as
/// the routes see them, `${request_id}`, `${route}` (its name). Filters behind an `auth` also have
/// `${claims.NAME}`, what the client's token says.
///
/// `${UPPER_CASE}` is the environment and has been put in when the file was read; `$${` is a plain
/// `${` and is left for whoever fills the template in.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename = "Template")]
pub struct Template(pub String);

impl JsonSchema for Template {
    fn schema_name() -> Cow<'static, str> {
        "template".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "template" })
    }
}

/// What the name of a variable begins with that is a claim of the client's token.
pub(crate) const CLAIM: &str = "claims.";

/// The request variables in a template, in their order, without braces.
pub(crate) fn variables(template: &str) -> impl Iterator<Item = &str> {
    let mut rest = template;
    std::iter::from_fn(move || {
        loop {
            let at = rest.find("${")?;
            let escaped = rest[..at].ends_with('$');
            let inner = &rest[at + 2..];
            let end = inner.find('}')?;
            rest = if escaped { inner } else { &inner[end + 1..] };
            if !escaped {
                return Some(&inner[..end]);
            }
        }
    })
}
