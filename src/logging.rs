//! What Ringway says about itself goes to standard error, through a thread of its own: a worker
//! never waits for a terminal or a full pipe. What does not fit is dropped and counted.

use ringway_config::{Level, Log, LogFormat};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::paint::{Paint, err};

/// The environment variable that overrides `log.level`: a level, or directives as
/// `tracing_subscriber::EnvFilter` reads them (`info,ringway_engine=debug`).
pub(crate) const VARIABLE: &str = "RINGWAY_LOG";

/// Writes what is left in the queue when it is dropped: keep it until the process ends.
pub(crate) struct Logging {
    writer: Option<WorkerGuard>,
    dropped: ErrorCounter,
}

/// Starts logging as the file and the environment say.
///
/// # Errors
/// The sentence to print, if [`VARIABLE`] is not understood.
pub(crate) fn start(log: &Log) -> Result<Logging, String> {
    let filter = filter(log.level, std::env::var(VARIABLE).ok().as_deref())?;
    let (queue, writer) = NonBlockingBuilder::default().lossy(true).finish(std::io::stderr());
    let dropped = queue.error_counter();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(queue)
        .with_ansi(Paint::stderr().is_on());
    match log.format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(Logging { writer: Some(writer), dropped })
}

/// What to show: the environment's word, or else the file's level.
fn filter(level: Level, variable: Option<&str>) -> Result<EnvFilter, String> {
    let directives = match variable {
        Some(directives) if !directives.trim().is_empty() => directives,
        _ => level.as_str(),
    };
    // A lone word that is no level would be taken for the name of a module, and silence all others.
    let word = directives.trim();
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    if !word.contains(['=', ',', '[']) && !levels.contains(&word.to_ascii_lowercase().as_str()) {
        let levels = levels.join(", ");
        return Err(format!("{VARIABLE}={word} is not understood: write one of {levels}"));
    }
    EnvFilter::builder()
        .parse(directives)
        .map_err(|error| format!("{VARIABLE}={directives} is not understood: {error}"))
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
        assert_eq!(shown(Some("debug")), "debug");
        assert!(shown(Some("info,ringway_engine=trace")).contains("ringway_engine=trace"));
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let error = filter(Level::Info, Some("ringway=loud")).expect_err("no such level");
        assert!(error.starts_with("RINGWAY_LOG=ringway=loud"), "{error}");
        let error = filter(Level::Info, Some("loud")).expect_err("no module of this name either");
        assert!(error.contains("write one of off, error, warn"), "{error}");
    }
}
