//! Rule 15: one valid host.

use super::*;
use crate::http1::is_valid_authority;

#[test]
fn rule_15_http_1_1_has_exactly_one_host() {
    refuses(b"GET / HTTP/1.1\r\n\r\n", HeadError::HostMissing);
    refuses(b"GET http://a/ HTTP/1.1\r\n\r\n", HeadError::HostMissing);
    refuses(b"GET / HTTP/1.1\r\nX-Host: a\r\n\r\n", HeadError::HostMissing);
    for lines in
        ["Host: a\r\nHost: b\r\n", "Host: a\r\nhost: a\r\n", "Host: a\r\nX: y\r\nHOST:\r\n"]
    {
        refuses(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes(), HeadError::HostRepeated);
        refuses(format!("GET / HTTP/1.0\r\n{lines}\r\n").as_bytes(), HeadError::HostRepeated);
    }
}

#[test]
fn rule_15_http_1_0_may_have_none() {
    let raw = b"GET / HTTP/1.0\r\n\r\n";
    assert!(accepts(raw).authority.is_empty());
    let raw = b"GET http://x/ HTTP/1.0\r\n\r\n";
    assert_eq!(accepts(raw).authority.of(raw), b"x");
}

#[test]
fn rule_15_malformed_hosts_are_refused() {
    for host in [
        "",
        " ",
        "a b",
        "a,b",
        "a, b",
        "user@a",
        "user:pw@a",
        "a/b",
        "/",
        "a?b",
        "a#b",
        "a\\b",
        ":80",
        "a:",
        "a:b",
        "a:80:90",
        "a:-1",
        "a:+80",
        "a:65536",
        "a:99999999999",
        "a: 80",
        "http://a",
        "[::1",
        "::1]",
        "[]",
        "[::1]x",
        "[::1]:",
        "[::1]:x",
        "[1.2.3.4]",
        "[::1%25eth0]",
        "[v1.x]",
        "[g::1]",
        "::1",
        "a%2eb",
        "a%00b",
        "a;b",
        "a'b",
        "a\"b",
        "a<b>",
        "a|b",
        "a*",
        "*",
        "(a)",
        "\u{e9}",
        "a\tb",
        "${jndi:x}",
        "a&b",
        "a=b",
    ] {
        let raw = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        refuses(raw.as_bytes(), HeadError::Host);
        assert!(!is_valid_authority(host.as_bytes()), "{host}");
    }
}

#[test]
fn rule_15_valid_hosts_are_accepted() {
    for host in [
        "a",
        "a.b",
        "a.b.",
        "A.B",
        "a-b.c_d",
        "a:80",
        "a:0",
        "a:65535",
        "a:00080",
        "1.2.3.4",
        "1.2.3.4:80",
        "[::1]",
        "[::1]:80",
        "[2001:DB8::1]",
        "[::ffff:1.2.3.4]:8080",
        "localhost",
        "xn--bcher-kva.example",
        "a~b",
    ] {
        let raw = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
        assert_eq!(accepts(&raw).authority.of(&raw), host.as_bytes());
    }
}

#[test]
fn rule_15_an_absolute_target_overrides_host_but_does_not_excuse_it() {
    let raw = b"GET http://x:81/a HTTP/1.1\r\nHost: y\r\n\r\n";
    assert_eq!(accepts(raw).authority.of(raw), b"x:81");
    refuses(b"GET http://x/ HTTP/1.1\r\nHost: a b\r\n\r\n", HeadError::Host);
    refuses(b"GET http://u@x/ HTTP/1.1\r\nHost: x\r\n\r\n", HeadError::Host);
    refuses(b"GET http://u:p@x/ HTTP/1.1\r\nHost: x\r\n\r\n", HeadError::Host);
    refuses(b"GET http://x\\@y/ HTTP/1.1\r\nHost: x\r\n\r\n", HeadError::Host);
    refuses(b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n", HeadError::Host);
    refuses(b"GET http://:80/ HTTP/1.1\r\nHost: x\r\n\r\n", HeadError::Host);
}
