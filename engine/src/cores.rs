//! What this process may use: cores, by affinity and cgroup quota, and io_uring.

use std::path::Path;

use io_uring::{cqueue, squeue};

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
    let cores = allowed().len().max(1);
    quota(Path::new("/")).map_or(cores, |quota| cores.min(quota)).max(1)
}

/// Whole cores that the cgroup's CPU quota pays for, rounded up; `None` without a quota. Looks
/// below `root`, at version 2 first, then version 1.
pub fn quota(root: &Path) -> Option<usize> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let own = read("proc/self/cgroup").unwrap_or_default();
    let of_own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let version2 = of_own.into_iter().chain([""]).find_map(|group| {
        let text = read(&format!("sys/fs/cgroup/{group}/cpu.max"))?;
        let (quota, period) = text.trim().split_once(' ')?;
        Some((quota.parse().ok()?, period.parse().ok()?))
    });
    let (quota, period): (f64, f64) = version2.or_else(|| {
        let quota: f64 = read("sys/fs/cgroup/cpu/cpu.cfs_quota_us")?.trim().parse().ok()?;
        let period = read("sys/fs/cgroup/cpu/cpu.cfs_period_us")?.trim().parse().ok()?;
        (quota > 0.0).then_some((quota, period))
    })?;
    (period > 0.0).then(|| ((quota / period).ceil() as usize).max(1))
}

/// A ring for one thread that submits and reaps. `deferred` leaves the kernel's part of a
/// completion to the moment when that thread asks for it, which lets more of them be reaped in one
/// turn (kernel 6.1); otherwise the kernel does it when the thread next enters it for any reason.
pub(crate) fn ring_builder(deferred: bool) -> io_uring::Builder<squeue::Entry, cqueue::Entry> {
    let mut builder = io_uring::IoUring::<squeue::Entry, cqueue::Entry>::builder();
    builder.setup_single_issuer();
    if deferred {
        builder.setup_defer_taskrun()
    } else {
        builder.setup_coop_taskrun()
    };
    builder
}

/// True where rings can be made the faster way (see [`ring_builder`]).
pub(crate) fn defers_task_work() -> bool {
    ring_builder(true).build(8).is_ok()
}

/// Makes a ring as the workers will, and throws it away.
///
/// # Errors
/// In words, what the kernel said and what that usually means.
pub fn probe_io_uring() -> Result<(), String> {
    ring_builder(false).build(8).map(drop).map_err(|e: std::io::Error| {
        let why = match e.raw_os_error() {
            Some(libc::ENOSYS) => "the kernel has no io_uring, or seccomp hides it",
            Some(libc::EPERM | libc::EACCES) => {
                "it is forbidden by kernel.io_uring_disabled or a seccomp profile"
            }
            Some(libc::ENOMEM) => "RLIMIT_MEMLOCK is too low",
            Some(libc::EINVAL) => "the kernel is older than 6.0",
            Some(libc::EMFILE | libc::ENFILE) => "no file descriptor is left",
            _ => "the kernel refuses it",
        };
        format!("io_uring cannot be used: {why} ({e})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_quota_is_rounded_up_to_whole_cores() {
        let v2 = |max| root(&[("sys/fs/cgroup/cpu.max", max)]);
        assert_eq!(quota(v2("150000 100000\n").path()), Some(2));
        assert_eq!(quota(v2("10000 100000\n").path()), Some(1));
        assert_eq!(quota(v2("max 100000\n").path()), None);
        let nested = root(&[
            ("proc/self/cgroup", "0::/a.slice/b\n"),
            ("sys/fs/cgroup/a.slice/b/cpu.max", "300000 100000\n"),
        ]);
        assert_eq!(quota(nested.path()), Some(3));
        let v1 = root(&[
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(quota(v1.path()), None);
        assert_eq!(quota(root(&[]).path()), None);
    }
}
