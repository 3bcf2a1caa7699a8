//! Addresses: a host and port of an endpoint, and ranges of client addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

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

fn mask_v4(addr: Ipv4Addr, bits: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(addr.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0))
}

fn mask_v6(addr: Ipv6Addr, bits: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(addr.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0))
}
