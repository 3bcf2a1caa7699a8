//! The file of Ringway: text → [`Config`].

#![forbid(unsafe_code)]
#![warn(missing_docs)]

// In the order in which a text becomes a Config.
mod address;
mod check;
mod condition;
mod diagnostic;
mod document;
mod environment;
mod findings;
mod log;
mod path;
mod reader;
mod reference;
mod route;
mod schema;
mod secret;
mod sections;
mod server;
mod source;
mod template;
mod text_or;
mod units;
mod upstream;
mod workers;

use std::path::Path;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;

use findings::Findings;

pub use address::{Address, Cidr};
pub use condition::{Matching, PathMatch, ValueMatch, ValueTest};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use log::{Level, Log, LogFormat};
pub use reference::reference;
pub use route::{
    Action, Forward, HostHeader, Redirect, Respond, Rewrite, Route, RouteTimeouts, SplitArm,
    Upgrade,
};
pub use schema::schema;
pub use server::{Accept, EncodedSlash, Limits, PathPolicy, Server};
pub use source::Source;
pub use template::Template;
pub use units::{Bytes, Limit, Period, UnitError};
pub use upstream::{Balance, HashKey, Pool, Target, Upstream, UpstreamTimeouts};
pub use workers::{CoreList, Count, Driver, Workers};

/// A whole file, ready to be made into a snapshot. `F` is the settings of a filter.
#[derive(Clone, PartialEq, Debug)]
pub struct Config<F> {
    /// `workers:`.
    pub workers: Workers,
    /// `server:`.
    pub server: Server,
    /// `log:`.
    pub log: Log,
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

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a file. `env` gives the value of an environment variable.
///
/// # Errors
/// Everything that is wrong with the file, at once.
pub fn load<F: DeserializeOwned>(
    path: &Path,
    env: Environment<'_>,
) -> Result<Loaded<F>, Diagnostics> {
    let name = path.display().to_string();
    match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => load_str(&name, &text, env),
        Ok(Err(error)) => {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
            let message = format!("the file is not UTF-8 text: line {line} has other bytes");
            Err(unread(name, message, "save the file as UTF-8"))
        }
        Err(error) => Err(unread(
            name,
            format!("the file cannot be read: {error}"),
            "name another with `-c FILE`, or make it readable",
        )),
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
pub fn load_str<F: DeserializeOwned>(
    name: &str,
    text: &str,
    env: Environment<'_>,
) -> Result<Loaded<F>, Diagnostics> {
    let mut document = document::parse(text, env);
    let source = Source::new(name, text, &mut document);
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
