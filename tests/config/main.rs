//! What can be said about the file only where the real filters are known.

use std::path::Path;
use std::process::Command;

use ringway_filters::FilterSettings;

#[test]
fn the_reference_is_what_the_code_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/REFERENCE.md");
    let reference = ringway_config::reference::<FilterSettings>();
    if std::env::var_os("RINGWAY_BLESS").is_some() {
        std::fs::write(&file, &reference).expect("the reference can be written");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == reference,
        "config/REFERENCE.md is stale: run `RINGWAY_BLESS=1 cargo test --test config`"
    );
}

#[test]
fn every_setting_of_every_filter_is_described() {
    let reference = ringway_config::reference::<FilterSettings>();
    for row in reference.lines().filter(|line| line.starts_with("| `")) {
        let meaning = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        assert!(meaning.len() > 3, "{row}");
    }
}

/// One file a diagnostic of a filter: `tests/config/filters/NAME.yaml`, and what `ringway check`
/// says about it, `NAME.txt`. Cases of what is no filter's are in `tests/config/cases`.
#[test]
fn every_case_of_a_filter_is_answered_as_it_is_written_down() {
    check_cases("tests/config/filters", 1);
}

/// The same of files that can be served and surely are not meant: `tests/config/warnings`.
#[test]
fn every_case_of_a_warning_is_answered_as_it_is_written_down() {
    check_cases("tests/config/warnings", 0);
}

/// What `ringway check` says about the files of a folder, and how it ends.
#[track_caller]
fn check_cases(folder: &str, code: i32) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).expect("the cases can be listed");
    let mut stale = String::new();
    for entry in entries {
        let case = entry.expect("a case can be listed").path();
        if case.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        let output = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .current_dir(&folder)
            .args(["check", "-c"])
            .arg(case.file_name().expect("a case has a name"))
            .output()
            .expect("ringway can be run");
        assert_eq!(output.status.code(), Some(code), "{case:?}: {output:?}");
        let answer = String::from_utf8_lossy(&output.stderr).into_owned();
        let file = case.with_extension("txt");
        if std::env::var_os("RINGWAY_BLESS").is_some() {
            std::fs::write(&file, &answer).expect("the answer can be written");
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if answer != expected {
            stale += &format!("== {case:?}, expected:\n{expected}\n== found:\n{answer}\n");
        }
    }
    assert!(stale.is_empty(), "{stale}If this is meant: RINGWAY_BLESS=1 cargo test --test config");
}
