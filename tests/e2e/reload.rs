//! Reloading: what changes in the file is served by from the next request on, what stays keeps its
//! state, and what is wrong changes nothing.

use crate::harness::{
    Client, Driver, Gate, Gateway, Origin, eventually, forward_route, ok, scenes,
};

scenes![
    a_client_that_stays_sees_the_new_routes,
    an_exchange_under_way_ends_with_what_it_began_with,
    pools_survive,
    what_is_wrong_changes_nothing,
    the_workers_cannot_change,
    listeners_come_and_go,
    limits_of_connections_follow,
    every_worker_adopts,
    signals_in_a_storm_are_heard_together,
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

fn listeners_come_and_go(driver: Driver) {
    let listen = |addresses: &str| {
        format!("workers:\n  count: 2\nserver:\n  listen: [{addresses}]\n{}", saying("hi"))
    };
    let gateway = Gateway::start(driver, &listen("\"127.0.0.1:0\""));
    let mut early = gateway.client();
    early.get("/").expect(200);
    // Another host of loopback, so that its port is nobody else's.
    let second = std::net::TcpListener::bind("127.0.0.78:0").unwrap().local_addr().unwrap();
    gateway.reload(&listen(&format!("\"127.0.0.1:0\", \"{second}\"")));
    let mut late = Client::connect(second);
    late.get("/").expect(200);
    early.get("/").expect(200);

    gateway.reload(&listen(&format!("\"{second}\"")));
    assert!(gateway.refuses());
    Client::connect(second).get("/").expect(200);
    late.get("/").expect(200);

    // The same port on every address of the machine is another listener, in place of the first.
    let any = format!("\"0.0.0.0:{}\"", second.port());
    gateway.reload(&listen(&any));
    Client::connect(second).get("/").expect(200);
    late.get("/").expect(200);

    // One that cannot be had changes nothing.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let line = gateway.reload(&listen(&format!("{any}, \"{address}\"")));
    assert!(line.contains("not reloaded") && line.contains(&address.to_string()), "{line}");
    Client::connect(second).get("/").expect(200);
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
