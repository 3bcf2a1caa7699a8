//! What a proxied request costs, counted rather than timed: instructions and heap allocations, the
//! same on a noisy machine as on a quiet one.
//!
//! The real binary runs under valgrind (callgrind counts instructions, memcheck allocations) on the
//! epoll driver, which valgrind knows, with one worker. It serves keep-alive requests of one client
//! from an origin in this process, twice with a different number of them: the difference is what
//! so many requests cost, and start and end cancel out.
//!
//! ```text
//! cargo bench --bench cost              measures, and compares with benches/BASELINE.json
//! cargo bench --bench cost -- --write   measures, and writes it
//! ```
//!
//! It fails when something costs more than [`TOLERANCE`] above the baseline. Who has a reason to
//! make a request dearer writes the baseline anew in the same commit, and says the reason there.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How much dearer a request may get unnoticed.
const TOLERANCE: f64 = 0.03;

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
    let write = asked("--write");
    let mut measured = BTreeMap::new();
    for case in cases() {
        let costs = Costs {
            instructions: each(&case, &["--tool=callgrind", "--callgrind-out-file=/dev/null"]),
            allocations: each(&case, &["--tool=memcheck", "--undef-value-errors=no"]),
        };
        println!(
            "{:<10} {:>8.0} instructions  {:>6.2} allocations a request",
            case.name, costs.instructions, costs.allocations
        );
        measured.insert(case.name.to_owned(), costs);
    }
    if write {
        fs::write(BASELINE, serde_json::to_string_pretty(&measured).unwrap() + "\n").unwrap();
        return ExitCode::SUCCESS;
    }
    let baseline: BTreeMap<String, Costs> =
        serde_json::from_str(&fs::read_to_string(BASELINE).unwrap()).unwrap();
    let dearer: Vec<_> =
        measured.iter().filter_map(|(name, now)| now.above(name, &baseline)).collect();
    for complaint in &dearer {
        eprintln!("{complaint}");
    }
    if dearer.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What one request costs.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
struct Costs {
    instructions: f64,
    allocations: f64,
}

impl Costs {
    /// What is dearer than it was, in a sentence.
    fn above(&self, name: &str, baseline: &BTreeMap<String, Costs>) -> Option<String> {
        let Some(before) = baseline.get(name) else {
            return Some(format!("{name} is not in {BASELINE}: write it with `-- --write`"));
        };
        let too_much = |now: f64, before: f64, slack: f64| now > before * (1.0 + TOLERANCE) + slack;
        // Allocations come in whole numbers a request, but for a stray one among thousands.
        let more = too_much(self.instructions, before.instructions, 0.0)
            || too_much(self.allocations, before.allocations, 0.01);
        more.then(|| {
            format!(
                "{name} costs {:.0} instructions and {:.2} allocations a request; it was {:.0} and \
                 {:.2}. Make it cheaper, or write the baseline anew and say why.",
                self.instructions, self.allocations, before.instructions, before.allocations
            )
        })
    }
}

/// What valgrind with these arguments counts for one request.
fn each(case: &Case, tool: &[&str]) -> f64 {
    let (few, many) = (count(case, tool, FEW), count(case, tool, MANY));
    many.saturating_sub(few) as f64 / (MANY - FEW) as f64
}

/// What valgrind counts from start to end with so many requests in between.
fn count(case: &Case, tool: &[&str], requests: u64) -> u64 {
    let origin = origin();
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
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
    ask(address, &case.request, requests);
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
fn ask(gateway: SocketAddr, request: &str, requests: u64) {
    let mut stream = TcpStream::connect(gateway).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = vec![0; 4096];
    for _ in 0..requests {
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

/// An origin that answers every request alike; its address.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        head.extend_from_slice(&buffer[..read]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
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
