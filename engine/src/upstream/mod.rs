//! Upstreams: named sets of endpoints, as one core knows them.
//!
//! The plan (settings) comes with a snapshot; the endpoints, their idle connections and what is
//! known of their health belong to the core and outlive snapshots that leave the plan as it is.

mod connect;
mod endpoint;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringway_config as config;

use crate::balance::{Balancer, Load};
use crate::shared::Shared;

pub(crate) use connect::{Lease, checkout};
pub(crate) use endpoint::Endpoint;

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

/// An upstream on one core.
pub(crate) struct Upstream {
    /// What the file says of it.
    pub(crate) plan: Shared<Plan>,
    endpoints: RefCell<Vec<Rc<Endpoint>>>,
    balancer: RefCell<Balancer>,
    /// What the balancer sees, filled anew for each pick in the same memory.
    loads: RefCell<Vec<Load>>,
}

impl Upstream {
    /// An upstream at the addresses known now. Endpoints that `before` has too are taken over with
    /// their connections and their state.
    pub(crate) fn new(
        plan: Shared<Plan>,
        addresses: &Addresses,
        seed: u64,
        before: Option<&Upstream>,
    ) -> Self {
        let balancer = Balancer::new(&plan.settings.balance, seed);
        let upstream = Upstream {
            plan,
            endpoints: before.map(|before| before.endpoints.clone()).unwrap_or_default(),
            balancer: RefCell::new(balancer),
            loads: RefCell::default(),
        };
        upstream.resolve(addresses);
        upstream
    }

    /// Takes new addresses in. Endpoints that stay keep their connections and their state.
    pub(crate) fn resolve(&self, addresses: &Addresses) {
        let mut endpoints: Vec<Rc<Endpoint>> = Vec::new();
        for target in &self.plan.settings.targets {
            for &address in addresses.get(&target.addr).into_iter().flatten() {
                if endpoints.iter().any(|e| e.address == address) {
                    continue;
                }
                let known = self.endpoints.borrow();
                let same = known.iter().find(|e| e.address == address && e.weight == target.weight);
                endpoints.push(same.cloned().unwrap_or_else(|| {
                    Rc::new(Endpoint::new(address, target.weight, target.addr.to_string()))
                }));
            }
        }
        self.balancer
            .borrow_mut()
            .rebuild(&endpoints.iter().map(|e| e.load(true)).collect::<Vec<_>>());
        *self.endpoints.borrow_mut() = endpoints;
    }

    /// Chooses an endpoint for one attempt, none of `tried` while there is another. An endpoint
    /// that refused lately is passed over, unless all have.
    pub(crate) fn pick(
        &self,
        key: Option<u64>,
        tried: &[SocketAddr],
        now: Duration,
    ) -> Option<Rc<Endpoint>> {
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
        endpoints
            .iter()
            .any(|e| e.address != address && e.weight > 0 && !tried.contains(&e.address))
    }

    /// Closes idle connections that are too old or that the other end has closed.
    pub(crate) fn sweep(&self, now: Duration) {
        let pool = &self.plan.settings.pool;
        for endpoint in self.endpoints.borrow().iter() {
            endpoint.sweep(pool, now);
        }
    }
}
