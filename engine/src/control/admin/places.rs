//! The places for connections to the admin listener, and who has to leave when they are taken.
//!
//! Whoever connects takes a place before anything is known of it, the token included. So that
//! nobody keeps others out by connecting and saying nothing, one that comes when there is no place
//! takes that of the connection that has waited longest without a whole request head.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::task::AbortHandle;

/// Connections at once: people, a scraper and a few scripts.
const CONNECTIONS: usize = 64;

/// Of them, from one address: one machine shall not keep the others out.
const CONNECTIONS_BY_CLIENT: usize = 48;

/// The connections that are open, by their numbers, the oldest first.
#[derive(Default)]
pub(super) struct Open {
    places: RefCell<BTreeMap<u64, Taken>>,
    next: Cell<u64>,
}

/// What is known of a connection that has a place.
struct Taken {
    client: IpAddr,
    /// It has sent a whole request head.
    asked: bool,
    /// What ends it, once it has begun.
    task: Option<AbortHandle>,
}

/// A connection's place; given back when dropped.
pub(super) struct Place {
    open: Rc<Open>,
    /// The number of the connection.
    pub(super) number: u64,
}

impl Open {
    /// The connection of this number is served by this task.
    pub(super) fn begun(&self, number: u64, task: AbortHandle) {
        if let Some(taken) = self.places.borrow_mut().get_mut(&number) {
            taken.task = Some(task);
        }
    }

    /// The oldest connection that has not asked for anything yet, of this client or of all.
    fn silent(&self, client: Option<IpAddr>) -> Option<u64> {
        let places = self.places.borrow();
        let silent =
            |taken: &Taken| !taken.asked && client.is_none_or(|client| client == taken.client);
        places.iter().find(|(_, taken)| silent(taken)).map(|(number, _)| *number)
    }

    /// Takes the place of a connection away and ends it.
    fn evict(&self, number: u64) {
        if let Some(task) = self.places.borrow_mut().remove(&number).and_then(|taken| taken.task) {
            task.abort();
        }
    }
}

impl Place {
    /// A place for a client: a free one, or that of a connection that has not asked for anything;
    /// none when all others have.
    pub(super) fn take(open: &Rc<Open>, client: IpAddr) -> Option<Place> {
        let (all, own) = {
            let places = open.places.borrow();
            (places.len(), places.values().filter(|taken| taken.client == client).count())
        };
        // Who has too many gives up one of its own.
        if own >= CONNECTIONS_BY_CLIENT {
            open.evict(open.silent(Some(client))?);
        } else if all >= CONNECTIONS {
            open.evict(open.silent(None)?);
        }
        let number = open.next.replace(open.next.get() + 1);
        let taken = Taken { client, asked: false, task: None };
        open.places.borrow_mut().insert(number, taken);
        Some(Place { open: open.clone(), number })
    }

    /// A whole request head has come: from now on the place is kept until the connection ends.
    pub(super) fn has_asked(&self) {
        if let Some(taken) = self.open.places.borrow_mut().get_mut(&self.number) {
            taken.asked = true;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // One that was taken away is not there any more.
        self.open.places.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

    fn asked(open: &Rc<Open>, client: IpAddr, most: usize) -> Vec<Place> {
        let taken = (0..most).map_while(|_| Place::take(open, client));
        taken.inspect(Place::has_asked).collect()
    }

    #[test]
    fn no_address_takes_every_place() {
        let open = Rc::<Open>::default();
        let first = asked(&open, A, CONNECTIONS);
        assert_eq!(first.len(), CONNECTIONS_BY_CLIENT);
        let second = asked(&open, B, CONNECTIONS);
        assert_eq!(first.len() + second.len(), CONNECTIONS);
        drop(first);
        assert!(Place::take(&open, A).is_some());
        drop(second);
        assert!(open.places.borrow().is_empty());
    }

    #[test]
    fn who_says_nothing_makes_room() {
        let open = Rc::<Open>::default();
        let mut silent: Vec<_> = (0..200).filter_map(|_| Place::take(&open, A)).collect();
        assert_eq!((silent.len(), open.places.borrow().len()), (200, CONNECTIONS_BY_CLIENT));
        // The oldest have left, and giving back what is gone takes nothing from the others.
        let oldest = 200 - CONNECTIONS_BY_CLIENT as u64;
        assert_eq!(open.silent(None), Some(oldest));
        let newest = silent.split_off(100);
        drop(silent);
        assert_eq!(open.places.borrow().len(), CONNECTIONS_BY_CLIENT);
        drop(newest);
        assert!(open.places.borrow().is_empty());
        let others = asked(&open, B, CONNECTIONS);
        let silent: Vec<_> = (0..100).filter_map(|_| Place::take(&open, A)).collect();
        assert_eq!((others.len(), silent.len()), (CONNECTIONS_BY_CLIENT, 100));
        assert_eq!(open.places.borrow().len(), CONNECTIONS);
        assert!(Place::take(&open, B).is_none(), "its own have all asked");
    }
}
