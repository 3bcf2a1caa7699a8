//! The heads as the other side shall see them, each written in one pass over the raw bytes.
//!
//! Hop-by-hop fields and what `Connection` lists stay behind (RFC 9110 §7.6.1, HTTP_SAFETY rule
//! 14), the forwarding fields are replaced or continued (rule 16), framing fields are written
//! from what was understood and never copied, and filters' edits come last.

use std::net::IpAddr;

use crate::exchange::{Client, Exchange};
use crate::http1::write;
use crate::message::{Field, FieldName, Version, reads_as, reads_as_one_with};
use crate::relay::Framing;
use crate::snapshot::{HostRule, Rules};

const FORWARDED: &[u8] = b"x-forwarded-";
const REAL_IP: &[u8] = b"x-real-ip";

/// What the head of a request needs to know beside the exchange.
pub(crate) struct RequestHeadPlan<'a> {
    /// The rules of the server section.
    pub rules: &'a Rules,
    /// What `Host` shall be.
    pub host: &'a HostRule,
    /// The endpoint as the file names it, for [`HostRule::Upstream`].
    pub endpoint: &'a str,
    /// How the body goes out.
    pub framing: Framing,
    /// True when the client said that its body is empty, which for some methods is news.
    pub empty_length: bool,
    /// True when the client asked for an upgrade that the route allows.
    pub upgrade: bool,
    /// The peer's address as text.
    pub peer: &'a [u8],
}

/// Appends the head that the upstream shall see.
pub(crate) fn write_request_head(out: &mut Vec<u8>, exchange: &Exchange, plan: &RequestHeadPlan) {
    let request = &exchange.request;
    let raw = request.raw();
    put(out, &[request.method(), b" ", &request.target, b" HTTP/1.1\r\nHost: "]);
    match plan.host {
        HostRule::Keep => put(out, &[request.authority()]),
        HostRule::Upstream => put(out, &[plan.endpoint.as_bytes()]),
        HostRule::Name(name) => put(out, &[name.as_bytes()]),
    }
    put(out, &[b"\r\n"]);
    let goes_on = |field: &&Field| {
        let written_anew = match field.id {
            FieldName::Host
            | FieldName::ContentLength
            | FieldName::XForwardedFor
            | FieldName::XForwardedProto
            | FieldName::XForwardedHost
            | FieldName::XRealIp
            | FieldName::Forwarded
            | FieldName::Via
            | FieldName::XRequestId => true,
            _ => field.is_hop_by_hop(),
        };
        let name = field.name.of(raw);
        let forged = matches!(field.id, FieldName::Other | FieldName::XForwardedPort)
            && is_forged(name, exchange.client.through_trusted_proxy);
        !written_anew && !forged && request.edits.keeps(name)
    };
    copy_fields(out, raw, request.head.fields.iter().filter(goes_on));
    write_forwarding(out, exchange, plan);
    if !exchange.request_id.is_empty() && request.edits.keeps(b"x-request-id") {
        put(out, &[b"X-Request-ID: ", &exchange.request_id, b"\r\n"]);
    }
    write_framing(out, if plan.empty_length { Framing::Length(0) } else { plan.framing });
    if plan.upgrade {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    }
    for (name, value) in request.edits.written() {
        put(out, &[name, b": ", value, b"\r\n"]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends fields as they came. Lines that stand behind each other in the head are copied together.
fn copy_fields<'f>(out: &mut Vec<u8>, raw: &[u8], fields: impl Iterator<Item = &'f Field>) {
    let mut lines = 0..0;
    for field in fields {
        let line = field.line(raw);
        match line {
            Some(line) if line.start == lines.end => lines.end = line.end,
            _ => {
                out.extend_from_slice(&raw[lines]);
                lines = line.unwrap_or_default();
                if lines.is_empty() {
                    put(out, &[field.name.of(raw), b": ", field.value.of(raw), b"\r\n"]);
                }
            }
        }
    }
    out.extend_from_slice(&raw[lines]);
}

/// True for a field that only proxies may write: X-Forwarded-Port and what else there may be.
/// Programs behind a gateway often read `_` and `.` as `-`, so it is judged as if it were written
/// that way; and what is not, no proxy has written.
fn is_forged(name: &[u8], trusted: bool) -> bool {
    let vouches = reads_as_one_with(name, FORWARDED) || reads_as(name, REAL_IP);
    vouches && (!trusted || name.iter().any(|byte| matches!(byte, b'_' | b'.')))
}

/// Appends X-Forwarded-For, -Proto, -Host, X-Real-IP, Forwarded (RFC 7239) and Via (RFC 9110
/// §7.6.3), but what a filter replaced. A trusted proxy's values are continued, anybody else's
/// dropped.
fn write_forwarding(out: &mut Vec<u8>, exchange: &Exchange, plan: &RequestHeadPlan) {
    let (request, client) = (&exchange.request, exchange.client);
    let keeps = |name: &[u8]| request.edits.keeps(name);
    let trusted = |name, ours| match client.through_trusted_proxy {
        true => request.field(name).unwrap_or(ours),
        false => ours,
    };
    if keeps(b"x-forwarded-for") {
        out.extend_from_slice(b"X-Forwarded-For: ");
        continue_list(out, exchange, FieldName::XForwardedFor, client.through_trusted_proxy);
        put(out, &[plan.peer, b"\r\n"]);
    }
    if keeps(REAL_IP) {
        out.extend_from_slice(b"X-Real-IP: ");
        if client.through_trusted_proxy {
            write::address(out, client.address);
        } else {
            out.extend_from_slice(plan.peer);
        }
        out.extend_from_slice(b"\r\n");
    }
    if keeps(b"x-forwarded-proto") {
        let proto = trusted(FieldName::XForwardedProto, b"http");
        put(out, &[b"X-Forwarded-Proto: ", proto, b"\r\n"]);
    }
    if keeps(b"x-forwarded-host") {
        let host = trusted(FieldName::XForwardedHost, request.authority());
        put(out, &[b"X-Forwarded-Host: ", host, b"\r\n"]);
    }
    if keeps(b"forwarded") {
        write_forwarded(out, exchange, plan.peer);
    }
    if !plan.rules.via.is_empty() && keeps(b"via") {
        out.extend_from_slice(b"Via: ");
        continue_list(out, exchange, FieldName::Via, true);
        let version: &[u8] = match request.head.version {
            Version::Http10 => b"1.0 ",
            Version::Http11 => b"1.1 ",
        };
        put(out, &[version, plan.rules.via.as_bytes(), b"\r\n"]);
    }
}

fn write_forwarded(out: &mut Vec<u8>, exchange: &Exchange, peer: &[u8]) {
    let (client, authority) = (exchange.client, exchange.request.authority());
    out.extend_from_slice(b"Forwarded: ");
    continue_list(out, exchange, FieldName::Forwarded, client.through_trusted_proxy);
    match client.peer.ip() {
        IpAddr::V4(_) => put(out, &[b"for=", peer]),
        IpAddr::V6(_) => put(out, &[b"for=\"[", peer, b"]\""]),
    }
    if !authority.is_empty() {
        put(out, &[b";host=\"", authority, b"\""]);
    }
    out.extend_from_slice(b";proto=http\r\n");
}

/// Appends the values of a list field that arrived, each followed by a comma.
fn continue_list(out: &mut Vec<u8>, exchange: &Exchange, name: FieldName, wanted: bool) {
    if !wanted {
        return;
    }
    let raw = exchange.request.raw();
    for field in exchange.request.head.fields.iter().filter(|f| f.id == name) {
        if !field.value.is_empty() {
            put(out, &[field.value.of(raw), b", "]);
        }
    }
}

/// Appends the head of an upstream's response as the client shall see it.
pub(crate) fn write_response_head(
    out: &mut Vec<u8>,
    exchange: &Exchange,
    rules: &Rules,
    framing: Framing,
    persistence: Persistence,
    date: &[u8],
) {
    let response = &exchange.response;
    let (head, raw, edits) = (&response.head, response.raw(), &response.edits);
    write::status_line(out, head.status, Some(head.reason.of(raw)));
    let mut dated = false;
    let goes_on = |field: &&Field| {
        let skipped = match field.id {
            FieldName::ContentLength => true,
            FieldName::Server => !rules.server_header.is_empty(),
            FieldName::Date => {
                dated = true;
                false
            }
            _ => field.is_hop_by_hop(),
        };
        !skipped && edits.keeps(field.name.of(raw))
    };
    copy_fields(out, raw, head.fields.iter().filter(goes_on));
    if !dated && edits.keeps(b"date") {
        put(out, &[b"Date: ", date, b"\r\n"]);
    }
    write_end(out, exchange, rules, framing, persistence);
}

/// Appends the end of a response head: what is the same for an upstream's and our own.
pub(crate) fn write_end(
    out: &mut Vec<u8>,
    exchange: &Exchange,
    rules: &Rules,
    framing: Framing,
    persistence: Persistence,
) {
    if !rules.server_header.is_empty() && exchange.response.edits.keeps(b"server") {
        put(out, &[b"Server: ", rules.server_header.as_bytes(), b"\r\n"]);
    }
    write_framing(out, framing);
    out.extend_from_slice(match persistence {
        Persistence::Silent => b"",
        Persistence::Close => b"Connection: close\r\n".as_slice(),
        Persistence::KeepAlive => b"Connection: keep-alive\r\n",
        Persistence::Upgrade => b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    });
    for (name, value) in exchange.response.edits.written() {
        put(out, &[name, b": ", value, b"\r\n"]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends an interim (1xx) head: its end-to-end fields and nothing of ours.
pub(crate) fn write_interim_head(out: &mut Vec<u8>, exchange: &Exchange) {
    let (head, raw) = (&exchange.response.head, exchange.response.raw());
    write::status_line(out, head.status, Some(head.reason.of(raw)));
    let goes_on = |field: &&Field| !field.is_hop_by_hop() && field.id != FieldName::ContentLength;
    copy_fields(out, raw, head.fields.iter().filter(goes_on));
    out.extend_from_slice(b"\r\n");
}

/// What the client is told about the connection's future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// It stays open, as HTTP/1.1 has it without a word.
    Silent,
    /// It closes after this response.
    Close,
    /// It stays open, which an HTTP/1.0 client must be told.
    KeepAlive,
    /// It becomes a tunnel.
    Upgrade,
}

fn write_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(n) => {
            out.extend_from_slice(b"Content-Length: ");
            write::decimal(out, n);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

/// Who the client is: the peer, or what trusted proxies say, from the right (HTTP_SAFETY rule
/// 16): the first address that is no trusted proxy, or the leftmost readable one.
pub(crate) fn find_client(exchange: &mut Exchange, rules: &Rules) {
    let peer = exchange.client.peer;
    let trusted = |ip: IpAddr| rules.trusted_proxies.iter().any(|net| net.contains(ip));
    if rules.trusted_proxies.is_empty() || !trusted(peer.ip()) {
        return;
    }
    let mut address = peer.ip();
    let request = &exchange.request;
    let fields = request.head.fields.iter().rev().filter(|f| f.id == FieldName::XForwardedFor);
    'walk: for field in fields {
        for item in field.value.of(request.raw()).rsplit(|&b| b == b',') {
            let text = std::str::from_utf8(item.trim_ascii()).unwrap_or_default();
            let Ok(ip) = text.parse::<IpAddr>() else { break 'walk };
            address = ip;
            if !trusted(ip) {
                break 'walk;
            }
        }
    }
    exchange.client = Client { peer, address, through_trusted_proxy: true };
}

#[inline]
fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.reserve(parts.iter().map(|p| p.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// The fields of a request's head that are left when those called `X-Gone` are.
    fn copied(fields: &str) -> String {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let exchange = Exchange::with_request(head.as_bytes(), clock::now()).unwrap();
        let request = &exchange.request;
        let stays = |field: &&Field| {
            field.id != FieldName::Host && field.name.of(request.raw()) != b"X-Gone"
        };
        let mut out = Vec::new();
        copy_fields(&mut out, request.raw(), request.head.fields.iter().filter(stays));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_are_copied_as_a_gateway_writes_them() {
        for (came, goes) in [
            ("", ""),
            ("A: 1\r\nB: 2\r\n", "A: 1\r\nB: 2\r\n"),
            ("A: 1\r\nX-Gone: 0\r\nB: 2\r\nC: 3\r\n", "A: 1\r\nB: 2\r\nC: 3\r\n"),
            ("X-Gone: 0\r\nA: 1\r\nX-Gone: 0\r\n", "A: 1\r\n"),
            ("A:1\r\nB:\t2\r\nC:  3\r\n", "A: 1\r\nB: 2\r\nC: 3\r\n"),
            ("A: 1 \r\nB: 2\t\r\nC: 3\r\n", "A: 1\r\nB: 2\r\nC: 3\r\n"),
            ("A: 1\r\nB:\r\nC: \r\nD: 4\r\n", "A: 1\r\nB: \r\nC: \r\nD: 4\r\n"),
            ("A: \r\nB:  \r\n", "A: \r\nB: \r\n"),
        ] {
            assert_eq!(copied(came), goes, "{came:?}");
        }
    }
}
