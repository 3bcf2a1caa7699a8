//! What a route asks for beyond host and path: methods, header fields, query parameters and client
//! addresses.

use std::net::IpAddr;

use ringway_config::{Cidr, Matching, ValueTest};

use super::query::{Decoded, value_of};
use super::regexes::Test;
use super::{Mismatch, Request, RouteError};

/// A set of methods: one bit each, of [`Methods`].
pub(super) type MethodSet = u64;

/// The methods that the table knows: those of RFC 9110 §9 and RFC 5789, then those that routes
/// name.
#[derive(Debug)]
pub(super) struct Methods(Vec<Box<[u8]>>);

const STANDARD: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];

impl Default for Methods {
    fn default() -> Methods {
        Methods(STANDARD.iter().map(|method| method.as_bytes().into()).collect())
    }
}

impl Methods {
    /// The bit of a method; none if no route can ask for it.
    pub(super) fn bit(&self, method: &[u8]) -> MethodSet {
        match method {
            b"GET" => 1,
            b"POST" => 1 << 2,
            _ => self.0.iter().position(|known| **known == *method).map_or(0, |place| 1 << place),
        }
    }

    fn add(&mut self, method: &str) -> Option<MethodSet> {
        let bit = self.bit(method.as_bytes());
        if bit != 0 {
            return Some(bit);
        }
        if self.0.len() == MethodSet::BITS as usize {
            return None;
        }
        self.0.push(method.as_bytes().into());
        Some(1 << (self.0.len() - 1))
    }

    /// Writes the value of `Allow` (RFC 9110 §10.2.1).
    pub(super) fn write(&self, set: MethodSet, out: &mut Vec<u8>) {
        for (place, method) in self.0.iter().enumerate() {
            if set & (1 << place) != 0 {
                if !out.is_empty() {
                    out.extend_from_slice(b", ");
                }
                out.extend_from_slice(method);
            }
        }
    }
}

/// The conditions of one route.
#[derive(Debug)]
pub(super) struct Conditions {
    /// 0 takes any.
    pub(super) methods: MethodSet,
    headers: Box<[Value]>,
    query: Box<[Value]>,
    clients: Box<[Cidr]>,
}

#[derive(Debug)]
struct Value {
    name: Box<str>,
    written: ValueTest,
    regex: Option<Test>,
}

impl Conditions {
    /// The name of the field that the header test with this index looks at.
    pub(super) fn header_name(&self, at: usize) -> &str {
        &self.headers[at].name
    }

    /// The name of the parameter that the query test with this index looks at.
    pub(super) fn query_name(&self, at: usize) -> &str {
        &self.query[at].name
    }

    /// # Errors
    /// An error of the route with this index: a regular expression that is none, or too many
    /// methods.
    pub(super) fn new(
        route: usize,
        matching: &Matching,
        methods: &mut Methods,
    ) -> Result<Conditions, RouteError> {
        let mut set = 0;
        for (place, method) in matching.methods.iter().enumerate() {
            set |= methods.add(method).ok_or_else(|| RouteError {
                route,
                field: format!("methods[{place}]"),
                message: format!("the routes name more than {} methods", MethodSet::BITS),
                help: None,
            })?;
        }
        let values = |field: &str, values: &[ringway_config::ValueMatch]| {
            values
                .iter()
                .map(|value| {
                    let regex = match &value.test {
                        ValueTest::Regex(text) => Some(Test::new(text)).transpose(),
                        _ => Ok(None),
                    };
                    let regex = regex.map_err(|message| RouteError {
                        route,
                        field: format!("{field}.{}.regex", value.name),
                        message,
                        help: None,
                    })?;
                    let name = value.name.as_str().into();
                    Ok(Value { name, written: value.test.clone(), regex })
                })
                .collect::<Result<Box<[_]>, _>>()
        };
        Ok(Conditions {
            methods: set,
            headers: values("headers", &matching.headers)?,
            query: values("query", &matching.query)?,
            clients: matching.clients.as_slice().into(),
        })
    }

    /// How many there are; all methods are one, and so are all address ranges.
    pub(super) fn count(&self) -> usize {
        usize::from(self.methods != 0)
            + self.headers.len()
            + self.query.len()
            + usize::from(!self.clients.is_empty())
    }

    /// Tests a request. The method comes last, so that [`Mismatch::Method`] says that nothing else
    /// is amiss.
    ///
    /// # Errors
    /// The first condition that does not hold.
    pub(super) fn check(
        &self,
        request: &Request<'_>,
        method: MethodSet,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Mismatch> {
        if !self.clients.is_empty() && !any_contains(&self.clients, request.client) {
            return Err(Mismatch::Client);
        }
        for (place, header) in self.headers.iter().enumerate() {
            let value = (request.header)(&header.name);
            if !header.holds(value.map(|value| value.iter().copied()), scratch) {
                return Err(Mismatch::Header(place));
            }
        }
        for (place, parameter) in self.query.iter().enumerate() {
            let value = find_parameter(request.query, parameter.name.as_bytes());
            if !parameter.holds(value.map(Decoded), scratch) {
                return Err(Mismatch::Query(place));
            }
        }
        if self.methods != 0 && self.methods & method == 0 {
            return Err(Mismatch::Method);
        }
        Ok(())
    }

    /// Whether every request that satisfies `other` surely satisfies these too. May say no where
    /// the truth is yes.
    pub(super) fn cover(&self, other: &Conditions) -> bool {
        let methods =
            self.methods == 0 || (other.methods != 0 && other.methods & !self.methods == 0);
        let clients = self.clients.is_empty()
            || (!other.clients.is_empty()
                && other.clients.iter().all(|theirs| {
                    self.clients
                        .iter()
                        .any(|mine| mine.bits <= theirs.bits && mine.contains(theirs.addr))
                }));
        methods
            && clients
            && self.headers.iter().all(|mine| other.headers.iter().any(|theirs| mine.is(theirs)))
            && self.query.iter().all(|mine| other.query.iter().any(|theirs| mine.is(theirs)))
    }
}

fn any_contains(ranges: &[Cidr], client: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(client))
}

impl Value {
    fn holds(
        &self,
        value: Option<impl Iterator<Item = u8> + Clone>,
        scratch: &mut Vec<u8>,
    ) -> bool {
        let Some(mut value) = value else { return matches!(self.written, ValueTest::Absent) };
        match &self.written {
            ValueTest::Present => true,
            ValueTest::Absent => false,
            ValueTest::Exact(text) => value.eq(text.bytes()),
            ValueTest::Prefix(text) => text.bytes().all(|byte| value.next() == Some(byte)),
            ValueTest::Regex(_) => {
                scratch.clear();
                scratch.extend(value);
                self.regex.as_ref().is_some_and(|regex| regex.is_match(scratch))
            }
        }
    }

    fn is(&self, other: &Value) -> bool {
        self.name == other.name && self.written == other.written
    }
}

/// The raw value of the first parameter of this name; of several the first counts, as with header
/// fields, so that a second one can change nothing (HTTP_SAFETY rule 19).
fn find_parameter<'q>(query: &'q [u8], name: &[u8]) -> Option<&'q [u8]> {
    let mut rest = Some(query);
    while let Some(pairs) = rest {
        let end = memchr::memchr(b'&', pairs).unwrap_or(pairs.len());
        rest = pairs.get(end + 1..);
        if let Some(value) = value_of(&pairs[..end], name) {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use ringway_config::ValueMatch;

    use super::*;

    struct Asked {
        method: &'static str,
        query: &'static str,
        client: &'static str,
        headers: &'static [(&'static str, &'static str)],
    }

    const PLAIN: Asked = Asked { method: "GET", query: "", client: "10.0.0.1", headers: &[] };

    #[track_caller]
    fn check(matching: &Matching, asked: &Asked, expected: Result<(), Mismatch>) {
        let mut methods = Methods::default();
        let conditions = Conditions::new(0, matching, &mut methods).unwrap();
        let header = |name: &str| {
            asked.headers.iter().find(|field| field.0 == name).map(|field| field.1.as_bytes())
        };
        let request = Request {
            host: b"",
            path: b"/",
            query: asked.query.as_bytes(),
            method: asked.method.as_bytes(),
            client: asked.client.parse().unwrap(),
            header: &header,
        };
        let method = methods.bit(request.method);
        assert_eq!(conditions.check(&request, method, &mut Vec::new()), expected);
    }

    fn value(name: &str, test: ValueTest) -> Vec<ValueMatch> {
        vec![ValueMatch { name: name.into(), test }]
    }

    #[test]
    fn methods_may_be_any_token() {
        let matching =
            Matching { methods: ["GET", "PURGE"].map(String::from).into(), ..Matching::default() };
        check(&matching, &PLAIN, Ok(()));
        check(&matching, &Asked { method: "PURGE", ..PLAIN }, Ok(()));
        check(&matching, &Asked { method: "POST", ..PLAIN }, Err(Mismatch::Method));
        check(&matching, &Asked { method: "get", ..PLAIN }, Err(Mismatch::Method));
        check(&matching, &Asked { method: "LINK", ..PLAIN }, Err(Mismatch::Method));
        check(&Matching::default(), &Asked { method: "LINK", ..PLAIN }, Ok(()));
    }

    #[test]
    fn header_fields_are_tested() {
        let canary = Asked { headers: &[("x-env", "canary-2")], ..PLAIN };
        let with = |test| Matching { headers: value("x-env", test), ..Matching::default() };
        check(&with(ValueTest::Present), &canary, Ok(()));
        check(&with(ValueTest::Present), &PLAIN, Err(Mismatch::Header(0)));
        check(&with(ValueTest::Absent), &PLAIN, Ok(()));
        check(&with(ValueTest::Absent), &canary, Err(Mismatch::Header(0)));
        check(&with(ValueTest::Exact("canary-2".into())), &canary, Ok(()));
        check(&with(ValueTest::Exact("canary".into())), &canary, Err(Mismatch::Header(0)));
        check(&with(ValueTest::Prefix("canary".into())), &canary, Ok(()));
        check(&with(ValueTest::Prefix("canary-22".into())), &canary, Err(Mismatch::Header(0)));
        check(&with(ValueTest::Regex(r"canary-\d".into())), &canary, Ok(()));
        check(&with(ValueTest::Regex("canary".into())), &canary, Err(Mismatch::Header(0)));
    }

    #[test]
    fn query_parameters_are_decoded() {
        let with = |test| Matching { query: value("a b", test), ..Matching::default() };
        let exact = with(ValueTest::Exact("x&y".into()));
        let asked = |query| Asked { query, ..PLAIN };
        check(&exact, &asked("a+b=x%26y"), Ok(()));
        check(&exact, &asked("z=1&%61%20b=%78%26y&q"), Ok(()));
        check(&exact, &asked("a+b=no&a+b=x%26y"), Err(Mismatch::Query(0)));
        check(&exact, &asked(""), Err(Mismatch::Query(0)));
        check(&with(ValueTest::Present), &asked("&&a+b"), Ok(()));
        check(&with(ValueTest::Exact(String::new())), &asked("a+b="), Ok(()));
        check(&with(ValueTest::Exact("%zz%".into())), &asked("a+b=%zz%"), Ok(()));
        check(&with(ValueTest::Regex("[xyz&]+".into())), &asked("a+b=x%26y"), Ok(()));
        check(&with(ValueTest::Absent), &asked("b=1"), Ok(()));
    }

    #[test]
    fn clients_are_tested_by_range() {
        let matching = Matching {
            clients: vec![Cidr { addr: "10.0.0.0".parse().unwrap(), bits: 8 }],
            ..Matching::default()
        };
        check(&matching, &PLAIN, Ok(()));
        check(&matching, &Asked { client: "::ffff:10.1.2.3", ..PLAIN }, Ok(()));
        check(&matching, &Asked { client: "11.0.0.1", ..PLAIN }, Err(Mismatch::Client));
    }

    #[test]
    fn the_method_is_blamed_last() {
        let matching = Matching {
            methods: vec!["POST".into()],
            query: value("q", ValueTest::Present),
            ..Matching::default()
        };
        check(&matching, &PLAIN, Err(Mismatch::Query(0)));
        check(&matching, &Asked { query: "q", ..PLAIN }, Err(Mismatch::Method));
    }

    #[test]
    fn allow_lists_methods_once() {
        let mut methods = Methods::default();
        let set = ["PURGE", "POST", "GET"].iter().filter_map(|method| methods.add(method)).sum();
        let mut out = Vec::new();
        methods.write(set, &mut out);
        assert_eq!(out, b"GET, POST, PURGE");
    }

    #[test]
    fn more_than_sixty_four_methods_are_an_error() {
        let matching = Matching {
            methods: (0..60).map(|number| format!("M{number}")).collect(),
            ..Matching::default()
        };
        let error = Conditions::new(3, &matching, &mut Methods::default()).unwrap_err();
        assert_eq!((error.route, error.field.as_str()), (3, "methods[55]"));
    }
}
