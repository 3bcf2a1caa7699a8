//! What holds for any bytes at all. The fuzz targets in `tests/fuzz` and the random tests of this
//! module call the same functions; each panics when its property does not hold.

use super::{
    Body, ChunkError, Decoder, Event, HeadError, HeadLimits, Scanner, is_valid_authority,
    parse_request, parse_response, read_request, read_response, request_body, response_body, write,
    write_chunk, write_last,
};
use crate::message::{Field, Method, RequestHead, ResponseHead, Version};

/// Limits as the house has them by default, and some that are soon reached.
const LIMITS: [HeadLimits; 3] = [
    HeadLimits { max_head: 64 << 10, max_line: 16 << 10, max_fields: 100 },
    HeadLimits { max_head: 120, max_line: 40, max_fields: 4 },
    HeadLimits { max_head: 60, max_line: 60, max_fields: 2 },
];

/// Sizes of the pieces in which bytes are fed, over and over; the last is all at once.
const PIECES: [&[usize]; 5] = [&[1], &[2, 3], &[7], &[1, 16, 5, 64], &[usize::MAX]];

/// A head is found in the same place, or refused for the same reason, in whatever pieces it
/// arrives; scanner and reader agree; and what was read and is written again reads the same.
pub fn head(bytes: &[u8]) {
    for limits in &LIMITS {
        let found = scan(bytes, limits, &[usize::MAX]);
        for pieces in PIECES {
            assert_eq!(scan(bytes, limits, pieces), found, "pieces {pieces:?}");
        }
        reader_agrees_with_scanner(bytes, limits);
        if let Ok(Some(len)) = found {
            assert!(len <= limits.max_head);
            written_request_reads_the_same(&bytes[..len], limits);
            written_response_reads_the_same(&bytes[..len], limits);
        }
    }
}

/// The end of the first head in bytes that arrive in pieces.
fn scan(bytes: &[u8], limits: &HeadLimits, pieces: &[usize]) -> Result<Option<usize>, HeadError> {
    let mut scanner = Scanner::default();
    let mut end = 0_usize;
    for piece in pieces.iter().cycle() {
        end = end.saturating_add(*piece).min(bytes.len());
        let answer = scanner.scan(&bytes[..end], limits);
        if answer != Ok(None) || end == bytes.len() {
            return answer;
        }
    }
    Ok(None)
}

/// What the reader accepts of bytes that no scanner has seen, the scanner accepts too.
fn reader_agrees_with_scanner(bytes: &[u8], limits: &HeadLimits) {
    let scanned = scan(bytes, limits, &[usize::MAX]);
    if parse_request(bytes, &mut RequestHead::default(), limits).is_ok() {
        assert_eq!(scanned, Ok(Some(bytes.len())), "only the reader accepts this request");
    }
    if parse_response(bytes, &mut ResponseHead::default(), limits).is_ok() {
        assert_eq!(scanned, Ok(Some(bytes.len())), "only the reader accepts this response");
    }
}

/// What is written may be longer than what was read: a space stands behind each colon.
fn written_request_reads_the_same(raw: &[u8], limits: &HeadLimits) {
    let mut head = RequestHead::default();
    if parse_request(raw, &mut head, limits).is_err() {
        return;
    }
    assert_eq!(head.len, raw.len());
    assert!(matches!(head.path_and_query(raw), [b'/', ..] | b"*"));
    assert!(head.version == Version::Http10 || !head.authority.is_empty());
    assert!(head.authority.is_empty() || is_valid_authority(head.authority.of(raw)));
    assert!(write::is_token(head.method_text.of(raw)));
    assert_eq!(Ok(naive_request_body(raw)), request_body(&head, raw).map(Some));
    let mut out = Vec::new();
    write::request_line(&mut out, head.method_text.of(raw), head.target.of(raw), head.version);
    write_fields(&mut out, &head.fields, raw);
    let mut again = RequestHead::default();
    let room = HeadLimits { max_head: usize::MAX, max_line: usize::MAX, ..*limits };
    assert_eq!(parse_request(&out, &mut again, &room), Ok(()));
    assert_same_fields((&head.fields, raw), (&again.fields, &out));
    assert_eq!(again.target.of(&out), head.target.of(raw));
    assert_eq!(again.authority.of(&out), head.authority.of(raw));
    assert_eq!(again.path_and_query(&out), head.path_and_query(raw));
    let facts = |head: &RequestHead| {
        (head.method, head.version, head.content_length, head.transfer_encoding, head.connection)
    };
    assert_eq!(facts(&again), facts(&head));
    assert_eq!(again.expect_continue, head.expect_continue);
}

fn written_response_reads_the_same(raw: &[u8], limits: &HeadLimits) {
    let mut head = ResponseHead::default();
    if parse_response(raw, &mut head, limits).is_err() {
        return;
    }
    assert_eq!(head.len, raw.len());
    assert!((100..=999).contains(&head.status));
    let mut out = Vec::new();
    write::status_line(&mut out, head.status, Some(head.reason.of(raw)));
    write_fields(&mut out, &head.fields, raw);
    let mut again = ResponseHead::default();
    let room = HeadLimits { max_head: usize::MAX, max_line: usize::MAX, ..*limits };
    assert_eq!(parse_response(&out, &mut again, &room), Ok(()));
    assert_same_fields((&head.fields, raw), (&again.fields, &out));
    assert_eq!((again.status, again.reason.of(&out)), (head.status, head.reason.of(raw)));
    for method in [Method::Get, Method::Head] {
        let again = ResponseHead { version: head.version, ..again.clone() };
        assert_eq!(response_body(&again, &out, method), response_body(&head, raw, method));
    }
}

fn write_fields(out: &mut Vec<u8>, fields: &[Field], raw: &[u8]) {
    for field in fields {
        write::field(out, field.name.of(raw), field.value.of(raw));
    }
    out.extend_from_slice(b"\r\n");
}

fn assert_same_fields(one: (&[Field], &[u8]), other: (&[Field], &[u8])) {
    assert_eq!(one.0.len(), other.0.len());
    for (a, b) in one.0.iter().zip(other.0) {
        assert_eq!(a.name.of(one.1), b.name.of(other.1));
        assert_eq!(a.value.of(one.1), b.value.of(other.1));
        assert_eq!((a.id, a.nominated), (b.id, b.nominated));
    }
}

/// How a request is framed, read from its lines by the shortest way there is. `None` when it
/// should have been refused.
fn naive_request_body(raw: &[u8]) -> Option<Body> {
    let text: String = raw.iter().map(|byte| char::from(*byte)).collect();
    let values = |wanted: &str| -> Vec<String> {
        text.split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.trim_matches([' ', '\t']).to_ascii_lowercase())
            .collect()
    };
    let lengths = values("content-length").join(",");
    match values("transfer-encoding").as_slice() {
        [] if lengths.is_empty() => Some(Body::Empty),
        [] => {
            let mut all =
                lengths.split(',').map(|one| one.trim_matches([' ', '\t']).parse::<u64>());
            let first = all.next()?.ok()?;
            let same = all.all(|other| other == Ok(first));
            same.then_some(if first == 0 { Body::Empty } else { Body::Length(first) })
        }
        [one] if one == "chunked" && lengths.is_empty() => Some(Body::Chunked),
        _ => None,
    }
}

/// A connection with one request after the other, or one response after the other, is cut into
/// the same messages in whatever pieces it arrives.
pub fn framing(bytes: &[u8]) {
    for requests in [true, false] {
        let whole = read_stream(bytes, &[usize::MAX], requests);
        for pieces in PIECES {
            assert_eq!(read_stream(bytes, pieces, requests), whole, "pieces {pieces:?}");
        }
    }
}

/// What a connection has carried, as far as it was understood.
#[derive(Default, PartialEq, Eq, Debug)]
struct Stream {
    /// Start lines and fields, byte by byte.
    heads: Vec<Vec<u8>>,
    /// Bodies, one a head, the last perhaps in part; with trailers behind them.
    bodies: Vec<Vec<u8>>,
    /// Why reading ended, when it did not just run out of bytes.
    refused: Option<String>,
}

fn read_stream(bytes: &[u8], pieces: &[usize], requests: bool) -> Stream {
    let mut reader = Reader { requests, ..Reader::default() };
    let mut sizes = pieces.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() && reader.stream.refused.is_none() {
        let size = sizes.next().copied().unwrap_or(usize::MAX).min(rest.len());
        let (piece, later) = rest.split_at(size);
        reader.feed(piece);
        rest = later;
    }
    reader.stream
}

/// The smallest connection there is: a buffer, and what it is in the midst of.
#[derive(Default)]
struct Reader {
    requests: bool,
    buffer: Vec<u8>,
    scanner: Scanner,
    decoder: Decoder,
    /// What is still to come of the body at hand.
    body: Option<Body>,
    stream: Stream,
}

impl Reader {
    fn feed(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut at = 0;
        while self.stream.refused.is_none() {
            let used = match self.body {
                None => self.head(&buffer[at..]),
                Some(body) => self.body(body, &buffer[at..]),
            };
            let Some(used) = used else { break };
            at += used;
        }
        buffer.drain(..at);
        self.buffer = buffer;
    }

    /// Reads a head. `None` when more bytes are needed, or none will help.
    fn head(&mut self, bytes: &[u8]) -> Option<usize> {
        let limits = &LIMITS[0];
        let read = if self.requests {
            let mut head = RequestHead::default();
            let read = read_request(bytes, &mut self.scanner, &mut head, limits);
            read.map(|len| len.map(|len| (len, request_body(&head, bytes))))
        } else {
            let mut head = ResponseHead::default();
            let read = read_response(bytes, &mut self.scanner, &mut head, limits);
            read.map(|len| len.map(|len| (len, response_body(&head, bytes, Method::Get))))
        };
        let (len, body) = match read {
            Ok(read) => read?,
            Err(error) => return self.refuse(error.reason()),
        };
        self.scanner.reset();
        match body {
            Ok(Body::Empty) => {}
            Ok(body) => self.body = Some(body),
            Err(error) => return self.refuse(error.reason()),
        }
        self.decoder.reset();
        self.stream.heads.push(bytes[..len].to_vec());
        self.stream.bodies.push(Vec::new());
        Some(len)
    }

    /// Reads on in a body. `None` when more bytes are needed, or none will help.
    fn body(&mut self, body: Body, bytes: &[u8]) -> Option<usize> {
        let into = self.stream.bodies.last_mut()?;
        match body {
            Body::Length(left) => {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                into.extend_from_slice(&bytes[..take]);
                let left = left - take as u64;
                self.body = (left > 0).then_some(Body::Length(left));
                (take > 0).then_some(take)
            }
            Body::Chunked => match self.decoder.decode(bytes) {
                Ok((used, Event::Data(range))) => {
                    assert!(!range.is_empty() && range.end <= used && used <= bytes.len());
                    into.extend_from_slice(&bytes[range]);
                    Some(used)
                }
                Ok((used, Event::More)) => {
                    assert_eq!(used, bytes.len());
                    (used > 0).then_some(used)
                }
                Ok((used, Event::End)) => {
                    into.extend_from_slice(self.decoder.trailers());
                    self.body = None;
                    Some(used)
                }
                Err(error) => self.refuse(error.reason()),
            },
            Body::UntilClose | Body::Empty => {
                into.extend_from_slice(bytes);
                (!bytes.is_empty()).then_some(bytes.len())
            }
        }
    }

    fn refuse(&mut self, reason: &str) -> Option<usize> {
        self.stream.refused = Some(reason.to_owned());
        None
    }
}

/// A chunked body is decoded to the same data in whatever pieces it arrives, never reads beyond
/// its end, and what is written anew is decoded to the same again.
pub fn chunked(bytes: &[u8]) {
    let whole = decode(bytes, &[usize::MAX]);
    for pieces in PIECES {
        assert_eq!(decode(bytes, pieces), whole, "pieces {pieces:?}");
    }
    let (data, Ok(Some((trailers, len)))) = whole else { return };
    let (again, end) = decode(&bytes[..len], &[usize::MAX]);
    assert_eq!((again, end), (data.clone(), Ok(Some((trailers.clone(), len)))));
    for size in [1, 5, 4096] {
        let mut out = Vec::new();
        data.chunks(size).for_each(|chunk| write_chunk(&mut out, chunk));
        write_last(&mut out, &trailers);
        let expected = (data.clone(), Ok(Some((trailers.clone(), out.len()))));
        assert_eq!(decode(&out, &[usize::MAX]), expected, "chunks of {size}");
    }
}

/// The data up to the end or the fault; and then the trailers and how many bytes the body took,
/// or `None` when it does not end.
type Outcome = (Vec<u8>, Result<Option<(Vec<u8>, usize)>, ChunkError>);

fn decode(bytes: &[u8], pieces: &[usize]) -> Outcome {
    let mut decoder = Decoder::default();
    let (mut data, mut at, mut end) = (Vec::new(), 0, 0_usize);
    for piece in pieces.iter().cycle() {
        end = bytes.len().min(end + (*piece).min(bytes.len()));
        loop {
            let (used, event) = match decoder.decode(&bytes[at..end]) {
                Ok(read) => read,
                Err(error) => return (data, Err(error)),
            };
            match event {
                Event::Data(range) => data.extend_from_slice(&bytes[at..end][range]),
                Event::More => assert_eq!(used, end - at),
                Event::End => return (data, Ok(Some((decoder.trailers().to_vec(), at + used)))),
            }
            at += used;
            if at == end {
                break;
            }
        }
        if end == bytes.len() {
            break;
        }
    }
    (data, Ok(None))
}
