//! Rules 10, 11 and 13, and what is tolerated of upstreams.

use super::*;
use crate::message::Version;

#[test]
fn status_lines_are_read() {
    for (line, status, reason, version) in [
        ("HTTP/1.1 200 OK", 200, "OK", Version::Http11),
        ("HTTP/1.0 404 Not Found", 404, "Not Found", Version::Http10),
        ("HTTP/1.1 200 ", 200, "", Version::Http11),
        ("HTTP/1.1 200", 200, "", Version::Http11),
        ("HTTP/1.1 100 Continue", 100, "Continue", Version::Http11),
        ("HTTP/1.1 999 x", 999, "x", Version::Http11),
        ("HTTP/1.1 200 a\tb", 200, "a\tb", Version::Http11),
        ("HTTP/1.1 200 gr\u{fc}n", 200, "gr\u{fc}n", Version::Http11),
        ("HTTP/1.1 200  two spaces", 200, " two spaces", Version::Http11),
    ] {
        let raw = format!("{line}\r\nA: b\r\n\r\n").into_bytes();
        let head = response(&raw).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!((head.status, head.version), (status, version), "{line}");
        assert_eq!(head.reason.of(&raw), reason.as_bytes(), "{line}");
        assert_eq!(head.find(&raw, b"a"), Some(&b"b"[..]), "{line}");
        assert_eq!(head.len, raw.len());
    }
    let bare = accepts_response(b"HTTP/1.1 204 No Content\r\n\r\n");
    assert!(bare.fields.is_empty());
}

#[test]
fn malformed_status_lines_are_refused() {
    for (line, error) in [
        ("HTTP/1.1", HeadError::StatusLine),
        ("HTTP/1.1 ", HeadError::StatusLine),
        ("HTTP/1.1 OK", HeadError::StatusLine),
        ("HTTP/1.1 20", HeadError::StatusLine),
        ("HTTP/1.1 20 OK", HeadError::StatusLine),
        ("HTTP/1.1 2000 OK", HeadError::StatusLine),
        ("HTTP/1.1 099 OK", HeadError::StatusLine),
        ("HTTP/1.1 000 OK", HeadError::StatusLine),
        ("HTTP/1.1 +20 OK", HeadError::StatusLine),
        ("HTTP/1.1 2x0 OK", HeadError::StatusLine),
        ("HTTP/1.1  200 OK", HeadError::StatusLine),
        ("HTTP/1.1\t200 OK", HeadError::StatusLine),
        ("HTTP/1.1 200OK", HeadError::StatusLine),
        ("HTTP/1.1 200\tOK", HeadError::StatusLine),
        ("HTTP/2.0 200 OK", HeadError::Version),
        ("HTTP/1.2 200 OK", HeadError::Version),
        ("http/1.1 200 OK", HeadError::StatusLine),
        ("ICY 200 OK", HeadError::StatusLine),
        (" HTTP/1.1 200 OK", HeadError::BadStart),
        ("\r\nHTTP/1.1 200 OK", HeadError::BadStart),
        ("HTTP/1.1 200 O\x01K", HeadError::Control),
        ("HTTP/1.1 200 O\rK", HeadError::BareCr),
        ("HTTP/1.1 200 O\nK", HeadError::BareLf),
    ] {
        let raw = format!("{line}\r\nA: b\r\n\r\n").into_bytes();
        assert_eq!(response(&raw), Err(error), "{line}");
        let alone = parse_response(&raw, &mut ResponseHead::default(), &LIMITS);
        assert!(alone.is_err(), "without a scanner: {line}");
    }
}

#[test]
fn rules_5_and_6_hold_for_responses_too() {
    for (lines, error) in [
        ("A: b\nC: d\r\n", HeadError::BareLf),
        ("A: b\rC: d\r\n", HeadError::BareCr),
        ("A: b\0\r\n", HeadError::Control),
        ("A : b\r\n", HeadError::FieldName),
        ("A: b\r\n c\r\n", HeadError::Folded),
        (": b\r\n", HeadError::FieldName),
        ("A\r\n", HeadError::FieldName),
    ] {
        let raw = ok_with(lines);
        assert_eq!(response(&raw), Err(error), "{lines}");
        let alone = parse_response(&raw, &mut ResponseHead::default(), &LIMITS);
        assert!(alone.is_err(), "without a scanner: {lines}");
    }
}

#[test]
fn rules_1_to_3_hold_for_responses_too() {
    for (lines, error) in [
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", HeadError::TwoLengths),
        ("Transfer-Encoding: gzip\r\nContent-Length: 5\r\n", HeadError::TwoLengths),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", HeadError::ContentLength),
        ("Content-Length: -5\r\n", HeadError::ContentLength),
        ("Content-Length:\r\n", HeadError::ContentLength),
        ("Content-Length: 5, 6\r\n", HeadError::ContentLength),
        ("Transfer-Encoding: gzip\r\n", HeadError::Encoding),
        ("Transfer-Encoding: gzip, chunked\r\n", HeadError::Encoding),
        ("Transfer-Encoding: chunked, chunked\r\n", HeadError::Encoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", HeadError::Encoding),
    ] {
        assert_eq!(response_body_of(&ok_with(lines), Method::Get), Err(error), "{lines}");
    }
    let old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(response_body_of(old, Method::Get), Err(HeadError::EncodingOnHttp10));
    let old = b"HTTP/1.0 304 x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(response_body_of(old, Method::Get), Err(HeadError::TwoLengths));
}

#[test]
fn rule_11_some_answers_never_have_a_body() {
    for lines in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        for status in [100, 101, 103, 199, 204, 304] {
            let raw = format!("HTTP/1.1 {status} x\r\n{lines}\r\n");
            let body = response_body_of(raw.as_bytes(), Method::Get);
            assert_eq!(body, Ok(Body::Empty), "{raw}");
        }
        for status in [200, 206, 404, 500] {
            let raw = format!("HTTP/1.1 {status} x\r\n{lines}\r\n");
            let body = response_body_of(raw.as_bytes(), Method::Head);
            assert_eq!(body, Ok(Body::Empty), "{raw}");
        }
    }
}

#[test]
fn rule_13_an_answer_without_length_ends_with_its_connection() {
    for (lines, body) in [
        ("", Body::UntilClose),
        ("Content-Length: 5\r\n", Body::Length(5)),
        ("Content-Length: 0\r\n", Body::Empty),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Body::Length(5)),
        ("Content-Length: 5, 5\r\n", Body::Length(5)),
        ("Transfer-Encoding: chunked\r\n", Body::Chunked),
        ("Transfer-Encoding: Chunked\r\nConnection: close\r\n", Body::Chunked),
    ] {
        for method in [Method::Get, Method::Post, Method::Other] {
            assert_eq!(response_body_of(&ok_with(lines), method), Ok(body), "{lines}");
        }
    }
    let old = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(response_body_of(old, Method::Get), Ok(Body::Length(5)));
    assert_eq!(response_body_of(b"HTTP/1.0 200\r\n\r\n", Method::Get), Ok(Body::UntilClose));
}

#[test]
fn rule_10_interim_answers_are_told_from_final_ones() {
    for (status, interim) in [(100, true), (101, true), (103, true), (200, false), (999, false)] {
        let raw = format!("HTTP/1.1 {status} x\r\n\r\n");
        let head = accepts_response(raw.as_bytes());
        assert_eq!(head.is_interim(), interim, "{status}");
    }
}

#[test]
fn rule_14_holds_for_responses_too() {
    let raw =
        ok_with("Connection: x, set-cookie\r\nX: 1\r\nSet-Cookie: c\r\nKeep-Alive: t\r\nY: 2\r\n");
    let head = accepts_response(&raw);
    let kept = head.fields.iter().filter(|field| !field.is_hop_by_hop());
    let kept: Vec<&[u8]> = kept.map(|field| field.name.of(&raw)).collect();
    assert_eq!(kept, [&b"Set-Cookie"[..], b"Y"]);
}
