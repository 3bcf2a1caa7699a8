//! The gateway's file: where it is (`-c`), what it says, and what is wrong with it. The one place
//! where a file becomes a snapshot, so that every subcommand means the same by "the file".

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringway_config::{Config, Diagnostic, Diagnostics, Severity, Source};
use ringway_engine::snapshot::{BuildError, Snapshot};
use ringway_filters::FilterSettings;

use crate::paint::{Paint, err};

/// `-c`, the same for every subcommand that reads the file.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FileArgument {
    /// The YAML file that says where to listen and which service takes which request
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = DEFAULT_FILE)]
    path: PathBuf,
}

/// Where the file is looked for when nobody says.
const DEFAULT_FILE: &str = "./ringway.yaml";

/// The smallest useful file, as the README shows it.
pub(crate) const FIVE_LINES: &str = "\
server: {port: 8080}
routes:
  - name: site
    prefix: /
    targets: [{addr: \"http://127.0.0.1:9000\"}]
";

/// A file that can be served.
pub(crate) struct Opened {
    /// What it says.
    pub(crate) config: Config<FilterSettings>,
    /// The same, made ready to serve.
    pub(crate) snapshot: Snapshot,
    /// What deserves attention: it serves, but perhaps not as meant.
    pub(crate) warnings: Diagnostics,
    /// Where everything stands in it.
    pub(crate) source: Source,
}

/// Why a file cannot be served.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// There is no file at this path.
    Missing(PathBuf),
    /// Everything that is wrong with it.
    Wrong(Diagnostics),
}

impl FileArgument {
    /// The file at this path.
    pub(crate) fn of(path: PathBuf) -> FileArgument {
        FileArgument { path }
    }

    /// Reads the file and builds the snapshot, with the environment of this process.
    pub(crate) fn open(&self) -> Result<Opened, Trouble> {
        self.open_after(None)
    }

    /// The same for a file that is served by already: what stays as it was keeps its state, and
    /// what cannot change while the gateway runs must stay.
    fn open_after(&self, before: Before<'_>) -> Result<Opened, Trouble> {
        // Asked first, because this is what everybody meets who starts Ringway without reading.
        if matches!(self.path.try_exists(), Ok(false)) {
            return Err(Trouble::Missing(self.path.clone()));
        }
        let loaded = ringway_config::load(&self.path, &|name| std::env::var(name).ok());
        build_after(loaded, before).map_err(Trouble::Wrong)
    }

    /// Reads it again while a gateway serves by what it said before. What may keep its reader
    /// waiting for ever, as a pipe does whose other end nobody has, is not read.
    pub(crate) fn open_again(&self, before: Before<'_>) -> Result<Opened, Trouble> {
        match std::fs::metadata(&self.path) {
            Ok(found) if !found.is_file() && !found.is_dir() => Err(self.no_file()),
            _ => self.open_after(before),
        }
    }

    fn no_file(&self) -> Trouble {
        Trouble::Wrong(Diagnostics(vec![Diagnostic {
            severity: Severity::Error,
            file: self.path.display().to_string(),
            line: 0,
            column: 0,
            path: String::new(),
            message: "a pipe, a device or a socket is not read a second time".to_owned(),
            help: Some("put a file, or a link to one, in its place".to_owned()),
            snippet: String::new(),
        }]))
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The text of a file that has been read, to be read in the same way again.
pub(crate) struct Text {
    name: String,
    text: Arc<str>,
}

impl Text {
    /// The text that this is the source of.
    pub(crate) fn of(source: &Source) -> Text {
        Text { name: source.name().to_owned(), text: source.text().clone() }
    }

    /// Reads it.
    pub(crate) fn open(&self) -> Result<Opened, Diagnostics> {
        build(ringway_config::load_str(&self.name, &self.text, &|name| std::env::var(name).ok()))
    }
}

/// What is served by now: what the file said, and the snapshot that was built from it.
pub(crate) type Before<'a> = Option<(&'a Config<FilterSettings>, &'a Snapshot)>;

/// Builds the snapshot of a file that has been read.
pub(crate) fn build(
    loaded: Result<ringway_config::Loaded<FilterSettings>, Diagnostics>,
) -> Result<Opened, Diagnostics> {
    build_after(loaded, None)
}

fn build_after(
    loaded: Result<ringway_config::Loaded<FilterSettings>, Diagnostics>,
    before: Before<'_>,
) -> Result<Opened, Diagnostics> {
    let ringway_config::Loaded { config, mut warnings, source } = loaded?;
    let error = |BuildError { path, message, help }| source.diagnose(&path, message, help);
    let warning = |BuildError { path, message, help }| source.warn(&path, message, help);
    let mut errors: Vec<_> = before.map(|(before, _)| fixed(before, &config)).unwrap_or_default();
    let snapshot = match Snapshot::build_after(&config, before) {
        Ok(snapshot) if errors.is_empty() => snapshot,
        Ok(_) => return Err(Diagnostics(errors.into_iter().map(error).collect())),
        Err(wrong) => {
            errors.extend(wrong);
            return Err(Diagnostics(errors.into_iter().map(error).collect()));
        }
    };
    warnings.0.extend(snapshot.warnings().into_iter().map(warning));
    let snapshot = snapshot.with_written(source.written());
    Ok(Opened { config, snapshot, warnings, source })
}

/// What the file changes though it cannot change while the gateway runs.
pub(crate) fn fixed(
    before: &Config<FilterSettings>,
    after: &Config<FilterSettings>,
) -> Vec<BuildError> {
    let (old, new) = (&before.workers, &after.workers);
    let changed = [
        ("workers.count", old.count != new.count),
        ("workers.cores", old.cores != new.cores),
        ("workers.driver", old.driver != new.driver),
        ("workers.pin", old.pin != new.pin),
    ];
    let place = |config: &Config<_>| config.admin.as_ref().map(|admin| admin.listen);
    let others = [
        ("admin.listen", place(before) != place(after)),
        ("log.format", before.log.format != after.log.format),
    ];
    let changed = changed.into_iter().chain(others).filter(|(_, changed)| *changed);
    changed
        .map(|(field, _)| BuildError {
            path: field.to_owned(),
            message: format!("`{field}` cannot change while the gateway runs"),
            help: Some("restart the gateway, or set it back to what it was".to_owned()),
        })
        .collect()
}

impl Trouble {
    /// The same as diagnostics, for `--json`.
    pub(crate) fn diagnostics(&self) -> Diagnostics {
        match self {
            Trouble::Wrong(diagnostics) => diagnostics.clone(),
            Trouble::Missing(path) => Diagnostics(vec![Diagnostic {
                severity: Severity::Error,
                file: path.display().to_string(),
                line: 0,
                column: 0,
                path: String::new(),
                message: "there is no such file".to_owned(),
                help: Some("name another, or see `ringway demo`, which needs none".to_owned()),
                snippet: String::new(),
            }]),
        }
    }

    /// What is wrong with a file that was there when the gateway was started.
    pub(crate) fn of_running(&self) -> String {
        match self {
            Trouble::Wrong(diagnostics) => diagnostics.to_string(),
            Trouble::Missing(path) => format!(
                "the file {} is gone: what was read from it last is served on; put it back, or \
                 another in its place",
                path.display()
            ),
        }
    }

    /// Says on standard error what is wrong and what to do.
    pub(crate) fn tell(&self) {
        match self {
            Trouble::Missing(path) => err(missing(path, Paint::stderr())),
            Trouble::Wrong(diagnostics) => tell(diagnostics),
        }
    }
}

/// Prints diagnostics on standard error.
pub(crate) fn tell(diagnostics: &Diagnostics) {
    let paint = Paint::stderr();
    for diagnostic in &diagnostics.0 {
        err(format_args!("{}\n\n", coloured(diagnostic, paint)));
    }
}

/// A diagnostic with its first word, which is its severity, in colour.
fn coloured(diagnostic: &Diagnostic, paint: Paint) -> String {
    let text = diagnostic.to_string();
    for (word, painted) in [("error", paint.bad("error")), ("warning", paint.warning("warning"))] {
        if let Some(rest) = text.strip_prefix(word) {
            return painted + rest;
        }
    }
    text
}

/// What to do when there is no file yet.
fn missing(path: &Path, paint: Paint) -> String {
    let file: String = FIVE_LINES.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "{error}: there is no file {path}

  To see Ringway at work without any file:

    ringway demo

  To put it in front of a service of yours, write these lines to {path}
  (with your service's address instead of 127.0.0.1:9000):

{file}
  If your file is elsewhere, name it: -c path/to/gateway.yaml
",
        error = paint.bad("error"),
        path = path.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_tells_what_to_do() {
        let argument = FileArgument { path: PathBuf::from("/nowhere/ringway.yaml") };
        let Err(trouble) = argument.open() else { panic!("there is no such file") };
        let Trouble::Missing(path) = &trouble else { panic!("{trouble:?}") };
        let text = missing(path, Paint::PLAIN);
        for part in ["/nowhere/ringway.yaml", "ringway demo", "127.0.0.1:9000", "-c path"] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        assert_eq!(trouble.diagnostics().len(), 1);
    }

    #[test]
    fn the_five_lines_are_a_whole_file_and_stand_in_the_readme() {
        let loaded = ringway_config::load_str("five.yaml", FIVE_LINES, &|_| None);
        let opened = build(loaded).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!(opened.config.routes.len(), 1);
        assert_eq!(FIVE_LINES.lines().count(), 5);
        assert!(include_str!("../README.md").contains(FIVE_LINES));
    }
}
