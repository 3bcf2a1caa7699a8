//! Upstreams: named sets of endpoints, as one core knows them.
//!
//! The plan (settings) comes with a snapshot; the endpoints and their idle connections belong to
//! the core and outlive snapshots that leave the plan as it is. What is known of an endpoint's
//! health belongs to the process ([`Registry`]) and outlives its plan, as long as it stays in an
//! upstream of the same name.

mod connect;
mod endpoint;
mod health;
mod registry;
mod state;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringway_config as config;

use crate::balance::{Balancer, Load};
use crate::shared::{Shared, SharedEpoch};

pub(crate) use connect::{Lease, checkout};
pub(crate) use endpoint::{Endpoint, Unwanted};
pub(crate) use registry::Checked;
pub use registry::{EndpointView, Registry, Standing};
pub use state::Counts;

/// What the file says of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Its name: in the file, or its route's.
    pub name: String,
    /// The settings.
    pub settings: config::Upstream,
}

/// The addresses that the names of targets stand for now, by target.
pub type Addresses = std::collections::HashMap<config::Address, Vec<SocketAddr>>;

/// A worker among those that share the registry.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) registry: Shared<Registry>,
    /// Its number.
    pub(crate) worker: usize,
    /// What it is to close.
    pub(crate) unwanted: Rc<Unwanted>,
}

impl Seat {
    /// The seat of this worker, which has nothing to close yet.
    pub(crate) fn new(registry: Shared<Registry>, worker: usize) -> Seat {
        Seat { registry, worker, unwanted: Rc::default() }
    }
}

/// An upstream on one core.
pub(crate) struct Upstream {
    /// What the file says of it.
    pub(crate) plan: Shared<Plan>,
    seat: Seat,
    /// Says that something has become of the endpoints; this is what it said last.
    epoch: RefCell<Shared<SharedEpoch>>,
    seen: Cell<u64>,
    endpoints: RefCell<Vec<Rc<Endpoint>>>,
    balancer: RefCell<Balancer>,
    /// What the balancer sees, filled anew for each pick in the same memory.
    loads: RefCell<Vec<Load>>,
}

impl Upstream {
    /// An upstream at the addresses known now, for a worker. Endpoints that `before` has too are
    /// taken over with their connections and their state.
    pub(crate) fn new(
        plan: Shared<Plan>,
        addresses: &Addresses,
        seat: Seat,
        seed: u64,
        before: Option<&Upstream>,
    ) -> Self {
        let balancer = Balancer::new(&plan.settings.balance, seed);
        let upstream = Upstream {
            plan,
            seat,
            epoch: RefCell::default(),
            seen: Cell::new(0),
            endpoints: before.map(|before| before.endpoints.clone()).unwrap_or_default(),
            balancer: RefCell::new(balancer),
            loads: RefCell::default(),
        };
        upstream.resolve(addresses);
        upstream
    }

    /// Takes new addresses in. Endpoints that stay keep their connections and their state.
    pub(crate) fn resolve(&self, addresses: &Addresses) {
        let (name, Seat { registry, worker, unwanted }) = (&self.plan.name, &self.seat);
        let members = registry.members(name);
        let mut endpoints: Vec<Rc<Endpoint>> = Vec::new();
        for target in &self.plan.settings.targets {
            for &address in addresses.get(&target.addr).into_iter().flatten() {
                if endpoints.iter().any(|e| e.address == address) {
                    continue;
                }
                let state = registry.state_of(&members, (name, address, target.weight));
                let target = target.addr.to_string();
                let known = self.endpoints.borrow();
                let same = known.iter().find(|e| e.is(&state) && e.name == target).cloned();
                endpoints.push(same.unwrap_or_else(|| {
                    Rc::new(Endpoint::new(state, *worker, target, unwanted.clone()))
                }));
            }
        }
        *self.endpoints.borrow_mut() = endpoints;
        *self.epoch.borrow_mut() = members.epoch.clone();
        self.look();
    }

    /// Takes over what has become of the endpoints: weights, ejections, drains.
    fn look(&self) {
        // First the number, then what it stands for: what changes in between is seen next time.
        self.seen.set(self.epoch.borrow().get());
        let endpoints = self.endpoints.borrow();
        endpoints.iter().for_each(|endpoint| endpoint.look());
        let mut loads = self.loads.borrow_mut();
        loads.clear();
        loads.extend(endpoints.iter().map(|e| e.load(true)));
        self.balancer.borrow_mut().rebuild(&loads);
    }

    fn look_if_changed(&self) {
        if self.epoch.borrow().get() != self.seen.get() {
            self.look();
        }
    }

    /// Chooses an endpoint for one attempt, none of `tried` while there is another. An endpoint
    /// that refused lately is passed over, unless all have; one that is out is not used.
    pub(crate) fn pick(
        &self,
        key: Option<u64>,
        tried: &[SocketAddr],
        now: Duration,
    ) -> Option<Rc<Endpoint>> {
        self.look_if_changed();
        let endpoints = self.endpoints.borrow();
        let fresh = |e: &Endpoint| !tried.contains(&e.address);
        let choose = |usable: &dyn Fn(&Endpoint) -> bool| {
            let mut loads = self.loads.borrow_mut();
            loads.clear();
            loads.extend(endpoints.iter().map(|e| e.load(usable(e))));
            self.balancer.borrow_mut().pick(&loads, key).map(|at| endpoints[at].clone())
        };
        choose(&|e| fresh(e) && !e.is_paused(now)).or_else(|| choose(&|e| fresh(e)))
    }

    /// True when there is an endpoint beside `address` that has not been tried.
    pub(crate) fn has_other(&self, tried: &[SocketAddr], address: SocketAddr) -> bool {
        let endpoints = self.endpoints.borrow();
        endpoints.iter().any(|e| e.address != address && e.is_used() && !tried.contains(&e.address))
    }

    /// Closes idle connections that are too old, that the other end has closed, or that lead to an
    /// endpoint which is being drained.
    pub(crate) fn sweep(&self, now: Duration) {
        self.look_if_changed();
        let pool = &self.plan.settings.pool;
        for endpoint in self.endpoints.borrow().iter() {
            endpoint.sweep(pool, now);
        }
    }
}

#[cfg(test)]
mod tests;
