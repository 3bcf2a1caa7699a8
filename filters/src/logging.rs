//! Writes a line about every exchange: the access log.
//!
//! # Settings
//!
//! ```yaml
//! - logging:
//!     format: json                        # json, text (as web servers write it) or template
//!     output: {file: /var/log/ringway/access.log}  # or stdout, or {socket: /run/collector.sock}
//!     headers: {request: [X-Tenant], response: [X-Cache]}
//!     redact: {headers: [X-Api-Key], query: [token, signature]}
//!     sample: {2xx: 10, 404: 1}           # percent by status; what is not named is all logged
//!     slow: 500ms                         # a request that took so long is logged always
//! ```
//!
//! ```yaml
//! - logging:
//!     format: template
//!     template: '${time} ${client} "${method} ${path}" ${status} ${duration_ms}'
//! ```
//!
//! # Answers
//!
//! None: it sees every exchange when it is over, also one that no route took.
//!
//! # State
//!
//! Per core: a batch of lines, handed to the output's writer when it is full and every tenth of a
//! second. What the writer cannot keep up with is dropped, counted, and told in the log.

mod fields;
mod line;
mod redact;

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use indexmap::IndexMap;
use ringway_config::Period;
use ringway_engine::balance::Rng;
use ringway_engine::clock;
use ringway_engine::filter::{Blueprint, Core, Filter, SettingsError};
use ringway_engine::http1::write::is_token;
use ringway_engine::log::{Journal, Output};
use ringway_engine::record::Record;
use ringway_engine::shared::Shared;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{plan, wrong};
use line::{Line, Shape};

/// Tickets in the drum: shares are told apart down to a millionth of a percent.
const TICKETS: u64 = 100_000_000;

/// What is written of each exchange, where, and of which.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How a line is written.
    pub format: LineFormat,
    /// The line, when the format is `template`: text with the fields of the record as variables,
    /// such as `${status}`; `ringway check` names them all.
    pub template: Option<ringway_config::Template>,
    /// Where the lines go: `stdout`, `{file: PATH}` or `{socket: PATH}`. A file is appended to, and
    /// opened anew on SIGUSR1. A socket is a stream socket of the Unix domain.
    pub output: LogOutput,
    /// Headers that are logged beside the usual fields. With a template, its
    /// `${request_header_NAME}` and `${response_header_NAME}` are for that, the name in lower case
    /// and with `_` for `-`: `${request_header_x_tenant}`.
    pub headers: LoggedHeaders,
    /// What is not to be read in the log.
    pub redact: LogRedaction,
    /// How many of a hundred exchanges are logged, by status (`404`) or class of statuses (`2xx`);
    /// a status goes before its class. What is not named is all logged, and so is an exchange that
    /// was sent no status.
    pub sample: IndexMap<String, f64>,
    /// An exchange that took so long is logged whatever `sample` says.
    pub slow: Option<Period>,
}

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineFormat {
    /// A JSON object of the fields that have a value. `error` and `error_phase` tell what went
    /// wrong and at which step; of a request that a filter refused, the filter's name and `filter`.
    #[default]
    Json,
    /// The combined format of web servers, and behind it what a gateway adds as `name=value`.
    Text,
    /// What `template` says.
    Template,
}

/// Where the lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogOutput {
    /// Standard output.
    #[default]
    Stdout,
    /// The file of this path.
    File(String),
    /// The socket of this path.
    Socket(String),
}

/// Headers that are logged, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoggedHeaders {
    /// Of the request, as the client sent it.
    pub request: Vec<String>,
    /// Of the response, as the client sees it.
    pub response: Vec<String>,
}

/// What is replaced by `***`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogRedaction {
    /// Headers, beside `Authorization`, `Proxy-Authorization`, `Cookie` and `Set-Cookie`, which
    /// always are.
    pub headers: Vec<String>,
    /// Parameters of the query, in the target, in `Referer` and in every other header that is
    /// logged, also behind `;` and `#` and in brackets (`user[password]`). What is written here
    /// takes the place of the default; a parameter that `auth` takes credentials from belongs here.
    pub query: Vec<String>,
}

impl Default for LogRedaction {
    fn default() -> Self {
        let query = ["access_token", "api_key", "code", "password", "token"];
        LogRedaction { headers: Vec::new(), query: query.map(str::to_owned).into() }
    }
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        let sides = [
            ("headers.request", &self.headers.request),
            ("headers.response", &self.headers.response),
            ("redact.headers", &self.redact.headers),
        ];
        for (field, names) in sides {
            for (at, name) in names.iter().enumerate() {
                if !is_token(name.as_bytes()) {
                    let message = format!("`{name}` is no name of a header");
                    return Err(wrong(format!("{field}[{at}]"), message, "write a name alone"));
                }
            }
        }
        let output = self.output()?;
        let shape = Shape::build(self)?;
        Ok(plan(Plan { settings: self.clone(), output, shape, shares: self.shares()? }))
    }

    fn output(&self) -> Result<Output, SettingsError> {
        let check = |field: &str, path: &str| match path.starts_with('/') {
            true => Ok(PathBuf::from(path)),
            false => {
                let message = format!("`{path}` is not a path from the root");
                let help = "begin it with `/`: a service is not started in the folder of its file";
                Err(wrong(field, message, help))
            }
        };
        Ok(match &self.output {
            LogOutput::Stdout => Output::Stdout,
            LogOutput::File(path) => Output::File(check("output.file", path)?),
            LogOutput::Socket(path) => Output::Socket(check("output.socket", path)?),
        })
    }

    fn shares(&self) -> Result<Vec<Share>, SettingsError> {
        let mut shares = Vec::new();
        for (name, &percent) in &self.sample {
            let field = format!("sample.{name}");
            if !(0.0..=100.0).contains(&percent) {
                let message = format!("{percent} is no percentage");
                return Err(wrong(field, message, "write a number from 0 to 100"));
            }
            let Some((from, to)) = statuses(name) else {
                let message = format!("`{name}` is no status and no class of statuses");
                return Err(wrong(field, message, "write `404` or `4xx`"));
            };
            let tickets = (percent / 100.0 * TICKETS as f64) as u64;
            shares.push(Share { from, to, tickets });
        }
        // The narrower goes first.
        shares.sort_by_key(|share| share.to - share.from);
        Ok(shares)
    }
}

fn statuses(name: &str) -> Option<(u16, u16)> {
    if let Some(class) = name.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some((class * 100, class * 100 + 99));
    }
    let status = name.parse().ok().filter(|status| (100..=599).contains(status))?;
    Some((status, status))
}

/// How many of the exchanges with these statuses are logged.
#[derive(Clone, Copy)]
struct Share {
    from: u16,
    to: u16,
    /// Of [`TICKETS`].
    tickets: u64,
}

/// The settings once they are checked.
struct Plan {
    settings: Settings,
    output: Output,
    shape: Shape,
    shares: Vec<Share>,
}

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "logging"
    }

    fn summary(&self) -> String {
        let format = match self.settings.format {
            LineFormat::Json => "json",
            LineFormat::Text => "text",
            LineFormat::Template => "a template",
        };
        let sampled = if self.shares.is_empty() { "" } else { ", sampled" };
        format!("{format} to {}{sampled}", self.output)
    }

    /// A file is made when its first record comes, but not the folder that it is in. Who reads the
    /// log by a socket may come later.
    fn warnings(&self) -> Vec<SettingsError> {
        let Output::File(path) = &self.output else { return Vec::new() };
        let folder = path.parent().filter(|folder| !folder.is_dir());
        let missing = folder.map(|folder| {
            let message = format!("there is no folder `{}` for the log", folder.display());
            wrong("output.file", message, "make it, or nothing is logged; it may be made later")
        });
        missing.into_iter().collect()
    }

    fn instance(&self, core: &Rc<dyn Core>) -> Rc<dyn Filter> {
        Rc::new(Logging {
            shape: self.shape.clone(),
            shares: self.shares.clone(),
            slow: self.settings.slow.map(|slow| slow.0),
            journal: core.journal(&self.output),
            rng: RefCell::new(Rng::new(RandomState::new().hash_one(core.id()))),
        })
    }
}

/// One core's instance.
struct Logging {
    shape: Shape,
    shares: Vec<Share>,
    slow: Option<Duration>,
    journal: Rc<Journal>,
    rng: RefCell<Rng>,
}

impl Filter for Logging {
    fn on_end(&self, record: &Record<'_>) {
        if !self.wants(record) {
            return;
        }
        let now = clock::wall();
        let began = now.checked_sub(record.duration()).unwrap_or(now);
        let line = Line { record, began, shape: &self.shape };
        let notice = |out: &mut _, dropped| self.shape.notice(out, now, dropped);
        self.journal.write(|out| line.write(out), notice);
    }
}

impl Logging {
    fn wants(&self, record: &Record<'_>) -> bool {
        let its = |share: &&Share| (share.from..=share.to).contains(&record.status);
        let Some(share) = self.shares.iter().find(its) else { return true };
        self.slow.is_some_and(|slow| record.duration() >= slow)
            || self.rng.borrow_mut().below(TICKETS) < share.tickets
    }
}

#[cfg(test)]
mod tests;
