//! What a running gateway reads its file by when it is told to read it again.

use std::path::PathBuf;

use ringway_config::Config;
use ringway_engine::Snapshot;
use ringway_engine::reload::Loader;
use ringway_filters::FilterSettings;

use crate::diff;
use crate::file::{FileArgument, Opened, Text};

/// Loads the file again, and remembers what it said when it was last served by.
pub(crate) struct FileLoader {
    file: FileArgument,
    served: Served,
    loaded: Option<Served>,
}

/// What is served by.
struct Served {
    config: Config<FilterSettings>,
    text: Text,
}

impl FileLoader {
    /// A loader of this file, and the snapshot to begin with, made of what it says now.
    pub(crate) fn new(file: FileArgument, opened: Opened) -> (FileLoader, Snapshot) {
        let (served, snapshot) = Served::of(opened);
        (FileLoader { file, served, loaded: None }, snapshot)
    }

    fn open(&self, before: &Snapshot) -> Result<Opened, String> {
        let opened = self.file.open_after(Some((&self.served.config, before)));
        opened.map_err(|trouble| trouble.diagnostics().to_string())
    }
}

impl Served {
    fn of(opened: Opened) -> (Served, Snapshot) {
        let text = Text::of(&opened.source);
        (Served { config: opened.config, text }, opened.snapshot)
    }
}

impl Loader for FileLoader {
    fn load(&mut self, before: &Snapshot) -> Result<Snapshot, String> {
        self.loaded = None;
        let opened = self.open(before)?;
        for warning in &opened.warnings.0 {
            tracing::warn!(file = %warning.file, line = warning.line, "{}", warning.message);
        }
        let (served, snapshot) = Served::of(opened);
        self.loaded = Some(served);
        Ok(snapshot)
    }

    fn published(&mut self) {
        if let Some(loaded) = self.loaded.take() {
            self.served = loaded;
        }
    }

    fn preview(&mut self, _: &Snapshot) -> Result<serde_json::Value, String> {
        let new = self.file.open().map_err(|trouble| trouble.diagnostics().to_string())?;
        // What is served by has been read before, and is read in the same way again.
        let old = self.served.text.open().map_err(|wrong| wrong.to_string())?;
        serde_json::to_value(diff::compare(&old, &new)).map_err(|error| error.to_string())
    }

    fn path(&self) -> Option<PathBuf> {
        Some(self.file.path().to_owned())
    }

    fn watches(&self) -> bool {
        self.served.config.reload.watch
    }
}
