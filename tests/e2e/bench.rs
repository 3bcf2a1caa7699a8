//! `ringway bench`: that its load, its origin and its report work together with a gateway.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringway")).arg("bench").args(arguments).output().unwrap()
}

fn complaint(arguments: &[&str]) -> String {
    let output = bench(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
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

#[test]
fn the_rows_can_be_listed() {
    let output = bench(&["--list"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.lines().any(|line| line.starts_with("gateway-64 ")));
}
