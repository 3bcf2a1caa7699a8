//! Holds what was counted against what was counted before, and says what makes the two figures of
//! one thing or of two.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// How much dearer a request may get unnoticed.
pub(crate) const TOLERANCE: f64 = 0.03;

/// Allocations come in whole numbers a request, but for those that the passing of time brings: the
/// busier the machine, the longer a run takes, and the more of them there are.
const STRAY: f64 = 0.25;

/// What one request costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Costs {
    pub(crate) instructions: f64,
    pub(crate) allocations: f64,
}

/// By what something was counted. Another compiler or profile makes other instructions of the same
/// source, and another valgrind shows the program another processor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MadeWith {
    /// As `rustc --version` says it.
    pub(crate) compiler: String,
    /// As `rustc -vV` names the host.
    pub(crate) host: String,
    /// As `valgrind --version` says it.
    pub(crate) valgrind: String,
    /// The settings of the profile that decide what code comes out.
    pub(crate) profile: BTreeMap<String, String>,
}

/// What is kept in `BASELINE.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) made_with: MadeWith,
    /// By the name of the case.
    pub(crate) costs: BTreeMap<String, Costs>,
}

/// What is to be said of a comparison.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Judgement {
    /// What the check fails for.
    pub(crate) faults: Vec<String>,
    /// What the machine brings, so that instructions say nothing.
    pub(crate) remarks: Vec<String>,
}

impl MadeWith {
    /// What of the machine differs, in words.
    fn other_machine(&self, now: &MadeWith) -> Vec<String> {
        let pairs = [
            ("the compiler", &self.compiler, &now.compiler),
            ("the host", &self.host, &now.host),
            ("valgrind", &self.valgrind, &now.valgrind),
        ];
        let other = pairs.into_iter().filter(|(_, before, now)| before != now);
        other.map(|(what, before, now)| format!("{what} was {before} and is {now}")).collect()
    }
}

/// Holds `now` against the baseline.
///
/// A profile that changed is the doing of a commit, which then has to write the baseline anew. A
/// compiler, host or valgrind that changed is not: instructions are not compared then, which is
/// said. Allocations are those of the source, and always are.
pub(crate) fn compare(before: &Counted, now: &Counted) -> Judgement {
    let mut judgement = Judgement::default();
    let machine = before.made_with.other_machine(&now.made_with);
    if before.made_with.profile != now.made_with.profile {
        judgement.faults.push(format!(
            "the profile was {:?} and is {:?}: count anew with `./scripts/check-cost --write`",
            before.made_with.profile, now.made_with.profile
        ));
    }
    if !machine.is_empty() {
        judgement.remarks.push(format!(
            "Instructions are NOT compared, for the baseline was counted by other means: {}. \
             `./scripts/check-cost --write` counts anew, on the commit that the baseline is of.",
            machine.join("; ")
        ));
    }
    let comparable = judgement == Judgement::default();
    for (name, costs) in &now.costs {
        judgement.faults.extend(match before.costs.get(name) {
            None => Some(format!("{name} has no baseline: `./scripts/check-cost --write` adds it")),
            Some(before) => dearer(name, before, costs, comparable),
        });
    }
    for name in before.costs.keys().filter(|name| !now.costs.contains_key(*name)) {
        judgement.faults.push(format!(
            "{name} is in the baseline and nobody counts it: `./scripts/check-cost --write`"
        ));
    }
    judgement
}

/// What is dearer than it was, in a sentence.
fn dearer(name: &str, before: &Costs, now: &Costs, instructions: bool) -> Option<String> {
    let limit = |before: f64| before * (1.0 + TOLERANCE);
    let mut what = String::new();
    if instructions && now.instructions > limit(before.instructions) {
        let more = (now.instructions / before.instructions - 1.0) * 100.0;
        let (now, before) = (now.instructions, before.instructions);
        // Writing into a string cannot fail.
        let _ = write!(what, "{now:.0} instructions, {more:.1} % over {before:.0}");
    }
    if now.allocations > limit(before.allocations) + STRAY {
        let and = if what.is_empty() { "" } else { " and " };
        let (now, before) = (now.allocations, before.allocations);
        let _ = write!(what, "{and}{now:.2} allocations, which were {before:.2}");
    }
    (!what.is_empty()).then(|| {
        format!(
            "{name}: a request costs {what}. Make it cheaper, or write the baseline anew \
             (`./scripts/check-cost --write`) and say why in the same commit."
        )
    })
}

/// What `[profile.bench]` of a `Cargo.toml` comes to, with what it takes from `[profile.release]`,
/// and what the environment changes of it. Settings that change no code are left out.
pub(crate) fn profile(
    manifest: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    for section in ["[profile.release]", "[profile.bench]"] {
        let lines = manifest.lines().skip_while(|line| line.trim() != section).skip(1);
        let lines = lines.take_while(|line| !line.starts_with('['));
        let written = lines.filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            Some((name.trim().to_owned(), value.trim().trim_matches('"').to_owned()))
        });
        settings.extend(written.filter(|(name, _)| name != "debug"));
    }
    let decides = |name: &str| name.starts_with("CARGO_PROFILE_") || name.ends_with("RUSTFLAGS");
    settings.extend(environment.filter(|(name, _)| decides(name)));
    settings
}
