//! A route: its conditions, what it does, and what templates it has.

use super::upstream::check_weight;
use super::value::{check_cookie_name, check_field_name, check_field_value, compile, is_token};
use crate::condition::{Matching, PathMatch, ValueMatch, ValueTest};
use crate::findings::Findings;
use crate::path;
use crate::reader::{one_of, quote_key};
use crate::route::{Action, Forward, Redirect, Respond, Route, SplitArm};
use crate::template;
use crate::variable::unknown_variable;

/// Fields that frame a message or belong to one connection: Ringway writes them itself
/// (HTTP_SAFETY rules 1 and 14).
pub(super) const OWN_FIELDS: [&str; 9] = [
    "connection",
    "content-length",
    "date",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The statuses of a redirection (RFC 9110 §15.4).
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// The most hash lookups and comparisons that one path costs are bounded by the pattern's length.
const MAX_PATH: usize = 8192;

pub(crate) fn check<F>(route: &Route<F>, path: &str, findings: &mut Findings<'_>) {
    let variables = check_matching(&route.matching, path, findings);
    match &route.action {
        Action::Forward(Forward::Upstream(name)) => {
            check_template(name, &variables, format!("{path}.upstream"), findings);
        }
        Action::Forward(Forward::Targets(upstream)) => {
            super::upstream::check(upstream, path, findings);
        }
        Action::Forward(Forward::Split(arms)) => check_split(arms, path, findings),
        Action::Respond(respond) => check_respond(respond, path, findings),
        Action::Redirect(redirect) => check_redirect(redirect, &variables, path, findings),
    }
    if let Some(rewrite) = &route.rewrite.path {
        let path = format!("{path}.rewrite.path");
        check_template(rewrite, &variables, path.clone(), findings);
        if !rewrite.starts_with('/') && !rewrite.starts_with("${") {
            let help = format!("write `/{rewrite}`");
            findings.error(&path, format!("`{rewrite}` does not begin with `/`"), help);
        } else if rewrite.contains(['?', '#', ' ', '\\']) {
            let help = "write the path alone: the query stays as it is";
            findings.error(&path, format!("`{rewrite}` is more than a path"), help);
        }
    }
    let timeouts = &route.timeouts;
    let periods = [
        ("connect", timeouts.connect),
        ("first_byte", timeouts.first_byte),
        ("idle", timeouts.idle),
        ("read", timeouts.read),
        ("write", timeouts.write),
        ("tunnel", Some(timeouts.tunnel)),
    ];
    for (field, period) in periods {
        if let Some(period) = period {
            super::check_period(period, format!("{path}.timeouts.{field}"), findings);
        }
    }
}

/// Checks the conditions, and gives the variables that a match has.
fn check_matching(matching: &Matching, path: &str, findings: &mut Findings<'_>) -> Vec<String> {
    for (index, method) in matching.methods.iter().enumerate() {
        check_method(method, format!("{path}.methods[{index}]"), findings);
    }
    for header in &matching.headers {
        let path = place_of(&header.name, &format!("{path}.headers"));
        check_field_name(&header.name, &path, findings);
        check_test(header, &path, findings);
    }
    for parameter in &matching.query {
        check_test(parameter, &place_of(&parameter.name, &format!("{path}.query")), findings);
    }
    let (field, checked) = match &matching.path {
        PathMatch::Any => return Vec::new(),
        PathMatch::Exact(text) => ("path", check_plain(text).map(|()| Vec::new())),
        PathMatch::Prefix(text) => ("prefix", check_plain(text).map(|()| Vec::new())),
        PathMatch::Pattern(text) => (
            "pattern",
            path::parameters(text).map(|names| names.into_iter().map(str::to_owned).collect()),
        ),
        PathMatch::Regex(text) => {
            return compile(text, &format!("{path}.regex"), findings)
                .map(|regex| {
                    let names = regex.capture_names().enumerate().skip(1);
                    let called = |(index, name): (usize, Option<&str>)| match name {
                        Some(name) => name.to_owned(),
                        None => index.to_string(),
                    };
                    names.map(called).collect()
                })
                .unwrap_or_default();
        }
    };
    checked.unwrap_or_else(|(message, help)| {
        findings.error(format!("{path}.{field}"), message, help);
        Vec::new()
    })
}

/// A path without parameters; what looks like one was probably meant for `pattern`.
fn check_plain(text: &str) -> Result<(), path::Wrong> {
    path::check(text)?;
    if text.len() > MAX_PATH {
        let message = format!("a path of {} bytes", text.len());
        return Err((message, format!("write at most {MAX_PATH} bytes")));
    }
    if text.ends_with("/*") {
        return Err((
            format!("`*` has no meaning in `{text}`"),
            format!("write `prefix: {}`", text.trim_end_matches("/*")),
        ));
    }
    if text.split('/').any(|segment| segment.starts_with([':', '*']) && segment.len() > 1) {
        return Err((
            format!("`{text}` has parameters, which are plain text here"),
            format!("write `pattern: {text}`"),
        ));
    }
    Ok(())
}

fn check_method(method: &str, path: String, findings: &mut Findings<'_>) {
    if method == "CONNECT" {
        findings.error(
            path,
            "no route gets `CONNECT`: Ringway is no forward proxy and answers 405",
            "remove it",
        );
    } else if !is_token(method) {
        let help = "write a method such as `GET`; for any, leave `methods` out";
        findings.error(path, format!("`{}` is not a method", method.escape_debug()), help);
    } else if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
        findings.error(
            path,
            format!("`{method}` never fits: methods are compared with regard to case"),
            format!("write `{}`", method.to_ascii_uppercase()),
        );
    }
}

/// The field path of a test; the file may have the name in another case.
fn place_of(name: &str, path: &str) -> String {
    format!("{path}.{}", quote_key(name))
}

fn check_test(value: &ValueMatch, path: &str, findings: &mut Findings<'_>) {
    if let ValueTest::Regex(text) = &value.test {
        compile(text, &format!("{path}.regex"), findings);
    }
}

/// A template may use what the path of the route gives, and what every request has.
fn check_template(text: &str, variables: &[String], path: String, findings: &mut Findings<'_>) {
    if text.contains(char::is_control) {
        findings.error(
            &path,
            "a template with a line break or another control character",
            "write it in one line",
        );
    }
    for variable in template::variables(text) {
        if let Some((message, help)) = unknown_variable(variable, Some(variables), None) {
            findings.error(&path, message, help);
        }
    }
}

fn check_split(arms: &[SplitArm], path: &str, findings: &mut Findings<'_>) {
    if arms.is_empty() {
        findings.error(
            format!("{path}.split"),
            "a split over nothing",
            "add at least one arm: `- {upstream: NAME, weight: 1}`",
        );
    } else if arms.iter().all(|arm| arm.weight == 0) {
        findings.error(
            format!("{path}.split"),
            "every arm has the weight 0: a request that none claims has nowhere to go",
            "give at least one arm a weight of 1 or more",
        );
    }
    for (index, arm) in arms.iter().enumerate() {
        let path = format!("{path}.split[{index}]");
        if arm.weight == 0 && arm.header.is_none() && arm.cookie.is_none() {
            findings.warn(
                format!("{path}.weight"),
                format!(
                    "no request goes to `{}`: the weight is 0, and it claims none",
                    arm.upstream
                ),
                "raise the weight, or add a `header` or a `cookie` that claims requests",
            );
        }
        check_weight(arm.weight, format!("{path}.weight"), findings);
        if let Some((name, value)) = &arm.header {
            check_field_name(name, &format!("{path}.header"), findings);
            check_field_value(value, &format!("{path}.header"), findings);
        }
        if let Some((name, value)) = &arm.cookie {
            check_cookie_name(name, &format!("{path}.cookie"), findings);
            check_field_value(value, &format!("{path}.cookie"), findings);
        }
        if template::variables(&arm.upstream).next().is_some() {
            findings.error(
                format!("{path}.upstream"),
                "an arm of a split cannot be a template",
                "write the name of the upstream",
            );
        }
    }
}

fn check_respond(respond: &Respond, path: &str, findings: &mut Findings<'_>) {
    let path = format!("{path}.respond");
    if !(200..=599).contains(&respond.status) {
        findings.error(
            format!("{path}.status"),
            format!("`{}` is not the status of an answer", respond.status),
            "write a number from 200 to 599",
        );
    }
    // RFC 9110 §15.3.5, §15.3.6 and §15.4.5.
    if matches!(respond.status, 204 | 205 | 304) && !respond.body.is_empty() {
        findings.error(
            format!("{path}.body"),
            format!("an answer with the status `{}` has no body", respond.status),
            "remove the body, or write another status",
        );
    }
    for (name, value) in &respond.headers {
        let path = place_of(name, &format!("{path}.headers"));
        if !check_field_name(name, &path, findings) {
            continue;
        }
        check_field_value(value, &path, findings);
        if OWN_FIELDS.contains(&name.as_str()) || name.starts_with("proxy-") {
            findings.error(path, format!("Ringway writes `{name}` itself"), "remove it");
        }
    }
}

fn check_redirect(
    redirect: &Redirect,
    variables: &[String],
    path: &str,
    findings: &mut Findings<'_>,
) {
    let path = format!("{path}.redirect");
    if !REDIRECTS.contains(&redirect.status) {
        findings.error(
            format!("{path}.status"),
            format!("`{}` is not the status of a redirection", redirect.status),
            format!("write {}", one_of(&REDIRECTS.map(|status| status.to_string()), "or")),
        );
    }
    check_template(&redirect.to, variables, format!("{path}.to"), findings);
    let begins = ["/", "http://", "https://", "${"];
    if !begins.iter().any(|begin| redirect.to.starts_with(begin)) {
        findings.error(
            format!("{path}.to"),
            format!("`{}` is neither a path nor a URL", redirect.to),
            format!("write `/{0}` or `https://{0}`", redirect.to),
        );
    }
}
