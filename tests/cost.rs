//! What holds a counted cost against the baseline is right, and the baseline is one.

#[path = "../benches/cost/compare.rs"]
mod compare;

use compare::{Costs, Counted, MadeWith, compare, profile};

/// The baseline can be read, is of the profile in `Cargo.toml`, and names what it was made with.
#[test]
fn the_baseline_is_of_this_profile() {
    let baseline = include_str!("../benches/BASELINE.json");
    let baseline: Counted = serde_json::from_str(baseline).unwrap();
    let profile = profile(include_str!("../Cargo.toml"), std::iter::empty());
    assert_eq!(baseline.made_with.profile, profile, "count anew: ./scripts/check-cost --write");
    assert!(baseline.made_with.compiler.starts_with("rustc "), "{baseline:?}");
    assert!(baseline.costs.values().all(|costs| costs.instructions > 1_000.0), "{baseline:?}");
    assert!(compare(&baseline, &baseline).faults.is_empty());
}

fn counted(instructions: f64, allocations: f64) -> Counted {
    Counted {
        made_with: MadeWith {
            compiler: "rustc 1.95.0".to_owned(),
            host: "x86_64-unknown-linux-gnu".to_owned(),
            valgrind: "valgrind-3.19.0".to_owned(),
            profile: profile("[profile.release]\nlto = \"off\"\n", std::iter::empty()),
        },
        costs: [("plain".to_owned(), Costs { instructions, allocations })].into(),
    }
}

#[track_caller]
fn check(before: &Counted, now: &Counted, faults: &[&str], remarks: &[&str]) {
    let judgement = compare(before, now);
    for (said, wanted) in [(&judgement.faults, faults), (&judgement.remarks, remarks)] {
        assert_eq!(said.len(), wanted.len(), "{judgement:?}");
        for (said, wanted) in said.iter().zip(wanted) {
            assert!(said.contains(wanted), "{judgement:?}");
        }
    }
}

#[test]
fn three_in_a_hundred_pass_and_more_do_not() {
    let before = counted(10_000.0, 0.0);
    check(&before, &counted(9_000.0, 0.0), &[], &[]);
    check(&before, &counted(10_299.0, 0.0), &[], &[]);
    check(&before, &counted(10_301.0, 0.0), &["10301 instructions, 3.0 % over 10000"], &[]);
}

#[test]
fn one_allocation_more_is_a_fault_and_a_stray_one_is_not() {
    let before = counted(10_000.0, 0.0004);
    check(&before, &counted(10_000.0, 0.2), &[], &[]);
    check(&before, &counted(10_000.0, 1.0), &["1.00 allocations, which were 0.00"], &[]);
    let both = "11000 instructions, 10.0 % over 10000 and 1.00 allocations";
    check(&before, &counted(11_000.0, 1.0), &[both], &[]);
    // Of many, three in a hundred are let pass as well.
    check(&counted(1.0, 100.0), &counted(1.0, 103.0), &[], &[]);
    check(&counted(1.0, 100.0), &counted(1.0, 104.0), &["104.00 allocations"], &[]);
}

#[test]
fn another_compiler_is_told_and_only_allocations_are_compared() {
    let (before, mut now) = (counted(10_000.0, 0.0), counted(20_000.0, 0.0));
    now.made_with.compiler = "rustc 2.0.0".to_owned();
    let told = "the compiler was rustc 1.95.0 and is rustc 2.0.0";
    check(&before, &now, &[], &[told]);
    now.costs.extend(counted(20_000.0, 1.0).costs);
    check(&before, &now, &["plain: a request costs 1.00 allocations"], &[told]);
}

#[test]
fn another_profile_needs_another_baseline() {
    let (before, mut now) = (counted(10_000.0, 0.0), counted(20_000.0, 0.0));
    now.made_with.profile.insert("lto".to_owned(), "fat".to_owned());
    check(&before, &now, &["{\"lto\": \"off\"} and is {\"lto\": \"fat\"}"], &[]);
}

#[test]
fn a_case_is_in_both_or_the_baseline_is_wrong() {
    let (before, mut now) = (counted(1.0, 0.0), counted(1.0, 0.0));
    let costs = now.costs.remove("plain").unwrap();
    now.costs.insert("new".to_owned(), costs);
    check(&before, &now, &["new has no baseline", "plain is in the baseline"], &[]);
}

#[test]
fn a_profile_is_what_is_written_and_what_the_environment_changes() {
    let manifest = "[package]\nname = \"a\"\n\n[profile.release]\n# Why.\nlto = \"fat\"\n\
                    codegen-units = 1\ndebug = \"full\"\n\n[profile.bench]\nlto = \"off\"\n";
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let environment = [pair("CARGO_PROFILE_BENCH_LTO", "thin"), pair("PATH", "/bin")];
    let wanted =
        [pair("CARGO_PROFILE_BENCH_LTO", "thin"), pair("codegen-units", "1"), pair("lto", "off")];
    assert_eq!(profile(manifest, environment.into_iter()), wanted.into());
}
