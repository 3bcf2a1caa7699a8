//! The limits on connections, which all workers draw on together.

use std::net::IpAddr;

use crate::shared::{Shared, SharedBudget, SharedCounts};

/// The places that there are for client connections.
pub(crate) struct Places {
    /// Connections of the whole process.
    all: SharedBudget,
    /// Connections by client address.
    by_client: SharedCounts<IpAddr>,
    max_by_client: u64,
}

impl Places {
    /// So many places in all, and so many for each client address.
    pub(crate) fn new(max: u64, max_by_client: u64) -> Self {
        Places { all: SharedBudget::new(max), by_client: SharedCounts::default(), max_by_client }
    }
}

/// A connection's place in the limits; given back when dropped.
pub(crate) struct Admission {
    places: Shared<Places>,
    client: IpAddr,
}

impl Admission {
    /// A place for a connection from `client`; `None` when the limits have none left.
    pub(crate) fn take(places: &Shared<Places>, client: IpAddr) -> Option<Self> {
        if !places.all.take() {
            return None;
        }
        let counted = places.max_by_client < u64::MAX;
        if counted && !places.by_client.take(client, places.max_by_client) {
            places.all.give();
            return None;
        }
        Some(Admission { places: places.clone(), client })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.places.all.give();
        if self.places.max_by_client < u64::MAX {
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
}
