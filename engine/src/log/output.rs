//! Where log records go.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// How long a reader may take nothing before the writer looks at its orders again.
const STALL: Duration = Duration::from_millis(250);

/// Where log records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// A file, appended to; made with mode 0640 when it is not there.
    File(PathBuf),
    /// A stream socket of the Unix domain that somebody listens on.
    Socket(PathBuf),
}

/// An output that is open.
#[derive(Debug)]
pub(super) enum Target {
    File(File),
    Socket(UnixStream),
}

impl Output {
    /// Opens it.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn open(&self) -> io::Result<Target> {
        Ok(match self {
            // Not `Stdout` itself, which has a lock and a buffer that nobody here wants.
            Output::Stdout => Target::File(io::stdout().as_fd().try_clone_to_owned()?.into()),
            Output::File(path) => {
                // A named pipe without a reader is to be an error, not a wait.
                let options = OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(0o640)
                    .custom_flags(libc::O_NONBLOCK)
                    .open(path)?;
                Target::File(options)
            }
            Output::Socket(path) => {
                let stream = connect(path)?;
                stream.set_write_timeout(Some(STALL))?;
                Target::Socket(stream)
            }
        })
    }
}

/// Connects without waiting: where nobody accepts, that could be for ever.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // What cannot be done at once is not done later either (unix(7)).
    socket.connect(&SockAddr::unix(path)?).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => io::Error::other("its listener accepts nobody"),
        _ => error,
    })?;
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

impl Target {
    /// Writes what it takes of `text`.
    pub(super) fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match self {
            Target::File(file) => file.write(text),
            Target::Socket(stream) => stream.write(text),
        }
    }

    /// True for what has to be connected anew after a failure.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Target::Socket(_))
    }
}

impl fmt::Display for Output {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Stdout => out.write_str("stdout"),
            Output::File(path) => write!(out, "file:{}", path.display()),
            Output::Socket(path) => write!(out, "socket:{}", path.display()),
        }
    }
}
