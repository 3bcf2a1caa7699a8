//! Lets only those pass who may: by their roles, by what their token claims, by name.
//!
//! # Settings
//!
//! ```yaml
//! - authorize:
//!     roles: [admin, editor]              # one of these
//!     roles_from: realm_access.roles      # the claim with the roles
//!     claims: {tenant: acme, plan: [gold, silver]}
//! ```
//!
//! It stands behind an `auth`, which tells who asks. Of `roles`, `claims` and `consumers` all that
//! are written must hold. Of `roles`, one has to be there, or each with `roles_match: all`; of
//! `claims`, each has to have one of its values, or only one of them with `claims_match: any`. A
//! claim that is a list holds when one of its entries does. Roles may also be one text with spaces
//! between them, as `scope` is (RFC 8693 §4.2).
//!
//! # Answers
//!
//! 403, with what is missing in a few words. So is a request of which nothing is known, on a path
//! that `auth` leaves alone: name it in `exclude_paths` here too if it shall pass.
//!
//! # State
//!
//! None.

use std::fmt::Write as _;
use std::rc::Rc;

use indexmap::IndexMap;
use ringway_engine::exchange::{Answer, Exchange, Identity};
use ringway_engine::filter::{Blueprint, Core, Filter, SettingsError, Step};
use ringway_engine::guard::{Asks, Guard, Term};
use ringway_engine::shared::Shared;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::excluded::Excluded;
use crate::values::OneOrMore;
use crate::{plan, wrong};

/// What is required of who asks. At least one of `roles`, `claims` and `consumers`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "authorize")]
pub struct Settings {
    /// Roles of which one must be there, or all.
    pub roles: Vec<String>,
    /// Whether one of the roles is enough or each is needed.
    pub roles_match: Match,
    /// The claim with the roles; `realm_access.roles` is what is inside of one.
    pub roles_from: String,
    /// Claims and the value, or one of the values, that each must have.
    pub claims: IndexMap<String, OneOrMore>,
    /// Whether one of the claims is enough or each is needed.
    pub claims_match: Match,
    /// The only ones who may pass: names of API keys or users, or `sub` of tokens.
    pub consumers: Vec<String>,
    /// Paths that anybody may ask for: each prefix takes itself and what is below it.
    pub exclude_paths: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            roles: Vec::new(),
            roles_match: Match::Any,
            roles_from: "roles".to_owned(),
            claims: IndexMap::new(),
            claims_match: Match::All,
            consumers: Vec::new(),
            exclude_paths: Vec::new(),
        }
    }
}

/// How many of several must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// One is enough.
    Any,
    /// Each is needed.
    All,
}

impl Match {
    fn holds<T>(self, mut list: impl Iterator<Item = T>, test: impl FnMut(T) -> bool) -> bool {
        match self {
            Match::Any => list.any(test),
            Match::All => list.all(test),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Match::Any => "or",
            Match::All => "and",
        }
    }
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        if self.roles.is_empty() && self.claims.is_empty() && self.consumers.is_empty() {
            let help = "write `roles: […]`, `claims: {…}` or `consumers: […]`";
            return Err(wrong("", "nothing is required", help));
        }
        if self.roles_from.is_empty() {
            let help = "write the claim with the roles, such as `realm_access.roles`";
            return Err(wrong("roles_from", "the claim has no name", help));
        }
        for (claim, OneOrMore(values)) in &self.claims {
            if values.is_empty() {
                let help = "write the value, or a list of those that are taken";
                let message = "no value is taken: nobody could pass";
                return Err(wrong(format!("claims.{claim}"), message, help));
            }
        }
        let excluded = Excluded::new("exclude_paths", &self.exclude_paths)?;
        Ok(plan(Plan { settings: self.clone(), excluded }))
    }
}

/// The settings once they are checked; every core's instance is a copy.
struct Plan {
    settings: Settings,
    excluded: Excluded,
}

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "authorize"
    }

    fn summary(&self) -> String {
        let Settings { roles, claims, consumers, .. } = &self.settings;
        let mut parts = Vec::new();
        if !roles.is_empty() {
            let between = format!(" {} ", self.settings.roles_match.word());
            parts.push(format!("role {}", roles.join(&between)));
        }
        if !claims.is_empty() {
            let between = format!(" {} ", self.settings.claims_match.word());
            let each = |(claim, values): (&String, &OneOrMore)| {
                format!("{claim} {}", values.0.join(" or "))
            };
            parts.push(claims.iter().map(each).collect::<Vec<_>>().join(&between));
        }
        if !consumers.is_empty() {
            parts.push(format!("consumer {}", consumers.join(" or ")));
        }
        if !self.excluded.is_empty() {
            parts.push(format!("except {}", self.excluded));
        }
        parts.join("; ")
    }

    fn instance(&self, _: &Rc<dyn Core>) -> Rc<dyn Filter> {
        let excluded = self.excluded.clone();
        Rc::new(Authorize { settings: self.settings.clone(), excluded })
    }

    fn guard(&self) -> Option<Guard> {
        let Settings { roles, claims, consumers, .. } = &self.settings;
        let asks = |of: Match| if of == Match::All { Asks::Each } else { Asks::One };
        let mut terms = vec![
            self.excluded.term("exclude_paths"),
            Term::words("roles", asks(self.settings.roles_match), roles),
            Term::words("consumers", Asks::One, consumers),
        ];
        let pairs = claims.iter().flat_map(|(claim, OneOrMore(values))| {
            values.iter().map(move |value| (claim.as_str(), value.as_str()))
        });
        match self.settings.claims_match {
            Match::Any => {
                let words = pairs.map(|(claim, value)| format!("{claim} {value}"));
                terms.push(Term::words("claims", Asks::One, words));
            }
            Match::All => terms.extend(claims.iter().map(|(claim, OneOrMore(values))| {
                Term::words(format!("claims.{claim}"), Asks::One, values)
            })),
        }
        Some(Guard { terms, ways: Vec::new() })
    }

    fn needs_identity(&self) -> Option<&'static str> {
        let Settings { roles, claims, .. } = &self.settings;
        Some(match (roles.is_empty(), claims.is_empty()) {
            (false, _) => "roles",
            (true, false) => "claims",
            (true, true) => "consumers",
        })
    }
}

/// One core's instance.
struct Authorize {
    settings: Settings,
    excluded: Excluded,
}

impl Filter for Authorize {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        if self.excluded.holds(&exchange.request.path) {
            return Step::NEXT;
        }
        let missing = match &exchange.identity {
            None => Some("nothing is known about who asks"),
            Some(identity) => self.missing(identity),
        };
        match missing {
            None => Step::NEXT,
            Some(reason) => Step::answer(Answer::message(403, reason)),
        }
    }
}

impl Authorize {
    /// What is not as required, in words that do not tell what would be.
    fn missing(&self, identity: &Identity) -> Option<&'static str> {
        let Settings { roles, claims, consumers, .. } = &self.settings;
        let of = identity.claim(&self.settings.roles_from);
        let has = |role: &String| of.is_some_and(|claim| has_role(claim, role));
        if !roles.is_empty() && !self.settings.roles_match.holds(roles.iter(), has) {
            return Some("a role is missing that this needs");
        }
        let says = |(claim, OneOrMore(values)): (&String, &OneOrMore)| {
            identity
                .claim(claim)
                .is_some_and(|claim| values.iter().any(|value| is_value(claim, value)))
        };
        if !claims.is_empty() && !self.settings.claims_match.holds(claims.iter(), says) {
            return Some("a claim is not as this needs it");
        }
        if !consumers.is_empty() && !consumers.contains(&identity.consumer) {
            return Some("this is for others");
        }
        None
    }
}

/// Whether the role is in a list, or in a text with spaces between.
fn has_role(claim: &Value, role: &str) -> bool {
    match claim {
        Value::String(roles) => roles.split(' ').any(|one| one == role),
        Value::Array(roles) => roles.iter().any(|one| one.as_str() == Some(role)),
        _ => false,
    }
}

/// Whether a claim has this value, or a list of them does.
fn is_value(claim: &Value, value: &str) -> bool {
    match claim {
        Value::String(text) => text == value,
        Value::Bool(truth) => *value == *if *truth { "true" } else { "false" },
        Value::Number(number) => is_number(number, value),
        Value::Array(list) => list.iter().any(|one| !one.is_array() && is_value(one, value)),
        Value::Null | Value::Object(_) => false,
    }
}

/// Whether a number is written like this, letter for letter.
fn is_number(number: &serde_json::Number, value: &str) -> bool {
    let mut rest = Rest(value);
    write!(rest, "{number}").is_ok() && rest.0.is_empty()
}

/// What is left of a text after what was written of it.
struct Rest<'a>(&'a str);

impl std::fmt::Write for Rest<'_> {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        self.0 = self.0.strip_prefix(part).ok_or(std::fmt::Error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ringway_engine::clock;
    use ringway_engine::filter::Verdict;
    use serde_json::json;

    use super::*;
    use crate::tests::{build, core, read, refused};

    /// The reason for which these claims are not enough, or nothing.
    fn reason(filter: &str, path: &str, claims: Option<Value>) -> String {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut exchange = Exchange::with_request(head.as_bytes(), clock::now()).unwrap();
        exchange.identity = claims.map(|claims| {
            let Value::Object(claims) = claims else { panic!("claims are an object") };
            let consumer = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
            Rc::new(Identity { consumer, claims })
        });
        let filter = build(&format!("- authorize: {filter}")).unwrap().instance(&core());
        match filter.on_request(&mut exchange) {
            Step::Now(Verdict::Continue) => String::new(),
            Step::Now(Verdict::Answer(answer)) => {
                assert_eq!(answer.status, 403);
                format!("{:?}", answer.body)
            }
            Step::Later(_) => panic!("there is nothing to wait for"),
        }
    }

    #[track_caller]
    fn passes(filter: &str, claims: Value) {
        assert_eq!(reason(filter, "/", Some(claims.clone())), "", "{filter} {claims}");
    }

    #[track_caller]
    fn stays_out(filter: &str, claims: Value, part: &str) {
        let reason = reason(filter, "/", Some(claims.clone()));
        assert!(reason.contains(part), "{filter} {claims}: {reason}");
    }

    #[test]
    fn roles_are_in_a_claim() {
        let any = "{roles: [admin, editor]}";
        passes(any, json!({"roles": ["user", "editor"]}));
        passes(any, json!({"roles": "user admin"}));
        for roles in [
            json!(["user"]),
            json!("administrator"),
            json!([["admin"]]),
            json!({}),
            json!(["Admin"]),
            json!(null),
            json!("admin,editor"),
            json!([]),
        ] {
            stays_out(any, json!({ "roles": roles }), "a role is missing");
        }
        stays_out(any, json!({}), "a role is missing");
        let all = "{roles: [a, b], roles_match: all, roles_from: realm.roles}";
        passes(all, json!({"realm": {"roles": ["b", "c", "a"]}}));
        stays_out(all, json!({"realm": {"roles": ["a"]}}), "a role is missing");
        stays_out(all, json!({"roles": ["a", "b"]}), "a role is missing");
    }

    #[test]
    fn claims_have_values() {
        let all = "{claims: {tenant: acme, level: [1, 2.5, true]}}";
        for level in [json!(1), json!(2.5), json!(true), json!("1"), json!([7, 1])] {
            passes(all, json!({"tenant": "acme", "level": level}));
        }
        for level in [json!(12), json!(0), json!(false), json!(null), json!([[1]]), json!("1 ")] {
            stays_out(all, json!({"tenant": "acme", "level": level}), "a claim is not");
        }
        stays_out(all, json!({"tenant": "other", "level": 1}), "a claim is not");
        let any = "{claims: {tenant: acme, level: 1}, claims_match: any}";
        passes(any, json!({"level": 1}));
        stays_out(any, json!({"level": 2}), "a claim is not");
    }

    #[test]
    fn consumers_have_names_and_all_kinds_must_hold() {
        passes("{consumers: [alice, bob]}", json!({"sub": "bob"}));
        stays_out("{consumers: [alice]}", json!({"sub": "bob"}), "for others");
        stays_out("{consumers: [alice]}", json!({}), "for others");
        let both = "{roles: [a], consumers: [alice]}";
        passes(both, json!({"sub": "alice", "roles": ["a"]}));
        stays_out(both, json!({"sub": "alice"}), "a role is missing");
        stays_out(both, json!({"sub": "bob", "roles": ["a"]}), "for others");
    }

    #[test]
    fn who_is_not_known_stays_out_but_for_excluded_paths() {
        let filter = "{roles: [a], exclude_paths: [/public]}";
        assert!(reason(filter, "/publicly", None).contains("nothing is known"));
        assert_eq!(reason(filter, "/public/a", None), "");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        refused("- authorize: {}", "authorize", "nothing is required");
        refused("- authorize: {claims: {a: []}}", "authorize.claims.a", "nobody could pass");
        refused("- authorize: {roles: [a], roles_from: \"\"}", "authorize.roles_from", "no name");
        refused("- authorize: {roles: [a], exclude_paths: [a]}", "authorize.exclude_paths[0]", "/");
        assert!(read("- authorize: {roles: [a], roles_match: one}").unwrap_err().contains("any"));
        assert!(read("- authorize: {claims: {a: {b: c}}}").unwrap_err().contains("a value"));
    }

    #[test]
    fn it_says_what_it_requires_and_that_it_has_to_know_who_asks() {
        let built = build("- authorize: {roles: [a, b], claims: {t: [x, y]}, consumers: [c]}");
        let built = built.unwrap();
        assert_eq!(built.summary(), "role a or b; t x or y; consumer c");
        assert_eq!(built.needs_identity(), Some("roles"));
    }
}
