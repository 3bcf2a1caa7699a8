//! Hosts: which groups of routes a request's host opens, the best-ranked first.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The longest host that is looked up; what is longer is no DNS name (RFC 1035 §2.3.4).
const MAX_HOST: usize = 255;

/// What a route says about the host, lowered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum HostMatch {
    /// This host.
    Exact(Box<[u8]>),
    /// Any host below: the text is `.example.com`.
    Below(Box<[u8]>),
    /// Any host, or none.
    Any,
}

/// The order of hosts, the first the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostRank {
    class: u8,
    length: std::cmp::Reverse<usize>,
}

impl HostMatch {
    /// Lowers what is written.
    ///
    /// # Errors
    /// A message, and what to write instead.
    pub(super) fn new(text: &str) -> Result<HostMatch, (String, Option<String>)> {
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        let (below, name) = match name.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, name),
        };
        let help = if text == "*" {
            Some("leave `host` out: the route then takes any host".to_owned())
        } else if without_port(name.as_bytes()).len() < name.len() {
            let (host, _) = name.rsplit_once(':').unwrap_or((name, ""));
            Some(format!("write `{host}`: hosts are matched without their port"))
        } else if name.contains('*') {
            Some(
                "write `*.example.com`: a wildcard stands for whole labels at the front".to_owned(),
            )
        } else if is_name(name) && name.len() <= MAX_HOST {
            return Ok(match below {
                true => HostMatch::Below(format!(".{name}").into_bytes().into()),
                false => HostMatch::Exact(name.as_bytes().into()),
            });
        } else {
            Some("write a name such as `api.example.com`, or `*.example.com`".to_owned())
        };
        Err((format!("`{text}` is no host"), help))
    }

    pub(super) fn rank(&self) -> HostRank {
        let (class, length) = match self {
            HostMatch::Exact(_) => (0, 0),
            HostMatch::Below(suffix) => (1, suffix.len()),
            HostMatch::Any => (2, 0),
        };
        HostRank { class, length: std::cmp::Reverse(length) }
    }
}

fn is_name(name: &str) -> bool {
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        }),
    }
}

/// The group of each host that some route names.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: HashMap<Box<[u8]>, usize, Fold>,
    below: HashMap<Box<[u8]>, usize, Fold>,
    longest_below: usize,
    any: Option<usize>,
}

impl Hosts {
    /// The group of this host; `next` is that of a host which is new.
    pub(super) fn group(&mut self, host: HostMatch, next: usize) -> usize {
        match host {
            HostMatch::Exact(name) => *self.exact.entry(name).or_insert(next),
            HostMatch::Below(suffix) => {
                self.longest_below = self.longest_below.max(suffix.len());
                *self.below.entry(suffix).or_insert(next)
            }
            HostMatch::Any => *self.any.get_or_insert(next),
        }
    }

    /// Calls `visit` with each group that this host opens, the best-ranked first. The host is as
    /// the client sent it: any case, perhaps with a port or a trailing dot.
    pub(super) fn each(&self, host: &[u8], mut visit: impl FnMut(usize)) {
        let host = without_port(host);
        let host = host.strip_suffix(b".").unwrap_or(host);
        let named = !(self.exact.is_empty() && self.below.is_empty());
        if named && !host.is_empty() && host.len() <= MAX_HOST {
            let mut lower = [0; MAX_HOST];
            let lower = &mut lower[..host.len()];
            lower.copy_from_slice(host);
            lower.make_ascii_lowercase();
            self.each_named(lower, &mut visit);
        }
        if let Some(any) = self.any {
            visit(any);
        }
    }

    fn each_named(&self, host: &[u8], visit: &mut impl FnMut(usize)) {
        if let Some(&group) = self.exact.get(host) {
            visit(group);
        }
        // From the longest suffix that any route names; its dot may not be the first byte, because
        // a wildcard stands for at least one label.
        let first = host.len().saturating_sub(self.longest_below).max(1);
        for dot in first..host.len() {
            if host[dot] == b'.'
                && let Some(&group) = self.below.get(&host[dot..])
            {
                visit(group);
            }
        }
    }
}

/// RFC 3986 §3.2.2: an IPv6 address is in brackets, so that the last colon after them is the
/// port's.
fn without_port(host: &[u8]) -> &[u8] {
    let name = match host.first() {
        Some(b'[') => memchr::memchr(b']', host).map_or(0, |at| at + 1),
        _ => 0,
    };
    memchr::memchr(b':', &host[name..]).map_or(host, |at| &host[..name + at])
}

type Fold = BuildHasherDefault<FoldHasher>;

/// A multiplying hash. The keys of the maps come from the file, so that no client can make them
/// collide, and a keyed hash would buy nothing.
#[derive(Default)]
struct FoldHasher(u64);

impl Hasher for FoldHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        // The map takes its bits from both ends, and a product is best in its upper half.
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Hosts {
        let mut hosts = Hosts::default();
        for (next, text) in
            ["example.com", "*.example.com", "*.api.example.com", "[::1]"].iter().enumerate()
        {
            hosts.group(HostMatch::new(text).unwrap(), next);
        }
        hosts.group(HostMatch::Any, 9);
        hosts
    }

    #[track_caller]
    fn check(host: &str, expected: &[usize]) {
        let mut groups = Vec::new();
        hosts().each(host.as_bytes(), |group| groups.push(group));
        assert_eq!(groups, expected, "{host}");
    }

    #[test]
    fn a_host_opens_its_groups_from_the_best() {
        check("example.com", &[0, 9]);
        check("www.example.com", &[1, 9]);
        check("v1.api.example.com", &[2, 1, 9]);
        check("api.example.com", &[1, 9]);
        check("a.b.c.api.example.com", &[2, 1, 9]);
        check("example.org", &[9]);
        check("notexample.com", &[9]);
        check("", &[9]);
    }

    #[test]
    fn case_port_and_trailing_dot_do_not_matter() {
        check("EXAMPLE.com:8080", &[0, 9]);
        check("Example.Com.", &[0, 9]);
        check("example.com.:80", &[0, 9]);
        check("[::1]:8080", &[3, 9]);
        check("[::1]", &[3, 9]);
    }

    #[test]
    fn odd_hosts_fall_through() {
        check(".example.com", &[9]);
        check(":80", &[9]);
        check("[::1", &[9]);
        check(&"a.".repeat(200), &[9]);
        check("..", &[9]);
    }

    #[track_caller]
    fn refused(text: &str, part: &str) {
        let (_, help) = HostMatch::new(text).unwrap_err();
        assert!(help.as_ref().is_some_and(|help| help.contains(part)), "{text}: {help:?}");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        refused("*", "leave `host` out");
        refused("example.com:80", "write `example.com`");
        refused("a.*.com", "*.example.com");
        refused("*example.com", "*.example.com");
        refused("", "a name");
        refused("a..b", "a name");
        refused("http://a", "write");
        refused("a/b", "a name");
    }
}
