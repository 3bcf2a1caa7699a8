//! The settings as they are written: one struct with all fields, of which each type takes its own.

use std::path::PathBuf;

use indexmap::IndexMap;
use ringway_config::Period;
use ringway_engine::filter::SettingsError;
use ringway_engine::http1::write::{is_safe_value, is_token};
use ringway_engine::message::FieldName;
use ringway_engine::shared::{Shared, SharedLatest};
use schemars::JsonSchema;
use serde::Deserialize;

use super::credential::{From, Place};
use super::keys::{ALGORITHMS, by_name};
use super::local::{KeyFile, Local, Secret};
use super::token::Rules;
use super::{Lower, Lowered, jwt};
use crate::excluded::Excluded;
use crate::values::OneOrMore;
use crate::wrong;

/// By how much clocks may differ, unless the file says otherwise.
const LEEWAY: Period = Period::from_secs(5);

/// The largest leeway. Clocks that are further apart are wrong.
const MAX_LEEWAY: Period = Period::from_secs(600);

/// How a client proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "auth")]
pub struct Settings {
    /// What kind of proof is asked for. Which settings there are depends on it.
    #[serde(rename = "type")]
    pub kind: Option<Kind>,
    /// Paths that need no proof: each prefix takes itself and what is below it.
    pub exclude_paths: Vec<String>,
    /// The name of what is protected, as browsers show it; `ringway` if left out.
    pub realm: Option<String>,
    /// The header in which the upstream is told who asks: the `sub` of a token.
    pub consumer_header: Option<String>,
    /// Where the credential is, if not in `Authorization`.
    pub from: Option<From>,
    /// Whether the upstream sees the credential too. True for tokens if left out.
    pub forward: Option<bool>,
    /// `jwt`: the secret that tokens are signed with (HS256, HS384, HS512). At least 32 random
    /// bytes; better from the environment: `"${JWT_SECRET}"`.
    #[schemars(with = "Option<String>")]
    pub secret: Option<Secret>,
    /// `jwt`: a file with the secret; a line break at its end is no part of it.
    pub secret_file: Option<PathBuf>,
    /// `jwt`: a file with one or more public keys in PEM.
    pub public_key_file: Option<PathBuf>,
    /// `jwt`: a file with a JWK set (RFC 7517).
    pub jwks_file: Option<PathBuf>,
    /// `jwt`: the only algorithms that are accepted; if left out, all that the keys are for.
    pub algorithms: Vec<String>,
    /// `jwt`: the token is from one of these issuers (`iss`).
    pub issuer: OneOrMore,
    /// `jwt`: the token is for one of these audiences (`aud`).
    pub audience: OneOrMore,
    /// `jwt`: by how much the clocks may differ, up to 10 minutes; 5s if left out.
    pub leeway: Option<Period>,
    /// `jwt`: whether a token must have an end (`exp`). True if left out.
    pub require_expiry: Option<bool>,
    /// `jwt`: claims that must be in a token, whatever they say.
    pub required_claims: Vec<String>,
    /// `jwt`: headers in which the upstream is told these claims, by claim: `{sub: X-User-ID}`.
    pub claims_to_headers: IndexMap<String, String>,
}

/// A kind of proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AuthType")]
pub enum Kind {
    /// A JSON Web Token (RFC 7519), signed.
    Jwt,
}

impl Settings {
    /// The settings that count, checked, and the keys read.
    pub(super) fn lower(&self) -> Result<Lowered, SettingsError> {
        let realm = self.realm.clone().unwrap_or_else(|| "ringway".to_owned());
        let quotable = |byte: u8| (b' '..0x7f).contains(&byte) && !b"\"\\".contains(&byte);
        if !realm.bytes().all(quotable) {
            let help = "write printable ASCII without `\"` and `\\`";
            return Err(wrong("realm", "the realm cannot stand in quotes in a header", help));
        }
        let excluded = Excluded::new("exclude_paths", &self.exclude_paths)?;
        if let Some(header) = &self.consumer_header {
            check_header("consumer_header", header)?;
        }
        let schemes = vec![self.scheme()?];
        let mut guarded: Vec<String> = self.consumer_header.iter().cloned().collect();
        guarded.extend(self.claims_to_headers.values().cloned());
        Ok(Lowered {
            schemes,
            excluded,
            realm,
            consumer_header: self.consumer_header.clone(),
            guarded,
        })
    }

    fn scheme(&self) -> Result<Lower, SettingsError> {
        match self.kind {
            None => Err(wrong("type", "the kind of proof is missing", "add `type: jwt`")),
            Some(Kind::Jwt) => Ok(Lower::Jwt(Shared::new(self.jwt()?))),
        }
    }

    fn jwt(&self) -> Result<jwt::Plan, SettingsError> {
        if let Some(from) = &self.from {
            from.check()?;
        }
        let leeway = self.leeway.unwrap_or(LEEWAY);
        if leeway > MAX_LEEWAY {
            let message = format!("{leeway} is more than clocks differ by");
            return Err(wrong("leeway", message, "write at most `10m`"));
        }
        let mut headers = Vec::new();
        for (claim, header) in &self.claims_to_headers {
            let field = format!("claims_to_headers.{claim}");
            check_header(&field, header)?;
            let known = headers
                .iter()
                .any(|(_, other): &(String, String)| other.eq_ignore_ascii_case(header));
            if known {
                let message = format!("`{header}` is to hold two claims");
                return Err(wrong(field, message, "choose another header for one of them"));
            }
            headers.push((claim.clone(), header.clone()));
        }
        let local = self.local()?;
        let keys = local.load()?;
        Ok(jwt::Plan {
            place: Place::new(self.from.as_ref(), "Bearer", Place::Authorization("Bearer")),
            forward: self.forward.unwrap_or(true),
            rules: Rules {
                issuer: self.issuer.0.clone(),
                audience: self.audience.0.clone(),
                leeway: leeway.0.as_secs_f64(),
                require_expiry: self.require_expiry.unwrap_or(true),
                may_be_new: false,
                required: self.required_claims.clone(),
            },
            headers,
            local,
            keys: SharedLatest::new(Shared::new(keys)),
        })
    }

    fn local(&self) -> Result<Local, SettingsError> {
        let mut algorithms = Vec::new();
        for (at, name) in self.algorithms.iter().enumerate() {
            let Some(algorithm) = by_name(name) else {
                let names: Vec<_> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
                let help = format!("write some of {}", names.join(", "));
                let message = format!("`{name}` is no algorithm that signs tokens");
                return Err(wrong(format!("algorithms[{at}]"), message, &help));
            };
            algorithms.push(algorithm);
        }
        let named = [
            ("secret_file", &self.secret_file),
            ("public_key_file", &self.public_key_file),
            ("jwks_file", &self.jwks_file),
        ];
        let files: Vec<_> = named
            .into_iter()
            .filter_map(|(field, path)| Some(KeyFile { field, path: path.clone()? }))
            .collect();
        if self.secret.is_none() && files.is_empty() {
            let help = "write `secret: \"${JWT_SECRET}\"`, `secret_file`, `public_key_file` or \
                        `jwks_file`";
            return Err(wrong("", "there is no key to verify tokens with", help));
        }
        Ok(Local { secret: self.secret.clone(), files, algorithms })
    }
}

/// A header that tells an upstream who asks has no other meaning.
fn check_header(field: &str, name: &str) -> Result<(), SettingsError> {
    let free = FieldName::from_bytes(name.as_bytes()) == FieldName::Other;
    if is_token(name.as_bytes()) && is_safe_value(name.as_bytes()) && free {
        return Ok(());
    }
    let help = "write the name of a header of your own, such as `X-User-ID`";
    Err(wrong(field, format!("`{name}` cannot tell who asks"), help))
}
