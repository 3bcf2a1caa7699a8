//! The settings as they are written: one struct with all fields, of which each type takes its own.

use std::path::PathBuf;

use indexmap::IndexMap;
use ringway_config::Period;
use ringway_engine::filter::SettingsError;
use schemars::JsonSchema;
use serde::Deserialize;

use super::api_key::Consumer;
use super::basic::User;
use super::credential::From;
use super::local::Secret;
use crate::values::OneOrMore;
use crate::wrong;

/// How a client proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "auth")]
pub struct Settings {
    /// What kind of proof is asked for. Which settings there are depends on it.
    #[serde(rename = "type")]
    pub kind: Option<Kind>,
    /// Instead of `type`: several kinds of proof, of which one is enough. Each has the settings of
    /// its type, but for `exclude_paths`, `realm` and `consumer_header`, which stand beside this.
    pub any_of: Vec<Settings>,
    /// Paths that need no proof: each prefix takes itself and what is below it.
    pub exclude_paths: Vec<String>,
    /// The name of what is protected, as browsers show it; `ringway` if left out.
    pub realm: Option<String>,
    /// The header in which the upstream is told who asks: the name of a key's consumer or of a
    /// user, the `sub` of a token.
    pub consumer_header: Option<String>,
    /// `jwt`, `api_key`: where the credential is; `Authorization: Bearer` for tokens and the header
    /// `X-API-Key` for keys if left out.
    pub from: Option<From>,
    /// Whether the upstream sees the credential too. True for tokens, false for keys and passwords
    /// if left out.
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
    /// `jwt`: where a JWK set is fetched: `https://login.example.com/.well-known/jwks.json`. The
    /// certificate is of an authority that the system trusts, or of one in the file that the
    /// environment's `SSL_CERT_FILE` names instead.
    /// Secrets (`oct`) in it are left out. The last good set stays while it cannot be fetched.
    pub jwks_url: Option<String>,
    /// `jwt`: how often `jwks_url` is fetched, from 1s to 1d; 5m if left out.
    pub jwks_refresh_every: Option<Period>,
    /// `jwt`: how long after one fetch of `jwks_url` a token that names an unknown key may cause
    /// another, from 1ms to 1h; 10s if left out.
    pub jwks_cooldown: Option<Period>,
    /// `jwt`: a file with what is revoked, one JSON object a line: `{"jti": "…"}` for one token,
    /// `{"sub": "…"}` for all of somebody. It is read again within a second of a change.
    pub revoked_file: Option<PathBuf>,
    /// `jwt`: the only algorithms that are accepted; if left out, all that the keys are for.
    pub algorithms: Vec<String>,
    /// `jwt`: the token is from one of these issuers (`iss`).
    pub issuer: Option<OneOrMore>,
    /// `jwt`: the token is for one of these audiences (`aud`).
    pub audience: Option<OneOrMore>,
    /// `jwt`: by how much the clocks may differ, up to 10 minutes; 5s if left out.
    pub leeway: Option<Period>,
    /// `jwt`: whether a token must have an end (`exp`). True if left out.
    pub require_expiry: Option<bool>,
    /// `jwt`: claims that must be in a token, whatever they say; `realm_access.roles` is what is
    /// inside of one.
    pub required_claims: Vec<String>,
    /// `jwt`: headers in which the upstream is told these claims, by claim: `{sub: X-User-ID}`. A
    /// claim that is not there, or is none that a header can hold, leaves its header away;
    /// what the client sent under that name is removed in any case.
    pub claims_to_headers: IndexMap<String, String>,
    /// `api_key`: the keys and whose they are.
    pub consumers: Vec<Consumer>,
    /// `basic`: the users and hashes of their passwords.
    pub users: Vec<User>,
    /// `basic`: for how long a core remembers a password that was right, up to an hour; 5m if left
    /// out. A password takes that long to be forgotten after it was changed, too.
    pub remember: Option<Period>,
}

/// A kind of proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AuthType")]
pub enum Kind {
    /// A JSON Web Token (RFC 7519), signed.
    Jwt,
    /// A key that the client sends as it is.
    ApiKey,
    /// A user and a password (RFC 7617).
    Basic,
}

impl Kind {
    /// As it is written.
    fn name(self) -> &'static str {
        match self {
            Kind::Jwt => "jwt",
            Kind::ApiKey => "api_key",
            Kind::Basic => "basic",
        }
    }
}

/// Where a setting may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Belongs {
    /// Beside `type` or `any_of`, not within it.
    Outside,
    /// To each type.
    All,
    /// To these.
    To(&'static [Kind]),
}

impl Settings {
    /// Refuses settings of another type than this one's, and of an entry of `any_of` those that
    /// stand beside it.
    pub(super) fn check_belongs(&self, entry: bool) -> Result<(), SettingsError> {
        let wanted = |belongs: Belongs| match (belongs, self.kind) {
            (Belongs::Outside, _) => !entry,
            (_, None) => false,
            (Belongs::All, Some(_)) => true,
            (Belongs::To(kinds), Some(kind)) => kinds.contains(&kind),
        };
        let given = self.given();
        let strange: Vec<_> = given.iter().filter(|(_, belongs)| !wanted(*belongs)).collect();
        let Some((first, belongs)) = strange.first() else { return Ok(()) };
        let names: Vec<_> = strange.iter().map(|(name, _)| format!("`{name}`")).collect();
        let names = names.join(", ");
        let help = match belongs {
            Belongs::To(kinds) => {
                let kinds: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
                format!("`{first}` is for `type: {}`", kinds.join("` and `type: "))
            }
            Belongs::All => format!("write `{first}` in an entry of `any_of`"),
            Belongs::Outside => format!("write `{first}` beside `any_of`"),
        };
        let message = match self.kind {
            Some(kind) => format!("an auth of type `{}` has no {names}", kind.name()),
            None => format!("an auth without a type has no {names}"),
        };
        Err(wrong(*first, message, &help))
    }

    /// The settings that are written, by name.
    fn given(&self) -> Vec<(&'static str, Belongs)> {
        const JWT: Belongs = Belongs::To(&[Kind::Jwt]);
        let all = [
            ("exclude_paths", !self.exclude_paths.is_empty(), Belongs::Outside),
            ("realm", self.realm.is_some(), Belongs::Outside),
            ("consumer_header", self.consumer_header.is_some(), Belongs::Outside),
            ("from", self.from.is_some(), Belongs::To(&[Kind::Jwt, Kind::ApiKey])),
            ("forward", self.forward.is_some(), Belongs::All),
            ("secret", self.secret.is_some(), JWT),
            ("secret_file", self.secret_file.is_some(), JWT),
            ("public_key_file", self.public_key_file.is_some(), JWT),
            ("jwks_file", self.jwks_file.is_some(), JWT),
            ("jwks_url", self.jwks_url.is_some(), JWT),
            ("jwks_refresh_every", self.jwks_refresh_every.is_some(), JWT),
            ("jwks_cooldown", self.jwks_cooldown.is_some(), JWT),
            ("revoked_file", self.revoked_file.is_some(), JWT),
            ("algorithms", !self.algorithms.is_empty(), JWT),
            ("issuer", self.issuer.is_some(), JWT),
            ("audience", self.audience.is_some(), JWT),
            ("leeway", self.leeway.is_some(), JWT),
            ("require_expiry", self.require_expiry.is_some(), JWT),
            ("required_claims", !self.required_claims.is_empty(), JWT),
            ("claims_to_headers", !self.claims_to_headers.is_empty(), JWT),
            ("consumers", !self.consumers.is_empty(), Belongs::To(&[Kind::ApiKey])),
            ("users", !self.users.is_empty(), Belongs::To(&[Kind::Basic])),
            ("remember", self.remember.is_some(), Belongs::To(&[Kind::Basic])),
        ];
        let given = all.into_iter().filter(|(_, given, _)| *given);
        given.map(|(name, _, belongs)| (name, belongs)).collect()
    }
}
