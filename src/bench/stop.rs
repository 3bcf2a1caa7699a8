//! The end of a comparison before its time: what signals do, and what becomes of the gateways.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::paint::err;

/// Knows whether the comparison is to end, and which gateways run; clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    asked: Arc<AtomicBool>,
    /// Process groups of gateways, by their first process. Whoever starts or reaps one holds the
    /// lock meanwhile, so that who kills them misses none and hits nobody else.
    groups: Arc<Mutex<HashSet<Pid>>>,
}

impl Stop {
    /// From now on the first signal asks for the end, which comes after the turn of a gateway; the
    /// second kills all gateways, and then this process as if it had not been caught.
    ///
    /// # Errors
    /// When the signals cannot be caught.
    pub(super) fn on_signals() -> io::Result<Stop> {
        let stop = Stop::default();
        let mut wanted = vec![SIGINT, SIGTERM];
        // `nohup` ignores the end of the terminal, and that stays so.
        if !is_ignored(SIGHUP) {
            wanted.push(SIGHUP);
        }
        let mut signals = Signals::new(wanted)?;
        let told = stop.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                told.take(signal);
            }
        })?;
        Ok(stop)
    }

    fn take(&self, signal: i32) {
        if !self.asked.swap(true, Ordering::Relaxed) {
            err(format_args!("\nEnding after this turn; a second signal ends at once\n"));
            return;
        }
        let groups = self.groups();
        for group in groups.iter() {
            let _ = kill_process_group(*group, Signal::KILL);
        }
        // Still under the lock: nothing can be started any more.
        let _ = emulate_default_handler(signal);
    }

    /// True once the end has been asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Starts a process that leads a group of its own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(&self, command: &mut Command) -> io::Result<Child> {
        let mut groups = self.groups();
        let child = command.spawn()?;
        groups.insert(Pid::from_child(&child));
        Ok(child)
    }

    /// Whether it has ended; then it is forgotten.
    pub(super) fn has_ended(&self, child: &mut Child) -> bool {
        let mut groups = self.groups();
        let ended = matches!(child.try_wait(), Ok(Some(_)) | Err(_));
        if ended {
            groups.remove(&Pid::from_child(child));
        }
        ended
    }

    /// Kills it with all that it has started.
    pub(super) fn kill(&self, child: &mut Child) {
        let mut groups = self.groups();
        let group = Pid::from_child(child);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait();
        groups.remove(&group);
    }

    fn groups(&self) -> MutexGuard<'_, HashSet<Pid>> {
        // Each change is one step, so that a panic leaves nothing half done.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this process ignores the signal (SigIgn of proc_pid_status(5)).
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}
