//! Keys that clients send as they are. Only hashes of them are kept.

use std::rc::Rc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ringway_engine::exchange::{Exchange, Identity};
use ringway_engine::filter::SettingsError;
use ringway_engine::shared::Shared;
use schemars::JsonSchema;
use serde::Deserialize;

use super::credential::{Found, Place};
use super::scheme::{Check, Refusal, Scheme, now};
use super::{accept_place, date};
use crate::wrong;

/// One key and whose it is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// The name under which limits, logs and the upstream know the client. Several keys may have
    /// the same one.
    pub name: String,
    /// The SHA-256 of the key in 64 hex digits, as `ringway hash-key` prints it.
    pub key_hash: String,
    /// When the key stops to be good: a day (its beginning, in UTC) such as `2027-01-31`, or
    /// `2027-01-31T18:00:00Z`; never if left out.
    #[serde(default)]
    pub expires: String,
    /// The only routes that it is good for, by name; all if left out.
    #[serde(default)]
    pub routes: Vec<String>,
}

/// A key as `ringway hash-key` makes it: 32 random bytes behind letters that tell what it is.
///
/// # Errors
/// When the system has no random numbers.
pub fn random_key() -> Result<String, &'static str> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| "the system has no random numbers")?;
    Ok(format!("rw_{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// What is kept of a key: its SHA-256 in hex digits. A key has as many random bits as its hash, so
/// nothing slower is needed.
pub fn hash_key(key: &str) -> String {
    digest(&SHA256, key.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The settings once they are checked, for all cores.
pub(super) struct Plan {
    place: Place,
    forward: bool,
    /// By hash.
    keys: Vec<Key>,
}

struct Key {
    /// Its place in the file.
    place: usize,
    hash: [u8; 32],
    until: f64,
    /// Names of routes; none are all.
    routes: Vec<String>,
    consumer: String,
}

impl Plan {
    pub(super) fn new(
        place: Place,
        forward: bool,
        consumers: &[Consumer],
    ) -> Result<Self, SettingsError> {
        if consumers.is_empty() {
            let help = "write `consumers: [{name: …, key_hash: …}]`; `ringway hash-key` makes one";
            return Err(wrong("consumers", "there are no keys: nobody could pass", help));
        }
        let mut keys: Vec<Key> = Vec::new();
        for (at, consumer) in consumers.iter().enumerate() {
            let field = |name: &str| format!("consumers[{at}].{name}");
            if consumer.name.is_empty() {
                return Err(wrong(field("name"), "the name is empty", "write whose key it is"));
            }
            if consumer.name.contains(char::is_control) {
                let help = "write it without line breaks and the like: headers and logs bear it";
                return Err(wrong(field("name"), "a control character is in the name", help));
            }
            let Some(hash) = read_hash(&consumer.key_hash) else {
                let help = "write what `ringway hash-key` prints, not the key itself";
                return Err(wrong(field("key_hash"), "a hash has 64 hex digits", help));
            };
            if keys.iter().any(|key| key.hash == hash) {
                let help = "make another key: `ringway hash-key`";
                return Err(wrong(field("key_hash"), "two consumers have the same key", help));
            }
            let until = match consumer.expires.as_str() {
                "" => f64::INFINITY,
                text => date::read(text).ok_or_else(|| {
                    let help = "write `2027-01-31`, or `2027-01-31T18:00:00Z`";
                    wrong(field("expires"), format!("`{text}` is no day or time"), help)
                })?,
            };
            let (routes, consumer) = (consumer.routes.clone(), consumer.name.clone());
            keys.push(Key { place: at, hash, until, routes, consumer });
        }
        keys.sort_by_key(|key| key.hash);
        Ok(Plan { place, forward, keys })
    }

    /// The routes that keys are for, each with its place.
    pub(super) fn routes(&self) -> impl Iterator<Item = (String, &str)> {
        self.keys.iter().flat_map(|key| {
            let field = |at| format!("consumers[{}].routes[{at}]", key.place);
            key.routes.iter().enumerate().map(move |(at, name)| (field(at), name.as_str()))
        })
    }

    /// In a few words, for `ringway explain`.
    pub(super) fn summary(&self) -> String {
        format!("api_key, {} keys", self.keys.len())
    }

    /// The place of a key. It is looked for by the first bytes of its hash, which nobody can
    /// choose, and all of the hash is compared in constant time.
    fn find(&self, key: &[u8]) -> Option<usize> {
        let hash = digest(&SHA256, key);
        let hash = hash.as_ref();
        let at = self.keys.partition_point(|key| key.hash[..8] < hash[..8]);
        let from = self.keys.get(at..)?;
        let alike = from.iter().take_while(|key| key.hash[..8] == hash[..8]);
        let found =
            alike.enumerate().find(|(_, key)| verify_slices_are_equal(&key.hash, hash).is_ok());
        found.map(|(further, _)| at + further)
    }
}

fn read_hash(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(hash)
}

/// One core's instance.
pub(super) struct ApiKey {
    plan: Shared<Plan>,
    /// Who has each key, in the order of the plan.
    identities: Vec<Rc<Identity>>,
}

impl ApiKey {
    pub(super) fn new(plan: Shared<Plan>) -> Self {
        let identity =
            |key: &Key| Rc::new(Identity { consumer: key.consumer.clone(), ..Identity::default() });
        let identities = plan.keys.iter().map(identity).collect();
        ApiKey { plan, identities }
    }

    fn check_key(&self, key: &[u8], route: &str, now: f64) -> Check {
        let Some(at) = self.plan.find(key) else {
            return Refusal::invalid("the key is not known");
        };
        let key = &self.plan.keys[at];
        if now >= key.until {
            return Refusal::invalid("the key has expired");
        }
        if !key.routes.is_empty() && !key.routes.iter().any(|name| name == route) {
            return Refusal::forbidden("the key is not for this route");
        }
        Check::Passed(self.identities[at].clone())
    }
}

impl Scheme for ApiKey {
    fn check(&self, exchange: &Exchange) -> Check {
        match self.plan.place.find(&exchange.request) {
            Found::Nothing => Check::Absent,
            Found::Several => Refusal::several(),
            Found::One(key) => self.check_key(&key, &exchange.route_name, now()),
        }
    }

    fn accept(&self, exchange: &mut Exchange, _: &Identity) {
        accept_place(&self.plan.place, self.plan.forward, exchange);
    }

    fn place(&self) -> &Place {
        &self.plan.place
    }

    fn challenge(&self, realm: &str, _: Option<&Refusal>) -> String {
        format!("ApiKey realm=\"{realm}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(consumers: Vec<Consumer>) -> ApiKey {
        let place = Place::Header("X-API-Key".to_owned(), "ApiKey");
        ApiKey::new(Shared::new(Plan::new(place, false, &consumers).unwrap()))
    }

    fn consumer(name: &str, key: &str) -> Consumer {
        Consumer { name: name.to_owned(), key_hash: hash_key(key), ..Consumer::default() }
    }

    /// Who may pass with a key, or why nobody may.
    fn who(keys: &ApiKey, key: &str, route: &str, now: f64) -> String {
        match keys.check_key(key.as_bytes(), route, now) {
            Check::Passed(identity) => identity.consumer.clone(),
            Check::Refused(refusal) => format!("{} {}", refusal.status, refusal.reason),
            Check::Absent | Check::Waits(_) => panic!("a key is there and takes no time"),
        }
    }

    #[test]
    fn a_hash_is_that_of_fips_180() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash_key("abc"), expected);
        assert_ne!(random_key().unwrap(), random_key().unwrap());
        assert!(random_key().unwrap().len() > 40);
    }

    #[test]
    fn a_key_is_known_by_its_hash() {
        let mut many: Vec<_> =
            (0..100).map(|n| consumer(&format!("c{n}"), &format!("k{n}"))).collect();
        many.push(Consumer { key_hash: hash_key("K").to_uppercase(), ..consumer("upper", "K") });
        let keys = key(many);
        for n in 0..100 {
            assert_eq!(who(&keys, &format!("k{n}"), "r", 0.0), format!("c{n}"));
        }
        assert_eq!(who(&keys, "K", "r", 0.0), "upper");
        for other in ["", "k", "k100", &hash_key("k1")] {
            assert_eq!(who(&keys, other, "r", 0.0), "401 the key is not known");
        }
    }

    #[test]
    fn a_key_may_end_and_may_be_for_some_routes() {
        let keys = key(vec![
            Consumer { expires: "1970-01-02".to_owned(), ..consumer("short", "s") },
            Consumer { routes: vec!["a".to_owned(), "b".to_owned()], ..consumer("some", "r") },
        ]);
        assert_eq!(who(&keys, "s", "a", 86_399.0), "short");
        assert_eq!(who(&keys, "s", "a", 86_400.0), "401 the key has expired");
        assert_eq!(who(&keys, "r", "b", 0.0), "some");
        assert_eq!(who(&keys, "r", "c", 0.0), "403 the key is not for this route");
    }
}
