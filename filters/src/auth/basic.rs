//! Users and passwords (RFC 7617). Passwords are slow to verify on purpose, so that is done off
//! the worker, and one that was right is remembered for a while.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ringway_engine::exchange::{Exchange, Identity};
use ringway_engine::filter::{Core, SettingsError, compute};
use ringway_engine::shared::Shared;
use schemars::JsonSchema;
use serde::Deserialize;

use super::accept_place;
use super::credential::{Found, Place};
use super::memory::Memory;
use super::scheme::{Check, Refusal, Scheme, now};
use crate::wrong;

/// How many right passwords a core remembers.
const REMEMBERED: usize = 1024;

/// The longest user and password together, in bytes.
const MAX_PAIR: usize = 1024;

/// The most memory that verifying one password may take, in KiB.
const MAX_MEMORY: u32 = 1024 * 1024;

/// The most passes over it, and the largest cost of bcrypt: about a second.
const MAX_PASSES: u32 = 64;
const MAX_COST: u32 = 14;

/// A user.
#[derive(Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The user's name, without `:`.
    pub name: String,
    /// The hash of the password: argon2 (`$argon2id$…`) or bcrypt (`$2b$…`).
    pub password_hash: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "User({:?}, ***)", self.name)
    }
}

/// The settings once they are checked, for all cores.
pub(super) struct Plan {
    place: Place,
    forward: bool,
    users: Vec<User>,
    remember: Duration,
    /// Chooses whose hash an unknown user's password is held against.
    seed: RandomState,
}

impl Plan {
    pub(super) fn new(
        forward: bool,
        users: &[User],
        remember: Duration,
    ) -> Result<Self, SettingsError> {
        if users.is_empty() {
            let help = "write `users: [{name: …, password_hash: …}]`";
            return Err(wrong("users", "there are no users: nobody could pass", help));
        }
        for (at, user) in users.iter().enumerate() {
            let field = |name: &str| format!("users[{at}].{name}");
            if user.name.is_empty() || user.name.contains(':') {
                let help = "write a name without `:` (RFC 7617 §2)";
                return Err(wrong(field("name"), "no client could send this name", help));
            }
            if users[..at].iter().any(|other| other.name == user.name) {
                let message = format!("the user `{}` is there twice", user.name);
                return Err(wrong(field("name"), message, "keep one of them"));
            }
            check_hash(&user.password_hash).map_err(|message| {
                let help = "write what `htpasswd -nBC 10 NAME` or `argon2` prints, in quotes";
                wrong(field("password_hash"), message, help)
            })?;
        }
        let place = Place::Authorization("Basic");
        let seed = RandomState::new();
        Ok(Plan { place, forward, users: users.to_vec(), remember, seed })
    }

    /// In a few words, for `ringway explain`.
    pub(super) fn summary(&self) -> String {
        format!("basic, {} users", self.users.len())
    }

    /// Verifies a pair; the place of the user whose it is. An unknown user costs as much as a known
    /// one: the password is held against the hash of some other.
    fn verify(&self, pair: &[u8]) -> Option<usize> {
        let colon = pair.iter().position(|&byte| byte == b':')?;
        let (name, password) = (&pair[..colon], &pair[colon + 1..]);
        let known = self.users.iter().position(|user| user.name.as_bytes() == name);
        let some = self.seed.hash_one(name) % self.users.len() as u64;
        let user = &self.users[known.unwrap_or(some as usize)];
        known.filter(|_| verify_password(password, &user.password_hash)).or_else(|| {
            if known.is_none() {
                verify_password(password, &user.password_hash);
            }
            None
        })
    }
}

fn verify_password(password: &[u8], hash: &str) -> bool {
    match hash.starts_with("$2") {
        true => bcrypt::verify(password, hash).unwrap_or(false),
        false => Argon2::default().verify_password(password, hash).is_ok(),
    }
}

fn check_hash(hash: &str) -> Result<(), String> {
    if hash.starts_with("$2") {
        let parts = bcrypt::HashParts::from_str(hash).map_err(|_| "this is no bcrypt hash")?;
        return match parts.get_cost() {
            ..=MAX_COST => Ok(()),
            cost => Err(format!("a bcrypt cost of {cost} takes too long; at most {MAX_COST}")),
        };
    }
    if !hash.starts_with("$argon2") {
        return Err("this is neither an argon2 nor a bcrypt hash".to_owned());
    }
    let parts = PasswordHash::new(hash).map_err(|_| "this is no argon2 hash")?;
    let number = |name: &str| parts.params.get_decimal(name).unwrap_or_default();
    if number("m") > MAX_MEMORY || number("t") > MAX_PASSES {
        return Err(format!("more than m={MAX_MEMORY} or t={MAX_PASSES} takes too long"));
    }
    match parts.hash {
        Some(_) => Ok(()),
        None => Err("this is no argon2 hash".to_owned()),
    }
}

/// One core's instance.
pub(super) struct Basic {
    plan: Shared<Plan>,
    core: Rc<dyn Core>,
    /// Makes of a pair what is remembered of it; made anew for each core, and never leaves it.
    key: hmac::Key,
    memory: Rc<RefCell<Memory<Remembered>>>,
    identities: Rc<[Rc<Identity>]>,
}

/// A pair that was right.
struct Remembered {
    tag: hmac::Tag,
    until: f64,
    user: usize,
}

impl Basic {
    pub(super) fn new(plan: Shared<Plan>, core: &Rc<dyn Core>) -> Self {
        let mut key = [0; 32];
        // Without random numbers nothing of TLS or tokens works either; a key that is known to
        // nobody is made of the hasher's then.
        if rand::fill(&mut key).is_err() {
            for part in key.chunks_mut(8) {
                part.copy_from_slice(&RandomState::new().hash_one(0).to_ne_bytes());
            }
        }
        let identity =
            |user: &User| Rc::new(Identity { consumer: user.name.clone(), ..Identity::default() });
        let identities = plan.users.iter().map(identity).collect();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let memory = Rc::new(RefCell::new(Memory::new(REMEMBERED)));
        Basic { plan, core: core.clone(), key, memory, identities }
    }

    fn check_pair(&self, credential: &[u8], now: f64) -> Check {
        let mut room = [0; MAX_PAIR];
        let Ok(len) = STANDARD.decode_slice(credential, &mut room) else {
            return Refusal::invalid("the credential is not of the form that is expected");
        };
        let pair = &room[..len];
        let tag = hmac::sign(&self.key, pair);
        let place = {
            let mut memory = self.memory.borrow_mut();
            let place = memory.place(tag.as_ref());
            let same = |known: &Remembered| {
                verify_slices_are_equal(known.tag.as_ref(), tag.as_ref()).is_ok()
            };
            match memory.find(place, same) {
                Some(known) if now < known.until => {
                    return Check::Passed(self.identities[known.user].clone());
                }
                _ => place,
            }
        };
        let (memory, identities) = (self.memory.clone(), self.identities.clone());
        let until = now + self.plan.remember.as_secs_f64();
        let (plan, core, pair) = (self.plan.clone(), self.core.clone(), pair.to_vec());
        Check::Waits(Box::pin(async move {
            match compute(&*core, move || plan.verify(&pair)).await {
                None => Refusal::busy("too many passwords wait to be verified"),
                Some(None) => Refusal::invalid("the user or the password is wrong"),
                Some(Some(user)) => {
                    memory.borrow_mut().put(place, Remembered { tag, until, user });
                    Check::Passed(identities[user].clone())
                }
            }
        }))
    }
}

impl Scheme for Basic {
    fn check(&self, exchange: &Exchange) -> Check {
        match self.plan.place.find(&exchange.request) {
            Found::Nothing => Check::Absent,
            Found::Several => Refusal::several(),
            Found::One(credential) => self.check_pair(&credential, now()),
        }
    }

    fn accept(&self, exchange: &mut Exchange, _: &Identity) {
        accept_place(&self.plan.place, self.plan.forward, exchange);
    }

    fn place(&self) -> &Place {
        &self.plan.place
    }

    fn challenge(&self, realm: &str, _: Option<&Refusal>) -> String {
        // RFC 7617 §2.1: the only value that `charset` may have.
        format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use argon2::CustomizedPasswordHasher;

    use super::*;
    use crate::tests::core;

    /// `secret` as argon2id with little memory.
    fn argon2() -> String {
        let params = argon2::Params::new(64, 1, 1, None).unwrap();
        let salted = Argon2::default().hash_password_customized(
            b"secret",
            b"salt of the tests",
            None,
            None,
            params,
        );
        salted.unwrap().to_string()
    }

    /// `secret` as bcrypt with the least cost.
    fn bcrypt() -> String {
        bcrypt::hash("secret", 4).unwrap()
    }

    fn user(name: &str, password_hash: &str) -> User {
        User { name: name.to_owned(), password_hash: password_hash.to_owned() }
    }

    fn basic(users: &[User]) -> Basic {
        let plan = Plan::new(false, users, Duration::from_secs(60)).unwrap();
        Basic::new(Shared::new(plan), &core())
    }

    /// Who may pass with a pair and whether that took a while, or why nobody may.
    fn who(basic: &Basic, pair: &str, now: f64) -> String {
        let (check, waited) = match basic.check_pair(STANDARD.encode(pair).as_bytes(), now) {
            Check::Waits(mut wait) => {
                let mut context = Context::from_waker(Waker::noop());
                let Poll::Ready(check) = wait.as_mut().poll(&mut context) else {
                    panic!("a test's core is done at once")
                };
                (check, "slowly")
            }
            check => (check, "quickly"),
        };
        match check {
            Check::Passed(identity) => format!("{} {waited}", identity.consumer),
            Check::Refused(refusal) => format!("{} {waited}", refusal.reason),
            Check::Absent | Check::Waits(_) => panic!("it comes to an end"),
        }
    }

    #[test]
    fn a_password_is_verified_once_and_remembered_for_a_while() {
        let basic = basic(&[user("alice", &argon2()), user("bob", &bcrypt())]);
        for name in ["alice", "bob"] {
            let pair = format!("{name}:secret");
            assert_eq!(who(&basic, &pair, 0.0), format!("{name} slowly"));
            assert_eq!(who(&basic, &pair, 59.0), format!("{name} quickly"));
            assert_eq!(who(&basic, &pair, 60.0), format!("{name} slowly"));
        }
        for pair in ["alice:wrong", "alice:", "bob:secre", "carol:secret", ":secret", "secret"] {
            for _ in 0..2 {
                let wrong = "the user or the password is wrong slowly";
                assert_eq!(who(&basic, pair, 0.0), wrong, "{pair}");
            }
        }
    }

    #[test]
    fn what_is_no_pair_is_refused_at_once() {
        let basic = basic(&[user("alice", &argon2())]);
        for credential in ["", "%", "YWxpY2U6c2VjcmV0=", "YWxpY2U6c2VjcmV0 "] {
            let check = basic.check_pair(credential.as_bytes(), 0.0);
            let refused = matches!(check, Check::Refused(_)) || credential.is_empty();
            assert!(refused, "{credential}");
        }
        let long = STANDARD.encode(format!("alice:{}", "a".repeat(MAX_PAIR)));
        assert!(matches!(basic.check_pair(long.as_bytes(), 0.0), Check::Refused(_)));
    }

    #[test]
    fn hashes_that_cannot_be_verified_in_time_are_refused() {
        for (hash, part) in [
            ("secret", "neither"),
            ("$2b$04$short", "no bcrypt"),
            ("$argon2id$v=19$m=64", "no argon2"),
            ("$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0", "too long"),
        ] {
            let error = check_hash(hash).unwrap_err();
            assert!(error.contains(part) && !error.contains(hash), "{error}");
        }
        let costly = bcrypt().replace("$04$", "$20$");
        assert!(check_hash(&costly).unwrap_err().contains("cost"));
        assert!(
            Plan::new(false, &[user("a", &argon2()), user("a", &bcrypt())], Duration::ZERO)
                .is_err()
        );
        assert!(Plan::new(false, &[user("a:b", &argon2())], Duration::ZERO).is_err());
        assert!(!format!("{:?}", user("a", &argon2())).contains("argon2"));
    }
}
