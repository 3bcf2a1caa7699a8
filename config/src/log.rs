//! `log:`: what Ringway says about itself, on standard error.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What Ringway says about itself, on standard error. (What it says about requests is for filters.)
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least severe messages to show: `error`, `warn`, `info`, `debug` or `trace`. The
    /// environment variable `RINGWAY_LOG` overrides it; there, `trace,ureq=debug` would also show
    /// what a library says below `info`, which may hold secrets.
    pub level: Level,
    /// One line of `text` a message, or one `json` object.
    pub format: LogFormat,
}

/// The least severe messages to show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Only what needs somebody to act.
    Error,
    /// And what may soon.
    Warn,
    /// And what changed: start, reload, drain.
    #[default]
    Info,
    /// And what explains a decision.
    Debug,
    /// Everything that Ringway says.
    Trace,
}

impl Level {
    /// The name as it stands in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// How a message is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line, for programs.
    Json,
}
