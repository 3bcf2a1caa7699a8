//! `ringway doctor`: what this machine allows, what follows from it, and what to change.

use std::fmt::Write as _;

use ringway_engine::cores::{self, RingTrial};
use serde::Serialize;

use crate::Exit;
use crate::paint::{Paint, out, out_json};

mod host;
mod rules;

use host::Host;

/// Arguments of `ringway doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads /proc and /sys and tries to set up an io_uring and an epoll instance; changes nothing.
Run it as the user, and inside the container, that will run the gateway: the answers differ.

Exit codes: 0 Ringway could serve here (warnings included); 1 it could not.")]
pub(crate) struct Arguments {
    /// Print one JSON object for a script instead of text for a person
    #[arg(long)]
    json: bool,
}

/// Examines this machine and prints what was found.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    let trials = Trials::now();
    let report = examine(&Host::new("/"), &trials);
    if arguments.json {
        out_json(&report);
    } else {
        out(render(&report, Paint::stdout()));
    }
    if report.can_serve { Exit::Done } else { Exit::Failed }
}

/// What only the running system can tell, kept apart from what files tell.
#[derive(Debug)]
struct Trials {
    io_uring: RingTrial,
    /// The error number of an attempt that failed.
    epoll: Result<(), i32>,
    /// What the engine makes of `workers.count: auto` here.
    workers: usize,
}

impl Trials {
    fn now() -> Trials {
        Trials { io_uring: cores::try_io_uring(), epoll: try_epoll(), workers: cores::auto_count() }
    }
}

/// Asks the kernel for an epoll instance: what the other driver stands on.
fn try_epoll() -> Result<(), i32> {
    use rustix::event::epoll;
    let made = epoll::create(epoll::CreateFlags::CLOEXEC);
    made.map(drop).map_err(rustix::io::Errno::raw_os_error)
}

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Nothing to change.
    Ok,
    /// Ringway serves, but less well than it could.
    Warn,
    /// Ringway cannot serve with this.
    Fail,
}

/// One thing looked at.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    name: &'static str,
    state: State,
    /// What was found, in words.
    found: String,
    /// What follows from it, where that is not plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// The command that changes it, or what to do where no command can.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, found: impl Into<String>) -> Finding {
        Finding { name, state: State::Ok, found: found.into(), why: None, fix: None }
    }

    fn warn(name: &'static str, found: impl Into<String>) -> Finding {
        Finding { state: State::Warn, ..Finding::ok(name, found) }
    }

    fn fail(name: &'static str, found: impl Into<String>) -> Finding {
        Finding { state: State::Fail, ..Finding::ok(name, found) }
    }

    fn why(self, why: impl Into<String>) -> Finding {
        Finding { why: Some(why.into()), ..self }
    }

    fn fix(self, fix: impl Into<String>) -> Finding {
        Finding { fix: Some(fix.into()), ..self }
    }
}

/// Everything that was found.
#[derive(Debug, Serialize)]
struct Report {
    can_serve: bool,
    /// What `workers.driver: auto` comes to; `None` if neither driver works.
    driver: Option<&'static str>,
    /// What `workers.count: auto` comes to.
    workers: usize,
    findings: Vec<Finding>,
}

/// Judges what the machine says and what the trials came to.
fn examine(host: &Host, trials: &Trials) -> Report {
    let status = host.read("/proc/self/status").unwrap_or_default();
    let limits = host.read("/proc/self/limits").unwrap_or_default();
    let sysctl = |name: &str| host.read(format!("/proc/sys/{name}"));
    let release = sysctl("kernel/osrelease").unwrap_or_default();
    let quota = cores::quota(host.root());
    let circumstances = rules::Circumstances {
        disabled: sysctl("kernel/io_uring_disabled"),
        group: sysctl("kernel/io_uring_group"),
        seccomp: host::status_field(&status, "Seccomp").map(str::to_owned),
        release: release.clone(),
    };
    let findings = vec![
        rules::kernel(&release),
        rules::io_uring(&trials.io_uring, &circumstances),
        rules::epoll(trials.epoll, &trials.io_uring),
        rules::locked_memory(&limits, &release, &trials.io_uring),
        rules::open_files(&limits),
        rules::accept_queue(sysctl("net/core/somaxconn").as_deref()),
        rules::syn_queue(sysctl("net/ipv4/tcp_max_syn_backlog").as_deref()),
        rules::local_ports(sysctl("net/ipv4/ip_local_port_range").as_deref()),
        rules::cores(&status, quota, trials.workers),
        rules::numa(&host.numa_nodes()),
    ];
    let driver = match (&trials.io_uring, trials.epoll) {
        (RingTrial::Works, _) => Some("io_uring"),
        (_, Ok(())) => Some("epoll"),
        (_, Err(_)) => None,
    };
    Report { can_serve: driver.is_some(), driver, workers: trials.workers, findings }
}

fn render(report: &Report, paint: Paint) -> String {
    let mut text = String::new();
    let width = report.findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    for Finding { name, state, found, why, fix } in &report.findings {
        let state = match state {
            State::Ok => paint.good("ok  "),
            State::Warn => paint.warning("warn"),
            State::Fail => paint.bad("FAIL"),
        };
        let indent = " ".repeat(width + 8);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{state}  {name:width$}  {found}");
        if let Some(why) = why {
            let _ = writeln!(text, "{indent}{}", paint.faint(why));
        }
        if let Some(fix) = fix {
            let _ = writeln!(text, "{indent}{} {fix}", paint.strong("change:"));
        }
    }
    let workers = match report.workers {
        1 => "1 worker".to_owned(),
        more => format!("{more} workers"),
    };
    let _ = match report.driver {
        Some(driver) => writeln!(
            text,
            "\n{} With `workers: {{count: auto, driver: auto}}` it uses {workers} on {driver}.",
            paint.good("Ringway can serve here.")
        ),
        None => writeln!(
            text,
            "\n{} Neither io_uring nor epoll works: see above.",
            paint.bad("Ringway cannot serve here.")
        ),
    };
    text
}

#[cfg(test)]
mod testing {
    use std::fs;

    use super::host::Host;

    /// A made-up machine: a folder with the files that a real one would have in `/proc` and `/sys`.
    pub(super) struct Machine {
        folder: tempfile::TempDir,
    }

    impl Machine {
        pub(super) fn new() -> Machine {
            Machine { folder: tempfile::tempdir().expect("a temporary folder") }
        }

        pub(super) fn file(self, path: &str, text: &str) -> Machine {
            let path = self.folder.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().expect("a path below the root")).expect("a folder");
            fs::write(path, text).expect("a file");
            self
        }

        pub(super) fn host(&self) -> Host {
            Host::new(self.folder.path())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Machine;
    use super::*;

    const GOOD: Trials = Trials { io_uring: RingTrial::Works, epoll: Ok(()), workers: 4 };

    fn server() -> Machine {
        Machine::new()
            .file("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
            .file("/proc/sys/net/core/somaxconn", "4096\n")
            .file("/proc/sys/net/ipv4/tcp_max_syn_backlog", "4096\n")
            .file("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")
            .file("/proc/self/status", "Cpus_allowed_list:\t0-3\nSeccomp:\t0\n")
            .file(
                "/proc/self/limits",
                "Max open files            1048576    1048576    files\n\
                 Max locked memory         8388608    8388608    bytes\n",
            )
            .file("/sys/devices/system/node/online", "0\n")
            .file("/sys/devices/system/node/node0/cpulist", "0-3\n")
    }

    #[test]
    fn a_good_server_has_nothing_to_change() {
        let report = examine(&server().host(), &GOOD);
        let to_change: Vec<_> =
            report.findings.iter().filter(|finding| finding.state != State::Ok).collect();
        assert!(to_change.is_empty(), "{to_change:#?}");
        assert_eq!((report.can_serve, report.driver, report.workers), (true, Some("io_uring"), 4));
    }

    #[test]
    fn without_io_uring_epoll_serves_and_without_both_nothing_does() {
        let host = server().host();
        let forbidden = RingTrial::Refused(rustix::io::Errno::PERM.raw_os_error());
        let report = examine(&host, &Trials { io_uring: forbidden.clone(), ..GOOD });
        assert_eq!((report.can_serve, report.driver), (true, Some("epoll")));
        let report = examine(&host, &Trials { io_uring: forbidden, epoll: Err(38), ..GOOD });
        assert_eq!((report.can_serve, report.driver), (false, None));
        assert!(render(&report, Paint::PLAIN).contains("Ringway cannot serve here."));
    }

    #[test]
    fn a_machine_that_shows_nothing_is_still_reported_on() {
        let report = examine(&Machine::new().host(), &GOOD);
        assert!(report.can_serve);
        assert!(report.findings.iter().any(|finding| finding.state == State::Warn));
        assert!(report.findings.iter().all(|finding| finding.state != State::Fail));
    }

    #[test]
    fn the_text_names_each_finding_and_its_remedy_without_colour() {
        let report = Report {
            can_serve: true,
            driver: Some("epoll"),
            workers: 1,
            findings: vec![
                Finding::ok("kernel", "6.1"),
                Finding::warn("open files", "1024").why("Too few.").fix("ulimit -n 65536"),
            ],
        };
        assert_eq!(
            render(&report, Paint::PLAIN),
            "\
ok    kernel      6.1
warn  open files  1024
                  Too few.
                  change: ulimit -n 65536

Ringway can serve here. With `workers: {count: auto, driver: auto}` it uses 1 worker on epoll.
"
        );
    }

    #[test]
    fn the_json_has_a_state_a_script_can_test() {
        let report = examine(&server().host(), &GOOD);
        let json = serde_json::json!(report);
        assert_eq!(json["can_serve"], true);
        assert_eq!(json["findings"][0]["name"], "kernel");
        assert_eq!(json["findings"][0]["state"], "ok");
    }

    #[test]
    fn this_machine_can_be_examined() {
        let trials = Trials::now();
        assert_eq!(trials.epoll, Ok(()));
        assert!(examine(&Host::new("/"), &trials).workers >= 1);
    }
}
