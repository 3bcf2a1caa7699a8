//! Who asks, as an `auth` filter found out.

use std::io::Write as _;

use serde_json::Value;

/// Who asks, as an `auth` filter found out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Identity {
    /// The name under which limits and logs know the client: the consumer of an API key, the user
    /// of a password, the `sub` of a token.
    pub consumer: String,
    /// What a token claims; empty for other credentials.
    pub claims: serde_json::Map<String, Value>,
}

impl Identity {
    /// The claim of this name, or what is inside of claims: `realm_access.roles`.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        claim_of(&self.claims, name)
    }

    /// Appends a claim as text: a string as it is, a number or a truth as JSON writes it, a list
    /// with commas. False when there is none, or it is none of these, or it would be read as
    /// something else: an entry of a list with a comma in it as two, and a string with white space
    /// around it as the one without (RFC 9110 §5.5), which may be somebody else, or a role.
    pub fn append_claim(&self, name: &str, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        let appended = self.claim(name).is_some_and(|claim| append_json(claim, out));
        if !appended {
            out.truncate(before);
        }
        appended
    }
}

/// The claim of this name among these, or what is inside of one.
pub fn claim_of<'c>(claims: &'c serde_json::Map<String, Value>, name: &str) -> Option<&'c Value> {
    if let Some(claim) = claims.get(name) {
        return Some(claim);
    }
    let (outer, inner) = name.split_once('.')?;
    inner.split('.').try_fold(claims.get(outer)?, |claim, step| claim.get(step))
}

fn append_json(value: &Value, out: &mut Vec<u8>) -> bool {
    match value {
        Value::String(text) if text.trim_matches([' ', '\t']) != text => return false,
        Value::String(text) => out.extend_from_slice(text.as_bytes()),
        // Writing into a vector cannot fail.
        Value::Number(number) => drop(write!(out, "{number}")),
        Value::Bool(truth) => drop(write!(out, "{truth}")),
        Value::Array(list) => {
            for (at, item) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                let from = out.len();
                if item.is_array() || !append_json(item, out) || out[from..].contains(&b',') {
                    return false;
                }
            }
        }
        Value::Null | Value::Object(_) => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_may_be_inside_of_another() {
        let claims = serde_json::json!({
            "realm": {"roles": ["a", "b"]}, "a.b": 1, "a": {"b": 2}, "name": "Doe, Jane",
            "groups": ["guests", "staff,admin"], "sub": " admin", "roles": ["guest", "admin\t"],
        });
        let Value::Object(claims) = claims else { panic!("it is written as an object") };
        let who = Identity { consumer: String::new(), claims };
        let text = |name: &str| {
            let mut out = Vec::new();
            who.append_claim(name, &mut out).then(|| String::from_utf8(out).unwrap())
        };
        assert_eq!(text("realm.roles").as_deref(), Some("a,b"));
        assert_eq!(text("a.b").as_deref(), Some("1"), "a whole name goes before its parts");
        assert_eq!(text("name").as_deref(), Some("Doe, Jane"), "a text is one value anyway");
        assert_eq!(text("groups"), None, "nobody becomes admin by the name of a group");
        assert_eq!((text("sub"), text("roles")), (None, None), "nor by white space around it");
        assert_eq!(text("realm"), None);
        assert_eq!(text("realm.users"), None);
        assert_eq!(text("realm.roles.0"), None);
    }
}
