//! Rules 1 to 3: how long a request is, and when that is in doubt.

use super::*;

#[test]
fn rule_1_transfer_encoding_with_content_length_is_refused() {
    for lines in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "content-length: 5\r\ntransfer-encoding: CHUNKED\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding:\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nX: y\r\nTransfer-Encoding: chunked, chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    ] {
        refuses(&post_with(lines), HeadError::TwoLengths);
        refuses(&get_with(lines), HeadError::TwoLengths);
    }
    let old = b"POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    refuses(old, HeadError::TwoLengths);
}

#[test]
fn rule_2_content_length_is_digits_only_and_one_value() {
    for value in [
        "",
        " ",
        "+5",
        "-5",
        "-0",
        "5a",
        "a5",
        "0x5",
        "5.0",
        "5,",
        ",5",
        "5,,5",
        "5 5",
        "5;5",
        "5, 6",
        "6,5",
        "5\t5",
        "\"5\"",
        "5e1",
        "1_000",
        "１",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551621",
        "9223372036854775808",
        "99999999999999999999999999999999",
        "5, 5, 6",
    ] {
        refuses(&post_with(&format!("Content-Length: {value}\r\n")), HeadError::ContentLength);
    }
    for lines in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\ncontent-length: 0\r\n",
        "Content-Length: 5\r\nContent-Length:\r\n",
        "Content-Length: 5\r\nContent-Length: 5, 6\r\n",
        "Content-Length: 5\r\nX: y\r\nContent-Length: +5\r\n",
    ] {
        refuses(&post_with(lines), HeadError::ContentLength);
    }
}

#[test]
fn rule_2_one_length_said_several_times_is_one_length() {
    for (lines, length) in [
        ("Content-Length: 5\r\n", 5),
        ("Content-Length:5\r\n", 5),
        ("Content-Length: \t 5 \t\r\n", 5),
        ("CONTENT-LENGTH: 5\r\n", 5),
        ("Content-Length: 005\r\n", 5),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 5),
        ("Content-Length: 5, 5\r\n", 5),
        ("Content-Length: 5,5 ,5\r\n", 5),
        ("Content-Length: 9223372036854775807\r\n", i64::MAX as u64),
    ] {
        assert_eq!(body_of(&post_with(lines)), Body::Length(length), "{lines}");
    }
    assert_eq!(body_of(&get_with("Content-Length: 7\r\n")), Body::Length(7));
    assert_eq!(body_of(&post_with("Content-Length: 0\r\n")), Body::Empty);
    assert_eq!(body_of(&post_with("")), Body::Empty);
    assert_eq!(accepts(&post_with("Content-Length: 0\r\n")).content_length, Some(0));
}

#[test]
fn rule_2_names_that_only_look_like_content_length_say_nothing() {
    for lines in ["Content_Length: 5\r\n", "Content-Lengt: 5\r\n", "X-Content-Length: 5\r\n"] {
        assert_eq!(body_of(&post_with(lines)), Body::Empty, "{lines}");
    }
}

#[test]
fn rule_3_only_one_chunked_is_a_transfer_coding() {
    for value in [
        "",
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, identity",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "chunked;q=1",
        "chunked; x",
        "xchunked",
        "chunkedx",
        "chun ked",
        "\"chunked\"",
        "'chunked'",
        "chunked chunked",
        "cow",
        "x, chunked",
        "chun\u{212a}ed",
        "\u{a0}chunked",
        "identity, chunked",
        "compress",
        "trailers",
    ] {
        let lines = format!("Transfer-Encoding: {value}\r\n");
        refuses(&post_with(&lines), HeadError::Encoding);
    }
    for lines in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\ntransfer-encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n",
        "Transfer-Encoding: chunked\r\nX: y\r\nTransfer-encoding: cow\r\n",
    ] {
        refuses(&post_with(lines), HeadError::Encoding);
    }
}

#[test]
fn rule_3_white_space_tricks_in_transfer_encoding_do_not_hide_it() {
    for (lines, error) in [
        ("Transfer-Encoding : chunked\r\n", HeadError::FieldName),
        ("Transfer-Encoding\t: chunked\r\n", HeadError::FieldName),
        (" Transfer-Encoding: chunked\r\n", HeadError::Folded),
        ("Transfer-Encoding:\r\n chunked\r\n", HeadError::Folded),
        ("X: y\n Transfer-Encoding: chunked\r\n", HeadError::BareLf),
        ("X: y\rTransfer-Encoding: chunked\r\n", HeadError::BareCr),
        ("Transfer-Encoding: \x0bchunked\r\n", HeadError::Control),
        ("Transfer-Encoding: chunked\x00\r\n", HeadError::Control),
        ("Transfer-Encoding:\x0cchunked\r\n", HeadError::Control),
        ("\x01Transfer-Encoding: chunked\r\n", HeadError::Control),
        ("Transfer-Encoding\r\n: chunked\r\n", HeadError::FieldName),
        (": y\r\nTransfer-Encoding: chunked\r\n", HeadError::FieldName),
        ("Transfer Encoding: chunked\r\n", HeadError::FieldName),
        ("Transfer-Encoding\u{fffd}: chunked\r\n", HeadError::FieldName),
    ] {
        refuses(&post_with(lines), error);
    }
}

#[test]
fn rule_3_chunked_is_taken_in_any_case() {
    for lines in [
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding:chunked\r\n",
        "TRANSFER-ENCODING: CHUNKED\r\n",
        "Transfer-Encoding: \tcHuNkEd \t\r\n",
    ] {
        assert_eq!(body_of(&post_with(lines)), Body::Chunked, "{lines}");
    }
}

#[test]
fn rule_3_http_1_0_knows_no_transfer_encoding() {
    for value in ["chunked", "identity", ""] {
        let raw = format!("POST / HTTP/1.0\r\nTransfer-Encoding: {value}\r\n\r\n");
        refuses(raw.as_bytes(), HeadError::EncodingOnHttp10);
    }
}

#[test]
fn rule_7_trace_has_no_body() {
    let with = |lines: &str| format!("TRACE / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
    refuses(&with("Content-Length: 5\r\n"), HeadError::TraceBody);
    refuses(&with("Transfer-Encoding: chunked\r\n"), HeadError::TraceBody);
    assert_eq!(body_of(&with("")), Body::Empty);
    assert_eq!(body_of(&with("Content-Length: 0\r\n")), Body::Empty);
}

#[test]
fn keep_alive_follows_rfc_9112_section_9_3() {
    for (version, lines, keeps) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.1", "Connection: close, keep-alive\r\n", false),
        ("1.1", "connection: keep-alive\r\nCONNECTION: CLOSE\r\n", false),
        ("1.1", "Connection: x,close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Proxy-Connection: close\r\n", true),
        ("1.1", "Connection:\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Keep-Alive: timeout=5\r\n", false),
        ("1.0", "Proxy-Connection: keep-alive\r\n", false),
    ] {
        let raw = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(keeps_alive_request(&accepts(raw.as_bytes())), keeps, "{raw}");
        let raw = format!("HTTP/{version} 200 OK\r\n{lines}\r\n");
        let head = accepts_response(raw.as_bytes());
        assert_eq!(keeps_alive_response(&head), keeps, "{raw}");
    }
}
