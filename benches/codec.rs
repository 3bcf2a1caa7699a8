//! What HTTP/1.1 costs as bytes: heads read, changed and written, and the chunked coding.
//!
//! ```text
//! cargo bench --bench codec
//! ```
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made has failed")]

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use ringway_engine::clock;
use ringway_engine::exchange::Exchange;
use ringway_engine::filter::{Step, Verdict};
use ringway_engine::http1::{
    Decoder, Event, HeadLimits, Scanner, read_request, read_response, request_body, write,
    write_chunk, write_last,
};
use ringway_engine::message::{RequestHead, ResponseHead};

mod common;

/// What a server has by default (HTTP_SAFETY rule 21).
const LIMITS: HeadLimits = HeadLimits { max_head: 64 * 1024, max_line: 16 * 1024, max_fields: 100 };

/// A program that asks for something small: 3 fields.
const CURL: &str = "GET /status HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.14.1\r\n\
                    Accept: */*\r\n\r\n";

/// A program with a token: 9 fields.
const API_CLIENT: &str = "POST /v1/orders?expand=items HTTP/1.1\r\nHost: api.example.com\r\n\
    User-Agent: shop-mobile/7.3.1 (Android 16)\r\nAccept: application/json\r\n\
    Accept-Encoding: gzip, br\r\nContent-Type: application/json\r\nContent-Length: 482\r\n\
    Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6\
    IkFsaWNlIEV4YW1wbGUiLCJzY29wZSI6Im9yZGVycyIsImV4cCI6NDAwMDAwMDAwMH0.c2lnbmF0dXJlLXNpZ25hdHVyZS\
    1zaWduYXR1cmUtMDE\r\nX-Request-ID: 0f8fad5b-d9cb-469f-a165-70867728950e\r\n\
    Connection: keep-alive\r\n\r\n";

/// A browser that loads a page: 16 fields, two of them long.
const BROWSER: &str = "GET /products/garden/chairs?page=2&sort=price HTTP/1.1\r\n\
    Host: www.example.com\r\nConnection: keep-alive\r\nCache-Control: max-age=0\r\n\
    sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/142.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;\
    q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\n\
    Sec-Fetch-Dest: document\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=6f1c2a9be04d4c2f9f0a77d1c1b7e9aa; theme=dark; consent=necessary.statistics; \
    cart=3a0be1f9-6a51-4f7e-8a2e-f2bb7a1d6c11; _visit=1763942400.27.1.1763945999.60.0.0\r\n\r\n";

/// What a service answers: 7 fields.
const ANSWER: &str = "HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 12:00:00 GMT\r\n\
    Server: uvicorn\r\nContent-Type: application/json\r\nContent-Length: 1432\r\n\
    Cache-Control: no-store\r\nETag: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"\r\n\
    Vary: Accept-Encoding\r\n\r\n";

fn main() {
    divan::main();
}

/// Reads a request head as a connection does, and asks how long the body is.
fn request(bencher: Bencher<'_, '_>, head: &str) {
    let (bytes, mut into) = (head.as_bytes(), RequestHead::default());
    bencher.counter(BytesCount::of_str(head)).bench_local(|| {
        let bytes = black_box(bytes);
        read_request(bytes, &mut Scanner::default(), &mut into, &LIMITS).unwrap().unwrap();
        black_box(request_body(&into, bytes).unwrap())
    });
}

#[divan::bench(sample_size = 1_000)]
fn request_head_of_curl(bencher: Bencher<'_, '_>) {
    request(bencher, CURL);
}

#[divan::bench(sample_size = 1_000)]
fn request_head_of_an_api_client(bencher: Bencher<'_, '_>) {
    request(bencher, API_CLIENT);
}

#[divan::bench(sample_size = 1_000)]
fn request_head_of_a_browser(bencher: Bencher<'_, '_>) {
    request(bencher, BROWSER);
}

#[divan::bench(sample_size = 1_000)]
fn response_head(bencher: Bencher<'_, '_>) {
    let (bytes, mut into) = (ANSWER.as_bytes(), ResponseHead::default());
    bencher.counter(BytesCount::of_str(ANSWER)).bench_local(|| {
        let bytes = black_box(bytes);
        read_response(bytes, &mut Scanner::default(), &mut into, &LIMITS).unwrap().unwrap();
        black_box(into.content_length)
    });
}

/// The filter `headers` over the request of an API client: what it notes.
fn edit(bencher: Bencher<'_, '_>, settings: &str) {
    let filter = common::filter(settings);
    let mut exchange = Exchange::with_request(API_CLIENT.as_bytes(), clock::now()).unwrap();
    bencher.bench_local(|| {
        exchange.request.edits.clear();
        assert!(matches!(filter.on_request(&mut exchange), Step::Now(Verdict::Continue)));
    });
}

#[divan::bench(sample_size = 1_000)]
fn header_edit_of_one(bencher: Bencher<'_, '_>) {
    edit(bencher, "headers: {request: {set: {X-Gateway: ringway}}}");
}

#[divan::bench(sample_size = 1_000)]
fn header_edits_of_four(bencher: Bencher<'_, '_>) {
    edit(
        bencher,
        "headers: {request: {set: {X-Gateway: ringway, X-Client: \"${client_ip}\"}, \
         rename: {User-Agent: X-Program}, remove: [Authorization]}}",
    );
}

/// Writes the fields of an API client out again, four of them changed.
#[divan::bench(sample_size = 1_000)]
fn fields_written_with_four_edits(bencher: Bencher<'_, '_>) {
    let mut exchange = Exchange::with_request(API_CLIENT.as_bytes(), clock::now()).unwrap();
    let request = &mut exchange.request;
    request.edits.set("X-Gateway", b"ringway").unwrap();
    request.edits.add("X-Client", b"192.0.2.1").unwrap();
    request.edits.set("User-Agent", b"ringway").unwrap();
    request.edits.remove("Authorization").unwrap();
    let (raw, mut out) = (API_CLIENT.as_bytes(), Vec::with_capacity(2048));
    bencher.bench_local(|| {
        out.clear();
        for field in &request.head.fields {
            let name = field.name.of(raw);
            if !field.is_hop_by_hop() && request.edits.keeps(name) {
                write::field(&mut out, name, field.value.of(raw));
            }
        }
        for (name, value) in request.edits.written() {
            write::field(&mut out, name, value);
        }
        black_box(out.len())
    });
}

/// A body of 64 KiB in chunks of this size, written.
fn chunked(size: usize) -> Vec<u8> {
    let (body, mut out) = (vec![b'x'; 64 * 1024], Vec::new());
    body.chunks(size).for_each(|chunk| write_chunk(&mut out, chunk));
    write_last(&mut out, b"");
    out
}

/// Takes the coding off 64 KiB in chunks of so many bytes.
#[divan::bench(args = [16, 1024, 16 * 1024])]
fn chunked_decode(bencher: Bencher<'_, '_>, size: usize) {
    let (coded, mut decoder) = (chunked(size), Decoder::default());
    bencher.counter(BytesCount::new(64 * 1024_usize)).bench_local(|| {
        decoder.reset();
        let (mut rest, mut data) = (black_box(&coded[..]), 0);
        loop {
            let (used, event) = decoder.decode(rest).unwrap();
            match event {
                Event::Data(range) => data += black_box(&rest[range]).len(),
                Event::End => break,
                Event::More => unreachable!("all of the body is there"),
            }
            rest = &rest[used..];
        }
        assert_eq!(data, 64 * 1024);
    });
}

/// Codes 64 KiB in chunks of so many bytes, the copy of the data included.
#[divan::bench(args = [16, 1024, 16 * 1024])]
fn chunked_encode(bencher: Bencher<'_, '_>, size: usize) {
    let (body, mut out) = (vec![b'x'; 64 * 1024], Vec::with_capacity(512 * 1024));
    bencher.counter(BytesCount::new(64 * 1024_usize)).bench_local(|| {
        out.clear();
        black_box(&body[..]).chunks(size).for_each(|chunk| write_chunk(&mut out, chunk));
        write_last(&mut out, b"");
        black_box(out.len())
    });
}
