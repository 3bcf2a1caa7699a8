//! Tokens and keys against the examples of the RFCs and against those who forge them.

mod attacks;
mod settings;
mod vectors;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::keys::{ALGORITHMS, Keys};
use super::token::{Fault, Rules, Verified, verify};

/// The time at which the tests are, in seconds since 1970: a minute before the tokens of RFC 7515
/// end.
const NOW: f64 = 1_300_819_320.0;

const SECRET: &[u8] = b"a-secret-of-the-tests-with-32-bytes-and-more";

/// Rules that ask for nothing.
fn any() -> Rules {
    Rules::default()
}

fn check(token: &str, keys: &Keys, rules: &Rules) -> Result<Verified, Fault> {
    verify(token.as_bytes(), &[keys], rules, NOW)
}

/// A token of these claims, signed with the secret.
fn signed(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

/// A token of this very header and these very claims, signed with the secret by HS256.
fn raw(header: &str, claims: &str) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}

/// A JWK set of these keys.
fn set(keys: &Value) -> Keys {
    Keys::set(json!({ "keys": keys }).to_string().as_bytes(), true).unwrap()
}
