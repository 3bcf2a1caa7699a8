//! Rule 4: chunks, their extensions and their trailers.

use super::*;
use crate::http1::chunked::{MAX_EXTENSION, MAX_EXTENSIONS, MAX_TRAILERS};

/// Data, trailers and unconsumed rest of a chunked body.
type Read = (Vec<u8>, Vec<u8>, usize);

/// Decodes bytes that arrive in pieces of `step`. `None` when the body does not end.
fn decode(raw: &[u8], step: usize) -> Result<Option<Read>, ChunkError> {
    let mut decoder = Decoder::default();
    let mut data = Vec::new();
    let mut at = 0;
    for end in (0..raw.len()).step_by(step).map(|start| (start + step).min(raw.len())) {
        loop {
            let (used, event) = decoder.decode(&raw[at..end])?;
            match event {
                Event::Data(range) => data.extend_from_slice(&raw[at..end][range]),
                Event::More => {
                    at += used;
                    break;
                }
                Event::End => {
                    return Ok(Some((data, decoder.trailers().to_vec(), raw.len() - at - used)));
                }
            }
            at += used;
        }
    }
    Ok(None)
}

#[track_caller]
fn check(raw: &[u8], expected: Result<Option<Read>, ChunkError>) {
    for step in [raw.len().max(1), 1, 2, 3, 7] {
        assert_eq!(decode(raw, step), expected, "step {step}: {}", raw.escape_ascii());
    }
}

#[track_caller]
fn decodes(raw: &[u8], data: &[u8], trailers: &[u8]) {
    check(raw, Ok(Some((data.to_vec(), trailers.to_vec(), 0))));
}

#[track_caller]
fn fails(raw: &[u8], error: ChunkError) {
    check(raw, Err(error));
}

#[test]
fn rule_4_well_formed_bodies_are_decoded() {
    for (raw, data) in [
        (&b"0\r\n\r\n"[..], &b""[..]),
        (b"00\r\n\r\n", b""),
        (b"0000000000000000\r\n\r\n", b""),
        (b"1\r\na\r\n0\r\n\r\n", b"a"),
        (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"000000000000000a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
        (b"1;x\r\na\r\n0;y=z\r\n\r\n", b"a"),
        (b"1;x=\"a;b\"\r\na\r\n0\r\n\r\n", b"a"),
        (b"1;\r\na\r\n0; \r\n\r\n", b"a"),
        (b"1;\xff\t\r\na\r\n0\r\n\r\n", b"a"),
    ] {
        decodes(raw, data, b"");
    }
}

#[test]
fn rule_4_malformed_sizes_are_refused() {
    for raw in [
        "\r\n",
        "\r\n\r\n",
        "\n",
        ";x\r\n",
        " 1\r\n",
        "\t1\r\n",
        "+1\r\n",
        "-1\r\n",
        "-0\r\n",
        "0x1\r\n",
        "1 \r\n",
        "1 ;x\r\n",
        "1\t\r\n",
        "1,\r\n",
        "1.\r\n",
        "1_0\r\n",
        "g\r\n",
        "1g\r\n",
        "\"1\"\r\n",
        "1\0\r\n",
        "\0",
        "1h\r\n",
        "x\r\n",
        "\u{ff11}\r\n",
        "1:\r\n",
        "(1)\r\n",
        "1\x0b\r\n",
    ] {
        fails(raw.as_bytes(), ChunkError::Size);
    }
    for raw in ["00000000000000000\r\n", "10000000000000000\r\n", "ffffffffffffffff0\r\n"] {
        fails(raw.as_bytes(), ChunkError::SizeTooLong);
    }
    check(b"ffffffffffffffff\r\n", Ok(None));
}

#[test]
fn rule_4_lines_end_with_crlf_only() {
    for raw in [
        &b"1\na\r\n0\r\n\r\n"[..],
        b"1\r\r\n",
        b"1\ra\r\n",
        b"1;x\na\r\n0\r\n\r\n",
        b"1;x\ra\r\n0\r\n\r\n",
        b"0\n\n",
        b"0\n\r\n",
        b"0\r\n\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\nX: y\r\r\n",
        b"0\r\n\rX: y\r\n",
    ] {
        fails(raw, ChunkError::LineEnd);
    }
}

#[test]
fn rule_4_the_line_end_behind_data_is_checked() {
    for raw in [
        &b"1\r\nab\r\n0\r\n\r\n"[..],
        b"1\r\na0\r\n\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"1\r\na\r0\r\n\r\n",
        b"1\r\na\r\r\n",
        b"1\r\naXX0\r\n\r\n",
        b"2\r\nabc\r\n0\r\n\r\n",
    ] {
        fails(raw, ChunkError::DataEnd);
    }
    check(b"3\r\nab\r\n0\r\n\r\n", Err(ChunkError::DataEnd));
}

#[test]
fn rule_4_extensions_are_bounded() {
    let one = |len: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(len));
    decodes(one(usize::from(MAX_EXTENSION)).as_bytes(), b"a", b"");
    fails(one(usize::from(MAX_EXTENSION) + 1).as_bytes(), ChunkError::ExtensionTooLong);
    let many = |count: usize| format!("1;{}\r\na\r\n", "x".repeat(128)).repeat(count);
    let most = MAX_EXTENSIONS as usize / 128;
    check(many(most).as_bytes(), Ok(None));
    fails(many(most + 1).as_bytes(), ChunkError::ExtensionTooLong);
    for raw in ["1;\0\r\n", "1;a\x7f\r\n", "1;\x0b\r\n", "1;\x1b[\r\n"] {
        fails(raw.as_bytes(), ChunkError::Extension);
    }
}

#[test]
fn rule_4_harmless_trailers_are_kept() {
    for (trailers, kept) in [
        ("X-Checksum: abc\r\n", "X-Checksum: abc\r\n"),
        ("grpc-status: 0\r\ngrpc-message:\r\n", "grpc-status: 0\r\ngrpc-message:\r\n"),
        ("ETag: \"x\"\r\nServer-Timing: a;dur=1\r\n", "ETag: \"x\"\r\nServer-Timing: a;dur=1\r\n"),
        ("Content-Digest: sha-256=:x:\r\n", "Content-Digest: sha-256=:x:\r\n"),
        ("X:\t a \t\r\n", "X:\t a \t\r\n"),
    ] {
        decodes(format!("1\r\na\r\n0\r\n{trailers}\r\n").as_bytes(), b"a", kept.as_bytes());
    }
}

#[test]
fn rule_4_trailers_that_frame_route_or_authenticate_are_dropped() {
    for name in [
        "Content-Length",
        "transfer-encoding",
        "Host",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "Authorization",
        "Proxy-Authorization",
        "Proxy-X",
        "Cookie",
        "Set-Cookie",
        "X-Forwarded-For",
        "X-Forwarded-Foo",
        "X_Forwarded_For",
        "x.real.ip",
        "Forwarded",
        "Content-Type",
        "Content-Encoding",
        "Content_Length",
        "Transfer.Encoding",
        "Expect",
        "Range",
        "Cache-Control",
        "If-None-Match",
        "Location",
        "Access-Control-Allow-Origin",
        "X-Auth-User",
        "Content-Security-Policy",
        "WWW-Authenticate",
        "Sec-WebSocket-Key",
        "X-HTTP-Method-Override",
    ] {
        let raw = format!("0\r\nA: 1\r\n{name}: x\r\nB: 2\r\n\r\n");
        decodes(raw.as_bytes(), b"", b"A: 1\r\nB: 2\r\n");
    }
}

#[test]
fn rule_17_unwanted_trailers_are_left_out() {
    for (unwanted, kept) in [
        ("a", "B:\r\nC: 3\r\n"),
        ("B", "a: 1\r\nC: 3\r\n"),
        ("c", "a: 1\r\nB:\r\n"),
        ("", "a: 1\r\nB:\r\nC: 3\r\n"),
    ] {
        let mut decoder = Decoder::default();
        let raw = b"0\r\na: 1\r\nB:\r\nC: 3\r\n\r\n";
        assert_eq!(decoder.decode(raw), Ok((raw.len(), Event::End)));
        decoder.leave_out(|name| name.eq_ignore_ascii_case(unwanted.as_bytes()));
        assert_eq!(decoder.trailers(), kept.as_bytes(), "{unwanted:?}");
    }
}

#[test]
fn rule_4_malformed_trailers_are_refused() {
    for raw in [
        "X\r\n",
        "X : y\r\n",
        " X: y\r\n",
        "\tX: y\r\n",
        ": y\r\n",
        "X: y\r\n z\r\n",
        "X: \0\r\n",
        "X: \x7f\r\n",
        "X\x01: y\r\n",
        "X Y: z\r\n",
        "X(: y\r\n",
        "GET / HTTP/1.1\r\n",
        "\u{e9}: x\r\n",
    ] {
        fails(format!("0\r\n{raw}\r\n").as_bytes(), ChunkError::Trailer);
    }
}

#[test]
fn rule_4_trailers_are_bounded_even_when_dropped() {
    for name in ["X", "Host"] {
        let raw = |len: usize| format!("0\r\n{name}:{}\r\n\r\n", "a".repeat(len - name.len() - 5));
        assert!(matches!(decode(raw(MAX_TRAILERS).as_bytes(), 1000), Ok(Some(_))), "{name}");
        fails(raw(MAX_TRAILERS + 1).as_bytes(), ChunkError::TrailersTooLong);
    }
    let many = format!("0\r\n{}", "Host: a\r\n".repeat(MAX_TRAILERS));
    fails(many.as_bytes(), ChunkError::TrailersTooLong);
}

#[test]
fn rule_4_what_follows_the_end_is_left_alone() {
    check(b"1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n", Ok(Some((b"a".to_vec(), Vec::new(), 16))));
    let mut decoder = Decoder::default();
    assert_eq!(decoder.decode(b"0\r\n\r\nx"), Ok((5, Event::End)));
    assert_eq!(decoder.decode(b"x"), Ok((0, Event::End)));
    assert_eq!(decoder.decode(b""), Ok((0, Event::End)));
    decoder.reset();
    assert_eq!(decoder.decode(b"x"), Err(ChunkError::Size));
    assert_eq!(decoder.decode(b"0\r\n\r\n"), Err(ChunkError::Size));
    assert_eq!(decoder.decode(b""), Err(ChunkError::Size));
}

#[test]
fn rule_4_an_empty_chunk_is_never_written_in_the_middle() {
    let mut out = Vec::new();
    write_chunk(&mut out, b"");
    assert!(out.is_empty());
    write_chunk(&mut out, b"hello, chunked world");
    write_chunk(&mut out, b"");
    write_chunk(&mut out, &[b'x'; 16]);
    write_last(&mut out, b"");
    assert_eq!(out, b"14\r\nhello, chunked world\r\n10\r\nxxxxxxxxxxxxxxxx\r\n0\r\n\r\n");
    out.clear();
    write_last(&mut out, b"X: y\r\n");
    assert_eq!(out, b"0\r\nX: y\r\n\r\n");
}

#[test]
fn numbers_are_written_in_full() {
    for (number, decimal, hex) in [
        (0, "0", "0"),
        (9, "9", "9"),
        (15, "15", "f"),
        (16, "16", "10"),
        (4096, "4096", "1000"),
        (u64::MAX, "18446744073709551615", "ffffffffffffffff"),
    ] {
        let mut out = Vec::new();
        write::decimal(&mut out, number);
        assert_eq!(out, decimal.as_bytes());
        out.clear();
        write::hex(&mut out, number);
        assert_eq!(out, hex.as_bytes());
    }
}
