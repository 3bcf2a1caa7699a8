//! A snapshot as one core serves by it, and what a core keeps from one snapshot to the next.
//!
//! A worker that adopts a snapshot goes on at once: what belongs to a route is made when its first
//! request comes, and what belonged to the snapshot before is freed in slices, so that ten
//! thousand routes are no pause for anybody. Filter instances and upstreams are kept as long as
//! their blueprints and plans are.

use std::cell::{Cell, OnceCell, RefCell};
use std::num::NonZeroU32;
use std::rc::{Rc, Weak};
use std::time::Duration;

use indexmap::IndexMap;

use crate::balance::Rng;
use crate::filter::{Blueprint, Chain, Core, Filter, Link};
use crate::limits::RETIRED_AT_ONCE;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::upstream::{Addresses, Plan, Registry, Seat, Upstream};

/// How often what is kept is looked at after a change: what moves into the gap of something let go
/// may be passed over once.
const ROUNDS: u8 = 2;

/// A snapshot as one core serves by it.
pub(crate) struct Adopted {
    /// Counts from 1 on this core.
    pub(crate) number: NonZeroU32,
    pub(crate) snapshot: Shared<Snapshot>,
    /// The global filters alone, for requests that no route takes.
    pub(crate) global: Chain,
    chains: Vec<OnceCell<Chain>>,
    upstreams: Vec<OnceCell<Rc<Upstream>>>,
    stock: Rc<Stock>,
}

/// What a core keeps from one snapshot to the next.
pub(crate) struct Stock {
    core: Rc<dyn Core>,
    seat: Seat,
    /// The snapshot adopted last.
    current: RefCell<Shared<Snapshot>>,
    addresses: RefCell<Shared<Addresses>>,
    random: RefCell<Rng>,
    /// By the address of the blueprint, which the entry keeps alive.
    instances: RefCell<IndexMap<usize, Instance>>,
    /// The newest of each name.
    upstreams: RefCell<IndexMap<String, Rc<Upstream>>>,
    /// Those that only exchanges under way still use.
    former: RefCell<Vec<Rc<Upstream>>>,
    adoptions: Cell<u32>,
    /// Former snapshots that exchanges under way are still served by.
    ending: RefCell<Vec<Weak<Adopted>>>,
    /// What earlier snapshots have left behind.
    remains: RefCell<Vec<Remains>>,
    /// Where the next look at what is kept begins.
    at: Cell<usize>,
    /// How often all that is kept is still to be looked at.
    rounds: Cell<u8>,
}

struct Instance {
    filter: Rc<dyn Filter>,
    _blueprint: Shared<dyn Blueprint>,
}

/// What was made for a snapshot that nobody serves by any more.
struct Remains {
    chains: Vec<OnceCell<Chain>>,
    upstreams: Vec<OnceCell<Rc<Upstream>>>,
}

impl Adopted {
    /// Adopts the newest snapshot of the stock. Cannot fail.
    pub(crate) fn new(stock: &Rc<Stock>) -> Rc<Adopted> {
        let snapshot = stock.current.borrow().clone();
        let global = snapshot.global_filters.iter().map(|f| stock.link(f)).collect();
        let number = stock.adoptions.get().wrapping_add(1);
        let number = NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        stock.adoptions.set(number.get());
        Rc::new(Adopted {
            number,
            global: Chain(global),
            chains: snapshot.routes.iter().map(|_| OnceCell::new()).collect(),
            upstreams: snapshot.upstreams.iter().map(|_| OnceCell::new()).collect(),
            snapshot,
            stock: stock.clone(),
        })
    }

    /// The filters of the route at this place, global ones first.
    pub(crate) fn chain(&self, at: usize) -> &Chain {
        self.chains[at].get_or_init(|| {
            let own = self.snapshot.routes[at].filters.iter();
            let own = own.map(|filter| self.stock.link(filter));
            Chain(self.global.0.iter().cloned().chain(own).collect())
        })
    }

    /// The upstream at this place of the snapshot's plans.
    pub(crate) fn upstream(&self, at: usize) -> &Rc<Upstream> {
        let plan = &self.snapshot.upstreams[at];
        self.upstreams[at].get_or_init(|| self.stock.upstream(&self.snapshot, plan))
    }
}

impl Drop for Adopted {
    fn drop(&mut self) {
        let chains = std::mem::take(&mut self.chains);
        let upstreams = std::mem::take(&mut self.upstreams);
        self.stock.remains.borrow_mut().push(Remains { chains, upstreams });
    }
}

impl Stock {
    /// A stock of nothing yet, for a core that is to serve by `snapshot`.
    pub(crate) fn new(
        core: Rc<dyn Core>,
        registry: Shared<Registry>,
        snapshot: Shared<Snapshot>,
        addresses: Shared<Addresses>,
        seed: u64,
    ) -> Rc<Stock> {
        let seat = Seat::new(registry, core.id());
        Rc::new(Stock {
            core,
            seat,
            current: RefCell::new(snapshot),
            addresses: RefCell::new(addresses),
            random: RefCell::new(Rng::new(seed)),
            instances: RefCell::default(),
            upstreams: RefCell::default(),
            former: RefCell::default(),
            adoptions: Cell::default(),
            ending: RefCell::default(),
            remains: RefCell::default(),
            at: Cell::default(),
            rounds: Cell::default(),
        })
    }

    /// Another snapshot is the newest from now on.
    pub(crate) fn renew(&self, snapshot: Shared<Snapshot>, addresses: Shared<Addresses>) {
        *self.current.borrow_mut() = snapshot;
        *self.addresses.borrow_mut() = addresses;
        self.rounds.set(ROUNDS);
    }

    /// A snapshot is former, but exchanges under way may still be served by it.
    pub(crate) fn retire_later(&self, former: &Rc<Adopted>) {
        self.ending.borrow_mut().push(Rc::downgrade(former));
    }

    /// The former snapshots that exchanges under way are still served by.
    pub(crate) fn ending(&self) -> Vec<Rc<Adopted>> {
        let mut ending = self.ending.borrow_mut();
        ending.retain(|former| former.strong_count() > 0);
        ending.iter().filter_map(Weak::upgrade).collect()
    }

    /// Names stand for these addresses now.
    pub(crate) fn resolve(&self, addresses: Shared<Addresses>) {
        let (upstreams, former) = (self.upstreams.borrow(), self.former.borrow());
        for upstream in upstreams.values().chain(former.iter()) {
            upstream.resolve(&addresses);
        }
        *self.addresses.borrow_mut() = addresses;
    }

    /// The worker's heartbeat: closes connections that have been idle for too long, and frees a
    /// slice of what nobody needs any more.
    pub(crate) fn sweep(&self, now: Duration) {
        clear(&mut self.remains.borrow_mut());
        self.retire();
        for upstream in self.upstreams.borrow().values() {
            upstream.sweep(now);
        }
        self.former.borrow_mut().retain(|upstream| {
            upstream.sweep(now);
            Rc::strong_count(upstream) > 1
        });
        self.seat.unwanted.sweep();
    }

    fn link(&self, blueprint: &Shared<dyn Blueprint>) -> Link {
        Link { name: blueprint.name(), filter: self.instance(blueprint) }
    }

    fn instance(&self, blueprint: &Shared<dyn Blueprint>) -> Rc<dyn Filter> {
        let known = self.instances.borrow().get(&blueprint.address()).map(|i| i.filter.clone());
        known.unwrap_or_else(|| {
            let filter = blueprint.instance(&self.core);
            let instance = Instance { filter: filter.clone(), _blueprint: blueprint.clone() };
            self.instances.borrow_mut().insert(blueprint.address(), instance);
            if !self.current.borrow().blueprints.contains(&blueprint.address()) {
                self.rounds.set(ROUNDS);
            }
            filter
        })
    }

    /// The upstream of this plan. Where its name has had another plan, endpoints that stay keep
    /// their connections and their state.
    fn upstream(&self, snapshot: &Shared<Snapshot>, plan: &Shared<Plan>) -> Rc<Upstream> {
        let mut upstreams = self.upstreams.borrow_mut();
        let before = upstreams.get(&plan.name).cloned();
        if let Some(same) = before.as_ref().filter(|known| Shared::same(&known.plan, plan)) {
            return same.clone();
        }
        let seed = self.random.borrow_mut().next_u64();
        let addresses = self.addresses.borrow();
        let (plan, seat, before) = (plan.clone(), self.seat.clone(), before.as_deref());
        let made = Rc::new(Upstream::new(plan, &addresses, seat, seed, before));
        // An exchange that began with an earlier snapshot does not bring it back.
        let replaced = match Shared::same(snapshot, &self.current.borrow()) {
            true => upstreams.insert(made.plan.name.clone(), made.clone()),
            false => Some(made.clone()),
        };
        self.former.borrow_mut().extend(replaced);
        made
    }

    /// Looks at a slice of what is kept, and lets go of what the newest snapshot does not have.
    fn retire(&self) {
        if self.rounds.get() == 0 {
            return;
        }
        let current = self.current.borrow();
        let mut instances = self.instances.borrow_mut();
        let mut upstreams = self.upstreams.borrow_mut();
        let most = instances.len().max(upstreams.len());
        let begin = if self.at.get() < most { self.at.get() } else { 0 };
        let end = most.min(begin + RETIRED_AT_ONCE);
        for at in begin..end {
            // From the end, so that what moves into a gap has been looked at.
            let place = most - 1 - at;
            if instances.get_index(place).is_some_and(|(at, _)| !current.blueprints.contains(at)) {
                instances.swap_remove_index(place);
            }
            if upstreams.get_index(place).is_some_and(|(name, _)| !current.names.contains(name)) {
                let gone = upstreams.swap_remove_index(place).map(|(_, upstream)| upstream);
                self.former.borrow_mut().extend(gone);
            }
        }
        self.at.set(end);
        if end >= most {
            self.rounds.set(self.rounds.get() - 1);
        }
    }
}

/// Frees a slice of what is left. Of several snapshots at a time where they are small, or reloads
/// that come faster than sweeps would outrun this.
fn clear(all: &mut Vec<Remains>) {
    let mut most = RETIRED_AT_ONCE;
    while most > 0
        && let Some(remains) = all.last_mut()
    {
        most -= shorten(&mut remains.chains, most);
        most -= shorten(&mut remains.upstreams, most);
        if !remains.chains.is_empty() || !remains.upstreams.is_empty() {
            return;
        }
        all.pop();
        most = most.saturating_sub(1);
    }
}

/// Takes up to `most` off the end, and says how many.
fn shorten<T>(all: &mut Vec<T>, most: usize) -> usize {
    let taken = all.len().min(most);
    all.truncate(all.len() - taken);
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remains(routes: usize) -> Remains {
        let chains = (0..routes).map(|_| OnceCell::new()).collect();
        Remains { chains, upstreams: vec![OnceCell::new()] }
    }

    #[test]
    fn small_snapshots_are_freed_together_and_a_large_one_in_slices() {
        let mut all: Vec<_> = (0..50).map(|_| remains(3)).collect();
        clear(&mut all);
        assert_eq!(all.len(), 0);
        all = vec![remains(3 * RETIRED_AT_ONCE), remains(0)];
        for left in [1, 1, 1, 0] {
            clear(&mut all);
            assert_eq!(all.len(), left);
        }
    }
}
