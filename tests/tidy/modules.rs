//! Which module of a crate imports which.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// Modules that import each other in a circle.
pub(crate) struct Circle {
    /// The modules in order, the first one again at the end.
    pub(crate) names: Vec<String>,
    /// Where the first one imports the second.
    pub(crate) path: String,
    pub(crate) line: usize,
}

/// Who imports whom, and where.
type Imports = BTreeMap<String, BTreeMap<String, (String, usize)>>;

/// The circles among the top modules of the crate whose sources are in `root`. A folder counts as
/// one module: a parent may name its children and they it.
pub(crate) fn circles(root: &str, sources: &[Source]) -> Vec<Circle> {
    let folder = format!("{root}/");
    let own: Vec<&Source> =
        sources.iter().filter(|source| source.path.starts_with(&folder)).collect();
    let modules: BTreeSet<String> = own.iter().map(|source| module(&folder, source)).collect();
    let mut imports = Imports::new();
    for source in own {
        let from = module(&folder, source);
        // The root of a crate names everything; that is what it is for.
        if from == "lib" || from == "main" {
            continue;
        }
        for (line, code) in source.code.iter().enumerate().take(source.tests_from) {
            for to in imported(code, &source.code[line..]) {
                if to != from && modules.contains(&to) {
                    let place = (source.path.clone(), line + 1);
                    imports.entry(from.clone()).or_default().entry(to).or_insert(place);
                }
            }
        }
    }
    let mut circles: Vec<Circle> = Vec::new();
    let mut seen = BTreeSet::new();
    for start in imports.keys() {
        if let Some(names) = way_back(start, &imports) {
            // The same circle is found from each of its modules.
            let mut members = names.clone();
            members.sort();
            members.dedup();
            if seen.insert(members) {
                let (path, line) = imports[&names[0]][&names[1]].clone();
                circles.push(Circle { names, path, line });
            }
        }
    }
    circles
}

fn module(folder: &str, source: &Source) -> String {
    let inner = &source.path[folder.len()..];
    inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs").to_owned()
}

/// The top modules that a line names after `crate::`, groups over several lines included.
fn imported(code: &str, following: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    for (place, start) in code.match_indices("crate::") {
        let rest = &code[place + start.len()..];
        if rest.starts_with('{') {
            let rest: String =
                std::iter::once(rest).chain(following[1..].iter().map(String::as_str)).collect();
            names.extend(group(&rest));
        } else {
            names.push(first_word(rest));
        }
    }
    names
}

/// The first words of the entries of `{a::b, c::{d, e}}`.
fn group(text: &str) -> Vec<String> {
    let (mut depth, mut names, mut entry) = (0, Vec::new(), String::new());
    for letter in text.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && letter == ',') {
            names.push(first_word(entry.trim_start_matches('{').trim()));
            entry.clear();
        } else {
            entry.push(letter);
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// The shortest way from a module back to itself.
fn way_back(start: &str, imports: &Imports) -> Option<Vec<String>> {
    let mut ways: Vec<Vec<String>> = vec![vec![start.to_owned()]];
    let mut reached = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let next = way.last().and_then(|last| imports.get(last));
            for to in next.into_iter().flat_map(BTreeMap::keys) {
                let mut way = way.clone();
                way.push(to.clone());
                if to == start {
                    return Some(way);
                }
                if reached.insert(to.clone()) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

#[test]
fn groups_are_taken_apart() {
    let lines = ["use crate::{a, b::{c, d}, e::F};", "use crate::{", "    g::H,", "};"];
    let lines: Vec<String> = lines.map(str::to_owned).into();
    assert_eq!(imported(&lines[0], &lines), ["a", "b", "e"]);
    let names = imported(&lines[1], &lines[1..]);
    assert_eq!(names.iter().filter(|name| !name.is_empty()).collect::<Vec<_>>(), ["g"]);
}
