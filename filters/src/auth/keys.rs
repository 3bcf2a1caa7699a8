//! Keys that verify tokens, and what each of them may verify.
//!
//! *Invariant*: the algorithms of a key are fixed by what the key is, never by a token
//! (RFC 8725 §3.1). A secret verifies HMACs only and a public key signatures of its own family
//! only, so a public key can never pass for a secret.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde_json::{Map, Value};

/// The largest text with keys, in bytes.
pub(super) const MAX_KEY_TEXT: usize = 256 * 1024;

/// The most keys of one set.
pub(super) const MAX_KEYS: usize = 100;

/// One key.
pub(super) struct Key {
    /// Its `kid`, if it has one.
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// The keys that tokens may be verified with.
#[derive(Default)]
pub(super) struct Keys(Vec<Key>);

impl Keys {
    /// Those that may verify `algorithm`: with the id that the token names, or without an id; all
    /// of them when it names none.
    pub(super) fn fitting(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
    ) -> impl Iterator<Item = &Key> {
        let named = move |key: &&Key| match (&key.id, id) {
            (Some(own), Some(asked)) => own == asked,
            (None, _) | (_, None) => true,
        };
        self.0.iter().filter(move |key| key.algorithms.contains(&algorithm)).filter(named)
    }

    /// True when a key has this id.
    pub(super) fn names(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn append(&mut self, other: Keys) {
        self.0.extend(other.0);
    }

    /// Keeps of each key only these algorithms, unless none are named. False when that leaves a
    /// key with nothing to verify.
    pub(super) fn restrict(&mut self, to: &[Algorithm]) -> bool {
        if to.is_empty() {
            return true;
        }
        for key in &mut self.0 {
            key.algorithms.retain(|algorithm| to.contains(algorithm));
        }
        let before = self.0.len();
        self.0.retain(|key| !key.algorithms.is_empty());
        self.0.len() == before
    }

    /// A secret that both sides know (RFC 7518 §3.2).
    pub(super) fn secret(secret: &[u8]) -> Self {
        Keys(vec![Key {
            id: None,
            algorithms: AlgorithmFamily::Hmac.algorithms().to_vec(),
            key: DecodingKey::from_secret(secret),
        }])
    }

    /// The public keys of a PEM text (RFC 7468 §13, and PKCS#1 for RSA).
    pub(super) fn pem(text: &str) -> Result<Self, String> {
        if text.contains("PRIVATE KEY-----") {
            return Err("it holds a private key, and a gateway needs the public one only; \
                        `openssl pkey -in KEY -pubout` prints that"
                .to_owned());
        }
        let mut keys = Vec::new();
        for block in text.split("-----BEGIN ").skip(1) {
            let kind = block.split("-----").next().unwrap_or_default();
            if !matches!(kind, "PUBLIC KEY" | "RSA PUBLIC KEY") {
                return Err(format!("it holds a {kind}; only public keys are of use"));
            }
            keys.push(pem_block(&format!("-----BEGIN {block}"))?);
        }
        match keys.len() {
            0 => Err("it holds no `-----BEGIN PUBLIC KEY-----`".to_owned()),
            1..=MAX_KEYS => Ok(Keys(keys)),
            many => Err(format!("it holds {many} keys, more than {MAX_KEYS}")),
        }
    }

    /// The keys of a JWK set (RFC 7517 §5). Keys for other purposes and of unknown kinds are left
    /// out, as §5 asks for; `secrets` says whether symmetric ones may be in it.
    pub(super) fn set(text: &[u8], secrets: bool) -> Result<Self, String> {
        let set: Value = serde_json::from_slice(text).map_err(|error| {
            // The words of the parser could show a part of a secret.
            format!("it is no JSON (line {}, column {})", error.line(), error.column())
        })?;
        let Some(list) = set.get("keys").and_then(Value::as_array) else {
            return Err("it is no JWK set: there is no list `keys` in it".to_owned());
        };
        if list.len() > MAX_KEYS {
            return Err(format!("it holds {} keys, more than {MAX_KEYS}", list.len()));
        }
        let objects = list.iter().filter_map(Value::as_object);
        Ok(Keys(objects.filter_map(|jwk| read_jwk(jwk, secrets)).collect()))
    }
}

fn pem_block(pem: &str) -> Result<Key, String> {
    let pem = pem.as_bytes();
    let key = DecodingKey::from_rsa_pem(pem)
        .or_else(|_| DecodingKey::from_ec_pem(pem))
        .or_else(|_| DecodingKey::from_ed_pem(pem))
        .map_err(|_| "it holds a key that is not of RSA, EC or Ed25519".to_owned())?;
    let bytes = key.try_get_as_bytes().unwrap_or_default();
    let works = |algorithm: &'static dyn VerificationAlgorithm| {
        ParsedPublicKey::new(algorithm, bytes).is_ok()
    };
    let family = key.family();
    let algorithms = match family {
        AlgorithmFamily::Rsa if works(&RSA_PKCS1_2048_8192_SHA256) => family.algorithms(),
        AlgorithmFamily::Rsa => return Err("its RSA key is not of 2048 to 8192 bits".to_owned()),
        AlgorithmFamily::Ec if works(&ECDSA_P256_SHA256_FIXED) => &[Algorithm::ES256],
        AlgorithmFamily::Ec if works(&ECDSA_P384_SHA384_FIXED) => &[Algorithm::ES384],
        AlgorithmFamily::Ec => return Err("its EC key is not on P-256 or P-384".to_owned()),
        AlgorithmFamily::Ed if works(&ED25519) => &[Algorithm::EdDSA],
        AlgorithmFamily::Ed | AlgorithmFamily::Hmac => {
            return Err("its key cannot be used".to_owned());
        }
    };
    Ok(Key { id: None, algorithms: algorithms.to_vec(), key })
}

/// One key of a set, if it is there to verify signatures and of a kind that is known.
fn read_jwk(jwk: &Map<String, Value>, secrets: bool) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    // RFC 7517 §4.2 and §4.3: what a key is for.
    if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    if let Some(operations) = jwk.get("key_ops")
        && !operations.as_array()?.iter().any(|operation| operation == "verify")
    {
        return None;
    }
    let works = |algorithm: &'static dyn VerificationAlgorithm, public: &[u8]| {
        ParsedPublicKey::new(algorithm, public).is_ok()
    };
    let point = || Some([&[4][..], &bytes("x")?, &bytes("y")?].concat());
    let (mut algorithms, key): (Vec<Algorithm>, DecodingKey) = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            // Some libraries put a zero in front, which RFC 7518 §6.3.1.1 warns of.
            let number = |name: &str| {
                let bytes = bytes(name)?;
                let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
                Some(bytes[zeros..].to_vec())
            };
            let (n, e) = (number("n")?, number("e")?);
            // As many bits as the verifying side takes.
            if !(256..=1024).contains(&n.len()) || e.is_empty() {
                return None;
            }
            let key = DecodingKey::from_rsa_raw_components(&n, &e);
            (AlgorithmFamily::Rsa.algorithms().to_vec(), key)
        }
        ("EC", Some("P-256")) if works(&ECDSA_P256_SHA256_FIXED, &point()?) => {
            (vec![Algorithm::ES256], DecodingKey::from_ec_der(&point()?))
        }
        ("EC", Some("P-384")) if works(&ECDSA_P384_SHA384_FIXED, &point()?) => {
            (vec![Algorithm::ES384], DecodingKey::from_ec_der(&point()?))
        }
        ("OKP", Some("Ed25519")) if works(&ED25519, &bytes("x")?) => {
            (vec![Algorithm::EdDSA], DecodingKey::from_ed_der(&bytes("x")?))
        }
        ("oct", _) if secrets => {
            let secret = bytes("k").filter(|secret| !secret.is_empty())?;
            (AlgorithmFamily::Hmac.algorithms().to_vec(), DecodingKey::from_secret(&secret))
        }
        _ => return None,
    };
    if let Some(only) = jwk.get("alg") {
        algorithms.retain(|algorithm| only == name(*algorithm));
    }
    let id = match jwk.get("kid") {
        None => None,
        Some(id) => Some(id.as_str()?.to_owned()),
    };
    (!algorithms.is_empty()).then_some(Key { id, algorithms, key })
}

/// The algorithms that there are, by their names (RFC 7518 §3.1, RFC 8037 §3.1).
pub(super) const ALGORITHMS: [(&str, Algorithm); 12] = [
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// The name of an algorithm.
pub(super) fn name(algorithm: Algorithm) -> &'static str {
    let found = ALGORITHMS.iter().find(|(_, other)| *other == algorithm);
    found.map_or("", |(name, _)| name)
}

/// The algorithm of this very name; names have a case (RFC 7515 §4.1.1).
pub(super) fn by_name(name: &str) -> Option<Algorithm> {
    ALGORITHMS.iter().find(|(other, _)| *other == name).map(|(_, algorithm)| *algorithm)
}
