//! One attempt: the request goes to one endpoint, and its answer to the client.
//!
//! The body, where not all of it came with the head, goes up alongside everything else: an
//! upstream may answer before it has heard the end, and is heard while it does.

use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use crate::buffer::Buffer;
use crate::course::{Course, Ended};
use crate::downstream::{After, Connection};
use crate::error::{ClientError, Error, GatewayError, UpstreamError};
use crate::exchange::{Answer, Exchange};
use crate::filter::{Next, Outcome};
use crate::forward::{self, RequestHeadPlan};
use crate::http1::{self, Body};
use crate::io::{Reader, Side, Writer, alongside};
use crate::limits::HEAD_GROWS;
use crate::relay::{Bounds, Framing, RelayError, relay};
use crate::respond;
use crate::response::{Relayed, Response};
use crate::snapshot::Route;
use crate::until::{self, Until};
use crate::upload::{Upload, relay_kept, request_framing, upload_error};
use crate::upstream::{Endpoint, Lease, Upstream};

/// What every attempt of an exchange has in common.
pub(crate) struct Attempt<'a> {
    pub(crate) course: &'a Course<'a>,
    pub(crate) route: &'a Route,
    pub(crate) upstream: &'a Upstream,
    /// How the client frames the body.
    pub(crate) body: Body,
    /// How many bytes it may have.
    pub(crate) max_body: u64,
    /// The endpoint, which is told how it did.
    pub(crate) endpoint: Rc<Endpoint>,
    /// Its address.
    pub(crate) from: SocketAddr,
    /// Requests that the client's connection has carried, this one included.
    pub(crate) served: u64,
    /// When it is over, if a filter says so.
    pub(crate) until: Cell<Option<Until>>,
    /// How long it may take, if a filter says so.
    pub(crate) time: Option<Duration>,
    /// The head of the answer is there.
    pub(crate) answered: Cell<bool>,
    /// The request can be sent again: all that has come of it is still here.
    pub(crate) repeatable: Cell<bool>,
}

/// What an attempt came to.
pub(crate) enum Attempted {
    /// The client has been answered, well or badly.
    Ended(Ended),
    /// The pooled connection had died unnoticed: once more, on a fresh one.
    Stale,
    /// The connection was refused, and another endpoint may be asked at once.
    PassedOver,
    /// A filter answered before the upstream was asked.
    Denied(Box<Answer>),
    /// The upstream answered, and a filter wants this instead.
    Unwanted(Next),
    /// No answer came.
    Failed {
        /// Why.
        error: Error,
        /// True when the request can be sent again: all of it is still here.
        repeatable: bool,
    },
}

/// What was heard of the upstream.
enum Heard {
    /// Its response, which went to the client; `busy` when the body was still going up.
    Response { relayed: Relayed, busy: bool },
    /// That it speaks something else from here on.
    Upgrade,
    /// A response that a filter wants this instead of; `clean` when it came whole.
    Unwanted { next: Next, clean: bool },
    /// No response.
    Nothing(Error),
}

impl Attempt<'_> {
    /// Makes the attempt on `lease`.
    pub(crate) async fn make(
        &self,
        connection: &mut Connection,
        exchange: &mut Exchange,
        up: &mut Upload,
        mut lease: Lease,
    ) -> Attempted {
        let buffers = &self.course.worker.buffers;
        up.broken = None;
        let mut out = buffers.holding(exchange.request.raw.len() + HEAD_GROWS);
        if let Err(error) = self.write_request(connection, exchange, &lease, up, &mut out) {
            buffers.give(out);
            return Attempted::Failed { error, repeatable: false };
        }
        let whole = !exchange.request.body_begun;
        up.body.awaits(false);
        self.repeatable.set(whole || up.kept.is_whole());
        if !whole {
            // While the client still sends, the time is not the upstream's.
            self.until.set(Until::of_exchange(exchange));
        }
        if let Some(until) = self.until.get() {
            lease.stream.watch().over_within(until.left());
        }
        let (mut reader, mut writer) = lease.stream.split();
        let (written, out) = writer.write_all(out, self.upstream_idle()).await;
        buffers.give(out);
        up.broken = written.err().map(RelayError::Write);
        let (client_reader, mut client_writer) = connection.stream.split();
        let heard = {
            let mut upload = pin!(Side::new(self.upload(whole, client_reader, writer, up)));
            let (reader, writer) = (&mut reader, &mut client_writer);
            self.hear(exchange, whole, reader, writer, upload.as_mut()).await
        };
        let cut = lease.stream.watch().is_cut();
        let over = self.until.get().filter(|_| lease.stream.watch().is_over());
        if !whole {
            connection.stream.watch().read_any_time();
        }
        if self.until.get().is_some() {
            lease.stream.watch().never_over();
            connection.stream.watch().never_over();
        }
        match heard {
            Heard::Response { mut relayed, busy } => {
                if cut || over.is_some() {
                    relayed.clean = false;
                    let why = if cut { GatewayError::RouteGone } else { GatewayError::Timeout };
                    relayed.error = relayed.error.map(|_| why.into());
                }
                self.ended(exchange, up, relayed, whole, busy, lease)
            }
            // Boxed: it is large, and few exchanges come here.
            Heard::Upgrade => Box::pin(self.upgrade(connection, exchange, lease)).await,
            Heard::Unwanted { next, clean } => {
                let read_all = clean && up.broken.is_none() && up.body.is_done();
                if read_all && http1::keeps_alive_response(&exchange.response.head) {
                    lease.give_back(&self.upstream.plan.settings.pool, self.now());
                }
                Attempted::Unwanted(next)
            }
            Heard::Nothing(_) if cut => {
                exchange.request.received = up.body.received();
                Attempted::Failed { error: GatewayError::RouteGone.into(), repeatable: false }
            }
            Heard::Nothing(error) => {
                let over = over.map(|until| match up.body.is_awaited() {
                    // Whoever is slow to send makes no upstream look slow to answer.
                    true => ClientError::BodyTimeout.into(),
                    false => until.error(self.from),
                });
                self.failed(exchange, up, error, over, lease.reused)
            }
        }
    }

    /// Hears the answer and passes it to the client, while the body goes up alongside.
    async fn hear<S: Future>(
        &self,
        exchange: &mut Exchange,
        whole: bool,
        reader: &mut Reader<'_>,
        client: &mut Writer<'_>,
        mut upload: Pin<&mut Side<S>>,
    ) -> Heard {
        let body = {
            let head = pin!(self.receive_head(exchange, whole, reader, client));
            match alongside(upload.as_mut(), head).await {
                Err(error) => return Heard::Nothing(error),
                Ok(body) => body,
            }
        };
        self.answered.set(true);
        self.endpoint.answered(exchange.response.head.status);
        exchange.request.repeatable = self.repeatable.get();
        let outcome = Outcome::Answered(exchange.response.head.status);
        let decision = self.course.chain.on_outcome(exchange, &outcome);
        if exchange.response.head.status == 101 {
            // Both sides speak something else already: there is no way back.
            return Heard::Upgrade;
        }
        match decision.next(self.repeatable.get()) {
            Next::Accept => {}
            next => {
                let came = exchange.response.raw().len() - exchange.response.head.len;
                // All of it is here, so the connection is as good as after any other answer.
                let whole_answer = match body {
                    Body::Empty => came == 0,
                    Body::Length(length) => came as u64 == length,
                    Body::Chunked | Body::UntilClose => false,
                };
                return Heard::Unwanted { next, clean: whole_answer && !upload.is_busy() };
            }
        }
        if self.until.get().is_some() {
            until::relay(exchange.deadline, reader, client);
        }
        let bounds = self.response_bounds();
        let response = Response {
            course: self.course,
            bounds: &bounds,
            body,
            from: self.from,
            served: self.served,
        };
        let relayed = response.relay(exchange, reader, client, upload.as_mut()).await;
        Heard::Response { relayed, busy: upload.is_busy() }
    }

    /// Sends the rest of the body up, if there is any.
    async fn upload(&self, whole: bool, mut from: Reader<'_>, mut to: Writer<'_>, up: &mut Upload) {
        if up.broken.is_some() || whole {
            return;
        }
        let bounds = Bounds {
            read: self.route.read,
            write: self.upstream_idle(),
            max: self.max_body,
            min_rate: self.route.min_body_rate,
        };
        let framing = request_framing(self.body);
        let buffers = &self.course.worker.buffers;
        let end = if up.kept.is_whole() {
            let lost = &self.repeatable;
            relay_kept(&mut from, up, lost, &mut to, framing, &bounds, buffers).await
        } else {
            let Upload { body, input, .. } = &mut *up;
            relay(&mut from, input, body, &mut to, framing, &bounds, buffers).await
        };
        if end.is_ok() && !self.answered.get() {
            to.other_direction_within(self.first_byte());
            if let Some(until) = Until::of_attempt(self.time, self.until.get()) {
                to.over_within(until.left());
                self.until.set(Some(until));
            }
        }
        if let Err(error) = end {
            if !matches!(error, RelayError::Write(_)) {
                // Half a request is no request: the upstream must not take it for one.
                to.abort();
            }
            up.broken = Some(error);
        }
    }

    /// No answer came: once more silently, once more if a filter says so, or not.
    fn failed(
        &self,
        exchange: &mut Exchange,
        up: &mut Upload,
        error: Error,
        over: Option<Error>,
        reused: bool,
    ) -> Attempted {
        exchange.request.received = up.body.received();
        let whole = self.repeatable.get();
        if let Some(error) = over {
            self.endpoint.met(&error);
            let repeatable = whole && !matches!(error, Error::Client(_));
            return Attempted::Failed { error, repeatable };
        }
        if let Some(error) = up.broken.take().and_then(|e| upload_error(e, self.from)) {
            return Attempted::Failed { error, repeatable: false };
        }
        let untouched = exchange.response.raw.is_empty() && exchange.response.interims == 0;
        let repeatable = whole && exchange.request.head.method.is_idempotent();
        if reused && untouched && repeatable && is_closed(&error) {
            return Attempted::Stale;
        }
        self.endpoint.met(&error);
        Attempted::Failed { error, repeatable: whole }
    }

    /// The response has gone to the client: what becomes of the two connections.
    fn ended(
        &self,
        exchange: &mut Exchange,
        up: &mut Upload,
        relayed: Relayed,
        whole: bool,
        busy: bool,
        lease: Lease,
    ) -> Attempted {
        exchange.request.received = up.body.received();
        let unread = busy || up.broken.is_some() || !up.body.is_done();
        if !whole {
            // What was read behind the body is the next request's.
            exchange.request.raw.replace_body(exchange.request.head.len, up.input.filled());
            exchange.request.taken = exchange.request.head.len;
        }
        relayed.error.as_ref().inspect(|error| self.endpoint.met(error));
        let keeps_alive = http1::keeps_alive_response(&exchange.response.head);
        if relayed.clean && !unread && keeps_alive {
            lease.give_back(&self.upstream.plan.settings.pool, self.now());
        }
        let after = match &relayed.error {
            // What broke off must not end in the orderly way of what is complete.
            Some(_) => After::Close,
            None if unread => After::Linger,
            None if relayed.close => respond::ending(exchange),
            None => After::Keep,
        };
        let status = exchange.response.head.status;
        Attempted::Ended(Ended { status, error: relayed.error, after })
    }

    /// The core's coarse clock.
    fn now(&self) -> Duration {
        self.course.worker.deadlines.coarse()
    }

    fn response_bounds(&self) -> Bounds {
        Bounds { read: self.upstream_idle(), write: self.route.write, max: u64::MAX, min_rate: 0 }
    }

    /// How long the upstream may take from the end of the request to the first byte of its answer.
    pub(crate) fn first_byte(&self) -> Duration {
        let of_upstream = self.upstream.plan.settings.timeouts.first_byte.0;
        self.route.first_byte.unwrap_or(of_upstream)
    }

    /// How long the upstream may neither send nor take anything of a body.
    fn upstream_idle(&self) -> Duration {
        self.route.idle.unwrap_or(self.upstream.plan.settings.timeouts.idle.0)
    }

    /// Writes the head and what has come of the body, to go out in one send.
    fn write_request(
        &self,
        connection: &Connection,
        exchange: &mut Exchange,
        lease: &Lease,
        up: &mut Upload,
        out: &mut Buffer,
    ) -> Result<(), Error> {
        let plan = RequestHeadPlan {
            rules: self.course.rules(),
            host: &self.route.host,
            endpoint: &lease.endpoint.name,
            framing: request_framing(self.body),
            empty_length: exchange.request.head.content_length == Some(0),
            upgrade: self.wants_upgrade(exchange),
            peer: &connection.peer_text,
        };
        forward::write_request_head(out.tail(), exchange, &plan);
        let buffers = &self.course.worker.buffers;
        if self.body == Body::Chunked {
            up.body.withhold(exchange.request.edits.replaced(), buffers);
        }
        // What is beyond the first of the body is in `up` already, and is for the upload to send.
        if exchange.request.body_begun {
            return Ok(());
        }
        let head = exchange.request.head.len;
        let came = &exchange.request.raw()[head..];
        let (framing, before) = (request_framing(self.body), out.len());
        up.body.restart(self.body);
        let mut taken = up.body.take(came, framing, out.tail());
        let begun = !up.body.is_done();
        if begun && up.kept.is_whole() {
            // Once more, to keep it.
            out.truncate(before);
            up.body.restart(self.body);
            let room = up.kept.room_for(came.len(), buffers);
            taken = up.body.take(came, Framing::UntilClose, room);
        }
        exchange.request.taken = head + taken.map_err(ClientError::Body)?;
        exchange.request.body_begun = begun;
        if up.body.received() > self.max_body {
            return Err(ClientError::BodyTooLarge.into());
        }
        Ok(())
    }

    /// True when the client asks for an upgrade that the route allows (HTTP_SAFETY rule 12).
    pub(crate) fn wants_upgrade(&self, exchange: &Exchange) -> bool {
        let request = &exchange.request;
        self.route.websocket
            && self.body == Body::Empty
            && http1::upgrade_requested(&request.head, request.raw())
                .is_some_and(|token| token.eq_ignore_ascii_case(b"websocket"))
    }
}

fn is_closed(error: &Error) -> bool {
    matches!(error, Error::Upstream(UpstreamError::Closed(_)))
}
