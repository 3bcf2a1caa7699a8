//! `ringway diff`: what one file changes of another.

use std::io::Write;

use tempfile::NamedTempFile;

use crate::cli;

const OLD: &str = "
server: {port: 8080}
upstreams:
  users: {targets: [{addr: 127.0.0.1:1}]}
  gone: {targets: [{addr: 127.0.0.1:2}]}
global_filters:
  - headers: {response: {set: {X-Frame-Options: DENY}}}
routes:
  - name: users
    prefix: /users
    upstream: users
    timeouts: {first_byte: 5s}
    filters:
      - fault: {delay: {time: 1s}}
      - headers: {request: {set: {X-Api-Key: hunter2}}}
  - {name: old, path: /old, upstream: gone}
  - {name: shop, path: /shop, respond: {}}
";

const NEW: &str = "
server: {port: 8081}
upstreams:
  users: {targets: [{addr: 127.0.0.1:1}], balance: random}
  fresh: {targets: [{addr: 127.0.0.1:3}]}
global_filters:
  - headers: {response: {set: {X-Frame-Options: DENY}}}
routes:
  - name: everything
    prefix: /
    priority: 9
    upstream: fresh
  - name: users
    prefix: /users
    upstream: users
    timeouts: {first_byte: 10s}
    filters:
      - headers: {request: {set: {X-Api-Key: hunter3}}}
  - {name: store, path: /shop, respond: {}}
";

/// Compares two texts; exit code and what is said.
#[track_caller]
fn diff(old: &str, new: &str, options: &[&str]) -> (Option<i32>, String) {
    let (old, new) = (file(old), file(new));
    let paths = [old.path().to_str().unwrap(), new.path().to_str().unwrap()];
    cli::run(&[&["diff"], &paths[..], options].concat())
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::with_suffix(".yaml").unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn nothing_is_nothing() {
    let written_out = OLD.replace("server: {port: 8080}", "server: {via: ringway}\nlog: {}");
    for new in [OLD, &format!("# a comment\n{OLD}"), &written_out] {
        assert_eq!(diff(OLD, new, &[]), (Some(0), "nothing changes\n".to_owned()));
    }
}

#[test]
fn what_comes_goes_and_changes_is_told_field_by_field() {
    let (code, said) = diff(OLD, NEW, &[]);
    assert_eq!(code, Some(2), "{said}");
    for part in [
        "server\n  port: 8080 → 8081\n",
        "  + fresh\n  - gone\n  ~ users\n      balance: random (new)\n",
        "  + everything\n  - old\n",
        "  ~ users\n      timeouts.first_byte: 5s → 10s\n",
        "      ~ filter headers\n          headers.request.set.X-Api-Key: *** → ***\n",
        "      - filter fault\n",
        "  ~ store (was shop)\n",
        "the route users loses the filter fault\n",
        "no request reaches the route users any more: everything takes them all\n",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    assert!(!said.contains("hunter") && !said.contains('\x1b'), "{said}");
    assert!(!said.contains("global filters"), "{said}");
}

#[test]
fn a_program_reads_it_too() {
    let (old, new) = (file(OLD), file(NEW));
    let paths = [old.path().to_str().unwrap(), new.path().to_str().unwrap()];
    let (code, diff) = cli::json(&["diff", paths[0], paths[1], "--json"]);
    assert_eq!(code, Some(2));
    assert_eq!(diff["routes"]["added"][0], "everything");
    assert_eq!(diff["routes"]["changed"][1]["renamed_from"], "shop");
    assert_eq!(diff["lost"][0]["filter"], "fault");
    assert_eq!(diff["shadowed"][0]["by"], "everything");
}

#[test]
fn what_needs_a_restart_and_a_new_order_are_told() {
    let old = "workers: {count: 1}\nroutes:\n  - {name: a, path: /a, respond: {}}\n  - {name: b, \
               path: /b, respond: {}}\n";
    let new = "workers: {count: 2}\nroutes:\n  - {name: b, path: /b, respond: {}}\n  - {name: a, \
               path: /a, respond: {}}\n";
    let (code, said) = diff(old, new, &[]);
    assert_eq!(code, Some(2), "{said}");
    for part in ["count: 1 → 2", "workers.count cannot change", "the order of routes changes"] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}

#[test]
fn a_file_with_errors_is_no_answer() {
    let (code, said) = diff(OLD, "routes: 7\n", &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("routes"), "{said}");
    assert_eq!(cli::run(&["diff", "/nowhere/a.yaml", "/nowhere/b.yaml"]).0, Some(1));
}
