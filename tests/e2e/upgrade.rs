//! Upgrades: a tunnel when both ends want one, an ordinary exchange otherwise.

use std::net::TcpStream;
use std::time::Duration;

use tungstenite::handshake::client::Response as Handshake;
use tungstenite::{Message, WebSocket};

use crate::harness::{Driver, Gateway, Origin, SWITCH, ok, scenes};

scenes![
    a_websocket_talks_both_ways,
    a_large_message_passes,
    pings_and_the_close_pass,
    what_follows_the_switch_at_once_arrives,
    what_is_sent_before_the_switch_waits_for_it,
    a_silent_tunnel_ends,
    a_talking_tunnel_stays,
    a_tunnel_that_talks_one_way_stays,
    an_end_of_one_side_is_the_end_of_the_other,
    a_refused_upgrade_is_an_ordinary_answer,
    tokens_that_are_not_listed_are_stripped,
    a_route_may_list_none,
    an_upgrade_needs_the_connection_field,
    a_switch_to_something_else_is_502,
];

/// An origin that accepts web sockets and sends every message back.
fn echoing() -> Origin {
    Origin::script(|connection| {
        let stream = connection.wire.stream.try_clone()?;
        let Ok(mut socket) = tungstenite::accept(stream) else { return Ok(()) };
        while let Ok(message) = socket.read() {
            if message.is_text() || message.is_binary() {
                let _ = socket.send(message);
            }
        }
        Ok(())
    })
}

#[track_caller]
fn open(gateway: &Gateway) -> (WebSocket<TcpStream>, Handshake) {
    let stream = gateway.client().wire.stream;
    tungstenite::client("ws://gateway.test/chat?room=1", stream).unwrap()
}

const ASK: [&str; 4] = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

fn a_websocket_talks_both_ways(driver: Driver) {
    let origin = echoing();
    let gateway = Gateway::forward(driver, &origin);
    let (mut socket, handshake) = open(&gateway);
    assert_eq!(handshake.status(), 101);
    for turn in 0..100 {
        let text = Message::text(format!("message {turn}"));
        socket.send(text.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), text);
    }
    // Others are served meanwhile, by the same worker.
    let (mut other, _) = open(&gateway);
    other.send(Message::binary(vec![1, 2, 3])).unwrap();
    assert_eq!(other.read().unwrap(), Message::binary(vec![1, 2, 3]));
}

fn a_large_message_passes(driver: Driver) {
    let origin = echoing();
    let gateway = Gateway::forward(driver, &origin);
    let (mut socket, _) = open(&gateway);
    let large = Message::binary(b"0123456789abcdef".repeat(64 * 1024));
    socket.send(large.clone()).unwrap();
    assert!(socket.read().unwrap() == large);
}

fn pings_and_the_close_pass(driver: Driver) {
    let origin = echoing();
    let gateway = Gateway::forward(driver, &origin);
    let (mut socket, _) = open(&gateway);
    socket.send(Message::Ping("there?".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("there?".into()));
    socket.close(None).unwrap();
    assert!(socket.read().unwrap().is_close());
    assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
    origin.await_ended(1);
}

fn what_follows_the_switch_at_once_arrives(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write(format!("{SWITCH}first words"))?;
        let heard = connection.wire.exactly(12)?;
        connection.write(heard)
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    let head = client.request("GET", "/", &ASK).head();
    assert_eq!(head.field("upgrade").map(str::to_lowercase).as_deref(), Some("websocket"));
    assert_eq!(client.exactly(11), b"first words");
    assert_eq!(client.send("GET / HTTP/9").exactly(12), b"GET / HTTP/9");
    client.expect_end();
}

/// A client may not wait for the 101. What it sends is the tunnel's if there will be one, and the
/// next request if there will not (HTTP_SAFETY rule 12).
fn what_is_sent_before_the_switch_waits_for_it(driver: Driver) {
    let origin = Origin::script(|connection| {
        while let Some(request) = connection.request()? {
            if request.target == "/switch" {
                connection.write(SWITCH)?;
                let heard = connection.wire.exactly(24)?;
                return connection.write(heard);
            }
            connection.write(ok(&request.target))?;
        }
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let early = "GET /early HTTP/1.1\r\nHost: a\r\n\r\n";
    let ask = |target: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n{early}", ASK.join("\r\n"))
    };
    let mut client = gateway.client();
    client.send(ask("/refuse"));
    assert_eq!(client.answer().expect(200).text(), "/refuse");
    assert_eq!(client.answer().expect(200).text(), "/early");
    let mut client = gateway.client();
    client.send(ask("/switch")).head();
    assert_eq!(client.exactly(24), &early.as_bytes()[..24]);
    assert!(origin.requests().iter().filter(|request| request.target == "/early").count() == 1);
}

fn a_silent_tunnel_ends(driver: Driver) {
    let origin = echoing();
    let gateway = Gateway::forward_route(driver, &origin, "timeouts:\n  tunnel: 300ms");
    let (mut socket, _) = open(&gateway);
    assert!(socket.read().is_err());
    origin.await_ended(1);
}

fn a_talking_tunnel_stays(driver: Driver) {
    let origin = Origin::parrot();
    let gateway = Gateway::forward_route(driver, &origin, "timeouts:\n  tunnel: 600ms");
    let mut client = gateway.client();
    client.request("GET", "/", &ASK).head();
    for _ in 0..10 {
        assert_eq!(client.send("x").exactly(1), b"x");
        assert!(!client.dawdle(Duration::from_millis(150)));
    }
}

fn a_tunnel_that_talks_one_way_stays(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write(SWITCH)?;
        for _ in 0..10 {
            connection.write("x")?;
            connection.wire.listen(Duration::from_millis(150));
        }
        Ok(())
    });
    let gateway = Gateway::forward_route(driver, &origin, "timeouts:\n  tunnel: 600ms");
    let mut client = gateway.client();
    client.request("GET", "/", &ASK).head();
    assert_eq!(client.until_end(), "x".repeat(10));
}

fn an_end_of_one_side_is_the_end_of_the_other(driver: Driver) {
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write(SWITCH)?;
        // Answers only when the client has said all it has to say.
        let all = connection.wire.until_close()?;
        connection.write(all)
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.request("GET", "/", &ASK).head();
    client.send("over").wire.finish_writing();
    assert_eq!(client.until_end(), "over");
}

fn a_refused_upgrade_is_an_ordinary_answer(driver: Driver) {
    let origin = Origin::script(|connection| {
        while let Some(request) = connection.request()? {
            let answer = match request.target.as_str() {
                "/forbidden" => "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned(),
                _ => ok("plain"),
            };
            connection.write(answer)?;
        }
        Ok(())
    });
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    assert_eq!(client.get_with("/forbidden", &ASK).expect(403).text(), "no");
    assert_eq!(client.get_with("/", &ASK).expect(200).text(), "plain");
    assert_eq!(client.get("/").expect(200).text(), "plain");
    assert_eq!(origin.requests()[0].field("upgrade"), Some("websocket"));
}

/// HTTP_SAFETY rule 12.
fn tokens_that_are_not_listed_are_stripped(driver: Driver) {
    let origin = Origin::saying("plain");
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    for upgrade in ["Upgrade: h2c", "Upgrade: TLS/1.0", "Upgrade: foo, h2c"] {
        let fields =
            ["Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__", upgrade];
        assert_eq!(client.get_with("/", &fields).expect(200).text(), "plain");
    }
    for request in origin.requests() {
        assert_eq!(request.field("upgrade"), None);
        assert_eq!(request.field("http2-settings"), None);
        let connection = request.head.all("connection").join(",").to_lowercase();
        assert!(!connection.contains("upgrade"), "{connection}");
    }
}

fn a_route_may_list_none(driver: Driver) {
    let origin = Origin::saying("plain");
    let gateway = Gateway::forward_route(driver, &origin, "upgrades: []");
    assert_eq!(gateway.client().get_with("/", &ASK).expect(200).text(), "plain");
    assert_eq!(origin.request().field("upgrade"), None);
}

fn an_upgrade_needs_the_connection_field(driver: Driver) {
    let origin = Origin::saying("plain");
    let gateway = Gateway::forward(driver, &origin);
    gateway.client().get_with("/", &ASK[1..]).expect(200);
    assert_eq!(origin.request().field("upgrade"), None);
}

/// HTTP_SAFETY rule 12: in the tunnel is spoken what was asked for, or there is none.
fn a_switch_to_something_else_is_502(driver: Driver) {
    for other in ["Upgrade: h2c\r\n", "Upgrade: websocket, h2c\r\n", ""] {
        let origin = Origin::answering(SWITCH.replace("Upgrade: websocket\r\n", other));
        let gateway = Gateway::forward(driver, &origin);
        let mut client = gateway.client();
        client.get_with("/", &ASK).expect_error(502);
        origin.await_ended(1);
    }
}
