//! Signals, on a thread of their own.
//!
//! SIGUSR1 means that log files have been renamed, as with nginx.

use std::io;

use crossbeam_channel::Sender;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::Event;

/// Catches SIGTERM, SIGINT and SIGUSR1 from now on, and SIGHUP where there is a file to read
/// again; they are kept until somebody listens.
///
/// # Errors
/// When the handler cannot be installed.
pub(crate) fn catch(reloads: bool) -> io::Result<Signals> {
    let signals = Signals::new([SIGTERM, SIGINT, SIGUSR1])?;
    if reloads {
        signals.add_signal(SIGHUP)?;
    }
    Ok(signals)
}

/// Turns what is caught into events: SIGHUP into [`Event::Reload`], SIGUSR1 into
/// [`Event::ReopenLogs`], the others into
/// [`Event::Stop`]. The second of those ends the process at once, as someone who presses Ctrl-C
/// twice means it.
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
            if signal == SIGHUP {
                let _ = events.send(Event::Reload { why: "SIGHUP", reply: None });
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
