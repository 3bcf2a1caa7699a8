//! What is done now and then for tokens, off the workers: files that have changed are read again,
//! and sets behind URLs are fetched.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use ringway_engine::filter::Errand;
use ringway_engine::shared::Shared;

use super::jwt::Plan;

/// How often files are looked at: so long a token may live on that was revoked.
const LOOK: Duration = Duration::from_secs(1);

/// Where there is nothing to look at.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What tells that a file is another one: its place on the disk, its time and its size.
type Stamp = Option<(u64, i64, i64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.mtime(), file.mtime_nsec(), file.len()))
}

/// The errand of one `jwt`.
pub(super) fn errand(plan: Shared<Plan>) -> Errand {
    let mut keys: Option<Vec<Stamp>> = None;
    let mut revoked: Option<Stamp> = None;
    Box::new(move || {
        let stamps = plan.local.files.iter().map(|file| stamp(&file.path)).collect();
        // At the first time too: a file may have changed since it was read.
        if keys.as_ref() != Some(&stamps) && !plan.local.files.is_empty() {
            match plan.local.load() {
                Ok(fresh) => plan.keys.set(Shared::new(fresh)),
                Err(error) => {
                    let field = error.field;
                    tracing::error!(field, "the last good keys stay: {}", error.message);
                }
            }
        }
        keys = Some(stamps);
        if let Some(list) = &plan.revoked {
            let now = stamp(&list.path);
            if revoked != Some(now) {
                list.reread();
                revoked = Some(now);
            }
        }
        if let Some(remote) = &plan.remote {
            remote.refresh();
        }
        let looks = !plan.local.files.is_empty() || plan.revoked.is_some() || plan.remote.is_some();
        if looks { LOOK } else { NEVER }
    })
}
