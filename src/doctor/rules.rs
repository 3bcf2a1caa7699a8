//! What each finding means for a gateway, and what changes it. Pure: text in, [`Finding`] out.

use ringway_engine::cores::RingTrial;
use rustix::io::Errno;

use super::Finding;
use super::host::{bound, cpu_list, kernel_version, port_range, status_field};

/// io_uring with both flags that a worker asks for: `COOP_TASKRUN` (5.19), `SINGLE_ISSUER` (6.0).
const KERNEL_WITH_FLAGS: (u32, u32) = (6, 0);
/// From here on the rings no longer count as locked memory.
const KERNEL_WITHOUT_MEMLOCK: (u32, u32) = (5, 12);
/// What the rings of a worker need where they do count as locked memory, in bytes.
const LOCKED_MEMORY: u64 = 8 << 20;
/// A proxied connection takes two descriptors; 65,536 is room for 32,000 of them.
const OPEN_FILES: u64 = 65_536;
/// Connections that wait to be accepted; the kernel's own default since 5.4.
const ACCEPT_QUEUE: u32 = 4096;
/// Connections whose handshake is under way.
const SYN_QUEUE: u32 = 1024;
/// Connections to one endpoint that can be open at once from one address of ours.
const LOCAL_PORTS: u32 = 16_384;

/// Kernel release: does it know what the io_uring driver wants?
pub(super) fn kernel(release: &str) -> Finding {
    let name = "kernel";
    match kernel_version(release) {
        None => Finding::warn(name, "unknown")
            .why("/proc/sys/kernel/osrelease could not be read; is this Linux, is /proc mounted?"),
        Some(version) if version >= KERNEL_WITH_FLAGS => Finding::ok(name, release),
        Some(_) => Finding::warn(name, release)
            .why("Before 6.0 io_uring lacks what a worker asks for; the epoll driver is used.")
            .fix("run Linux 6.1 or newer (Debian 12 has it)"),
    }
}

/// What may stand behind an io_uring that was refused.
#[derive(Debug, Default)]
pub(super) struct Circumstances {
    /// `kernel.io_uring_disabled`; absent before Linux 6.6.
    pub(super) disabled: Option<String>,
    /// `kernel.io_uring_group`: who may use it although `io_uring_disabled` is 1.
    pub(super) group: Option<String>,
    /// `Seccomp` of `/proc/self/status`: 2 if a filter sorts our system calls.
    pub(super) seccomp: Option<String>,
    /// The kernel release.
    pub(super) release: String,
}

/// Whether io_uring works, and if not, who forbids it.
pub(super) fn io_uring(trial: &RingTrial, around: &Circumstances) -> Finding {
    let name = "io_uring";
    match trial {
        RingTrial::Works => Finding::ok(name, "works"),
        RingTrial::Lacks(operations) => {
            Finding::warn(name, format!("lacks {}", operations.join(", ")))
                .why("The epoll driver is used instead, at a lower rate.")
                .fix("run Linux 6.1 or newer")
        }
        RingTrial::Refused(errno) => {
            let (by, fix) = forbidden_by(Errno::from_raw_os_error(*errno), around);
            let error = std::io::Error::from_raw_os_error(*errno);
            Finding::warn(name, format!("refused: {error}"))
                .why(format!("{by} The epoll driver is used instead, at a lower rate."))
                .fix(fix)
        }
    }
}

/// Who refused an io_uring, and what allows it.
fn forbidden_by(errno: Errno, around: &Circumstances) -> (String, String) {
    let seccomp = around.seccomp.as_deref() == Some("2");
    let allow_seccomp = "Docker: `--security-opt seccomp=PROFILE.json` with io_uring_setup, \
                         io_uring_enter and io_uring_register allowed; systemd: \
                         add `SystemCallFilter=@aio`"
        .to_owned();
    let allow_sysctl = "sysctl -w kernel.io_uring_disabled=0".to_owned();
    match (errno, around.disabled.as_deref()) {
        (Errno::PERM, Some("2")) => {
            ("Forbidden for everybody by kernel.io_uring_disabled=2.".to_owned(), allow_sysctl)
        }
        // With 1, root and the members of one group may; that we were refused says we are neither,
        // unless a seccomp filter came first: then both have to be changed.
        (Errno::PERM, Some("1")) => {
            let group = around.group.as_deref().filter(|group| *group != "-1");
            let also = group.map_or(String::new(), |group| format!(" and group {group}"));
            (
                format!("Forbidden by kernel.io_uring_disabled=1 to all but root{also}."),
                group.map_or(allow_sysctl.clone(), |group| {
                    format!("run as a member of group {group}, or: {allow_sysctl}")
                }),
            )
        }
        (Errno::PERM | Errno::NOSYS | Errno::ACCESS, _) if seccomp => {
            ("Forbidden by a seccomp filter, as containers have.".to_owned(), allow_seccomp)
        }
        (Errno::NOSYS, _) => (
            format!("The kernel ({}) is built without io_uring or is too old.", around.release),
            "run Linux 6.1 or newer with CONFIG_IO_URING=y".to_owned(),
        ),
        (Errno::INVAL, _) => (
            format!(
                "The kernel ({}) does not know SINGLE_ISSUER or COOP_TASKRUN, which a worker asks \
                 for.",
                around.release
            ),
            "run Linux 6.1 or newer".to_owned(),
        ),
        (Errno::NOMEM, _) => (
            "The bound on locked memory (or memory itself) is too low for the rings.".to_owned(),
            "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity; Docker: --ulimit memlock=-1)"
                .to_owned(),
        ),
        (Errno::MFILE | Errno::NFILE, _) => (
            "The bound on open files is used up.".to_owned(),
            format!("ulimit -n {OPEN_FILES} (systemd: LimitNOFILE={OPEN_FILES})"),
        ),
        _ => (
            "Forbidden by a security module (SELinux, AppArmor) or by what runs this process."
                .to_owned(),
            "look at `journalctl -k` and `ausearch -m avc` for who refused io_uring".to_owned(),
        ),
    }
}

/// Whether the other driver works.
pub(super) fn epoll(trial: Result<(), i32>, io_uring: &RingTrial) -> Finding {
    let name = "epoll";
    let Err(errno) = trial else { return Finding::ok(name, "works") };
    let found = format!("refused: {}", std::io::Error::from_raw_os_error(errno));
    let fix = "allow epoll_create1, epoll_ctl and epoll_wait in the seccomp filter";
    match io_uring {
        RingTrial::Works => {
            Finding::warn(name, found).why("Only the io_uring driver can be used.").fix(fix)
        }
        RingTrial::Lacks(_) | RingTrial::Refused(_) => {
            Finding::fail(name, found).why("Neither driver works.").fix(fix)
        }
    }
}

/// `RLIMIT_MEMLOCK`: what io_uring may hold in memory, on kernels that count it.
pub(super) fn locked_memory(limits: &str, release: &str, io_uring: &RingTrial) -> Finding {
    let name = "locked memory";
    let Some(now) = bound(limits, "Max locked memory") else {
        return unreadable(name, "/proc/self/limits");
    };
    let found = match now.soft {
        u64::MAX => "unlimited (memlock)".to_owned(),
        bytes => format!("{} KiB (memlock)", bytes / 1024),
    };
    let counted = kernel_version(release).is_none_or(|kernel| kernel < KERNEL_WITHOUT_MEMLOCK);
    let refused = *io_uring == RingTrial::Refused(Errno::NOMEM.raw_os_error());
    if now.soft >= LOCKED_MEMORY {
        Finding::ok(name, found)
    } else if counted || refused {
        Finding::warn(name, found)
            .why("This kernel counts the rings of each worker as locked memory.")
            .fix("ulimit -l unlimited (systemd: LimitMEMLOCK=infinity)")
    } else {
        Finding::ok(name, format!("{found}; this kernel does not count io_uring's rings"))
    }
}

/// `RLIMIT_NOFILE`: how many connections can be open.
pub(super) fn open_files(limits: &str) -> Finding {
    let name = "open files";
    let Some(now) = bound(limits, "Max open files") else {
        return unreadable(name, "/proc/self/limits");
    };
    let words = |bound| match bound {
        u64::MAX => "unlimited".to_owned(),
        number => number.to_string(),
    };
    let found = format!("{} (nofile; may be raised to {})", words(now.soft), words(now.hard));
    if now.soft >= OPEN_FILES {
        return Finding::ok(name, found);
    }
    let room = now.soft / 2;
    let finding = Finding::warn(name, found)
        .why(format!("A proxied connection takes two: this is room for about {room}."));
    if now.hard >= OPEN_FILES {
        finding.fix(format!("ulimit -n {OPEN_FILES} (systemd: LimitNOFILE={OPEN_FILES})"))
    } else {
        finding.fix(format!(
            "as root: prlimit --nofile={OPEN_FILES} --pid $$ (systemd: LimitNOFILE={OPEN_FILES}; \
             Docker: --ulimit nofile={OPEN_FILES})"
        ))
    }
}

/// `net.core.somaxconn`: connections that wait until a worker accepts them.
pub(super) fn accept_queue(somaxconn: Option<&str>) -> Finding {
    at_least(
        ("accept queue", "net.core.somaxconn"),
        somaxconn,
        ACCEPT_QUEUE,
        "Bursts of new connections beyond this are dropped and tried again by the client.",
    )
}

/// `net.ipv4.tcp_max_syn_backlog`: connections whose handshake is under way.
pub(super) fn syn_queue(backlog: Option<&str>) -> Finding {
    at_least(
        ("handshake queue", "net.ipv4.tcp_max_syn_backlog"),
        backlog,
        // The remedy asks for the size of the queue behind it.
        SYN_QUEUE,
        "Bursts of new connections beyond this fall back to SYN cookies or are dropped.",
    )
}

fn at_least(
    (name, sysctl): (&'static str, &str),
    value: Option<&str>,
    enough: u32,
    why: &str,
) -> Finding {
    let Some(number) = value.and_then(|value| value.parse::<u32>().ok()) else {
        return unreadable(name, sysctl);
    };
    let found = format!("{number} ({sysctl})");
    if number >= enough {
        return Finding::ok(name, found);
    }
    Finding::warn(name, found).why(why).fix(format!("sysctl -w {sysctl}={ACCEPT_QUEUE}"))
}

/// `net.ipv4.ip_local_port_range`: our side of connections to upstreams.
pub(super) fn local_ports(range: Option<&str>) -> Finding {
    let (name, sysctl) = ("local ports", "net.ipv4.ip_local_port_range");
    let Some((first, last)) = range.and_then(port_range) else {
        return unreadable(name, sysctl);
    };
    let count = u32::from(last) - u32::from(first) + 1;
    let found = format!("{count}, from {first} to {last} ({sysctl})");
    if count >= LOCAL_PORTS {
        return Finding::ok(name, found);
    }
    Finding::warn(name, found)
        .why("This bounds the connections that can be open to one endpoint of an upstream.")
        .fix(format!("sysctl -w {sysctl}=\"16384 60999\""))
}

/// Processors by affinity (`/proc/self/status`) and quota (in processors), and what
/// `workers.count: auto` makes of them.
pub(super) fn cores(status: &str, quota: Option<f64>, workers: usize) -> Finding {
    let name = "cores";
    let allowed = status_field(status, "Cpus_allowed_list").unwrap_or_default();
    let count = cpu_list(allowed).map_or(0, |cpus| cpus.len());
    if count == 0 {
        return unreadable(name, "Cpus_allowed_list in /proc/self/status");
    }
    let quota_in_words = quota.map_or("no quota".to_owned(), |quota| format!("quota {quota:.2}"));
    let found = format!("{count} by affinity ({allowed}), {quota_in_words}: auto is {workers}");
    match quota {
        Some(quota) if quota < workers as f64 => Finding::warn(name, found)
            .why("The workers want more time than the quota leaves: under load they are paused.")
            .fix(format!(
                "give whole processors: docker --cpus={workers}, systemd CPUQuota={}%, Kubernetes \
                 cpu: \"{workers}\"",
                workers * 100
            )),
        _ => Finding::ok(name, found),
    }
}

/// NUMA nodes: nothing to change, but to know before choosing `workers.cores`.
pub(super) fn numa(nodes: &[(usize, String)]) -> Finding {
    let name = "NUMA nodes";
    match nodes {
        [] => Finding::ok(name, "none shown"),
        [_] => Finding::ok(name, "1"),
        nodes => {
            let cpus: Vec<_> = nodes.iter().map(|(node, cpus)| format!("{node}: {cpus}")).collect();
            Finding::ok(name, format!("{} ({})", nodes.len(), cpus.join("; "))).why(
                "Workers on the node that the network card hangs on are fastest: \
                 `workers: {cores: \"…\"}`.",
            )
        }
    }
}

fn unreadable(name: &'static str, what: &str) -> Finding {
    Finding::warn(name, "unknown").why(format!("{what} could not be read here."))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    /// Checks state and, among everything that the finding says, a part.
    #[track_caller]
    fn check(finding: &Finding, state: State, part: &str) {
        let Finding { found, why, fix, .. } = finding;
        let said = format!("{found}\n{why:?}\n{fix:?}");
        assert_eq!(finding.state, state, "{said}");
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }

    fn refused(errno: Errno) -> RingTrial {
        RingTrial::Refused(errno.raw_os_error())
    }

    fn around(disabled: &str, seccomp: &str) -> Circumstances {
        Circumstances {
            disabled: Some(disabled.to_owned()),
            group: Some("-1".to_owned()),
            seccomp: Some(seccomp.to_owned()),
            release: "6.8".to_owned(),
        }
    }

    #[test]
    fn an_old_kernel_is_a_warning() {
        check(&kernel("6.1.0-18-amd64"), State::Ok, "6.1.0-18-amd64");
        check(&kernel("5.10.0"), State::Warn, "Linux 6.1");
        check(&kernel(""), State::Warn, "/proc mounted");
    }

    #[test]
    fn io_uring_names_who_forbids_it() {
        let perm = refused(Errno::PERM);
        check(&io_uring(&perm, &around("2", "0")), State::Warn, "io_uring_disabled=0");
        check(&io_uring(&perm, &around("1", "0")), State::Warn, "to all but root.");
        let mut by_group = around("1", "0");
        by_group.group = Some("999".to_owned());
        check(&io_uring(&perm, &by_group), State::Warn, "member of group 999");
        check(&io_uring(&perm, &around("0", "2")), State::Warn, "seccomp=PROFILE.json");
        check(&io_uring(&perm, &around("0", "0")), State::Warn, "security module");
    }

    #[test]
    fn io_uring_tells_absence_from_lack_of_memory() {
        let old = Circumstances::default();
        check(&io_uring(&refused(Errno::NOSYS), &old), State::Warn, "CONFIG_IO_URING");
        check(&io_uring(&refused(Errno::NOSYS), &around("0", "2")), State::Warn, "seccomp");
        check(&io_uring(&refused(Errno::NOMEM), &old), State::Warn, "ulimit -l unlimited");
        check(&io_uring(&RingTrial::Lacks(vec!["send"]), &old), State::Warn, "lacks send");
        check(&io_uring(&refused(Errno::INVAL), &old), State::Warn, "SINGLE_ISSUER");
        check(&io_uring(&RingTrial::Works, &old), State::Ok, "works");
    }

    #[test]
    fn epoll_matters_only_where_io_uring_does_not_work() {
        let errno = Errno::NOSYS.raw_os_error();
        check(&epoll(Ok(()), &RingTrial::Works), State::Ok, "works");
        check(&epoll(Err(errno), &RingTrial::Works), State::Warn, "Only the io_uring");
        check(&epoll(Err(errno), &refused(Errno::PERM)), State::Fail, "Neither");
    }

    #[test]
    fn locked_memory_counts_on_old_kernels_only() {
        let little = "Max locked memory   65536   65536   bytes";
        check(&locked_memory(little, "5.10", &RingTrial::Works), State::Warn, "LimitMEMLOCK");
        check(&locked_memory(little, "6.1", &RingTrial::Works), State::Ok, "64 KiB");
        check(&locked_memory(little, "6.1", &refused(Errno::NOMEM)), State::Warn, "ulimit -l");
        let much = "Max locked memory   unlimited   unlimited   bytes";
        check(&locked_memory(much, "5.10", &RingTrial::Works), State::Ok, "unlimited");
        check(&locked_memory("", "5.10", &RingTrial::Works), State::Warn, "/proc/self/limits");
    }

    #[test]
    fn open_files_say_how_many_connections_they_are() {
        check(&open_files("Max open files 1048576 1048576 files"), State::Ok, "1048576");
        check(&open_files("Max open files 1024 1048576 files"), State::Warn, "ulimit -n 65536");
        check(&open_files("Max open files 1024 4096 files"), State::Warn, "about 512");
        check(&open_files("Max open files 1024 4096 files"), State::Warn, "prlimit");
    }

    #[test]
    fn queues_and_ports_are_bounds_on_bursts() {
        check(&accept_queue(Some("4096")), State::Ok, "4096");
        check(&accept_queue(Some("128")), State::Warn, "sysctl -w net.core.somaxconn=4096");
        check(&accept_queue(None), State::Warn, "could not be read");
        check(&syn_queue(Some("512")), State::Warn, "tcp_max_syn_backlog=4096");
        check(&local_ports(Some("32768\t60999")), State::Ok, "28232");
        check(&local_ports(Some("60000\t60999")), State::Warn, "16384 60999");
    }

    #[test]
    fn a_broken_quota_is_a_warning() {
        let of = |quota, workers| cores("Cpus_allowed_list:\t0-3\n", quota, workers);
        check(&of(None, 4), State::Ok, "4 by affinity (0-3), no quota: auto is 4");
        check(&of(Some(2.0), 2), State::Ok, "quota 2.00: auto is 2");
        check(&of(Some(8.5), 4), State::Ok, "auto is 4");
        check(&of(Some(1.5), 2), State::Warn, "--cpus=2");
        check(&cores("", None, 1), State::Warn, "could not be read");
    }

    #[test]
    fn several_nodes_are_listed() {
        let nodes = [(0, "0-15".to_owned()), (1, "16-31".to_owned())];
        check(&numa(&nodes), State::Ok, "2 (0: 0-15; 1: 16-31)");
        check(&numa(&nodes[..1]), State::Ok, "1");
    }
}
