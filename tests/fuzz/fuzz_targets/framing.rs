//! Any bytes as a connection: cut into the same messages in any pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringway_engine::http1::properties::framing(bytes));
