//! Signals, on a thread of their own.
//!
//! SIGUSR1 means that log files have been renamed, as with nginx.

use std::io;

use crossbeam_channel::Sender;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::Event;

/// Catches SIGTERM, SIGINT and SIGUSR1 from now on; they are kept until somebody listens.
///
/// # Errors
/// When the handler cannot be installed.
pub(crate) fn catch() -> io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGUSR1])
}

/// Turns what is caught into events. The second signal ends the process at once, as
/// someone who presses Ctrl-C twice means it.
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn listen(mut signals: Signals, events: Sender<Event>) -> io::Result<()> {
    std::thread::Builder::new().name("ringway-signals".to_owned()).spawn(move || {
        let mut asked = false;
        for signal in &mut signals {
            if signal == SIGUSR1 {
                let _ = events.send(Event::ReopenLogs);
                continue;
            }
            if asked {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            asked = true;
            let _ = events.send(Event::Stop);
        }
    })?;
    Ok(())
}
