//! Rule 21: what a head may measure.

use super::*;

const SMALL: HeadLimits = HeadLimits { max_head: 200, max_line: 40, max_fields: 3 };

/// Feeds the bytes one at a time, and says after how many of them there was an answer.
fn feed(raw: &[u8], limits: &HeadLimits) -> (usize, Result<Option<usize>, HeadError>) {
    let mut scanner = Scanner::default();
    for end in 1..=raw.len() {
        match scanner.scan(&raw[..end], limits) {
            Ok(None) => {}
            answer => return (end, answer),
        }
    }
    (raw.len(), Ok(None))
}

#[track_caller]
fn check(raw: &[u8], after: usize, answer: Result<Option<usize>, HeadError>) {
    assert_eq!(feed(raw, &SMALL), (after, answer), "{}", raw.escape_ascii());
    assert_eq!(Scanner::default().scan(raw, &SMALL), answer, "{}", raw.escape_ascii());
}

#[test]
fn rule_21_a_line_may_be_as_long_as_its_limit() {
    let line = |len: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(len - 14));
    check(line(40).as_bytes(), 44, Ok(Some(44)));
    check(line(41).as_bytes(), 41, Err(HeadError::StartLineTooLong));
    check(line(150).as_bytes(), 41, Err(HeadError::StartLineTooLong));
    let field = |len: usize| format!("A / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(len - 3));
    check(field(40).as_bytes(), 58, Ok(Some(58)));
    check(field(41).as_bytes(), 55, Err(HeadError::FieldTooLong));
    check(field(42).as_bytes(), 55, Err(HeadError::FieldTooLong));
}

#[test]
fn rule_21_a_line_that_never_ends_is_refused_at_its_limit() {
    check(&[b'A'; 300], 41, Err(HeadError::StartLineTooLong));
    let field = [&b"A / HTTP/1.1\r\n"[..], &[b'\t'; 1], &[b'a'; 60]].concat();
    check(&field, 15, Err(HeadError::Folded));
    let tabs = [&b"A / HTTP/1.1\r\nX"[..], &[b'\t'; 60]].concat();
    check(&tabs, 55, Err(HeadError::FieldTooLong));
}

#[test]
fn rule_21_a_head_may_be_as_large_as_its_limit() {
    let limits = HeadLimits { max_line: 1000, ..SMALL };
    for (len, answer) in [
        (200, Ok(Some(200))),
        (201, Err(HeadError::HeadTooLarge)),
        (300, Err(HeadError::HeadTooLarge)),
    ] {
        let raw = format!("A / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(len - 21)).into_bytes();
        assert_eq!(raw.len(), len);
        let after = len.min(201);
        assert_eq!(feed(&raw, &limits), (after, answer));
        assert_eq!(Scanner::default().scan(&raw, &limits), answer);
        let read = parse_request(&raw, &mut RequestHead::default(), &limits);
        assert_eq!(read == Err(HeadError::HeadTooLarge), len > 200);
    }
}

#[test]
fn rule_21_there_may_be_as_many_fields_as_the_limit() {
    let raw = |count: usize| format!("A / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(count));
    check(raw(3).as_bytes(), 34, Ok(Some(34)));
    check(raw(4).as_bytes(), 38, Err(HeadError::TooManyFields));
    let mut head = RequestHead::default();
    let with_host = raw(3).replacen("X: y", "Host: h", 1).into_bytes();
    assert_eq!(parse_request(&with_host, &mut head, &SMALL), Ok(()));
    let four = raw(4).into_bytes();
    assert_eq!(parse_request(&four, &mut head, &SMALL), Err(HeadError::TooManyFields));
    assert!(parse_response(&four, &mut ResponseHead::default(), &SMALL).is_err());
}

#[test]
fn rule_21_no_limit_is_wider_than_the_room_for_fields() {
    let wide = HeadLimits { max_head: usize::MAX, max_line: usize::MAX, max_fields: usize::MAX };
    let raw = |count: usize| format!("A / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count));
    let fits = raw(MAX_FIELDS - 1).into_bytes();
    assert_eq!(Scanner::default().scan(&fits, &wide), Ok(Some(fits.len())));
    assert_eq!(parse_request(&fits, &mut RequestHead::default(), &wide), Ok(()));
    let over = raw(MAX_FIELDS).into_bytes();
    assert_eq!(Scanner::default().scan(&over, &wide), Err(HeadError::TooManyFields));
    let read = parse_request(&over, &mut RequestHead::default(), &wide);
    assert_eq!(read, Err(HeadError::TooManyFields));
}

#[test]
fn rule_21_the_earliest_fault_is_the_one_that_is_named() {
    check(b"GET /\x01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 6, Err(HeadError::Control));
    let late = [&[b'A'; 41][..], b"\x01"].concat();
    check(&late, 41, Err(HeadError::StartLineTooLong));
    check(b"A / HTTP/1.1\r\nX: a\rb\n", 20, Err(HeadError::BareCr));
    check(b"A / HTTP/1.1\r\nX: a\nb\r", 19, Err(HeadError::BareLf));
}

#[test]
fn what_follows_a_head_is_left_alone() {
    let raw = b"A / HTTP/1.1\r\n\r\n\x00\x01\n\n\r";
    check(raw, 16, Ok(Some(16)));
    let mut scanner = Scanner::default();
    assert_eq!(scanner.scan(b"A", &SMALL), Ok(None));
    scanner.reset();
    assert_eq!(scanner.scan(raw, &SMALL), Ok(Some(16)));
}

#[test]
fn scanning_byte_by_byte_does_not_start_over() {
    // A million bytes: a scanner that went back to the begin of the line each time would look at
    // them half a million million times, and this test would never end.
    let limits = HeadLimits { max_head: 1 << 20, max_line: 1 << 20, max_fields: 1 };
    for fill in [b'a', b'\t'] {
        let mut raw = b"A / HTTP/1.1\r\nX: a".to_vec();
        raw.resize(limits.max_head - 4, fill);
        raw.extend_from_slice(b"\r\n\r\n");
        assert_eq!(feed(&raw, &limits), (raw.len(), Ok(Some(raw.len()))));
    }
}
