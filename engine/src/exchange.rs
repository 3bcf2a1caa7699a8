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
mod identity;
mod request;
mod response;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::buffer::Buffer;
use crate::http1::{HeadError, HeadLimits, MAX_FIELDS, items, parse_request, write};
use crate::message::FieldName;
use crate::route::Found;
use crate::template::{CLAIM, Template, TemplateError};
use crate::times::Times;
use crate::trace::Trace;

pub use answer::{Answer, AnswerBody};
pub use coder::Coder;
pub use edits::{BadHeader, Edits};
pub use held::Hold;
pub use identity::{Identity, claim_of};
pub use request::Request;
pub use response::Response;

use held::{Held, Notes};

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
    /// The filter that answered in the upstream's place, by its name, if one did.
    pub answered_by: Option<&'static str>,
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
            answered_by: None,
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
        self.answered_by = None;
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
                write::address(out, self.client.address);
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
