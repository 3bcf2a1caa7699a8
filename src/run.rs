//! `ringway run`: serves until it is told to stop.

use ringway_engine::gateway;

use crate::file::FileArgument;
use crate::loader::FileLoader;
use crate::paint::{Paint, err};
use crate::{Exit, logging};

/// Arguments of `ringway run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Runs in the foreground and logs to standard error (`log:` in the file; the environment variable
RINGWAY_LOG overrides the level: error, warn, info, debug or trace).

SIGHUP, `ringway reload` and a change of the file (`reload.watch`) have it read again: what has
changed is served by from the next request on, and nothing changes if the file has an error. Only
`workers:`, `admin.listen` and `log.format` cannot change while it runs.

Ctrl-C or SIGTERM stops it: no new connections, then open requests are finished, for as long as
`server.drain_timeout` allows; the exit code is then 0. Exit code 1: it could not start.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    file: FileArgument,
}

/// Serves what the file says.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    let opened = match arguments.file.open() {
        Ok(opened) => opened,
        Err(trouble) => {
            trouble.tell();
            return Exit::Failed;
        }
    };
    let failed = |message: &dyn std::fmt::Display| {
        err(format_args!("{}: {message}\n", Paint::stderr().bad("error")));
        Exit::Failed
    };
    let mut flushed_at_the_end = match logging::start(&opened.config.log) {
        Ok(logging) => logging,
        Err(message) => return failed(&message),
    };
    for warning in &opened.warnings.0 {
        tracing::warn!(file = %warning.file, line = warning.line, "{}", warning.message);
    }
    let shown = flushed_at_the_end.shown.take();
    let (loader, snapshot) = FileLoader::new(arguments.file.clone(), opened, shown);
    match gateway::run(snapshot, Box::new(loader)) {
        Ok(()) => Exit::Done,
        Err(error) => failed(&error),
    }
}
