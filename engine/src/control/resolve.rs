//! Names to addresses, away from the workers: looking a name up can block for seconds.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use ringway_config::Address;

use super::Event;
use crate::clock;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::upstream::Addresses;
use crate::worker::Common;

/// Resolves every target of the snapshot that is not `known`. What cannot be resolved has no
/// address for now and is tried again later.
pub(crate) fn all(snapshot: &Snapshot, known: &Addresses) -> Addresses {
    let mut addresses = HashMap::new();
    for (address, _) in snapshot.targets() {
        if !known.contains_key(address) && !addresses.contains_key(address) {
            let found = look_up(address).unwrap_or_else(|error| {
                tracing::warn!(target = %address, %error, "cannot resolve a target for now");
                Vec::new()
            });
            addresses.insert(address.clone(), found);
        }
    }
    addresses
}

/// A target's addresses, in a fixed order, so that an unchanged answer is seen to be one.
fn look_up(address: &Address) -> io::Result<Vec<SocketAddr>> {
    if let Some(ip) = literal(address) {
        return Ok(vec![SocketAddr::new(ip, address.port)]);
    }
    let mut found: Vec<_> = (address.host.as_str(), address.port).to_socket_addrs()?.collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn literal(address: &Address) -> Option<IpAddr> {
    address.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Names by when each is to be looked up again, and how long to wait after that.
type Names = HashMap<Address, (Duration, Instant)>;

/// How long the thread sleeps when there is no name to look up.
const LONG: Duration = Duration::from_secs(3600);

/// Looks every name up again when its time has come, for as long as somebody listens. A name
/// that cannot be resolved any more keeps its last addresses: a broken resolver must not take
/// working endpoints away. `renewed` is told when there is another snapshot.
pub(crate) fn start(
    common: Shared<Common>,
    renewed: Receiver<()>,
    events: Sender<Event>,
) -> io::Result<()> {
    std::thread::Builder::new().name("ringway-resolve".to_owned()).spawn(move || {
        let mut names = names_of(&common.live.snapshot(), &Names::new());
        loop {
            let now = clock::now();
            let next = names.values().map(|(_, at)| *at).min().unwrap_or(now + LONG);
            match renewed.recv_timeout(next.saturating_duration_since(now)) {
                Ok(()) => names = names_of(&common.live.snapshot(), &names),
                Err(RecvTimeoutError::Timeout) => {
                    let found = refresh(&mut names, &common.addresses.get());
                    if !found.is_empty() && events.send(Event::Resolved(found)).is_err() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    })?;
    Ok(())
}

/// The names of the snapshot's targets; those that it shares with the snapshot before are looked up
/// when they would have been.
fn names_of(snapshot: &Snapshot, before: &Names) -> Names {
    let mut names = Names::new();
    for (address, every) in snapshot.targets().filter(|(address, _)| literal(address).is_none()) {
        let entry = names.entry(address.clone()).or_insert((every, clock::now() + every));
        if every < entry.0 {
            *entry = (every, clock::now() + every);
        }
    }
    for (name, (_, at)) in &mut names {
        *at = before.get(name).map_or(*at, |(_, before)| (*at).min(*before));
    }
    names
}

/// Looks up what is due; the names whose addresses changed.
fn refresh(names: &mut Names, known: &Addresses) -> Addresses {
    let mut changed = Addresses::new();
    for (address, (every, at)) in names.iter_mut().filter(|(_, (_, at))| *at <= clock::now()) {
        match look_up(address) {
            Ok(found) if known.get(address) != Some(&found) => {
                tracing::info!(target = %address, addresses = ?found, "a target has moved");
                changed.insert(address.clone(), found);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(target = %address, %error, "cannot resolve a target"),
        }
        *at = clock::now() + *every;
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn localhost() -> Address {
        Address { host: "localhost".to_owned(), port: 80 }
    }

    #[test]
    fn a_name_that_moved_is_noticed_and_one_that_is_gone_keeps_its_addresses() {
        let gone = Address { host: "no-such-name.invalid".to_owned(), port: 80 };
        let stale = vec![SocketAddr::from(([192, 0, 2, 1], 80))];
        let known = Addresses::from([(localhost(), stale.clone()), (gone.clone(), stale)]);
        let due = (Duration::from_secs(30), clock::now());
        let mut names = HashMap::from([(localhost(), due), (gone.clone(), due)]);
        let changed = refresh(&mut names, &known);
        assert!(changed[&localhost()].iter().all(|address| address.ip().is_loopback()));
        assert_eq!(changed.len(), 1, "{changed:?}");
        assert!(refresh(&mut names, &known).is_empty(), "nothing is due for another 30 s");
        assert!(names.values().all(|(_, at)| *at > clock::now()));
    }

    #[test]
    fn an_address_needs_no_resolver() {
        for host in ["127.0.0.1", "[::1]", "::1"] {
            let address = Address { host: host.to_owned(), port: 80 };
            assert_eq!(look_up(&address).unwrap()[0].port(), 80, "{host}");
            assert!(literal(&address).is_some());
        }
    }
}
