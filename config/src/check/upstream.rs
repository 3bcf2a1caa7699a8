//! An upstream: endpoints, weights, balance and pool.

use super::value::{check_cookie_name, check_field_name};
use crate::findings::Findings;
use crate::units::Period;
use crate::upstream::{Balance, HashKey, Target, Upstream};

/// The largest weight: sums of many stay far from overflow.
pub(super) const MAX_WEIGHT: u32 = 1_000_000;

/// The most idle connections of a pool: there are no more ports on one address.
const MAX_IDLE: u32 = 65_536;

/// The largest `bounded_load`; beyond it the bound bounds nothing.
const MAX_LOAD: f64 = 100.0;

/// The shortest time between two resolutions of a name, so that no resolver is flooded.
const MIN_RESOLVE: Period = Period::from_secs(1);

pub(super) fn check(upstream: &Upstream, path: &str, findings: &mut Findings<'_>) {
    check_targets(&upstream.targets, path, findings);
    super::health::check(&upstream.health, &upstream.targets, path, findings);
    if let Balance::ConsistentHash { by, bounded_load } = &upstream.balance {
        let path = format!("{path}.balance.consistent_hash");
        match by {
            HashKey::Header(name) => {
                check_field_name(name, &format!("{path}.by.header"), findings);
            }
            HashKey::Cookie(name) => {
                check_cookie_name(name, &format!("{path}.by.cookie"), findings)
            }
            HashKey::ClientIp | HashKey::Path => {}
        }
        if !(1.0..=MAX_LOAD).contains(bounded_load) {
            findings.error(
                format!("{path}.bounded_load"),
                format!("a load of `{bounded_load}` times the average is out of bounds"),
                format!("write a number from 1 to {MAX_LOAD}, such as `1.25`"),
            );
        }
    }
    if upstream.pool.max_idle > MAX_IDLE {
        findings.error(
            format!("{path}.pool.max_idle"),
            format!("`{}` idle connections are out of bounds", upstream.pool.max_idle),
            format!("write a number from 0 to {MAX_IDLE}"),
        );
    }
    super::check_period(upstream.pool.idle_timeout, format!("{path}.pool.idle_timeout"), findings);
    super::check_period(upstream.pool.max_age, format!("{path}.pool.max_age"), findings);
    if upstream.resolve_every < MIN_RESOLVE {
        findings.error(
            format!("{path}.resolve_every"),
            format!("resolving names every `{}` is too often", upstream.resolve_every),
            format!("write at least `{MIN_RESOLVE}`"),
        );
    }
}

fn check_targets(targets: &[Target], path: &str, findings: &mut Findings<'_>) {
    if targets.is_empty() {
        findings.error(
            format!("{path}.targets"),
            "no targets",
            "add at least one: `- addr: http://127.0.0.1:8081`",
        );
    } else if targets.iter().all(|target| target.weight == 0) {
        findings.error(
            format!("{path}.targets"),
            "every target has the weight 0, so that none is picked",
            "give at least one a weight of 1 or more",
        );
    }
    for (index, target) in targets.iter().enumerate() {
        check_weight(target.weight, format!("{path}.targets[{index}].weight"), findings);
        if let Some(first) = targets[..index].iter().position(|other| other.addr == target.addr) {
            findings.error(
                format!("{path}.targets[{index}].addr"),
                format!("targets[{first}] has the same address"),
                "keep one, and raise its weight if it is to have more requests",
            );
        }
    }
}

pub(super) fn check_weight(weight: u32, path: String, findings: &mut Findings<'_>) {
    if weight > MAX_WEIGHT {
        findings.error(
            path,
            format!("a weight of `{weight}` is out of bounds"),
            format!("write a number from 0 to {MAX_WEIGHT}: only the proportions count"),
        );
    }
}
