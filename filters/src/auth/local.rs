//! Keys that are at hand: in the configuration and in files beside it.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use jsonwebtoken::Algorithm;
use ringway_engine::filter::SettingsError;
use serde::Deserialize;

use super::keys::{Keys, MAX_KEY_TEXT, name};
use crate::wrong;

/// A secret of the configuration, which is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// Where keys come from, apart from the network.
#[derive(Clone, Debug, Default)]
pub(super) struct Local {
    pub(super) secret: Option<Secret>,
    pub(super) files: Vec<KeyFile>,
    /// Only these, unless there are none.
    pub(super) algorithms: Vec<Algorithm>,
}

/// A file with keys.
#[derive(Clone, Debug)]
pub(super) struct KeyFile {
    /// The setting that names it.
    pub(super) field: &'static str,
    pub(super) path: PathBuf,
}

impl Local {
    /// What is to be said of a secret that is shorter than the digest of the shortest algorithm
    /// that it is used with (RFC 7518 §3.2). `place` stands before the field.
    pub(super) fn short_secret(&self, place: &str) -> Option<SettingsError> {
        let Secret(secret) = self.secret.as_ref()?;
        let digest = |algorithm: &Algorithm| match algorithm {
            Algorithm::HS256 => Some(32),
            Algorithm::HS384 => Some(48),
            Algorithm::HS512 => Some(64),
            _ => None,
        };
        let least = self.algorithms.iter().filter_map(digest).min().unwrap_or(32);
        (secret.len() < least).then(|| {
            let message = format!(
                "the secret has {} bytes: whoever has a token can try all of fewer than {least} at \
                 home (RFC 7518 §3.2)",
                secret.len()
            );
            let help = format!("`openssl rand -base64 {least}` makes a good one");
            wrong(format!("{place}secret"), message, &help)
        })
    }

    /// Reads all keys.
    ///
    /// # Errors
    /// What is wrong with which setting; nothing of a key is in the words.
    pub(super) fn load(&self) -> Result<Keys, SettingsError> {
        let mut all = Keys::default();
        if let Some(Secret(secret)) = &self.secret {
            if secret.is_empty() {
                let help = "write at least 32 random bytes: `openssl rand -base64 32`";
                return Err(wrong("secret", "the secret is empty: anybody could sign", help));
            }
            all.append(self.restricted("secret", Keys::secret(secret.as_bytes()))?);
        }
        for file in &self.files {
            let keys = file.load().map_err(|message| {
                let message = format!("`{}`: {message}", file.path.display());
                wrong(file.field, message, "")
            })?;
            all.append(self.restricted(file.field, keys)?);
        }
        Ok(all)
    }

    fn restricted(&self, field: &str, mut keys: Keys) -> Result<Keys, SettingsError> {
        let all = keys.restrict(&self.algorithms);
        // Of a set, those that are left count; a key alone has to be of use.
        if keys.is_empty() || (!all && field != "jwks_file") {
            let names: Vec<_> = self.algorithms.iter().map(|one| name(*one)).collect();
            let (field, message) = match names.as_slice() {
                [] => (field, "it holds no key that verifies signatures".to_owned()),
                names => {
                    let names = names.join(", ");
                    ("algorithms", format!("the keys of `{field}` verify none of {names}"))
                }
            };
            let help = "a secret is for HS*, an RSA key for RS* and PS*, P-256 for ES256, P-384 \
                        for ES384, Ed25519 for EdDSA";
            return Err(wrong(field, message, help));
        }
        Ok(keys)
    }
}

/// Which settings they are from.
impl fmt::Display for Local {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.secret.iter().map(|_| "secret");
        let all: Vec<_> = secret.chain(self.files.iter().map(|file| file.field)).collect();
        out.write_str(&all.join(" or "))
    }
}

impl KeyFile {
    fn load(&self) -> Result<Keys, String> {
        let bytes = read_bounded(&self.path, MAX_KEY_TEXT)?;
        let text = || std::str::from_utf8(&bytes).map_err(|_| "it is no text".to_owned());
        match self.field {
            "jwks_file" => Keys::set(&bytes, true),
            "public_key_file" => Keys::pem(text()?),
            _ => {
                let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                let secret = line.strip_suffix(b"\r").unwrap_or(line);
                match secret.is_empty() {
                    true => Err("it is empty: anybody could sign".to_owned()),
                    false => Ok(Keys::secret(secret)),
                }
            }
        }
    }
}

/// The whole content of a file that is no larger than this.
pub(super) fn read_bounded(path: &Path, most: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let bound = most as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(bound).read_to_end(&mut bytes))
        .map_err(|error| format!("the file cannot be read: {error}"))?;
    if bytes.len() > most {
        return Err(format!("the file is larger than {most} bytes"));
    }
    Ok(bytes)
}
