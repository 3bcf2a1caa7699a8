//! What filters have done now and then, off the workers: one thread, one errand after the other.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::clock;
use crate::filter::Errand;

/// Runs each errand at once and then whenever its time has come.
///
/// # Errors
/// When the thread cannot be made.
pub(crate) fn start(errands: Vec<Errand>) -> io::Result<()> {
    if errands.is_empty() {
        return Ok(());
    }
    let mut due: Vec<(Instant, Errand)> =
        errands.into_iter().map(|errand| (clock::now(), errand)).collect();
    std::thread::Builder::new().name("ringway-errands".to_owned()).spawn(move || {
        while let Some(next) = due.iter_mut().min_by_key(|(at, _)| *at) {
            std::thread::sleep(next.0.saturating_duration_since(clock::now()));
            match catch_unwind(AssertUnwindSafe(&mut next.1)) {
                Ok(wait) => next.0 = clock::now() + wait,
                Err(_) => {
                    tracing::error!("an errand of a filter was lost to a panic");
                    let lost = next.0;
                    due.retain(|(at, _)| *at != lost);
                }
            }
        }
    })?;
    Ok(())
}
