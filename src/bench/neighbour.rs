//! A busy neighbour: work that is not the gateway's, on the gateway's cores.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// A thread a core that uses up its share of it, until this is dropped.
pub(super) struct Neighbour {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Neighbour {
    /// Moves in; it is busy on each of these cores when this returns.
    ///
    /// # Errors
    /// When there can be no more threads, or one may not use its core.
    pub(super) fn on(cores: &[usize]) -> io::Result<Neighbour> {
        let mut neighbour = Neighbour { over: Arc::default(), threads: Vec::new() };
        let (tell, told) = mpsc::channel();
        for &core in cores {
            let (over, tell) = (neighbour.over.clone(), tell.clone());
            let work = move || {
                let id = core_affinity::CoreId { id: core };
                // Nobody listens any more where another core could not be had.
                let _ = tell.send(core_affinity::set_for_current(id));
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            };
            let thread = thread::Builder::new().name(format!("neighbour-{core}"));
            neighbour.threads.push(thread.spawn(work)?);
        }
        if told.iter().take(cores.len()).all(|pinned| pinned) {
            return Ok(neighbour);
        }
        Err(io::Error::other(format!("a neighbour cannot be put on the cores {cores:?}")))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_out_when_it_is_dropped_and_in_only_where_it_may() {
        let cores = ringway_engine::cores::allowed();
        let neighbour = Neighbour::on(&cores).unwrap();
        assert_eq!(neighbour.threads.len(), cores.len());
        let over = neighbour.over.clone();
        drop(neighbour);
        assert_eq!(Arc::strong_count(&over), 1, "no thread is left");
        let none = (0..1024).rev().find(|core| !cores.contains(core)).unwrap();
        assert!(Neighbour::on(&[none]).is_err());
    }
}
