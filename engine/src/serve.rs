//! The spine: one exchange, from the first byte of its request to its record, top to bottom.
//!
//! ```text
//! receive head → find route → filters in → attempt (repeated while it may be) → record
//!                                             └ send → response head → filters out → relay
//! ```

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use crate::attempt::{Attempt, Attempted};
use crate::choose::{choose_upstream, hash_key};
use crate::clock;
use crate::course::{Course, Ended};
use crate::deadlines::Serving;
use crate::downstream::{After, Connection};
use crate::error::{ClientError, Error, GatewayError, UpstreamError};
use crate::exchange::{Answer, AnswerBody, Exchange};
use crate::filter::{Chain, Next, Outcome};
use crate::forward;
use crate::http1::{self, Body, Scanner};
use crate::limits::{ATTEMPTS, REQUEST_ID};
use crate::message::FieldName;
use crate::metrics::Active;
use crate::record::Record;
use crate::respond;
use crate::snapshot::{Action, Destination, Route, Rules};
use crate::target::{find_route, render_location, retarget};
use crate::template::Template;
use crate::until::Until;
use crate::upload::Upload;
use crate::upstream::{Lease, Upstream};
use crate::worker::Worker;

/// Serves the request that begins in `exchange.request.raw`, and leaves there what belongs to
/// the next one.
pub(crate) async fn serve(
    worker: &Worker,
    connection: &mut Connection,
    exchange: &mut Exchange,
) -> After {
    let _active = Active::new(&worker.shard);
    let adopted = worker.adopted();
    let rules = &adopted.snapshot.rules;
    let mut chain = &adopted.global;
    let ended = match receive_head(worker, rules, connection, exchange).await {
        Err(error) => {
            // Nothing of a broken head is to be believed, not even an id in it.
            exchange.request.head.clear();
            identify(worker, rules, exchange);
            let course = Course { worker, adopted: &adopted, chain, passed: 0 };
            respond::error(&course, connection, exchange, Body::Empty, error).await
        }
        Ok(body) => {
            forward::find_client(exchange, rules);
            identify(worker, rules, exchange);
            let found = find_route(&adopted.snapshot, exchange);
            if let Some(at) = exchange.route {
                chain = adopted.chain(at);
            }
            let routed =
                found.and_then(|at| retarget(&adopted.snapshot, at, exchange).map(|()| at));
            let (passed, answer) = chain.on_request(exchange).await;
            let course = Course { worker, adopted: &adopted, chain, passed };
            match (answer, routed) {
                (Ok(Some(answer)), _) => {
                    respond::own(&course, connection, exchange, body, &answer).await
                }
                (Ok(None), Ok(at)) => {
                    // Pinned where it is made: `await` alone would copy its two kilobytes there.
                    pin!(act(&course, at, connection, exchange, body)).await
                }
                (Err(e), _) | (Ok(None), Err(e)) => {
                    respond::error(&course, connection, exchange, body, e).await
                }
            }
        }
    };
    finish(worker, chain, exchange, ended)
}

/// Does what the route says.
async fn act(
    course: &Course<'_>,
    at: usize,
    connection: &mut Connection,
    exchange: &mut Exchange,
    body: Body,
) -> Ended {
    let route = &course.adopted.snapshot.routes[at];
    let result = match &route.action {
        Action::Respond(answer) => {
            return respond::own(course, connection, exchange, body, answer).await;
        }
        Action::Redirect { to, status } => match redirect(exchange, to, *status) {
            Ok(answer) => {
                return respond::own(course, connection, exchange, body, &answer).await;
            }
            Err(error) => Err(error),
        },
        Action::Forward(to) => forward_to(course, route, to, connection, exchange, body).await,
    };
    match result {
        Ok(ended) => ended,
        Err(error) => respond::error(course, connection, exchange, body, error).await,
    }
}

/// Counts and records what happened, and makes room for the next request.
fn finish(worker: &Worker, chain: &Chain, exchange: &mut Exchange, mut ended: Ended) -> After {
    let now = clock::now();
    if ended.error.is_some() && worker.drained_at.get().is_some_and(|end| end <= now) {
        // It was cut off, and neither the client nor the upstream is to blame.
        ended.error = Some(GatewayError::Drained.into());
    }
    let error = ended.error.as_ref();
    let answered = exchange.times.answered.unwrap_or(now);
    let record = Record { exchange, status: ended.status, error, ended: answered };
    worker.shard.ended(error, record.bytes_in(), record.bytes_out());
    if error.is_some() {
        let now = worker.deadlines.coarse();
        worker.failures.failed(&worker.common.errors, worker.id, &record, now);
    }
    chain.on_end(&record);
    worker.buffers.give(exchange.request.kept.take().unwrap_or_default());
    exchange.release();
    exchange.request.raw.consume(exchange.request.taken);
    ended.after
}

/// Reads until the head is whole, and understands it. The deadline is for all of it together, so
/// that a client that sends a byte now and then gets no further (HTTP_SAFETY rule 23).
async fn receive_head(
    worker: &Worker,
    rules: &Rules,
    connection: &mut Connection,
    exchange: &mut Exchange,
) -> Result<Body, Error> {
    let request = &mut exchange.request;
    let mut scanner = Scanner::default();
    let mut reader = connection.stream.reader();
    let mut waits = false;
    let len = loop {
        let bytes = request.raw.filled();
        let read = http1::read_request(bytes, &mut scanner, &mut request.head, &rules.head);
        match read.map_err(ClientError::Head)? {
            Some(len) => break len,
            None if !waits => {
                waits = true;
                reader.within(rules.header_timeout);
            }
            None => {}
        }
        let mut raw = worker.buffers.widen(std::mem::take(&mut request.raw));
        let read;
        (read, raw) = reader.read(raw).await;
        request.raw = raw;
        match read {
            Ok(1..) => {}
            Ok(0) => return Err(ClientError::Gone(std::io::ErrorKind::UnexpectedEof.into()).into()),
            Err(e) if e.kind() == std::io::ErrorKind::TimedOut => {
                return Err(ClientError::HeadTimeout.into());
            }
            Err(e) => return Err(ClientError::Gone(e).into()),
        }
    };
    reader.any_time();
    request.taken = len;
    let bytes = &request.raw.filled()[..len];
    Ok(http1::request_body(&request.head, bytes).map_err(ClientError::Head)?)
}

/// Keeps the client's X-Request-ID when it is short and printable, or makes one of 32 hex digits
/// unless the file says not to.
fn identify(worker: &Worker, rules: &Rules, exchange: &mut Exchange) {
    let id = &mut exchange.request_id;
    match exchange.request.head.field(exchange.request.raw.filled(), FieldName::XRequestId) {
        Some(theirs)
            if (1..=REQUEST_ID).contains(&theirs.len())
                && theirs.iter().all(u8::is_ascii_graphic) =>
        {
            id.extend_from_slice(theirs);
        }
        _ if !rules.request_id => {}
        _ => {
            for half in [worker.random(), worker.random()] {
                http1::write::long_hex(id, half);
            }
        }
    }
}

/// Sends the request on, with its body: as it comes, or as it has been kept for another attempt.
async fn forward_to(
    course: &Course<'_>,
    route: &Route,
    to: &Destination,
    connection: &mut Connection,
    exchange: &mut Exchange,
    body: Body,
) -> Result<Ended, Error> {
    let most = match body {
        Body::Length(length) if length > exchange.request.keep => 0,
        _ => exchange.request.keep,
    };
    let mut up = Upload::new(body, most);
    let ended = try_all(course, route, to, connection, exchange, &mut up, body).await;
    let (request, buffers) = (&mut exchange.request, &course.worker.buffers);
    let with_head = request.raw.filled().get(request.head.len..request.taken).unwrap_or_default();
    request.kept = up.payload(body, (!request.body_begun).then_some(with_head), buffers);
    up.give_back(buffers);
    ended
}

/// Chooses an upstream, then makes attempts until one of them is answered or no further one may be
/// made.
async fn try_all(
    course: &Course<'_>,
    route: &Route,
    to: &Destination,
    connection: &mut Connection,
    exchange: &mut Exchange,
    up: &mut Upload,
    body: Body,
) -> Result<Ended, Error> {
    let max_body = exchange.request.most_body(route.max_body);
    if matches!(body, Body::Length(n) if n > max_body) {
        return Err(ClientError::BodyTooLarge.into());
    }
    let snapshot = &course.adopted.snapshot;
    let mut at = choose_upstream(snapshot, to, exchange, || course.worker.random())?;
    let mut fresh = false;
    for _ in 0..ATTEMPTS {
        if exchange.deadline.is_some_and(|deadline| deadline <= clock::now()) {
            return Err(GatewayError::Timeout.into());
        }
        let upstream = &**course.adopted.upstream(at);
        exchange.upstream.clear();
        exchange.upstream.push_str(&upstream.plan.name);
        let attempted = match course.chain.on_attempt(exchange) {
            Some(answer) => Attempted::Denied(answer),
            None => {
                let what = Try { route, upstream, body, fresh };
                attempt(course, what, connection, exchange, up).await
            }
        };
        fresh = false;
        if !matches!(attempted, Attempted::Ended(_)) {
            exchange.times.attempt_ends(clock::now());
        }
        let mut outcome = Ok(());
        let next = match attempted {
            Attempted::Ended(ended) => return Ok(ended),
            Attempted::Stale => {
                fresh = true;
                continue;
            }
            Attempted::PassedOver => continue,
            Attempted::Unwanted(next) => next,
            Attempted::Denied(answer) => {
                let decision = course.chain.on_outcome(exchange, &Outcome::Denied(answer.status));
                match decision.next(exchange.request.repeatable) {
                    Next::Accept => Next::Answer(answer),
                    next => next,
                }
            }
            Attempted::Failed { error, repeatable } => {
                exchange.request.repeatable = repeatable;
                let decision = course.chain.on_outcome(exchange, &Outcome::Failed(&error));
                outcome = Err(error);
                decision.next(repeatable)
            }
        };
        match next {
            Next::Accept => outcome?,
            Next::RetryAfter(pause) => try_elsewhere(upstream, exchange, pause).await,
            Next::Answer(answer) => {
                // The client may not be told what failed, but the record is.
                let ended = respond::own(course, connection, exchange, body, &answer).await;
                return Ok(Ended { error: ended.error.or(outcome.err()), ..ended });
            }
            Next::Upstream(name) => {
                at = *snapshot.by_name.get(&*name).ok_or(ClientError::NoUpstream)?;
                exchange.tried.clear();
            }
        }
    }
    Err(GatewayError::Attempts.into())
}

/// What is tried.
struct Try<'a> {
    route: &'a Route,
    upstream: &'a Upstream,
    /// How the client frames the body.
    body: Body,
    /// The last attempt found that pooled connections have died.
    fresh: bool,
}

/// Makes one attempt at an endpoint of the upstream.
async fn attempt(
    course: &Course<'_>,
    Try { route, upstream, body, fresh }: Try<'_>,
    connection: &mut Connection,
    exchange: &mut Exchange,
    up: &mut Upload,
) -> Attempted {
    let settings = &upstream.plan.settings;
    let key = hash_key(&settings.balance, exchange);
    let connect = route.connect.unwrap_or(settings.timeouts.connect.0);
    let deadlines = &course.worker.deadlines;
    let repeatable = exchange.request.repeatable;
    let Some(endpoint) = upstream.pick(key, &exchange.tried, deadlines.coarse()) else {
        return Attempted::Failed { error: UpstreamError::NoEndpoint.into(), repeatable };
    };
    let from = endpoint.address;
    exchange.endpoint = Some(from);
    exchange.attempts += 1;
    exchange.times.attempt_begins(clock::now());
    let until = Until::of(exchange);
    let lease = match Lease::pooled(&endpoint, &settings.pool, fresh, deadlines.coarse()) {
        Some(lease) => Ok(lease),
        None => {
            // An attempt without the time to connect has sent nothing, and is no worse than others.
            let time = exchange.try_timeout.map_or(connect, |own| own.min(connect));
            let connecting = Lease::connect(endpoint.clone(), time, deadlines);
            match Until::of_exchange(exchange) {
                None => connecting.await,
                Some(until) => match clock::within(until.left(), connecting).await {
                    Some(lease) => lease,
                    None => {
                        let error = until.error(from);
                        endpoint.met(&error);
                        return Attempted::Failed { error, repeatable };
                    }
                },
            }
        }
    };
    match lease {
        Ok(lease) => {
            let shard = &course.worker.shard;
            if lease.reused { &shard.reuses } else { &shard.connects }.add(1);
            // Ended with its upstream, an exchange never looks whole to its client.
            lease.stream.watch().serves(
                exchange
                    .route
                    .map(|at| Serving { adopted: course.adopted.number, route: at as u32 }),
            );
            if !lease.reused {
                exchange.times.connected(clock::now());
            }
            let served = connection.served;
            let (answered, repeatable) = (Cell::new(false), Cell::new(repeatable));
            let (until, time) = (Cell::new(until), exchange.try_timeout);
            let max_body = exchange.request.most_body(route.max_body);
            let endpoint = lease.endpoint.clone();
            let attempt = Attempt {
                course,
                route,
                upstream,
                body,
                max_body,
                endpoint,
                from,
                served,
                until,
                time,
                answered,
                repeatable,
            };
            attempt.make(connection, exchange, up, lease).await
        }
        Err(error) if upstream.has_other(&exchange.tried, from) => {
            // Passed over at once: nothing was sent, so another endpoint can have it.
            let now = deadlines.coarse();
            course.worker.failures.passed_over(&upstream.plan.name, &error, now);
            exchange.tried.push(from);
            Attempted::PassedOver
        }
        Err(error) => Attempted::Failed { error, repeatable },
    }
}

/// Pauses, and remembers not to try the last endpoint again while there is another.
async fn try_elsewhere(upstream: &Upstream, exchange: &mut Exchange, pause: Duration) {
    match exchange.endpoint {
        Some(address) if upstream.has_other(&exchange.tried, address) => {
            exchange.tried.push(address);
        }
        _ => exchange.tried.clear(),
    }
    let left = exchange.deadline.map(|end| end.saturating_duration_since(clock::now()));
    let pause = left.map_or(pause, |left| pause.min(left));
    if !pause.is_zero() {
        clock::sleep(pause).await;
    }
}

fn redirect(exchange: &Exchange, to: &Template, status: u16) -> Result<Answer, Error> {
    let location = render_location(exchange, to)?;
    let answer = Answer { status, headers: Vec::new(), body: AnswerBody::Empty };
    Ok(answer.with_header("Location", location))
}
