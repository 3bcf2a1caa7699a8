//! What `auth` costs a request that passes: a token that is remembered, one that is verified anew,
//! and an API key.
//!
//! ```text
//! cargo bench --bench auth
//! ```
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made has failed")]

use divan::Bencher;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ringway_engine::exchange::Exchange;
use ringway_engine::filter::{Filter, Step, Verdict};
use serde_json::json;

use common::{exchange, filter};

mod common;

const SECRET: &str = "a-secret-of-the-benches-with-32-bytes-and-more";

fn main() {
    divan::main();
}

/// A token such as login services make: some 600 bytes.
fn token(id: u64) -> String {
    let claims = json!({
        "iss": "https://login.example.com/realms/shop", "sub": "0f8fad5b-d9cb-469f-a165-70867728",
        "aud": ["shop", "account"], "exp": 4_000_000_000u64, "jti": id.to_string(),
        "realm_access": {"roles": ["offline_access", "admin", "user"]},
        "preferred_username": "alice", "email": "alice@example.com", "email_verified": true,
        "name": "Alice Example", "scope": "openid profile email",
    });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
}

fn pass(filter: &dyn Filter, exchange: &mut Exchange) {
    assert!(matches!(filter.on_request(exchange), Step::Now(Verdict::Continue)));
}

#[divan::bench(sample_size = 1_000)]
fn remembered_token(bencher: Bencher<'_, '_>) {
    let filter = filter(&format!("auth: {{type: jwt, secret: {SECRET}}}"));
    let mut exchange = exchange(&format!("Authorization: Bearer {}\r\n", token(0)));
    pass(&*filter, &mut exchange);
    bencher.bench_local(|| pass(&*filter, &mut exchange));
}

#[divan::bench]
fn token_that_is_verified(bencher: Bencher<'_, '_>) {
    let filter = filter(&format!("auth: {{type: jwt, secret: {SECRET}}}"));
    let mut next = 0;
    let fresh = || {
        next += 1;
        exchange(&format!("Authorization: Bearer {}\r\n", token(next)))
    };
    bencher.with_inputs(fresh).bench_local_refs(|exchange| pass(&*filter, exchange));
}

#[divan::bench(sample_size = 1_000)]
fn api_key(bencher: Bencher<'_, '_>) {
    let consumers: String = (0..1_000)
        .map(|n| {
            let hash = ringway_filters::hash_key(&format!("key-{n}"));
            format!("{{name: c{n}, key_hash: {hash}}},")
        })
        .collect();
    let settings = format!("auth: {{type: api_key, forward: true, consumers: [{consumers}]}}");
    let filter = filter(&settings);
    let mut exchange = exchange("X-API-Key: key-500\r\n");
    bencher.bench_local(|| pass(&*filter, &mut exchange));
}
