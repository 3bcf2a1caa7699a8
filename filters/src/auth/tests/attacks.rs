//! What must not pass, whoever signs it (HTTP_SAFETY rule 25, RFC 8725 §2).

use super::*;

/// A public key of RSA with 2048 bits (RFC 7515 appendix A.2) in PEM.
const RSA_PEM: &str = include_str!("rsa.pem");

#[track_caller]
fn refused(token: &str, keys: &Keys, fault: Fault) {
    assert_eq!(check(token, keys, &any()), Err(fault), "{token}");
}

#[test]
fn an_algorithm_is_what_the_key_is_for_and_nothing_else() {
    let secret = Keys::secret(SECRET);
    for name in ["none", "None", "NONE", "nOnE", "", "hs256", "HS1", "RS256 ", "ES512", "ES256K"] {
        for signature in ["", "AAAA"] {
            let token = raw(&format!("{{\"alg\":\"{name}\"}}"), "{\"sub\":\"root\"}");
            let (message, _) = token.rsplit_once('.').unwrap();
            refused(&format!("{message}.{signature}"), &secret, Fault::Algorithm);
        }
    }
    for header in ["{}", "{\"alg\":null}", "{\"alg\":256}", "{\"alg\":[\"HS256\"]}", "[]", "\"\""] {
        refused(&raw(header, "{}"), &secret, Fault::Malformed);
    }
    // Right for the key, but for another one.
    for name in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        refused(&raw(&format!("{{\"alg\":\"{name}\"}}"), "{}"), &secret, Fault::Algorithm);
    }
}

/// The public key is known to everybody, so a token that is signed with it as a secret is worth
/// nothing (CVE-2015-9235).
#[test]
fn a_public_key_is_no_secret() {
    let keys = Keys::pem(RSA_PEM).unwrap();
    for secret in [RSA_PEM, RSA_PEM.trim_end(), &RSA_PEM.replace('\n', "\r\n")] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let key = EncodingKey::from_secret(secret.as_bytes());
            let forged = encode(&Header::new(algorithm), &json!({"sub": "root"}), &key).unwrap();
            refused(&forged, &keys, Fault::Algorithm);
        }
    }
}

#[test]
fn a_token_that_was_touched_is_refused() {
    let keys = Keys::secret(SECRET);
    let good = signed(&json!({"sub": "alice"}));
    assert!(check(&good, &keys, &any()).is_ok());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let other = signed(&json!({"sub": "root"}));
    let others_payload = other.split('.').nth(1).unwrap();
    refused(&format!("{header}.{others_payload}.{signature}"), &keys, Fault::Signature);
    for shorter in 0..signature.len() {
        refused(&format!("{message}.{}", &signature[..shorter]), &keys, Fault::Signature);
    }
    for token in [
        "",
        ".",
        "..",
        "...",
        header,
        message,
        &format!("{good}."),
        &format!(".{good}"),
        &format!("{good}.{good}"),
        &format!("{header}..{payload}.{signature}"),
        &format!("{header}=.{payload}.{signature}"),
        &format!("{header}.{payload}\0.{signature}"),
        "é.é.é",
    ] {
        let found = check(token, &keys, &any());
        assert!(matches!(found, Err(Fault::Malformed | Fault::Signature)), "{token}: {found:?}");
    }
    // The same bytes in another spelling: padding, the other alphabet, bits that nobody reads.
    refused(&format!("{good}="), &keys, Fault::Signature);
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for letter in alphabet.chars().filter(|letter| *letter != last) {
        let spelled = format!("{}{letter}", &good[..good.len() - 1]);
        refused(&spelled, &keys, Fault::Signature);
    }
}

#[test]
fn a_token_is_bounded() {
    let long = signed(&json!({"sub": "a".repeat(16 * 1024)}));
    refused(&long, &Keys::secret(SECRET), Fault::TooLong);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    refused(&raw("{\"alg\":\"HS256\"}", &deep), &Keys::secret(SECRET), Fault::Malformed);
}

#[test]
fn nothing_in_a_token_comes_twice() {
    let keys = Keys::secret(SECRET);
    let header = "{\"alg\":\"HS256\"}";
    for claims in [
        "{\"sub\":\"alice\",\"sub\":\"root\"}",
        "{\"exp\":1,\"exp\":9999999999}",
        "{\"sub\":\"alice\",\"s\\u0075b\":\"root\"}",
        "[]",
        "\"sub\"",
        "null",
        "{",
        "",
    ] {
        refused(&raw(header, claims), &keys, Fault::Malformed);
    }
    for header in
        ["{\"alg\":\"none\",\"alg\":\"HS256\"}", "{\"alg\":\"HS256\",\"kid\":\"a\",\"kid\":\"b\"}"]
    {
        refused(&raw(header, "{}"), &keys, Fault::Malformed);
    }
}

#[test]
fn a_critical_extension_is_one_too_many() {
    for crit in ["[]", "[\"b64\"]", "[\"exp\"]", "null", "\"b64\""] {
        let header = format!("{{\"alg\":\"HS256\",\"b64\":false,\"crit\":{crit}}}");
        refused(&raw(&header, "{}"), &Keys::secret(SECRET), Fault::Critical);
    }
}

/// Keys come from the configuration. A token that brings its own, or tells where one is, is
/// verified as if it had not.
#[test]
fn a_token_brings_no_key() {
    let keys = Keys::secret(SECRET);
    let jwk = "{\"kty\":\"oct\",\"k\":\"AAAA\"}";
    for extra in [
        format!("\"jwk\":{jwk}"),
        "\"jku\":\"http://127.0.0.1:1/keys\"".to_owned(),
        "\"x5u\":\"http://127.0.0.1:1/cert\"".to_owned(),
        "\"x5c\":[\"AAAA\"]".to_owned(),
    ] {
        let header = format!("{{\"alg\":\"HS256\",{extra}}}");
        assert!(check(&raw(&header, "{}"), &keys, &any()).is_ok(), "{header}");
        let header = Header { jwk: None, ..Header::new(Algorithm::HS256) };
        let forged = encode(&header, &json!({}), &EncodingKey::from_secret(&[0, 0, 0])).unwrap();
        refused(&forged, &keys, Fault::Signature);
    }
}

#[test]
fn a_kid_is_compared_and_never_followed() {
    let keys = set(&json!([{"kty": "oct", "kid": "one", "k": "c2VjcmV0"}]));
    for kid in ["../../../dev/null", "/dev/null", "http://127.0.0.1:1/", "two' OR 1=1", "", "One"] {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::HS256) };
        let forged = encode(&header, &json!({}), &EncodingKey::from_secret(b"")).unwrap();
        refused(&forged, &keys, Fault::UnknownKey(Some(kid.to_owned())));
    }
    let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
    let good = encode(&header, &json!({}), &EncodingKey::from_secret(b"secret")).unwrap();
    assert!(check(&good, &keys, &any()).is_ok());
    refused(&raw("{\"alg\":\"HS256\",\"kid\":1}", "{}"), &keys, Fault::Malformed);
}

#[test]
fn times_are_numbers() {
    let keys = Keys::secret(SECRET);
    let at = |claims: &str| check(&raw("{\"alg\":\"HS256\"}", claims), &keys, &any());
    for (claims, expected) in [
        ("{\"exp\":1300819380}", None),
        ("{\"exp\":1300819320.5}", None),
        ("{\"exp\":1e300}", None),
        ("{\"exp\":1300819320}", Some(Fault::Expired)),
        ("{\"exp\":0}", Some(Fault::Expired)),
        ("{\"exp\":-1}", Some(Fault::Expired)),
        ("{\"exp\":-1e300}", Some(Fault::Expired)),
        ("{\"exp\":\"1300819380\"}", Some(Fault::Malformed)),
        ("{\"exp\":null}", Some(Fault::Malformed)),
        ("{\"exp\":[1300819380]}", Some(Fault::Malformed)),
        ("{\"exp\":true}", Some(Fault::Malformed)),
        ("{\"exp\":1e999}", Some(Fault::Malformed)),
        ("{\"nbf\":1300819320}", None),
        ("{\"nbf\":1300819321}", Some(Fault::NotYet)),
        ("{\"nbf\":\"0\"}", Some(Fault::Malformed)),
        ("{\"sub\":7}", Some(Fault::Malformed)),
    ] {
        assert_eq!(at(claims).err(), expected, "{claims}");
    }
}

#[test]
fn the_rules_are_held() {
    let keys = Keys::secret(SECRET);
    let rules = || Rules {
        algorithms: vec![Algorithm::HS512, Algorithm::HS256],
        issuer: vec!["a".to_owned(), "b".to_owned()],
        audience: vec!["x".to_owned(), "y".to_owned()],
        leeway: 10.0,
        require_expiry: true,
        may_be_new: false,
        required: vec!["jti".to_owned()],
    };
    let exp = NOW as u64;
    for (claims, expected) in [
        (json!({"iss": "a", "aud": "x", "jti": "1", "exp": exp}), None),
        (json!({"iss": "b", "aud": ["z", "y"], "jti": 1, "exp": exp - 9, "nbf": exp + 10}), None),
        (json!({"iss": "a", "aud": "x", "jti": "1", "exp": exp - 10}), Some(Fault::Expired)),
        (
            json!({"iss": "a", "aud": "x", "jti": "1", "exp": exp, "nbf": exp + 11}),
            Some(Fault::NotYet),
        ),
        (json!({"iss": "a", "aud": "x", "jti": "1"}), Some(Fault::Missing)),
        (json!({"iss": "a", "aud": "x", "exp": exp}), Some(Fault::Missing)),
        (json!({"iss": "a", "aud": "x", "jti": null, "exp": exp}), Some(Fault::Missing)),
        (json!({"iss": "c", "aud": "x", "jti": "1", "exp": exp}), Some(Fault::Issuer)),
        (json!({"iss": ["a"], "aud": "x", "jti": "1", "exp": exp}), Some(Fault::Issuer)),
        (json!({"aud": "x", "jti": "1", "exp": exp}), Some(Fault::Issuer)),
        (json!({"iss": "a", "aud": "z", "jti": "1", "exp": exp}), Some(Fault::Audience)),
        (json!({"iss": "a", "aud": [], "jti": "1", "exp": exp}), Some(Fault::Audience)),
        (json!({"iss": "a", "aud": {"x": 1}, "jti": "1", "exp": exp}), Some(Fault::Audience)),
        (json!({"iss": "a", "jti": "1", "exp": exp}), Some(Fault::Audience)),
    ] {
        let found = check(&signed(&claims), &keys, &rules());
        assert_eq!(found.err(), expected, "{claims}");
    }
    // As other settings do, these name what is inside of a claim, too.
    let inner = Rules { required: vec!["realm.roles".to_owned()], ..any() };
    assert!(check(&signed(&json!({"realm": {"roles": []}})), &keys, &inner).is_ok());
    let lacking = check(&signed(&json!({"realm": {"roles": null}})), &keys, &inner);
    assert_eq!(lacking, Err(Fault::Missing));
    // The key is for it, and the signature good.
    let other = Rules { algorithms: vec![Algorithm::HS512], ..any() };
    assert_eq!(check(&signed(&json!({})), &keys, &other), Err(Fault::Algorithm));
}

#[test]
fn a_token_without_a_key_id_is_not_tried_with_every_key() {
    let key = |n: usize| json!({"kty": "oct", "kid": n.to_string(), "k": "AAAA"});
    let keys: Vec<Value> = (0..20).map(key).collect();
    refused(&signed(&json!({})), &set(&json!(keys)), Fault::UnknownKey(None));
}
