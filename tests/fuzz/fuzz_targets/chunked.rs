//! Any bytes as a chunked body: decoded the same in any pieces, and the same once written again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringway_engine::http1::properties::chunked(bytes));
