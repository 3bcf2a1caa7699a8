//! The share of processor time that a control group leaves us: version 2 (`cpu.max`) and version 1
//! (`cpu.cfs_quota_us`), of our own group and of every group around it.
//!
//! The files are described in the kernel's `Documentation/admin-guide/cgroup-v2.rst` (*cpu*) and
//! `Documentation/scheduler/sched-bwc.rst`.

use std::path::{Path, PathBuf};

/// The smallest quota on the way from our group up to the root, in processors (`1.5` is one and a
/// half); `None` if no group sets one. Reads `/proc` and `/sys` below `root`, which is `/` but for
/// tests.
pub fn quota(root: &Path) -> Option<f64> {
    let read = |path: &Path| {
        let text =
            std::fs::read_to_string(root.join(path.strip_prefix("/").unwrap_or(path))).ok()?;
        Some(text.trim().to_owned())
    };
    let membership = read(Path::new("/proc/self/cgroup"))?;
    let mounts = read(Path::new("/proc/self/mountinfo"))?;
    let of_v2 = own_folder(&membership, &mounts, Version::Two);
    let of_v1 = own_folder(&membership, &mounts, Version::One);
    let v2 = of_v2.into_iter().flat_map(Folder::with_parents).filter_map(|folder| {
        let text = read(&folder.join("cpu.max"))?;
        let (quota, period) = text.split_once(' ')?;
        processors(quota, period)
    });
    let v1 = of_v1.into_iter().flat_map(Folder::with_parents).filter_map(|folder| {
        let quota = read(&folder.join("cpu.cfs_quota_us"))?;
        processors(&quota, &read(&folder.join("cpu.cfs_period_us"))?)
    });
    v2.chain(v1).min_by(f64::total_cmp)
}

/// A quota over a period, both in microseconds. Version 2 writes `max` for none, version 1 `-1`.
fn processors(quota: &str, period: &str) -> Option<f64> {
    let quota: f64 = quota.parse().ok()?;
    let period: f64 = period.parse().ok()?;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The folder of one group, and where the tree that it stands in is mounted.
#[derive(Debug, PartialEq, Eq)]
struct Folder {
    mount: PathBuf,
    own: PathBuf,
}

impl Folder {
    /// This folder and those around it, up to the mount point.
    fn with_parents(self) -> impl Iterator<Item = PathBuf> {
        let Folder { mount, own } = self;
        let folders: Vec<_> = own.ancestors().map(Path::to_owned).collect();
        folders.into_iter().take_while(move |folder| folder.starts_with(&mount))
    }
}

/// Our group's folder in the tree that governs processor time.
fn own_folder(membership: &str, mounts: &str, version: Version) -> Option<Folder> {
    let group = membership.lines().find_map(|line| own_group(line, version))?;
    let (root, mount) = mounts.lines().find_map(|line| cpu_mount(line, version))?;
    // A container may see its group's path as the machine does, while only the part below `root`
    // is mounted for it; a group outside of that part cannot be read, the mount point itself can.
    let below = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
    Some(Folder { mount: mount.into(), own: Path::new(mount).join(below) })
}

/// The path in a line of `/proc/self/cgroup`: `0::/path` in version 2, `4:cpu,cpuacct:/path` in 1.
fn own_group(line: &str, version: Version) -> Option<&str> {
    let mut fields = line.splitn(3, ':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let ours = match version {
        Version::Two => number == "0" && controllers.is_empty(),
        Version::One => controllers.split(',').any(|controller| controller == "cpu"),
    };
    ours.then_some(path)
}

/// Root and mount point in a line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)), if it mounts
/// the tree that governs processor time:
/// `32 31 0:29 /root /mount rw,relatime - cgroup cgroup rw,cpu`.
fn cpu_mount(line: &str, version: Version) -> Option<(&str, &str)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, mount) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (kind, _source, options) = (right.next()?, right.next()?, right.next()?);
    let ours = match version {
        Version::Two => kind == "cgroup2",
        Version::One => kind == "cgroup" && options.split(',').any(|option| option == "cpu"),
    };
    ours.then_some((root, mount))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the quota that a machine with these files has.
    #[track_caller]
    fn check(files: &[(&str, &str)], expected: Option<f64>) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        assert_eq!(quota(root.path()), expected);
    }

    const V2: &str = "25 20 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";

    #[test]
    fn version_2_takes_the_smallest_quota_on_the_way_up() {
        let machine = [
            ("/proc/self/cgroup", "0::/system.slice/ringway.service\n"),
            ("/proc/self/mountinfo", V2),
            ("/sys/fs/cgroup/system.slice/ringway.service/cpu.max", "max 100000\n"),
            ("/sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n"),
        ];
        check(&machine, Some(1.5));
    }

    #[test]
    fn version_1_reads_quota_and_period() {
        let mounts = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
        let machine = [
            ("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,cpuacct:/box\n0::/\n"),
            ("/proc/self/mountinfo", mounts),
            ("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "200000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n"),
        ];
        check(&machine, Some(2.0));
    }

    #[test]
    fn a_container_that_mounts_its_own_group_only_finds_it() {
        let mounts = "33 31 0:30 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n";
        let machine = [
            ("/proc/self/cgroup", "4:cpu:/docker/abc\n"),
            ("/proc/self/mountinfo", mounts),
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ];
        check(&machine, Some(0.5));
    }

    #[test]
    fn no_quota_is_none() {
        let unlimited = [
            ("/proc/self/cgroup", "0::/\n"),
            ("/proc/self/mountinfo", V2),
            ("/sys/fs/cgroup/cpu.max", "max 100000\n"),
        ];
        check(&unlimited, None);
        check(&[], None);
        assert_eq!(processors("-1", "100000"), None);
    }
}
