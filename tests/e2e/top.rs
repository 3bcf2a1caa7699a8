//! `ringway top --once` against a real gateway.

use std::net::TcpListener;

use crate::admin::{LOCAL, admin_of};
use crate::cli::{output, output_with};
use crate::harness::{Driver, Gateway, Origin, dedent, eventually, forward_route, scenes};

scenes![it_prints_what_runs];

fn it_prints_what_runs(driver: Driver) {
    let origin = Origin::saying("hi");
    let file = format!("{}{}", dedent(LOCAL), forward_route(&origin, ""));
    let gateway = Gateway::start(driver, &file);
    let url = format!("http://{}", admin_of(&gateway));
    let mut client = gateway.client();
    (0..3).for_each(|_| drop(client.get("/").expect(200)));
    let mut said = String::new();
    // A worker counts an exchange when it is over, which is just after its answer.
    eventually("three requests are shown", || {
        let (code, out, err) = output(&["top", "--once", "--url", &url]);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        said = out;
        let worker = ["0", "1", "3", "0", "0"];
        said.lines().any(|line| line.split_whitespace().take(5).eq(worker))
    });
    let origin = origin.address.to_string();
    let parts =
        [env!("CARGO_PKG_VERSION"), driver.name(), "WORKER", &origin, "healthy", "prefix /"];
    for part in parts {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
    let (code, _, err) = output(&["top", "--url", &url]);
    assert_eq!(code, Some(1));
    assert!(err.contains("use --once"), "{err}");
}

#[test]
fn it_says_what_to_do_when_it_is_not_told() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let (code, _, err) = output(&["top", "--once", "--url", &url]);
    assert_eq!(code, Some(1));
    assert!(err.contains("does not answer") && err.contains("`admin:`"), "{err}");
    let (code, _, err) = output(&["top", "--once", "--url", "https://127.0.0.1:1"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("http://HOST:PORT"), "{err}");
}

#[test]
fn it_needs_the_token_where_there_is_one() {
    let token = "correct-horse-battery-staple";
    let admin = dedent(LOCAL) + &format!("  token: {token}\n");
    let route = "routes:\n  - {name: all, prefix: /, respond: {body: hi}}\n";
    let gateway = Gateway::start(Driver::Epoll, &format!("{admin}{route}"));
    let url = format!("http://{}", admin_of(&gateway));
    let once = ["top", "--once", "--url", &url];
    let (code, _, err) = output(&once);
    assert_eq!(code, Some(1));
    assert!(err.contains("ADMIN_TOKEN") && err.contains("--token"), "{err}");
    let wrong = [&once[..], &["--token", "wrong-horse-battery-staple"]].concat();
    let (code, _, err) = output(&wrong);
    assert_eq!(code, Some(1));
    assert!(err.contains("refuses this token") && !err.contains("horse"), "{err}");
    let (code, out, err) = output_with(&once, &[("ADMIN_TOKEN", token)]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("WORKER"), "{out}");
}
