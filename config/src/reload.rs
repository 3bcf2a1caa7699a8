//! `reload:`: when the file is read again while the gateway runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When the file is read again while Ringway runs. SIGHUP and `ringway reload` always have it read
/// again. `workers`, `admin.listen` and `log.format` cannot change without a restart: such a file
/// is refused.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reload {
    /// Whether the file is read again by itself when it changes, also when another takes its place
    /// or a symbolic link on the way to it turns. Turn it off where a file may be saved half done.
    pub watch: bool,
}

impl Default for Reload {
    fn default() -> Reload {
        Reload { watch: true }
    }
}
