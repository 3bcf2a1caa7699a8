//! One attempt: the request goes to one endpoint, and its answer to the client.
//!
//! The body, where not all of it came with the head, goes up alongside everything else: an
//! upstream may answer before it has heard the end, and is heard while it does.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use crate::buffer::Buffer;
use crate::connection::{After, Connection};
use crate::error::{ClientError, Error, UpstreamError};
use crate::exchange::Exchange;
use crate::filter::{Next, Outcome};
use crate::forward::{self, Persistence, RequestHeadPlan};
use crate::http1::{self, Body, Scanner};
use crate::io::{Reader, Side, Writer, alongside};
use crate::limits::INTERIM_ANSWERS;
use crate::message::{Method, Version};
use crate::relay::{Bounds, Framing, Incoming, RelayError, relay};
use crate::respond;
use crate::serve::{Course, Ended};
use crate::snapshot::Route;
use crate::tunnel;
use crate::upstream::{Lease, Upstream};

/// What every attempt of an exchange has in common.
pub(crate) struct Attempt<'a> {
    pub(crate) course: &'a Course<'a>,
    pub(crate) route: &'a Route,
    pub(crate) upstream: &'a Upstream,
    /// How the client frames the body.
    pub(crate) body: Body,
}

/// What an attempt came to.
pub(crate) enum Attempted {
    /// The client has been answered, well or badly.
    Ended(Ended),
    /// The pooled connection had died unnoticed: once more, on a fresh one.
    Stale,
    /// A filter wants another attempt after this pause.
    Again(Duration),
    /// No answer came.
    Failed {
        /// Why.
        error: Error,
        /// True when the request can be sent again: all of it is still here.
        repeatable: bool,
    },
}

/// What the relaying of a response came to.
struct Relayed {
    error: Option<Error>,
    /// The response ended where it should, and nothing came behind it.
    clean: bool,
    /// The client was told, or must find, that the connection ends.
    close: bool,
}

impl Attempt<'_> {
    /// Makes the attempt on `lease`.
    pub(crate) async fn make(
        &self,
        connection: &mut Connection,
        exchange: &mut Exchange,
        mut lease: Lease,
    ) -> Attempted {
        let buffers = &self.course.worker.buffers;
        let mut up = Incoming::new(self.body);
        let mut out = buffers.usual();
        if let Err(error) = self.write_request(connection, exchange, &lease, &mut up, &mut out) {
            return Attempted::Failed { error, repeatable: false };
        }
        let whole = up.is_done();
        let bounds = Bounds {
            read: self.route.read,
            write: self.route.write,
            max: self.route.max_body,
            min_rate: self.route.min_body_rate,
        };
        let (mut input, sent) = (Buffer::default(), Cell::new(0));
        let uploaded: Cell<Option<RelayError>> = Cell::new(None);
        let mut busy = false;
        let outcome = {
            let (mut client_reader, mut client_writer) = connection.stream.split();
            let (mut reader, mut writer) = lease.stream.split();
            let (written, out) = writer.write_all(out, self.route.write).await;
            buffers.give(out);
            let upload = async {
                if written.is_err() || up.is_done() {
                    return;
                }
                let framing = request_framing(self.body);
                let end = relay(
                    &mut client_reader,
                    &mut input,
                    &mut up,
                    &mut writer,
                    framing,
                    &bounds,
                    buffers,
                    &sent,
                );
                if let Err(error) = end.await {
                    if !matches!(error, RelayError::Write(_)) {
                        // Half a request is no request: the upstream must not take it for one.
                        writer.abort();
                    }
                    uploaded.set(Some(error));
                }
            };
            let mut upload = pin!(Side::new(upload));
            let head = self.receive_head(
                exchange,
                &mut reader,
                &mut client_writer,
                &lease.endpoint.address,
            );
            match alongside(upload.as_mut(), head).await {
                Err(error) => Err(error),
                Ok(_) if exchange.response.head.status == 101 => Ok(None),
                Ok(framing) => {
                    let status = exchange.response.head.status;
                    let outcome = Outcome::Answered(status);
                    match self.course.chain.on_outcome(exchange, &outcome) {
                        Next::RetryAfter(pause) if whole => return Attempted::Again(pause),
                        Next::RetryAfter(_) | Next::Accept => {}
                    }
                    let served = connection.served;
                    let relayed = self
                        .relay_response(
                            exchange,
                            framing,
                            served,
                            &mut reader,
                            &mut client_writer,
                            upload.as_mut(),
                        )
                        .await;
                    busy = upload.is_busy();
                    Ok(Some(relayed))
                }
            }
        };
        exchange.request.received = up.received();
        let broken = uploaded.take();
        match outcome {
            Err(error) => {
                if let Some(error) = broken.and_then(upload_error) {
                    return Attempted::Failed { error, repeatable: false };
                }
                let untouched = exchange.response.raw.is_empty();
                let repeatable = exchange.request.head.method.is_idempotent();
                if lease.reused && whole && untouched && repeatable && is_closed(&error) {
                    return Attempted::Stale;
                }
                buffers.give(input);
                Attempted::Failed { error, repeatable: whole }
            }
            Ok(None) => self.upgrade(connection, exchange, lease).await,
            Ok(Some(relayed)) => {
                let unread = busy || broken.is_some() || !up.is_done();
                if !whole {
                    // What was read behind the body is the next request's.
                    exchange.request.raw.clear();
                    exchange.request.raw.extend(input.filled());
                    exchange.request.taken = 0;
                }
                buffers.give(input);
                let reusable = relayed.clean
                    && !unread
                    && http1::keeps_alive_response(&exchange.response.head);
                if reusable {
                    let pool = &self.upstream.plan.settings.pool;
                    lease.give_back(pool, self.course.worker.deadlines.coarse());
                }
                let after = match (relayed.close, unread) {
                    (_, true) => After::Linger,
                    (true, false) => After::Close,
                    (false, false) => After::Keep,
                };
                let status = exchange.response.head.status;
                Attempted::Ended(Ended { status, error: relayed.error, after })
            }
        }
    }

    /// Writes the head and what has come of the body, to go out in one send.
    fn write_request(
        &self,
        connection: &Connection,
        exchange: &mut Exchange,
        lease: &Lease,
        up: &mut Incoming,
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
        let head = exchange.request.head.len;
        let came = &exchange.request.raw()[head..];
        let taken = up.take(came, request_framing(self.body), out.tail());
        exchange.request.taken = head + taken.map_err(ClientError::Body)?;
        if up.received() > self.route.max_body {
            return Err(ClientError::BodyTooLarge.into());
        }
        Ok(())
    }

    /// True when the client asks for an upgrade that the route allows (HTTP_SAFETY rule 12).
    fn wants_upgrade(&self, exchange: &Exchange) -> bool {
        let request = &exchange.request;
        self.route.websocket
            && self.body == Body::Empty
            && http1::upgrade_requested(&request.head, request.raw())
                .is_some_and(|token| token.eq_ignore_ascii_case(b"websocket"))
    }

    /// Reads up to the final head, passing interim ones on, and tells how its body is framed.
    async fn receive_head(
        &self,
        exchange: &mut Exchange,
        reader: &mut Reader<'_>,
        client: &mut Writer<'_>,
        from: &SocketAddr,
    ) -> Result<Body, Error> {
        let buffers = &self.course.worker.buffers;
        let limits = &self.course.rules().head;
        let upgradable = self.wants_upgrade(exchange);
        let time = self.upstream.plan.settings.timeouts.first_byte.0;
        let time = self.route.first_byte.unwrap_or(time);
        exchange.response.reset();
        exchange.response.raw.clear();
        let mut scanner = Scanner::default();
        let mut interims = 0;
        reader.within(time);
        loop {
            let bad = |e| UpstreamError::Head(*from, e);
            let response = &mut exchange.response;
            let Some(len) = scanner.scan(response.raw.filled(), limits).map_err(bad)? else {
                let raw = buffers.widen(std::mem::take(&mut response.raw));
                let (read, raw) = reader.read(raw).await;
                response.raw = raw;
                match read {
                    Ok(1..) => continue,
                    Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                        return Err(UpstreamError::FirstByteTimeout(*from).into());
                    }
                    Ok(0) | Err(_) => return Err(UpstreamError::Closed(*from).into()),
                }
            };
            let bytes = &response.raw.filled()[..len];
            http1::parse_response(bytes, &mut response.head, limits).map_err(bad)?;
            let framing = http1::response_body(&response.head, bytes, exchange.request.head.method);
            let framing = framing.map_err(bad)?;
            match response.head.status {
                101 if upgradable => return Ok(framing),
                101 => return Err(UpstreamError::UnaskedUpgrade(*from).into()),
                100..=199 if interims == INTERIM_ANSWERS => {
                    return Err(UpstreamError::Interim(*from).into());
                }
                100..=199 => {
                    interims += 1;
                    self.pass_interim(exchange, client).await?;
                    exchange.response.raw.consume(len);
                    exchange.response.head.clear();
                    scanner.reset();
                    reader.within(time);
                }
                _ => return Ok(framing),
            }
        }
    }

    /// Passes a 1xx on, to clients that know what that is (RFC 9110 §15.2).
    async fn pass_interim(
        &self,
        exchange: &Exchange,
        client: &mut Writer<'_>,
    ) -> Result<(), Error> {
        if exchange.request.head.version == Version::Http10 {
            return Ok(());
        }
        let mut out = self.course.worker.buffers.usual();
        forward::write_interim_head(out.tail(), exchange);
        let (written, out) = client.write_all(out, self.route.write).await;
        self.course.worker.buffers.give(out);
        written.map_err(|e| gone(e).into())
    }

    /// Sends the response on: the head with what came of the body in one send, then the rest.
    async fn relay_response<S: Future>(
        &self,
        exchange: &mut Exchange,
        body: Body,
        served: u64,
        reader: &mut Reader<'_>,
        client: &mut Writer<'_>,
        mut upload: Pin<&mut Side<S>>,
    ) -> Relayed {
        let worker = self.course.worker;
        self.course.chain.on_response(exchange, self.course.passed);
        let mut down = Incoming::new(body);
        let framing = response_framing(exchange, body);
        let early_refusal = upload.is_busy()
            && (exchange.response.head.status >= 400 || exchange.request.head.expect_continue);
        let close = early_refusal
            || framing == Framing::UntilClose
            || !respond::may_keep(self.course, exchange, served);
        let mut out = worker.buffers.usual();
        let persistence = respond::persistence(exchange, close);
        let rules = self.course.rules();
        worker.with_date(|date| {
            forward::write_response_head(out.tail(), exchange, rules, framing, persistence, date);
        });
        let from = exchange.endpoint.unwrap_or(exchange.client.peer);
        let head = exchange.response.head.len;
        let came = &exchange.response.raw()[head..];
        let (taken, broken) = match down.take(came, framing, out.tail()) {
            Ok(taken) => (taken, None),
            Err(e) => (0, Some(Error::from(UpstreamError::Body(from, e)))),
        };
        let extra = taken < came.len();
        let sent = Cell::new(0);
        let relayed = async {
            let (written, out) = client.write_all(out, self.route.write).await;
            worker.buffers.give(out);
            written.map_err(gone)?;
            if let Some(error) = broken {
                return Err(error);
            }
            if down.is_done() {
                return Ok(0);
            }
            let mut input = Buffer::default();
            let bounds = self.response_bounds();
            let end = relay(
                reader,
                &mut input,
                &mut down,
                client,
                framing,
                &bounds,
                &worker.buffers,
                &sent,
            );
            let end = end.await.map_err(|e| response_error(from, e));
            let left = input.len();
            worker.buffers.give(input);
            end.map(|()| left)
        };
        let relayed = alongside(upload.as_mut(), relayed).await;
        exchange.response.sent = down.received();
        match relayed {
            Ok(left) => {
                let clean = !extra && left == 0 && body != Body::UntilClose;
                Relayed { error: None, clean, close }
            }
            Err(error) => {
                if framing == Framing::UntilClose {
                    // An orderly end would say that this was all of it.
                    client.reset_on_close();
                }
                Relayed { error: Some(error), clean: false, close: true }
            }
        }
    }

    fn response_bounds(&self) -> Bounds {
        Bounds {
            read: self.route.idle.unwrap_or(self.upstream.plan.settings.timeouts.idle.0),
            write: self.route.write,
            max: u64::MAX,
            min_rate: 0,
        }
    }

    /// Both sides have agreed to speak something else: from here on bytes are bytes.
    async fn upgrade(
        &self,
        connection: &mut Connection,
        exchange: &mut Exchange,
        mut lease: Lease,
    ) -> Attempted {
        let worker = self.course.worker;
        self.course.chain.on_response(exchange, self.course.passed);
        let mut out = worker.buffers.usual();
        let rules = self.course.rules();
        worker.with_date(|date| {
            let persistence = Persistence::Upgrade;
            let tail = out.tail();
            forward::write_response_head(tail, exchange, rules, Framing::None, persistence, date);
        });
        let mut early_up = worker.buffers.usual();
        early_up.extend(&exchange.request.raw()[exchange.request.taken..]);
        let mut early_down = out;
        early_down.extend(&exchange.response.raw()[exchange.response.head.len..]);
        exchange.request.taken = exchange.request.raw.len();
        let idle = self.route.tunnel;
        let (client, upstream) = (&mut connection.stream, &mut lease.stream);
        let buffers = &worker.buffers;
        let carried = tunnel::run(client, upstream, early_up, early_down, idle, buffers).await;
        exchange.request.received = carried.up;
        exchange.response.sent = carried.down;
        Attempted::Ended(Ended { status: 101, error: None, after: After::Close })
    }
}

/// A request's body goes up as it came, counted or chunked anew.
fn request_framing(body: Body) -> Framing {
    match body {
        Body::Empty | Body::UntilClose => Framing::None,
        Body::Length(n) => Framing::Length(n),
        Body::Chunked => Framing::Chunked,
    }
}

/// How a response's body goes to the client: counted where it can be, else in chunks, else (for
/// HTTP/1.0) until the connection closes.
fn response_framing(exchange: &Exchange, body: Body) -> Framing {
    match body {
        Body::Length(n) => Framing::Length(n),
        Body::Chunked | Body::UntilClose => match exchange.request.head.version {
            Version::Http11 => Framing::Chunked,
            Version::Http10 => Framing::UntilClose,
        },
        Body::Empty => {
            let head = &exchange.response.head;
            // A length without a body tells what GET would have brought (RFC 9110 §8.6), and
            // must not be there for 204.
            let tells = head.status != 204 || exchange.request.head.method == Method::Head;
            match head.content_length {
                Some(n) if tells && head.status != 204 => Framing::Length(n),
                _ => Framing::None,
            }
        }
    }
}

/// What a broken upload means, when it is not the upstream that broke it.
fn upload_error(error: RelayError) -> Option<Error> {
    Some(Error::Client(match error {
        RelayError::Write(_) => return None,
        RelayError::TooLarge => ClientError::BodyTooLarge,
        RelayError::Coding(e) => ClientError::Body(e),
        RelayError::Read(e) if e.kind() == io::ErrorKind::TimedOut => ClientError::BodyTimeout,
        RelayError::Read(e) => ClientError::Gone(e),
    }))
}

fn response_error(from: SocketAddr, error: RelayError) -> Error {
    match error {
        RelayError::Write(e) => gone(e).into(),
        RelayError::Coding(e) => UpstreamError::Body(from, e).into(),
        RelayError::Read(e) if e.kind() == io::ErrorKind::TimedOut => {
            UpstreamError::Stalled(from).into()
        }
        RelayError::Read(_) | RelayError::TooLarge => UpstreamError::Truncated(from).into(),
    }
}

/// Why a client could not be written to.
pub(crate) fn gone(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::TimedOut => ClientError::Stalled,
        _ => ClientError::Gone(error),
    }
}

fn is_closed(error: &Error) -> bool {
    matches!(error, Error::Upstream(UpstreamError::Closed(_)))
}
