//! The command line of Ringway: one file a subcommand, in the order a newcomer meets them.
//!
//! Everything that serves traffic lives in `ringway-engine`; this package reads arguments, prints
//! answers and picks the exit code.

#![forbid(unsafe_code)]

mod bench;
mod check;
mod demo;
mod diff;
mod doctor;
mod explain;
mod file;
mod hash_key;
mod loader;
mod logging;
mod paint;
mod reload;
mod run;
mod schema;
mod top;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What the process tells its caller, the same for every subcommand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done as asked.
    Done = 0,
    /// The answer is no: the file has errors, the machine could not serve, a port is taken.
    Failed = 1,
    /// The command line was not understood; clap uses the same number.
    Usage = 2,
    /// `explain`: the file is fine, but the gateway would refuse this request.
    Refused = 3,
}

impl Exit {
    /// `diff`: something changes. Its number is that of [`Exit::Usage`], as it is for diff tools.
    pub(crate) const CHANGED: Exit = Exit::Usage;
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Ringway is an API gateway: it stands in front of your services, reads one YAML file, and passes
/// each request to the service that the file names.
#[derive(Debug, Parser)]
#[command(name = "ringway", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
New here? Start with `ringway demo`: it needs no file and no other program.

Exit codes: 0 done; 1 the file has errors, a port is taken or this machine could not serve;
2 the command line was not understood, or (diff and reload --dry-run only) something changes;
3 (explain only) the gateway would refuse the request.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve what the file says, until Ctrl-C or SIGTERM
    Run(run::Arguments),
    /// Check the file without serving it: one line if it is good, else everything that is wrong
    Check(check::Arguments),
    /// Tell what would happen to a request: which route takes it, why no other, and where it goes
    Explain(explain::Arguments),
    /// Tell what one file changes of another: routes, upstreams, filters, and who loses a filter
    Diff(diff::Arguments),
    /// Have a running gateway read its file again, and tell what came of it
    Reload(reload::Arguments),
    /// Print the JSON Schema of the file, with which an editor completes and checks it
    Schema(schema::Arguments),
    /// Make a key for a client of `auth: {type: api_key}`, and the hash of it for the file
    HashKey(hash_key::Arguments),
    /// Show Ringway at work: two sample services and the gateway in front, on this machine only
    Demo(demo::Arguments),
    /// Watch a running gateway in a terminal, as its admin API tells: workers, upstreams, errors
    Top(top::Arguments),
    /// Compare Ringway with nginx, HAProxy, Envoy and others on this machine
    Bench(bench::Arguments),
    /// Tell what this machine allows (io_uring, limits, cores) and what to change
    Doctor(doctor::Arguments),
}

fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Reload(arguments) => reload::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::HashKey(arguments) => hash_key::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
    };
    exit.into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
