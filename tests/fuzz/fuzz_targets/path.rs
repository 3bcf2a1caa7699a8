//! Any bytes as a path: what is normal stays as it is when it is normalised again.
#![no_main]

use ringway_config::{EncodedSlash, PathPolicy};
use ringway_engine::route::path::normalise;

libfuzzer_sys::fuzz_target!(|input: (bool, bool, &[u8])| {
    let (merge_slashes, keep, bytes) = input;
    let encoded_slash = if keep { EncodedSlash::Keep } else { EncodedSlash::Reject };
    let policy = PathPolicy { merge_slashes, encoded_slash };
    let mut out = Vec::new();
    let Ok(normal) = normalise(bytes, &policy, &mut out) else { return };
    let (path, query) = normal.split(bytes, &out);
    assert!(matches!(path, [b'/', ..] | b"*"));
    assert!(path.iter().all(|byte| (0x21..=0x7e).contains(byte) && *byte != b'\\'));
    let mut once = path.to_vec();
    if let Some(query) = query {
        once.push(b'?');
        once.extend_from_slice(query);
    }
    let mut out = Vec::new();
    let normal = normalise(&once, &policy, &mut out).expect("what is normal is accepted");
    assert_eq!(normal.split(&once, &out), (path, query));
});
