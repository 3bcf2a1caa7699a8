//! What Ringway says about itself goes to standard error, through a thread of its own: a worker
//! never waits for a terminal or a full pipe. What does not fit is dropped and counted.

use ringway_config::{Level, Log, LogFormat};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, reload};

use crate::paint::{Paint, err};

/// The environment variable that overrides `log.level`: a level, or directives as
/// `tracing_subscriber::EnvFilter` reads them (`info,ringway_engine=debug`), which may ask for what
/// libraries say, too.
pub(crate) const VARIABLE: &str = "RINGWAY_LOG";

/// Writes what is left in the queue when it is dropped: keep it until the process ends.
pub(crate) struct Logging {
    writer: Option<WorkerGuard>,
    dropped: ErrorCounter,
    /// What is shown, for whoever changes it; taken once.
    pub(crate) shown: Option<Shown>,
}

/// Puts another filter in the place of the one that decides what is shown.
type Exchange = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send>;

/// What is shown, which can change while the gateway runs.
pub(crate) struct Shown {
    exchange: Exchange,
    /// The environment decides, whatever the file says.
    overridden: bool,
}

/// Starts logging as the file and the environment say.
///
/// # Errors
/// The sentence to print, if [`VARIABLE`] is not understood.
pub(crate) fn start(log: &Log) -> Result<Logging, String> {
    let variable = std::env::var(VARIABLE).ok();
    let overridden = variable.as_ref().is_some_and(|directives| !directives.trim().is_empty());
    let filter = filter(log.level, variable.as_deref())?;
    let (queue, writer) = NonBlockingBuilder::default().lossy(true).finish(std::io::stderr());
    let dropped = queue.error_counter();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(queue)
        .with_ansi(Paint::stderr().is_on());
    let exchange: Exchange = match log.format {
        LogFormat::Text => {
            let subscriber = subscriber.with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.init();
            Box::new(move |filter| handle.reload(filter))
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.init();
            Box::new(move |filter| handle.reload(filter))
        }
    };
    let shown = Some(Shown { exchange, overridden });
    Ok(Logging { writer: Some(writer), dropped, shown })
}

impl Shown {
    /// Shows from now on what the file says, and tells so where that is something else.
    pub(crate) fn follow(&self, before: Level, now: Level) {
        if before == now {
            return;
        }
        let quiet = matches!(before, Level::Error | Level::Warn);
        let (before, now) = (before.as_str(), now.as_str());
        if self.overridden {
            tracing::warn!("`log.level: {now}` changes nothing: {VARIABLE} overrides it");
            return;
        }
        // Said by the level of before, unless that would not show it.
        let tell = || tracing::info!(before, now, "`log.level` has changed");
        if !quiet {
            tell();
        }
        match (self.exchange)(EnvFilter::new(of_ours(now))) {
            Ok(()) if quiet => tell(),
            Ok(()) => {}
            Err(error) => tracing::error!(%error, "`log.level` cannot be changed"),
        }
    }
}

/// What to show: the environment's word, or else the file's level.
fn filter(level: Level, variable: Option<&str>) -> Result<EnvFilter, String> {
    let directives = match variable {
        Some(directives) if !directives.trim().is_empty() => directives,
        _ => level.as_str(),
    };
    let of_ours = of_ours(directives);
    // A lone word that is no level would be taken for the name of a module, and silence all others.
    let word = directives.trim();
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    if !word.contains(['=', ',', '[']) && !levels.contains(&word.to_ascii_lowercase().as_str()) {
        let levels = levels.join(", ");
        return Err(format!("{VARIABLE}={word} is not understood: write one of {levels}"));
    }
    EnvFilter::builder()
        .parse(of_ours)
        .map_err(|error| format!("{VARIABLE}={directives} is not understood: {error}"))
}

/// The directives for a level. Below `info` it is that of Ringway alone: what libraries say there
/// knows no secrets (an HTTP client tells whole URLs) and no bounds (the watcher of the file tells
/// of every line that is written to a log beside it).
fn of_ours(directives: &str) -> String {
    match directives.trim().to_ascii_lowercase().as_str() {
        level @ ("debug" | "trace") => format!("info,ringway={level}"),
        _ => directives.to_owned(),
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        drop(self.writer.take());
        let dropped = self.dropped.dropped_lines();
        if dropped > 0 {
            err(format_args!("{dropped} lines of the log were dropped: nobody read fast enough\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_overrides_the_level_of_the_file() {
        let shown = |variable| filter(Level::Warn, variable).expect("directives").to_string();
        assert_eq!(shown(None), "warn");
        assert_eq!(shown(Some("")), "warn");
        assert_eq!(shown(Some("error")), "error");
        assert!(shown(Some("info,ringway_engine=trace")).contains("ringway_engine=trace"));
    }

    #[test]
    fn what_libraries_say_below_info_is_shown_only_where_it_is_asked_for() {
        let targets = |level, variable| {
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter(filter(level, variable).expect("directives"))
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                let ours = tracing::enabled!(target: "ringway_engine::x", tracing::Level::TRACE);
                let theirs = tracing::enabled!(target: "ureq::run", tracing::Level::DEBUG);
                (ours, theirs, tracing::enabled!(target: "ureq::run", tracing::Level::INFO))
            })
        };
        assert_eq!(targets(Level::Trace, None), (true, false, true));
        assert_eq!(targets(Level::Info, Some("TRACE")), (true, false, true));
        assert_eq!(targets(Level::Info, Some("debug")), (false, false, true));
        assert_eq!(targets(Level::Warn, None), (false, false, false));
        assert_eq!(targets(Level::Info, Some("trace,ureq=debug")), (true, true, true));
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let error = filter(Level::Info, Some("ringway=loud")).expect_err("no such level");
        assert!(error.starts_with("RINGWAY_LOG=ringway=loud"), "{error}");
        let error = filter(Level::Info, Some("loud")).expect_err("no module of this name either");
        assert!(error.contains("write one of off, error, warn"), "{error}");
    }
}
