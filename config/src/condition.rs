//! What a route asks of a request: host, path, method, header fields, query and client address.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::address::Cidr;
use crate::findings::Findings;
use crate::text_or::TextOr;

/// Which requests a route takes: those that satisfy every condition. Without any, all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Matching {
    /// Host names in lower case without a port, exact or `*.example.com`; one must fit. Empty takes
    /// any.
    pub hosts: Vec<String>,
    /// What the normalised path must be.
    pub path: PathMatch,
    /// Methods in upper case; one must fit. Empty takes any.
    pub methods: Vec<String>,
    /// Tests on header fields, whose names are in lower case; all must hold.
    pub headers: Vec<ValueMatch>,
    /// Tests on query parameters; all must hold.
    pub query: Vec<ValueMatch>,
    /// Ranges of client addresses; one must fit. Empty takes any.
    pub clients: Vec<Cidr>,
    /// Ranks above everything else; the higher goes first. Default 0.
    pub priority: i32,
}

/// What the normalised path must be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum PathMatch {
    /// Anything.
    #[default]
    Any,
    /// Exactly this.
    Exact(String),
    /// This, or something below it: `/api` takes `/api` and `/api/x`, never `/apix`.
    Prefix(String),
    /// This pattern: `:name` is one non-empty segment, `*name` at the end is the rest, which may be
    /// empty.
    Pattern(String),
    /// This regular expression, which must match the whole path.
    Regex(String),
}

/// A test on a header field or on a query parameter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValueMatch {
    /// Its name; of a header field in lower case.
    pub name: String,
    /// What its value must be.
    pub test: ValueTest,
}

/// What a value must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ValueTest {
    /// Anything, as long as it is there.
    Present,
    /// Not there.
    Absent,
    /// Exactly this.
    Exact(String),
    /// Something that begins with this.
    Prefix(String),
    /// Something that matches this regular expression as a whole.
    Regex(String),
}

/// What a value must be: exactly one of these.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ValueTest")]
pub(crate) struct Test {
    /// Exactly this.
    exact: Option<String>,
    /// Something that begins with this.
    prefix: Option<String>,
    /// Something that matches this regular expression as a whole.
    regex: Option<String>,
    /// `true`: anything, as long as it is there. `false`: not there.
    present: Option<bool>,
}

/// What a value must be: the text itself, or one of the tests.
pub(crate) type ValueTestWritten = TextOr<Test>;

fn lower_test(written: ValueTestWritten, path: &str, findings: &mut Findings<'_>) -> ValueTest {
    let test = match written {
        TextOr::Text(text) => return ValueTest::Exact(text),
        TextOr::Other(test) => test,
    };
    let mut tests = [
        test.exact.map(ValueTest::Exact),
        test.prefix.map(ValueTest::Prefix),
        test.regex.map(ValueTest::Regex),
        test.present.map(|present| match present {
            true => ValueTest::Present,
            false => ValueTest::Absent,
        }),
    ]
    .into_iter()
    .flatten();
    let first = tests.next();
    if first.is_none() || tests.next().is_some() {
        findings.error(
            path,
            match first {
                None => "a test that tests nothing",
                Some(_) => "two tests contradict each other",
            },
            "write one of `exact`, `prefix`, `regex` and `present`",
        );
    }
    first.unwrap_or(ValueTest::Present)
}

/// A host that a route may ask for, in lower case.
///
/// # Errors
/// What to write instead.
pub(crate) fn host_pattern(text: &str) -> Result<String, &'static str> {
    let (wildcard, name) = match text.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", text),
    };
    if text == "*" {
        return Err("a route takes every host when `host` is left out");
    }
    if name.contains('*') {
        return Err("`*` stands only in front, for one or more labels: `*.example.com`");
    }
    if crate::address::split_port(name).1.is_some() {
        return Err("write the name without scheme and port: `api.example.com`");
    }
    if !name.is_ascii() {
        return Err("write the name as browsers send it, in punycode: `xn--…`");
    }
    let host = crate::address::host_name(name);
    let bracketed = name.starts_with('[');
    match host {
        Some(host) if bracketed && wildcard.is_empty() => Ok(format!("[{host}]")),
        Some(host) if !bracketed => Ok(format!("{wildcard}{host}")),
        _ => Err("write a name such as `api.example.com` or `*.example.com`"),
    }
}

/// Tests by name, as conditions.
pub(crate) fn value_matches(
    tests: IndexMap<String, ValueTestWritten>,
    path: &str,
    findings: &mut Findings<'_>,
) -> Vec<ValueMatch> {
    tests
        .into_iter()
        .map(|(name, test)| {
            let path = format!("{path}.{}", crate::reader::quote_key(&name));
            let test = lower_test(test, &path, findings);
            ValueMatch { name, test }
        })
        .collect()
}
