//! Copies of requests to another upstream: what they are like, and that nobody waits for them.

use std::net::SocketAddr;

use crate::harness::{
    Client, Driver, Gateway, Origin, chunked, eventually, forward_route, ok, refusing, scenes,
};

scenes![
    the_copy_has_the_body_of_the_original,
    a_body_that_comes_in_pieces_is_copied_whole,
    a_mirror_that_is_dead_or_hangs_is_nobodys_trouble,
    a_long_answer_of_the_mirror_is_cut_off,
    credentials_are_left_out,
    a_copy_is_not_copied_again,
    nothing_is_copied_at_zero_percent,
    a_body_that_is_too_long_is_served_and_not_copied,
    half_a_body_is_not_copied,
    what_is_not_sent_on_is_not_copied,
];

/// A route to `origin` that is mirrored, and an admin listener to ask what was counted.
fn mirrored(driver: Driver, origin: &Origin, mirror: SocketAddr, settings: &str) -> Gateway {
    let filters = format!("filters:\n  - mirror: {{upstream: copies, {settings}}}\n");
    start(driver, &forward_route(origin, &filters), mirror)
}

fn start(driver: Driver, routes: &str, mirror: SocketAddr) -> Gateway {
    let sections = format!(
        "server:\n  listen: [\"127.0.0.1:0\"]\nadmin:\n  listen: 127.0.0.1:0\nupstreams:\n  \
         copies:\n    targets:\n      - addr: http://{mirror}\n"
    );
    Gateway::start(driver, &format!("{sections}{routes}"))
}

/// A number that was counted, for a label of this value or without one.
fn counted(gateway: &Gateway, name: &str, label: &str) -> f64 {
    let line = gateway.await_log(&["admin API", "address="]);
    let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let mut client = Client::connect(address.parse().unwrap());
    client.send(format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n"));
    let text = client.answer().expect(200).text();
    let start = format!("ringway_{name}{{");
    let label = format!("\"{label}\"");
    let fits = |line: &&str| line.starts_with(&start) && (label == "\"\"" || line.contains(&label));
    let mut lines = text.lines().filter(fits);
    let line = lines.next().unwrap_or_else(|| panic!("no {name} {label} in {text}"));
    assert_eq!(lines.next(), None);
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn the_copy_has_the_body_of_the_original(driver: Driver) {
    let (origin, mirror) = (Origin::saying("good"), Origin::saying("bad"));
    let gateway = mirrored(driver, &origin, mirror.address, "");
    // Only when nothing is under way any more is the connection there for the next copy.
    let copied = |count| {
        mirror.await_requests(count);
        eventually("the copy is answered", || {
            counted(&gateway, "endpoint_requests_active", "copies") == 0.0
        });
    };
    let mut client = gateway.client();
    assert_eq!(client.get_with("/a?b=c", &["X-A: a"]).expect(200).text(), "good");
    copied(1);
    assert_eq!(client.post("/fixed", b"hello").expect(200).text(), "good");
    copied(2);
    client.send(chunked("/chunked", &["hel", "lo"], &[]));
    assert_eq!(client.answer().expect(200).text(), "good");
    copied(3);
    let (originals, copies) = (origin.requests(), mirror.requests());
    assert_eq!((originals.len(), mirror.connections()), (3, 1));
    for (original, copy) in originals.iter().zip(&copies) {
        assert_eq!((&copy.method, &copy.target), (&original.method, &original.target));
        assert_eq!(copy.body, original.body);
        for name in ["host", "x-a", "x-request-id", "x-forwarded-for", "x-forwarded-host"] {
            assert_eq!(copy.head.all(name), original.head.all(name), "{name}");
        }
        assert_eq!(copy.head.all("x-ringway-mirror"), ["all"]);
        assert_eq!(original.field("x-ringway-mirror"), None);
    }
    assert_eq!((&copies[1].body[..], &copies[2].body[..]), (&b"hello"[..], &b"hello"[..]));
    assert_eq!(counted(&gateway, "mirrored_total", ""), 3.0);
}

fn a_body_that_comes_in_pieces_is_copied_whole(driver: Driver) {
    let (origin, mirror) = (Origin::saying("good"), Origin::saying("bad"));
    let gateway = mirrored(driver, &origin, mirror.address, "");
    let mut client = gateway.client();
    let long = "x".repeat(40_000);
    let head = format!("POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {}\r\n", 40_000);
    client.send(format!("{head}\r\n{}", &long[..10]));
    origin.await_connections(1);
    client.send(&long[10..]).answer().expect(200);
    client.send_bytewise(chunked("/", &["hel", "lo"], &["X-Trailer: t"])).answer().expect(200);
    client.send_bytewise(chunked("/", &[], &[])).answer().expect(200);
    mirror.await_requests(3);
    // Copies of one client may overtake each other.
    let mut bodies: Vec<_> = mirror.requests().into_iter().map(|copy| copy.body).collect();
    bodies.sort();
    assert_eq!(bodies, [b"".to_vec(), b"hello".to_vec(), long.into_bytes()]);
}

fn a_mirror_that_is_dead_or_hangs_is_nobodys_trouble(driver: Driver) {
    let origin = Origin::saying("good");
    let gateway = mirrored(driver, &origin, refusing(), "");
    let mut client = gateway.client();
    (0..5).for_each(|_| assert_eq!(client.post("/", b"a").expect(200).text(), "good"));
    eventually("all have failed", || counted(&gateway, "mirror_failed_total", "") == 5.0);
    // It hangs longer than a scene may take.
    let hanging = Origin::script(|connection| {
        connection.request()?;
        connection.await_end();
        Ok(())
    });
    let settings = "timeout: 1m, max_in_flight: 3";
    let gateway = mirrored(driver, &origin, hanging.address, settings);
    let mut client = gateway.client();
    (0..5).for_each(|_| assert_eq!(client.post("/", b"a").expect(200).text(), "good"));
    hanging.await_requests(3);
    client.get("/").expect(200);
    assert_eq!((hanging.connections(), counted(&gateway, "mirrored_total", "")), (3, 3.0));
    // Counted when an exchange is over, which is after its client has the answer.
    eventually("the others are dropped", || {
        counted(&gateway, "mirror_dropped_total", "in_flight") == 3.0
    });
    // One that hangs is given up in time.
    let gateway = mirrored(driver, &origin, hanging.address, "timeout: 100ms");
    gateway.client().get("/").expect(200);
    eventually("it has failed", || counted(&gateway, "mirror_failed_total", "") == 1.0);
}

fn a_long_answer_of_the_mirror_is_cut_off(driver: Driver) {
    let origin = Origin::saying("good");
    let mirror = Origin::answering(ok(&"x".repeat(1_000_000)));
    let gateway = mirrored(driver, &origin, mirror.address, "");
    assert_eq!(gateway.get("/").expect(200).text(), "good");
    mirror.await_ended(1);
    assert_eq!(mirror.count(), 1);
    assert_eq!(counted(&gateway, "mirror_failed_total", ""), 0.0);
}

fn credentials_are_left_out(driver: Driver) {
    let origin = Origin::saying("good");
    let sent = ["Authorization: Bearer s", "Cookie: s=t", "Proxy-Authorization: s", "X-A: a"];
    for (settings, goes) in [("", false), ("forward_credentials: true", true)] {
        let mirror = Origin::saying("bad");
        let gateway = mirrored(driver, &origin, mirror.address, settings);
        gateway.client().get_with("/", &sent).expect(200);
        mirror.await_requests(1);
        let copy = mirror.request();
        assert_eq!(copy.field("authorization"), goes.then_some("Bearer s"));
        assert_eq!(copy.field("cookie"), goes.then_some("s=t"));
        assert_eq!(copy.field("proxy-authorization"), None);
        assert_eq!(copy.field("x-a"), Some("a"));
    }
    for original in origin.requests() {
        assert_eq!(original.field("authorization"), Some("Bearer s"));
    }
}

/// The copies come in by the front door, where everything is mirrored.
fn a_copy_is_not_copied_again(driver: Driver) {
    let (origin, mirror) = (Origin::saying("good"), Origin::saying("bad"));
    let gateway = mirrored(driver, &origin, mirror.address, "");
    let mut client = gateway.client();
    client.get_with("/forged", &["X-Ringway-Mirror: other"]).expect(200);
    let around = mirrored(driver, &origin, gateway.address(), "");
    around.get("/real").expect(200);
    eventually("it comes around", || {
        counted(&gateway, "mirror_dropped_total", "is_copy") == 2.0 && origin.count() == 3
    });
    client.get("/").expect(200);
    mirror.await_requests(1);
    assert_eq!(mirror.request().target, "/");
    assert_eq!(counted(&gateway, "mirrored_total", ""), 1.0);
}

fn nothing_is_copied_at_zero_percent(driver: Driver) {
    let (origin, mirror) = (Origin::saying("good"), Origin::saying("bad"));
    let gateway = mirrored(driver, &origin, mirror.address, "percent: 0");
    let mut client = gateway.client();
    (0..50).for_each(|_| drop(client.post("/", b"a").expect(200)));
    assert_eq!((mirror.connections(), counted(&gateway, "mirrored_total", "")), (0, 0.0));
}

fn a_body_that_is_too_long_is_served_and_not_copied(driver: Driver) {
    let (origin, mirror) = (Origin::saying("good"), Origin::saying("bad"));
    let gateway = mirrored(driver, &origin, mirror.address, "max_body: 4B");
    let mut client = gateway.client();
    client.post("/", b"hello").expect(200);
    client.send(chunked("/", &["hel", "lo"], &[])).answer().expect(200);
    client.send_bytewise(chunked("/", &["hel", "lo"], &[])).answer().expect(200);
    client.post("/", &[b'x'; 200_000]).expect(200);
    client.post("/", b"four").expect(200);
    mirror.await_requests(1);
    assert_eq!(mirror.request().body, b"four");
    let lengths: Vec<_> = origin.requests().iter().map(|request| request.body.len()).collect();
    assert_eq!(lengths, [5, 5, 5, 200_000, 4]);
    assert_eq!(counted(&gateway, "mirror_dropped_total", "body_too_large"), 4.0);
}

fn half_a_body_is_not_copied(driver: Driver) {
    let (origin, mirror) = (Origin::saying("good"), Origin::saying("bad"));
    let gateway = mirrored(driver, &origin, mirror.address, "");
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 10\r\n\r\nhalf");
    origin.await_connections(1);
    drop(client);
    eventually("it is counted", || {
        counted(&gateway, "mirror_dropped_total", "body_incomplete") == 1.0
    });
    assert_eq!(mirror.connections(), 0);
}

fn what_is_not_sent_on_is_not_copied(driver: Driver) {
    let (origin, mirror) = (Origin::saying("good"), Origin::saying("bad"));
    let filters = "
        filters:
          - mirror: {upstream: copies}
          - fault: {abort: {status: 503}}
    ";
    let gateway = start(driver, &forward_route(&origin, filters), mirror.address);
    let mut client = gateway.client();
    (0..3).for_each(|_| drop(client.post("/", b"a").expect_error(503)));
    assert_eq!((mirror.connections(), counted(&gateway, "mirrored_total", "")), (0, 0.0));
}
