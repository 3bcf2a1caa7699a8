//! `ringway diff`: what one file changes of another, before anybody serves by it.

mod compare;
mod guards;
mod text;

use std::path::PathBuf;

use ringway_config::Diagnostics;
use serde::{Deserialize, Serialize};

use crate::Exit;
use crate::file::{FileArgument, tell};
use crate::paint::{Paint, out, out_json};

pub(crate) use compare::compare;

/// Arguments of `ringway diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows which routes, upstreams, filters and settings NEW adds, removes and changes, field by field;
values that are secret or come from the environment are not shown. Then what deserves a second look:
routes that no request reaches any more, and routes that lose a filter. In CAPITALS stands what
opens a route to more than before: that it loses a filter that keeps others out, or that such a
filter asks less of its requests. The environment is that of this command.

`ringway reload --dry-run` does the same with what a running gateway serves by and its file.

Exit codes: 0 nothing changes; 1 a file has errors; 2 something changes.")]
pub(crate) struct Arguments {
    /// The file as it was
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The file as it shall be
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Print one JSON object for a script instead of text for a person
    #[arg(long)]
    json: bool,
}

/// Compares the two files and prints what differs.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    let open = |path: &PathBuf| FileArgument::of(path.clone()).open();
    match (open(&arguments.old), open(&arguments.new)) {
        (Ok(old), Ok(new)) => show(&compare(&old, &new), arguments.json),
        (old, new) => {
            let troubles = [old.err(), new.err()].into_iter().flatten();
            let wrong = Diagnostics(troubles.flat_map(|t| t.diagnostics().0).collect());
            if arguments.json {
                out_json(&serde_json::json!({ "diagnostics": wrong }));
            } else {
                tell(&wrong);
            }
            Exit::Failed
        }
    }
}

/// Prints what differs; the exit code says whether anything does.
pub(crate) fn show(diff: &Diff, json: bool) -> Exit {
    if json {
        out_json(diff);
    } else {
        out(format_args!("{}", text::write(diff, Paint::stdout())));
    }
    if diff.is_empty() { Exit::Done } else { Exit::CHANGED }
}

/// What differs between two files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Diff {
    /// The sections that are no lists of things: `server`, `workers` and so on.
    settings: Vec<Change>,
    routes: Things,
    upstreams: Things,
    global_filters: Vec<FilterChange>,
    /// Routes stand in another order, which decides between those that are equally specific.
    routes_reordered: bool,
    /// Routes that no request reaches any more.
    shadowed: Vec<Shadowed>,
    /// Routes that lose a filter, their own or a global one.
    lost: Vec<Lost>,
    /// Filters that keep others out and are still there, but ask something else than before.
    #[serde(default)]
    guards: Vec<Loosened>,
    /// Settings that cannot change while the gateway runs.
    restart: Vec<String>,
}

/// Things that have names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Things {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<Change>,
}

/// What differs in one thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Change {
    name: String,
    /// The name that it had, if it had another.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    renamed_from: Option<String>,
    fields: Vec<FieldChange>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    filters: Vec<FilterChange>,
}

/// What differs in one field; what is not written is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FieldChange {
    field: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    after: Option<String>,
}

/// What becomes of one filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FilterChange {
    filter: String,
    change: Kind,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    fields: Vec<FieldChange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Added,
    Removed,
    Changed,
    Moved,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Shadowed {
    route: String,
    by: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lost {
    route: String,
    filter: String,
    /// It keeps others out.
    guard: bool,
}

/// A filter of these routes that keeps others out, and what about that is not as before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Loosened {
    routes: Vec<String>,
    filter: String,
    /// It lets more pass than before.
    weaker: bool,
    what: String,
}

impl Diff {
    fn is_empty(&self) -> bool {
        *self == Diff::default()
    }
}
