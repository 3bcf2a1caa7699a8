//! Answers of the gateway's own: those of routes and filters, and errors.

use crate::buffer::Buffer;
use crate::clock;
use crate::course::{Course, Ended};
use crate::downstream::{After, Connection};
use crate::error::{ClientError, Error};
use crate::exchange::{Answer, AnswerBody, Exchange};
use crate::forward::{self, Persistence};
use crate::http1::{self, Body, write};
use crate::limits::DRAIN_BODY;
use crate::message::{Method, Version};
use crate::relay::{Framing, Incoming};

/// What `Allow` says where no route was asked or it takes any method: all but CONNECT and TRACE
/// (RFC 9110 §15.5.6 wants a value).
const USUAL_METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH";

/// Answers with what the error means to the client, or not at all when there is nobody to hear.
pub(crate) async fn error(
    course: &Course<'_>,
    connection: &mut Connection,
    exchange: &mut Exchange,
    body: Body,
    error: Error,
) -> Ended {
    let reply = error.reply();
    let Some(status) = reply.status else {
        return Ended { status: 0, error: Some(error), after: After::Close };
    };
    let mut answer = Answer::message(status, error.public());
    if status == 405 {
        let allow = match exchange.found.allow() {
            [] => USUAL_METHODS.to_owned(),
            some => String::from_utf8_lossy(some).into_owned(),
        };
        answer = answer.with_header("Allow", allow);
    }
    let ended = send(course, connection, exchange, body, &answer, reply.keep).await;
    Ended { error: Some(error), ..ended }
}

/// Answers with `answer`.
pub(crate) async fn own(
    course: &Course<'_>,
    connection: &mut Connection,
    exchange: &mut Exchange,
    body: Body,
    answer: &Answer,
) -> Ended {
    send(course, connection, exchange, body, answer, true).await
}

async fn send(
    course: &Course<'_>,
    connection: &mut Connection,
    exchange: &mut Exchange,
    body: Body,
    answer: &Answer,
    keep: bool,
) -> Ended {
    let worker = course.worker;
    let mut unread = Incoming::new(body);
    let may_keep = keep && may_keep(course, exchange, connection.served);
    // A body that nobody will read is dropped if it is short and on its way (HTTP_SAFETY rules 8
    // and 9); otherwise the connection ends.
    // One that was being sent up when the exchange failed has lost its place: it ends too.
    let close = !may_keep || exchange.request.body_begun || !will_end_soon(exchange, &mut unread);
    exchange.request.received = exchange.request.received.max(unread.received());
    let mut out = worker.buffers.usual();
    write_answer(course, exchange, answer, close, out.tail());
    let (mut reader, mut writer) = connection.stream.split();
    let time = course.rules().write_timeout;
    let (written, mut out) = match close {
        true => writer.write_last(out, time).await,
        false => writer.write_all(out, time).await,
    };
    let mut after = if close { After::Linger } else { After::Keep };
    let status = exchange.response.head.status;
    if let Err(e) = written {
        worker.buffers.give(out);
        return Ended { status: 0, error: Some(ClientError::gone(e).into()), after: After::Close };
    }
    let now = clock::now();
    exchange.times.answered = Some(now);
    let end = now + course.rules().read_timeout;
    while after == After::Keep && !unread.is_done() {
        reader.within(end.saturating_duration_since(clock::now()));
        out.clear();
        let read;
        (read, out) = reader.read(out).await;
        after = match read {
            Ok(1..) => drop_body(&mut unread, &mut out, exchange),
            Ok(0) | Err(_) => After::Close,
        };
    }
    worker.buffers.give(out);
    exchange.request.received = exchange.request.received.max(unread.received());
    if close && unread.is_done() && keep {
        after = ending(exchange);
    }
    Ended { status, error: None, after }
}

/// Drops what `input` has of the body; what is behind it is the next request's.
fn drop_body(unread: &mut Incoming, input: &mut Buffer, exchange: &mut Exchange) -> After {
    let mut dropped = Vec::new();
    match unread.take(input.filled(), Framing::UntilClose, &mut dropped) {
        Ok(used) => {
            if unread.is_done() {
                // The head stays where its spans point: who records the exchange reads it.
                let request = &mut exchange.request;
                request.raw.replace_body(request.head.len, &input.filled()[used..]);
                request.taken = request.head.len;
            }
            After::Keep
        }
        Err(_) => After::Linger,
    }
}

/// Takes what has come of the body; true when the rest is none or little, and will come.
fn will_end_soon(exchange: &mut Exchange, unread: &mut Incoming) -> bool {
    let head = exchange.request.head.len;
    let came = exchange.request.raw().get(head..).unwrap_or_default();
    let mut dropped = Vec::new();
    let Ok(used) = unread.take(came, Framing::UntilClose, &mut dropped) else {
        return false;
    };
    exchange.request.taken = head + used;
    let waits = exchange.request.head.expect_continue && unread.received() == 0;
    unread.is_done() || (!waits && unread.remaining().is_some_and(|n| n <= DRAIN_BODY))
}

/// Writes the whole answer, after the filters have seen it.
fn write_answer(
    course: &Course<'_>,
    exchange: &mut Exchange,
    answer: &Answer,
    close: bool,
    out: &mut Vec<u8>,
) {
    exchange.response.reset();
    exchange.response.raw.clear();
    exchange.response.head.status = answer.status;
    for (name, value) in &answer.headers {
        if exchange.response.edits.add(name, value.as_bytes()).is_err() {
            tracing::error!(name, "an answer's header cannot be written and is left out");
        }
    }
    let mut coded = Vec::new();
    let message;
    let (json, content) = match &answer.body {
        AnswerBody::Empty => (false, [].as_slice()),
        AnswerBody::Bytes(bytes) => (false, bytes.as_slice()),
        AnswerBody::Message(text) => {
            message = error_body(answer.status, text, &exchange.request_id);
            (true, message.as_slice())
        }
    };
    // Filters see what they would of an upstream's: the type and the length.
    let typed = exchange.response.header("content-type").is_some();
    if json && !typed && exchange.response.edits.add("Content-Type", b"application/json").is_err() {
        tracing::error!("the type of an answer cannot be written");
    }
    exchange.response.head.content_length = Some(content.len() as u64);
    course.chain.on_response(exchange, course.passed);
    // RFC 9110 §8.6: no length with 1xx and 204, and with 304 that of the content alone, which is
    // not known here.
    let bodiless = matches!(answer.status, ..200 | 204 | 304);
    let content = match exchange.response.coder.take().filter(|_| !bodiless) {
        None => content,
        Some(mut coder) => {
            match coder.code(content, &mut coded).and_then(|()| coder.finish(&mut coded)) {
                Ok(()) => &coded,
                Err(error) => {
                    tracing::error!("an answer cannot be coded: {error}");
                    let plain = exchange.response.edits.remove("Content-Encoding");
                    plain.expect("invariant: the name is a token");
                    content
                }
            }
        }
    };
    write::status_line(out, answer.status, None);
    if exchange.response.edits.keeps(b"date") {
        course.worker.with_date(|date| write::field(out, b"Date", date));
    }
    let framing = if bodiless { Framing::None } else { Framing::Length(content.len() as u64) };
    let persistence = persistence(exchange, close);
    forward::write_end(out, exchange, course.rules(), framing, persistence);
    if !bodiless && exchange.request.head.method != Method::Head {
        out.extend_from_slice(content);
        exchange.response.sent = content.len() as u64;
    }
}

/// The house's error body.
fn error_body(status: u16, message: &str, request_id: &[u8]) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        code: u16,
        message: &'a str,
        data: (),
        request_id: &'a str,
    }
    let request_id = std::str::from_utf8(request_id).unwrap_or_default();
    // Serialising strings and numbers into memory cannot fail; an empty body would be the sign.
    serde_json::to_vec(&Body { code: status, message, data: (), request_id }).unwrap_or_default()
}

/// True while the client's connection may take another request.
pub(crate) fn may_keep(course: &Course<'_>, exchange: &Exchange, served: u64) -> bool {
    http1::keeps_alive_request(&exchange.request.head)
        && served < course.rules().max_requests
        && !course.worker.is_draining()
}

/// How a connection ends whose request was read whole. A client that asked for the end sends no
/// more; one that did not may have its next request on the way.
pub(crate) fn ending(exchange: &Exchange) -> After {
    if http1::keeps_alive_request(&exchange.request.head) { After::Linger } else { After::Close }
}

/// What the client is told about its connection.
pub(crate) fn persistence(exchange: &Exchange, close: bool) -> Persistence {
    match (close, exchange.request.head.version) {
        (true, _) => Persistence::Close,
        (false, Version::Http11) => Persistence::Silent,
        (false, Version::Http10) => Persistence::KeepAlive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_outlives_the_body_that_was_dropped() {
        let head = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
        let mut exchange = Exchange::with_request(head, clock::now()).unwrap();
        let mut input = Buffer::default();
        input.extend(b"helloGET ");
        let mut unread = Incoming::new(Body::Length(5));
        assert_eq!(drop_body(&mut unread, &mut input, &mut exchange), After::Keep);
        let request = &mut exchange.request;
        assert_eq!((request.method(), request.authority()), (&b"POST"[..], &b"a"[..]));
        request.raw.consume(request.taken);
        assert_eq!(request.raw(), b"GET ");
    }
}
