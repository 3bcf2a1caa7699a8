//! The real binary as a child process, and what can be seen of it from outside.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};
use tempfile::{NamedTempFile, TempPath};

use super::client::Client;
use super::origin::Origin;
use super::wire::{BOUND, Response};

/// The binary under test.
pub(crate) const RINGWAY: &str = env!("CARGO_BIN_EXE_ringway");

/// How often is asked what can only be asked.
const TURN: Duration = Duration::from_millis(10);

/// The I/O driver of a worker: every scene runs on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    IoUring,
    Epoll,
}

impl Driver {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Driver::IoUring => "io_uring",
            Driver::Epoll => "epoll",
        }
    }
}

/// A running `ringway run`, killed when dropped.
pub(crate) struct Gateway {
    /// Where it listens, in the order of `listen:`.
    pub(crate) addresses: Vec<SocketAddr>,
    child: Child,
    log: Arc<Log>,
    driver: Driver,
    file: TempPath,
}

/// Every line the gateway wrote to stderr so far.
#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    ended: bool,
}

impl Gateway {
    /// Starts the gateway with this file. `listen` (one port of loopback), the driver and one
    /// worker are filled in where the file leaves them out.
    #[track_caller]
    pub(crate) fn start(driver: Driver, yaml: &str) -> Gateway {
        Gateway::start_as(driver, yaml, Command::new(RINGWAY))
    }

    /// One route that takes everything to `origin`.
    #[track_caller]
    pub(crate) fn forward(driver: Driver, origin: &Origin) -> Gateway {
        Gateway::forward_with(driver, origin, "")
    }

    /// The same with further sections of the file, such as `server:`.
    #[track_caller]
    pub(crate) fn forward_with(driver: Driver, origin: &Origin, sections: &str) -> Gateway {
        Gateway::start(driver, &format!("{}{}", dedent(sections), forward_route(origin, "")))
    }

    /// The same with further settings of the route, such as `timeouts:`.
    #[track_caller]
    pub(crate) fn forward_route(driver: Driver, origin: &Origin, settings: &str) -> Gateway {
        Gateway::start(driver, &forward_route(origin, settings))
    }

    /// Starts under at most so many file descriptors.
    #[track_caller]
    pub(crate) fn start_with_nofile(driver: Driver, yaml: &str, nofile: u32) -> Gateway {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {nofile}; exec \"$0\" \"$@\""), RINGWAY]);
        Gateway::start_as(driver, yaml, command)
    }

    /// Starts with standard output going to this file or named pipe.
    #[track_caller]
    pub(crate) fn start_with_stdout(driver: Driver, yaml: &str, path: &Path) -> Gateway {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" >>\"$STDOUT\"", RINGWAY]).env("STDOUT", path);
        Gateway::start_as(driver, yaml, command)
    }

    /// Starts with a wall clock that is so many seconds off as this file says at the moment, by the
    /// library of Debian's faketime. The monotonic clock is the system's.
    #[track_caller]
    pub(crate) fn start_with_clock(driver: Driver, yaml: &str, file: &Path) -> Gateway {
        let mut command = Command::new(RINGWAY);
        command
            .env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1")
            .env("FAKETIME_TIMESTAMP_FILE", file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Gateway::start_as(driver, yaml, command)
    }

    /// Starts with this variable in its environment.
    #[track_caller]
    pub(crate) fn start_with_env(
        driver: Driver,
        yaml: &str,
        (name, value): (&str, &Path),
    ) -> Gateway {
        let mut command = Command::new(RINGWAY);
        command.env(name, value);
        Gateway::start_as(driver, yaml, command)
    }

    #[track_caller]
    fn start_as(driver: Driver, yaml: &str, command: Command) -> Gateway {
        Gateway::start_with_file(driver, write_file(driver, yaml), command)
    }

    /// Starts with its file as `gateway.yaml` in this directory.
    #[track_caller]
    pub(crate) fn start_below(driver: Driver, directory: &Path, yaml: &str) -> Gateway {
        let text = fill(driver, yaml);
        let path = directory.join("gateway.yaml");
        fs::write(&path, &text).unwrap();
        let file = TempPath::try_from_path(path).unwrap();
        Gateway::start_with_file(driver, (file, listeners(&text)), Command::new(RINGWAY))
    }

    #[track_caller]
    fn start_with_file(
        driver: Driver,
        (file, listeners): (TempPath, usize),
        mut command: Command,
    ) -> Gateway {
        let mut child = command
            .args(["run", "-c"])
            .arg(&file)
            .env_remove("RINGWAY_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|fault| panic!("cannot start {RINGWAY}: {fault}"));
        let log = Log::follow(child.stderr.take().unwrap());
        let mut gateway = Gateway { addresses: Vec::new(), child, log, driver, file };
        gateway.addresses = gateway.await_listening(listeners);
        gateway
    }

    #[track_caller]
    fn await_listening(&self, listeners: usize) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        self.log.wait(|state| {
            addresses = state.lines.iter().flat_map(|line| listening(line)).collect();
            addresses.len() >= listeners || state.ended
        });
        assert!(addresses.len() >= listeners, "it does not listen:\n{}", self.log());
        addresses
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        &self.file
    }

    /// Writes another file in its place; nobody is told.
    pub(crate) fn rewrite(&self, yaml: &str) {
        fs::write(self.path(), self.filled(yaml)).unwrap();
    }

    /// A file as this gateway is given it: with what every scene needs filled in.
    pub(crate) fn filled(&self, yaml: &str) -> String {
        fill(self.driver, yaml)
    }

    /// Writes another file in its place and has it read by SIGHUP; returns the line that tells what
    /// came of it.
    #[track_caller]
    pub(crate) fn reload(&self, yaml: &str) -> String {
        self.rewrite(yaml);
        self.reload_again()
    }

    /// Has the file read again by SIGHUP; returns the line that tells what came of it.
    #[track_caller]
    pub(crate) fn reload_again(&self) -> String {
        let before = self.reloads().len();
        self.signal(Signal::HUP);
        self.log.wait(|state| state.ended || reloads(state).len() > before);
        self.reloads().pop().unwrap_or_else(|| panic!("no reload:\n{}", self.log()))
    }

    /// The lines that tell what came of each reload so far.
    pub(crate) fn reloads(&self) -> Vec<String> {
        reloads(&self.log.state.lock().unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// A client with this address of its own, such as 127.0.0.2.
    #[track_caller]
    pub(crate) fn client_from(&self, source: [u8; 4]) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect(&self.address().into()).unwrap();
        Client::over(socket.into())
    }

    /// A GET over a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Response {
        self.client().get(target)
    }

    /// Whether a new connection is refused by now.
    pub(crate) fn refuses(&self) -> bool {
        TcpStream::connect_timeout(&self.address(), Duration::from_secs(1)).is_err()
    }

    /// Everything it logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.state.lock().unwrap().lines.join("\n")
    }

    /// Waits for a log line with all these words and returns it.
    #[track_caller]
    pub(crate) fn await_log(&self, words: &[&str]) -> String {
        let mut found = None;
        let fits = |line: &&String| words.iter().all(|word| line.contains(word));
        self.log.wait(|state| {
            found = state.lines.iter().find(fits).cloned();
            found.is_some() || state.ended
        });
        found.unwrap_or_else(|| panic!("no line with {words:?} in:\n{}", self.log()))
    }

    /// The memory it holds now.
    pub(crate) fn rss_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// How many file descriptors it has open now.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// The processor time it has used so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name in parentheses may hold anything, so fields are counted behind it (proc(5)).
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        // A tick is 10 ms on every Linux that Ringway runs on.
        Duration::from_millis(ticks * 10)
    }

    /// Waits until it holds no more than this, and says how much that is.
    #[track_caller]
    pub(crate) fn await_rss_kib(&self, most: u64) -> u64 {
        let start = Instant::now();
        loop {
            let rss = self.rss_kib();
            if rss <= most {
                return rss;
            }
            assert!(start.elapsed() < BOUND, "it holds {rss} KiB, more than {most}");
            thread::park_timeout(TURN);
        }
    }

    /// Asks it to end, as a service manager does.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn exit(&mut self) -> ExitStatus {
        // Its stderr closes with it, which is the event to wait for.
        self.log.wait(|state| state.ended);
        assert!(self.log.state.lock().unwrap().ended, "still running:\n{}", self.log());
        self.child.wait().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the gateway's log\n{}", self.log());
        } else {
            let log = self.log();
            assert!(!log.contains("panicked"), "a panic in the gateway:\n{log}");
        }
    }
}

impl Log {
    fn follow(stderr: impl std::io::Read + Send + 'static) -> Arc<Log> {
        let log = Arc::new(Log::default());
        let shared = log.clone();
        thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                shared.change(|state| state.lines.push(line));
            }
            shared.change(|state| state.ended = true);
        });
        log
    }

    fn change(&self, change: impl FnOnce(&mut LogState)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn wait(&self, mut reached: impl FnMut(&LogState) -> bool) {
        let state = self.state.lock().unwrap();
        let _ = self.changed.wait_timeout_while(state, BOUND, |state| !reached(state)).unwrap();
    }
}

/// One route named `all` to `origin`, with further settings.
pub(crate) fn forward_route(origin: &Origin, settings: &str) -> String {
    let address = origin.address;
    let settings = indent(&dedent(settings), "    ");
    format!(
        "routes:\n  - name: all\n    prefix: /\n    targets:\n      - addr: http://{address}\n\
         {settings}"
    )
}

/// Tells the threads that a scene waits for that it is over, when it goes.
pub(crate) struct End<'a>(pub(crate) &'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits for what can only be asked for, not listened to (memory, an endpoint that comes back).
#[track_caller]
pub(crate) fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < BOUND, "waited in vain: {what}");
        thread::park_timeout(TURN);
    }
}

fn reloads(state: &LogState) -> Vec<String> {
    let told = |line: &&String| line.contains(" reloaded why=") || line.contains("not reloaded");
    state.lines.iter().filter(told).cloned().collect()
}

fn write_file(driver: Driver, yaml: &str) -> (TempPath, usize) {
    let text = fill(driver, yaml);
    let mut file = NamedTempFile::with_suffix(".yaml").unwrap();
    file.write_all(text.as_bytes()).unwrap();
    (file.into_temp_path(), listeners(&text))
}

/// How many addresses the file listens on.
fn listeners(text: &str) -> usize {
    let listen = text.lines().find(|line| line.contains("listen:")).unwrap_or_default();
    listen.matches('"').count() / 2
}

/// Fills in what the file leaves out and every scene needs.
fn fill(driver: Driver, yaml: &str) -> String {
    let mut text = dedent(yaml);
    if !text.contains("listen:") {
        text = insert(&text, "server", "listen: [\"127.0.0.1:0\"]");
    }
    if !text.contains("count:") {
        text = insert(&text, "workers", "count: 1");
    }
    if !text.contains("watch:") {
        // Scenes say themselves when the file is read again, but for those about this.
        text = insert(&text, "reload", "watch: false");
    }
    insert(&text, "workers", &format!("driver: {}", driver.name()))
}

/// Puts a setting at the top of a section, which is made when it is not there.
fn insert(text: &str, section: &str, setting: &str) -> String {
    let start = format!("{section}:\n");
    if text.starts_with(&start) || text.contains(&format!("\n{start}")) {
        text.replacen(&start, &format!("{start}  {setting}\n"), 1)
    } else {
        format!("{start}  {setting}\n{text}")
    }
}

/// Takes away the indentation that the first line has, so that a file can be written in place.
pub(crate) fn dedent(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let margin = lines.first().map_or(0, |line| line.len() - line.trim_start().len());
    lines.iter().map(|line| format!("{}\n", line.get(margin..).unwrap_or_default())).collect()
}

fn indent(text: &str, margin: &str) -> String {
    text.lines().map(|line| format!("{margin}{line}\n")).collect()
}

/// Every address on a log line that says it listens.
fn listening(line: &str) -> Vec<SocketAddr> {
    if !line.contains("listening") {
        return Vec::new();
    }
    let part_of_address = |letter: char| letter.is_ascii_hexdigit() || ".:[]".contains(letter);
    line.split(|letter| !part_of_address(letter)).filter_map(|word| word.parse().ok()).collect()
}
