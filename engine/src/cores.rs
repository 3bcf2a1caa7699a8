//! What this process may use: cores, by affinity and cgroup quota, and io_uring. `doctor` asks the
//! same functions, so that what it says is what a gateway would do.

use std::path::Path;

mod cgroup;
mod completions;
mod ring;

pub use cgroup::quota;
pub(crate) use completions::Completions;
pub(crate) use ring::ring_builder;
pub use ring::{RingTrial, try_io_uring};

/// The cores that this process may run on, by its affinity.
pub fn allowed() -> Vec<usize> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    let mut ids: Vec<_> = ids.into_iter().map(|core| core.id).collect();
    ids.sort_unstable();
    ids
}

/// How many workers `workers.count: auto` makes: one a usable core, no more than the cgroup's
/// quota pays for, at least one.
pub fn auto_count() -> usize {
    auto_of(allowed().len(), quota(Path::new("/")))
}

/// A quota is rounded up to whole cores: what it leaves of the last one is still worth a worker.
fn auto_of(allowed: usize, quota: Option<f64>) -> usize {
    quota.map_or(allowed, |quota| allowed.min(quota.ceil() as usize)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_what_affinity_and_quota_leave() {
        assert_eq!(auto_of(8, None), 8);
        assert_eq!(auto_of(8, Some(1.5)), 2);
        assert_eq!(auto_of(8, Some(0.1)), 1);
        assert_eq!(auto_of(2, Some(3.0)), 2);
        assert_eq!(auto_of(0, None), 1);
    }
}
