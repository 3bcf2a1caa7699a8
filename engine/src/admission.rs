//! The limits on connections, which all workers draw on together.

use std::net::IpAddr;

use crate::shared::{Shared, SharedBudget, SharedCounts};

/// The places that there are for client connections.
pub(crate) struct Places {
    /// Connections of the whole process.
    all: SharedBudget,
    /// Connections by client address.
    by_client: SharedCounts<IpAddr>,
    /// Of which nothing is ever taken: a limit that can be changed.
    max_by_client: SharedBudget,
}

impl Places {
    /// So many places in all, and so many for each client address.
    pub(crate) fn new(max: u64, max_by_client: u64) -> Self {
        Places {
            all: SharedBudget::new(max),
            by_client: SharedCounts::default(),
            max_by_client: SharedBudget::new(max_by_client),
        }
    }

    /// Other limits from now on. Connections that are over them stay; those that came while a
    /// client had no limit are not counted against its new one.
    pub(crate) fn set_limits(&self, max: u64, max_by_client: u64) {
        self.all.set_limit(max);
        self.max_by_client.set_limit(max_by_client);
    }
}

/// A connection's place in the limits; given back when dropped.
pub(crate) struct Admission {
    places: Shared<Places>,
    client: IpAddr,
    /// Counted by the client's address too.
    counted: bool,
}

impl Admission {
    /// A place for a connection from `client`; `None` when the limits have none left.
    pub(crate) fn take(places: &Shared<Places>, client: IpAddr) -> Option<Self> {
        if !places.all.take() {
            return None;
        }
        let max_by_client = places.max_by_client.limit();
        let counted = max_by_client < u64::MAX;
        if counted && !places.by_client.take(client, max_by_client) {
            places.all.give();
            return None;
        }
        Some(Admission { places: places.clone(), client, counted })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.places.all.give();
        if self.counted {
            self.places.by_client.give(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_when_its_connection_ends() {
        let places = Shared::new(Places::new(3, 2));
        let [a, b] = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        let first = Admission::take(&places, a).unwrap();
        let _second = Admission::take(&places, a).unwrap();
        assert!(Admission::take(&places, a).is_none(), "two are all that one client gets");
        let _third = Admission::take(&places, b).unwrap();
        assert!(Admission::take(&places, b).is_none(), "three are all there are");
        drop(first);
        assert!(Admission::take(&places, a).is_some());
    }

    #[test]
    fn limits_that_change_lose_no_count() {
        let places = Shared::new(Places::new(10, u64::MAX));
        let a = IpAddr::from([127, 0, 0, 1]);
        let early = Admission::take(&places, a).unwrap();
        places.set_limits(3, 1);
        let counted = Admission::take(&places, a).unwrap();
        assert!(Admission::take(&places, a).is_none(), "one that is counted is all it gets");
        drop(early);
        assert!(Admission::take(&places, a).is_none(), "the uncounted one made no room");
        places.set_limits(3, u64::MAX);
        drop(counted);
        let all: Vec<_> = std::iter::from_fn(|| Admission::take(&places, a)).collect();
        assert_eq!(all.len(), 3);
    }
}
