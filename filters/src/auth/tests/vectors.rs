//! The examples of RFC 7515, 7517, 7519 and 8037, and each algorithm once.

use super::*;

/// RFC 7515 appendix A.1, which is also RFC 7519 §3.1.
const A1: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9\
    .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
    .dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

const A1_KEY: &str =
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";

/// RFC 7515 appendix A.2: RS256.
const A2: &str = "eyJhbGciOiJSUzI1NiJ9\
    .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
    .cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5\
    jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L\
    07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUi\
    pUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

const A2_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2\
    mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpa\
    SHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5Ih\
    lJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

/// RFC 7515 appendix A.3: ES256.
const A3: &str = "eyJhbGciOiJFUzI1NiJ9\
    .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
    .DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

/// RFC 7515 appendix A.4: ES512, which is not among the algorithms here.
const A4: &str = "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA\
    .AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8Ga\
    SwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn";

/// RFC 7519 §6.1: no signature.
const UNSECURED: &str = "eyJhbGciOiJub25lIn0\
    .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
    .";

/// RFC 8037 appendix A.4: EdDSA over a text that is no JSON.
const ED25519: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc\
    .hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

fn rsa() -> Value {
    json!({"kty": "RSA", "n": A2_N, "e": "AQAB"})
}

fn ec() -> Value {
    json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

fn ed() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

#[test]
fn signatures_of_the_rfcs_are_good() {
    let secret = json!({"kty": "oct", "k": A1_KEY});
    for (token, key) in [(A1, &secret), (A2, &rsa()), (A3, &ec())] {
        let verified = check(token, &set(&json!([key])), &any()).unwrap();
        assert_eq!(verified.claims["iss"], "joe", "{token}");
        assert_eq!(verified.claims["http://example.com/is_root"], true);
        assert_eq!(verified.until, Some(1_300_819_380.0));
        // None is good with the key of another, nor with all of the others.
        let others: Vec<_> = [&secret, &rsa(), &ec(), &ed()].into_iter().cloned().collect();
        let others: Vec<_> = others.into_iter().filter(|other| other != key).collect();
        assert_eq!(check(token, &set(&json!(others)), &any()), Err(Fault::Algorithm));
    }
    assert_eq!(
        verify(A1.as_bytes(), &[&set(&json!([secret]))], &any(), NOW + 60.0),
        Err(Fault::Expired)
    );
}

/// RFC 7518 §6.3.1.1: some libraries put a zero in front of a number, and sets with it are about.
#[test]
fn a_zero_in_front_of_a_number_changes_nothing() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let n = [&[0][..], &URL_SAFE_NO_PAD.decode(A2_N).unwrap()].concat();
    let key = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(n), "e": "AAEAAQ"});
    assert!(check(A2, &set(&json!([key])), &any()).is_ok());
}

#[test]
fn an_ed25519_signature_is_good_and_its_text_is_no_token() {
    assert_eq!(check(ED25519, &set(&json!([ed()])), &any()), Err(Fault::Malformed));
    let last = &ED25519[..ED25519.len() - 4];
    assert_eq!(check(&format!("{last}AAAA"), &set(&json!([ed()])), &any()), Err(Fault::Signature));
}

#[test]
fn what_is_not_among_the_algorithms_is_refused() {
    let all = json!([{"kty": "oct", "k": A1_KEY}, rsa(), ec(), ed()]);
    for token in [A4, UNSECURED] {
        assert_eq!(check(token, &set(&all), &any()), Err(Fault::Algorithm), "{token}");
    }
}

/// RFC 7517 appendix A.1: one key is for encryption, the other has RS256 and an id.
#[test]
fn a_set_keeps_what_verifies_signatures() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSo\
        c_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_F\
        DW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQ\
        Fh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let keys = set(&json!([
        {
            "kty": "EC", "crv": "P-256", "use": "enc", "kid": "1",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        },
        {"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"},
    ]));
    assert!(!keys.names("1") && keys.names("2011-04-29"));
    assert_eq!(keys.fitting(Algorithm::RS256, Some("2011-04-29")).count(), 1);
    for algorithm in [Algorithm::RS512, Algorithm::PS256, Algorithm::ES256, Algorithm::HS256] {
        assert_eq!(keys.fitting(algorithm, None).count(), 0, "{algorithm:?}");
    }
    // Appendix A.3: one key wraps keys, the other is that of RFC 7515 appendix A.1.
    let id = "HMAC key used in JWS spec Appendix A.1 example";
    let keys = json!([
        {"kty": "oct", "alg": "A128KW", "k": "GawgguFyGrWKav7AX4VKUg"},
        {"kty": "oct", "k": A1_KEY, "kid": id},
    ]);
    assert_eq!(set(&keys).fitting(Algorithm::HS256, None).count(), 1);
    assert!(check(A1, &set(&keys), &any()).is_ok());
    let text = json!({ "keys": keys }).to_string();
    assert!(Keys::set(text.as_bytes(), false).unwrap().is_empty(), "no secrets from the network");
}

#[test]
fn a_key_that_does_not_fit_is_left_out() {
    for change in [
        json!({"use": "enc"}),
        json!({"use": 7}),
        json!({"key_ops": ["encrypt"]}),
        json!({"key_ops": "verify"}),
        json!({"alg": "HS256"}),
        json!({"alg": "none"}),
        json!({"alg": null}),
        json!({"kid": 7}),
        json!({"kty": "rsa"}),
        json!({"n": "AQAB"}),
        json!({"n": "%"}),
        json!({"e": null}),
    ] {
        let mut key = rsa();
        key.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert!(set(&json!([key])).is_empty(), "{change}");
    }
    let mut good = rsa();
    let more = json!({"use": "sig", "key_ops": ["verify"], "alg": "RS256", "x5c": ["AAAA"]});
    good.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    assert!(check(A2, &set(&json!([good, "no key", {}])), &any()).is_ok());
    for (name, value) in [("crv", "P-384"), ("crv", "P-521"), ("x", "AAAA"), ("y", "AAAA")] {
        let mut key = ec();
        key[name] = value.into();
        assert!(set(&json!([key])).is_empty(), "{name} {value}");
    }
}

#[test]
fn what_is_no_set_is_refused_without_a_word_of_it() {
    for text in ["", "{", "[]", "{\"keys\":{}}", "{\"keys\":[}", "{\"k\":\"hunter2"] {
        let error = Keys::set(text.as_bytes(), true).err().unwrap();
        assert!(!error.contains("hunter2"), "{error}");
    }
    let many = json!({"keys": vec![rsa(); 101]}).to_string();
    assert!(Keys::set(many.as_bytes(), true).is_err());
}

#[test]
fn a_pem_text_holds_public_keys() {
    let rsa = include_str!("rsa.pem");
    assert!(check(A2, &Keys::pem(rsa).unwrap(), &any()).is_ok());
    let ec = include_str!("ec.pem");
    assert!(check(A3, &Keys::pem(ec).unwrap(), &any()).is_ok());
    let both = Keys::pem(&format!("for A.2\n{rsa}\n{ec}")).unwrap();
    assert!(check(A2, &both, &any()).is_ok() && check(A3, &both, &any()).is_ok());
    for (text, part) in [
        ("", "no `-----BEGIN PUBLIC KEY-----`"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key"),
        ("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "private key"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "CERTIFICATE"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not of RSA"),
        ("-----BEGIN PUBLIC KEY-----\n%\n-----END PUBLIC KEY-----\n", "not of RSA"),
    ] {
        let error = Keys::pem(text).err().unwrap();
        assert!(error.contains(part), "{error}");
    }
}

/// Tokens that another library has signed, one of each algorithm that there is.
#[test]
fn every_algorithm_is_verified() {
    let pem = |text: &str| Keys::pem(text).unwrap();
    let rsa = || EncodingKey::from_rsa_pem(include_bytes!("rsa-signing.pem")).unwrap();
    let p256 = || EncodingKey::from_ec_pem(include_bytes!("p256-signing.pem")).unwrap();
    let p384 = || EncodingKey::from_ec_pem(include_bytes!("p384-signing.pem")).unwrap();
    let ed = || EncodingKey::from_ed_pem(include_bytes!("ed25519-signing.pem")).unwrap();
    let kinds = [
        (
            &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512][..],
            EncodingKey::from_secret(SECRET),
            Keys::secret(SECRET),
        ),
        (
            &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            rsa(),
            pem(include_str!("rsa-verifying.pem")),
        ),
        (&[Algorithm::ES256], p256(), pem(include_str!("p256-verifying.pem"))),
        (&[Algorithm::ES384], p384(), pem(include_str!("p384-verifying.pem"))),
        (&[Algorithm::EdDSA], ed(), pem(include_str!("ed25519-verifying.pem"))),
    ];
    let mut seen = Vec::new();
    for (at, (algorithms, signing, verifying)) in kinds.iter().enumerate() {
        for &algorithm in *algorithms {
            let name = format!("{algorithm:?}");
            let claims = json!({"sub": name});
            let token = encode(&Header::new(algorithm), &claims, signing).unwrap();
            assert_eq!(check(&token, verifying, &any()).unwrap().claims["sub"], *name);
            // Neither other claims nor another signature of the right length are good, nor is a
            // key of another kind.
            let (message, signature) = token.rsplit_once('.').unwrap();
            let other = encode(&Header::new(algorithm), &json!({"sub": "eve"}), signing).unwrap();
            let (forged, other) = other.rsplit_once('.').unwrap();
            for bad in [format!("{forged}.{signature}"), format!("{message}.{other}")] {
                assert_eq!(check(&bad, verifying, &any()), Err(Fault::Signature), "{name}");
            }
            let (_, _, wrong) = &kinds[(at + 1) % kinds.len()];
            assert_eq!(check(&token, wrong, &any()), Err(Fault::Algorithm), "{name}");
            seen.push(algorithm);
        }
    }
    assert_eq!(seen, ALGORITHMS.map(|(_, algorithm)| algorithm));
}
