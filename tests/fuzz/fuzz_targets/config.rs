//! Any text as a configuration: read or refused, and every refusal can be shown.
#![no_main]

use std::collections::BTreeMap;

/// Stands for the settings of filters, which the engine and its configuration know nothing of.
type AnyFilter = BTreeMap<String, serde_json::Value>;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let env = |name: &str| (name == "SET").then(|| String::from("value: [x"));
    match ringway_config::load_str::<AnyFilter>("fuzz.yaml", text, &env) {
        Ok(loaded) => drop(loaded.warnings.to_string()),
        Err(diagnostics) => assert!(!diagnostics.to_string().is_empty()),
    }
});
