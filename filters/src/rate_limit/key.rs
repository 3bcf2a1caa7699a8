//! What requests are told apart by.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;

use ringway_engine::exchange::Exchange;
use ringway_engine::http1::write::is_token;

/// Requests with the same value share a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// All of them.
    Global,
    /// The route.
    Route,
    /// The client's address; of IPv6 the first 64 bits, which is what one client is given.
    ClientIp,
    /// The value of a header.
    Header(String),
    /// Who asks.
    Consumer,
    /// What the client's token says.
    Claim(String),
}

impl Key {
    /// Reads one key; what is wrong with it otherwise.
    pub(super) fn parse(text: &str) -> Result<Key, String> {
        match text.split_once(':') {
            None => match text {
                "global" => Ok(Key::Global),
                "route" => Ok(Key::Route),
                "client_ip" => Ok(Key::ClientIp),
                "consumer" => Ok(Key::Consumer),
                "header" | "claim" => Err(format!("`{text}` does not say which one")),
                _ => Err(format!("`{text}` is nothing that requests are told apart by")),
            },
            Some(("header", name)) if is_token(name.as_bytes()) => Ok(Key::Header(name.into())),
            Some(("header", name)) => Err(format!("`{name}` is not the name of a header")),
            Some(("claim", "")) => Err("the name of the claim is missing".to_owned()),
            Some(("claim", name)) => Ok(Key::Claim(name.into())),
            Some((kind, _)) => Err(format!("there is no key of the kind `{kind}:`")),
        }
    }

    /// The word that stands for it in the fields of an answer.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Key::Global => "global",
            Key::Route => "route",
            Key::ClientIp => "client_ip",
            Key::Header(_) => "header",
            Key::Consumer => "consumer",
            Key::Claim(_) => "claim",
        }
    }

    /// True when it can tell only after a filter has found out who asks.
    pub(super) fn needs_identity(&self) -> bool {
        matches!(self, Key::Consumer | Key::Claim(_))
    }

    /// True when no client decides how many values there are.
    pub(super) fn is_of_the_file(&self) -> bool {
        matches!(self, Key::Global | Key::Route)
    }

    /// Puts its value for this request into the hash. What has no value is a value of its own.
    fn put(&self, exchange: &Exchange, scratch: &mut Vec<u8>, hash: &mut impl Hasher) {
        let mut put = |value: Option<&[u8]>| match value {
            None => hash.write_u8(0),
            Some(value) => {
                hash.write_u8(1);
                // With the length in front no two lists of values run together.
                hash.write_usize(value.len());
                hash.write(value);
            }
        };
        match self {
            Key::Global => {}
            Key::Route => put(Some(exchange.route_name.as_bytes())),
            Key::ClientIp => match exchange.client.address.to_canonical() {
                IpAddr::V4(v4) => put(Some(&v4.octets())),
                IpAddr::V6(v6) => put(Some(&v6.octets()[..8])),
            },
            Key::Header(name) => put(exchange.request.header(name)),
            Key::Consumer => {
                let identity = exchange.identity.as_deref();
                put(identity.map(|identity| identity.consumer.as_bytes()));
            }
            Key::Claim(name) => {
                scratch.clear();
                let identity = exchange.identity.as_deref();
                let told = identity.is_some_and(|who| who.append_claim(name, scratch));
                put(told.then_some(scratch.as_slice()));
            }
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Header(name) | Key::Claim(name) => write!(out, "{}:{name}", self.kind()),
            _ => out.write_str(self.kind()),
        }
    }
}

/// The hash by which a request is counted. Its seed is random and known to nobody, so no client
/// can choose to meet another, and nothing of what clients send is kept.
pub(super) fn hash(
    keys: &[Key],
    exchange: &Exchange,
    scratch: &mut Vec<u8>,
    seed: &RandomState,
) -> u64 {
    let mut hash = seed.build_hasher();
    for key in keys {
        key.put(exchange, scratch, &mut hash);
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use ringway_engine::clock;
    use ringway_engine::exchange::Identity;

    use super::*;

    fn request(fields: &str) -> Exchange {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        Exchange::with_request(head.as_bytes(), clock::now()).unwrap()
    }

    /// True when the key does not tell the two apart.
    #[track_caller]
    fn same(keys: &str, one: &Exchange, other: &Exchange) -> bool {
        let keys: Vec<Key> = keys.split(' ').map(|key| Key::parse(key).unwrap()).collect();
        let (mut scratch, seed) = (Vec::new(), RandomState::new());
        hash(&keys, one, &mut scratch, &seed) == hash(&keys, other, &mut scratch, &seed)
    }

    #[test]
    fn a_key_is_read_as_it_is_shown() {
        for text in ["global", "route", "client_ip", "consumer", "header:X-Key", "claim:a:b"] {
            assert_eq!(Key::parse(text).map(|key| key.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "ip", "header", "claim", "header:", "header:a b", "claim:", "cookie:a"] {
            assert!(Key::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn headers_tell_apart_and_lacking_one_is_a_value() {
        let (a, b, none) = (request("X-Key: a\r\n"), request("x-key: b\r\n"), request(""));
        let empty = request("X-Key: \r\n");
        assert!(same("header:X-Key", &a, &request("x-KEY: a\r\nX-Key: b\r\n")));
        assert!(!same("header:X-Key", &a, &b));
        assert!(!same("header:X-Key", &a, &none));
        assert!(!same("header:X-Key", &empty, &none));
        assert!(same("header:X-Key", &none, &request("Y: a\r\n")));
        assert!(same("global", &a, &b));
    }

    #[test]
    fn values_of_a_combination_do_not_run_together() {
        let keys = "header:A header:B";
        assert!(!same(keys, &request("A: ab\r\nB: c\r\n"), &request("A: a\r\nB: bc\r\n")));
        assert!(!same(keys, &request("A: a\r\n"), &request("B: a\r\n")));
        assert!(same(keys, &request("A: a\r\nB: b\r\n"), &request("B: b\r\nA: a\r\n")));
    }

    #[test]
    fn clients_are_told_apart_by_what_one_client_is_given() {
        let from = |address: &str| {
            let mut exchange = request("");
            exchange.client.address = address.parse().unwrap();
            exchange
        };
        let same = |one, other| same("client_ip", &from(one), &from(other));
        assert!(!same("10.0.0.1", "10.0.0.2"));
        assert!(same("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(same("2001:db8::1", "2001:db8::2:0:0:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
    }

    #[test]
    fn consumers_and_claims_tell_apart() {
        let who = |consumer: &str, tenant: u64| {
            let mut exchange = request("");
            let claims = [("tenant".to_owned(), tenant.into())].into_iter().collect();
            exchange.identity = Some(Rc::new(Identity { consumer: consumer.into(), claims }));
            exchange
        };
        assert!(same("consumer", &who("a", 1), &who("a", 2)));
        assert!(!same("consumer", &who("a", 1), &who("b", 1)));
        assert!(!same("consumer", &who("", 1), &request("")));
        assert!(same("claim:tenant", &who("a", 1), &who("b", 1)));
        assert!(!same("claim:tenant", &who("a", 1), &who("a", 2)));
        assert!(same("claim:other", &who("a", 1), &request("")));
    }

    #[test]
    fn routes_tell_apart() {
        let (mut a, mut b) = (request(""), request(""));
        a.route_name.push('a');
        b.route_name.push('b');
        assert!(!same("route", &a, &b));
        assert!(same("client_ip", &a, &b));
    }
}
