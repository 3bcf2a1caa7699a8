//! Addresses: a host and port of an endpoint, and ranges of client addresses.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::units::{UnitError, describe_as_text, read_as_text};

/// Where an endpoint listens: a name or an IP address, and a port.
///
/// Written `http://host:port`, `http://host` (port 80) or `host:port`; an IPv6 address is put in
/// brackets. A name is resolved by the control thread, never by a worker.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    /// A DNS name, or an IP address without brackets.
    pub host: String,
    /// The TCP port, 1 to 65535.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(out, "[{}]:{}", self.host, self.port),
            false => write!(out, "{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for Address {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Address, UnitError> {
        let wrong = |help: &str| UnitError::new(format!("`{text}` is not an address"), help);
        let (rest, default) = match text.split_once("://") {
            None => (text, None),
            Some(("http", rest)) => (rest, Some(80)),
            Some(("https", rest)) => {
                return Err(UnitError::new(
                    format!("`{text}` asks for TLS, which Ringway does not speak to upstreams yet"),
                    format!("write `http://{rest}`, or put a TLS proxy before the upstream"),
                ));
            }
            Some(_) => return Err(wrong("write `http://host:port` or `host:port`")),
        };
        let rest = rest.strip_suffix('/').filter(|_| default.is_some()).unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(wrong("leave the path out: `rewrite: {path: …}` of the route changes it"));
        }
        if rest.contains('@') {
            return Err(wrong("leave user and password out: write `host:port`"));
        }
        let (host, port) = split_port(rest);
        let port = match (port, default) {
            (Some(port), _) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| wrong("write a port from 1 to 65535"))?,
            (None, Some(port)) => port,
            (None, None) => return Err(wrong("add the port: `host:port`")),
        };
        match host_name(host) {
            Some(host) => Ok(Address { host, port }),
            None => Err(wrong(
                "write `host:port`; the host is a name, an IPv4 address, or `[IPv6 address]`",
            )),
        }
    }
}

/// Takes the port off an authority. A colon within brackets belongs to an IPv6 address.
pub(crate) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// A DNS name or an IP address in lower case and without brackets, if it is one. Underscores are
/// taken, because container runtimes make such names.
pub(crate) fn host_name(host: &str) -> Option<String> {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(|addr| addr.to_string());
    }
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    // What ends in a number is an IPv4 address or nothing (RFC 1123 §2.1).
    let numeric = name.rsplit('.').next()?.bytes().all(|byte| byte.is_ascii_digit());
    let known = name.len() <= 253
        && name.split('.').all(label)
        && (!numeric || name.parse::<Ipv4Addr>().is_ok());
    known.then(|| name.to_ascii_lowercase())
}

/// A range of IP addresses in CIDR notation: `10.0.0.0/8`, `2001:db8::/32`, or one address alone.
///
/// An IPv4 address that arrives as a mapped IPv6 address (`::ffff:10.0.0.1`, RFC 4291 §2.5.5.2) is
/// compared as IPv4, so that a range means the same on a dual-stack listener.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cidr {
    /// The first address of the range: its host bits are zero.
    pub addr: IpAddr,
    /// How many leading bits are fixed: 0 to 32, or 0 to 128 for IPv6.
    pub bits: u8,
}

impl Cidr {
    /// Whether the address lies in the range.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.addr, addr.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(addr)) => mask_v4(addr, self.bits) == net,
            (IpAddr::V6(net), IpAddr::V6(addr)) => mask_v6(addr, self.bits) == net,
            _ => false,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.addr, self.bits)
    }
}

impl FromStr for Cidr {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Cidr, UnitError> {
        let wrong = || {
            UnitError::new(
                format!("`{text}` is not a range of addresses"),
                "write CIDR notation, such as `10.0.0.0/8` or `2001:db8::/32`, or one address",
            )
        };
        let (addr, bits) = match text.split_once('/') {
            Some((addr, bits)) => (addr, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
        let width = if addr.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        if bits > width {
            return Err(wrong());
        }
        let first = match addr {
            IpAddr::V4(addr) => IpAddr::V4(mask_v4(addr, bits)),
            IpAddr::V6(addr) => IpAddr::V6(mask_v6(addr, bits)),
        };
        if first != addr {
            return Err(UnitError::new(
                format!("`{text}` has bits set beyond its first {bits}"),
                format!("write the range as `{first}/{bits}`, or one address as `{addr}`"),
            ));
        }
        // A mapped range means the IPv4 range in it, as addresses are compared.
        match (first, bits.checked_sub(96)) {
            (IpAddr::V6(net), Some(bits)) => Ok(match net.to_ipv4_mapped() {
                Some(net) => Cidr { addr: IpAddr::V4(net), bits },
                None => Cidr { addr: first, bits: bits + 96 },
            }),
            _ => Ok(Cidr { addr: first, bits }),
        }
    }
}

read_as_text!(Address);
read_as_text!(Cidr);
describe_as_text!(Address, "address", "^(http://)?[^/]+/?$");
describe_as_text!(Cidr, "address range", "^([0-9A-Fa-f.:]+(/[0-9]+)?|\\$\\{.*\\})$");

fn mask_v4(addr: Ipv4Addr, bits: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(addr.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0))
}

fn mask_v6(addr: Ipv6Addr, bits: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(addr.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::{Address, Cidr};

    #[track_caller]
    fn check_address(text: &str, shown: Option<&str>) {
        let read = text.parse::<Address>().ok().map(|address| address.to_string());
        assert_eq!(read.as_deref(), shown, "{text}");
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        check_address("127.0.0.1:8081", Some("127.0.0.1:8081"));
        check_address("http://127.0.0.1:8081", Some("127.0.0.1:8081"));
        check_address("http://Users.internal", Some("users.internal:80"));
        check_address("http://users_v2:8081/", Some("users_v2:8081"));
        check_address("[::1]:8081", Some("[::1]:8081"));
        check_address("http://[2001:db8::1]", Some("[2001:db8::1]:80"));
    }

    #[test]
    fn what_is_more_or_less_than_an_address_is_refused() {
        for text in [
            "",
            "users",
            ":80",
            "users:",
            "users:0",
            "users:65536",
            "::1:80",
            "[::1",
            "1.2.3:80",
            "http://",
            "http://a/b",
            "http://a?b",
            "a/b:80",
            "https://a",
            "ftp://a",
            "u:p@a:80",
            "a b:80",
            "-a:80",
            "a..b:80",
            "[1.2.3.4]:80",
        ] {
            check_address(text, None);
        }
    }

    #[track_caller]
    fn check_range(range: &str, addr: &str, inside: bool) {
        let range: Cidr = range.parse().expect("a range");
        assert_eq!(range.contains(addr.parse().expect("an address")), inside, "{range} {addr}");
    }

    #[test]
    fn a_range_holds_the_addresses_that_begin_like_it() {
        check_range("10.0.0.0/8", "10.255.0.1", true);
        check_range("10.0.0.0/8", "11.0.0.1", false);
        check_range("0.0.0.0/0", "1.2.3.4", true);
        check_range("0.0.0.0/0", "::1", false);
        check_range("127.0.0.1", "127.0.0.1", true);
        check_range("127.0.0.1", "127.0.0.2", false);
        check_range("2001:db8::/32", "2001:db8:1::1", true);
        check_range("2001:db8::/32", "2001:db9::1", false);
        check_range("::/0", "2001:db9::1", true);
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        check_range("10.0.0.0/8", "::ffff:10.1.2.3", true);
        check_range("::ffff:10.0.0.0/104", "10.1.2.3", true);
        check_range("::/0", "::ffff:10.1.2.3", false);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0.1/8", "::/129", "10.0.0/8", "a/8", "10.0.0.0/-1"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
