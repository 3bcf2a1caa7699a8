//! Tokens: what of the settings counts, and one core's checks.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use ringway_engine::clock;
use ringway_engine::exchange::{Exchange, Identity};
use ringway_engine::shared::{Shared, SharedLatest};

use super::credential::{Found, Place};
use super::keys::Keys;
use super::local::Local;
use super::memory::Memory;
use super::scheme::{Check, Refusal, Scheme};
use super::token::{Rules, verify};

/// How many tokens a core remembers.
const REMEMBERED: usize = 4096;

/// A token longer than this is not remembered, so that the memory of a core is bounded.
const LONGEST_REMEMBERED: usize = 4096;

/// For how many seconds a token without an end is remembered.
const WITHOUT_END: f64 = 300.0;

/// The settings once they are checked, for all cores.
pub(super) struct Plan {
    pub(super) place: Place,
    pub(super) forward: bool,
    pub(super) rules: Rules,
    /// Claims and the headers that tell them, and the header with who asks.
    pub(super) headers: Vec<(String, String)>,
    pub(super) local: Local,
    /// The keys of `local` as they were last read.
    pub(super) keys: SharedLatest<Keys>,
}

impl Plan {
    /// In a few words, for `ringway explain`.
    pub(super) fn summary(&self) -> String {
        let mut parts = vec![format!("jwt by {}", self.local)];
        for (name, values) in [("issuer", &self.rules.issuer), ("audience", &self.rules.audience)] {
            if !values.is_empty() {
                parts.push(format!("{name} {}", values.join(" or ")));
            }
        }
        parts.extend(self.headers.iter().map(|(claim, header)| format!("{claim} as {header}")));
        parts.join(", ")
    }

    /// Changes whenever something does that decides about a token.
    fn version(&self) -> u64 {
        self.keys.version()
    }
}

/// One core's instance.
pub(super) struct Jwt {
    plan: Shared<Plan>,
    state: RefCell<State>,
    scratch: RefCell<Vec<u8>>,
}

struct State {
    /// Of the plan, when the rest was taken from it.
    version: u64,
    keys: Shared<Keys>,
    memory: Memory<Remembered>,
}

/// A token that was good.
struct Remembered {
    token: Box<[u8]>,
    until: f64,
    identity: Rc<Identity>,
}

impl Jwt {
    pub(super) fn new(plan: Shared<Plan>) -> Self {
        let state = State {
            version: plan.version(),
            keys: plan.keys.get(),
            memory: Memory::new(REMEMBERED),
        };
        Jwt { plan, state: RefCell::new(state), scratch: RefCell::default() }
    }

    fn check_token(&self, token: &[u8], now: f64) -> Check {
        let mut state = self.state.borrow_mut();
        let version = self.plan.version();
        if version != state.version {
            // What was good may not be any more.
            state.version = version;
            state.keys = self.plan.keys.get();
            state.memory.clear();
        }
        let place = state.memory.place(token);
        if let Some(known) = state.memory.find(place, |known| *known.token == *token) {
            if now < known.until {
                return Check::Passed(known.identity.clone());
            }
            state.memory.forget(place);
        }
        match verify(token, &[&state.keys], &self.plan.rules, now) {
            Err(fault) => Refusal::invalid(fault.to_string()),
            Ok(verified) => {
                let consumer = verified.claims.get("sub").and_then(|subject| subject.as_str());
                let consumer = consumer.unwrap_or_default().to_owned();
                let identity = Rc::new(Identity { consumer, claims: verified.claims });
                if token.len() <= LONGEST_REMEMBERED {
                    let until = verified.until.unwrap_or(now + WITHOUT_END);
                    let identity = identity.clone();
                    state.memory.put(place, Remembered { token: token.into(), until, identity });
                }
                Check::Passed(identity)
            }
        }
    }
}

impl Scheme for Jwt {
    fn check(&self, exchange: &Exchange) -> Check {
        match self.plan.place.find(&exchange.request) {
            Found::Nothing => Check::Absent,
            Found::Several => Refusal::several(),
            Found::One(token) => self.check_token(&token, now()),
        }
    }

    fn accept(&self, exchange: &mut Exchange, identity: &Identity) {
        let mut value = self.scratch.borrow_mut();
        for (claim, header) in &self.plan.headers {
            value.clear();
            if identity.append_claim(claim, &mut value)
                && exchange.request.edits.set(header, &value).is_err()
            {
                // The header stays away: the client's own is gone already.
                tracing::debug!(claim, header, "a claim cannot stand in a header and is left out");
            }
        }
        if !self.plan.forward {
            self.plan.place.remove(&mut exchange.request);
        }
    }

    fn challenge(&self, realm: &str, refusal: Option<&Refusal>) -> String {
        // RFC 6750 §3: no error code when no token was sent.
        match refusal {
            None => format!("Bearer realm=\"{realm}\""),
            Some(Refusal { code, reason, .. }) => {
                format!(
                    "Bearer realm=\"{realm}\", error=\"{code}\", error_description=\"{reason}\""
                )
            }
        }
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    clock::wall().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
