//! What filters have done now and then, off the workers: one thread, one errand after the other.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::clock;
use crate::filter::Errand;
use crate::live::Live;
use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// How long the thread sleeps when nothing is to be done.
const LONG: Duration = Duration::from_secs(3600);

/// The errands of the filters of one snapshot.
struct Errands {
    snapshot: Shared<Snapshot>,
    due: Vec<Due>,
}

/// An errand, when it is to be done, and the address of the blueprint that it is done for.
struct Due {
    at: Instant,
    blueprint: usize,
    errand: Errand,
}

/// Runs each errand at once and then whenever its time has come. `renewed` is told when there is
/// another snapshot; the thread ends when nobody can tell any more.
///
/// # Errors
/// When the thread cannot be made.
pub(crate) fn start(live: Shared<Live>, renewed: Receiver<()>) -> io::Result<()> {
    std::thread::Builder::new().name("ringway-errands".to_owned()).spawn(move || {
        let mut errands = Errands::of(live.snapshot());
        loop {
            let now = clock::now();
            let next = errands.due.iter().map(|due| due.at).min().unwrap_or(now + LONG);
            match renewed.recv_timeout(next.saturating_duration_since(now)) {
                Ok(()) => errands.renew(live.snapshot()),
                Err(RecvTimeoutError::Timeout) => errands.run(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    })?;
    Ok(())
}

impl Errands {
    fn of(snapshot: Shared<Snapshot>) -> Errands {
        let due = errands_of(&snapshot, |_| true);
        Errands { snapshot, due }
    }

    /// Filters that stay keep their errands.
    fn renew(&mut self, snapshot: Shared<Snapshot>) {
        self.due.retain(|due| snapshot.blueprints.contains(&due.blueprint));
        self.due.extend(errands_of(&snapshot, |new| !self.snapshot.blueprints.contains(&new)));
        // Kept as long as its errands may be, so that no other filter comes to its address.
        self.snapshot = snapshot;
    }

    /// Does what is due.
    fn run(&mut self) {
        let now = clock::now();
        self.due.retain_mut(|due| {
            if due.at > now {
                return true;
            }
            match catch_unwind(AssertUnwindSafe(&mut due.errand)) {
                Ok(wait) => due.at = clock::now() + wait,
                Err(_) => {
                    tracing::error!("an errand of a filter was lost to a panic");
                    return false;
                }
            }
            true
        });
    }
}

fn errands_of(snapshot: &Snapshot, wanted: impl Fn(usize) -> bool) -> Vec<Due> {
    let at = clock::now();
    let wanted = snapshot.filters().filter(|(_, filter)| wanted(filter.address()));
    wanted
        .filter_map(|(_, filter)| {
            Some(Due { at, blueprint: filter.address(), errand: filter.errand()? })
        })
        .collect()
}
