//! How many workers `workers.count: auto` comes to: the processors that this process may use.

use super::host::{cpu_list, status_field};

/// The processors that this process may use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cores {
    /// By affinity, as the kernel writes it (`0-3,8`); empty where it does not tell.
    pub(crate) allowed: String,
    /// How many those are.
    pub(crate) count: usize,
    /// The share of time that a control group leaves us, in processors.
    pub(crate) quota: Option<f64>,
}

impl Cores {
    /// A worker wants a processor for itself: whole processors of the quota, at least one.
    pub(crate) fn workers(&self) -> usize {
        let by_quota = self.quota.map_or(usize::MAX, |quota| quota as usize);
        self.count.min(by_quota).max(1)
    }
}

/// Affinity from `/proc/self/status`, together with the quota of the control groups.
pub(crate) fn cores(status: &str, quota: Option<f64>) -> Cores {
    let allowed = status_field(status, "Cpus_allowed_list").unwrap_or_default().to_owned();
    let count = cpu_list(&allowed).map_or(0, |cpus| cpus.len());
    Cores { allowed, count, quota }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(allowed: &str, quota: Option<f64>) -> usize {
        cores(&format!("Name:\tx\nCpus_allowed_list:\t{allowed}\n"), quota).workers()
    }

    #[test]
    fn workers_follow_affinity_and_quota_whichever_is_less() {
        assert_eq!(workers("0-7", None), 8);
        assert_eq!(workers("0-7", Some(2.5)), 2);
        assert_eq!(workers("0-1", Some(16.0)), 2);
        assert_eq!(workers("0-7", Some(0.25)), 1);
        assert_eq!(cores("", None).workers(), 1);
    }

    #[test]
    fn the_standard_library_counts_the_same_on_this_machine() {
        let host = super::super::Host::new("/");
        let status = host.read("/proc/self/status").expect("/proc is mounted");
        let cores = cores(&status, super::super::cgroup::quota(&host));
        let counted = std::thread::available_parallelism().expect("a count of processors");
        assert_eq!(cores.workers(), counted.get());
    }
}
