//! One file a diagnostic: `tests/config/cases/NAME.yaml` and what `ringway check` says about it,
//! `NAME.txt`. To write the answers anew, and then to read each of them:
//! `RINGWAY_BLESS=1 cargo test -p ringway-config --test cases`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/config/cases");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|file| file.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    files
}

/// What is said about a text.
fn answer(text: &str) -> String {
    match common::load(text) {
        Ok(loaded) if loaded.warnings.is_empty() => "no diagnostics\n".to_owned(),
        Ok(loaded) => format!("{}\n", loaded.warnings),
        Err(errors) => format!("{errors}\n"),
    }
}

#[test]
fn every_case_is_answered_as_it_is_written_down() {
    let bless = std::env::var_os("RINGWAY_BLESS").is_some();
    let mut stale = Vec::new();
    for case in cases() {
        let answer = answer(&std::fs::read_to_string(&case).unwrap());
        let file = case.with_extension("txt");
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if bless {
            std::fs::write(&file, &answer).unwrap();
        } else if answer != expected {
            let name = case.file_stem().unwrap().to_string_lossy();
            stale.push(format!("== {name}, expected:\n{expected}\n== {name}, found:\n{answer}"));
        }
    }
    let command = "RINGWAY_BLESS=1 cargo test -p ringway-config --test cases";
    assert!(stale.is_empty(), "{}\nIf this is meant, run `{command}`.", stale.join("\n"));
}

#[test]
fn every_case_has_something_to_say() {
    for case in cases() {
        let answer = answer(&std::fs::read_to_string(&case).unwrap());
        assert_ne!(answer, "no diagnostics\n", "{}", case.display());
    }
}

#[test]
fn no_case_shows_a_secret_or_what_came_from_the_environment() {
    for case in cases() {
        let answer = answer(&std::fs::read_to_string(&case).unwrap());
        for secret in ["correct-horse", "swordfish", "hunter2"] {
            assert!(!answer.contains(secret), "{} shows {secret}", case.display());
        }
    }
}
