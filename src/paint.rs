//! What reaches the terminal: colour where a person looks, plain bytes where a program reads.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process;

use serde::Serialize;

use crate::Exit;

/// Colours for one stream, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// No colour, whatever the stream: for text that a program reads.
    #[cfg(test)]
    pub(crate) const PLAIN: Paint = Paint { on: false };

    /// Colours standard output if it is a terminal and nobody asked for plain text.
    pub(crate) fn stdout() -> Paint {
        Paint { on: io::stdout().is_terminal() && wanted() }
    }

    /// Colours standard error under the same conditions.
    pub(crate) fn stderr() -> Paint {
        Paint { on: io::stderr().is_terminal() && wanted() }
    }

    /// Whether this stream takes colour.
    pub(crate) fn is_on(self) -> bool {
        self.on
    }

    pub(crate) fn good(self, text: impl fmt::Display) -> String {
        self.with("32", text)
    }

    pub(crate) fn warning(self, text: impl fmt::Display) -> String {
        self.with("33", text)
    }

    pub(crate) fn bad(self, text: impl fmt::Display) -> String {
        self.with("1;31", text)
    }

    pub(crate) fn strong(self, text: impl fmt::Display) -> String {
        self.with("1", text)
    }

    pub(crate) fn faint(self, text: impl fmt::Display) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: impl fmt::Display) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// <https://no-color.org>: any non-empty `NO_COLOR` turns colour off; a dumb terminal has none.
fn wanted() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// One line of a terminal that tells what is being done; nothing where nobody looks.
pub(crate) struct Progress {
    on: bool,
}

impl Progress {
    /// On standard error, if it is a terminal.
    pub(crate) fn stderr() -> Progress {
        Progress { on: Paint::stderr().is_on() }
    }

    /// Says `text` in place of what it said before.
    pub(crate) fn show(&self, text: impl fmt::Display) {
        if self.on {
            err(format_args!("\r\x1b[K{text}"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show("");
    }
}

/// Writes `text` to standard output. A reader that has gone (`ringway schema | head`) is no error:
/// there is nobody left to tell. Where it is lost otherwise, as on a full disk, that ends the
/// process: who reads the file that it should be in must not take it for whole.
pub(crate) fn out(text: impl fmt::Display) {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(fault) if fault.kind() != io::ErrorKind::BrokenPipe => {
            let error = Paint::stderr().bad("error");
            err(format_args!("{error}: standard output cannot be written to: {fault}\n"));
            process::exit(Exit::Failed as i32);
        }
        Ok(()) | Err(_) => {}
    }
}

/// Writes `value` to standard output as JSON, for a script.
pub(crate) fn out_json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(json) => out(format_args!("{json}\n")),
        // Our own types have string keys and no failing parts; a script must see it all the same.
        Err(error) => out(format_args!("{{\"error\": \"{error}\"}}\n")),
    }
}

/// Writes `text` to standard error; if that fails there is no other place to complain to.
pub(crate) fn err(text: impl fmt::Display) {
    let _ = write!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_stream_gets_no_escape_codes() {
        assert_eq!(Paint::PLAIN.bad("no"), "no");
        assert_eq!(Paint { on: true }.bad("no"), "\x1b[1;31mno\x1b[0m");
    }
}
