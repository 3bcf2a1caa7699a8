//! Reloading: what changes in the file is served by from the next request on, what stays keeps its
//! state, and what is wrong changes nothing.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::cli;
use crate::harness::{
    Client, Driver, Gate, Gateway, Origin, eventually, forward_route, ok, scenes,
};

scenes![
    a_client_that_stays_sees_the_new_routes,
    an_exchange_under_way_ends_with_what_it_began_with,
    pools_survive,
    what_is_wrong_changes_nothing,
    the_workers_cannot_change,
    a_file_that_is_gone_is_told_as_such,
    a_pipe_in_place_of_the_file_holds_nobody_up,
    the_level_of_the_log_follows,
    the_format_of_the_log_cannot_change,
    listeners_come_and_go,
    limits_of_connections_follow,
    every_worker_adopts,
    signals_in_a_storm_are_heard_together,
    a_file_that_is_written_to_is_read_again,
    a_file_that_takes_its_place_is_read,
    a_link_that_turns_is_followed,
    a_directory_that_is_exchanged_is_noticed,
    watching_can_be_turned_off_and_on,
    the_command_reloads_and_tells_what_came_of_it,
    a_dry_run_changes_nothing,
    tunnels_of_routes_that_stay_go_on_and_others_drain,
    a_stream_of_a_route_that_is_gone_drains,
    a_stream_that_is_cut_does_not_look_whole,
    a_breaker_stays_open,
    what_was_taken_of_a_limit_stays_taken,
    a_hundred_reloads_under_load_cost_nobody_anything,
    many_reloads_in_a_row_leave_nothing_behind,
];

/// A file with one route that answers with this text.
fn saying(text: &str) -> String {
    format!("routes:\n  - name: all\n    prefix: /\n    respond: {{body: {text}}}\n")
}

fn a_client_that_stays_sees_the_new_routes(driver: Driver) {
    let gateway = Gateway::start(driver, &saying("old"));
    let mut client = gateway.client();
    assert_eq!(client.get("/").expect(200).text(), "old");
    let line = gateway.reload(&format!(
        "{}  - name: other\n    path: /other\n    respond: {{body: other}}\n",
        saying("new")
    ));
    for part in ["routes=2", "listeners=1", "build_ms=", "adopted_ms=", "why=\"SIGHUP\""] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert_eq!(client.get("/").expect(200).text(), "new");
    assert_eq!(client.get("/other").expect(200).text(), "other");
    gateway.reload(&saying("newer"));
    assert_eq!(client.get("/other").expect(200).text(), "newer");
}

/// Even the filters that its response has still to pass are the old ones.
fn an_exchange_under_way_ends_with_what_it_began_with(driver: Driver) {
    let gate = Gate::default();
    let pass = gate.clone();
    let origin = Origin::script(move |connection| {
        while connection.request()?.is_some() {
            pass.pass()?;
            connection.write(ok("at last"))?;
        }
        Ok(())
    });
    let tagged = |tag: &str| {
        let filter = format!("filters:\n  - headers: {{response: {{set: {{X-Tag: {tag}}}}}}}\n");
        forward_route(&origin, &filter)
    };
    let gateway = Gateway::start(driver, &tagged("old"));
    let mut client = gateway.client();
    client.request("GET", "/", &[]);
    origin.await_requests(1);
    gateway.reload(&tagged("new"));
    gateway.reload(&saying("gone"));
    gate.open();
    let answer = client.answer().expect(200);
    assert_eq!((answer.text().as_str(), answer.field("x-tag")), ("at last", Some("old")));
    assert_eq!(client.get("/").expect(200).text(), "gone");
}

/// Connections to endpoints that stay are kept, also where other settings of the upstream change,
/// and where another endpoint comes beside them.
fn pools_survive(driver: Driver) {
    let origin = Origin::echo();
    let other = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.get("/").expect(200);
    gateway.reload_again();
    client.get("/").expect(200);
    gateway.reload(&format!("log: {{level: info}}\n{}", forward_route(&origin, "")));
    client.get("/").expect(200);
    gateway.reload(&forward_route(&origin, "balance: least_requests\n"));
    client.get("/").expect(200);
    assert_eq!(origin.connections(), 1);
    let targets = format!("[{{addr: \"{}\"}}, {{addr: \"{}\"}}]", origin.address, other.address);
    gateway.reload(&format!("routes:\n  - {{name: all, prefix: /, targets: {targets}}}\n"));
    for _ in 0..4 {
        client.get("/").expect(200);
    }
    assert_eq!((origin.connections(), other.connections()), (1, 1));
    gateway.reload(&forward_route(&other, ""));
    client.get("/").expect(200);
    // What nobody needs any more is closed.
    origin.await_ended(1);
    assert_eq!(other.connections(), 1);
}

fn what_is_wrong_changes_nothing(driver: Driver) {
    let gateway = Gateway::start(driver, &saying("good"));
    let mut client = gateway.client();
    let wrong = [
        ("routes:\n  - name: all\n    prefx: /\n", "did you mean `prefix`?"),
        ("routes:\n  - {name: a, prefix: /, upstream: nowhere}\n", "there is no upstream"),
        ("\u{1}garbage: [", "error"),
        ("listen\n", "error"),
        ("", "the file is empty"),
    ];
    for (text, part) in wrong {
        std::fs::write(gateway.path(), text).unwrap();
        let line = gateway.reload_again();
        assert!(line.contains("not reloaded, nothing has changed"), "{line}");
        gateway.await_log(&[part]);
        assert_eq!(client.get("/").expect(200).text(), "good", "{text}");
    }
    std::fs::remove_file(gateway.path()).unwrap();
    assert!(gateway.reload_again().contains("not reloaded"));
    std::fs::create_dir(gateway.path()).unwrap();
    assert!(gateway.reload_again().contains("not reloaded"));
    std::fs::remove_dir(gateway.path()).unwrap();
    assert_eq!(client.get("/").expect(200).text(), "good");
    assert!(gateway.reload(&saying("better")).contains("INFO"));
    assert_eq!(client.get("/").expect(200).text(), "better");
}

fn the_workers_cannot_change(driver: Driver) {
    let gateway = Gateway::start(driver, &saying("one"));
    let two = format!("workers:\n  count: 2\n{}", saying("two"));
    let line = gateway.reload(&two);
    assert!(line.contains("not reloaded"), "{line}");
    gateway.await_log(&["`workers.count` cannot change while the gateway runs"]);
    gateway.await_log(&["restart the gateway"]);
    assert_eq!(gateway.get("/").expect(200).text(), "one");
}

/// Whoever has a gateway running needs no help to write a first file.
fn a_file_that_is_gone_is_told_as_such(driver: Driver) {
    let gateway = Gateway::start(driver, &saying("here"));
    let process = gateway.process().to_string();
    std::fs::remove_file(gateway.path()).unwrap();
    let line = gateway.reload_again();
    assert!(line.contains("not reloaded, nothing has changed"), "{line}");
    assert!(line.contains("is gone") && line.contains("is served on"), "{line}");
    for arguments in
        [&["reload", "--pid", &process][..], &["reload", "--pid", &process, "--dry-run"]]
    {
        let (code, said) = cli::run(arguments);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("is gone") && !said.contains("ringway demo"), "{said}");
    }
    assert_eq!(gateway.get("/").expect(200).text(), "here");
    assert!(gateway.reload(&saying("back")).contains(" reloaded why="));
    assert_eq!(gateway.get("/").expect(200).text(), "back");
}

/// To open one waits for who writes to it, and nobody does.
fn a_pipe_in_place_of_the_file_holds_nobody_up(driver: Driver) {
    let gateway = Gateway::start(driver, &saying("before"));
    let process = gateway.process().to_string();
    std::fs::remove_file(gateway.path()).unwrap();
    make_pipe(gateway.path());
    assert!(gateway.reload_again().contains("not reloaded, nothing has changed"));
    gateway.await_log(&["a pipe, a device or a socket is not read a second time"]);
    let (code, said) = cli::run(&["reload", "--pid", &process, "--dry-run"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("a pipe"), "{said}");
    std::fs::remove_file(gateway.path()).unwrap();
    gateway.reload(&saying("after"));
    assert_eq!(gateway.get("/").expect(200).text(), "after");
}

/// Makes a named pipe.
pub(crate) fn make_pipe(path: &std::path::Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

fn the_level_of_the_log_follows(driver: Driver) {
    let file = |level: &str| format!("log: {{level: {level}}}\n{}", saying("hi"));
    let gateway = Gateway::start(driver, &file("info"));
    let process = gateway.process().to_string();
    let reload = |level: &str| {
        gateway.rewrite(&file(level));
        let (code, said) = cli::run(&["reload", "--pid", &process]);
        assert_eq!(code, Some(0), "{said}");
    };
    reload("error");
    gateway.await_log(&["`log.level` has changed", "before=\"info\"", "now=\"error\""]);
    reload("error");
    reload("debug");
    gateway.await_log(&["`log.level` has changed", "before=\"error\"", "now=\"debug\""]);
    reload("debug");
    // Of four, those that ended when so much was to be said.
    eventually("two reloads are told", || gateway.reloads().len() == 2);
}

fn the_format_of_the_log_cannot_change(driver: Driver) {
    let gateway = Gateway::start(driver, &saying("text"));
    let line = gateway.reload(&format!("log: {{format: json}}\n{}", saying("json")));
    assert!(line.contains("not reloaded"), "{line}");
    gateway.await_log(&["`log.format` cannot change while the gateway runs"]);
    let dry_run = ["reload", "--pid", &gateway.process().to_string(), "--dry-run"];
    let (code, said) = cli::run(&dry_run);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("log.format cannot change while the gateway runs"), "{said}");
    assert_eq!(gateway.get("/").expect(200).text(), "text");
}

fn listeners_come_and_go(driver: Driver) {
    let listen = |addresses: &str| {
        format!("workers:\n  count: 2\nserver:\n  listen: [{addresses}]\n{}", saying("hi"))
    };
    let reload = |gateway: &Gateway, addresses: &str| {
        let line = gateway.reload(&listen(addresses));
        assert!(line.contains(" reloaded why="), "{line}");
    };
    // Hosts of loopback that no other scene has, so that their ports are nobody else's.
    let gateway = Gateway::start(driver, &listen("\"127.0.0.79:0\""));
    let mut early = gateway.client();
    early.get("/").expect(200);
    let second = SocketAddr::from(([127, 0, 0, 78], port_that_no_client_is_given()));
    reload(&gateway, &format!("\"127.0.0.79:0\", \"{second}\""));
    let mut late = Client::connect(second);
    late.get("/").expect(200);
    early.get("/").expect(200);

    reload(&gateway, &format!("\"{second}\""));
    assert!(gateway.refuses());
    Client::connect(second).get("/").expect(200);
    late.get("/").expect(200);

    // The same port on every address of the machine is another listener, in place of the first.
    let any = format!("\"0.0.0.0:{}\"", second.port());
    reload(&gateway, &any);
    Client::connect(second).get("/").expect(200);
    late.get("/").expect(200);

    // One that cannot be had changes nothing.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let line = gateway.reload(&listen(&format!("{any}, \"{address}\"")));
    assert!(line.contains("not reloaded") && line.contains(&address.to_string()), "{line}");
    assert!(line.contains("another program has this port"), "{line}");
    Client::connect(second).get("/").expect(200);
}

/// A port that can be had on every address of the machine. It is below those that the kernel gives
/// to clients (`ip_local_port_range`, ip(7)): each connection of the suite that is open, or was
/// lately, would keep one of those from being bound on all addresses.
fn port_that_no_client_is_given() -> u16 {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
    // Each scene looks somewhere else, so that no two of them find the same one free.
    let somewhere = || 10_000 + (RandomState::new().hash_one(0) % 22_768) as u16;
    std::iter::repeat_with(somewhere).take(1_000).find(free).unwrap()
}

fn limits_of_connections_follow(driver: Driver) {
    let most = |number: u32| format!("server:\n  max_connections: {number}\n{}", saying("hi"));
    let gateway = Gateway::start(driver, &most(1));
    let mut first = gateway.client();
    first.get("/").expect(200);
    let mut refused = gateway.client();
    refused.expect_end();
    gateway.reload(&most(2));
    let mut second = gateway.client();
    second.get("/").expect(200);
    gateway.reload(&most(1));
    let mut refused = gateway.client();
    refused.expect_end();
    for client in [&mut first, &mut second] {
        client.get("/").expect(200);
    }
}

/// Connections are dealt out over the workers, so that each of many sees the new snapshot.
fn every_worker_adopts(driver: Driver) {
    let file = |text: &str| format!("workers:\n  count: 4\n{}", saying(text));
    let gateway = Gateway::start(driver, &file("old"));
    let mut clients: Vec<_> = (0..32).map(|_| gateway.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").expect(200).text(), "old");
    }
    gateway.reload(&file("new"));
    for client in &mut clients {
        assert_eq!(client.get("/").expect(200).text(), "new");
    }
}

fn signals_in_a_storm_are_heard_together(driver: Driver) {
    let gateway = Gateway::start(driver, &saying("before"));
    for _ in 0..1_000 {
        gateway.signal(rustix::process::Signal::HUP);
    }
    gateway.rewrite(&saying("after"));
    gateway.signal(rustix::process::Signal::HUP);
    let mut client = gateway.client();
    eventually("the last word is heard", || client.get("/").expect(200).text() == "after");
    let reloads = gateway.reloads().len();
    assert!(reloads < 1_000, "{reloads} reloads");
}

/// The same, read again when it changes.
fn watched(text: &str) -> String {
    format!("reload:\n  watch: true\n{}", saying(text))
}

#[track_caller]
fn await_answer(client: &mut Client, text: &str) {
    eventually(text, || client.get("/").expect(200).text() == text);
}

fn a_file_that_is_written_to_is_read_again(driver: Driver) {
    let gateway = Gateway::start(driver, &watched("first"));
    let mut client = gateway.client();
    for text in ["second", "third"] {
        gateway.rewrite(&watched(text));
        await_answer(&mut client, text);
    }
    gateway.await_log(&[" reloaded why=\"the file has changed\""]);
    std::fs::remove_file(gateway.path()).unwrap();
    gateway.await_log(&["not reloaded", "the file has changed"]);
    assert_eq!(client.get("/").expect(200).text(), "third");
    gateway.rewrite(&watched("fourth"));
    await_answer(&mut client, "fourth");
    // What a signal has had read is no change any more.
    eventually("four reloads", || gateway.reloads().len() == 4);
    gateway.reload(&watched("fifth"));
    gateway.rewrite(&watched("sixth"));
    await_answer(&mut client, "sixth");
    eventually("six reloads", || gateway.reloads().len() == 6);
}

/// As editors do it, and whoever wants no half written file to be seen.
fn a_file_that_takes_its_place_is_read(driver: Driver) {
    let gateway = Gateway::start(driver, &watched("first"));
    let mut client = gateway.client();
    for text in ["second", "third"] {
        let beside = gateway.path().with_extension("new");
        std::fs::write(&beside, gateway.filled(&watched(text))).unwrap();
        std::fs::rename(&beside, gateway.path()).unwrap();
        await_answer(&mut client, text);
    }
}

/// As Kubernetes mounts a ConfigMap: the file is a link to one below `..data`, which is a link that
/// is replaced by another in one step.
fn a_link_that_turns_is_followed(driver: Driver) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("gateway.yaml");
    let gateway = Gateway::start_below(driver, root.path(), &watched("first"));
    let mut client = gateway.client();
    assert_eq!(client.get("/").expect(200).text(), "first");
    let publish = |version: &str, text: &str| {
        let folder = root.path().join(version);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("gateway.yaml"), gateway.filled(&watched(text))).unwrap();
        symlink(version, root.path().join("..data_tmp")).unwrap();
        std::fs::rename(root.path().join("..data_tmp"), root.path().join("..data")).unwrap();
    };
    publish("..1", "second");
    std::fs::remove_file(&path).unwrap();
    symlink("..data/gateway.yaml", &path).unwrap();
    await_answer(&mut client, "second");
    for (version, text) in [("..2", "third"), ("..3", "fourth")] {
        publish(version, text);
        await_answer(&mut client, text);
    }
    // A file that the link leads to may be written to as well.
    let last = root.path().join("..3/gateway.yaml");
    std::fs::write(last, gateway.filled(&watched("fifth"))).unwrap();
    await_answer(&mut client, "fifth");
}

fn a_directory_that_is_exchanged_is_noticed(driver: Driver) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("etc");
    std::fs::create_dir(&folder).unwrap();
    let gateway = Gateway::start_below(driver, &folder, &watched("first"));
    let mut client = gateway.client();
    for (number, text) in ["second", "third"].iter().enumerate() {
        let new = root.path().join("new");
        std::fs::create_dir(&new).unwrap();
        std::fs::write(new.join("gateway.yaml"), gateway.filled(&watched(text))).unwrap();
        std::fs::rename(&folder, root.path().join(format!("old{number}"))).unwrap();
        std::fs::rename(&new, &folder).unwrap();
        await_answer(&mut client, text);
    }
}

fn watching_can_be_turned_off_and_on(driver: Driver) {
    let gateway = Gateway::start(driver, &watched("first"));
    let mut client = gateway.client();
    gateway.rewrite(&saying("off"));
    await_answer(&mut client, "off");
    gateway.rewrite(&watched("unseen"));
    assert!(!client.dawdle(Duration::from_millis(500)));
    assert_eq!(client.get("/").expect(200).text(), "off");
    gateway.reload_again();
    assert_eq!(client.get("/").expect(200).text(), "unseen");
    gateway.rewrite(&watched("on"));
    await_answer(&mut client, "on");
}

fn the_command_reloads_and_tells_what_came_of_it(driver: Driver) {
    let gateway = Gateway::start(driver, &saying("old"));
    let process = gateway.process().to_string();
    gateway.rewrite(&saying("new"));
    let (code, said) = cli::run(&["reload", "--pid", &process]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("reloaded: 1 route, 0 upstreams, 1 listener;"), "{said}");
    assert_eq!(gateway.get("/").expect(200).text(), "new");
    gateway.await_log(&[" reloaded why=\"ringway reload\""]);

    // Found by its file too.
    let file = gateway.path().to_str().unwrap();
    let (code, answer) = cli::json(&["reload", "-c", file, "--json"]);
    assert_eq!((code, &answer["routes"]), (Some(0), &1.into()), "{answer}");

    gateway.rewrite("routes: [{name: a, prefx: /}]\n");
    let (code, said) = cli::run(&["reload", "-c", file]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("did you mean `prefix`?"), "{said}");
    assert_eq!(gateway.get("/").expect(200).text(), "new");

    let (code, said) = cli::run(&["reload", "-c", "/nowhere/gateway.yaml"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no gateway runs here"), "{said}");
}

fn a_dry_run_changes_nothing(driver: Driver) {
    let gateway = Gateway::start(driver, &saying("old"));
    let dry_run = ["reload", "--pid", &gateway.process().to_string(), "--dry-run"];
    let (code, said) = cli::run(&dry_run);
    assert_eq!((code, said.as_str()), (Some(0), "nothing changes\n"));
    gateway.rewrite(&saying("new"));
    let (code, said) = cli::run(&dry_run);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("respond.body: old → new"), "{said}");
    assert_eq!(gateway.get("/").expect(200).text(), "old");
    assert!(gateway.reloads().is_empty());
    gateway.rewrite("routes: 7\n");
    assert_eq!(cli::run(&dry_run).0, Some(1));
    // What it is held against is what was reloaded last.
    gateway.reload(&saying("new"));
    assert_eq!(cli::run(&dry_run).0, Some(0));
}

/// Two routes to `origin`, `/stays` and `/goes`; the second only while it is there.
fn staying_and_going(origin: &Origin, drain: &str, goes: bool) -> String {
    let route = |name: &str, settings: &str| {
        let address = origin.address;
        format!(
            "  - {{name: {name}, prefix: /{name}, targets: [{{addr: \"{address}\"}}]{settings}}}\n"
        )
    };
    let second = if goes { route("goes", "") } else { String::new() };
    let first = route("stays", if goes { "" } else { ", max_body: 1MiB" });
    format!("server:\n  drain_timeout: {drain}\nroutes:\n{first}{second}")
}

/// What waits in a tunnel for nothing notices too; a route that only changes is still there, and
/// one that comes back in time has never been gone.
fn tunnels_of_routes_that_stay_go_on_and_others_drain(driver: Driver) {
    let origin = Origin::parrot();
    let gateway = Gateway::start(driver, &staying_and_going(&origin, "1h", true));
    let open = |target: &str| {
        let mut client = gateway.client();
        client.request("GET", target, &["Connection: Upgrade", "Upgrade: websocket"]).head();
        client
    };
    let (mut stays, mut goes) = (open("/stays"), open("/goes"));
    gateway.reload(&staying_and_going(&origin, "1h", false));
    gateway.reload(&staying_and_going(&origin, "1h", true));
    assert_eq!(goes.send("x").exactly(1), b"x");
    gateway.reload(&staying_and_going(&origin, "500ms", false));
    let since = Instant::now();
    assert_eq!(goes.send("x").exactly(1), b"x");
    goes.expect_end();
    assert!(since.elapsed() >= Duration::from_millis(400), "after {:?}", since.elapsed());
    origin.await_ended(1);
    assert_eq!(stays.send("x").exactly(1), b"x");
}

fn a_stream_of_a_route_that_is_gone_drains(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")?;
        connection.await_end();
        Ok(())
    });
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let file = |goes| {
        let output = format!("{{output: {{file: {}}}}}", log.display());
        let routes = staying_and_going(&origin, "300ms", goes);
        format!("global_filters: [{{logging: {output}}}]\n{routes}")
    };
    let gateway = Gateway::start(driver, &file(true));
    let (mut stays, mut goes) = (gateway.client(), gateway.client());
    for (client, target) in [(&mut stays, "/stays"), (&mut goes, "/goes")] {
        client.request("GET", target, &[]).head();
        assert_eq!(client.chunk().as_deref(), Some("half"));
    }
    gateway.reload(&file(false));
    // Cut off, without the last chunk.
    assert_eq!(goes.until_end(), "");
    origin.await_ended(1);
    // The upstream is not to blame.
    eventually("it is told why", || {
        fs::read_to_string(&log).is_ok_and(|lines| lines.contains("\"route_gone\""))
    });
    assert!(!stays.dawdle(Duration::from_millis(300)));
}

/// Not even one whose end is that of the upstream's connection.
fn a_stream_that_is_cut_does_not_look_whole(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write("HTTP/1.1 200 OK\r\n\r\nhalf")?;
        connection.await_end();
        Ok(())
    });
    let gateway = Gateway::start(driver, &staying_and_going(&origin, "300ms", true));
    let (mut chunks, mut plain) = (gateway.client(), gateway.client());
    chunks.request("GET", "/goes", &[]).head();
    assert_eq!(chunks.chunk().as_deref(), Some("half"));
    plain.send("GET /goes HTTP/1.0\r\nHost: a\r\n\r\n").head();
    assert_eq!(plain.exactly(4), b"half");
    gateway.reload(&staying_and_going(&origin, "300ms", false));
    assert_eq!(chunks.until_end(), "", "no last chunk");
    assert!(plain.wire.until_close().is_err(), "an orderly end");
}

fn a_breaker_stays_open(driver: Driver) {
    let origin = Origin::answering("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n");
    let file = |timeout: &str, more: &str| {
        let address = origin.address;
        format!(
            "routes:\n  - name: all\n    prefix: /\n    targets: [{{addr: \"{address}\"}}]\n    \
             filters: [{{circuit_breaker: {{threshold: 2, timeout: {timeout}}}}}]\n{more}"
        )
    };
    let gateway = Gateway::start(driver, &file("1h", ""));
    let mut client = gateway.client();
    for status in [500, 500, 503] {
        client.get("/").expect(status);
    }
    gateway.reload(&file("1h", "  - {name: other, path: /other, respond: {}}\n"));
    client.get("/").expect(503);
    assert_eq!(origin.count(), 2);
    // Other settings are another breaker.
    gateway.reload(&file("2h", ""));
    client.get("/").expect(500);
}

/// A limit begins anew only where it is another one.
fn what_was_taken_of_a_limit_stays_taken(driver: Driver) {
    let origin = Origin::saying("hi");
    let file = |burst: u32, more: &str| {
        let limit = format!("filters: [{{rate_limit: {{qps: 0.001, burst: {burst}}}}}]\n");
        format!("workers:\n  count: 2\n{}{more}", forward_route(&origin, &limit))
    };
    let other = "  - {name: other, path: /other, respond: {}}\n";
    let gateway = Gateway::start(driver, &file(5, ""));
    for _ in 0..3 {
        gateway.get("/").expect(200);
    }
    for more in ["", other] {
        gateway.reload(&file(5, more));
        gateway.get("/").expect(200);
    }
    gateway.reload(&file(5, ""));
    gateway.get("/").expect(429);
    gateway.reload(&file(6, ""));
    for _ in 0..6 {
        gateway.get("/").expect(200);
    }
    gateway.get("/").expect(429);
    assert_eq!(origin.count(), 11);
}

/// Reloads for the scene, and those after which memory is measured for the first time.
const RELOADS: usize = 100;
const WARM: usize = 20;

/// What memory may differ by: a snapshot that nobody frees would come to more in so many reloads.
const SLACK_KIB: u64 = 8 * 1024;

fn a_hundred_reloads_under_load_cost_nobody_anything(driver: Driver) {
    let origin = Origin::saying("hi");
    let file = |turn: usize| {
        let others: String = (0..300)
            .map(|at| {
                format!(
                    "  - {{name: r{at}, path: /r{at}/{turn}, respond: {{body: r{at}}}, filters: \
                     [{{headers: {{response: {{set: {{X-Turn: \"{turn}\"}}}}}}}}]}}\n"
                )
            })
            .collect();
        format!(
            "workers:\n  count: 2\nroutes:\n  - {{name: all, prefix: /all, targets: [{{addr: \
             \"{}\"}}]}}\n{others}",
            origin.address
        )
    };
    let gateway = Gateway::start(driver, &file(0));
    let address = gateway.address();
    let over = Arc::new(AtomicBool::new(false));
    let crowd: Vec<_> = (0..4)
        .map(|_| {
            let over = over.clone();
            thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut served = 0;
                while !over.load(Ordering::Relaxed) {
                    let answer = client.get("/all").expect(200);
                    assert_eq!(answer.text(), "hi");
                    assert!(!answer.closes(), "{:?}", answer.head);
                    served += 1;
                }
                served
            })
        })
        .collect();
    let mut warm = 0;
    for turn in 1..=RELOADS {
        let line = gateway.reload(&file(turn));
        assert!(line.contains(" reloaded why="), "{line}");
        // A keep-alive client of the scene itself sees each of them.
        let answer = gateway.get(&format!("/r7/{turn}")).expect(200);
        assert_eq!(answer.field("x-turn"), Some(turn.to_string().as_str()));
        if turn == WARM {
            warm = gateway.rss_kib();
        }
    }
    over.store(true, Ordering::Relaxed);
    let served: usize = crowd.into_iter().map(|member| member.join().unwrap()).sum();
    let now = gateway.await_rss_kib(warm + SLACK_KIB);
    assert!(served > RELOADS, "{served} requests are no load");
    // Two workers with a few connections each, however often the file was read again.
    assert!(origin.connections() <= 8, "{} connections", origin.connections());
    eprintln!(
        "{driver:?}: {served} requests, {warm} KiB after {WARM} reloads, {now} KiB after all"
    );
}

/// Reloads of that scene: an even number, and more than a worker sweeps in the time of a scene.
const QUICK: usize = 240;

/// Each takes away the endpoint of the one before, and with it the connection that was kept.
fn many_reloads_in_a_row_leave_nothing_behind(driver: Driver) {
    let origins = [Origin::echo(), Origin::echo()];
    let gateway = Gateway::forward(driver, &origins[0]);
    let mut client = gateway.client();
    for turn in 1..=QUICK {
        gateway.reload(&forward_route(&origins[turn % 2], ""));
        client.get("/").expect(200);
    }
    assert_eq!(origins[1].connections(), QUICK / 2);
    origins[1].await_ended(QUICK / 2);
}
