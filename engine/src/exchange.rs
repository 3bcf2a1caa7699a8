//! What travels: one request, its response, who asked, which route took it.
//!
//! An exchange is data. It knows no socket and no runtime, so a filter can be tested with one
//! that was made by hand. Its memory belongs to a core and is used again for the next exchange.
//!
//! Heads stay raw: a change to a header is noted beside the bytes it arrived in ([`Edits`]) and
//! takes effect when the head is written out, in one pass.

mod answer;
mod coder;
mod edits;
mod held;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ringway_config::PathPolicy;
use serde_json::Value;

use crate::buffer::Buffer;
use crate::http1::{HeadError, HeadLimits, MAX_FIELDS, items, parse_request};
use crate::message::{FieldName, RequestHead, ResponseHead};
use crate::route::Found;
use crate::route::path::{PathError, normalise};
use crate::template::{CLAIM, Template, TemplateError};
use crate::times::Times;
use crate::trace::Trace;

pub use answer::{Answer, AnswerBody};

use held::{Held, Notes};

pub use coder::Coder;
pub use edits::{BadHeader, Edits};
pub use held::Hold;

/// One request and its response.
#[derive(Debug)]
pub struct Exchange {
    /// What the client asked.
    pub request: Request,
    /// What it is answered.
    pub response: Response,
    /// Who asked.
    pub client: Client,
    /// The place of the route in the file, once one was found.
    pub route: Option<usize>,
    /// The route's name, or empty.
    pub route_name: String,
    /// Path parameters and captures of the route that was found.
    pub found: Found,
    /// The id under which this exchange is known: the client's own or one of ours.
    pub request_id: Vec<u8>,
    /// The trace that it belongs to, once a filter has read or made it.
    pub trace: Option<Trace>,
    /// When the first byte of the request was there.
    pub started: Instant,
    /// When the steps on the upstream's side came to pass.
    pub times: Times,
    /// When the exchange must be over, if a filter says so. Past it, an exchange without an answer
    /// is answered 504, and a body that still goes either way breaks off. Noticed up to two tenths
    /// of a second late, never early. A tunnel has no such end.
    pub deadline: Option<Instant>,
    /// Who asks, once a filter has found out.
    pub identity: Option<Rc<Identity>>,
    /// Attempts made at upstreams.
    pub attempts: u32,
    /// The name of the upstream of the last attempt, or empty.
    pub upstream: String,
    /// How long each attempt may take until its answer begins, connecting included, if a filter
    /// says so. Noticed like the deadline.
    pub try_timeout: Option<Duration>,
    /// The endpoint of the last attempt.
    pub endpoint: Option<SocketAddr>,
    /// Endpoints that this exchange has tried in vain.
    pub(crate) tried: Vec<SocketAddr>,
    /// What is given back when the exchange is over.
    held: Held,
    /// What filters remember of this exchange, each by its address.
    notes: Notes,
}

/// Who asks, as an `auth` filter found out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Identity {
    /// The name under which limits and logs know the client: the consumer of an API key, the user
    /// of a password, the `sub` of a token.
    pub consumer: String,
    /// What a token claims; empty for other credentials.
    pub claims: serde_json::Map<String, Value>,
}

impl Identity {
    /// The claim of this name, or what is inside of claims: `realm_access.roles`.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        if let Some(claim) = self.claims.get(name) {
            return Some(claim);
        }
        let (outer, inner) = name.split_once('.')?;
        inner.split('.').try_fold(self.claims.get(outer)?, |claim, step| claim.get(step))
    }

    /// Appends a claim as text: a string as it is, a number or a truth as JSON writes it, a list
    /// with commas. False when there is none, or it is none of these.
    pub fn append_claim(&self, name: &str, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        let appended = self.claim(name).is_some_and(|claim| append_json(claim, out));
        if !appended {
            out.truncate(before);
        }
        appended
    }
}

fn append_json(value: &Value, out: &mut Vec<u8>) -> bool {
    match value {
        Value::String(text) => out.extend_from_slice(text.as_bytes()),
        // Writing into a vector cannot fail.
        Value::Number(number) => drop(write!(out, "{number}")),
        Value::Bool(truth) => drop(write!(out, "{truth}")),
        Value::Array(list) => {
            for (at, item) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                if item.is_array() || !append_json(item, out) {
                    return false;
                }
            }
        }
        Value::Null | Value::Object(_) => return false,
    }
    true
}

/// Appends an address as text; a mapped IPv4 address as IPv4.
pub(crate) fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    // Writing into a vector cannot fail.
    let _ = match address.to_canonical() {
        IpAddr::V6(v6) => write!(out, "{v6}"),
        IpAddr::V4(v4) => write!(out, "{v4}"),
    };
}

/// The request of an exchange.
#[derive(Debug, Default)]
pub struct Request {
    /// The bytes that arrived: the head, then what came of the body with it.
    pub(crate) raw: Buffer,
    /// Where things stand in them.
    pub head: RequestHead,
    /// What filters changed.
    pub edits: Edits,
    /// The path to route by, normalised, without the query.
    pub path: Vec<u8>,
    /// The query, without its question mark.
    pub query: Vec<u8>,
    /// True when there is a question mark, with or without anything behind it: an empty query is
    /// not the same as none (RFC 3986 §6.2.3).
    pub(crate) has_query: bool,
    /// The path and query to send on, after rewrites; see [`Request::target`].
    pub(crate) target: Vec<u8>,
    /// Where a changed target is normalised; its memory stays.
    spare: Vec<u8>,
    /// How a changed target is normalised.
    pub(crate) path_policy: PathPolicy,
    /// Bytes of `raw` that belong to this request; what is behind them is the next one's.
    pub(crate) taken: usize,
    /// More of the body was asked for than had come with the head, so nobody but the upload knows
    /// where in the stream of bytes the connection is.
    pub(crate) body_begun: bool,
    /// The request can be sent again: all that has come of it is still here.
    pub(crate) repeatable: bool,
    /// So many bytes of its body are kept for another attempt; see [`Request::keep_body`].
    pub(crate) keep: u64,
    /// The payload of its body, once the exchange is over; see [`Request::kept_body`].
    pub(crate) kept: Option<Buffer>,
    /// Bytes of the body that have been received.
    pub received: u64,
    /// The most bytes that the body may have, if a filter says so; never more than the route says.
    pub max_body: Option<u64>,
}

/// The response of an exchange: an upstream's, or the gateway's own.
#[derive(Debug, Default)]
pub struct Response {
    /// The bytes that arrived from the upstream: the head, then what came of the body with it.
    pub(crate) raw: Buffer,
    /// Where things stand in them; for an answer of the gateway's own only the status counts.
    pub head: ResponseHead,
    /// What filters changed.
    pub edits: Edits,
    /// What codes the body on its way to the client, if a filter has set it in `on_response`.
    pub coder: Option<Box<dyn Coder>>,
    /// Interim (1xx) answers that came before it.
    pub(crate) interims: u32,
    /// Bytes of the body that have been sent.
    pub sent: u64,
}

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// The client: the peer, or the rightmost address that no trusted proxy vouches for.
    pub address: IpAddr,
    /// True when the peer is a trusted proxy.
    pub through_trusted_proxy: bool,
}

impl Exchange {
    /// An empty exchange, to be used again and again.
    pub fn new(started: Instant) -> Self {
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Exchange {
            request: Request { repeatable: true, ..Request::default() },
            response: Response::default(),
            client: Client { peer: nobody, address: nobody.ip(), through_trusted_proxy: false },
            route: None,
            route_name: String::new(),
            found: Found::default(),
            request_id: Vec::new(),
            trace: None,
            started,
            times: Times::default(),
            deadline: None,
            identity: None,
            attempts: 0,
            upstream: String::new(),
            try_timeout: None,
            endpoint: None,
            tried: Vec::new(),
            held: Held::default(),
            notes: Notes::default(),
        }
    }

    /// An exchange that has just received this request, whose path is normal: for tests of
    /// filters, which need no gateway around them.
    ///
    /// # Errors
    /// What is wrong with the head.
    pub fn with_request(head: &[u8], started: Instant) -> Result<Self, HeadError> {
        let mut exchange = Exchange::new(started);
        exchange.receive(head, started)?;
        Ok(exchange)
    }

    /// Forgets the last exchange and receives this request, whose path is normal, into the same
    /// memory: for tests of filters too.
    ///
    /// # Errors
    /// What is wrong with the head.
    pub fn receive(&mut self, head: &[u8], started: Instant) -> Result<(), HeadError> {
        let limits =
            HeadLimits { max_head: head.len(), max_line: head.len(), max_fields: MAX_FIELDS };
        self.reset(self.client.peer, started);
        let request = &mut self.request;
        request.raw.clear();
        request.raw.extend(head);
        parse_request(head, &mut request.head, &limits)?;
        request.target.extend_from_slice(request.head.path_and_query(head));
        let mut parts = request.target.splitn(2, |&byte| byte == b'?');
        request.path.extend_from_slice(parts.next().unwrap_or_default());
        request.query.extend_from_slice(parts.next().unwrap_or_default());
        request.kept = Some(Buffer::default());
        Ok(())
    }

    /// Forgets the last exchange; the memory stays.
    pub(crate) fn reset(&mut self, peer: SocketAddr, started: Instant) {
        self.request.reset();
        self.response.reset();
        self.client = Client { peer, address: peer.ip(), through_trusted_proxy: false };
        self.route = None;
        self.route_name.clear();
        self.request_id.clear();
        self.trace = None;
        self.started = started;
        self.times = Times::default();
        self.deadline = None;
        self.identity = None;
        self.attempts = 0;
        self.upstream.clear();
        self.try_timeout = None;
        self.endpoint = None;
        self.tried.clear();
        self.notes.clear();
        self.release();
    }

    /// Appends a template with its variables filled in: parameters and captures of the route, then
    /// what every request has (`host`, `path`, `query`, `request_id`, `client_ip`, `route`), and
    /// as `claims.NAME` what the client's token says.
    ///
    /// # Errors
    /// When a variable has no value, or one that would end a line; `out` is then as before.
    pub fn render(&self, template: &Template, out: &mut Vec<u8>) -> Result<(), TemplateError> {
        template.render(&|name, out| self.append_variable(name, out), out)
    }

    /// Appends the value of a variable; false when it has none.
    pub fn append_variable(&self, name: &str, out: &mut Vec<u8>) -> bool {
        let request = &self.request;
        if let Some(claim) = name.strip_prefix(CLAIM) {
            return self.identity.as_ref().is_some_and(|who| who.append_claim(claim, out));
        }
        let of_route = self.route.and_then(|_| self.found.value(name, &request.path));
        out.extend_from_slice(match (of_route, name) {
            (Some(value), _) => value,
            (None, "host") => request.authority(),
            (None, "path") => &request.path,
            (None, "query") => &request.query,
            (None, "request_id") => &self.request_id,
            (None, "route") => self.route_name.as_bytes(),
            (None, "client_ip") => {
                write_address(out, self.client.address);
                return true;
            }
            _ => return false,
        });
        true
    }

    /// What `filter` noted of this exchange, or 0. A filter has one note in each exchange, and goes
    /// by its own address: it must be where it was, and larger than nothing.
    pub fn note<F>(&self, filter: &F) -> u64 {
        self.notes.get(filter)
    }

    /// True when another attempt can be made after this pause: the request can be sent again, and
    /// there is time for it.
    pub fn may_try_again(&self, pause: Duration, now: Instant) -> bool {
        self.request.repeatable && self.deadline.is_none_or(|deadline| now + pause < deadline)
    }

    /// Has `filter` find this number again, in another hook of the same exchange.
    pub fn set_note<F>(&mut self, filter: &F, note: u64) {
        self.notes.set(filter, note);
    }

    /// True when the client came over https. The gateway itself speaks plain http; a trusted proxy
    /// before it says so in `X-Forwarded-Proto`.
    pub fn is_https(&self) -> bool {
        let proto = self.request.field(FieldName::XForwardedProto);
        let proto = proto.filter(|_| self.client.through_trusted_proxy);
        let first = proto.and_then(|proto| items(proto).next());
        first.is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"))
    }

    /// Has `holder` told when the exchange is over, after every `on_end`.
    pub fn hold(&mut self, holder: Rc<dyn Hold>, token: u64) {
        self.held.add(holder, token);
    }

    /// Gives back what is held.
    pub(crate) fn release(&mut self) {
        self.held.release();
    }
}

impl Request {
    /// The bytes that the spans of the head are in.
    pub fn raw(&self) -> &[u8] {
        self.raw.filled()
    }

    /// The method as it was written.
    pub fn method(&self) -> &[u8] {
        self.head.method_text.of(self.raw())
    }

    /// The host that was asked for, with its port if one was given.
    pub fn authority(&self) -> &[u8] {
        self.head.authority.of(self.raw())
    }

    /// The path and query that the upstream shall see, made of the path as it was routed, after
    /// `strip_prefix` and `rewrite`.
    pub fn target(&self) -> &[u8] {
        &self.target
    }

    /// Has up to so many bytes of the body kept while it goes up, so that another attempt can send
    /// it again. Of several wishes the largest counts. Beyond that, or without a wish, a request
    /// can be sent again only while all of its body has come with its head.
    pub fn keep_body(&mut self, most: u64) {
        self.keep = self.keep.max(most);
    }

    /// The payload of the body, without its coding, for [`Filter::on_end`](crate::filter::Filter):
    /// empty when there was no body. `None` when a part of it is missing: it was longer than any
    /// filter had wished to keep, it did not come to its end, or the request was not sent on.
    pub fn kept_body(&self) -> Option<&[u8]> {
        self.kept.as_ref().map(Buffer::filled)
    }

    /// Has the upstream see this path and query instead, brought into normal form
    /// (HTTP_SAFETY rule 20).
    ///
    /// # Errors
    /// When it is no path; the target is then as before.
    pub fn set_target(&mut self, target: &[u8]) -> Result<(), PathError> {
        if normalise(target, &self.path_policy, &mut self.spare)?.unchanged {
            self.target.clear();
            self.target.extend_from_slice(target);
        } else {
            std::mem::swap(&mut self.target, &mut self.spare);
        }
        Ok(())
    }

    /// Leaves every query parameter of this name out of what the upstream sees.
    pub fn remove_query(&mut self, name: &[u8]) {
        let Some(at) = self.target.iter().position(|&byte| byte == b'?') else { return };
        let query = self.target.split_off(at);
        let mut mark = b'?';
        for pair in query[1..].split(|&byte| byte == b'&') {
            let its_name = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
            if its_name != name {
                self.target.push(mark);
                self.target.extend_from_slice(pair);
                mark = b'&';
            }
        }
    }

    pub(crate) fn normalise_target(&mut self) -> Result<(), PathError> {
        if !normalise(&self.target, &self.path_policy, &mut self.spare)?.unchanged {
            std::mem::swap(&mut self.target, &mut self.spare);
        }
        Ok(())
    }

    /// The first value of a header as the upstream shall see it, edits included.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.edits.first(name, || self.head.find(self.raw(), name.as_bytes()))
    }

    /// Has what came under one name go on under another, in place of what came under that; see
    /// [`Response::rename`].
    ///
    /// # Errors
    /// [`BadHeader`] when one of them is no name that may be edited.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), BadHeader> {
        let arrived = self.head.all(self.raw.filled(), from.as_bytes());
        self.edits.rename(from, to, arrived)
    }

    /// The method that a CORS preflight asks about; `None` for every other request.
    pub fn asked_by_preflight(&self) -> Option<&[u8]> {
        self.head.asked_by_preflight(self.raw())
    }

    /// The most bytes that the body may have on a route that allows so many.
    pub(crate) fn most_body(&self, of_route: u64) -> u64 {
        self.max_body.map_or(of_route, |most| most.min(of_route))
    }

    /// The first value of a known header as it arrived.
    pub fn field(&self, name: FieldName) -> Option<&[u8]> {
        self.head.field(self.raw(), name)
    }

    fn reset(&mut self) {
        self.head.clear();
        self.edits.clear();
        self.path.clear();
        self.query.clear();
        self.has_query = false;
        self.target.clear();
        self.taken = 0;
        self.body_begun = false;
        self.repeatable = true;
        self.keep = 0;
        self.kept = None;
        self.received = 0;
        self.max_body = None;
    }
}

impl Response {
    /// The bytes that the spans of the head are in.
    pub fn raw(&self) -> &[u8] {
        self.raw.filled()
    }

    /// The first value of a header as the client shall see it, edits included.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.edits.first(name, || self.head.find(self.raw(), name.as_bytes()))
    }

    /// Every value of a header as the client shall see it, edits included.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let arrived = !self.edits.replaces(name.as_bytes());
        let arrived = self.head.all(self.raw(), name.as_bytes()).filter(move |_| arrived);
        arrived.chain(self.edits.values(name))
    }

    /// Has what came under one name go on under another, in place of what came under that. Nothing
    /// changes when nothing came; a field that may come once only takes the first value.
    ///
    /// # Errors
    /// [`BadHeader`] when one of them is no name that may be edited.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), BadHeader> {
        let arrived = self.head.all(self.raw.filled(), from.as_bytes());
        self.edits.rename(from, to, arrived)
    }

    /// Has `Vary` name this header of the request too, unless it does or names all of them
    /// (RFC 9110 §12.5.5).
    ///
    /// # Errors
    /// [`BadHeader`] when it is no name.
    pub fn vary(&mut self, name: &str) -> Result<(), BadHeader> {
        let named = |item: &[u8]| item == b"*" || item.eq_ignore_ascii_case(name.as_bytes());
        if self.values("vary").any(|value| items(value).any(named)) {
            return Ok(());
        }
        self.edits.add("Vary", name.as_bytes())
    }

    pub(crate) fn reset(&mut self) {
        self.head.clear();
        self.edits.clear();
        self.coder = None;
        self.interims = 0;
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_may_be_inside_of_another() {
        let claims = serde_json::json!({"realm": {"roles": ["a", "b"]}, "a.b": 1, "a": {"b": 2}});
        let Value::Object(claims) = claims else { panic!("it is written as an object") };
        let who = Identity { consumer: String::new(), claims };
        let text = |name: &str| {
            let mut out = Vec::new();
            who.append_claim(name, &mut out).then(|| String::from_utf8(out).unwrap())
        };
        assert_eq!(text("realm.roles").as_deref(), Some("a,b"));
        assert_eq!(text("a.b").as_deref(), Some("1"), "a whole name goes before its parts");
        assert_eq!(text("realm"), None);
        assert_eq!(text("realm.users"), None);
        assert_eq!(text("realm.roles.0"), None);
    }
}
