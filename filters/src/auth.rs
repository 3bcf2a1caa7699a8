//! Lets only requests pass whose senders prove who they are, and tells the upstream who they are.
//!
//! # Settings
//!
//! ```yaml
//! - auth:
//!     type: jwt
//!     secret: a-secret-of-at-least-32-random-bytes   # or a file, or public keys
//!     issuer: https://login.example.com              # `iss` is one of these
//!     audience: [shop, shop-admin]                   # `aud` names one of these
//!     required_claims: [sub]
//!     claims_to_headers: {sub: X-User-ID, realm_access.roles: X-Roles}
//!     exclude_paths: [/public, /healthz]
//! ```
//!
//! A token is taken from `Authorization: Bearer`, or from where `from` says. Its algorithm must be
//! one that the key is for: a secret verifies HS256, HS384 and HS512 and nothing else, an RSA key
//! RS* and PS*, a P-256 key ES256, a P-384 key ES384, an Ed25519 key EdDSA; `none` never passes.
//! `algorithms` narrows that down. `exp` has to be there unless `require_expiry` is false, and it
//! and `nbf` are obeyed, give or take `leeway`. Where `issuer` or `audience` is left out, any is
//! taken.
//!
//! ```yaml
//! - auth:
//!     type: jwt
//!     jwks_url: https://login.example.com/.well-known/jwks.json
//!     jwks_refresh_every: 5m
//! ```
//!
//! A set behind `https` is taken only from a server whose certificate is of an authority that the
//! system trusts. To trust one of your own, add it to the system's, or name a file with it in
//! `SSL_CERT_FILE` or a folder in `SSL_CERT_DIR` in the environment of `ringway run`: these replace
//! the system's.
//!
//! A set behind a URL is fetched off the workers. A token that names a key which is not in it has
//! it fetched again, no more often than `jwks_cooldown` says and once at a time for the whole
//! process, and waits for that up to 5 seconds. While the set cannot be fetched, the last good one
//! counts. Filters that name the same URL share what is fetched, also with those of the file before
//! a reload. Files with keys and `revoked_file` are read again within a second of a change; what is
//! wrong with them then is logged, and what was read before stays. Beside a line of `revoked_file`
//! that is broken the others count.
//!
//! ```yaml
//! - auth:
//!     any_of:
//!       - type: api_key                # X-API-Key, or what `from` says
//!         consumers:
//!           - name: billing
//!             key_hash: 7bf6d3fe2745a59f19969d0e5139ca02f880c5798a09d07bbfec3079299388cb
//!             expires: 2030-01-31      # never, if left out
//!             routes: [invoices]       # all, if left out
//!       - type: basic
//!         users:
//!           - name: alice
//!             password_hash: $2b$10$abcdefghijklmnopqrstuuKDmqiT.M9Ud65s62zd1DcCnCVcm7Rye
//!     exclude_paths: [/public]
//! ```
//!
//! Of `any_of`, those are tried whose credential is there, in the order of the file, and the first
//! that is good decides. When none is, the answer tells why the first of them was not, and names
//! all the kinds that are taken. A credential that was not verified, because another one was good
//! before, is left out of what the upstream sees.
//!
//! `ringway hash-key` makes an API key and its hash. Hashes of passwords are argon2 or bcrypt, as
//! `htpasswd -nBC 10 NAME` prints them. Keys and passwords are left out of what the upstream sees,
//! unless `forward` is true; a token is made to be passed on, and is unless it is false.
//!
//! Headers that tell the upstream who asks (`claims_to_headers`, `consumer_header`) are taken from
//! no client: what it sends under these names, in any case and with `_` or `.` for `-`, is removed
//! from every request, also on paths in `exclude_paths`. A claim that is not in the token leaves
//! its header away, and so does one with control characters or with blanks around it, which no
//! header can hold (RFC 9110 §5.5). `realm_access.roles` is the claim of this name, or else what is
//! inside of one; a list is written with commas, and left away when an entry has one in it or
//! blanks around it.
//!
//! `exclude_paths` are prefixes of whole segments, compared with the path as it is routed: dot
//! segments, escapes and `//` are settled before.
//!
//! # Answers
//!
//! 401 with `WWW-Authenticate` (RFC 6750, RFC 7617) and the reason, which tells nothing secret. 400
//! when a request has several credentials of a kind, of which none can be preferred. 403 when a key
//! is for other routes. 503 with `Retry-After` when too many passwords wait to be verified, or no
//! key has been fetched yet.
//!
//! # State
//!
//! Per core: the last 4096 tokens that were good, each until it ends, so that a token that comes
//! again is compared and not verified; and the last 1024 passwords that were right, as a keyed hash
//! and for as long as `remember` says. Shared: the keys and what is revoked. All tokens are
//! forgotten when one of these changes.

mod api_key;
mod basic;
mod credential;
mod date;
mod jwt;
mod keys;
mod local;
mod lower;
mod memory;
mod remote;
mod revoked;
mod scheme;
mod token;
mod watch;
mod written;

use std::rc::Rc;

use ringway_engine::exchange::{Exchange, Identity};
use ringway_engine::filter::{Blueprint, Core, Errand, Filter, SettingsError, Step, Verdict};
use ringway_engine::guard::{Guard, Way};
use ringway_engine::shared::Shared;

use crate::alias::remove_aliases;
use crate::excluded::Excluded;
use crate::{plan, wrong};

use api_key::ApiKey;
use basic::Basic;
use credential::{Found, Place};
use jwt::Jwt;
use scheme::{Check, Refusal, Scheme};

pub use api_key::{hash_key, random_key};
pub(crate) use written::Settings;

impl Settings {
    /// Refuses what cannot be meant, and reads the keys.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        Ok(plan(Plan(Shared::new(self.lower()?))))
    }
}

/// The settings once they are checked.
struct Plan(Shared<Lowered>);

/// What all cores read.
struct Lowered {
    schemes: Vec<Lower>,
    /// They are entries of `any_of`.
    any_of: bool,
    excluded: Excluded,
    realm: String,
    /// The header with the consumer's name.
    consumer_header: Option<String>,
    /// Headers that no client may send.
    guarded: Vec<String>,
}

impl Lowered {
    /// What stands before the fields of a scheme in their places.
    fn place(&self, at: usize) -> String {
        if self.any_of { format!("any_of[{at}].") } else { String::new() }
    }
}

/// One way to prove who one is.
enum Lower {
    Jwt(Shared<jwt::Plan>),
    ApiKey(Shared<api_key::Plan>),
    Basic(Shared<basic::Plan>),
}

impl Lower {
    fn summary(&self) -> String {
        match self {
            Lower::Jwt(plan) => plan.summary(),
            Lower::ApiKey(plan) => plan.summary(),
            Lower::Basic(plan) => plan.summary(),
        }
    }

    /// What is asked of who passes by it.
    fn way(&self) -> Way {
        let (name, terms) = match self {
            Lower::Jwt(plan) => ("jwt", plan.terms()),
            Lower::ApiKey(_) => ("api_key", Vec::new()),
            Lower::Basic(_) => ("basic", Vec::new()),
        };
        Way { name: name.to_owned(), terms }
    }

    fn instance(&self, core: &Rc<dyn Core>) -> Box<dyn Scheme> {
        match self {
            Lower::Jwt(plan) => Box::new(Jwt::new(plan.clone(), core)),
            Lower::ApiKey(plan) => Box::new(ApiKey::new(plan.clone())),
            Lower::Basic(plan) => Box::new(Basic::new(plan.clone(), core)),
        }
    }
}

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "auth"
    }

    fn summary(&self) -> String {
        let schemes: Vec<_> = self.0.schemes.iter().map(Lower::summary).collect();
        let mut parts = vec![schemes.join(" or ")];
        if !self.0.excluded.is_empty() {
            parts.push(format!("except {}", self.0.excluded));
        }
        parts.join("; ")
    }

    fn instance(&self, core: &Rc<dyn Core>) -> Rc<dyn Filter> {
        let schemes = self.0.schemes.iter().map(|scheme| scheme.instance(core)).collect();
        Rc::new(Auth { schemes, settings: self.0.clone() })
    }

    fn identifies(&self) -> bool {
        true
    }

    fn routes(&self) -> Vec<(String, &str)> {
        let schemes = self.0.schemes.iter().enumerate();
        let keys = schemes.filter_map(|(at, scheme)| match scheme {
            Lower::ApiKey(plan) => Some((self.0.place(at), plan)),
            Lower::Jwt(_) | Lower::Basic(_) => None,
        });
        let named = keys.flat_map(|(place, plan)| {
            plan.routes().map(move |(field, name)| (format!("{place}{field}"), name))
        });
        named.collect()
    }

    fn guard(&self) -> Option<Guard> {
        let mut ways: Vec<Way> = Vec::new();
        for scheme in &self.0.schemes {
            let Way { name, terms } = scheme.way();
            // Of several of a kind, each is known by its number among them.
            let alike = ways.iter().filter(|way| way.name.split(' ').next() == Some(&name));
            let name = match alike.count() {
                0 => name,
                others => format!("{name} {}", others + 1),
            };
            ways.push(Way { name, terms });
        }
        Some(Guard { terms: vec![self.0.excluded.term("exclude_paths")], ways })
    }

    fn warnings(&self) -> Vec<SettingsError> {
        let mut warnings = Vec::new();
        for (at, scheme) in self.0.schemes.iter().enumerate() {
            let Lower::Jwt(plan) = scheme else { continue };
            let place = self.0.place(at);
            warnings.extend(plan.local.short_secret(&place));
        }
        if self.0.excluded.holds_all() {
            let help = "name the paths that need no credentials, or take the filter out";
            let message = "`/` takes every path: nobody is asked for credentials";
            warnings.push(wrong("exclude_paths", message, help));
        }
        warnings
    }

    fn errand(&self) -> Option<Errand> {
        let plans = self.0.schemes.iter().filter_map(|scheme| match scheme {
            Lower::Jwt(plan) => Some(watch::errand(plan.clone())),
            Lower::ApiKey(_) | Lower::Basic(_) => None,
        });
        let mut errands: Vec<_> = plans.collect();
        if errands.is_empty() {
            return None;
        }
        Some(Box::new(move || {
            let waits = errands.iter_mut().map(|errand| errand());
            waits.min().expect("invariant: there is one at least")
        }))
    }
}

/// One core's instance.
struct Auth {
    schemes: Vec<Box<dyn Scheme>>,
    settings: Shared<Lowered>,
}

/// The first refusal, and whose it is.
type Refused = Option<(usize, Refusal)>;

/// Takes the credential of a scheme that has let a request pass out of it, unless it is forwarded;
/// and then what could be taken for it.
fn accept_place(place: &Place, forward: bool, exchange: &mut Exchange) {
    match forward {
        true => place.remove_aliases(&mut exchange.request),
        false => place.remove(&mut exchange.request),
    }
}

impl Filter for Auth {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        // HTTP_SAFETY rule 17: before anything else, and whatever comes of it.
        for header in &self.settings.guarded {
            remove_aliases(&mut exchange.request, header);
            let removed = exchange.request.edits.remove(header);
            removed.expect("invariant: the name was checked while building");
        }
        if self.settings.excluded.holds(&exchange.request.path) {
            return Step::NEXT;
        }
        let mut refused = None;
        for (at, scheme) in self.schemes.iter().enumerate() {
            match scheme.check(exchange) {
                Check::Absent => {}
                Check::Passed(identity) => return Step::Now(self.accept(exchange, at, identity)),
                Check::Refused(refusal) => drop(refused.get_or_insert((at, refusal))),
                waits @ Check::Waits(_) => {
                    return Step::Later(Box::pin(self.later(exchange, at, waits, refused)));
                }
            }
        }
        Step::Now(self.refuse(refused))
    }
}

impl Auth {
    /// The same as above from the scheme at `at` on, which has come to `check`.
    async fn later(
        &self,
        exchange: &mut Exchange,
        mut at: usize,
        mut check: Check,
        mut refused: Refused,
    ) -> Verdict {
        loop {
            match check {
                Check::Passed(identity) => return self.accept(exchange, at, identity),
                Check::Waits(wait) => {
                    check = wait.await;
                    continue;
                }
                Check::Refused(refusal) => drop(refused.get_or_insert((at, refusal))),
                Check::Absent => {}
            }
            at += 1;
            match self.schemes.get(at) {
                Some(scheme) => check = scheme.check(exchange),
                None => return self.refuse(refused),
            }
        }
    }

    fn accept(&self, exchange: &mut Exchange, at: usize, identity: Rc<Identity>) -> Verdict {
        let scheme = &self.schemes[at];
        scheme.accept(exchange, &identity);
        // What nobody has verified is not for an upstream to believe.
        for other in self.schemes.iter().map(|other| other.place()) {
            if other != scheme.place() {
                match other.find(&exchange.request) {
                    Found::Nothing => other.remove_aliases(&mut exchange.request),
                    Found::One(_) | Found::Several => other.remove(&mut exchange.request),
                }
            }
        }
        if let Some(header) = &self.settings.consumer_header {
            let (edits, name) = (&mut exchange.request.edits, identity.consumer.as_str());
            // Of a name with a blank around it the upstream would see another one (RFC 9110 §5.5).
            let fits = name.trim_ascii() == name;
            if !name.is_empty() && (!fits || edits.set(header, name.as_bytes()).is_err()) {
                tracing::debug!(header, "a consumer's name cannot stand in a header: left out");
            }
        }
        exchange.identity = Some(identity);
        Verdict::Continue
    }

    fn refuse(&self, refused: Refused) -> Verdict {
        let mut answer = match &refused {
            Some((_, refusal)) => refusal.answer(),
            None => Refusal::missing().answer(),
        };
        if matches!(answer.status, 400 | 401) {
            for (at, scheme) in self.schemes.iter().enumerate() {
                let own = refused.as_ref().filter(|(of, _)| *of == at).map(|(_, refusal)| refusal);
                let challenge = scheme.challenge(&self.settings.realm, own);
                let field = ("WWW-Authenticate".to_owned(), challenge);
                if !answer.headers.contains(&field) {
                    answer.headers.push(field);
                }
            }
        }
        Verdict::Answer(Box::new(answer))
    }
}

#[cfg(test)]
mod tests;
