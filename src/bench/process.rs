//! A gateway under measurement: its processes, what they use, and their end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::stop::Stop;

/// How long a gateway may take to listen.
const START: Duration = Duration::from_secs(20);

/// How long it may take to end before it is killed.
const END: Duration = Duration::from_secs(5);

/// A started gateway; ended when dropped.
pub(super) struct Process {
    child: Child,
    stop: Stop,
}

/// What all processes of a gateway have used so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Usage {
    /// Bytes resident now.
    pub(super) rss: u64,
    /// User and system time of each thread that has any, by its number.
    threads: BTreeMap<u32, Duration>,
}

impl Usage {
    /// The time used since `before`; none when a thread has gone since, and its time with it.
    pub(super) fn since(&self, before: &Usage) -> Option<Duration> {
        let gone = before.threads.keys().any(|thread| !self.threads.contains_key(thread));
        (!gone).then(|| self.each_since(before).sum())
    }

    fn each_since<'a>(&'a self, before: &'a Usage) -> impl Iterator<Item = Duration> + 'a {
        self.threads.iter().map(|(thread, time)| {
            time.saturating_sub(before.threads.get(thread).copied().unwrap_or_default())
        })
    }

    /// How much the least busy of the `workers` busiest threads did beside the busiest since
    /// `before`, from 0 to 1 (even).
    pub(super) fn evenness(&self, before: &Usage, workers: usize) -> f64 {
        let mut spent: Vec<Duration> = self.each_since(before).collect();
        spent.sort_unstable_by(|a, b| b.cmp(a));
        spent.truncate(workers);
        match (spent.first(), spent.last()) {
            (Some(most), Some(least)) if !most.is_zero() && spent.len() == workers => {
                least.as_secs_f64() / most.as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

impl Process {
    /// Starts `command` on these cores, its output in `log`, and waits until it takes connections.
    ///
    /// # Errors
    /// What went wrong, with the end of the log.
    pub(super) fn start(
        mut command: Command,
        cores: &[usize],
        address: SocketAddr,
        log: &Path,
        stop: &Stop,
    ) -> Result<Process, String> {
        let file = fs::File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let errors = file.try_clone().map_err(|error| error.to_string())?;
        // A group of its own, with all that it starts, which a terminal's Ctrl-C does not reach.
        command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0);
        let child = on_cores(cores, || stop.start(&mut command));
        let child = child.map_err(|error| error.to_string())?;
        let mut process = Process { child, stop: stop.clone() };
        let end = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            if process.stop.has_ended(&mut process.child) || Instant::now() > end {
                let said = fs::read_to_string(log).unwrap_or_default();
                let said: Vec<_> = said.lines().rev().take(5).collect();
                let said: Vec<_> = said.into_iter().rev().collect();
                return Err(format!("it does not listen; it said: {}", said.join(" / ")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    /// Sends a signal to the first process.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// What it has used so far, children and all.
    pub(super) fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for pid in family(self.child.id()) {
            usage.rss += status_field(pid, "VmRSS:") * 1024;
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            for task in tasks {
                let spent = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                let nanos = spent.split(' ').next().and_then(|nanos| nanos.parse().ok());
                let thread = task.file_name().to_string_lossy().parse();
                if let (Some(nanos @ 1..), Ok(thread)) = (nanos, thread) {
                    usage.threads.insert(thread, Duration::from_nanos(nanos));
                }
            }
        }
        usage
    }

    /// The most bytes that were ever resident, all processes together.
    pub(super) fn peak(&self) -> u64 {
        family(self.child.id()).into_iter().map(|pid| status_field(pid, "VmHWM:") * 1024).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let end = Instant::now() + END;
        while Instant::now() < end {
            if self.stop.has_ended(&mut self.child) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.stop.kill(&mut self.child);
    }
}

/// Does `work` on a thread that may use only `cores`; what it starts inherits that.
pub(super) fn on_cores<T: Send>(
    cores: &[usize],
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let mut set = rustix::thread::CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    thread::scope(|scope| {
        let worker = scope.spawn(move || {
            rustix::thread::sched_setaffinity(None, &set)?;
            work()
        });
        worker.join().unwrap_or_else(|_| Err(io::Error::other("a thread was lost to a panic")))
    })
}

/// A process and all that it has started, directly or not.
fn family(first: u32) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut family = BTreeSet::from([first]);
    loop {
        let before = family.len();
        let new = parents.iter().filter(|(_, parent)| family.contains(parent));
        let new: Vec<u32> = new.map(|(pid, _)| *pid).collect();
        family.extend(new);
        if family.len() == before {
            return family;
        }
    }
}

/// A field of /proc/PID/status, in its unit.
fn status_field(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(times: &[(u32, u64)]) -> Usage {
        let time = |&(thread, ms): &(u32, u64)| (thread, Duration::from_millis(ms));
        Usage { threads: times.iter().map(time).collect(), ..Usage::default() }
    }

    #[test]
    fn time_is_that_of_all_threads_unless_one_is_gone() {
        let before = usage(&[(1, 100), (2, 50)]);
        let after = usage(&[(1, 300), (2, 50), (3, 7)]);
        assert_eq!(after.since(&before), Some(Duration::from_millis(207)));
        assert_eq!(usage(&[(1, 300), (3, 7)]).since(&before), None);
    }

    #[test]
    fn evenness_is_the_least_beside_the_most() {
        let before = usage(&[(1, 100), (2, 100)]);
        assert_eq!(usage(&[(1, 300), (2, 200), (3, 10)]).evenness(&before, 2), 0.5);
        assert_eq!(before.evenness(&before, 2), 0.0);
        assert_eq!(usage(&[(1, 300)]).evenness(&before, 2), 0.0);
    }

    #[test]
    fn a_process_is_measured_with_its_children() {
        // A shell gives what runs beside it no standard input, unless told so.
        let script = "exec 3<&0; cat <&3 & wait";
        let mut child =
            Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        let wanted = || family(child.id()).len() >= 2;
        let end = Instant::now() + Duration::from_secs(10);
        while !wanted() {
            assert!(Instant::now() < end, "no child was seen");
            thread::yield_now();
        }
        assert!(status_field(child.id(), "VmRSS:") > 0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
