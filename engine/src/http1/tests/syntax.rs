//! Rules 5 to 7: which bytes may stand where.

use super::*;

#[test]
fn rule_5_bare_line_ends_and_controls_are_refused() {
    for (raw, error) in [
        (&b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..], HeadError::BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", HeadError::BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", HeadError::BareLf),
        (b"GET / HTTP/1.1\nHost: a\n\n", HeadError::BareLf),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n", HeadError::BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\nX: a\r\n\r\n", HeadError::BareLf),
        (b"GET / HTTP/1.1\rHost: a\r\n\r\n", HeadError::BareCr),
        (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", HeadError::BareCr),
        (b"GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BareCr),
        (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", HeadError::BareCr),
        (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", HeadError::BareCr),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\rY: b\r\n\r\n", HeadError::BareCr),
        (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BareCr),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\rX: a\r\n\r\n", HeadError::BareCr),
        (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Control),
        (b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", HeadError::Control),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n", HeadError::Control),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", HeadError::Control),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", HeadError::Control),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[2J\r\n\r\n", HeadError::Control),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x0bb\r\n\r\n", HeadError::Control),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x08b\r\n\r\n", HeadError::Control),
        (b"G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Control),
        (b"GET / HTTP/1.1\x00\r\nHost: a\r\n\r\n", HeadError::Control),
    ] {
        refuses(raw, error);
    }
}

#[test]
fn rule_5_every_control_character_is_refused_in_a_value() {
    for byte in (0..b' ').chain([0x7f]).filter(|byte| *byte != b'\t') {
        let mut raw = b"GET / HTTP/1.1\r\nHost: a\r\nX: before".to_vec();
        raw.push(byte);
        raw.extend_from_slice(b"after\r\n\r\n");
        assert!(request(&raw).is_err(), "{byte:#x}");
        refuses_unscanned(&raw);
    }
}

#[test]
fn rule_5_what_is_visible_may_stand_in_a_value() {
    let raw = b"GET / HTTP/1.1\r\nHost: a\r\nX: \x80\xff \"a\"\t(b); c=d\r\nEmpty:\r\nE2: \r\n\r\n";
    let head = accepts(raw);
    assert_eq!(head.find(raw, b"x"), Some(&b"\x80\xff \"a\"\t(b); c=d"[..]));
    assert_eq!(head.find(raw, b"empty"), Some(&b""[..]));
    assert_eq!(head.find(raw, b"e2"), Some(&b""[..]));
}

#[test]
fn rule_6_malformed_field_lines_are_refused() {
    for (lines, error) in [
        ("X : a\r\n", HeadError::FieldName),
        ("X\t: a\r\n", HeadError::FieldName),
        (": a\r\n", HeadError::FieldName),
        (":\r\n", HeadError::FieldName),
        ("X\r\n", HeadError::FieldName),
        ("X a\r\n", HeadError::FieldName),
        ("X Y: a\r\n", HeadError::FieldName),
        ("X(: a\r\n", HeadError::FieldName),
        ("X\"Y\": a\r\n", HeadError::FieldName),
        ("X/Y: a\r\n", HeadError::FieldName),
        ("X@: a\r\n", HeadError::FieldName),
        ("X[0]: a\r\n", HeadError::FieldName),
        ("X,Y: a\r\n", HeadError::FieldName),
        ("X;: a\r\n", HeadError::FieldName),
        ("X=: a\r\n", HeadError::FieldName),
        ("X\u{e9}: a\r\n", HeadError::FieldName),
        (" X: a\r\n", HeadError::Folded),
        ("\tX: a\r\n", HeadError::Folded),
        ("X: a\r\n b\r\n", HeadError::Folded),
        ("X: a\r\n\tb\r\n", HeadError::Folded),
        ("X:\r\n a\r\n", HeadError::Folded),
        (" \r\n", HeadError::Folded),
        ("X: a\r\n \r\n", HeadError::Folded),
    ] {
        refuses(&get_with(lines), error);
    }
    refuses(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", HeadError::Folded);
    refuses(b"GET / HTTP/1.1\r\n\tHost: a\r\nHost: b\r\n\r\n", HeadError::Folded);
}

#[test]
fn rule_7_the_request_line_is_exact() {
    for (line, error) in [
        ("GET /", HeadError::RequestLine),
        ("GET", HeadError::RequestLine),
        ("GET  / HTTP/1.1", HeadError::RequestLine),
        ("GET /  HTTP/1.1", HeadError::RequestLine),
        ("GET / HTTP/1.1 ", HeadError::RequestLine),
        ("GET / a HTTP/1.1", HeadError::RequestLine),
        ("GET\t/ HTTP/1.1", HeadError::RequestLine),
        ("GET /\tHTTP/1.1", HeadError::RequestLine),
        ("GET / http/1.1", HeadError::RequestLine),
        ("GET / HTTP/1", HeadError::RequestLine),
        ("GET / HTTP/1.", HeadError::RequestLine),
        ("GET / HTTP/01.1", HeadError::RequestLine),
        ("GET / HTTP/1.10", HeadError::RequestLine),
        ("GET / HTTP /1.1", HeadError::RequestLine),
        ("GET / XTTP/1.1", HeadError::RequestLine),
        ("GET HTTP/1.1", HeadError::RequestLine),
        ("G(T / HTTP/1.1", HeadError::RequestLine),
        ("G\u{e9}T / HTTP/1.1", HeadError::RequestLine),
        ("GET: / HTTP/1.1", HeadError::RequestLine),
        ("GET / HTTP/0.9", HeadError::Version),
        ("GET / HTTP/1.2", HeadError::Version),
        ("GET / HTTP/2.0", HeadError::Version),
        ("GET / HTTP/3.1", HeadError::Version),
        ("PRI * HTTP/2.0", HeadError::Version),
        ("CONNECT a:443 HTTP/1.1", HeadError::Connect),
        ("CONNECT / HTTP/1.1", HeadError::Connect),
        (" GET / HTTP/1.1", HeadError::BadStart),
        ("\tGET / HTTP/1.1", HeadError::BadStart),
        ("(GET / HTTP/1.1", HeadError::BadStart),
        ("\u{e9} / HTTP/1.1", HeadError::BadStart),
        (":: / HTTP/1.1", HeadError::BadStart),
    ] {
        refuses(format!("{line}\r\nHost: a\r\n\r\n").as_bytes(), error);
    }
}

#[test]
fn rule_7_any_token_is_a_method() {
    for (text, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("DELETE", Method::Delete),
        ("OPTIONS", Method::Options),
        ("PATCH", Method::Patch),
        ("TRACE", Method::Trace),
        ("get", Method::Other),
        ("connect", Method::Other),
        ("PROPFIND", Method::Other),
        ("X!#$%&'*+-.^_`|~9", Method::Other),
    ] {
        let raw = format!("{text} / HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        let head = accepts(&raw);
        assert_eq!(head.method, method, "{text}");
        assert_eq!(head.method_text.of(&raw), text.as_bytes());
    }
}

#[test]
fn rule_7_targets_in_no_known_form_are_refused() {
    for target in [
        "a",
        "a/b",
        "*",
        "?x",
        "//a\u{e9}",
        "/\u{e9}",
        "/a#b",
        "#",
        "http:/a",
        "http:a",
        "http//a",
        "ftp://a/",
        "ws://a/",
        "javascript:x",
        "http://a?x",
        "a:443",
        "/a\x7f",
        "*/",
    ] {
        let raw = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        assert!(request(&raw).is_err(), "{target}");
        refuses_unscanned(&raw);
    }
    refuses(b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target);
    refuses(b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target);
    refuses(b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Host);
}

#[test]
fn rule_7_targets_are_taken_apart() {
    for (method, target, authority, path) in [
        ("GET", "/", "h", "/"),
        ("GET", "/a/b?c=d&e=%20", "h", "/a/b?c=d&e=%20"),
        ("GET", "//x/y", "h", "//x/y"),
        ("GET", "/?http://x/", "h", "/?http://x/"),
        ("GET", "/a|b^c`d{e}\"<>", "h", "/a|b^c`d{e}\"<>"),
        ("OPTIONS", "*", "h", "*"),
        ("OPTIONS", "/a", "h", "/a"),
        ("GET", "http://x/a?b", "x", "/a?b"),
        ("GET", "http://x", "x", "/"),
        ("GET", "HTTP://x:80/", "x:80", "/"),
        ("GET", "https://[::1]:8443/a", "[::1]:8443", "/a"),
        ("OPTIONS", "http://x", "x", "*"),
        ("GET", "http://x//y", "x", "//y"),
    ] {
        let raw = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
        let head = accepts(&raw);
        assert_eq!(head.target.of(&raw), target.as_bytes());
        assert_eq!(head.authority.of(&raw), authority.as_bytes(), "{target}");
        assert_eq!(head.path_and_query(&raw), path.as_bytes(), "{target}");
        assert_eq!(head.absolute_form, authority != "h", "{target}");
    }
}

#[test]
fn a_tls_hello_on_a_plain_port_is_named_as_such() {
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    assert_eq!(Scanner::default().scan(&hello[..1], &LIMITS), Err(HeadError::LooksLikeTls));
    refuses(hello, HeadError::LooksLikeTls);
    assert_eq!(HeadError::LooksLikeTls.status(), 400);
    assert!(HeadError::LooksLikeTls.to_string().contains("TLS"));
}

#[test]
fn one_empty_line_before_a_request_is_skipped() {
    let raw = b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = accepts(raw);
    assert_eq!((head.len, head.path_and_query(raw)), (raw.len(), &b"/a"[..]));
    refuses(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::EmptyLines);
}

#[test]
fn a_head_is_all_of_the_bytes_or_refused() {
    let mut head = RequestHead::default();
    let raw = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(
        parse_request(&raw[..raw.len() - 1], &mut head, &LIMITS),
        Err(HeadError::Incomplete)
    );
    assert_eq!(parse_request(b"", &mut head, &LIMITS), Err(HeadError::BadStart));
    let longer = [&raw[..], b"GET"].concat();
    assert_eq!(parse_request(&longer, &mut head, &LIMITS), Err(HeadError::Incomplete));
}

#[test]
fn statuses_tell_the_refusals_apart() {
    for (error, status) in [
        (HeadError::BareLf, 400),
        (HeadError::Connect, 405),
        (HeadError::StartLineTooLong, 414),
        (HeadError::Expectation, 417),
        (HeadError::FieldTooLong, 431),
        (HeadError::HeadTooLarge, 431),
        (HeadError::TooManyFields, 431),
        (HeadError::Encoding, 501),
        (HeadError::Version, 505),
    ] {
        assert_eq!(error.status(), status, "{error}");
    }
}
