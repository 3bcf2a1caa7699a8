//! Filters for tests: the crate itself knows none.

#![allow(dead_code, reason = "each test uses some of it")]

use indexmap::IndexMap;
use ringway_config::{Diagnostics, Loaded, Period};
use schemars::JsonSchema;
use serde::Deserialize;

/// Two filters as the gateway has them, and one without settings.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a test has few of them")]
pub(crate) enum ToyFilter {
    /// Changes header fields.
    Headers(ToyHeaders),
    /// Answers late or not at all, on purpose.
    Fault(ToyFault),
    /// Does nothing.
    Idle,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ToyHeaders {
    /// Of the request.
    pub(crate) request: ToyEdits,
    /// Of the response.
    pub(crate) response: ToyEdits,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ToyEdits {
    /// Set.
    pub(crate) set: IndexMap<String, String>,
    /// Added.
    pub(crate) add: IndexMap<String, String>,
    /// Removed.
    pub(crate) remove: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ToyFault {
    /// Waits.
    pub(crate) delay: Option<ToyDelay>,
    /// Answers.
    pub(crate) abort: Option<ToyAbort>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToyDelay {
    /// How long.
    pub(crate) time: Period,
    /// How often.
    pub(crate) percent: f64,
}

#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToyAbort {
    /// With which status.
    pub(crate) status: u16,
    /// How often.
    pub(crate) percent: f64,
}

/// The environment of the tests.
pub(crate) fn env(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("9090".to_owned()),
        "JWT_SECRET" => Some("correct-horse-battery-staple".to_owned()),
        "ADMIN_TOKEN" => Some("correct-horse-battery-staple".to_owned()),
        "WORD" => Some("swordfish".to_owned()),
        "EMPTY" => Some(String::new()),
        "LINES" => Some("a\nb".to_owned()),
        _ => None,
    }
}

/// Reads a text with these filters and this environment.
pub(crate) fn load(text: &str) -> Result<Loaded<ToyFilter>, Diagnostics> {
    ringway_config::load_str("gateway.yaml", text, &env)
}
