//! Rules 9, 12, 14 and 19: what single fields ask of a gateway.

use super::*;
use crate::message::FieldName;

#[test]
fn rule_9_nothing_but_100_continue_is_expected() {
    for lines in [
        "Expect: 100-continu\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect: x\r\n",
        "Expect:\r\n",
        "Expect: 100-continue;q=1\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
        "Expect: 100-continue\r\nExpect: x\r\n",
    ] {
        refuses(&post_with(lines), HeadError::Expectation);
    }
    let refused = b"POST / HTTP/1.0\r\nExpect: x\r\n\r\n";
    refuses(refused, HeadError::Expectation);
}

#[test]
fn rule_9_100_continue_is_known_in_any_case_but_not_to_http_1_0() {
    assert!(accepts(&post_with("Expect: 100-continue\r\n")).expect_continue);
    assert!(accepts(&post_with("expect: 100-Continue\r\n")).expect_continue);
    assert!(!accepts(&post_with("")).expect_continue);
    assert!(!accepts(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expect_continue);
}

#[test]
fn rule_12_an_upgrade_is_asked_for_properly_or_not_at_all() {
    for (lines, offer) in [
        ("Connection: Upgrade\r\nUpgrade: websocket\r\n", Some("websocket")),
        ("Connection: keep-alive, UPGRADE\r\nUpgrade: WebSocket\r\n", Some("WebSocket")),
        ("Upgrade: x/2\r\nConnection: upgrade\r\n", Some("x/2")),
        ("Connection: upgrade\r\nUpgrade: h2c\r\n", Some("h2c")),
        ("Connection: upgrade\r\nContent-Length: 0\r\nUpgrade: x\r\n", Some("x")),
        ("Upgrade: websocket\r\n", None),
        ("Connection: upgrade\r\n", None),
        ("Connection: upgrade\r\nUpgrade:\r\n", None),
        ("Connection: keep-alive\r\nUpgrade: websocket\r\n", None),
        ("Connection: upgrade\r\nUpgrade: websocket, h2c\r\n", None),
        ("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n", None),
        ("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n", None),
        ("Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n", None),
    ] {
        let raw = get_with(lines);
        let head = accepts(&raw);
        assert_eq!(upgrade_requested(&head, &raw), offer.map(str::as_bytes), "{lines}");
    }
    let raw = b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(upgrade_requested(&accepts(raw), raw), None);
}

#[test]
fn rule_14_hop_by_hop_fields_and_those_that_connection_lists_are_marked() {
    let raw = get_with(
        "Connection: x-one, X-TWO ,close\r\nX-One: 1\r\nx-two: 2\r\nX-Three: 3\r\nKeep-Alive: t\r\n\
         Proxy-Authorization: p\r\nProxy-Foo: p\r\nTE: t\r\nTrailer: t\r\nUpgrade: u\r\n\
         HTTP2-Settings: h\r\nAccept: a\r\nX-Four: 4\r\nConnection: ,, x-four\r\n",
    );
    let head = accepts(&raw);
    let kept = head.fields.iter().filter(|field| !field.is_hop_by_hop());
    let kept: Vec<&[u8]> = kept.map(|field| field.name.of(&raw)).collect();
    assert_eq!(kept, [&b"Host"[..], b"X-Three", b"Accept"]);
}

#[test]
fn rule_14_end_to_end_fields_cannot_be_listed_away() {
    for name in [
        "Host",
        "Authorization",
        "Cookie",
        "Content-Length",
        "Content-Type",
        "X-Forwarded-For",
        "x-forwarded-host",
        "X-Forwarded-Proto",
        "X-Forwarded-Whatever",
        "X-Real-IP",
        "Forwarded",
        "X-Request-ID",
        "Via",
        "Cache-Control",
        "Date",
        "User-Agent",
        "Expect",
    ] {
        let value = match name {
            "Content-Length" => "5",
            "Expect" => "100-continue",
            _ => "v",
        };
        let own = if name == "Host" { String::new() } else { format!("{name}: {value}\r\n") };
        let raw = get_with(&format!("Connection: close, {name}\r\n{own}"));
        let head = accepts(&raw);
        let field = head
            .fields
            .iter()
            .find(|field| field.name.of(&raw).eq_ignore_ascii_case(name.as_bytes()));
        assert!(field.is_some_and(|field| !field.is_hop_by_hop()), "{name}");
    }
}

#[test]
fn rule_14_the_number_of_connection_options_is_bounded() {
    let many = |count: usize| {
        let options = vec!["x"; count].join(",");
        get_with(&format!("Connection: {options}\r\n"))
    };
    accepts(&many(32));
    refuses(&many(33), HeadError::ConnectionOptions);
    let lines = "Connection: a, b\r\n".repeat(17);
    refuses(&get_with(&lines), HeadError::ConnectionOptions);
}

#[test]
fn rule_19_singletons_that_are_repeated_are_refused() {
    for lines in [
        "Authorization: a\r\nAuthorization: b\r\n",
        "Authorization: a\r\nauthorization: a\r\n",
        "Content-Type: a\r\nX: y\r\nCONTENT-TYPE: b\r\n",
    ] {
        refuses(&post_with(lines), HeadError::Repeated);
    }
    accepts(&post_with("Authorization: a\r\nContent-Type: b\r\nCookie: c\r\nCookie: d\r\n"));
}

#[test]
fn fields_are_found_by_name_in_any_case_and_in_order() {
    let raw = get_with("X-A: 1\r\nCookie: c\r\nx-a:2\r\n");
    let head = accepts(&raw);
    assert_eq!(head.find(&raw, b"X-a"), Some(&b"1"[..]));
    assert_eq!(head.all(&raw, b"x-A").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(head.field(&raw, FieldName::Cookie), Some(&b"c"[..]));
    assert_eq!(head.field(&raw, FieldName::Accept), None);
    assert_eq!(head.find(&raw, b"x"), None);
}

#[test]
fn a_head_is_reused_without_a_trace_of_the_one_before() {
    let mut head = RequestHead::default();
    let first = get_with("Connection: close\r\nContent-Length: 5\r\nExpect: 100-continue\r\n");
    let second = b"GET /b HTTP/1.0\r\n\r\n";
    assert_eq!(parse_request(&first, &mut head, &LIMITS), Ok(()));
    let room = head.fields.capacity();
    assert_eq!(parse_request(second, &mut head, &LIMITS), Ok(()));
    assert_eq!(head, accepts(second));
    assert_eq!(head.fields.capacity(), room);
}
