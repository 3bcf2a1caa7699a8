//! The house rules that a program can check. A finding names the place, the rule and the remedy;
//! what a rule excuses is listed beside it, with the reason.
#![allow(clippy::unwrap_used, reason = "a rule that cannot be checked has failed")]

#[path = "tidy/modules.rs"]
mod modules;
#[path = "tidy/source.rs"]
mod source;

use std::fmt;
use std::fs;

use source::{Source, everything, root};

/// Columns of a line.
const COLUMNS: usize = 100;

/// Lines of code of a file, tests and comments apart.
const FILE_LINES: usize = 400;

/// Lines of code of a function. The rule says about 70; this is where "about" ends.
const FUNCTION_LINES: usize = 80;

/// Where the runtime may be named, so that it can be changed when a measurement says so. The load
/// and the origin of `ringway bench` stand on it by themselves.
const NAMES_THE_RUNTIME: [&str; 12] = [
    "engine/src/accept.rs",
    "engine/src/clock.rs",
    "engine/src/io.rs",
    "engine/src/run.rs",
    "engine/src/upstream/connect.rs",
    "engine/src/worker.rs",
    "src/bench.rs",
    "src/bench/client.rs",
    "src/bench/load.rs",
    "src/bench/measure.rs",
    "src/bench/origin.rs",
    "src/bench/reload.rs",
];

/// A rule that is broken somewhere.
struct Finding {
    path: String,
    /// From 1.
    line: usize,
    rule: String,
    remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { path, line, rule, remedy } = self;
        write!(out, "{path}:{line}: {rule}\n    {remedy}")
    }
}

#[track_caller]
fn expect_none(findings: Vec<Finding>) {
    let list: String = findings.iter().map(|finding| format!("\n{finding}")).collect();
    assert!(findings.is_empty(), "{} findings{list}", findings.len());
}

/// A finding for each line of which `broken` says what is wrong.
fn lines(
    sources: &[Source],
    remedy: &'static str,
    mut broken: impl FnMut(&Source, usize) -> Option<String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for line in 0..source.code.len() {
            if let Some(rule) = broken(source, line) {
                findings.push(Finding { path: source.path.clone(), line: line + 1, rule, remedy });
            }
        }
    }
    findings
}

#[test]
fn lines_are_short() {
    expect_none(lines(&everything(), "break the line", |source, line| {
        let columns = source.raw[line].chars().count();
        (columns > COLUMNS).then(|| format!("{columns} columns, more than {COLUMNS}"))
    }));
}

#[test]
fn files_are_small() {
    let mut findings = Vec::new();
    for source in product() {
        let count = source.code_lines(0..source.tests_from);
        if count > FILE_LINES {
            findings.push(Finding {
                rule: format!("{count} lines of code, more than {FILE_LINES}"),
                line: source.tests_from,
                path: source.path,
                remedy: "move a part that has a name into a file of its own",
            });
        }
    }
    expect_none(findings);
}

#[test]
fn functions_are_small() {
    let mut findings = Vec::new();
    for source in everything() {
        for (name, body) in source.functions() {
            let count = source.code_lines(body.clone());
            if count > FUNCTION_LINES {
                findings.push(Finding {
                    path: source.path.clone(),
                    line: body.start + 1,
                    rule: format!("fn {name} has {count} lines, more than {FUNCTION_LINES}"),
                    remedy: "keep the branches here and move the leaves into functions",
                });
            }
        }
    }
    expect_none(findings);
}

#[test]
fn nothing_panics_on_purpose() {
    let product = product();
    let mut findings =
        lines(&product, "return an error, or say why this cannot happen", |source, line| {
            let bad = source.is_product(line) && source.code[line].contains(".unwrap()");
            bad.then(|| "unwrap() outside tests".to_owned())
        });
    findings.extend(lines(
        &product,
        "write .expect(\"invariant: why it holds\")",
        |source, line| {
            let code = &source.code[line];
            // A method of our own may have this name too, but then it is called on `self`.
            let others = code.replace("self.expect(", "            ");
            let column = others.find(".expect(").filter(|_| source.is_product(line))?;
            let reason = format!("{}{}", &source.raw[line][column..], source.raw_from(line + 1, 1));
            let reason = reason[".expect(".len()..].trim_start();
            (!reason.starts_with("\"invariant:"))
                .then(|| "expect() without an invariant".to_owned())
        },
    ));
    expect_none(findings);
}

#[test]
fn unsafe_is_rare_and_explained() {
    let mut findings = lines(&everything(), "do it in engine/, or without", |source, line| {
        let elsewhere = !source.path.starts_with("engine/");
        let found = source::words(&source.code[line]).any(|word| word == "unsafe");
        (elsewhere && found).then(|| "unsafe outside the engine".to_owned())
    });
    // What an `unsafe fn` asks of its callers is for clippy (`missing_safety_doc`) to see to.
    findings.extend(lines(
        &everything(),
        "write // SAFETY: and why it is sound",
        |source, line| {
            let code = &source.code[line];
            let found = ["unsafe {", "unsafe impl"].iter().any(|start| code.contains(start));
            let above = &source.raw[line.saturating_sub(12)..=line];
            let explained = above.iter().any(|line| line.contains("SAFETY:"));
            (found && !explained).then(|| "unsafe without a reason".to_owned())
        },
    ));
    expect_none(findings);
}

#[test]
fn nothing_is_left_for_later() {
    const MARKS: [&str; 4] = ["#[ignore", "todo!(", "unimplemented!(", "dbg!("];
    expect_none(lines(
        &everything(),
        "do it, or open an issue and leave it out",
        |source, line| {
            let mark = MARKS.into_iter().find(|mark| source.code[line].contains(mark))?;
            Some(format!("{mark} is left over"))
        },
    ));
}

#[test]
fn tests_do_not_sleep() {
    let remedy = "wait for the event, or move the clock";
    expect_none(lines(&everything(), remedy, |source, line| {
        let sleeps = ["thread::sleep", "time::sleep"]
            .into_iter()
            .any(|sleep| source.code[line].contains(sleep));
        (sleeps && !source.is_product(line)).then(|| "a test that sleeps".to_owned())
    }));
}

#[test]
fn the_runtime_is_named_in_few_places() {
    let remedy = "go through io.rs, clock.rs or upstream/connect.rs";
    expect_none(lines(&product(), remedy, |source, line| {
        let excused = NAMES_THE_RUNTIME.contains(&source.path.as_str());
        let named = source.code[line].contains("monoio::") && source.is_product(line);
        (named && !excused).then(|| "monoio:: is named here".to_owned())
    }));
}

/// A file that is excused carries one `#[expect]` for clippy, with the reason; clippy then sees to
/// it that the excuse is needed.
#[test]
fn what_crosses_cores_is_shared() {
    let remedy =
        "use what shared.rs and clock.rs offer, or #![expect(clippy::disallowed_…, reason)]";
    expect_none(lines(&product(), remedy, |source, line| {
        let in_scope = source.path.starts_with("engine/") || source.path.starts_with("filters/");
        let excused = source.raw.iter().any(|line| line.contains("clippy::disallowed_"));
        if !in_scope || excused || !source.is_product(line) {
            return None;
        }
        let code = &source.code[line];
        let word = source::words(code)
            .find(|word| matches!(*word, "Arc" | "Mutex" | "RwLock") || word.starts_with("Atomic"));
        let clock = code.contains("Instant::now").then_some("Instant::now");
        word.or(clock).map(|word| format!("{word} outside the files that may"))
    }));
}

/// Modules of one crate do not import each other in a circle, so that each can be read after those
/// it stands on.
#[test]
fn modules_stand_on_each_other_in_one_direction() {
    let mut findings = Vec::new();
    for root in ["config/src", "engine/src", "filters/src", "src"] {
        for circle in modules::circles(root, &product()) {
            findings.push(Finding {
                path: circle.path,
                line: circle.line,
                rule: format!("a circle of imports: {}", circle.names.join(" → ")),
                remedy: "move what both need to a module below them",
            });
        }
    }
    expect_none(findings);
}

/// The way of a request in the docs of the engine, and the map in README, name files that exist.
/// A name without a folder may be a file that the reader is to write, except in the engine's docs.
#[test]
fn files_that_the_docs_name_exist() {
    let mut findings = Vec::new();
    for (page, folder) in [("engine/src/lib.rs", "engine/src"), ("README.md", ".")] {
        let Ok(text) = fs::read_to_string(root().join(page)) else { continue };
        for (line, text) in text.lines().enumerate() {
            let docs = page.ends_with(".md") || text.starts_with("//!");
            let named =
                text.split(|letter: char| !(letter.is_alphanumeric() || "._-/*".contains(letter)));
            for name in named.filter(|name| docs && is_file_name(name, page)) {
                if !source::exists_below(folder, name) {
                    findings.push(Finding {
                        path: page.to_owned(),
                        line: line + 1,
                        rule: format!("{name} is not there"),
                        remedy: "name the file that is",
                    });
                }
            }
        }
    }
    expect_none(findings);
}

/// Who reads README finds every filter and every dependency there.
#[test]
fn the_readme_names_every_filter_and_dependency() {
    let read = |page: &str| fs::read_to_string(root().join(page)).unwrap();
    let readme = read("README.md");
    let section = |title: &str| readme.split(title).nth(1).unwrap().split("\n## ").next().unwrap();
    let manifest = read("Cargo.toml");
    let dependencies = manifest.split("[workspace.dependencies]\n").nth(1).unwrap();
    let dependencies = dependencies.lines().take_while(|line| !line.is_empty());
    let dependencies = dependencies.filter_map(|line| line.split(' ').next());
    let reference = read("config/REFERENCE.md");
    let filters = reference.split("\n## Filters").nth(1).unwrap().lines();
    let filters = filters.filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    let mut findings = Vec::new();
    let mut expect = |name: &str, title: &str, remedy: &'static str| {
        let written = format!("`{name}`");
        if !section(title).lines().any(|line| line.starts_with("| `") && line.contains(&written)) {
            findings.push(Finding {
                path: "README.md".to_owned(),
                line: 1,
                rule: format!("{written} is not in the table below {title}"),
                remedy,
            });
        }
    };
    for name in dependencies.filter(|name| !name.starts_with("ringway-")) {
        expect(name, "\n## Dependencies", "say why it is here, or remove it from Cargo.toml");
    }
    for name in filters {
        expect(name, "\n## Filters", "say in a few words what it does");
    }
    expect_none(findings);
}

fn is_file_name(word: &str, page: &str) -> bool {
    let ends = [".rs", ".md", ".toml", ".yaml"].iter().any(|end| word.ends_with(end));
    let relative = !word.starts_with(['.', '/']) && !word.contains('*');
    ends && relative && (word.contains('/') || page.ends_with(".rs"))
}

/// The files of the crates, without those that only test them.
fn product() -> Vec<Source> {
    everything().into_iter().filter(|source| source.is_product(0)).collect()
}
