//! Which upstream a request goes to, and by what a consistent hash knows it.

use std::net::IpAddr;

use ringway_config::{Balance, HashKey};

use crate::balance::key_of;
use crate::error::{ClientError, Error};
use crate::exchange::Exchange;
use crate::snapshot::{Arm, Destination, Snapshot};
use crate::target::render;

/// The upstream to send to, by its place in the snapshot.
pub(crate) fn choose_upstream(
    snapshot: &Snapshot,
    to: &Destination,
    exchange: &Exchange,
    random: impl FnOnce() -> u64,
) -> Result<usize, Error> {
    match to {
        Destination::Upstream(at) => Ok(*at),
        Destination::Split(arms) => {
            let arm = claiming_arm(arms, exchange).or_else(|| arm_by_weight(arms, random()));
            Ok(arm.unwrap_or(&arms[0]).upstream)
        }
        Destination::Named(template) => {
            let mut name = Vec::new();
            render(exchange, template, &mut name)?;
            let name = std::str::from_utf8(&name).map_err(|_| ClientError::NoUpstream)?;
            let at = snapshot.by_name.get(name).copied();
            at.ok_or_else(|| ClientError::NoUpstream.into())
        }
    }
}

/// The first arm whose header or cookie the request has.
pub(crate) fn claiming_arm<'a>(arms: &'a [Arm], exchange: &Exchange) -> Option<&'a Arm> {
    let request = &exchange.request;
    arms.iter().find(|arm| {
        let by_header = arm
            .header
            .as_ref()
            .is_some_and(|(name, value)| request.values(name).any(|v| v == value.as_bytes()));
        by_header
            || arm.cookie.as_ref().is_some_and(|(name, value)| {
                cookie(exchange, name.as_bytes()).is_some_and(|v| v == value.as_bytes())
            })
    })
}

/// One arm by weight; `None` if no arm has any.
fn arm_by_weight(arms: &[Arm], random: u64) -> Option<&Arm> {
    let total: u64 = arms.iter().map(|arm| u64::from(arm.weight)).sum();
    let mut left = random.checked_rem(total)?;
    arms.iter().find(|arm| match left.checked_sub(u64::from(arm.weight)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    })
}

/// The value of a cookie (RFC 6265 §5.4).
fn cookie<'e>(exchange: &'e Exchange, name: &[u8]) -> Option<&'e [u8]> {
    let request = &exchange.request;
    let cookies = request.head.all(request.raw(), b"cookie");
    cookies.flat_map(|line| line.split(|&b| b == b';')).find_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = pair.iter().position(|&b| b == b'=')?;
        (&pair[..equals] == name).then(|| &pair[equals + 1..])
    })
}

/// What a consistent hash goes by, the same on every core; `None` for other policies and for
/// requests that lack it.
pub(crate) fn hash_key(balance: &Balance, exchange: &Exchange) -> Option<u64> {
    let Balance::ConsistentHash { by, .. } = balance else { return None };
    Some(match by {
        HashKey::ClientIp => match exchange.client.address {
            IpAddr::V4(ip) => key_of(&ip.octets()),
            IpAddr::V6(ip) => key_of(&ip.octets()),
        },
        HashKey::Header(name) => key_of(exchange.request.header(name)?),
        HashKey::Cookie(name) => key_of(cookie(exchange, name.as_bytes())?),
        HashKey::Path => key_of(&exchange.request.path),
    })
}
