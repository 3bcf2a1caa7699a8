//! Gives every request an id, in the header and the form that the rest of the house expects.
//!
//! # Settings
//!
//! ```yaml
//! - request_id:
//!     header: X-Correlation-ID      # default: X-Request-ID
//!     trust: trusted_proxies        # whose id is kept: always (the default), never
//!     format: uuid_v7               # or hex (the default), uuid_v4
//!     echo: true                    # the client is told
//! ```
//!
//! A request has one id: the one in logs, in error bodies, in `${request_id}`, and in the header
//! that the upstream sees. Without this filter `server.request_id` sees to it: a client's
//! `X-Request-ID` is kept if it is short and printable, else 32 hex digits are made. This filter
//! decides anew and its id is the one from then on, so put it first, best in `global_filters`.
//!
//! With another `header` the id goes under that name and no longer as `X-Request-ID`; the
//! `headers` filter can write it under a second one. A client's id of more than 128 bytes, or with
//! anything but visible ASCII in it, is never kept.
//!
//! # Answers
//!
//! None of its own. With `echo` every answer carries the header, in place of the upstream's.
//!
//! # State
//!
//! Per core: a source of random numbers.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use ringway_engine::balance::Rng;
use ringway_engine::clock;
use ringway_engine::exchange::Exchange;
use ringway_engine::filter::{Blueprint, Core, Filter, SettingsError, Step};
use ringway_engine::http1::write::is_token;
use ringway_engine::limits::REQUEST_ID;
use ringway_engine::message::FieldName;
use ringway_engine::shared::Shared;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{plan, remove, set, wrong};

/// The header in which the gateway writes the id by itself.
const USUAL: &str = "X-Request-ID";

/// Where the id stands, whose is kept, and what it looks like.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The header.
    pub header: String,
    /// Whose id is kept.
    pub trust: Trust,
    /// What an id looks like that is made here.
    pub format: Format,
    /// Whether the client is told the id.
    pub echo: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let header = USUAL.to_owned();
        Settings { header, trust: Trust::Always, format: Format::Hex, echo: true }
    }
}

/// Whose id is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Any client's.
    Always,
    /// Nobody's.
    Never,
    /// That of a proxy in `server.trusted_proxies`.
    TrustedProxies,
}

/// What an id looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// 32 hex digits.
    Hex,
    /// A random UUID (RFC 9562 §5.4).
    UuidV4,
    /// A UUID that begins with the time, so that later ones sort behind (RFC 9562 §5.7).
    UuidV7,
}

impl Settings {
    /// Refuses names that are not for this.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        let name = self.header.as_bytes();
        if !is_token(name) {
            let message = format!("`{}` is no name of a header", self.header.escape_debug());
            return Err(wrong("header", message, "write one such as `X-Request-ID`"));
        }
        let known = FieldName::from_bytes(name);
        if !matches!(known, FieldName::Other | FieldName::XRequestId) {
            let message = format!("`{}` means something else", self.header);
            return Err(wrong("header", message, "write one such as `X-Request-ID`"));
        }
        Ok(plan(Plan(self.clone())))
    }
}

/// The settings once they are checked; every core's instance is a copy.
struct Plan(Settings);

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "request_id"
    }

    fn summary(&self) -> String {
        let format = match self.0.format {
            Format::Hex => "hex",
            Format::UuidV4 => "uuid_v4",
            Format::UuidV7 => "uuid_v7",
        };
        let trust = match self.0.trust {
            Trust::Always => "a client's own is kept",
            Trust::Never => "nobody's own is kept",
            Trust::TrustedProxies => "a trusted proxy's is kept",
        };
        format!("{} as {format}; {trust}", self.0.header)
    }

    fn instance(&self, _: &Rc<dyn Core>) -> Rc<dyn Filter> {
        // Two sources, so that a pair of numbers has 128 bits that differ from core to core.
        let source = || Rng::new(RandomState::new().hash_one(0));
        let usual = FieldName::from_bytes(self.0.header.as_bytes()) == FieldName::XRequestId;
        let random = RefCell::new([source(), source()]);
        Rc::new(RequestId { settings: self.0.clone(), usual, random })
    }
}

/// One core's instance.
struct RequestId {
    settings: Settings,
    /// The header is the one that the gateway writes by itself.
    usual: bool,
    random: RefCell<[Rng; 2]>,
}

impl Filter for RequestId {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let Settings { header, trust, format, .. } = &self.settings;
        let Exchange { request, request_id, client, .. } = exchange;
        let trusted = match trust {
            Trust::Always => true,
            Trust::Never => false,
            Trust::TrustedProxies => client.through_trusted_proxy,
        };
        let theirs = request.header(header).filter(|id| {
            trusted && (1..=REQUEST_ID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
        });
        // What the gateway has made is as good as what would be made here.
        let made = !request_id.is_empty()
            && request.field(FieldName::XRequestId) != Some(request_id.as_slice());
        match theirs {
            Some(id) => {
                request_id.clear();
                request_id.extend_from_slice(id);
            }
            None if made && *format == Format::Hex => {}
            None => {
                request_id.clear();
                self.make(request_id);
            }
        }
        if !self.usual {
            set(&mut request.edits, header, request_id);
            remove(&mut request.edits, USUAL);
        }
        Step::NEXT
    }

    fn on_response(&self, exchange: &mut Exchange) {
        if self.settings.echo {
            let edits = &mut exchange.response.edits;
            set(edits, &self.settings.header, &exchange.request_id);
        }
    }
}

impl RequestId {
    fn make(&self, out: &mut Vec<u8>) {
        let [high, low] = &mut *self.random.borrow_mut();
        let random = u128::from(high.next_u64()) << 64 | u128::from(low.next_u64());
        match self.settings.format {
            Format::Hex => append_hex(random, 0, 32, out),
            Format::UuidV4 => append_uuid(random, 4, out),
            Format::UuidV7 => {
                let since = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
                append_uuid(with_time(random, since.as_millis()), 7, out);
            }
        }
    }
}

/// The first 48 of 128 bits are the time (RFC 9562 §5.7).
fn with_time(random: u128, milliseconds: u128) -> u128 {
    milliseconds << 80 | random & (u128::MAX >> 48)
}

/// Appends a UUID of these bits, with its version and variant put in (RFC 9562 §4).
fn append_uuid(bits: u128, version: u128, out: &mut Vec<u8>) {
    let bits = bits & !(0xf << 76) | version << 76;
    let bits = bits & !(0b11 << 62) | 0b10 << 62;
    append_hex(bits, 0, 8, out);
    for (from, to) in [(8, 12), (12, 16), (16, 20), (20, 32)] {
        out.push(b'-');
        append_hex(bits, from, to, out);
    }
}

/// Appends these of the 32 hex digits of a number.
fn append_hex(bits: u128, from: u32, to: u32, out: &mut Vec<u8>) {
    out.extend((from..to).map(|at| b"0123456789abcdef"[(bits >> ((31 - at) * 4)) as usize & 15]));
}

#[cfg(test)]
mod tests {
    use ringway_engine::filter::Verdict;

    use super::*;
    use crate::tests::{build, core, refused};

    /// An exchange whose id was made by the gateway, or is the client's, after the filter.
    fn exchange(filter: &str, lines: &str, trusted: bool) -> Exchange {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut exchange = Exchange::with_request(head.as_bytes(), clock::now()).unwrap();
        let theirs = exchange.request.field(FieldName::XRequestId).map(<[u8]>::to_vec);
        exchange.request_id = theirs.unwrap_or_else(|| b"made".to_vec());
        exchange.client.through_trusted_proxy = trusted;
        let filter = build(filter).unwrap().instance(&core());
        let passed = matches!(filter.on_request(&mut exchange), Step::Now(Verdict::Continue));
        assert!(passed);
        filter.on_response(&mut exchange);
        exchange
    }

    fn id(exchange: &Exchange) -> String {
        String::from_utf8(exchange.request_id.clone()).unwrap()
    }

    #[test]
    fn what_the_gateway_made_is_told_to_the_client() {
        let exchange = exchange("- request_id", "", false);
        assert_eq!(id(&exchange), "made");
        assert_eq!(exchange.response.header("x-request-id"), Some(&b"made"[..]));
        assert!(exchange.request.edits.is_empty(), "the gateway writes it by itself");
    }

    #[test]
    fn a_client_is_trusted_or_not() {
        let sent = "X-Request-ID: theirs\r\n";
        assert_eq!(id(&exchange("- request_id", sent, false)), "theirs");
        assert_eq!(id(&exchange("- request_id: {trust: never}", sent, true)).len(), 32);
        let proxies = "- request_id: {trust: trusted_proxies, echo: false}";
        assert_eq!(id(&exchange(proxies, sent, true)), "theirs");
        let exchange = exchange(proxies, sent, false);
        assert_eq!(id(&exchange).len(), 32);
        assert_eq!(exchange.response.header("x-request-id"), None);
    }

    #[test]
    fn only_short_and_visible_ids_are_kept() {
        let filter = "- request_id: {header: X-Id, format: uuid_v4}";
        let long = format!("X-Id: {}\r\n", "a".repeat(REQUEST_ID + 1));
        for sent in ["X-Id: a b\r\n", "X-Id:\r\n", &long] {
            assert_eq!(id(&exchange(filter, sent, false)).len(), 36, "{sent}");
        }
        let longest = "a".repeat(REQUEST_ID);
        assert_eq!(id(&exchange(filter, &format!("X-Id: {longest}\r\n"), false)), longest);
    }

    #[test]
    fn another_header_takes_the_place_of_the_usual_one() {
        let filter = "- request_id: {header: X-Correlation-ID}";
        let exchange = exchange(filter, "X-Request-ID: a\r\nX-Correlation-ID: b\r\n", false);
        assert_eq!(id(&exchange), "b");
        assert_eq!(exchange.request.header("x-correlation-id"), Some(&b"b"[..]));
        assert_eq!(exchange.request.header("x-request-id"), None);
        assert_eq!(exchange.response.header("x-correlation-id"), Some(&b"b"[..]));
    }

    #[test]
    fn ids_have_the_form_that_is_asked_for() {
        let made = |format: &str| {
            id(&exchange(&format!("- request_id: {{trust: never, format: {format}}}"), "", false))
        };
        let v4 = made("uuid_v4");
        assert_eq!((v4.len(), &v4[14..15]), (36, "4"), "{v4}");
        assert!("89ab".contains(&v4[19..20]) && v4 != made("uuid_v4"), "{v4}");
        let v7 = made("uuid_v7");
        assert_eq!((v7.len(), &v7[14..15]), (36, "7"), "{v7}");
        assert!(v7.as_str() > "0190", "the time begins it: {v7}");
    }

    /// The example of RFC 9562 appendix A.6.
    #[test]
    fn a_uuid_of_known_bits_is_known() {
        let mut out = Vec::new();
        append_uuid(with_time(0x0cc3_18c4_dc0c_0c07_398f, 0x017f_22e2_79b0), 7, &mut out);
        assert_eq!(out, b"017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        refused("- request_id: {header: \"X Id\"}", "request_id.header", "no name");
        refused("- request_id: {header: Host}", "request_id.header", "something else");
        refused("- request_id: {header: Connection}", "request_id.header", "something else");
        refused("- request_id: {header: Set-Cookie}", "request_id.header", "something else");
    }

    #[test]
    fn the_summary_is_one_line() {
        let summary = build("- request_id").unwrap().summary();
        assert_eq!(summary, "X-Request-ID as hex; a client's own is kept");
    }
}
