//! The client that everybody has.

use std::process::Command;

use crate::harness::{Driver, Gateway, Origin, scenes};

scenes![
    curl_gets,
    curl_posts,
    curl_waits_for_continue,
    curl_speaks_http_1_0,
    curl_asks_for_the_head
];

/// What curl prints, with the status and the version of the answer on a last line.
#[track_caller]
fn curl(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "10"])
        .args(["--write-out", "\n%{http_code} %{http_version} %{num_connects}"])
        .args(arguments)
        .arg(format!("http://{}/a?b=c", gateway.address()))
        .output()
        .unwrap_or_else(|fault| panic!("these scenes need curl: {fault}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn curl_gets(driver: Driver) {
    let origin = Origin::saying("hello");
    let gateway = Gateway::forward(driver, &origin);
    assert_eq!(curl(&gateway, &[]), "hello\n200 1.1 1");
    assert_eq!(origin.request().target, "/a?b=c");
}

fn curl_posts(driver: Driver) {
    let origin = Origin::saying("thanks");
    let gateway = Gateway::forward(driver, &origin);
    assert_eq!(curl(&gateway, &["--data", "name=value"]), "thanks\n200 1.1 1");
    let chunked = ["--header", "Transfer-Encoding: chunked", "--data", "name=value"];
    assert_eq!(curl(&gateway, &chunked), "thanks\n200 1.1 1");
    for request in origin.requests() {
        assert_eq!(
            (request.method.as_str(), request.body.as_slice()),
            ("POST", &b"name=value"[..])
        );
    }
}

/// curl asks before it sends a body of more than a megabyte.
fn curl_waits_for_continue(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, &vec![b'x'; 3_000_000]).unwrap();
    let data = format!("@{}", file.path().display());
    let expect = ["--header", "Expect: 100-continue", "--data-binary", &data];
    let said = curl(&gateway, &expect);
    assert!(said.contains("\"length\":3000000") && said.ends_with("200 1.1 1"), "{said}");
}

fn curl_speaks_http_1_0(driver: Driver) {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let gateway = Gateway::forward(driver, &origin);
    let said = curl(&gateway, &["--http1.0"]);
    assert!(said.starts_with("hello\n200 1"), "{said}");
}

fn curl_asks_for_the_head(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let said = curl(&gateway, &["--head"]);
    assert!(
        said.to_lowercase().contains("content-length:") && said.ends_with("200 1.1 1"),
        "{said}"
    );
    assert_eq!(origin.request().method, "HEAD");
}
