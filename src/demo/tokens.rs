//! Tokens for the users of the demo, signed with a secret that the gateway knows as well.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::time::{Duration, SystemTime};

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

/// How long a token is good for. A demo is over before that.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Signs tokens.
#[derive(Clone)]
pub(super) struct Signer(EncodingKey);

/// What a token says (RFC 7519 §4.1).
#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iss: &'static str,
    iat: u64,
    exp: u64,
}

impl Signer {
    /// Signs with `secret`.
    pub(super) fn new(secret: &str) -> Signer {
        Signer(EncodingKey::from_secret(secret.as_bytes()))
    }

    /// A token for `user`.
    ///
    /// # Errors
    /// When the clock stands before 1970, or the signature cannot be made.
    pub(super) fn token(&self, user: &str) -> Result<String, String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let iat = now.map_err(|error| error.to_string())?.as_secs();
        let exp = iat + LIFETIME.as_secs();
        let claims = Claims { sub: user, iss: "user-service", iat, exp };
        jsonwebtoken::encode(&Header::default(), &claims, &self.0).map_err(|e| e.to_string())
    }
}

/// A secret that nobody has had before, as 64 hex digits.
///
/// # Errors
/// When the system has no random numbers.
pub(super) fn new_secret() -> io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_secrets_differ_and_are_long() {
        let secret = new_secret().expect("random numbers");
        assert_eq!(secret.len(), 64);
        assert_ne!(secret, new_secret().expect("random numbers"));
    }
}
