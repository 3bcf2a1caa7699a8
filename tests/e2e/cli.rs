//! The command line: what each command prints and which exit code it ends with.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{BOUND, Client, RINGWAY, dedent};

const GOOD: &str = "
    server:
      listen: [\"127.0.0.1:0\"]
    routes:
      - name: ping
        path: /ping
        respond:
          body: pong
      - name: users
        prefix: /users
        methods: [GET]
        strip_prefix: true
        targets:
          - addr: http://127.0.0.1:1
";

/// Runs a command whose last argument is a file with this text; exit code and all it said.
pub(crate) fn ringway(arguments: &[&str], yaml: &str) -> (Option<i32>, String) {
    let file = file(yaml);
    let path = file.path().to_str().unwrap();
    run(&[arguments, &[path]].concat())
}

pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let (code, out, err) = output(arguments);
    (code, out + &err)
}

/// Standard output alone, which must be JSON.
pub(crate) fn json(arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
    let (code, out, err) = output(arguments);
    let value = serde_json::from_str(&out);
    (code, value.unwrap_or_else(|fault| panic!("{arguments:?}: {fault}: {out:?} {err}")))
}

/// Runs a command that reads this from standard input; exit code and all it said.
pub(crate) fn ringway_reading(arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let (code, out, err) = output_reading(arguments, input);
    (code, out + &err)
}

/// Exit code, standard output and standard error of a command that must come to an end.
pub(crate) fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    output_with(arguments, &[])
}

/// The same with these variables in its environment.
pub(crate) fn output_with(
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (Option<i32>, String, String) {
    output_of(arguments, environment, "")
}

fn output_reading(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    output_of(arguments, &[], input)
}

fn output_of(
    arguments: &[&str],
    environment: &[(&str, &str)],
    input: &str,
) -> (Option<i32>, String, String) {
    let mut child = Command::new(RINGWAY)
        .args(arguments)
        .env_remove("ADMIN_TOKEN")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing may have ended before.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let pid = Pid::from_child(&child);
    let (done, waiting) = mpsc::channel();
    thread::spawn(move || done.send(child.wait_with_output()));
    let Ok(output) = waiting.recv_timeout(BOUND) else {
        let _ = kill_process(pid, Signal::KILL);
        panic!("ringway {arguments:?} does not end");
    };
    let output = output.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn good_file() -> tempfile::NamedTempFile {
    file(&dedent(GOOD))
}

fn file(yaml: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    file.write_all(yaml.as_bytes()).unwrap();
    file
}

#[test]
fn check_says_one_line_of_a_good_file() {
    let (code, said) = ringway(&["check", "-c"], &dedent(GOOD));
    assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
    assert!(said.contains("2 routes"), "{said}");
}

#[test]
fn check_shows_every_error_with_its_place() {
    let bad = "server:\n  prot: 8080\nroutes:\n  - name: a\n    prefix: api\n    targets: []\n";
    let (code, said) = ringway(&["check", "-c"], bad);
    assert_eq!(code, Some(1), "{said}");
    for part in ["prot", "port", ":2:", "prefix", ":5:", "targets", ":6:"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[test]
fn an_unknown_filter_is_an_error_like_any_other() {
    let bad = "routes:\n  - name: a\n    path: /\n    respond: {body: a}\n    filters:\n      \
               - heders: {}\n";
    let (code, said) = ringway(&["check", "-c"], bad);
    assert_eq!(code, Some(1), "{said}");
    for part in ["heders", ":6:", "headers"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for command in ["check", "run"] {
        let (code, said) = run(&[command, "-c", "/nowhere/gateway.yaml"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("/nowhere/gateway.yaml"), "{said}");
    }
}

/// `ringway schema > FILE` on a full disk must not look done.
#[test]
fn output_that_is_lost_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(RINGWAY).arg("schema").stdout(full).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("standard output cannot be written to: No space left"), "{said}");
}

#[test]
fn run_refuses_what_check_refuses() {
    let (code, said) = ringway(&["run", "-c"], "routes: 7\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("routes"), "{said}");
}

#[test]
fn explain_names_the_route() {
    let file = good_file();
    let path = file.path().to_str().unwrap();
    let (code, said) = run(&["explain", "-c", path, "GET", "http://a.test/users/7?x=y"]);
    assert_eq!(code, Some(0), "{said}");
    for part in ["users", "/7?x=y", "127.0.0.1:1"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let (code, said) = run(&["explain", "-c", path, "POST", "http://a.test/users/7"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("405"), "{said}");
}

#[test]
fn explain_tells_which_filter_answers_a_preflight() {
    let file = |filters: &str| {
        let route = "{name: shop, path: /shop, methods: [PUT], respond: {}, filters: [FILTERS]}";
        format!("routes:\n  - {}\n", route.replace("FILTERS", filters))
    };
    let (cors, access) = ("cors: {allow_origins: [\"*\"]}", "ip_access: {allow: [10.0.0.0/8]}");
    let both = |one: &str, other: &str| file(&format!("{{{one}}}, {{{other}}}"));
    let ask = |yaml: &str, method: &str| {
        let mut named = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        named.write_all(yaml.as_bytes()).unwrap();
        let path = named.path().to_str().unwrap();
        let preflight =
            ["-H", "Origin: https://a.test", "-H", "Access-Control-Request-Method: PUT"];
        run(&[&["explain", "-c", path, method, "/shop"], &preflight[..]].concat())
    };
    let (code, said) = ask(&both(cors, access), "OPTIONS");
    assert_eq!(code, Some(0), "{said}");
    let end = "filter 1    cors all origins: GET, HEAD, POST\nfilter 2    ip_access allow \
               10.0.0.0/8\nanswered    by filter cors: it is a CORS preflight\n";
    assert!(said.ends_with(end), "{said}");
    let said = ask(&both(access, cors), "OPTIONS").1;
    assert!(
        said.ends_with("a CORS preflight; ip_access before it may refuse it first\n"),
        "{said}"
    );
    let (code, said) = ask(&both(cors, access), "PATCH");
    assert_eq!(code, Some(3), "what is no preflight is refused:\n{said}");
    let (code, said) = ask(&file(&format!("{{{access}}}")), "OPTIONS");
    assert!(code == Some(3) && said.contains("refuses     405"), "nobody answers it:\n{said}");
}

#[test]
fn explain_names_what_does_not_fit_and_shortens_a_long_list() {
    let mut text = "routes:\n".to_owned();
    text += "  - {name: canary, path: /x, headers: {X-Env: canary}, respond: {}}\n";
    for at in 0..50 {
        text += &format!("  - {{name: r{at}, path: /longer/{at}, respond: {{}}}}\n");
    }
    text += "  - {name: wanted, path: /x, respond: {}}\n";
    let file = file(&text);
    let (code, said) = run(&["explain", "-c", file.path().to_str().unwrap(), "/x"]);
    assert_eq!(code, Some(0), "{said}");
    let parts =
        ["canary: the header `x-env` differs", "50 more whose host or path", "route       wanted"];
    for part in parts {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[test]
fn explain_tells_a_split_by_weight_from_one_by_header() {
    let file = file(
        "
upstreams:
  old: {targets: [{addr: 127.0.0.1:1}]}
  new: {targets: [{addr: 127.0.0.1:2}]}
routes:
  - name: shop
    prefix: /
    split:
      - {upstream: old, weight: 9}
      - {upstream: new, weight: 1, header: {X-Canary: \"yes\"}}
",
    );
    let explain = ["explain", "-c", file.path().to_str().unwrap(), "/"];
    let (_, said) = run(&explain);
    assert!(said.contains("old (one of, by weight: old 9, new 1)"), "{said}");
    let (_, said) = run(&[&explain[..], &["-H", "X-Canary: yes"]].concat());
    assert!(said.contains("upstream    new\n"), "{said}");
}

#[test]
fn explain_speaks_json() {
    let file = good_file();
    let path = file.path().to_str().unwrap();
    let (code, said) = json(&["explain", "-c", path, "--json", "http://a.test/ping"]);
    assert_eq!(code, Some(0), "{said:#}");
    assert!(said.to_string().contains("\"ping\""), "{said:#}");
}

#[test]
fn schema_is_json_schema() {
    let (code, schema) = json(&["schema"]);
    assert_eq!(code, Some(0));
    assert!(schema["$schema"].as_str().is_some_and(|url| url.contains("json-schema.org")));
    assert!(schema["properties"]["routes"].is_object(), "{schema:#}");
}

#[test]
fn doctor_looks_at_this_machine() {
    let (code, said) = run(&["doctor"]);
    assert_eq!(code, Some(0), "{said}");
    for part in ["io_uring", "nofile", "somaxconn"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let (code, report) = json(&["doctor", "--json"]);
    assert_eq!(code, Some(0), "{report:#}");
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for arguments in [&["serve"][..], &[], &["run", "--port"], &["explain"]] {
        assert_eq!(run(arguments).0, Some(2), "{arguments:?}");
    }
    let (code, help) = run(&["--help"]);
    assert_eq!(code, Some(0));
    for command in ["run", "check", "explain", "diff", "reload", "schema", "demo", "doctor"] {
        assert!(help.contains(command), "no {command} in {help}");
    }
}

#[test]
fn demo_names_the_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ports = ["--user-port", "0", "--order-port", "0"];
    let (code, said) = run(&[&["demo", "--port", &port][..], &ports].concat());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&port) && said.contains("--port"), "{said}");
}

#[test]
fn demo_serves_until_it_is_interrupted() {
    let mut demo = Command::new(RINGWAY)
        .args(["demo", "--port", "0", "--user-port", "0", "--order-port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok);
    let address: SocketAddr = lines
        .find_map(|line| {
            line.trim().strip_prefix("gateway ")?.trim().strip_prefix("http://")?.parse().ok()
        })
        .unwrap();
    let mut client = Client::connect(address);
    client.get("/ping").expect(200);
    for path in ["/user-service/users", "/order-service/orders"] {
        client.get(path).expect(401);
    }
    kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
    // Reads to the end, which is that of the process.
    lines.for_each(drop);
    assert_eq!(demo.wait().unwrap().code(), Some(0));
}
