//! What a running gateway reads its file by when it is told to read it again.

use std::path::PathBuf;

use ringway_config::Config;
use ringway_engine::Snapshot;
use ringway_engine::reload::Loader;
use ringway_filters::FilterSettings;

use crate::file::{FileArgument, Trouble};

/// Loads the file again, and remembers what it said when it was last served by.
pub(crate) struct FileLoader {
    file: FileArgument,
    served: Config<FilterSettings>,
    loaded: Option<Config<FilterSettings>>,
}

impl FileLoader {
    /// A loader of this file, of which `served` is what it says now.
    pub(crate) fn new(file: FileArgument, served: Config<FilterSettings>) -> FileLoader {
        FileLoader { file, served, loaded: None }
    }
}

impl Loader for FileLoader {
    fn load(&mut self, before: &Snapshot) -> Result<Snapshot, String> {
        self.loaded = None;
        let opened = self.file.open_after(Some((&self.served, before)));
        let opened = opened.map_err(|trouble: Trouble| trouble.diagnostics().to_string())?;
        for warning in &opened.warnings.0 {
            tracing::warn!(file = %warning.file, line = warning.line, "{}", warning.message);
        }
        self.loaded = Some(opened.config);
        Ok(opened.snapshot)
    }

    fn published(&mut self) {
        if let Some(loaded) = self.loaded.take() {
            self.served = loaded;
        }
    }

    fn path(&self) -> Option<PathBuf> {
        Some(self.file.path().to_owned())
    }
}
