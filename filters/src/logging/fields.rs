//! The fields of a record, by their names, and how the value of each is found.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringway_engine::error::Error;
use ringway_engine::http1::write::{decimal, digits};
use ringway_engine::message::{FieldName, Version};
use ringway_engine::trace::Trace;

use super::line::Line;

macro_rules! fields {
    ($($Field:ident $name:literal,)*) => {
        /// A field of the record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Field { $($Field,)* }

        /// Every field and its name, in the order in which JSON has them.
        pub(super) const FIELDS: &[(Field, &str)] = &[$((Field::$Field, $name),)*];

        /// What stands before the value of each in JSON, behind the field before it.
        pub(super) const KEYS: &[&str] = &[$(concat!(",\"", $name, "\":"),)*];
    };
}

fields! {
    Time "time",
    Method "method",
    Host "host",
    Path "path",
    Query "query",
    Protocol "protocol",
    Route "route",
    Status "status",
    Duration "duration_ms",
    Connect "connect_ms",
    FirstByte "first_byte_ms",
    LastByte "last_byte_ms",
    UpstreamTime "upstream_ms",
    BytesIn "bytes_in",
    BytesOut "bytes_out",
    Client "client",
    Peer "peer",
    Upstream "upstream",
    Endpoint "endpoint",
    Attempts "attempts",
    RequestId "request_id",
    TraceId "trace_id",
    UserAgent "user_agent",
    Referer "referer",
    Consumer "consumer",
    Error "error",
    ErrorPhase "error_phase",
    ErrorText "error_text",
    // Only for templates: the time and the target as web servers write them.
    TimeLocal "time_local",
    Target "target",
}

/// How many of [`FIELDS`] JSON has.
pub(super) const IN_JSON: usize = FIELDS.len() - 2;

/// A value on its way into a line.
pub(super) enum Value<'a> {
    Absent,
    /// One word: a name, an id.
    Word(&'a [u8]),
    /// Anything, blanks included.
    Text(&'a [u8]),
    Query(&'a [u8]),
    /// A path and a query.
    Target(&'a [u8], &'a [u8]),
    /// A link, or any header that may be one or hold one.
    Link(&'a [u8]),
    Count(u64),
    /// Written in milliseconds.
    Length(Duration),
    Moment(SystemTime),
    LocalMoment(SystemTime),
    Address(IpAddr),
    Socket(SocketAddr),
    Trace(Trace),
    Error(&'a Error),
}

impl<'a> Line<'a> {
    /// The value of a field.
    pub(super) fn value(&self, field: Field) -> Value<'a> {
        let record = self.record;
        let (exchange, request) = (record.exchange, &record.exchange.request);
        let forwarded = exchange.attempts > 0;
        let error = record.error;
        let refused = exchange.answered_by.filter(|_| record.status >= 400 && error.is_none());
        match field {
            Field::Time => Value::Moment(self.began),
            Field::TimeLocal => Value::LocalMoment(self.began),
            Field::Method => word(request.method()),
            Field::Host => word(request.authority()),
            Field::Path => word(self.path()),
            Field::Query => match request.arrived_query() {
                [] => Value::Absent,
                query => Value::Query(query),
            },
            Field::Target if self.path().is_empty() => Value::Absent,
            Field::Target => Value::Target(self.path(), request.arrived_query()),
            Field::Protocol if request.method().is_empty() => Value::Absent,
            Field::Protocol => Value::Word(match request.head.version {
                Version::Http10 => b"HTTP/1.0",
                Version::Http11 => b"HTTP/1.1",
            }),
            Field::Route => word(exchange.route_name.as_bytes()),
            Field::Status => Value::Count(record.status.into()),
            Field::Duration => Value::Length(record.duration()),
            Field::Connect if forwarded => Value::Length(exchange.times.connect),
            Field::UpstreamTime if forwarded => Value::Length(record.upstream()),
            Field::Connect | Field::UpstreamTime => Value::Absent,
            Field::FirstByte => record.first_byte().map_or(Value::Absent, Value::Length),
            Field::LastByte => record.last_byte().map_or(Value::Absent, Value::Length),
            Field::BytesIn => Value::Count(record.bytes_in()),
            Field::BytesOut => Value::Count(record.bytes_out()),
            Field::Client => Value::Address(exchange.client.address),
            Field::Peer => Value::Socket(exchange.client.peer),
            Field::Upstream => word(exchange.upstream.as_bytes()),
            Field::Endpoint => exchange.endpoint.map_or(Value::Absent, Value::Socket),
            Field::Attempts => Value::Count(exchange.attempts.into()),
            Field::RequestId => word(&exchange.request_id),
            Field::TraceId => self.trace().map_or(Value::Absent, Value::Trace),
            Field::UserAgent => {
                let agent = self.header(FieldName::UserAgent);
                agent.map_or(Value::Absent, Value::Text)
            }
            Field::Referer => self.header(FieldName::Referer).map_or(Value::Absent, Value::Link),
            Field::Consumer => {
                let who = exchange.identity.as_ref();
                who.map_or(Value::Absent, |who| word(who.consumer.as_bytes()))
            }
            Field::Error => {
                let code = error.map(|error| error.reply().code).or(refused);
                code.map_or(Value::Absent, |code| Value::Word(code.as_bytes()))
            }
            Field::ErrorPhase => {
                let phase = error.map(Error::phase).or(refused.map(|_| "filter"));
                phase.map_or(Value::Absent, |phase| Value::Word(phase.as_bytes()))
            }
            Field::ErrorText => error.map_or(Value::Absent, Value::Error),
        }
    }

    /// The path as it was routed; as it was sent, where it is none.
    fn path(&self) -> &'a [u8] {
        let request = &self.record.exchange.request;
        if !request.path.is_empty() || request.method().is_empty() {
            return &request.path;
        }
        let sent = request.head.path_and_query(request.raw());
        sent.split(|&byte| byte == b'?').next().unwrap_or_default()
    }

    /// What a filter has read or made, or what the client says.
    fn trace(&self) -> Option<Trace> {
        let exchange = self.record.exchange;
        let request = &exchange.request;
        let theirs = || request.head.find(request.raw(), b"traceparent").and_then(Trace::parse);
        exchange.trace.or_else(theirs)
    }

    fn header(&self, name: FieldName) -> Option<&'a [u8]> {
        self.record.exchange.request.field(name)
    }
}

fn word(text: &[u8]) -> Value<'_> {
    if text.is_empty() { Value::Absent } else { Value::Word(text) }
}

/// Appends milliseconds with three places.
pub(super) fn millis(out: &mut Vec<u8>, length: Duration) {
    // A millisecond count beyond 64 bits is one of half a billion years.
    decimal(out, u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
    out.push(b'.');
    digits::<3>(out, length.subsec_micros());
}

/// A moment in UTC.
struct Utc {
    year: u32,
    month: u32,
    day: u32,
    second_of_day: u32,
    millis: u32,
}

impl Utc {
    fn of(moment: SystemTime) -> Utc {
        let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs();
        // Civil date from days, with years that begin in March, so that a leap day is the last day
        // of its year, and eras of 400 years, which all have the same number of days.
        let days = (seconds / 86_400) as i64 + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Utc {
            year: (year_of_era + era * 400 + i64::from(month <= 2)) as u32,
            month: month as u32,
            day: (of_year - (153 * from_march + 2) / 5 + 1) as u32,
            second_of_day: (seconds % 86_400) as u32,
            millis: since.subsec_millis(),
        }
    }

    /// Appends hours, minutes and seconds.
    fn clock(&self, out: &mut Vec<u8>) {
        let second = self.second_of_day;
        digits::<2>(out, second / 3600);
        out.push(b':');
        digits::<2>(out, second / 60 % 60);
        out.push(b':');
        digits::<2>(out, second % 60);
    }
}

/// Appends a moment as RFC 3339 has it, with milliseconds, in UTC.
pub(super) fn rfc3339(out: &mut Vec<u8>, moment: SystemTime) {
    let utc = Utc::of(moment);
    digits::<4>(out, utc.year);
    out.push(b'-');
    digits::<2>(out, utc.month);
    out.push(b'-');
    digits::<2>(out, utc.day);
    out.push(b'T');
    utc.clock(out);
    out.push(b'.');
    digits::<3>(out, utc.millis);
    out.push(b'Z');
}

/// Appends a moment as the combined format of web servers has it.
pub(super) fn combined(out: &mut Vec<u8>, moment: SystemTime) {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let utc = Utc::of(moment);
    digits::<2>(out, utc.day);
    out.push(b'/');
    out.extend_from_slice(MONTHS[(utc.month as usize - 1) % 12].as_bytes());
    out.push(b'/');
    digits::<4>(out, utc.year);
    out.push(b':');
    utc.clock(out);
    out.extend_from_slice(b" +0000");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_what_the_calendar_says() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (951_868_800, "2000-03-01T00:00:00.007Z"),
            (1_709_251_199, "2024-02-29T23:59:59.007Z"),
            (1_795_471_037, "2026-11-23T21:57:17.007Z"),
            (4_102_444_800, "2100-01-01T00:00:00.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            let mut out = Vec::new();
            rfc3339(&mut out, UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(7));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        combined(&mut out, UNIX_EPOCH + Duration::from_secs(1_795_471_037));
        assert_eq!(out, b"23/Nov/2026:21:57:17 +0000");
    }

    #[test]
    fn a_length_has_three_places() {
        let lengths = [(0, "0.000"), (7, "0.007"), (1_500, "1.500"), (61_000_250, "61000.250")];
        for (micros, expected) in lengths {
            let mut out = Vec::new();
            millis(&mut out, Duration::from_micros(micros));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
