//! From the settings as they are written to those that count: checked, keys read.

use ringway_config::Period;
use ringway_engine::filter::SettingsError;
use ringway_engine::http1::write::is_token;
use ringway_engine::message::FieldName;
use ringway_engine::shared::{Shared, SharedLatest};

use super::credential::Place;
use super::keys::{ALGORITHMS, by_name};
use super::local::{KeyFile, Local};
use super::remote::Remote;
use super::revoked::Revoked;
use super::token::Rules;
use super::written::{Kind, Settings};
use super::{Lower, Lowered, api_key, basic, jwt};
use crate::alias::is_same;
use crate::excluded::Excluded;
use crate::values::OneOrMore;
use crate::wrong;

/// By how much clocks may differ, unless the file says otherwise.
const LEEWAY: Period = Period::from_secs(5);

/// The largest leeway. Clocks that are further apart are wrong.
const MAX_LEEWAY: Period = Period::from_secs(600);

/// How often a set is fetched, unless the file says otherwise, and the bounds of that.
const REFRESH: Period = Period::from_secs(300);
const MIN_REFRESH: Period = Period::from_secs(1);
const MAX_REFRESH: Period = Period::from_secs(24 * 3600);

/// How soon an unknown key may have it fetched again, and the bounds of that.
const COOLDOWN: Period = Period::from_secs(10);
const MIN_COOLDOWN: Period = Period::from_millis(1);
const MAX_COOLDOWN: Period = Period::from_secs(3600);

/// How long a password is remembered, unless the file says otherwise, and at most.
const REMEMBER: Period = Period::from_secs(300);
const MAX_REMEMBER: Period = Period::from_secs(3600);

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
        self.check_belongs(false)?;
        self.check_consumer_header()?;
        let mut schemes = Vec::new();
        let mut guarded: Vec<String> = self.consumer_header.iter().cloned().collect();
        guarded.extend(self.claims_to_headers.values().cloned());
        if self.any_of.is_empty() {
            schemes.push(self.scheme()?);
        } else if self.kind.is_some() {
            let help = "put all that belongs to a type into an entry of `any_of`";
            return Err(wrong("any_of", "there is a `type` beside `any_of`", help));
        }
        for (at, entry) in self.any_of.iter().enumerate() {
            let scheme = entry.entry().map_err(|error| {
                let dot = if error.field.is_empty() { "" } else { "." };
                let field = format!("any_of[{at}]{dot}{}", error.field);
                SettingsError { field, ..error }
            })?;
            guarded.extend(entry.claims_to_headers.values().cloned());
            schemes.push(scheme);
        }
        Ok(Lowered {
            schemes,
            any_of: !self.any_of.is_empty(),
            excluded,
            realm,
            consumer_header: self.consumer_header.clone(),
            guarded,
        })
    }

    /// Refuses a header that would tell the consumer and another claim than the one that is its
    /// name.
    fn check_consumer_header(&self) -> Result<(), SettingsError> {
        let Some(header) = &self.consumer_header else { return Ok(()) };
        let all = self.any_of.iter().chain([self]);
        let mut claims = all.flat_map(|entry| &entry.claims_to_headers);
        match claims.find(|(claim, other)| *claim != "sub" && is_same(other, header)) {
            Some((claim, _)) => {
                let message = format!("`{header}` is to hold the claim `{claim}` too");
                Err(wrong("consumer_header", message, "choose another header for one of them"))
            }
            None => Ok(()),
        }
    }

    /// An entry of `any_of`.
    fn entry(&self) -> Result<Lower, SettingsError> {
        if !self.any_of.is_empty() {
            let help = "put its entries into the outer list";
            return Err(wrong("any_of", "an entry of `any_of` has no `any_of`", help));
        }
        self.check_belongs(true)?;
        self.scheme()
    }

    fn scheme(&self) -> Result<Lower, SettingsError> {
        if let Some(from) = &self.from {
            from.check()?;
        }
        Ok(match self.kind {
            None => {
                let help = "add `type: jwt`, `type: api_key` or `type: basic`, or write `any_of`";
                return Err(wrong("type", "the kind of proof is missing", help));
            }
            Some(Kind::Jwt) => Lower::Jwt(Shared::new(self.jwt()?)),
            Some(Kind::ApiKey) => {
                let default = Place::Header("X-API-Key".to_owned(), "ApiKey");
                let place = Place::new(self.from.as_ref(), "ApiKey", default);
                let forward = self.forward.unwrap_or(false);
                Lower::ApiKey(Shared::new(api_key::Plan::new(place, forward, &self.consumers)?))
            }
            Some(Kind::Basic) => {
                let remember = self.remember.unwrap_or(REMEMBER);
                if remember > MAX_REMEMBER {
                    let message = format!("{remember} is too long to bear with an old password");
                    return Err(wrong("remember", message, "write at most `1h`"));
                }
                let forward = self.forward.unwrap_or(false);
                Lower::Basic(Shared::new(basic::Plan::new(forward, &self.users, remember.0)?))
            }
        })
    }

    fn jwt(&self) -> Result<jwt::Plan, SettingsError> {
        let leeway = self.leeway.unwrap_or(LEEWAY);
        if leeway > MAX_LEEWAY {
            let message = format!("{leeway} is more than clocks differ by");
            return Err(wrong("leeway", message, "write at most `10m`"));
        }
        let mut headers = Vec::new();
        for (claim, header) in &self.claims_to_headers {
            let field = format!("claims_to_headers.{claim}");
            check_header(&field, header)?;
            if claim.is_empty() {
                let help = "write the claim, such as `sub: X-User-ID`";
                return Err(wrong("claims_to_headers", "a claim has no name", help));
            }
            if headers.iter().any(|(_, other): &(String, String)| is_same(other, header)) {
                let message = format!("`{header}` is to hold two claims");
                return Err(wrong(field, message, "choose another header for one of them"));
            }
            headers.push((claim.clone(), header.clone()));
        }
        let local = self.local()?;
        let keys = local.load()?;
        let remote = self.remote()?;
        let revoked = self.revoked()?;
        Ok(jwt::Plan {
            place: Place::new(self.from.as_ref(), "Bearer", Place::Authorization("Bearer")),
            forward: self.forward.unwrap_or(true),
            rules: Rules {
                algorithms: local.algorithms.clone(),
                issuer: some_of("issuer", self.issuer.as_ref())?,
                audience: some_of("audience", self.audience.as_ref())?,
                leeway: leeway.0.as_secs_f64(),
                require_expiry: self.require_expiry.unwrap_or(true),
                may_be_new: remote.is_some(),
                required: self.required_claims.clone(),
            },
            headers,
            local,
            keys: SharedLatest::new(Shared::new(keys)),
            remote,
            revoked,
        })
    }

    fn remote(&self) -> Result<Option<Shared<Remote>>, SettingsError> {
        let periods = [
            ("jwks_refresh_every", self.jwks_refresh_every, REFRESH, MAX_REFRESH),
            ("jwks_cooldown", self.jwks_cooldown, COOLDOWN, MAX_COOLDOWN),
        ];
        let mut taken = [Period::default(); 2];
        for (taken, (field, given, default, most)) in taken.iter_mut().zip(periods) {
            if given.is_some() && self.jwks_url.is_none() {
                let help = "add `jwks_url`, or remove this";
                return Err(wrong(field, "there is no `jwks_url` that it could be about", help));
            }
            *taken = given.unwrap_or(default);
            let least = if field == "jwks_cooldown" { MIN_COOLDOWN } else { MIN_REFRESH };
            if !(least..=most).contains(taken) {
                let help = format!("write a time from {least} to {most}");
                return Err(wrong(field, format!("{taken} is no good pace"), &help));
            }
        }
        let [every, cooldown] = taken;
        let Some(url) = &self.jwks_url else { return Ok(None) };
        Ok(Some(Shared::new(Remote::new(url, every.0, cooldown.0)?)))
    }

    fn revoked(&self) -> Result<Option<Revoked>, SettingsError> {
        let Some(path) = &self.revoked_file else { return Ok(None) };
        Revoked::new(path).map(Some).map_err(|message| {
            let help = "make the file, if need be an empty one";
            wrong("revoked_file", format!("`{}`: {message}", path.display()), help)
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
        if self.secret.is_none() && files.is_empty() && self.jwks_url.is_none() {
            let help = "write `secret: \"${JWT_SECRET}\"`, `secret_file`, `public_key_file`, \
                        `jwks_file` or `jwks_url`";
            return Err(wrong("", "there is no key to verify tokens with", help));
        }
        Ok(Local { secret: self.secret.clone(), files, algorithms })
    }
}

/// The values of which a token has to have one; none where any will do. A list without any may be
/// the leftover of a template, and taking all tokens then is not what it was written for.
fn some_of(field: &str, values: Option<&OneOrMore>) -> Result<Vec<String>, SettingsError> {
    match values {
        Some(OneOrMore(values)) if values.is_empty() => {
            let help = format!("name one, or leave `{field}` out to take any");
            Err(wrong(field, "the list is empty", &help))
        }
        // As an environment variable has it that is there and empty.
        Some(OneOrMore(values)) if values.iter().any(String::is_empty) => {
            let help = format!("name one, or leave `{field}` out to take any");
            Err(wrong(field, "a name is empty", &help))
        }
        values => Ok(values.map(|values| values.0.clone()).unwrap_or_default()),
    }
}

/// A header that tells an upstream who asks has no other meaning.
fn check_header(field: &str, name: &str) -> Result<(), SettingsError> {
    let message = if !is_token(name.as_bytes()) {
        format!("`{}` is no name of a header", name.escape_debug())
    } else if FieldName::from_bytes(name.as_bytes()) != FieldName::Other {
        format!("`{name}` means something else and cannot tell who asks")
    } else {
        return Ok(());
    };
    Err(wrong(field, message, "write the name of a header of your own, such as `X-User-ID`"))
}
