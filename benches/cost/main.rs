//! What a proxied request costs, counted rather than timed: instructions and heap allocations, the
//! same on a noisy machine as on a quiet one.
//!
//! The real binary runs under valgrind (callgrind counts instructions, memcheck allocations) on the
//! epoll driver, which valgrind knows, with one worker. It serves keep-alive requests of one client
//! from an origin in this process, twice with a different number of them: the difference is what
//! so many requests cost, and start and end cancel out. Neither the client nor the origin says
//! anything before the worker has nothing left to do and waits: whether it looks for an answer that
//! is not there yet would else depend on who is quicker, and be worth one part in twenty.
//!
//! ```text
//! cargo bench --bench cost              measures, and compares with benches/BASELINE.json
//! cargo bench --bench cost -- --write   measures, and writes it
//! ```
//!
//! It fails when something costs more than [`compare::TOLERANCE`] above the baseline. Who has a
//! reason to make a request dearer writes the baseline anew in the same commit, and says the reason
//! there. The baseline names what it was made with; where that differs, this says so.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use compare::{Costs, Counted, MadeWith};

mod compare;

/// Requests before anything is stable: buffers and rooms are made, branches have been seen.
const FEW: u64 = 1_000;

/// Requests of the longer run.
const MANY: u64 = 6_000;

/// How long valgrind may take to say anything.
const PATIENCE: Duration = Duration::from_secs(120);

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/BASELINE.json");

/// A file to serve by, and the request to send.
struct Case {
    name: &'static str,
    /// The route's settings beside its target, and sections before the routes.
    route: &'static str,
    sections: &'static str,
    request: String,
}

fn main() -> ExitCode {
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    // Only `cargo bench` says this; `cargo test --all-targets` shall not wait for valgrind.
    if !asked("--bench") {
        return ExitCode::SUCCESS;
    }
    let mut now = Counted { made_with: made_with(), costs: BTreeMap::new() };
    for case in cases() {
        let costs = Costs {
            instructions: each(&case, &["--tool=callgrind", "--callgrind-out-file=/dev/null"]),
            allocations: each(&case, &["--tool=memcheck", "--undef-value-errors=no"]),
        };
        println!(
            "{:<10} {:>8.0} instructions  {:>6.2} allocations a request",
            case.name, costs.instructions, costs.allocations
        );
        now.costs.insert(case.name.to_owned(), costs);
    }
    if asked("--write") {
        fs::write(BASELINE, serde_json::to_string_pretty(&now).unwrap() + "\n").unwrap();
        return ExitCode::SUCCESS;
    }
    let read = fs::read(BASELINE).map_err(|error| error.to_string());
    let read = read.and_then(|text| {
        serde_json::from_slice::<Counted>(&text).map_err(|error| error.to_string())
    });
    let before = match read {
        Ok(before) => before,
        Err(error) => {
            eprintln!("{BASELINE}: {error}; `./scripts/check-cost --write` makes a new one");
            return ExitCode::FAILURE;
        }
    };
    let judgement = compare::compare(&before, &now);
    for line in judgement.remarks.iter().chain(&judgement.faults) {
        eprintln!("{line}");
    }
    if judgement.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// By what it is counted here.
fn made_with() -> MadeWith {
    let rustc = said("rustc", "-vV");
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    MadeWith {
        compiler: rustc.lines().next().unwrap_or_default().to_owned(),
        host: host.unwrap_or_default().to_owned(),
        valgrind: said("valgrind", "--version").trim().to_owned(),
        profile: compare::profile(include_str!("../../Cargo.toml"), std::env::vars()),
    }
}

/// What a program says when it is asked this.
fn said(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    String::from_utf8(output.stdout).unwrap()
}

/// What valgrind with these arguments counts for one request.
fn each(case: &Case, tool: &[&str]) -> f64 {
    let (few, many) = (count(case, tool, FEW), count(case, tool, MANY));
    many.saturating_sub(few) as f64 / (MANY - FEW) as f64
}

/// What valgrind counts from start to end with so many requests in between.
fn count(case: &Case, tool: &[&str], requests: u64) -> u64 {
    let worker = Arc::new(OnceLock::new());
    let origin = origin(worker.clone());
    // Where nobody else makes files: the gateway hears of each one beside its own, and that
    // allocates.
    let mut file = tempfile::Builder::new();
    let file = file.suffix(".yaml").tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let yaml = format!(
        "workers: {{count: 1, driver: epoll, pin: false}}\n\
         server: {{listen: [\"127.0.0.1:0\"]}}\n{}\
         routes:\n  - name: all\n    prefix: /\n    targets: [{{addr: \"http://{origin}\"}}]\n{}",
        case.sections, case.route
    );
    fs::write(file.path(), yaml).unwrap();
    let mut gateway = start(file.path(), tool);
    let mut said = BufReader::new(gateway.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = said.by_ref().find_map(|line| listening(&line)).expect("it listens");
    let worker = worker.get_or_init(|| Worker::of(&gateway));
    ask(address, worker, &case.request, requests);
    kill_process(Pid::from_child(&gateway), Signal::TERM).unwrap();
    let counted = said.filter_map(|line| counted(&line)).last();
    gateway.wait().unwrap();
    counted.expect("valgrind tells what it counted")
}

fn start(file: &Path, tool: &[&str]) -> Child {
    let command = Command::new("valgrind")
        .args(tool)
        .args([env!("CARGO_BIN_EXE_ringway"), "run", "-c"])
        .arg(file)
        .env("NO_COLOR", "1")
        .env("RINGWAY_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    command.unwrap_or_else(|error| panic!("cannot start valgrind: {error}"))
}

/// The address in the line that says where the gateway listens.
fn listening(line: &str) -> Option<SocketAddr> {
    let (_, address) = line.split_once("address=").filter(|_| line.contains("listening"))?;
    address.split_whitespace().next()?.parse().ok()
}

/// The number in `==7== Collected : 123` or `==7==   total heap usage: 1,234 allocs, …`.
fn counted(line: &str) -> Option<u64> {
    let (_, number) =
        line.split_once("Collected :").or_else(|| line.split_once("total heap usage:"))?;
    number.split_whitespace().next()?.replace(',', "").parse().ok()
}

/// Sends so many requests, one after the other, and reads each answer whole.
fn ask(gateway: SocketAddr, worker: &Worker, request: &str, requests: u64) {
    let mut stream = TcpStream::connect(gateway).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = vec![0; 4096];
    for _ in 0..requests {
        worker.wait();
        stream.write_all(request.as_bytes()).unwrap();
        let mut len = 0;
        while !answer[..len].ends_with(b"hello, world\n") {
            let read = stream.read(&mut answer[len..]).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer[..len]));
            len += read;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..len]));
    }
}

/// The thread of the gateway's only worker, as the kernel shows it.
struct Worker {
    folder: PathBuf,
}

impl Worker {
    /// Waits for it: a thread names itself, and that may be after the gateway has said "listening".
    fn of(gateway: &Child) -> Worker {
        let named = |folder: &PathBuf| {
            fs::read_to_string(folder.join("comm")).is_ok_and(|name| name.trim() == "ringway-0")
        };
        let begun = Instant::now();
        loop {
            let threads = fs::read_dir(format!("/proc/{}/task", gateway.id())).unwrap();
            if let Some(folder) = threads.map(|thread| thread.unwrap().path()).find(named) {
                return Worker { folder };
            }
            assert!(begun.elapsed() < PATIENCE, "the gateway has no worker");
            thread::yield_now();
        }
    }

    /// Returns when the worker sleeps until something happens.
    fn wait(&self) {
        let begun = Instant::now();
        while !self.waits() {
            assert!(begun.elapsed() < PATIENCE, "the worker never rests");
            thread::yield_now();
        }
    }

    fn waits(&self) -> bool {
        // `1234 (the name) S …`. Valgrind's threads also sleep while another one runs; a kernel
        // that does not tell what a thread sleeps in says 0 or nothing.
        let state = fs::read_to_string(self.folder.join("stat")).unwrap_or_default();
        let sleeps = state.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'));
        let place = fs::read_to_string(self.folder.join("wchan")).unwrap_or_default();
        sleeps && (place.contains("epoll") || place.contains("ep_poll") || place.len() < 2)
    }
}

/// An origin that answers every request alike; its address.
fn origin(worker: Arc<OnceLock<Worker>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let worker = worker.clone();
            thread::spawn(move || serve(stream, &worker));
        }
    });
    address
}

fn serve(mut stream: TcpStream, worker: &OnceLock<Worker>) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        head.extend_from_slice(&buffer[..read]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            worker.get().expect("nobody asks before it is known").wait();
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
                          Content-Length: 13\r\n\r\nhello, world\n";
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

const SECRET: &str = "a-secret-of-the-measurement-0123456789abcdef";

/// What a route of a gateway usually has.
const FILTERS: &str = r#"    filters:
      - auth:
          type: jwt
          secret: "a-secret-of-the-measurement-0123456789abcdef"
          claims_to_headers: {sub: X-User-ID}
      - rate_limit: {qps: 1000000}
      - circuit_breaker: {threshold: 5}
      - retry: {max_retries: 2}
      - headers: {request: {set: {X-Gateway: ringway}}, response: {set: {X-Frame-Options: DENY}}}
"#;

/// What all routes of a gateway usually have.
const GLOBAL: &str = r#"global_filters:
  - cors: {allow_origins: ["https://a.example"]}
  - logging: {format: json}
  - metrics: {enabled: true}
"#;

/// A token for an hour: it is verified once and then remembered.
fn token() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let claims = serde_json::json!({"sub": "alice", "exp": now.as_secs() + 3600});
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

fn cases() -> Vec<Case> {
    let request = |more: &str| {
        format!(
            "GET /some/path?query=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: cost\r\n\
             Accept: */*\r\nAccept-Language: en\r\n{more}\r\n"
        )
    };
    let authorization =
        format!("Authorization: Bearer {}\r\nOrigin: https://a.example\r\n", token());
    vec![
        Case { name: "plain", route: "", sections: "", request: request("") },
        Case {
            name: "gateway",
            route: FILTERS,
            sections: GLOBAL,
            request: request(&authorization),
        },
    ]
}
