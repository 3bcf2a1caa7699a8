//! Changes the path that the upstream sees, by regular expressions.
//!
//! # Settings
//!
//! ```yaml
//! - rewrite:
//!     rules:
//!       - {regex: "/blog/([0-9]{4})/(?<slug>[^/]+)", replacement: "/posts/${slug}?year=${1}"}
//!       - {regex: "/old(?<rest>/.*)", replacement: "/new${rest}"}
//! ```
//!
//! A rule is tried on the path that would be sent, after `strip_prefix` and the route's own
//! `rewrite`, and fits the whole of it, as the `regex` of a route does. The first rule that fits
//! makes the path anew; the rest are not tried, and a path that none fits stays.
//!
//! `replacement` takes the groups of its `regex` by name or number, and what the values of the
//! `headers` filter take: `${client_ip}`, parameters of the route, claims. The query is kept; a
//! `replacement` with a `?` has a query of its own instead, which can take the other in as
//! `${query}`. What comes out is brought into normal form like any path from a client: no dot
//! segment is left in it. A claim or `${request_id}` is escaped so that it is one value wherever it
//! stands; and in a query so is `&`, `+` or `;` of whatever else is not `${query}`.
//!
//! The route was found by the path before, and so were limits and rights that go by the route.
//!
//! # Answers
//!
//! 500 where a variable has no value, where a claim or id would be a dot segment, or where what
//! comes out is no path.
//!
//! # State
//!
//! None.

use std::cell::RefCell;
use std::rc::Rc;

use regex::bytes::{CaptureLocations, Regex, RegexBuilder};
use ringway_config::{EncodedSlash, PathPolicy, Template as Text};
use ringway_engine::exchange::{Answer, Exchange};
use ringway_engine::filter::{Blueprint, Core, Filter, SettingsError, Step};
use ringway_engine::route::path::{PathError, normalise};
use ringway_engine::shared::Shared;
use ringway_engine::template::{CLAIM, Template, escape_in_target};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{plan, wrong};

/// How paths are changed.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The rules, of which the first that fits is taken.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What the whole path looks like. Bytes in linear time: no look-around, no back-references.
    pub regex: String,
    /// The path to send instead, and the query if it has a `?`.
    pub replacement: Text,
}

impl Settings {
    /// Compiles the expressions and refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        if self.rules.is_empty() {
            let help = "add one: `- {regex: /old(.*), replacement: \"/new${1}\"}`";
            return Err(wrong("rules", "there is no rule", help));
        }
        let rules = self.rules.iter().enumerate();
        let rules = rules.map(|(at, rule)| rule.build(&format!("rules[{at}]")));
        Ok(plan(Plan(rules.collect::<Result<_, _>>()?)))
    }
}

impl Rule {
    fn build(&self, place: &str) -> Result<Compiled, SettingsError> {
        let compile = |text: &str| RegexBuilder::new(text).unicode(false).build();
        // Alone first: no unbalanced parenthesis closes the group around it.
        let regex = compile(&self.regex).and_then(|_| compile(&format!(r"\A(?:{})\z", self.regex)));
        let regex = regex.map_err(|error| {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default();
            let reason = reason.trim_start_matches("error: ");
            let message = format!("`{}` is no regular expression: {reason}", self.regex);
            wrong(format!("{place}.regex"), message, "write it as `/old/(?<rest>.*)`")
        })?;
        let text = &self.replacement.0;
        let field = format!("{place}.replacement");
        let path = text.split('?').next().unwrap_or_default();
        if !path.starts_with('/') && !path.starts_with("${") {
            let message = format!("`{text}` does not begin with `/`");
            return Err(wrong(field, message, &format!("write `/{text}`")));
        }
        if text.contains(|letter: char| matches!(letter, '#' | ' ' | '\\') || letter.is_control()) {
            let message = format!("`{}` is more than a path and a query", text.escape_debug());
            let help = "escape what a path cannot hold: `%20` for a blank, `%23` for `#`";
            return Err(wrong(field, message, help));
        }
        let after = text.split('$').skip(1);
        if after.into_iter().any(|rest| rest.starts_with(|next: char| next.is_ascii_digit())) {
            let message = "a group has its number in braces";
            return Err(wrong(field, message, "write `${1}` for `$1`"));
        }
        let replacement = Template::parse(text)
            .map_err(|error| wrong(&*field, error.to_string(), "write `${1}` for a group"))?;
        check_path(&replacement).map_err(|error| {
            let message = format!("`{text}` makes no path: {error}");
            wrong(&*field, message, "write `%25` for a percent sign")
        })?;
        let groups = regex.capture_names().enumerate().skip(1).map(|(number, name)| {
            (number, name.map_or_else(|| number.to_string(), str::to_owned).into())
        });
        let groups = groups.collect();
        Ok(Compiled { regex, groups, own_query: text.contains('?'), replacement })
    }
}

/// What is written of a path has to be one, whatever the variables in it are.
fn check_path(replacement: &Template) -> Result<(), PathError> {
    let mut path = b"/".to_vec();
    let filled = replacement.render(
        &|_, out| {
            out.push(b'x');
            true
        },
        &mut path,
    );
    filled.expect("invariant: every variable has this value");
    let policy = PathPolicy { merge_slashes: true, encoded_slash: EncodedSlash::Keep };
    normalise(&path, &policy, &mut Vec::new()).map(drop)
}

/// A rule, ready to be tried.
#[derive(Clone)]
struct Compiled {
    /// Fits whole paths.
    regex: Regex,
    /// The groups, each by its name or number.
    groups: Vec<(usize, Box<str>)>,
    replacement: Template,
    /// The replacement brings a query.
    own_query: bool,
}

/// The settings once they are checked; every core's instance is a copy.
struct Plan(Vec<Compiled>);

impl Plan {
    /// The variables that are no groups, each with its rule.
    fn variables(&self) -> impl Iterator<Item = (usize, &str)> {
        self.0.iter().enumerate().flat_map(|(at, rule)| {
            let group = |name: &str| rule.groups.iter().any(|(_, group)| **group == *name);
            rule.replacement.names().filter(move |name| !group(name)).map(move |name| (at, name))
        })
    }
}

/// The field of the replacement of a rule.
fn place_of(rule: usize) -> String {
    format!("rules[{rule}].replacement")
}

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "rewrite"
    }

    fn summary(&self) -> String {
        let rules = self.0.iter().map(|rule| {
            let whole = rule.regex.as_str();
            let text = whole.strip_prefix(r"\A(?:").and_then(|text| text.strip_suffix(r")\z"));
            text.unwrap_or(whole).to_owned()
        });
        rules.collect::<Vec<_>>().join(", ")
    }

    fn instance(&self, _: &Rc<dyn Core>) -> Rc<dyn Filter> {
        let rules = self.0.iter().map(|rule| {
            let found = RefCell::new(rule.regex.capture_locations());
            (rule.clone(), found)
        });
        Rc::new(Rewrite { rules: rules.collect(), target: RefCell::default() })
    }

    fn variables(&self) -> Vec<(String, String)> {
        let all = self.variables();
        all.map(|(at, name)| (place_of(at), name.to_owned())).collect()
    }

    fn groups(&self, field: &str) -> Option<Vec<String>> {
        let (_, rule) = self.0.iter().enumerate().find(|(at, _)| place_of(*at) == field)?;
        Some(rule.groups.iter().map(|(_, group)| group.to_string()).collect())
    }

    fn needs_identity(&self) -> Option<&'static str> {
        self.variables().any(|(_, name)| name.starts_with(CLAIM)).then_some("rules")
    }
}

/// One core's instance.
struct Rewrite {
    /// Each with the memory of its search.
    rules: Vec<(Compiled, RefCell<CaptureLocations>)>,
    /// The target at hand; its memory stays.
    target: RefCell<Vec<u8>>,
}

impl Filter for Rewrite {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let mut target = self.target.borrow_mut();
        target.clear();
        match self.rewrite(exchange, &mut target) {
            None => Step::NEXT,
            Some(true) if exchange.request.set_target(&target).is_ok() => Step::NEXT,
            Some(_) => Step::answer(Answer::message(500, "the path cannot be rewritten")),
        }
    }
}

impl Rewrite {
    /// Makes the target of the first rule that fits. `None` when none does, false when it cannot
    /// be made.
    fn rewrite(&self, exchange: &Exchange, target: &mut Vec<u8>) -> Option<bool> {
        let before = exchange.request.target();
        let end = before.iter().position(|&byte| byte == b'?').unwrap_or(before.len());
        let (path, query) = before.split_at(end);
        for (rule, found) in &self.rules {
            let mut found = found.borrow_mut();
            if rule.regex.captures_read(&mut found, path).is_none() {
                continue;
            }
            let value = |name: &str, out: &mut Vec<u8>| {
                let from = out.len();
                let Some((group, _)) = rule.groups.iter().find(|(_, group)| **group == *name)
                else {
                    return exchange.append_variable(name, out)
                        && escape_in_target(name, out, from);
                };
                // A group that took no part is empty.
                let (start, end) = found.get(*group).unwrap_or_default();
                out.extend_from_slice(&path[start..end]);
                // Whatever it is called, it is a piece of the path.
                escape_in_target("path", out, from)
            };
            let made = rule.replacement.render(&value, target).is_ok();
            if !rule.own_query {
                target.extend_from_slice(query);
            }
            return Some(made);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use ringway_engine::clock;
    use ringway_engine::exchange::Identity;
    use ringway_engine::filter::Verdict;

    use super::*;
    use crate::tests::{build, core, refused};

    const RULES: &str = r#"
- rewrite:
    rules:
      - {regex: "/blog/([0-9]{4})/(?<slug>[^/]+)", replacement: "/posts/${slug}?year=${1}&${query}"}
      - {regex: "/old(?<rest>/.*)?", replacement: "/new${rest}"}
      - {regex: "/join/(.*)_(.*)", replacement: "/${1}${2}"}
      - {regex: "/for/me", replacement: "/of/${client_ip}"}
      - {regex: "/claim", replacement: "/of/${claims.sub}"}
      - {regex: "/odata/(.*)", replacement: "/$batch/${1}"}
      - {regex: "/find/(.*)", replacement: "/find?for=${1}&as=${claims.sub}&host=${host}&${query}"}
      - {regex: "/id", replacement: "/ids/${request_id}"}
"#;

    /// What the upstream sees, or the status of the answer.
    fn sent(target: &str) -> String {
        sent_for(None, target)
    }

    /// The same where the client's token has this subject.
    fn sent_for(sub: Option<&str>, target: &str) -> String {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut exchange = Exchange::with_request(head.as_bytes(), clock::now()).unwrap();
        exchange.identity = sub.map(|sub| {
            let claims = [("sub".to_owned(), sub.into())].into_iter().collect();
            Rc::new(Identity { consumer: String::new(), claims })
        });
        exchange.request_id = b"../?id".to_vec();
        let filter = build(RULES).unwrap().instance(&core());
        match filter.on_request(&mut exchange) {
            Step::Now(Verdict::Answer(answer)) => return answer.status.to_string(),
            Step::Now(Verdict::Continue) => {}
            Step::Later(_) => panic!("it never waits"),
        }
        String::from_utf8(exchange.request.target().to_vec()).unwrap()
    }

    #[test]
    fn the_first_rule_that_fits_makes_the_path() {
        for (target, expected) in [
            ("/blog/2024/a-b?c=d", "/posts/a-b?year=2024&c=d"),
            ("/blog/2024/a/b", "/blog/2024/a/b"),
            ("/old/blog/2024/a?x", "/new/blog/2024/a?x"),
            ("/old", "/new"),
            ("/older", "/older"),
            ("/x/old/y", "/x/old/y"),
            ("/for/me?", "/of/0.0.0.0?"),
            ("/claim", "500"),
            ("/odata/1", "/$batch/1"),
        ] {
            assert_eq!(sent(target), expected, "{target}");
        }
    }

    /// HTTP_SAFETY rules 18 and 20: what comes out is a path in its one spelling, or refused.
    #[test]
    fn nothing_climbs_or_splits() {
        for (target, expected) in [
            ("/join/a/._./secret", "/secret"),
            ("/join/..%2_fetc", "500"),
            ("/join/a%_0d%0aX:%20b", "/a%0D%0AX:%20b"),
            ("/join/%_00", "500"),
            ("/join//_/evil.test", "/evil.test"),
            ("/join/%_zz", "500"),
        ] {
            assert_eq!(sent(target), expected, "{target}");
        }
    }

    #[test]
    fn a_value_stays_one_value() {
        let sub = |sub: &str| sent_for(Some(sub), "/claim");
        assert_eq!(sub("ann"), "/of/ann");
        assert_eq!(sub("a?b&c#d é"), "/of/a%3Fb%26c%23d%20%C3%A9");
        assert_eq!(sub("a%00"), "/of/a%2500");
        assert_eq!(sub("../admin"), "500", "an escaped slash is refused");
        assert_eq!(sub("..."), "/of/...");
        for climbing in [".", "..", "..;a", ".;"] {
            assert_eq!(sub(climbing), "500", "{climbing}");
        }
        let found = sent_for(Some("ann&role=admin"), "/find/a&as=bob+c;d=e?f=g&h");
        let expected = "/find?for=a%26as=bob%2Bc%3Bd=e&as=ann%26role%3Dadmin&host=a&f=g&h";
        assert_eq!(found, expected);
        assert_eq!(sent("/id"), "500", "an escaped slash is refused");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let rule = |regex: &str, replacement: &str| {
            let rule = format!("{{regex: \"{regex}\", replacement: \"{replacement}\"}}");
            format!("- rewrite: {{rules: [{rule}]}}")
        };
        refused("- rewrite: {rules: []}", "rewrite.rules", "no rule");
        refused(&rule("/(a", "/b"), "rewrite.rules[0].regex", "unclosed");
        refused(&rule("a)|(b", "/b"), "rewrite.rules[0].regex", "unopened");
        refused(&rule("/(?=a)", "/b"), "rewrite.rules[0].regex", "look-around");
        let replacement = "rewrite.rules[0].replacement";
        refused(&rule("/(a)", "/$1"), replacement, "`${1}`");
        refused(&rule("/a", "b"), replacement, "`/b`");
        refused(&rule("/a", "/b c"), replacement, "%20");
        refused(&rule("/a", "/b#c"), replacement, "%23");
        refused(&rule("/a", "/b\\r\\nc"), replacement, "more than a path");
        refused(&rule("/(a)", "/100%/${1}"), replacement, "%25");
        refused(&rule("/a", "/a%00"), replacement, "NUL");
        assert!(crate::tests::read("- rewrite: {rules: [{regex: /a}]}").is_err());
    }

    #[test]
    fn variables_that_are_no_groups_are_told() {
        let plan = build(RULES).unwrap();
        let all = plan.variables();
        let all: Vec<_> = all.iter().map(|(field, name)| (field.as_str(), name.as_str())).collect();
        let expected = [
            ("rules[0].replacement", "query"),
            ("rules[3].replacement", "client_ip"),
            ("rules[4].replacement", "claims.sub"),
            ("rules[6].replacement", "claims.sub"),
            ("rules[6].replacement", "host"),
            ("rules[6].replacement", "query"),
            ("rules[7].replacement", "request_id"),
        ];
        assert_eq!(all, expected);
        assert_eq!(plan.needs_identity(), Some("rules"));
        assert!(plan.summary().starts_with("/blog/([0-9]{4})/(?<slug>[^/]+), /old"));
    }
}
