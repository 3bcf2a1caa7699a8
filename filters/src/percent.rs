//! Shares of the requests, as percentages that may have a fraction.

use ringway_engine::balance::Rng;
use ringway_engine::filter::SettingsError;

use crate::wrong;

/// Refuses what is no percentage.
pub(crate) fn check(field: &str, percent: f64) -> Result<(), SettingsError> {
    if (0.0..=100.0).contains(&percent) {
        return Ok(());
    }
    Err(wrong(field, format!("{percent} is no percentage"), "write a number from 0 to 100"))
}

/// True for so many of a hundred calls.
pub(crate) fn draws(rng: &mut Rng, percent: f64) -> bool {
    /// Tickets in the drum: percentages are told apart down to a millionth.
    const TICKETS: u64 = 100_000_000;
    let ticket = rng.below(TICKETS);
    (ticket as f64) < percent / 100.0 * TICKETS as f64
}
