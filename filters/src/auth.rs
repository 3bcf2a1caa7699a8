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
//! Headers that tell the upstream who asks (`claims_to_headers`, `consumer_header`) are taken from
//! no client: what it sends under these names, in any case and with `_` or `.` for `-`, is removed
//! from every request, also on paths in `exclude_paths`. A claim that is not in the token leaves
//! its header away. `realm_access.roles` is the claim of this name, or else what is inside of one;
//! a list is written with commas.
//!
//! `exclude_paths` are prefixes of whole segments, compared with the path as it is routed: dot
//! segments, escapes and `//` are settled before.
//!
//! # Answers
//!
//! 401 with `WWW-Authenticate` (RFC 6750) and the reason, which tells nothing secret. 400 when a
//! request has several credentials of a kind, of which none can be preferred.
//!
//! # State
//!
//! Per core: the last 4096 tokens that were good, each until it ends, so that a token that comes
//! again is compared and not verified. Shared: the keys. All is forgotten when keys change.

mod credential;
mod jwt;
mod keys;
mod local;
mod memory;
mod scheme;
mod token;
mod written;

use std::rc::Rc;

use ringway_engine::exchange::{Exchange, Identity};
use ringway_engine::filter::{Blueprint, Core, Filter, SettingsError, Step, Verdict};
use ringway_engine::shared::Shared;

use crate::alias::remove_aliases;
use crate::excluded::Excluded;
use crate::plan;

use jwt::Jwt;
use scheme::{Check, Refusal, Scheme};

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
    excluded: Excluded,
    realm: String,
    /// The header with the consumer's name.
    consumer_header: Option<String>,
    /// Headers that no client may send.
    guarded: Vec<String>,
}

/// One way to prove who one is.
enum Lower {
    Jwt(Shared<jwt::Plan>),
}

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "auth"
    }

    fn summary(&self) -> String {
        let schemes = self.0.schemes.iter().map(|scheme| match scheme {
            Lower::Jwt(plan) => plan.summary(),
        });
        let mut parts = vec![schemes.collect::<Vec<_>>().join(" or ")];
        if !self.0.excluded.is_empty() {
            parts.push(format!("except {}", self.0.excluded));
        }
        parts.join("; ")
    }

    fn instance(&self, _: &Rc<dyn Core>) -> Rc<dyn Filter> {
        let schemes = self.0.schemes.iter().map(|scheme| match scheme {
            Lower::Jwt(plan) => Box::new(Jwt::new(plan.clone())) as Box<dyn Scheme>,
        });
        Rc::new(Auth { schemes: schemes.collect(), settings: self.0.clone() })
    }

    fn identifies(&self) -> bool {
        true
    }
}

/// One core's instance.
struct Auth {
    schemes: Vec<Box<dyn Scheme>>,
    settings: Shared<Lowered>,
}

/// The first refusal, and whose it is.
type Refused = Option<(usize, Refusal)>;

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
            }
        }
        Step::Now(self.refuse(refused))
    }
}

impl Auth {
    fn accept(&self, exchange: &mut Exchange, at: usize, identity: Rc<Identity>) -> Verdict {
        let scheme = &self.schemes[at];
        scheme.accept(exchange, &identity);
        if let Some(header) = &self.settings.consumer_header
            && !identity.consumer.is_empty()
            && exchange.request.edits.set(header, identity.consumer.as_bytes()).is_err()
        {
            tracing::debug!(header, "a consumer's name cannot stand in a header and is left out");
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
