//! The file of Ringway: text → [`Config`].
//!
//! A text is taken apart into a tree of nodes with their places (`document`), with the
//! environment put in (`environment`). Each section is read from its node by itself (`sections`,
//! `reader`), into the written form of its settings, and lowered to what is needed of them
//! (`server`, `upstream`, `route` …). Then the rules across sections are checked (`check`).
//! Whatever is wrong on the way is a [`Diagnostic`] with its place, and all of them are shown at
//! once.
//!
//! *Architecture invariant*: this crate knows no engine, no filter and no socket. It is generic in
//! the settings of a filter and in nothing else.
//!
//! ```
//! #[derive(serde::Deserialize)]
//! #[serde(rename_all = "snake_case")]
//! enum Filter {
//!     Delay(String),
//! }
//!
//! let text = "
//! routes:
//!   - name: everything
//!     prefx: /
//!     targets: [{addr: \"http://127.0.0.1:8081\"}]
//!     filters:
//!       - dely: 5s
//! ";
//! let errors = ringway_config::load_str::<Filter>("ringway.yaml", text, &|_| None).err();
//! let errors = errors.map(|errors| errors.0).unwrap_or_default();
//! let helps: Vec<_> = errors.iter().filter_map(|error| error.help.as_deref()).collect();
//! assert_eq!(helps, ["did you mean `prefix`?", "did you mean `delay`?"]);
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

// From text to nodes.
mod document;
mod environment;

// From nodes to what is written in them.
mod reader;
mod sections;
mod text_or;

// What is written in each section, and what is needed of it.
mod admin;
mod health;
mod log;
mod reload;
mod route;
mod server;
mod upstream;
mod workers;

// What settings are made of.
mod address;
mod condition;
mod path;
mod template;
mod units;
mod variable;

// What is wrong, and how it is shown.
mod check;
mod diagnostic;
mod findings;
mod secret;
mod source;
mod fields;
mod written;

// What is said about the format itself.
mod reference;
mod schema;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;

use findings::Findings;

pub use address::{Address, Cidr};
pub use admin::Admin;
pub use check::unknown_upstream;
pub use condition::{Matching, PathMatch, ValueMatch, ValueTest};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use fields::Field;
pub use health::{Health, HealthCheck, HttpProbe, OutlierDetection, Probe, StatusRange};
pub use log::{Level, Log, LogFormat};
pub use reference::reference;
pub use reload::Reload;
pub use route::{
    Action, Forward, HostHeader, Redirect, Respond, Rewrite, Route, RouteTimeouts, SplitArm,
    Upgrade,
};
pub use schema::schema;
pub use secret::{Secret, looks_secret};
pub use server::{Accept, EncodedSlash, Limits, PathPolicy, Server};
pub use source::Source;
pub use template::Template;
pub use text_or::TextOr;
pub use units::{Bytes, Limit, Period, UnitError};
pub use upstream::{Balance, HashKey, Pool, Target, Upstream, UpstreamTimeouts};
pub use variable::unknown_variable;
pub use workers::{CoreList, Count, Driver, Workers};
pub use written::Written;

/// A whole file, ready to be made into a snapshot. `F` is the settings of a filter.
#[derive(Clone, PartialEq, Debug)]
pub struct Config<F> {
    /// `workers:`.
    pub workers: Workers,
    /// `server:`.
    pub server: Server,
    /// `log:`.
    pub log: Log,
    /// `reload:`.
    pub reload: Reload,
    /// `admin:`, if the file has it.
    pub admin: Option<Admin>,
    /// `upstreams:`, by name, in the order of the file.
    pub upstreams: IndexMap<String, Upstream>,
    /// `routes:`, in the order of the file.
    pub routes: Vec<Route<F>>,
    /// `global_filters:`, which every request passes before those of its route.
    pub global_filters: Vec<F>,
}

impl<F> Default for Config<F> {
    fn default() -> Config<F> {
        Config {
            workers: Workers::default(),
            server: Server::default(),
            log: Log::default(),
            reload: Reload::default(),
            admin: None,
            upstreams: IndexMap::new(),
            routes: Vec::new(),
            global_filters: Vec::new(),
        }
    }
}

/// A file that could be read.
#[derive(Debug)]
pub struct Loaded<F> {
    /// What it says.
    pub config: Config<F>,
    /// What deserves attention in it.
    pub warnings: Diagnostics,
    /// Where everything stands in it.
    pub source: Source,
}

/// Looks up an environment variable. A large file is read by several threads.
pub type Environment<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// Reads a file. `env` gives the value of an environment variable.
///
/// # Errors
/// Everything that is wrong with the file, at once.
pub fn load<F: DeserializeOwned + Send>(
    path: &Path,
    env: Environment<'_>,
) -> Result<Loaded<F>, Diagnostics> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    // One byte more than is allowed is enough to see that it is too many.
    let bound = document::MAX_TEXT as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(bound).read_to_end(&mut bytes));
    if let Err(error) = read {
        let help = "name another with `-c FILE`, or make it readable";
        return Err(unread(name, format!("the file cannot be read: {error}"), help));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => load_str(&name, text, env),
        // The bound may have cut a letter in two.
        Err(_) if bytes.len() > document::MAX_TEXT => {
            load_str(&name, &" ".repeat(bytes.len()), env)
        }
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let message = format!("the file is not UTF-8 text: line {line} has other bytes");
            Err(unread(name, message, "save the file as UTF-8"))
        }
    }
}

fn unread(name: String, message: String, help: &str) -> Diagnostics {
    let source = Source::unread(name);
    Diagnostics(vec![source.diagnose("", message, Some(help.to_owned()))])
}

/// Reads the text of a file that diagnostics shall call `name`. `env` gives the value of an
/// environment variable.
///
/// # Errors
/// Everything that is wrong with the text, at once.
pub fn load_str<F: DeserializeOwned + Send>(
    name: &str,
    text: &str,
    env: Environment<'_>,
) -> Result<Loaded<F>, Diagnostics> {
    let mut document = document::parse(text, env);
    // Of a text that is too large nothing has been read, and nothing is shown.
    let shown = if text.len() > document::MAX_TEXT { "" } else { text };
    let source = Source::new(name, shown, &mut document);
    let mut findings = Findings::new(&source);
    for fault in document.faults {
        let path = source.path_of(&fault.place);
        findings.errors.push(source.at(Some(fault.place), &path, fault.message, fault.help));
    }
    let config = match document.whole {
        true => Some(sections::read(document.root.as_deref(), &source, &mut findings)),
        false => None,
    };
    let mut errors = Diagnostics(findings.errors);
    let mut warnings = Diagnostics(findings.warnings);
    errors.sort();
    warnings.sort();
    match config {
        Some(config) if errors.is_empty() => Ok(Loaded { config, warnings, source }),
        _ => Err(errors),
    }
}
