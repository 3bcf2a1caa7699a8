//! Sends a copy of a part of the requests to another upstream, whose answers are thrown away.
//!
//! # Settings
//!
//! ```yaml
//! - mirror:
//!     upstream: orders-next        # one of `upstreams`
//!     percent: 10                  # every tenth request, at random
//!     max_body: 64KiB              # a request with a longer body is not mirrored
//!     timeout: 5s
//!     max_in_flight: 128           # copies under way, per core
//!     forward_credentials: false
//! ```
//!
//! `percent` is from 0 to 100 and may have a fraction.
//!
//! What was sent on is mirrored once its exchange is over, so that the copy delays neither the
//! request nor its answer; whether there was an answer, and how often the request was sent, makes
//! no difference. What a filter answered, and a connection that became a tunnel, is not mirrored.
//!
//! The copy has the method, the target and the end-to-end header fields that the upstream of the
//! route saw, as other filters had changed them; `Host` is the one that the client asked for, and
//! the forwarding fields tell of the client. Trailers are left out, and so are `Authorization` and
//! `Cookie` unless `forward_credentials`; `Proxy-Authorization` goes no further than the gateway in
//! any case.
//!
//! `X-Ringway-Mirror`, with the name of the route, marks the copy. A request that comes with this
//! field is never mirrored again, whoever sent it: so copies cannot go round in circles, and a
//! client that forges it only keeps its own request from being mirrored. It proves nothing; do not
//! let it open any door.
//!
//! # Answers
//!
//! None. What goes wrong with a copy is counted and changes nothing for the client.
//!
//! # State
//!
//! Per core: a source of random numbers, and the number of copies under way.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use ringway_config::{Bytes, Period};
use ringway_engine::balance::Rng;
use ringway_engine::call::Call;
use ringway_engine::error::{Error, UpstreamError};
use ringway_engine::exchange::Exchange;
use ringway_engine::filter::{Blueprint, Core, Filter, Measure, SettingsError, Step};
use ringway_engine::message::{FieldName, reads_as};
use ringway_engine::record::Record;
use ringway_engine::shared::{Shared, SharedTotal};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{percent, plan, wrong};

/// Marks a copy.
const MARK: &str = "X-Ringway-Mirror";

/// So much of an answer is read, so that its connection can be used again; a longer one is cut off
/// by closing the connection.
const MAX_ANSWER: usize = 16 * 1024;

/// The longest body that can be kept for a copy.
const MAX_BODY: Bytes = Bytes(16 << 20);

/// Where the copies go, and of how many requests.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The name of the upstream that gets the copies.
    pub upstream: String,
    /// How many of a hundred requests are mirrored, from 0 to 100; drawn for each request.
    pub percent: f64,
    /// The longest body of a request that is mirrored, `0B` to 16MiB. Up to so much of a body is
    /// kept while it goes up.
    pub max_body: Bytes,
    /// How long a copy may take, from connecting to the end of the answer, 100ms to 1m. Noticed up
    /// to two tenths of a second late.
    pub timeout: Period,
    /// How many copies may be under way on each core, 1 to 10000; further ones are dropped.
    pub max_in_flight: u32,
    /// Whether the copy has `Authorization` and `Cookie`.
    pub forward_credentials: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            upstream: String::new(),
            percent: 100.0,
            max_body: Bytes::kib(64),
            timeout: Period::from_secs(5),
            max_in_flight: 128,
            forward_credentials: false,
        }
    }
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        if self.upstream.is_empty() {
            let help = "write `upstream: orders-next`, and define it under `upstreams:`";
            return Err(wrong("upstream", "nobody is named to get the copies", help));
        }
        percent::check("percent", self.percent)?;
        if self.max_body > MAX_BODY {
            let message = format!("{} is too much to keep of each body", self.max_body);
            return Err(wrong("max_body", message, "write a size of at most `16MiB`"));
        }
        if !(Period::from_millis(100)..=Period::from_secs(60)).contains(&self.timeout) {
            let message = format!("{} is no time for a copy", self.timeout);
            return Err(wrong("timeout", message, "write a time from `100ms` to `1m`"));
        }
        if !(1..=10_000).contains(&self.max_in_flight) {
            let message = format!("{} copies under way", self.max_in_flight);
            return Err(wrong("max_in_flight", message, "write a number from 1 to 10000"));
        }
        Ok(plan(Plan { settings: self.clone(), tally: Shared::default() }))
    }
}

/// The settings once they are checked, and what all cores count.
struct Plan {
    settings: Settings,
    tally: Shared<Tally>,
}

/// What became of the requests that were drawn.
#[derive(Default)]
struct Tally {
    sent: SharedTotal,
    failed: SharedTotal,
    is_copy: SharedTotal,
    body_too_large: SharedTotal,
    body_incomplete: SharedTotal,
    in_flight: SharedTotal,
}

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "mirror"
    }

    fn summary(&self) -> String {
        let Settings { upstream, percent, max_body, timeout, .. } = &self.settings;
        let credentials = if self.settings.forward_credentials { ", with credentials" } else { "" };
        format!("{percent}% to {upstream} within {timeout}, bodies up to {max_body}{credentials}")
    }

    fn instance(&self, core: &Rc<dyn Core>) -> Rc<dyn Filter> {
        Rc::new(Mirror {
            settings: self.settings.clone(),
            tally: self.tally.clone(),
            core: core.clone(),
            rng: RefCell::new(Rng::new(RandomState::new().hash_one(0))),
            in_flight: Rc::default(),
        })
    }

    fn upstreams(&self) -> Vec<(&'static str, &str)> {
        vec![("upstream", &self.settings.upstream)]
    }

    fn measures(&self, into: &mut Vec<Measure>) {
        let tally = &*self.tally;
        let mut put = |name, help, total: &SharedTotal, reason: Option<&str>| {
            let labels = reason.map(|reason| ("reason", reason.to_owned())).into_iter().collect();
            let value = total.get() as f64;
            into.push(Measure { name, help, counter: true, labels, value });
        };
        put("mirrored_total", "Requests of which a copy was sent", &tally.sent, None);
        put("mirror_failed_total", "Copies that were not answered", &tally.failed, None);
        for (reason, total) in [
            ("body_incomplete", &tally.body_incomplete),
            ("body_too_large", &tally.body_too_large),
            ("in_flight", &tally.in_flight),
            ("is_copy", &tally.is_copy),
        ] {
            put("mirror_dropped_total", "Requests that were not mirrored", total, Some(reason));
        }
    }
}

/// One core's instance.
struct Mirror {
    settings: Settings,
    tally: Shared<Tally>,
    core: Rc<dyn Core>,
    rng: RefCell<Rng>,
    in_flight: Rc<Cell<u32>>,
}

impl Filter for Mirror {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        if !percent::draws(&mut self.rng.borrow_mut(), self.settings.percent) {
            return Step::NEXT;
        }
        let request = &mut exchange.request;
        if request.head.find(request.raw(), MARK.as_bytes()).is_some() {
            self.tally.is_copy.add_one();
            return Step::NEXT;
        }
        request.keep_body(self.settings.max_body.0);
        exchange.set_note(self, 1);
        Step::NEXT
    }

    fn on_end(&self, record: &Record<'_>) {
        let exchange = record.exchange;
        if exchange.note(self) == 0 || exchange.attempts == 0 || record.status == 101 {
            return;
        }
        let most = self.settings.max_body.0;
        let too_large = || record.bytes_in() > most;
        match exchange.request.kept_body() {
            Some(body) if body.len() as u64 <= most => match Place::take(self) {
                Some(place) => self.send(self.copy(exchange, body), place),
                None => self.tally.in_flight.add_one(),
            },
            None if !too_large() => self.tally.body_incomplete.add_one(),
            _ => self.tally.body_too_large.add_one(),
        }
    }
}

impl Mirror {
    /// Sends the copy beside all exchanges, and waits for its answer only to count it.
    fn send(&self, copy: Call, place: Place) {
        self.tally.sent.add_one();
        let (tally, answer) = (self.tally.clone(), self.core.call(copy));
        self.core.spawn(Box::pin(async move {
            let _place = place;
            match answer.await {
                Ok(_) | Err(Error::Upstream(UpstreamError::TooLarge(_))) => {}
                Err(error) => {
                    tally.failed.add_one();
                    tracing::debug!(filter = "mirror", "{error}");
                }
            }
        }));
    }

    fn copy(&self, exchange: &Exchange, body: &[u8]) -> Call {
        let request = &exchange.request;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Call {
            upstream: self.settings.upstream.clone(),
            method: text(request.method()),
            target: request.target().to_vec(),
            headers: self.headers(exchange),
            host: Some(request.authority().to_vec()).filter(|host| !host.is_empty()),
            body: body.to_vec(),
            timeout: self.settings.timeout.0,
            max_body: MAX_ANSWER,
        }
    }

    /// The header fields of the copy: what arrived, what the gateway tells of the client, what
    /// filters made of both, and the mark.
    fn headers(&self, exchange: &Exchange) -> Vec<(String, Vec<u8>)> {
        let request = &exchange.request;
        let (raw, edits) = (request.raw(), &request.edits);
        let mut headers = Vec::new();
        let mut put = |name: &[u8], value: &[u8]| {
            headers.push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
        };
        for field in request.head.fields.iter().filter(|field| !field.is_hop_by_hop()) {
            let name = field.name.of(raw);
            if edits.keeps(name) && !is_ours(name) && self.may_see(name) {
                put(name, field.value.of(raw));
            }
        }
        let client = exchange.client.address.to_canonical().to_string();
        let scheme: &[u8] = if exchange.is_https() { b"https" } else { b"http" };
        for (name, value) in [
            ("X-Forwarded-For", client.as_bytes()),
            ("X-Forwarded-Proto", scheme),
            ("X-Forwarded-Host", request.authority()),
            ("X-Request-ID", &exchange.request_id),
        ] {
            if !value.is_empty() && edits.keeps(name.as_bytes()) {
                put(name.as_bytes(), value);
            }
        }
        for (name, value) in edits.written() {
            if !name.eq_ignore_ascii_case(MARK.as_bytes()) && self.may_see(name) {
                put(name, value);
            }
        }
        put(MARK.as_bytes(), exchange.route_name.as_bytes());
        headers
    }

    /// Credentials are for the upstream of the route (HTTP_SAFETY rule 26), whether the client
    /// sent them or a filter set them.
    fn may_see(&self, name: &[u8]) -> bool {
        let secret = ["authorization", "proxy-authorization", "cookie"];
        let expects = FieldName::from_bytes(name) == FieldName::Expect;
        !expects
            && (self.settings.forward_credentials
                || !secret.iter().any(|s| reads_as(name, s.as_bytes())))
    }
}

/// True for what the gateway writes anew, and for what programs take for it.
fn is_ours(name: &[u8]) -> bool {
    let forwarded = name.get(..12).is_some_and(|start| reads_as(start, b"x-forwarded-"));
    let names = ["host", "content-length", "forwarded", "via", "x-real-ip", "x-request-id", MARK];
    forwarded || names.iter().any(|ours| reads_as(name, ours.as_bytes()))
}

/// The place of one copy among those under way; free again when dropped.
struct Place(Rc<Cell<u32>>);

impl Place {
    fn take(mirror: &Mirror) -> Option<Self> {
        let under_way = mirror.in_flight.get();
        if under_way >= mirror.settings.max_in_flight {
            return None;
        }
        mirror.in_flight.set(under_way + 1);
        Some(Place(mirror.in_flight.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;

    use ringway_engine::call::Called;
    use ringway_engine::clock;
    use ringway_engine::filter::{Job, Waiting};

    use super::*;
    use crate::tests::{build, refused};

    /// A core that keeps what it is asked to do.
    #[derive(Default)]
    struct Keeping {
        calls: RefCell<Vec<Call>>,
        work: RefCell<Vec<Waiting<()>>>,
    }

    impl Core for Keeping {
        fn id(&self) -> usize {
            0
        }

        fn count(&self) -> usize {
            1
        }

        fn spawn(&self, work: Waiting<()>) {
            self.work.borrow_mut().push(work);
        }

        fn compute(&self, _: Job) -> Waiting<Option<Box<dyn Any + Send>>> {
            panic!("there is nothing to compute")
        }

        fn call(&self, call: Call) -> Waiting<Result<Called, Error>> {
            self.calls.borrow_mut().push(call);
            Box::pin(std::future::pending())
        }
    }

    struct Bench {
        core: Rc<Keeping>,
        plan: Shared<dyn Blueprint>,
        filter: Rc<dyn Filter>,
    }

    fn bench(settings: &str) -> Bench {
        let plan = build(&format!("- mirror: {{upstream: b, {settings}}}")).unwrap();
        let core = Rc::new(Keeping::default());
        let filter = plan.instance(&(core.clone() as Rc<dyn Core>));
        Bench { core, plan, filter }
    }

    impl Bench {
        /// One exchange, of which so many attempts were made.
        fn exchange(&self, fields: &str, attempts: u32, edit: impl FnOnce(&mut Exchange)) {
            let head = format!("GET /a?b HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            let mut exchange = Exchange::with_request(head.as_bytes(), clock::now()).unwrap();
            exchange.route_name.push('r');
            assert!(matches!(self.filter.on_request(&mut exchange), Step::Now(_)));
            edit(&mut exchange);
            exchange.attempts = attempts;
            let (error, ended) = (None, clock::now());
            self.filter.on_end(&Record { exchange: &exchange, status: 200, error, ended });
        }

        fn measure(&self, name: &str, reason: &str) -> f64 {
            let mut measures = Vec::new();
            self.plan.measures(&mut measures);
            let is = |m: &&Measure| {
                m.name == name && m.labels.first().is_none_or(|(_, value)| value == reason)
            };
            measures.iter().find(is).unwrap().value
        }
    }

    fn fields(call: &Call) -> Vec<(&str, &str)> {
        let text = |value| std::str::from_utf8(value).unwrap();
        call.headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect()
    }

    #[test]
    fn the_copy_is_what_was_sent_on_without_credentials() {
        let bench = bench("");
        let sent = "X-A: a\r\nX-B: b\r\nAuthorization: s\r\nCookie: s\r\nX_Forwarded_For: evil\r\n\
                    Connection: X-Hop\r\nX-Hop: h\r\nExpect: 100-continue\r\n";
        bench.exchange(sent, 1, |exchange| {
            exchange.request.edits.set("X-B", b"new").unwrap();
            exchange.request.edits.set("Authorization", b"of the gateway").unwrap();
        });
        let calls = bench.core.calls.borrow();
        let [call] = calls.as_slice() else { panic!("{calls:?}") };
        assert_eq!((call.method.as_str(), call.target.as_slice()), ("GET", &b"/a?b"[..]));
        assert_eq!((call.host.as_deref(), call.body.as_slice()), (Some(&b"h"[..]), &b""[..]));
        let expected = [
            ("X-A", "a"),
            ("X-Forwarded-For", "0.0.0.0"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", "h"),
            ("X-B", "new"),
            ("X-Ringway-Mirror", "r"),
        ];
        assert_eq!(fields(call), expected);
    }

    #[test]
    fn credentials_go_along_when_that_is_asked_for() {
        let bench = bench("forward_credentials: true");
        bench.exchange("Authorization: a\r\nCookie: c\r\n", 1, |_| {});
        let calls = bench.core.calls.borrow();
        assert_eq!(fields(&calls[0])[..2], [("Authorization", "a"), ("Cookie", "c")]);
    }

    #[test]
    fn only_what_was_sent_on_is_mirrored_and_no_copy_twice() {
        let bench = bench("");
        bench.exchange("", 0, |_| {});
        bench.exchange("x-ringway-mirror: r\r\n", 1, |_| {});
        assert!(bench.core.calls.borrow().is_empty());
        assert_eq!(bench.measure("mirror_dropped_total", "is_copy"), 1.0);
        bench.exchange("", 2, |_| {});
        assert_eq!(
            (bench.core.calls.borrow().len(), bench.measure("mirrored_total", "")),
            (1, 1.0)
        );
    }

    #[test]
    fn so_many_are_under_way_and_no_more() {
        let bench = bench("max_in_flight: 2");
        (0..5).for_each(|_| bench.exchange("", 1, |_| {}));
        assert_eq!(bench.core.calls.borrow().len(), 2);
        assert_eq!(bench.measure("mirror_dropped_total", "in_flight"), 3.0);
        bench.core.work.borrow_mut().pop();
        (0..2).for_each(|_| bench.exchange("", 1, |_| {}));
        assert_eq!(bench.core.calls.borrow().len(), 3);
    }

    #[test]
    fn a_share_is_mirrored() {
        let some = bench("percent: 2.5, max_in_flight: 10000");
        (0..20_000).for_each(|_| some.exchange("", 1, |_| {}));
        let count = some.core.calls.borrow().len();
        assert!(count.abs_diff(500) < 150, "{count}");
        let none = bench("percent: 0");
        (0..1_000).for_each(|_| none.exchange("", 1, |_| {}));
        assert!(none.core.calls.borrow().is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        refused("- mirror: {}", "mirror.upstream", "nobody");
        let refuse = |settings: &str, field: &str, part: &str| {
            let filter = format!("- mirror: {{upstream: a, {settings}}}");
            refused(&filter, &format!("mirror.{field}"), part);
        };
        refuse("percent: 101", "percent", "from 0");
        refuse("max_body: 17MiB", "max_body", "16MiB");
        refuse("timeout: 2m", "timeout", "1m");
        refuse("max_in_flight: 0", "max_in_flight", "from 1");
    }

    #[test]
    fn the_summary_is_one_line() {
        let words = build("- mirror: {upstream: b, percent: 10}").unwrap().summary();
        assert_eq!(words, "10% to b within 5s, bodies up to 64KiB");
    }
}
