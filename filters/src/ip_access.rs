//! Lets clients pass or not by their address.
//!
//! # Settings
//!
//! ```yaml
//! - ip_access:
//!     allow: [10.0.0.0/8, "2001:db8::/32"]   # nobody else
//!     deny: [10.6.6.0/24]                    # and of those, not these
//! ```
//!
//! Whoever is in `deny` may not pass, whatever `allow` says. When there is an `allow`, whoever is
//! not in it may not pass either.
//!
//! The address is the client's: behind proxies that `server.trusted_proxies` names, the one that
//! they vouch for. An IPv4 address that comes as a mapped IPv6 one is compared as IPv4.
//!
//! # Answers
//!
//! 403 with the message `address not allowed`.
//!
//! # State
//!
//! Shared: a counter for each core.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use ringway_config::Cidr;
use ringway_engine::exchange::{Answer, Exchange};
use ringway_engine::filter::{Blueprint, Core, Filter, Measure, SettingsError, Step};
use ringway_engine::guard::{Asks, Guard, Kind, Term};
use ringway_engine::shared::{Shared, SharedCount, SharedShards};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{plan, wrong};

/// Who may pass. At least one of the two.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address ranges that may pass, and nobody else. When left out, all that are not denied.
    #[schemars(with = "Vec<Cidr>")]
    pub allow: Option<Vec<Cidr>>,
    /// Address ranges that may not pass, also where `allow` has them.
    pub deny: Vec<Cidr>,
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        match &self.allow {
            None if self.deny.is_empty() => {
                let help = "write `allow: [10.0.0.0/8]` or `deny: [192.0.2.1]`";
                Err(wrong("", "nobody is allowed or denied", help))
            }
            Some(allow) if allow.is_empty() => {
                let help = "leave it out, or write who may pass";
                Err(wrong("allow", "an empty list lets nobody pass", help))
            }
            _ => Ok(plan(Plan(Shared::new(Lists {
                allow: self.allow.as_deref().map(Ranges::new),
                deny: Ranges::new(&self.deny),
                summary: self.summary(),
                guard: self.guard(),
                denied: SharedShards::default(),
            })))),
        }
    }

    fn summary(&self) -> String {
        let count = |what, list: &[Cidr]| match list {
            [] => None,
            [one] => Some(format!("{what} {one}")),
            _ => Some(format!("{what} {} ranges", list.len())),
        };
        let allow = count("allow", self.allow.as_deref().unwrap_or_default());
        let parts = [allow, count("deny", &self.deny)];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn guard(&self) -> Guard {
        let term = |field, asks, list: &[Cidr]| {
            Term::words(field, asks, list.iter().map(Cidr::to_string)).of_kind(Kind::Range)
        };
        let allow = self.allow.as_deref().unwrap_or_default();
        let terms = vec![term("allow", Asks::One, allow), term("deny", Asks::Each, &self.deny)];
        Guard { terms, ways: Vec::new() }
    }
}

/// Addresses in ranges that do not touch, in order: a look-up takes a few steps however many there
/// are. The families are apart, since `::/0` does not mean IPv4.
struct Ranges {
    v4: Vec<(IpAddr, IpAddr)>,
    v6: Vec<(IpAddr, IpAddr)>,
}

impl Ranges {
    fn new(list: &[Cidr]) -> Ranges {
        let mut all: Vec<_> = list.iter().map(|range| (range.addr, last(range))).collect();
        all.sort_unstable();
        let mut ranges = Ranges { v4: Vec::new(), v6: Vec::new() };
        for (first, last) in all {
            let family = if first.is_ipv4() { &mut ranges.v4 } else { &mut ranges.v6 };
            match family.last_mut() {
                Some(before) if first <= before.1 => before.1 = before.1.max(last),
                _ => family.push((first, last)),
            }
        }
        ranges
    }

    fn contains(&self, address: IpAddr) -> bool {
        let family = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let behind = family.partition_point(|range| range.0 <= address);
        behind > 0 && address <= family[behind - 1].1
    }
}

/// The last address of a range.
fn last(range: &Cidr) -> IpAddr {
    let bits = u32::from(range.bits);
    // A shift by all the bits there are is not one, and leaves nothing.
    match range.addr {
        IpAddr::V4(v4) => {
            Ipv4Addr::from_bits(v4.to_bits() | u32::MAX.checked_shr(bits).unwrap_or(0)).into()
        }
        IpAddr::V6(v6) => {
            Ipv6Addr::from_bits(v6.to_bits() | u128::MAX.checked_shr(bits).unwrap_or(0)).into()
        }
    }
}

/// The lists made ready, and what was counted.
struct Lists {
    allow: Option<Ranges>,
    deny: Ranges,
    summary: String,
    guard: Guard,
    denied: SharedShards<SharedCount>,
}

impl Lists {
    fn lets_pass(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let allowed = self.allow.as_ref().is_none_or(|allow| allow.contains(address));
        allowed && !self.deny.contains(address)
    }
}

/// The blueprint: the lists, which instances share with it.
struct Plan(Shared<Lists>);

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "ip_access"
    }

    fn summary(&self) -> String {
        self.0.summary.clone()
    }

    fn instance(&self, core: &Rc<dyn Core>) -> Rc<dyn Filter> {
        Rc::new(IpAccess { lists: self.0.clone(), denied: self.0.denied.of(core.id()) })
    }

    fn guard(&self) -> Option<Guard> {
        Some(self.0.guard.clone())
    }

    fn measures(&self, into: &mut Vec<Measure>) {
        into.push(Measure {
            name: "ip_access_denied_total",
            help: "Requests refused because of the client's address",
            counter: true,
            labels: Vec::new(),
            value: self.0.denied.sum(|count| count) as f64,
        });
    }
}

/// One core's instance.
struct IpAccess {
    lists: Shared<Lists>,
    denied: Shared<SharedCount>,
}

impl Filter for IpAccess {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        if self.lists.lets_pass(exchange.client.address) {
            return Step::NEXT;
        }
        self.denied.add(1);
        Step::answer(Answer::message(403, "address not allowed"))
    }
}

#[cfg(test)]
mod tests {
    use ringway_engine::clock;
    use ringway_engine::filter::Verdict;

    use super::*;
    use crate::tests::{build, core, read, refused};

    #[track_caller]
    fn check(settings: &str, passes: &[&str], not: &[&str]) {
        let built = build(&format!("- ip_access: {settings}")).unwrap();
        let filter = built.instance(&core());
        let status = |address: &&str| {
            let mut exchange = Exchange::new(clock::now());
            exchange.client.address = address.parse().unwrap();
            match filter.on_request(&mut exchange) {
                Step::Now(Verdict::Answer(answer)) => answer.status,
                _ => 0,
            }
        };
        assert!(passes.iter().all(|address| status(address) == 0), "{settings}");
        assert!(not.iter().all(|address| status(address) == 403), "{settings}");
        let mut measures = Vec::new();
        built.measures(&mut measures);
        assert_eq!(measures[0].value, not.len() as f64);
    }

    #[test]
    fn who_is_allowed_passes_and_nobody_else() {
        check(
            "{allow: [10.0.0.0/8, 192.0.2.7, \"2001:db8::/32\"]}",
            &["10.0.0.0", "10.255.255.255", "192.0.2.7", "::ffff:10.1.1.1", "2001:db8:1::1"],
            &["9.255.255.255", "11.0.0.0", "192.0.2.8", "2001:db9::", "::1", "::a00:1"],
        );
    }

    #[test]
    fn who_is_denied_does_not_pass_and_everybody_else_does() {
        check(
            "{deny: [10.0.0.0/8, \"::/127\"]}",
            &["9.9.9.9", "::2", "2001:db8::1"],
            &["10.0.0.1", "::ffff:10.0.0.1", "::1", "::"],
        );
    }

    #[test]
    fn deny_wins() {
        check("{allow: [10.6.6.6], deny: [10.0.0.0/8]}", &[], &["10.6.6.6", "10.1.1.1", "9.9.9.9"]);
        check("{allow: [10.0.0.0/8], deny: [10.6.6.0/24]}", &["10.6.5.1"], &["10.6.6.1"]);
    }

    #[test]
    fn all_of_a_family_is_a_range() {
        check("{allow: [0.0.0.0/0]}", &["0.0.0.0", "255.255.255.255"], &["::1", "ff::"]);
        check("{deny: [\"::/0\", 1.1.1.1]}", &["2.2.2.2"], &["1.1.1.1", "::1", "ffff::"]);
    }

    #[test]
    fn ranges_that_overlap_are_one() {
        let list = ["10.0.0.0/8", "10.1.0.0/16", "10.0.0.1", "11.0.0.0/8", "12.0.0.0/7"];
        let list: Vec<Cidr> = list.iter().map(|range| range.parse().unwrap()).collect();
        assert_eq!(Ranges::new(&list).v4.len(), 3);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        refused("- ip_access: {}", "ip_access", "nobody");
        refused("- ip_access: {allow: []}", "ip_access.allow", "nobody pass");
        assert!(read("- ip_access: {alow: [::1]}").unwrap_err().contains("allow"));
        assert!(read("- ip_access: {deny: [10.0.0.1/8]}").unwrap_err().contains("10.0.0.0/8"));
    }
}
