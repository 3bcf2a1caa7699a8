//! `ringway bench`: that its load, its origin and its report work together with a gateway.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Driver, Gateway, eventually, scenes};

scenes![the_load_alone];

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringway")).arg("bench").args(arguments).output().unwrap()
}

fn complaint(arguments: &[&str]) -> String {
    let output = bench(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn complete(arguments: &[&str]) -> String {
    let output = bench(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// All kinds of work through both drivers, each for a moment.
#[test]
fn every_kind_of_work_is_done_without_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let kinds = [
        "get-16",
        "gateway-64",
        "down-16k-chunked",
        "up-1m-fixed",
        "connect-64",
        "rate-20k",
        "idle-10k",
        "websocket-64",
        "even-64",
        "reload-64",
    ];
    let rows = kinds.join(",");
    let only = "ringway,ringway-epoll";
    let output = bench(&["--smoke", "--json", "--out", out, "--rows", &rows, "--only", only]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), kinds.len());
    for row in rows {
        let summaries = row["summaries"].as_array().unwrap();
        let names: Vec<_> = summaries.iter().map(|summary| &summary["name"]).collect();
        assert_eq!(names, ["direct", "ringway", "ringway-epoll"]);
        for summary in summaries {
            let (median, name) = (&summary["median"], &row["name"]);
            assert!(median["requests_per_second"].as_f64().unwrap() > 0.0, "{name}: {summary}");
            assert_eq!(median["errors"], 0, "{name}: {summary}");
        }
    }
    for file in
        ["report.md", "report.json", "get-16.svg", "configurations/get-16/ringway/ringway.yaml"]
    {
        assert!(fs::metadata(folder.path().join(file)).unwrap().len() > 0, "{file}");
    }
}

#[test]
fn what_is_not_there_is_named_with_the_remedy() {
    let rows = complaint(&["--rows", "no-such"]);
    assert!(rows.contains("--rows no-such") && rows.contains("--list"), "{rows}");
    let only = complaint(&["--only", "apache"]);
    assert!(only.contains("--only apache") && only.contains("ringway-epoll"), "{only}");
    let peer = complaint(&["--peer", "nginx=/no/such"]);
    assert!(peer.contains("--peer nginx=/no/such: there is no such program"), "{peer}");
    let out = complaint(&["--out", "/dev/null/report", "--only", "ringway", "--rows", "get-1"]);
    assert!(out.contains("/dev/null/report"), "{out}");
}

/// The load alone, in both loops, at a gateway of somebody else.
fn the_load_alone(driver: Driver) {
    let route = "routes:
  - {name: pong, path: /pong, respond: {body: pong}}
  - name: slow
    path: /slow
    filters:
      - fault: {delay: {time: 1s, percent: 100}}
    respond: {body: at last}
";
    let gateway = Gateway::start(driver, route);
    let url = format!("http://{}/pong", gateway.address());
    let figures = |more: &[&str]| {
        let few = ["--json", "--seconds", "0.5", "--target", &url, "--connections", "4"];
        serde_json::from_str::<Value>(&complete(&[&few, more].concat())).unwrap()
    };
    let closed = figures(&[]);
    assert!(closed["answers"].as_u64().unwrap() > 0, "{closed}");
    assert_eq!(closed["errors"], 0, "{closed}");
    // Ten are due. A machine that rests for a while in between makes them a few more, and a closed
    // loop would have asked for thousands.
    let open = figures(&["--rate", "20"]);
    assert!((1..200).contains(&open["answers"].as_u64().unwrap()), "{open}");
    assert_eq!(open["errors"], 0, "{open}");
    // Slower than the whole turn, which waits for one answer therefore.
    let slow = complete(&["--seconds", "0.1", "--target", &url.replace("pong", "slow")]);
    assert!(slow.contains(" 0 errors"), "{slow}");
    let missing = complaint(&["--seconds", "0.1", "--target", &url.replace("pong", "ping")]);
    assert!(missing.contains("answered with status 404"), "{missing}");
}

#[test]
fn a_target_that_cannot_be_is_named_with_the_remedy() {
    let away = complaint(&["--target", "http://192.0.2.1/"]);
    assert!(away.contains("write an address of this machine"), "{away}");
    let tls = complaint(&["--target", "https://127.0.0.1/"]);
    assert!(tls.contains("plain HTTP only"), "{tls}");
    let space = complaint(&["--target", "http://127.0.0.1/a b"]);
    assert!(space.contains("%20"), "{space}");
    let both = bench(&["--target", "http://127.0.0.1/", "--rows", "get-1"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn the_rows_can_be_listed() {
    let output = bench(&["--list"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.lines().any(|line| line.starts_with("gateway-64 ")));
}

/// How many processes run with `text` in their command line, `bench` itself apart.
fn gateways(text: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(text) && !line.contains(" bench ")).count()
}

/// `bench` at work in this folder, and the lines that it says.
fn begun(folder: &str, more: &[&str]) -> (Child, impl FnMut(&str) -> bool + use<>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(["bench", "--rows", "get-1", "--seconds", "1", "--out", folder]).args(more);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    (child, move |text: &str| said.any(|line| line.unwrap().contains(text)))
}

#[test]
fn a_signal_ends_it_after_a_turn_together_with_its_gateways() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let (mut bench, mut says) = begun(out, &["--only", "ringway,ringway-epoll"]);
    eventually("both gateways run", || gateways(out) == 2);
    kill_process(Pid::from_child(&bench), Signal::TERM).unwrap();
    assert!(says("a second signal ends at once") && says("interrupted"));
    assert_eq!(bench.wait().unwrap().code(), Some(1));
    eventually("no gateway runs", || gateways(out) == 0);
}

#[test]
fn a_second_signal_ends_it_at_once_together_with_its_gateways() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    // It never listens, which `bench` waits for meanwhile, and has a process of its own.
    let nginx = folder.path().join("nginx");
    let script = "#!/bin/sh\n[ \"$1\" = -v ] && exit\ntail -f \"$6\" & wait\n";
    fs::write(&nginx, script).unwrap();
    fs::set_permissions(&nginx, Permissions::from_mode(0o700)).unwrap();
    let nginx = format!("nginx={}", nginx.display());
    let (mut bench, mut says) = begun(out, &["--only", "ringway,nginx", "--peer", &nginx]);
    eventually("all three processes run", || gateways(out) == 3);
    kill_process(Pid::from_child(&bench), Signal::TERM).unwrap();
    assert!(says("a second signal ends at once"));
    kill_process(Pid::from_child(&bench), Signal::TERM).unwrap();
    assert_eq!(bench.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    eventually("no gateway runs", || gateways(out) == 0);
}

/// A short run judges what was asked for; what merely happens to be installed is warned of.
#[test]
fn a_gateway_that_does_not_run_fails_a_short_run_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    symlink("/bin/false", folder.path().join("nginx")).unwrap();
    let short = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.args(["bench", "--smoke", "--rows", "get-1", "--out", path]).args(more);
        let output = command.env("PATH", path).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = short(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("warning: get-1: nginx: it does not listen"), "{said}");
    for asked in [["--only", "ringway,nginx"], ["--peer", "nginx=/bin/false"]] {
        let (code, said) = short(&asked);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("error: get-1: nginx: it does not listen"), "{said}");
    }
}
