//! Makes the requests that filters ask for: over the endpoints and pools that exchanges use, by the
//! same strict reading of what is answered.

use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use crate::buffer::Buffer;
use crate::call::{Call, Called};
use crate::clock;
use crate::error::{Error, GatewayError, UpstreamError};
use crate::http1::write::{self, is_safe_value, is_token};
use crate::http1::{self, Scanner};
use crate::io::Reader;
use crate::limits::INTERIM_ANSWERS;
use crate::message::{FieldName, Method, ResponseHead};
use crate::relay::{Framing, Incoming, RelayError};
use crate::upstream::{Lease, checkout};
use crate::worker::Worker;

/// Makes a call from this core.
pub(crate) async fn call(worker: Weak<Worker>, call: Call) -> Result<Called, Error> {
    let worker = worker.upgrade().ok_or(UpstreamError::NoEndpoint)?;
    check(&call)?;
    let end = clock::now() + call.timeout;
    let adopted = worker.adopted();
    let at = adopted.snapshot.by_name.get(&call.upstream).ok_or(UpstreamError::NoEndpoint)?;
    let upstream = adopted.upstream(*at);
    let settings = &upstream.plan.settings;
    let mut tried = Vec::new();
    let mut fresh = false;
    loop {
        let now = worker.deadlines.coarse();
        let endpoint = upstream.pick(None, &tried, now).ok_or(UpstreamError::NoEndpoint)?;
        let from = endpoint.address;
        let left = end.saturating_duration_since(clock::now());
        let connect = settings.timeouts.connect.0;
        let lease = checkout(endpoint, &settings.pool, connect, fresh, &worker.deadlines);
        let lease = match clock::within(left, lease).await {
            Some(Ok(lease)) => lease,
            Some(Err(_)) if upstream.has_other(&tried, from) => {
                tried.push(from);
                continue;
            }
            Some(Err(error)) => return Err(error),
            None => return Err(UpstreamError::TryTimeout(from).into()),
        };
        let endpoint = lease.endpoint.clone();
        let left = end.saturating_duration_since(clock::now());
        lease.stream.watch().over_within(left);
        let reused = lease.reused;
        match (Speaking { worker: &worker, call: &call, from }).speak(lease, left).await {
            Ok((called, lease)) => {
                endpoint.answered(called.status);
                if let Some(lease) = lease {
                    lease.stream.watch().never_over();
                    lease.give_back(&settings.pool, worker.deadlines.coarse());
                }
                return Ok(called);
            }
            // A pooled connection had died unnoticed: once more on a fresh one.
            Err(Error::Upstream(UpstreamError::Closed(_)))
                if reused
                    && !fresh
                    && Method::from_bytes(call.method.as_bytes()).is_idempotent() =>
            {
                fresh = true;
            }
            // More than the filter wants to know is no fault of the endpoint.
            Err(error @ Error::Upstream(UpstreamError::TooLarge(_))) => return Err(error),
            Err(error) => {
                endpoint.met(&error);
                return Err(error);
            }
        }
    }
}

/// Refuses what would not be one request (HTTP_SAFETY rule 18).
fn check(call: &Call) -> Result<(), Error> {
    let host = call.host.as_deref().is_none_or(http1::is_valid_authority);
    let target = call.target.starts_with(b"/") && call.target.iter().all(u8::is_ascii_graphic);
    let field = |(name, value): &(String, Vec<u8>)| {
        let id = FieldName::from_bytes(name.as_bytes());
        let ours = matches!(id, FieldName::Host | FieldName::ContentLength | FieldName::Expect);
        is_token(name.as_bytes()) && is_safe_value(value) && !id.is_hop_by_hop() && !ours
    };
    let method = is_token(call.method.as_bytes()) && call.method != "CONNECT";
    match host && target && method && call.headers.iter().all(field) {
        true => Ok(()),
        false => Err(GatewayError::Rewrite("a call of a filter is no valid request").into()),
    }
}

/// One request on one connection.
struct Speaking<'a> {
    worker: &'a Rc<Worker>,
    call: &'a Call,
    from: SocketAddr,
}

impl Speaking<'_> {
    /// Sends the request and reads the answer. The connection comes back when it is still good.
    async fn speak(
        &self,
        mut lease: Lease,
        left: std::time::Duration,
    ) -> Result<(Called, Option<Lease>), Error> {
        let buffers = &self.worker.buffers;
        let mut out = buffers.usual();
        self.write_request(&lease, out.tail());
        let (mut reader, mut writer) = lease.stream.split();
        // An upstream that takes nothing may have answered already.
        let (_, out) = writer.write_all(out, left).await;
        buffers.give(out);
        let mut raw = buffers.usual();
        let mut head = ResponseHead::default();
        let answered = self.read_answer(&mut reader, &mut raw, &mut head).await;
        buffers.give(raw);
        let (called, clean) = answered?;
        let keeps = clean && http1::keeps_alive_response(&head);
        Ok((called, keeps.then_some(lease)))
    }

    fn write_request(&self, lease: &Lease, out: &mut Vec<u8>) {
        let Call { method, target, headers, host, body, .. } = self.call;
        write::request_line(out, method.as_bytes(), target, crate::message::Version::Http11);
        write::field(out, b"Host", host.as_deref().unwrap_or(lease.endpoint.name.as_bytes()));
        for (name, value) in headers {
            write::field(out, name.as_bytes(), value);
        }
        if !body.is_empty() || matches!(method.as_str(), "POST" | "PUT" | "PATCH") {
            write::field(out, b"Content-Length", body.len().to_string().as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
    }

    /// Reads up to the end of the answer; true when nothing came behind it.
    async fn read_answer(
        &self,
        reader: &mut Reader<'_>,
        raw: &mut Buffer,
        head: &mut ResponseHead,
    ) -> Result<(Called, bool), Error> {
        let adopted = self.worker.adopted();
        let limits = &adopted.snapshot.rules.answer_head;
        let bad = |e| UpstreamError::Head(self.from, e);
        let mut scanner = Scanner::default();
        let mut interims = 0;
        let framing = loop {
            let read = http1::read_response(raw.filled(), &mut scanner, head, limits);
            let Some(len) = read.map_err(bad)? else {
                self.read(reader, raw, UpstreamError::Closed(self.from)).await?;
                continue;
            };
            let bytes = &raw.filled()[..len];
            let method = Method::from_bytes(self.call.method.as_bytes());
            let framing = http1::response_body(head, bytes, method).map_err(bad)?;
            match head.status {
                101 => return Err(UpstreamError::UnaskedUpgrade(self.from).into()),
                100..=199 if interims == INTERIM_ANSWERS => {
                    return Err(UpstreamError::Interim(self.from).into());
                }
                100..=199 => {
                    interims += 1;
                    raw.consume(len);
                    scanner.reset();
                }
                _ => break framing,
            }
        };
        let end_to_end =
            |f: &&crate::message::Field| !f.is_hop_by_hop() && f.id != FieldName::ContentLength;
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let fields = head.fields.iter().filter(end_to_end);
        let headers = fields.map(|f| (text(f.name.of(raw.filled())), f.value.of(raw.filled())));
        let headers = headers.map(|(name, value)| (name, value.to_vec())).collect();
        raw.consume(head.len);
        let body_is_open = framing == http1::Body::UntilClose;
        let (body, whole) = match self.read_body(reader, raw, Incoming::new(framing)).await {
            Ok(body) => (body, true),
            Err(error) if (200..300).contains(&head.status) => return Err(error),
            Err(_) => (Vec::new(), false),
        };
        let clean = whole && raw.is_empty() && !body_is_open;
        Ok((Called { status: head.status, headers, body }, clean))
    }

    async fn read_body(
        &self,
        reader: &mut Reader<'_>,
        raw: &mut Buffer,
        mut incoming: Incoming,
    ) -> Result<Vec<u8>, Error> {
        let broken = |_: RelayError| UpstreamError::Truncated(self.from);
        let mut body = Vec::new();
        while !incoming.is_done() {
            if raw.is_empty() {
                match self.read(reader, raw, UpstreamError::Truncated(self.from)).await {
                    Ok(()) => {}
                    Err(Error::Upstream(UpstreamError::Truncated(_))) => {
                        incoming.end(Framing::UntilClose, &mut body).map_err(broken)?;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            let used = incoming.take(raw.filled(), Framing::UntilClose, &mut body);
            raw.consume(used.map_err(|e| UpstreamError::Body(self.from, e))?);
            if body.len() > self.call.max_body {
                return Err(UpstreamError::TooLarge(self.from).into());
            }
        }
        Ok(body)
    }

    /// Reads once; `end` is what the end of the stream means.
    async fn read(
        &self,
        reader: &mut Reader<'_>,
        raw: &mut Buffer,
        end: UpstreamError,
    ) -> Result<(), Error> {
        let buffer = self.worker.buffers.widen(std::mem::take(raw));
        let (read, buffer) = reader.read(buffer).await;
        *raw = buffer;
        match read {
            Ok(1..) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                Err(UpstreamError::TryTimeout(self.from).into())
            }
            // A reset is no end of an answer, not even of one that only the end would end.
            Err(_) if matches!(end, UpstreamError::Truncated(_)) => {
                Err(UpstreamError::Closed(self.from).into())
            }
            Ok(0) | Err(_) => Err(end.into()),
        }
    }
}
