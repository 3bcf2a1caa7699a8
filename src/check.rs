//! `ringway check`: reads the file as `run` would, and stops before anything listens.

use ringway_config::Diagnostics;
use ringway_engine::snapshot::Snapshot;
use serde::Serialize;

use crate::Exit;
use crate::file::{FileArgument, tell};
use crate::paint::{out, out_json};

/// Arguments of `ringway check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything that is wrong is shown at once, on standard error, each with its place and what to write
instead. Nothing listens and nothing is connected to.

Exit codes: 0 the file can be served (warnings included); 1 it cannot.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    file: FileArgument,
    /// Print one JSON object for a script instead of text for a person
    #[arg(long)]
    json: bool,
}

/// Checks the file and prints what is wrong with it, or what it comes to.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    let opened = arguments.file.open();
    let exit = if opened.is_ok() { Exit::Done } else { Exit::Failed };
    match opened {
        _ if arguments.json => {
            let verdict = match &opened {
                Ok(opened) => Verdict {
                    ok: true,
                    summary: Some(Summary::of(&opened.snapshot)),
                    diagnostics: opened.warnings.clone(),
                },
                Err(trouble) => {
                    Verdict { ok: false, summary: None, diagnostics: trouble.diagnostics() }
                }
            };
            out_json(&verdict);
        }
        Ok(opened) => {
            tell(&opened.warnings);
            out(format_args!("ok: {}\n", Summary::of(&opened.snapshot)));
        }
        Err(trouble) => trouble.tell(),
    }
    exit
}

/// What `--json` prints.
#[derive(Serialize)]
struct Verdict {
    ok: bool,
    /// Absent if the file cannot be served.
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Summary>,
    /// Errors, or the warnings of a file that can be served.
    diagnostics: Diagnostics,
}

/// What a file comes to, in numbers.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Summary {
    routes: usize,
    /// Named ones, and those that a route lists as its own `targets:`.
    upstreams: usize,
    listeners: usize,
}

impl Summary {
    fn of(snapshot: &Snapshot) -> Summary {
        let (routes, upstreams, listeners) = snapshot.counts();
        Summary { routes, upstreams, listeners }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Summary { routes, upstreams, listeners } = self;
        let (routes, upstreams) = (counted(*routes, "route"), counted(*upstreams, "upstream"));
        write!(out, "{routes}, {upstreams}, {}", counted(*listeners, "listener"))
    }
}

/// So many of them, as it is said: `1 route`, `2 routes`.
pub(crate) fn counted(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_one_line() {
        let summary = Summary { routes: 12, upstreams: 3, listeners: 2 };
        assert_eq!(summary.to_string(), "12 routes, 3 upstreams, 2 listeners");
        let summary = Summary { routes: 1, upstreams: 0, listeners: 1 };
        assert_eq!(summary.to_string(), "1 route, 0 upstreams, 1 listener");
    }
}
