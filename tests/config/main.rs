//! What can be said about the file only where the real filters are known.

use std::path::Path;

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
