//! The endpoints of the whole process: one entry an (upstream, address), on which all cores agree.
//!
//! Threads that are no workers change what is known of an endpoint, one at a time
//! ([`SharedLock`]). A worker takes no part in that: it reads one number a pick, the upstream's
//! epoch, and looks at the endpoints' words only when that has changed. What it counts is its own.

mod held;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};

use super::health::{Member, WHOLE, Wanted};
use super::state::{Counts, EndpointState};
use super::{Addresses, Plan};
use crate::clock;
use crate::limits::FAILING;
use crate::shared::{Shared, SharedEpoch, SharedFlag, SharedLatest, SharedLock};
use held::{Held, wanted};

/// The largest weight that can be set, as in the file.
const MAX_WEIGHT: u32 = 1_000_000;

/// All endpoints, by upstream.
pub struct Registry {
    began: Instant,
    workers: usize,
    book: SharedLock<Book>,
    directory: SharedLatest<Directory>,
    failing: mpsc::Sender<Shared<EndpointState>>,
    failed: SharedLock<Option<mpsc::Receiver<Shared<EndpointState>>>>,
    changed: Notify,
    /// Counts the times that endpoints came or went.
    adopted: SharedEpoch,
    closed: SharedFlag,
}

/// What is known, for who may wait for the lock.
#[derive(Default)]
struct Book {
    /// In the order of the snapshot.
    upstreams: Vec<Held>,
    places: HashMap<String, usize>,
}

/// What workers look up when they adopt a snapshot or are told new addresses.
type Directory = HashMap<String, Shared<Members>>;

/// The endpoints of one upstream, as all cores share them.
#[derive(Default)]
pub(crate) struct Members {
    /// Says that a word has changed.
    pub(crate) epoch: Shared<SharedEpoch>,
    states: HashMap<SocketAddr, Shared<EndpointState>>,
}

/// An endpoint whose health is checked: who it is, and how.
pub(crate) struct Checked {
    pub(crate) plan: Shared<Plan>,
    pub(crate) address: SocketAddr,
    /// Host and port as the file has them.
    pub(crate) target: String,
}

/// What an endpoint is doing, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Used by its weight.
    Healthy,
    /// Used by a share of its weight that grows.
    SlowStart,
    /// Out, because of its checks.
    Unhealthy,
    /// Out for a while, because of its answers.
    Ejected,
    /// Gets no new requests, because somebody said so.
    Draining,
}

/// One endpoint at one moment.
#[derive(Debug, Clone, serde::Serialize)]
pub struct EndpointView {
    /// The upstream.
    pub upstream: String,
    /// The endpoint's address.
    pub address: SocketAddr,
    /// The target that it is an address of, as the file has it.
    pub target: String,
    /// What it is doing.
    pub state: Standing,
    /// How long it stays ejected, in milliseconds.
    pub ejected_for_ms: Option<u64>,
    /// What was wrong with its last check; empty while it is healthy.
    pub why: String,
    /// Its weight in the file.
    pub weight: u32,
    /// The weight that was set instead while the gateway ran.
    pub set_weight: Option<u32>,
    /// True when it is used: healthy, or one of so many unhealthy ones that all are used.
    pub used: bool,
    /// What all workers have counted.
    pub counts: Counts,
}

impl Registry {
    /// A registry without endpoints yet, for so many workers.
    pub(crate) fn new(workers: usize) -> Registry {
        let (failing, failed) = mpsc::channel(FAILING);
        Registry {
            began: clock::now(),
            workers,
            book: SharedLock::default(),
            directory: SharedLatest::new(Shared::default()),
            failing,
            failed: SharedLock::new(Some(failed)),
            changed: Notify::new(),
            adopted: SharedEpoch::default(),
            closed: SharedFlag::default(),
        }
    }

    /// Takes the upstreams of a snapshot in, at the addresses known now. Call it before workers are
    /// told. Endpoints that stay keep their counts and what is known of them; others leave.
    pub(crate) fn adopt(&self, plans: &[Shared<Plan>], addresses: &Addresses) {
        let mut book = self.book.lock();
        let before = std::mem::take(&mut book.upstreams);
        let mut moved = before.len() != plans.len();
        let mut changed = moved;
        let mut before: Vec<Option<Held>> = before.into_iter().map(Some).collect();
        for (at, plan) in plans.iter().enumerate() {
            // Mostly at the same place as before, where no name has to be looked up.
            let same =
                |held: &Option<Held>| held.as_ref().is_some_and(|h| h.plan.name == plan.name);
            let place = match before.get(at) {
                Some(held) if same(held) => Some(at),
                _ => {
                    moved = true;
                    book.places.get(&plan.name).copied()
                }
            };
            let held = match place.and_then(|place| before[place].take()) {
                Some(held) if held.is_as(plan, addresses) => held,
                held => {
                    changed = true;
                    self.held(plan, wanted(plan, addresses), held)
                }
            };
            book.upstreams.push(held);
        }
        if moved {
            let all = book.upstreams.iter().enumerate();
            book.places = all.map(|(at, held)| (held.plan.name.clone(), at)).collect();
        }
        if moved || changed {
            let all = book.upstreams.iter();
            let directory = all.map(|held| (held.plan.name.clone(), held.members.clone()));
            self.directory.set(Shared::new(directory.collect()));
        }
        self.adopted.bump();
        drop(book);
        self.changed.notify_one();
    }

    fn held(&self, plan: &Shared<Plan>, wanted: Vec<Wanted>, before: Option<Held>) -> Held {
        let (mut group, known, panics) = match before {
            Some(held) => (held.group, held.members, held.panics),
            None => Default::default(),
        };
        let health = &plan.settings.health;
        group.adopt(health, wanted);
        let state = |address: SocketAddr| match known.states.get(&address) {
            Some(state) => state.clone(),
            None => Shared::new(self.state(&plan.name, address)),
        };
        let states = group.members.iter().map(|m| (m.address, state(m.address))).collect();
        let members = Members { epoch: known.epoch.clone(), states };
        let allowed = health.outlier_detection.as_ref().map_or(0, |o| o.consecutive_failures);
        members.states.values().for_each(|state| state.allow(allowed.into()));
        let mut held = Held { plan: plan.clone(), group, members: Shared::new(members), panics };
        held.publish(self.now());
        held
    }

    fn state(&self, upstream: &str, address: SocketAddr) -> EndpointState {
        EndpointState::new(upstream, address, self.workers, self.failing.clone())
    }

    /// The endpoints of an upstream as a worker uses them; for one that has just left, none.
    pub(crate) fn members(&self, upstream: &str) -> Shared<Members> {
        self.directory.get().get(upstream).cloned().unwrap_or_default()
    }

    /// The shared state of one of them. One that has just left has a state of its own, which ends
    /// with the snapshot that still uses it.
    pub(crate) fn state_of(
        &self,
        members: &Members,
        (upstream, address, weight): (&str, SocketAddr, u32),
    ) -> Shared<EndpointState> {
        let known = members.states.get(&address).cloned();
        known.unwrap_or_else(|| {
            let state = self.state(upstream, address);
            state.publish(weight.saturating_mul(WHOLE), false);
            Shared::new(state)
        })
    }

    /// Every endpoint, by upstream in the order of the file.
    pub fn list(&self) -> Vec<EndpointView> {
        let now = self.now();
        let book = self.book.lock();
        book.upstreams.iter().flat_map(|held| held.view(now)).collect()
    }

    /// Sets the weight of an endpoint instead of the file's, or begins or ends its drain. Holds
    /// until the process ends, the endpoint leaves the upstream, or (for a weight) its weight in
    /// the file changes.
    ///
    /// # Errors
    /// When there is no such upstream or endpoint, or the weight is above 1,000,000: then nothing
    /// has changed.
    pub fn set(
        &self,
        upstream: &str,
        address: SocketAddr,
        weight: Option<u32>,
        drain: Option<bool>,
    ) -> Result<(), String> {
        if let Some(weight) = weight.filter(|weight| *weight > MAX_WEIGHT) {
            return Err(format!("a weight of {weight} is out of bounds: at most {MAX_WEIGHT}"));
        }
        let now = self.now();
        let mut book = self.book.lock();
        let held =
            book.find(upstream).ok_or_else(|| format!("there is no upstream `{upstream}`"))?;
        let set = weight.is_none_or(|weight| held.group.weigh(address, weight))
            && drain.is_none_or(|drain| held.group.drain(address, drain, now));
        if !set || !held.members.states.contains_key(&address) {
            return Err(format!("the upstream `{upstream}` has no endpoint {address}"));
        }
        tracing::info!(upstream, endpoint = %address, weight, drain, "an endpoint was set");
        held.publish(now);
        drop(book);
        self.changed.notify_one();
        Ok(())
    }

    /// A check of an endpoint has passed, or failed for this reason.
    pub(crate) fn checked(&self, upstream: &str, address: SocketAddr, verdict: Result<(), String>) {
        let now = self.now();
        let mut book = self.book.lock();
        let Some(held) = book.find(upstream) else { return };
        if let Some(change) = held.group.checked(address, verdict, now) {
            held.changed(address, &change, now);
            drop(book);
            self.changed.notify_one();
        }
    }

    /// An endpoint has failed as often in a row as its upstream allows.
    pub(crate) fn failing(&self, state: &EndpointState) {
        let now = self.now();
        let mut book = self.book.lock();
        let Some(held) = book.find(&state.upstream) else { return };
        if let Some(change) = held.group.failing(state.address, now) {
            held.changed(state.address, &change, now);
        }
    }

    /// Ends the ejections and slow starts that are over, and says when to come again.
    pub(crate) fn advance(&self) -> Option<Duration> {
        let now = self.now();
        let mut next = None;
        for held in &mut self.book.lock().upstreams {
            if held.group.due(now).is_none() {
                continue;
            }
            for (address, change) in held.group.advance(now) {
                held.changed(address, &change, now);
            }
            held.publish(now);
            next = next.into_iter().chain(held.group.due(now)).min();
        }
        next.map(|next| next.saturating_sub(now))
    }

    /// Another number whenever endpoints may have come or gone, or their settings changed.
    pub(crate) fn adopted(&self) -> u64 {
        self.adopted.get()
    }

    /// Every endpoint whose health is checked.
    pub(crate) fn checks(&self) -> Vec<Checked> {
        let book = self.book.lock();
        let checked = book.upstreams.iter().filter(|h| h.plan.settings.health.check.is_some());
        let of = |held: &Held, member: &Member| Checked {
            plan: held.plan.clone(),
            address: member.address,
            target: member.target.clone(),
        };
        checked.flat_map(|held| held.group.members.iter().map(|m| of(held, m))).collect()
    }

    /// Where workers say that an endpoint fails. Given once, to who looks after it.
    pub(crate) fn failed(&self) -> Option<mpsc::Receiver<Shared<EndpointState>>> {
        self.failed.lock().take()
    }

    /// Waits until endpoints come or go, begin to wait for time to pass, or all is over.
    pub(crate) async fn change(&self) {
        self.changed.notified().await;
    }

    /// Says that all is over.
    pub(crate) fn close(&self) {
        self.closed.raise();
        self.changed.notify_one();
    }

    /// True when all is over.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_up()
    }

    fn now(&self) -> Duration {
        clock::now().saturating_duration_since(self.began)
    }
}

impl Book {
    fn find(&mut self, upstream: &str) -> Option<&mut Held> {
        let at = *self.places.get(upstream)?;
        self.upstreams.get_mut(at)
    }
}
