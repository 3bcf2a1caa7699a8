//! The way in for `ringway reload`: a socket that only this machine sees, in the abstract namespace
//! (unix(7)), whose name has the number of the process. Who asks must be the same user, or root.
//!
//! One question a connection, in one line; the answer is one JSON object. They are answered one
//! after the other.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::{Value, json};

use super::Event;
use crate::limits::{LOCAL_PATIENCE, LOCAL_QUESTION, RELOAD_PATIENCE};

/// The name of the socket of the process with this number.
pub fn name(process: u32) -> String {
    format!("ringway/{process}")
}

/// Answers from now on, about the gateway that serves this file. Without the socket all else works,
/// so what is wrong with it is only logged.
pub(super) fn start(file: Option<PathBuf>, events: Sender<Event>) {
    let name = name(std::process::id());
    // Who asks may be in another directory.
    let file = file.and_then(|file| std::path::absolute(file).ok());
    let listener =
        SocketAddr::from_abstract_name(&name).and_then(|name| UnixListener::bind_addr(&name));
    let started = listener.and_then(|listener| {
        std::thread::Builder::new().name("ringway-local".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                // Whoever asks and goes away has lost nothing but the answer.
                let _ = stream.and_then(|stream| answer(stream, file.as_ref(), &events));
            }
        })
    });
    if let Err(error) = started {
        tracing::warn!(%error, socket = name, "`ringway reload` cannot reach this process");
    }
}

fn answer(stream: UnixStream, file: Option<&PathBuf>, events: &Sender<Event>) -> io::Result<()> {
    stream.set_read_timeout(Some(LOCAL_PATIENCE))?;
    stream.set_write_timeout(Some(LOCAL_PATIENCE))?;
    let user = user_of(&stream)?;
    // SAFETY: a plain system call without arguments, which cannot fail (geteuid(2)).
    let own = unsafe { libc::geteuid() };
    let answer = if user == own || user == 0 {
        let mut question = String::new();
        BufReader::new((&stream).take(LOCAL_QUESTION)).read_line(&mut question)?;
        ask(question.trim(), file, events)
    } else {
        json!({"error": "only the user that the gateway runs as, or root, may ask"})
    };
    (&stream).write_all(format!("{answer}\n").as_bytes())
}

fn ask(question: &str, file: Option<&PathBuf>, events: &Sender<Event>) -> Value {
    match question {
        "file" => json!({"file": file}),
        "reload" => {
            let (reply, reloaded) = bounded(1);
            let why = "ringway reload";
            let asked = events.send(Event::Reload { why, reply: Some(reply) });
            match asked.ok().and_then(|()| wait(&reloaded)) {
                Some(Ok(report)) => json!({
                    "routes": report.routes,
                    "upstreams": report.upstreams,
                    "listeners": report.listeners,
                    "build_ms": report.build.as_millis() as u64,
                    "adopted_ms": report.adopted.as_millis() as u64,
                }),
                Some(Err(error)) => json!({"error": error}),
                None => json!({"error": "no answer: the gateway is stopping, or very busy"}),
            }
        }
        "preview" => {
            let (reply, previewed) = bounded(1);
            let asked = events.send(Event::Preview { reply });
            match asked.ok().and_then(|()| wait(&previewed)) {
                Some(Ok(preview)) => json!({"changes": preview}),
                Some(Err(error)) => json!({"error": error}),
                None => json!({"error": "no answer: the gateway is stopping, or very busy"}),
            }
        }
        _ => json!({"error": "the question is not understood"}),
    }
}

fn wait<T>(answer: &Receiver<T>) -> Option<T> {
    answer.recv_timeout(RELOAD_PATIENCE).ok()
}

/// The user of the process at the other end.
fn user_of(stream: &UnixStream) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = mem::size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `stream` is; SO_PEERCRED (unix(7)) writes one
    // `ucred`, for which there is room on our stack, and says in `length` how much it wrote.
    let done = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    if done == 0 { Ok(peer.uid) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_is_known() {
        let (here, _there) = UnixStream::pair().unwrap();
        // SAFETY: as in `answer`.
        assert_eq!(user_of(&here).unwrap(), unsafe { libc::geteuid() });
    }

    #[test]
    fn what_is_asked_is_answered_and_nothing_else() {
        let (events, asked) = bounded(1);
        let answer = std::thread::spawn(move || ask("reload", None, &events));
        let Ok(Event::Reload { reply: Some(reply), .. }) = asked.recv() else { panic!() };
        reply.send(Err("it is wrong".to_owned())).unwrap();
        assert_eq!(answer.join().unwrap()["error"], "it is wrong");
        let (events, _asked) = bounded(1);
        let file = PathBuf::from("/etc/gateway.yaml");
        assert_eq!(ask("file", Some(&file), &events)["file"], "/etc/gateway.yaml");
        assert!(ask("stop", None, &events)["error"].is_string());
    }
}
