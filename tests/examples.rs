//! Every file in config/examples is one that users copy: `ringway check` has to like it.
#![allow(clippy::unwrap_used, reason = "an example that cannot be read has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the examples expect of the environment. The secret has the 64 bytes that HS512 asks for.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("JWT_SECRET", "a-secret-of-the-test-0123456789-0123456789-0123456789-0123456789"),
    ("ADMIN_TOKEN", "a-token-of-the-test"),
];

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

fn check(path: &Path) -> (Option<i32>, serde_json::Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["check", "--json", "-c"])
        .arg(path)
        .envs(ENVIRONMENT)
        .output()
        .unwrap();
    let verdict = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|fault| panic!("{path:?}: {fault}: {output:?}"));
    (output.status.code(), verdict)
}

#[test]
fn every_example_is_a_good_file() {
    for path in examples() {
        let (code, verdict) = check(&path);
        assert_eq!(code, Some(0), "{}: {verdict:#}", path.display());
        let diagnostics = verdict["diagnostics"].as_array().unwrap();
        assert!(diagnostics.is_empty(), "{} has warnings: {verdict:#}", path.display());
    }
}

#[test]
fn examples_are_yaml_with_a_name_of_their_own() {
    let names: BTreeSet<String> =
        examples().iter().map(|path| path.file_name().unwrap().to_str().unwrap().into()).collect();
    for name in &names {
        let stem = name.strip_suffix(".yaml").unwrap_or_else(|| panic!("{name} is no .yaml"));
        let plain = |letter: char| letter.is_ascii_lowercase() || "-0123456789".contains(letter);
        assert!(stem.chars().all(plain), "{name}: lower case and hyphens, please");
    }
    assert!(names.contains("mini-gateway.yaml"), "{names:?}");
}
