//! Any bytes as a head: found and read the same in any pieces, and the same once written again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringway_engine::http1::properties::head(bytes));
