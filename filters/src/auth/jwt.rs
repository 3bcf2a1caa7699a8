//! Tokens: what of the settings counts, and one core's checks.

use std::cell::RefCell;
use std::rc::Rc;

use ringway_engine::exchange::{Exchange, Identity};
use ringway_engine::filter::Core;
use ringway_engine::guard::{Asks, Term};
use ringway_engine::shared::{Shared, SharedLatest};

use super::accept_place;
use super::credential::{Found, Place};
use super::keys::{Keys, name};
use super::local::Local;
use super::memory::Memory;
use super::remote::Remote;
use super::revoked::{List, Revoked};
use super::scheme::{self, Check, Refusal, Scheme};
use super::token::{Fault, Rules, Verified, verify};

/// How many tokens a core remembers.
const REMEMBERED: usize = 4096;

/// A token longer than this is not remembered, so that the memory of a core is bounded.
const LONGEST_REMEMBERED: usize = 4096;

/// For how many seconds a token without an end is remembered.
const WITHOUT_END: f64 = 300.0;

/// How many ids of keys that do not exist a core remembers, and for how many seconds.
const UNKNOWN: usize = 256;
const UNKNOWN_FOR: f64 = 60.0;

/// The settings once they are checked, for all cores.
pub(super) struct Plan {
    pub(super) place: Place,
    pub(super) forward: bool,
    pub(super) rules: Rules,
    /// Claims and the headers that tell them.
    pub(super) headers: Vec<(String, String)>,
    pub(super) local: Local,
    /// The keys of `local` as they were last read.
    pub(super) keys: SharedLatest<Keys>,
    pub(super) remote: Option<Shared<Remote>>,
    pub(super) revoked: Option<Revoked>,
}

impl Plan {
    /// In a few words, for `ringway explain`.
    pub(super) fn summary(&self) -> String {
        let local = Some(self.local.to_string()).filter(|local| !local.is_empty());
        let remote = self.remote.as_ref().map(|_| "jwks_url".to_owned());
        let keys: Vec<_> = local.into_iter().chain(remote).collect();
        let mut parts = vec![format!("jwt by {}", keys.join(" or "))];
        for (name, values) in [("issuer", &self.rules.issuer), ("audience", &self.rules.audience)] {
            if !values.is_empty() {
                parts.push(format!("{name} {}", values.join(" or ")));
            }
        }
        parts.extend(self.headers.iter().map(|(claim, header)| format!("{claim} as {header}")));
        parts.join(", ")
    }

    /// What is asked of a token.
    pub(super) fn terms(&self) -> Vec<Term> {
        let Rules { issuer, audience, require_expiry, required, .. } = &self.rules;
        let secret = self.local.secret.iter().map(|_| "the secret".to_owned());
        let files = self.local.files.iter();
        let files = files.map(|file| format!("{} `{}`", file.field, file.path.display()));
        let remote = self.remote.iter().map(|remote| format!("jwks_url `{}`", remote.place()));
        let algorithms = self.local.algorithms.iter().map(|one| name(*one));
        let mut terms = vec![
            Term::words("keys", Asks::Trust, secret.chain(files).chain(remote)),
            Term::words("algorithms", Asks::One, algorithms),
            Term::words("issuer", Asks::One, issuer),
            Term::words("audience", Asks::One, audience),
            Term::words("required_claims", Asks::Each, required),
        ];
        let on = |on: bool, field, what: &str| on.then(|| Term::words(field, Asks::Each, [what]));
        terms.extend(on(*require_expiry, "require_expiry", "exp"));
        terms.extend(on(self.revoked.is_some(), "revoked_file", "what is not revoked"));
        terms
    }

    /// Changes whenever something does that decides about a token: each part only grows.
    fn version(&self) -> u64 {
        let remote = self.remote.as_ref().map_or(0, |remote| remote.keys().version());
        let revoked = self.revoked.as_ref().map_or(0, |revoked| revoked.list.version());
        self.keys.version() + remote + revoked
    }
}

/// One core's instance.
#[derive(Clone)]
pub(super) struct Jwt(Rc<Inner>);

struct Inner {
    plan: Shared<Plan>,
    core: Rc<dyn Core>,
    state: RefCell<State>,
    scratch: RefCell<Vec<u8>>,
}

struct State {
    /// Of the plan, when the rest was taken from it.
    version: u64,
    keys: Shared<Keys>,
    remote: Option<Shared<Keys>>,
    revoked: Option<Shared<List>>,
    memory: Memory<Remembered>,
    /// Ids of keys that were not in the set when it was last fetched for them, and until when
    /// that is believed.
    unknown: Memory<(String, f64)>,
}

/// A token that was good.
struct Remembered {
    token: Box<[u8]>,
    until: f64,
    identity: Rc<Identity>,
}

impl State {
    fn of(plan: &Plan) -> Self {
        State {
            version: plan.version(),
            keys: plan.keys.get(),
            remote: plan.remote.as_ref().map(|remote| remote.keys().get()),
            revoked: plan.revoked.as_ref().map(|revoked| revoked.list.get()),
            memory: Memory::new(REMEMBERED),
            unknown: Memory::new(UNKNOWN),
        }
    }

    fn verify(&self, token: &[u8], rules: &Rules, now: f64) -> Result<Verified, Fault> {
        let verified = match &self.remote {
            None => verify(token, &[&self.keys], rules, now)?,
            Some(remote) => verify(token, &[&self.keys, remote], rules, now)?,
        };
        match &self.revoked {
            Some(list) if list.holds(&verified.claims) => Err(Fault::Revoked),
            _ => Ok(verified),
        }
    }

    /// True when it was found out lately that there is no key of this id.
    fn knows_unknown(&mut self, id: &str, now: f64) -> bool {
        let place = self.unknown.place(id.as_bytes());
        let found = self.unknown.find(place, |(other, _)| other == id);
        found.is_some_and(|(_, until)| now < *until)
    }

    fn note_unknown(&mut self, id: String, now: f64) {
        let place = self.unknown.place(id.as_bytes());
        self.unknown.put(place, (id, now + UNKNOWN_FOR));
    }
}

impl Jwt {
    pub(super) fn new(plan: Shared<Plan>, core: &Rc<dyn Core>) -> Self {
        let state = RefCell::new(State::of(&plan));
        Jwt(Rc::new(Inner { plan, core: core.clone(), state, scratch: RefCell::default() }))
    }

    fn check_token(&self, token: &[u8], now: f64) -> Check {
        match self.0.look_at(token, now) {
            Ok(identity) => Check::Passed(identity),
            Err(Fault::UnknownKey(id)) => match &self.0.plan.remote {
                Some(remote) => self.ask(remote, token, id, now),
                None => Refusal::invalid(Fault::UnknownKey(None).to_string()),
            },
            Err(fault) => Refusal::invalid(fault.to_string()),
        }
    }

    /// Has the set fetched, in which the key may be by now, and looks again.
    fn ask(&self, remote: &Shared<Remote>, token: &[u8], id: Option<String>, now: f64) -> Check {
        let known = |id: &String| self.0.state.borrow_mut().knows_unknown(id, now);
        if id.as_ref().is_some_and(known) {
            return Refusal::invalid(Fault::UnknownKey(None).to_string());
        }
        let (jwt, remote, token) = (self.clone(), remote.clone(), token.to_vec());
        Check::Waits(Box::pin(async move {
            let fetched = remote.ask(&*jwt.0.core).await;
            match jwt.0.look_at(&token, scheme::now()) {
                Ok(identity) => Check::Passed(identity),
                Err(Fault::UnknownKey(_)) if remote.has_none() => {
                    Refusal::busy("the keys that verify tokens cannot be had now")
                }
                Err(fault) => {
                    if let (Fault::UnknownKey(Some(id)), true) = (&fault, fetched) {
                        jwt.0.state.borrow_mut().note_unknown(id.clone(), now);
                    }
                    Refusal::invalid(fault.to_string())
                }
            }
        }))
    }
}

impl Inner {
    /// Whose token it is, from memory or by verifying it.
    fn look_at(&self, token: &[u8], now: f64) -> Result<Rc<Identity>, Fault> {
        let mut state = self.state.borrow_mut();
        if self.plan.version() != state.version {
            // What was good may not be any more.
            *state = State::of(&self.plan);
        }
        let place = state.memory.place(token);
        if let Some(known) = state.memory.find(place, |known| *known.token == *token) {
            if now < known.until {
                return Ok(known.identity.clone());
            }
            state.memory.forget(place);
        }
        let verified = state.verify(token, &self.plan.rules, now)?;
        let consumer = verified.claims.get("sub").and_then(|subject| subject.as_str());
        let consumer = consumer.unwrap_or_default().to_owned();
        let identity = Rc::new(Identity { consumer, claims: verified.claims });
        if token.len() <= LONGEST_REMEMBERED {
            let until = verified.until.unwrap_or(now + WITHOUT_END);
            let identity = identity.clone();
            state.memory.put(place, Remembered { token: token.into(), until, identity });
        }
        Ok(identity)
    }
}

impl Scheme for Jwt {
    fn check(&self, exchange: &Exchange) -> Check {
        match self.0.plan.place.find(&exchange.request) {
            Found::Nothing => Check::Absent,
            Found::Several => Refusal::several(),
            Found::One(token) => self.check_token(&token, scheme::now()),
        }
    }

    fn accept(&self, exchange: &mut Exchange, identity: &Identity) {
        let mut value = self.0.scratch.borrow_mut();
        for (claim, header) in &self.0.plan.headers {
            value.clear();
            if identity.append_claim(claim, &mut value)
                && exchange.request.edits.set(header, &value).is_err()
            {
                // The header stays away: the client's own is gone already.
                tracing::debug!(claim, header, "a claim cannot stand in a header and is left out");
            }
        }
        accept_place(&self.0.plan.place, self.0.plan.forward, exchange);
    }

    fn place(&self) -> &Place {
        &self.0.plan.place
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
