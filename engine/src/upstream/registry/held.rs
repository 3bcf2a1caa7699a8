//! One upstream of the registry: what is known of its endpoints, told to workers and to people.

use std::net::SocketAddr;
use std::time::Duration;

use ringway_config as config;

use super::super::health::{Change, Group, Health, Wanted};
use super::super::{Addresses, Plan};
use super::{EndpointView, Members, Standing};
use crate::shared::Shared;

/// An upstream, its endpoints and what is known of their health.
pub(super) struct Held {
    pub(super) plan: Shared<Plan>,
    pub(super) group: Group,
    pub(super) members: Shared<Members>,
    pub(super) panics: bool,
}

impl Held {
    /// True when nothing is new: ten thousand upstreams may come with a snapshot of which one is.
    pub(super) fn is_as(&self, plan: &Shared<Plan>, addresses: &Addresses) -> bool {
        let targets = plan.settings.targets.iter();
        let mut found = targets.flat_map(|t| addresses.get(&t.addr).into_iter().flatten());
        let mut count = 0;
        let mut known = |address| {
            count += 1;
            self.members.states.contains_key(address)
        };
        Shared::same(&self.plan, plan) && found.all(&mut known) && count == self.group.members.len()
    }

    /// Tells workers of a change, and then people, who may rely on what they read.
    pub(super) fn changed(&mut self, address: SocketAddr, change: &Change, now: Duration) {
        if let Some(state) = self.members.states.get(&address) {
            state.forgive();
        }
        self.publish(now);
        let upstream = self.plan.name.as_str();
        let member = self.group.members.iter().find(|member| member.address == address);
        let why = member.map_or("", |member| member.why.as_str());
        match change {
            Change::Unhealthy => {
                tracing::warn!(upstream, endpoint = %address, why, "an endpoint is unhealthy");
            }
            Change::Recovered => {
                tracing::info!(upstream, endpoint = %address, "an endpoint is healthy again");
            }
            Change::Ejected(time) => {
                let time = config::Period(*time);
                tracing::warn!(
                    upstream, endpoint = %address, ?time, "an endpoint is ejected for its failures"
                );
            }
            Change::Returned => {
                tracing::info!(upstream, endpoint = %address, "an endpoint is back from ejection");
            }
        }
    }

    /// Writes down for workers what each endpoint counts for, if that has changed.
    pub(super) fn publish(&mut self, now: Duration) {
        let mut changed = false;
        for (member, weight) in self.group.weights(now) {
            if let Some(state) = self.members.states.get(&member.address) {
                changed |= state.publish(weight, member.draining);
            }
        }
        if changed {
            self.members.epoch.bump();
        }
        let panics = self.group.panics();
        if panics != self.panics {
            self.panics = panics;
            let upstream = self.plan.name.as_str();
            match panics {
                true => tracing::warn!(
                    upstream,
                    "too few endpoints are healthy (panic_threshold): using all of them"
                ),
                false => tracing::info!(upstream, "using healthy endpoints only, as usual"),
            }
        }
    }

    /// Its endpoints as people see them.
    pub(super) fn view(&self, now: Duration) -> impl Iterator<Item = EndpointView> {
        self.group.weights(now).map(move |(member, weight)| {
            let state = match (member.draining, member.health) {
                (true, _) => Standing::Draining,
                (_, Health::Healthy) => Standing::Healthy,
                (_, Health::Rising { .. }) => Standing::SlowStart,
                (_, Health::Ejected { .. }) => Standing::Ejected,
                (_, Health::Unhealthy) => Standing::Unhealthy,
            };
            let left = match member.health {
                Health::Ejected { until } => Some(until.saturating_sub(now).as_millis()),
                _ => None,
            };
            let counts = self.members.states.get(&member.address).map(|state| state.counts());
            EndpointView {
                upstream: self.plan.name.clone(),
                address: member.address,
                target: member.target.clone(),
                state,
                ejected_for_ms: left.map(|left| u64::try_from(left).unwrap_or(u64::MAX)),
                why: member.why.clone(),
                weight: member.weight,
                set_weight: member.set_weight,
                used: weight > 0,
                counts: counts.unwrap_or_default(),
            }
        })
    }
}

/// The endpoints that an upstream shall have.
pub(super) fn wanted(plan: &Plan, addresses: &Addresses) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for target in &plan.settings.targets {
        for &address in addresses.get(&target.addr).into_iter().flatten() {
            if seen.insert(address) {
                wanted.push((address, target.addr.to_string(), target.weight));
            }
        }
    }
    wanted
}
