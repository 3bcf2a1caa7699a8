//! `ringway reload`: has a running gateway read its file again, and tells what came of it.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringway_engine::local;
use serde_json::Value;

use crate::Exit;
use crate::check::counted;
use crate::diff::{self, Diff};
use crate::paint::{Paint, err, out, out_json};

/// Arguments of `ringway reload`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs neither the admin API nor a pid file: it asks the gateway itself, on this machine, as the user
that the gateway runs as or as root. The gateway reads the file that it was started with, with the
environment that it was started with. What has changed is served by from the next request on;
nothing changes if the file has an error. SIGHUP does the same, without an answer.

Exit codes: 0 every worker has adopted the file; 1 nothing has changed, and why is shown.
With --dry-run: 0 nothing would change; 1 the file has errors; 2 something would change.")]
pub(crate) struct Arguments {
    /// The file of the gateway that is meant, where several run
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The process that is meant, where several run
    #[arg(long, value_name = "PID", conflicts_with = "config")]
    pid: Option<u32>,
    /// Change nothing: tell what would change, as `ringway diff` does
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object for a script instead of text for a person
    #[arg(long)]
    json: bool,
}

/// How long the answer may take: a little longer than the gateway itself waits for it.
const PATIENCE: Duration = Duration::from_secs(65);

/// The list of sockets of this machine (proc_pid_net(5)); the abstract ones begin with `@`.
const SOCKETS: &str = "/proc/net/unix";

/// Finds the gateway, asks it, and prints its answer.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    let question = if arguments.dry_run { "preview" } else { "reload" };
    let answer = find(arguments).and_then(|process| {
        ask(process, question)
            .map_err(|error| format!("process {process} does not answer: {error}"))
    });
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(error) => serde_json::json!({ "error": error }),
    };
    if let Some(Ok(changes)) =
        answer.get_mut("changes").map(|changes| serde_json::from_value::<Diff>(changes.take()))
    {
        return diff::show(&changes, arguments.json);
    }
    if arguments.json {
        out_json(&answer);
        return if answer.get("error").is_some() { Exit::Failed } else { Exit::Done };
    }
    match answer.get("error") {
        Some(error) => {
            let error = error.as_str().unwrap_or("unknown");
            let head = Paint::stderr().bad("not reloaded, nothing has changed");
            err(format_args!("{head}: {error}\n"));
            Exit::Failed
        }
        None => {
            let number = |field| answer.get(field).and_then(Value::as_u64).unwrap_or_default();
            let counted = |field, what| counted(number(field) as usize, what);
            out(format_args!(
                "reloaded: {}, {}, {}; built in {} ms, adopted by every worker after {} ms\n",
                counted("routes", "route"),
                counted("upstreams", "upstream"),
                counted("listeners", "listener"),
                number("build_ms"),
                number("adopted_ms"),
            ));
            Exit::Done
        }
    }
}

/// The process that is meant.
fn find(arguments: &Arguments) -> Result<u32, String> {
    if let Some(process) = arguments.pid {
        return Ok(process);
    }
    let list = std::fs::read_to_string(SOCKETS).map_err(|error| {
        format!("{SOCKETS} cannot be read ({error}): name the process by --pid")
    })?;
    let gateways: Vec<_> = processes(&list)
        .into_iter()
        .filter_map(|process| Some((process, file_of(process)?)))
        .filter(|(_, file)| arguments.config.as_ref().is_none_or(|wanted| same(wanted, file)))
        .collect();
    match gateways.as_slice() {
        [(process, _)] => Ok(*process),
        [] => Err(match &arguments.config {
            Some(wanted) => format!(
                "no gateway runs here by the file {} that this user may ask; `ringway reload` \
                 without -c finds the one that runs, or name the process by --pid",
                wanted.display()
            ),
            None => "no gateway runs here that this user may ask; start one with `ringway run`, \
                     or name the process by --pid"
                .to_owned(),
        }),
        several => {
            let list: String = several
                .iter()
                .map(|(process, file)| format!("\n  --pid {process}  {}", file.display()))
                .collect();
            Err(format!("several gateways run here: say which one{list}"))
        }
    }
}

/// The processes that can be asked, by the names of their sockets.
fn processes(list: &str) -> BTreeSet<u32> {
    let prefix = format!("@{}", local::name(0).trim_end_matches('0'));
    let names = list.lines().filter_map(|line| line.split_whitespace().last());
    names.filter_map(|name| name.strip_prefix(&prefix)?.parse().ok()).collect()
}

fn file_of(process: u32) -> Option<PathBuf> {
    let answer = ask(process, "file").ok()?;
    answer.get("file")?.as_str().map(PathBuf::from)
}

fn same(wanted: &Path, file: &Path) -> bool {
    wanted == file
        || wanted.canonicalize().ok().is_some_and(|path| file.canonicalize().ok() == Some(path))
}

/// Puts one question to a process.
fn ask(process: u32, question: &str) -> io::Result<Value> {
    let name = SocketAddr::from_abstract_name(local::name(process))?;
    let mut stream = UnixStream::connect_addr(&name)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let put = stream.write_all(format!("{question}\n").as_bytes());
    let mut answer = String::new();
    // Whoever may not ask is answered before the question is heard, so that to put it may fail, and
    // so may to read on behind the answer, which is one line.
    let read = BufReader::new(stream).read_line(&mut answer);
    if answer.is_empty() {
        put.and(read)?;
    }
    serde_json::from_str(&answer).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn gateways_are_found_by_the_names_of_their_sockets() {
        let list = "\
Num       RefCount Protocol Flags    Type St Inode Path
0000: 00000002 00000000 00010000 0001 01 12345 @ringway/77
0000: 00000002 00000000 00010000 0001 01 12346 @ringway/78
0000: 00000003 00000000 00000000 0001 03 12346 @ringway/78
0000: 00000002 00000000 00010000 0001 01 12347 /run/ringway/79
0000: 00000002 00000000 00010000 0001 01 12348 @ringway/other
0000: 00000002 00000000 00000000 0002 01 12349
";
        assert_eq!(processes(list).into_iter().collect::<Vec<_>>(), [77, 78]);
    }

    #[test]
    fn an_answer_counts_that_comes_before_the_question_is_heard() {
        let process = std::process::id();
        let name = SocketAddr::from_abstract_name(local::name(process)).unwrap();
        let listener = UnixListener::bind_addr(&name).unwrap();
        let gateway = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"{\"error\": \"not you\"}\n").unwrap();
        });
        assert_eq!(ask(process, "reload").unwrap()["error"], "not you");
        gateway.join().unwrap();
        assert!(ask(process, "reload").is_err(), "nobody is there any more");
    }
}
