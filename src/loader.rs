//! What a running gateway reads its file by when it is told to read it again.

use std::path::PathBuf;

use ringway_config::{Config, Source};
use ringway_engine::Snapshot;
use ringway_engine::reload::Loader;
use ringway_filters::FilterSettings;

use crate::diff;
use crate::file::{FileArgument, Opened, Text};
use crate::logging::Shown;

/// Loads the file again, and remembers what it said when it was last served by.
pub(crate) struct FileLoader {
    file: FileArgument,
    served: Served,
    loaded: Option<Loaded>,
    /// What the program shows of what it says about itself, where that can be changed.
    shown: Option<Shown>,
}

/// What is served by as soon as it is published.
struct Loaded {
    served: Served,
    /// Where everything stands in the file, which nobody needs any more. To free it takes time, and
    /// there is more of that once the workers have adopted the snapshot.
    _source: Source,
}

/// What is served by.
struct Served {
    config: Config<FilterSettings>,
    text: Text,
}

impl FileLoader {
    /// A loader of this file, and the snapshot to begin with, made of what it says now.
    pub(crate) fn new(
        file: FileArgument,
        opened: Opened,
        shown: Option<Shown>,
    ) -> (FileLoader, Snapshot) {
        let (Loaded { served, .. }, snapshot) = Loaded::of(opened);
        (FileLoader { file, served, loaded: None, shown }, snapshot)
    }

    fn open(&self, before: &Snapshot) -> Result<Opened, String> {
        let opened = self.file.open_again(Some((&self.served.config, before)));
        opened.map_err(|trouble| trouble.of_running())
    }
}

impl Loaded {
    fn of(opened: Opened) -> (Loaded, Snapshot) {
        let text = Text::of(&opened.source);
        let served = Served { config: opened.config, text };
        (Loaded { served, _source: opened.source }, opened.snapshot)
    }
}

impl Loader for FileLoader {
    fn load(&mut self, before: &Snapshot) -> Result<Snapshot, String> {
        self.loaded = None;
        let opened = self.open(before)?;
        for warning in &opened.warnings.0 {
            tracing::warn!(file = %warning.file, line = warning.line, "{}", warning.message);
        }
        let (loaded, snapshot) = Loaded::of(opened);
        self.loaded = Some(loaded);
        Ok(snapshot)
    }

    fn published(&mut self) {
        let Some(loaded) = self.loaded.take() else { return };
        let before = std::mem::replace(&mut self.served, loaded.served);
        if let Some(shown) = &self.shown {
            shown.follow(before.config.log.level, self.served.config.log.level);
        }
    }

    fn preview(&mut self, _: &Snapshot) -> Result<serde_json::Value, String> {
        let new = self.file.open_again(None).map_err(|trouble| trouble.of_running())?;
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
