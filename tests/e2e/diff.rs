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
fn what_is_wrong_with_the_files_is_told_in_both_ways() {
    let (old, bad) = (file(OLD), file("routes: 7\n"));
    let paths = [old.path().to_str().unwrap(), bad.path().to_str().unwrap()];
    let (code, told) = cli::json(&["diff", "/nowhere/old.yaml", paths[1], "--json"]);
    assert_eq!(code, Some(1));
    assert_eq!(told["diagnostics"][0]["file"], "/nowhere/old.yaml");
    assert_eq!(told["diagnostics"][1]["path"], "routes");
    let (code, said) = cli::run(&["diff", paths[0], "/nowhere/new.yaml"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--> /nowhere/new.yaml") && !said.contains("-c"), "{said}");
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
    let (code, said) = diff("routes: 7\n", "routes: 8\n", &["--json"]);
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, told["diagnostics"].as_array().unwrap().len()), (Some(1), 2), "{said}");
    assert_eq!(cli::run(&["diff", "/nowhere/a.yaml", "/nowhere/b.yaml"]).0, Some(1));
}

/// A file with an `auth` of these settings before all routes.
fn guarded(auth: &str, routes: &str) -> String {
    let key = "secret: 0123456789abcdef0123456789abcdef";
    format!(
        "global_filters:\n  - auth: {}\nroutes:\n{routes}",
        auth.replace("{jwt", &format!("{{type: jwt, {key}"))
    )
}

const ROUTES: &str = "  - {name: shop, prefix: /shop, respond: {}}
  - {name: users, path: /users, respond: {}}\n";

#[test]
fn an_auth_that_asks_less_is_in_capitals() {
    let strict = "{jwt, issuer: [a, b], audience: shop, required_claims: [sub, jti], \
                  exclude_paths: [/free]}";
    let old = guarded(strict, ROUTES);
    for (auth, told) in [
        (
            strict.replace("audience: shop, ", ""),
            "AUTH OF ROUTES shop, users ASKS LESS: audience: any will do, no longer only `shop`\n",
        ),
        (strict.replace("b]", "b, c]"), "shop, users ASKS LESS: issuer: `c` will do too\n"),
        (strict.replace(", jti", ""), "ASKS LESS: required_claims: `jti` is no longer asked for\n"),
        (
            strict.replace("/free", "/free, /shop/admin"),
            "AUTH OF ROUTE shop ASKS LESS: exclude_paths: `/shop/admin` passes unasked\n",
        ),
        (
            strict.replace("/free", "/free, /users"),
            "OF ROUTE users ASKS LESS: nothing is asked any more, by exclude_paths `/users`\n",
        ),
        (
            strict.replace("issuer", "require_expiry: false, issuer"),
            "ASKS LESS: require_expiry: `exp` is no longer asked for\n",
        ),
        (
            strict.replace("issuer", "jwks_url: https://keys.example.com/a?b=c, issuer"),
            "ASKS LESS: keys: jwks_url `https://keys.example.com/a` is trusted too\n",
        ),
    ] {
        let (code, said) = diff(&old, &guarded(&auth, ROUTES), &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(told), "{told:?} is not in:\n{said}");
        assert_eq!(said.matches("ASKS LESS").count(), 1, "{said}");
        let back = diff(&guarded(&auth, ROUTES), &old, &[]).1;
        assert!(!back.contains("ASKS LESS"), "what asks more is no warning:\n{back}");
    }
}

#[test]
fn another_proof_and_a_route_that_moves_below_an_exclude_are_told() {
    let users = "{type: basic, users: [{name: a, password_hash: \
                 $2b$10$abcdefghijklmnopqrstuuKDmqiT.M9Ud65s62zd1DcCnCVcm7Rye}]}";
    let one = guarded("{jwt, exclude_paths: [/free]}", ROUTES);
    let two = "{any_of: [{jwt}, BASIC], exclude_paths: [/free]}".replace("BASIC", users);
    let said = diff(&one, &guarded(&two, ROUTES), &[]).1;
    assert!(
        said.contains("AUTH OF ROUTES shop, users ASKS LESS: `basic` is enough too\n"),
        "{said}"
    );

    let moved = ROUTES.replace("/users", "/free/users")
        + "  - {name: fresh, prefix: /free/fresh, respond: {}}\n";
    let (old, new) = (file(&one), file(&guarded("{jwt, exclude_paths: [/free]}", &moved)));
    let paths = [old.path().to_str().unwrap(), new.path().to_str().unwrap()];
    let said = cli::run(&["diff", paths[0], paths[1]]).1;
    for part in [
        "AUTH OF ROUTE users ASKS LESS: nothing is asked any more, by exclude_paths `/free`\n",
        "auth of the route fresh: nothing is asked of this new route, by exclude_paths `/free`\n",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    let (_, diff) = cli::json(&["diff", paths[0], paths[1], "--json"]);
    let guards = diff["guards"].as_array().unwrap();
    let told = |one: &serde_json::Value| one["routes"][0] == "users" && one["weaker"] == true;
    assert!(guards.iter().any(told), "{diff}");
}

#[test]
fn a_guard_that_is_lost_is_in_capitals() {
    let alone = "  - {name: shop, path: /shop, respond: {}, filters: [FILTER]}\n";
    let routes = |filter: &str| format!("routes:\n{}", alone.replace("FILTER", filter));
    let old = routes("{ip_access: {allow: [10.0.0.0/16]}}");
    let said = diff(&old, &routes("{fault: {delay: {time: 1s}}}"), &[]).1;
    assert!(said.ends_with("ROUTE shop LOSES IP_ACCESS\n"), "{said}");
    let said = diff(&old, &routes("{ip_access: {allow: [10.0.0.0/8]}}"), &[]).1;
    let told = "IP_ACCESS OF ROUTE shop ASKS LESS: allow: `10.0.0.0/8` will do too\n";
    assert!(said.ends_with(told), "{said}");
}

/// Its requests are let in by the route that takes them now.
#[test]
fn a_guard_that_is_left_without_requests_is_in_capitals() {
    let old = "routes:\n  - {name: shop, prefix: /shop, respond: {}, filters: [{ip_access: {allow: \
               [10.0.0.0/16]}}]}\n";
    let open = "  - {name: all, prefix: /, priority: 1, respond: {}}\n";
    let said = diff(old, &format!("{old}{open}"), &[]).1;
    assert!(said.contains("no request reaches the route shop any more: all takes them all"));
    assert!(said.ends_with("ROUTE shop LOSES IP_ACCESS\n"), "{said}");
    let guarded = open.replace("{}}", "{}, filters: [{ip_access: {allow: [10.0.0.0/16]}}]}");
    let said = diff(old, &format!("{old}{guarded}"), &[]).1;
    assert!(said.ends_with("all takes them all\n"), "{said}");
}
