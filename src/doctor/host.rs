//! What the kernel says about itself in `/proc` and `/sys`, read as text and parsed by functions
//! that touch no file, so that a test can hand them any machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The machine as its file system shows it. The root is `/`, or a folder that a test has made.
#[derive(Debug)]
pub(crate) struct Host {
    root: PathBuf,
}

impl Host {
    /// Looks at the file system below `root`.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Host {
        Host { root: root.into() }
    }

    /// Where this machine's file system begins.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The file at `path` (absolute) without the white space around it; `None` if it cannot be
    /// read, which for `/proc` and `/sys` means that this kernel or container does not have it.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        let path = path.as_ref();
        let below_root = path.strip_prefix("/").unwrap_or(path);
        let text = std::fs::read_to_string(self.root.join(below_root)).ok()?;
        Some(text.trim().to_owned())
    }

    /// The processors of each NUMA node, by node number; empty where the kernel shows no nodes.
    pub(crate) fn numa_nodes(&self) -> Vec<(usize, String)> {
        let folder = "/sys/devices/system/node";
        let online = self.read(Path::new(folder).join("online"));
        let nodes = online.as_deref().and_then(cpu_list).unwrap_or_default();
        let cpus = |node| self.read(format!("{folder}/node{node}/cpulist")).unwrap_or_default();
        nodes.into_iter().map(|node| (node, cpus(node))).collect()
    }
}

/// The first two numbers of a kernel release such as `6.1.0-18-amd64`.
pub(crate) fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

/// A list as the kernel writes sets of processors, such as `0-3,8`. `None` if it is none.
pub(crate) fn cpu_list(text: &str) -> Option<BTreeSet<usize>> {
    let mut cpus = BTreeSet::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(cpus)
}

/// The value of a line such as `Seccomp:\t2` in `/proc/self/status`.
pub(crate) fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// A bound of this process: what holds now, and how far it may be raised without being root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// What holds now; `u64::MAX` is unlimited.
    pub(crate) soft: u64,
    /// How far the soft bound may be raised; `u64::MAX` is unlimited.
    pub(crate) hard: u64,
}

/// The line `name` of `/proc/self/limits`.
pub(crate) fn bound(limits: &str, name: &str) -> Option<Bound> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let number = |text: &str| match text {
        "unlimited" => Some(u64::MAX),
        digits => digits.parse().ok(),
    };
    let mut columns = line.split_whitespace();
    Some(Bound { soft: number(columns.next()?)?, hard: number(columns.next()?)? })
}

/// First and last port of `net.ipv4.ip_local_port_range`, such as `32768\t60999`.
pub(crate) fn port_range(text: &str) -> Option<(u16, u16)> {
    let mut ends = text.split_whitespace().map(str::parse::<u16>);
    match (ends.next(), ends.next(), ends.next()) {
        (Some(Ok(first)), Some(Ok(last)), None) if first <= last => Some((first, last)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_release_starts_with_two_numbers() {
        assert_eq!(kernel_version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("5.10.0"), Some((5, 10)));
        assert_eq!(kernel_version("6.18-rc3"), Some((6, 18)));
        assert_eq!(kernel_version("unknown"), None);
    }

    #[test]
    fn a_cpu_list_has_numbers_and_ranges() {
        assert_eq!(cpu_list("0-3,8\n"), Some(BTreeSet::from([0, 1, 2, 3, 8])));
        assert_eq!(cpu_list(""), Some(BTreeSet::new()));
        assert_eq!(cpu_list("all"), None);
    }

    #[test]
    fn a_status_field_is_found_by_its_whole_name() {
        let status = "Name:\tringway\nSeccomp_filters:\t1\nSeccomp:\t2\nCpus_allowed_list:\t0-1\n";
        assert_eq!(status_field(status, "Seccomp"), Some("2"));
        assert_eq!(status_field(status, "Cpus_allowed_list"), Some("0-1"));
        assert_eq!(status_field(status, "Cpus"), None);
    }

    #[test]
    fn bounds_are_read_from_their_line() {
        let limits = "\
Limit                     Soft Limit           Hard Limit           Units
Max open files            1024                 524288               files
Max locked memory         unlimited            unlimited            bytes
";
        assert_eq!(bound(limits, "Max open files"), Some(Bound { soft: 1024, hard: 524_288 }));
        let unlimited = Bound { soft: u64::MAX, hard: u64::MAX };
        assert_eq!(bound(limits, "Max locked memory"), Some(unlimited));
        assert_eq!(bound(limits, "Max processes"), None);
    }

    #[test]
    fn a_port_range_has_two_ends_in_order() {
        assert_eq!(port_range("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!(port_range("60999 32768"), None);
        assert_eq!(port_range("32768"), None);
    }
}
