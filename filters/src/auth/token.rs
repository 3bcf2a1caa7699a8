//! One token: taken apart, verified, and held against the rules. Takes the time as an argument.
//!
//! The parts of a token that could lead elsewhere (`jku`, `jwk`, `x5u`, `x5c`) are not looked at,
//! and `kid` is compared with the ids of known keys and nothing else (HTTP_SAFETY rule 25).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use ringway_engine::exchange::claim_of;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::keys::{Keys, by_name};

/// The longest token, in bytes: as long as a line of a head may be.
pub(super) const MAX_TOKEN: usize = 16 * 1024;

/// How many keys are tried on a token that names none, so that a forged one costs little.
const MAX_TRIED: usize = 8;

/// What a token must say.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// It is signed with one of these, unless there are none: whichever key it is good with.
    pub(super) algorithms: Vec<Algorithm>,
    /// `iss` is one of these, unless there are none.
    pub(super) issuer: Vec<String>,
    /// `aud` names one of these, unless there are none.
    pub(super) audience: Vec<String>,
    /// By how many seconds clocks may differ.
    pub(super) leeway: f64,
    pub(super) require_expiry: bool,
    /// A key that is not known may be one that has not been fetched yet.
    pub(super) may_be_new: bool,
    /// Claims that must be there.
    pub(super) required: Vec<String>,
}

/// A token that is good.
#[derive(Debug, PartialEq)]
pub(super) struct Verified {
    pub(super) claims: Map<String, Value>,
    /// Seconds since 1970 after which it is not good any more, leeway included.
    pub(super) until: Option<f64>,
}

/// Why a token is refused. The words are for whoever sent it and tell nothing that is in the keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the token is not of the form that is expected")]
    Malformed,
    #[error("the token is too long")]
    TooLong,
    #[error("the token is signed in a way that is not accepted")]
    Algorithm,
    #[error("the token asks for an extension that is not supported")]
    Critical,
    /// Perhaps it is new: the id that the token names.
    #[error("the token is signed with a key that is not known")]
    UnknownKey(Option<String>),
    #[error("the signature of the token is wrong")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token is from another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token lacks a claim that is required")]
    Missing,
    #[error("the token has been revoked")]
    Revoked,
}

/// Verifies a token at `now`, in seconds since 1970.
pub(super) fn verify(
    token: &[u8],
    keys: &[&Keys],
    rules: &Rules,
    now: f64,
) -> Result<Verified, Fault> {
    if token.len() > MAX_TOKEN {
        return Err(Fault::TooLong);
    }
    let token = std::str::from_utf8(token).map_err(|_| Fault::Malformed)?;
    // RFC 7515 §7.1: exactly three parts.
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Fault::Malformed);
    };
    let header = Header::read(&object(header)?)?;
    if !rules.algorithms.is_empty() && !rules.algorithms.contains(&header.algorithm) {
        return Err(Fault::Algorithm);
    }
    let signed = &token[..token.len() - signature.len() - 1];
    check_signature(signed.as_bytes(), signature, &header, keys, rules.may_be_new)?;
    let claims = object(payload)?;
    let until = check_claims(&claims, rules, now)?;
    Ok(Verified { claims, until })
}

/// What of a JOSE header counts (RFC 7515 §4.1).
struct Header {
    algorithm: Algorithm,
    key: Option<String>,
}

impl Header {
    fn read(header: &Map<String, Value>) -> Result<Self, Fault> {
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Fault::Malformed)?;
        // `none` in any case is no algorithm that there is (RFC 7518 §3.6).
        let algorithm = by_name(algorithm).ok_or(Fault::Algorithm)?;
        // No extension is understood, so none that is critical can be (RFC 7515 §4.1.11).
        if header.contains_key("crit") {
            return Err(Fault::Critical);
        }
        let key = match header.get("kid") {
            None => None,
            Some(Value::String(key)) => Some(key.clone()),
            Some(_) => return Err(Fault::Malformed),
        };
        Ok(Header { algorithm, key })
    }
}

fn check_signature(
    signed: &[u8],
    signature: &str,
    header: &Header,
    keys: &[&Keys],
    may_be_new: bool,
) -> Result<(), Fault> {
    let id = header.key.as_deref();
    let mut tried = 0;
    for key in keys.iter().flat_map(|keys| keys.fitting(header.algorithm, id)) {
        if tried == MAX_TRIED {
            return Err(Fault::UnknownKey(None));
        }
        tried += 1;
        let good = jsonwebtoken::crypto::verify(signature, signed, &key.key, header.algorithm);
        if good.unwrap_or(false) {
            return Ok(());
        }
    }
    let known = id.is_some_and(|id| keys.iter().any(|keys| keys.names(id)));
    match (tried, id) {
        // Keys without an id may have been tried in vain, and the one that is meant be new.
        (0, Some(_)) if !known => Err(Fault::UnknownKey(header.key.clone())),
        (_, Some(_)) if !known && may_be_new => Err(Fault::UnknownKey(header.key.clone())),
        (0, None) if keys.iter().all(|keys| keys.is_empty()) => Err(Fault::UnknownKey(None)),
        (0, _) => Err(Fault::Algorithm),
        _ => Err(Fault::Signature),
    }
}

/// Holds the claims against the rules (RFC 7519 §4.1); until when the token is good.
fn check_claims(
    claims: &Map<String, Value>,
    rules: &Rules,
    now: f64,
) -> Result<Option<f64>, Fault> {
    let until = match claims.get("exp") {
        None if rules.require_expiry => return Err(Fault::Missing),
        None => None,
        Some(at) => Some(seconds(at)? + rules.leeway),
    };
    if until.is_some_and(|until| now >= until) {
        return Err(Fault::Expired);
    }
    if let Some(from) = claims.get("nbf")
        && now + rules.leeway < seconds(from)?
    {
        return Err(Fault::NotYet);
    }
    if claims.get("sub").is_some_and(|subject| !subject.is_string()) {
        return Err(Fault::Malformed);
    }
    let among = |list: &[String], value: &Value| {
        value.as_str().is_some_and(|value| list.iter().any(|other| other == value))
    };
    let issuer = claims.get("iss");
    if !rules.issuer.is_empty() && !issuer.is_some_and(|value| among(&rules.issuer, value)) {
        return Err(Fault::Issuer);
    }
    let audience = claims.get("aud").is_some_and(|value| match value {
        Value::Array(list) => list.iter().any(|value| among(&rules.audience, value)),
        value => among(&rules.audience, value),
    });
    if !rules.audience.is_empty() && !audience {
        return Err(Fault::Audience);
    }
    match rules
        .required
        .iter()
        .all(|name| claim_of(claims, name).is_some_and(|claim| !claim.is_null()))
    {
        true => Ok(until),
        false => Err(Fault::Missing),
    }
}

/// A NumericDate (RFC 7519 §2): a number, which may have a fraction.
fn seconds(value: &Value) -> Result<f64, Fault> {
    value.as_f64().filter(|at| at.is_finite()).ok_or(Fault::Malformed)
}

/// A part of a token: a JSON object in base64url without padding (RFC 7515 §2).
fn object(part: &str) -> Result<Map<String, Value>, Fault> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Malformed)?;
    let Unique(object) = serde_json::from_slice(&json).map_err(|_| Fault::Malformed)?;
    Ok(object)
}

/// An object in which no name comes twice: readers would differ about which one counts
/// (RFC 7515 §4, RFC 7519 §4).
struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Unique;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Unique, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = from.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name comes twice"));
                    }
                }
                Ok(Unique(members))
            }
        }

        from.deserialize_map(Members)
    }
}
