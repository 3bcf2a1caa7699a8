//! The spine: one exchange, from the first byte of its request to its record, top to bottom.
//!
//! ```text
//! receive head → find route → filters in → attempt (repeated while it may be) → record
//!                                             └ send → response head → filters out → relay
//! ```

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ringway_config::{Balance, HashKey};

use crate::attempt::{Attempt, Attempted};
use crate::balance::key_of;
use crate::clock;
use crate::connection::{After, Connection};
use crate::error::{ClientError, Error, GatewayError, UpstreamError};
use crate::exchange::{Answer, AnswerBody, Exchange};
use crate::filter::{Chain, Next, Outcome};
use crate::forward;
use crate::http1::{self, Body, Scanner};
use crate::limits::{ATTEMPTS, REQUEST_ID};
use crate::message::FieldName;
use crate::record::Record;
use crate::respond;
use crate::route::{self, path::normalise};
use crate::snapshot::{Action, Arm, Destination, Route, Rules, Snapshot};
use crate::template::{Template, TemplateError};
use crate::upstream::{Upstream, checkout};
use crate::worker::{Adopted, Worker};

/// What an exchange is served by: the core, its snapshot, and the filters that take part.
#[derive(Clone, Copy)]
pub(crate) struct Course<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) adopted: &'a Adopted,
    pub(crate) chain: &'a Chain,
    /// How many filters the request has passed; so many shall see the response.
    pub(crate) passed: usize,
}

impl Course<'_> {
    pub(crate) fn rules(&self) -> &Rules {
        &self.adopted.snapshot.rules
    }
}

/// How an exchange ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The status that was sent, 0 for none.
    pub(crate) status: u16,
    /// What went wrong.
    pub(crate) error: Option<Error>,
    /// What becomes of the client's connection.
    pub(crate) after: After,
}

/// Serves the request that begins in `exchange.request.raw`, and leaves there what belongs to
/// the next one.
pub(crate) async fn serve(
    worker: &Worker,
    connection: &mut Connection,
    exchange: &mut Exchange,
) -> After {
    let adopted = worker.adopted();
    let rules = &adopted.snapshot.rules;
    let mut chain = &adopted.global;
    let ended = match receive_head(worker, rules, connection, exchange).await {
        Err(error) => {
            let course = Course { worker, adopted: &adopted, chain, passed: 0 };
            respond::error(&course, connection, exchange, Body::Empty, error).await
        }
        Ok(body) => {
            forward::find_client(exchange, rules);
            identify(worker, rules, exchange);
            let routed = find_route(&adopted.snapshot, exchange);
            if let Ok(at) = routed {
                chain = &adopted.chains[at];
            }
            let (passed, answer) = chain.on_request(exchange).await;
            let course = Course { worker, adopted: &adopted, chain, passed };
            match (answer, routed) {
                (Some(answer), _) => {
                    respond::own(&course, connection, exchange, body, &answer).await
                }
                (None, Err(e)) => respond::error(&course, connection, exchange, body, e).await,
                (None, Ok(at)) => act(&course, at, connection, exchange, body).await,
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
        Action::Redirect { to, status } => match redirect(course, exchange, to, *status) {
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
fn finish(worker: &Worker, chain: &Chain, exchange: &mut Exchange, ended: Ended) -> After {
    worker.shard.requests.add(1);
    if let Some(error) = &ended.error {
        worker.shard.errors.add(1);
        let code = error.reply().code;
        match error {
            Error::Client(_) => tracing::debug!(code, route = exchange.route_name, "{error}"),
            _ => tracing::warn!(code, route = exchange.route_name, "{error}"),
        }
    }
    let error = ended.error.as_ref();
    let record = Record { exchange, status: ended.status, error, ended: clock::now() };
    chain.on_end(&record);
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
        match scanner.scan(request.raw.filled(), &rules.head).map_err(ClientError::Head)? {
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
    http1::parse_request(bytes, &mut request.head, &rules.head).map_err(ClientError::Head)?;
    Ok(http1::request_body(&request.head, bytes).map_err(ClientError::Head)?)
}

/// Keeps the client's X-Request-ID when it is short and printable, or makes one of 32 hex digits.
fn identify(worker: &Worker, rules: &Rules, exchange: &mut Exchange) {
    if !rules.request_id {
        return;
    }
    let id = &mut exchange.request_id;
    match exchange.request.head.field(exchange.request.raw.filled(), FieldName::XRequestId) {
        Some(theirs)
            if (1..=REQUEST_ID).contains(&theirs.len())
                && theirs.iter().all(u8::is_ascii_graphic) =>
        {
            id.extend_from_slice(theirs);
        }
        _ => {
            for half in [worker.random(), worker.random()] {
                id.extend(
                    (0..16).rev().map(|n| b"0123456789abcdef"[(half >> (n * 4)) as usize & 15]),
                );
            }
        }
    }
}

/// Normalises the path once and finds the route by it; what is sent on is made of the same bytes
/// (HTTP_SAFETY rule 20).
fn find_route(snapshot: &Snapshot, exchange: &mut Exchange) -> Result<usize, Error> {
    let request = &mut exchange.request;
    let raw = request.raw.filled();
    let target = request.head.path_and_query(raw);
    let normal = normalise(target, &snapshot.rules.path, &mut request.target);
    let normal = normal.map_err(ClientError::Path)?;
    let (path, query) = normal.split(target, &request.target);
    request.path.extend_from_slice(path);
    request.query.extend_from_slice(query.unwrap_or_default());
    let header = |name: &str| request.head.find(raw, name.as_bytes());
    let asked = route::Request {
        host: request.head.authority.of(raw),
        path: &request.path,
        query: &request.query,
        method: request.head.method_text.of(raw),
        client: exchange.client.address,
        header: &header,
    };
    match snapshot.table.find(&asked, &mut exchange.found) {
        route::Outcome::Route(at) => {
            exchange.route = Some(at);
            exchange.route_name.push_str(&snapshot.routes[at].name);
            Ok(at)
        }
        route::Outcome::NotFound => Err(ClientError::NoRoute.into()),
        route::Outcome::MethodNotAllowed => Err(ClientError::Method.into()),
    }
}

/// Sends the request on: chooses an upstream, then makes attempts until one of them is answered
/// or no further one may be made.
async fn forward_to(
    course: &Course<'_>,
    route: &Route,
    to: &Destination,
    connection: &mut Connection,
    exchange: &mut Exchange,
    body: Body,
) -> Result<Ended, Error> {
    if matches!(body, Body::Length(n) if n > route.max_body) {
        return Err(ClientError::BodyTooLarge.into());
    }
    retarget(course, route, exchange)?;
    let upstream = &*course.adopted.upstreams[choose_upstream(course, to, exchange)?];
    let settings = &upstream.plan.settings;
    let key = hash_key(&settings.balance, exchange);
    let connect = route.connect.unwrap_or(settings.timeouts.connect.0);
    let deadlines = &course.worker.deadlines;
    let mut fresh = false;
    for _ in 0..ATTEMPTS {
        if let Some(answer) = course.chain.on_attempt(exchange) {
            return Ok(respond::own(course, connection, exchange, body, &answer).await);
        }
        let endpoint = upstream.pick(key, &exchange.tried, deadlines.coarse());
        let endpoint = endpoint.ok_or(UpstreamError::NoEndpoint)?;
        let address = endpoint.address;
        exchange.endpoint = Some(address);
        exchange.attempts += 1;
        let checked_out = checkout(endpoint, &settings.pool, connect, fresh, deadlines).await;
        fresh = false;
        let attempted = match checked_out {
            Ok(lease) => {
                let shard = &course.worker.shard;
                if lease.reused { &shard.reuses } else { &shard.connects }.add(1);
                let attempt = Attempt { course, route, upstream, body };
                attempt.make(connection, exchange, lease).await
            }
            Err(error) if upstream.has_other(&exchange.tried, address) => {
                // Passed over at once: nothing was sent, so another endpoint can have it.
                tracing::warn!(upstream = upstream.plan.name, "{error}");
                exchange.tried.push(address);
                continue;
            }
            Err(error) => Attempted::Failed { error, repeatable: true },
        };
        match attempted {
            Attempted::Ended(ended) => return Ok(ended),
            Attempted::Stale => fresh = true,
            Attempted::Again(pause) => try_elsewhere(upstream, exchange, address, pause).await,
            Attempted::Failed { error, repeatable } => {
                match course.chain.on_outcome(exchange, &Outcome::Failed(&error)) {
                    Next::RetryAfter(pause) if repeatable => {
                        try_elsewhere(upstream, exchange, address, pause).await;
                    }
                    Next::RetryAfter(_) | Next::Accept => return Err(error),
                }
            }
        }
    }
    Err(GatewayError::Attempts.into())
}

/// Pauses, and remembers not to try `address` again while there is another.
async fn try_elsewhere(
    upstream: &Upstream,
    exchange: &mut Exchange,
    address: SocketAddr,
    pause: Duration,
) {
    if upstream.has_other(&exchange.tried, address) {
        exchange.tried.push(address);
    } else {
        exchange.tried.clear();
    }
    if !pause.is_zero() {
        clock::sleep(pause).await;
    }
}

/// Makes the target that the upstream shall see: prefix left out, path rewritten, query kept. The
/// result is checked again (HTTP_SAFETY rule 20).
fn retarget(course: &Course<'_>, route: &Route, exchange: &mut Exchange) -> Result<(), Error> {
    let snapshot = &course.adopted.snapshot;
    let mut target = std::mem::take(&mut exchange.request.target);
    target.clear();
    match (&route.path, exchange.route) {
        (Some(template), _) => render(course, exchange, template, &mut target)?,
        (None, Some(at)) if route.strip => {
            target.extend_from_slice(snapshot.table.strip_prefix(at, &exchange.request.path));
        }
        (None, _) => target.extend_from_slice(&exchange.request.path),
    }
    let request = &mut exchange.request;
    if !request.query.is_empty() {
        target.push(if target.contains(&b'?') { b'&' } else { b'?' });
        target.extend_from_slice(&request.query);
    }
    if route.strip || route.path.is_some() {
        let normal = normalise(&target, &snapshot.rules.path, &mut request.target);
        let normal = normal.map_err(|_| GatewayError::Rewrite("its path is not valid"))?;
        if !normal.unchanged {
            return Ok(());
        }
    }
    request.target = target;
    Ok(())
}

/// Renders a template with the route's parameters and what is known of every request.
fn render(
    course: &Course<'_>,
    exchange: &Exchange,
    template: &Template,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let table = &course.adopted.snapshot.table;
    let request = &exchange.request;
    let vars = |name: &str| {
        let of_route =
            exchange.route.and_then(|at| table.parameter(at, &exchange.found, &request.path, name));
        of_route.or(match name {
            "host" => Some(request.authority()),
            "path" => Some(&request.path),
            "query" => Some(&request.query),
            "request_id" => Some(&exchange.request_id),
            _ => None,
        })
    };
    template.render(&vars, out).map_err(|e| {
        Error::from(GatewayError::Rewrite(match e {
            TemplateError::Missing(_) => "a variable of its template has no value",
            _ => "a value of its template holds control characters",
        }))
    })
}

fn redirect(
    course: &Course<'_>,
    exchange: &Exchange,
    to: &Template,
    status: u16,
) -> Result<Answer, Error> {
    let mut location = Vec::new();
    render(course, exchange, to, &mut location)?;
    let location = String::from_utf8(location)
        .map_err(|_| GatewayError::Rewrite("the place to redirect to is not UTF-8"))?;
    let answer = Answer { status, headers: Vec::new(), body: AnswerBody::Empty };
    Ok(answer.with_header("Location", location))
}

/// The upstream to send to, by its place in the snapshot.
fn choose_upstream(
    course: &Course<'_>,
    to: &Destination,
    exchange: &Exchange,
) -> Result<usize, Error> {
    match to {
        Destination::Upstream(at) => Ok(*at),
        Destination::Split(arms) => Ok(choose_arm(course.worker, arms, exchange)),
        Destination::Named(template) => {
            let mut name = Vec::new();
            render(course, exchange, template, &mut name)?;
            let name = std::str::from_utf8(&name).map_err(|_| ClientError::NoUpstream)?;
            let at = course.adopted.snapshot.by_name.get(name).copied();
            at.ok_or_else(|| ClientError::NoUpstream.into())
        }
    }
}

/// The first arm whose header or cookie the request has, or one by weight of those that ask for
/// neither.
fn choose_arm(worker: &Worker, arms: &[Arm], exchange: &Exchange) -> usize {
    let request = &exchange.request;
    let asked_for = |arm: &&Arm| {
        let by_header = arm.header.as_ref().is_some_and(|(name, value)| {
            request.head.all(request.raw(), name.as_bytes()).any(|v| v == value.as_bytes())
        });
        by_header
            || arm.cookie.as_ref().is_some_and(|(name, value)| {
                cookie(exchange, name.as_bytes()).is_some_and(|v| v == value.as_bytes())
            })
    };
    if let Some(arm) = arms.iter().find(asked_for) {
        return arm.upstream;
    }
    let total: u64 = arms.iter().map(|arm| u64::from(arm.weight)).sum();
    let mut left = worker.random() % total.max(1);
    for arm in arms {
        match left.checked_sub(u64::from(arm.weight)) {
            Some(rest) => left = rest,
            None => return arm.upstream,
        }
    }
    arms[0].upstream
}

/// The value of a cookie (RFC 6265 §5.4).
fn cookie<'e>(exchange: &'e Exchange, name: &[u8]) -> Option<&'e [u8]> {
    let request = &exchange.request;
    let cookies = request.head.all(request.raw(), b"cookie");
    cookies.flat_map(|line| line.split(|&b| b == b';')).find_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = pair.iter().position(|&b| b == b'=')?;
        (&pair[..equals] == name).then(|| &pair[equals + 1..])
    })
}

/// What a consistent hash goes by, the same on every core; `None` for other policies and for
/// requests that lack it.
fn hash_key(balance: &Balance, exchange: &Exchange) -> Option<u64> {
    let Balance::ConsistentHash { by, .. } = balance else { return None };
    Some(match by {
        HashKey::ClientIp => match exchange.client.address {
            IpAddr::V4(ip) => key_of(&ip.octets()),
            IpAddr::V6(ip) => key_of(&ip.octets()),
        },
        HashKey::Header(name) => key_of(exchange.request.header(name)?),
        HashKey::Cookie(name) => key_of(cookie(exchange, name.as_bytes())?),
        HashKey::Path => key_of(&exchange.request.path),
    })
}
