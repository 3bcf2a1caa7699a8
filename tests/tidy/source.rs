//! Source files with their comments and strings blanked out, so that a rule about code is not
//! broken by a sentence about it.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One Rust file.
pub(crate) struct Source {
    /// From the root of the repository.
    pub(crate) path: String,
    /// The lines as they are.
    pub(crate) raw: Vec<String>,
    /// The same lines, each byte of a comment or string replaced by a blank.
    pub(crate) code: Vec<String>,
    /// The line of `#[cfg(test)] mod`, or the number of lines.
    pub(crate) tests_from: usize,
}

/// Every Rust file of the repository that people write.
pub(crate) fn everything() -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in ["src", "config", "engine", "filters", "tests", "benches"] {
        collect(&root().join(folder), &mut paths);
    }
    paths.sort();
    assert!(paths.len() > 4, "the sources are not where they should be");
    paths.iter().map(|path| Source::read(path)).collect()
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a file of this name, or with this path at the end, is somewhere below the folder.
pub(crate) fn exists_below(folder: &str, name: &str) -> bool {
    let folder = root().join(folder);
    if folder.join(name).exists() || root().join(name).exists() {
        return true;
    }
    let mut paths = Vec::new();
    collect(&folder, &mut paths);
    paths.iter().any(|path| path.ends_with(name))
}

/// The identifiers and keywords of a line of code.
pub(crate) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" {
            collect(&path, paths);
        } else if path.extension().is_some_and(|end| end == "rs") {
            paths.push(path);
        }
    }
}

impl Source {
    fn read(path: &Path) -> Source {
        let text = fs::read_to_string(path).unwrap();
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let raw: Vec<String> = text.lines().map(str::to_owned).collect();
        let code: Vec<String> = blank(&text).lines().map(str::to_owned).collect();
        let tests_from = (0..code.len())
            .find(|line| {
                let next = code.get(line + 1).map_or("", |next| next.trim());
                code[*line].starts_with("#[cfg(test)]") && next.starts_with("mod ")
            })
            .unwrap_or(code.len());
        Source { path, raw, code, tests_from }
    }

    fn belongs_to_a_crate(&self) -> bool {
        self.path.starts_with("src/") || self.path.contains("/src/")
    }

    /// Whether the line is part of what is shipped, not of its tests.
    pub(crate) fn is_product(&self, line: usize) -> bool {
        let tests = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        self.belongs_to_a_crate() && line < self.tests_from && !tests
    }

    pub(crate) fn raw_from(&self, line: usize, count: usize) -> String {
        self.raw.iter().skip(line).take(count).map(|line| line.trim()).collect()
    }

    /// How many of these lines hold code.
    pub(crate) fn code_lines(&self, lines: Range<usize>) -> usize {
        self.code[lines].iter().filter(|line| !line.trim().is_empty()).count()
    }

    /// Every function with a body: its name, and its lines from `fn` to the closing brace.
    pub(crate) fn functions(&self) -> Vec<(String, Range<usize>)> {
        let mut functions = Vec::new();
        for (start, line) in self.code.iter().enumerate() {
            let mut before = "";
            for word in words(line) {
                if before == "fn"
                    && let Some(end) = self.end_of_function(start)
                {
                    functions.push((word.to_owned(), start..end + 1));
                }
                before = word;
            }
        }
        functions
    }

    /// The line where the braces that open after `start` are closed; nothing for a declaration.
    fn end_of_function(&self, start: usize) -> Option<usize> {
        let (mut braces, mut others) = (0_usize, 0_i32);
        for (line, code) in self.code.iter().enumerate().skip(start) {
            let begin = if line == start { code.find("fn ")? } else { 0 };
            for letter in code[begin..].chars() {
                match letter {
                    '(' | '[' => others += 1,
                    ')' | ']' => others -= 1,
                    ';' if braces == 0 && others == 0 => return None,
                    '{' => braces += 1,
                    '}' if braces == 1 => return Some(line),
                    '}' => braces = braces.checked_sub(1)?,
                    _ => {}
                }
            }
        }
        None
    }
}

/// The text with comments, strings and characters blanked, line for line.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut blanked = Vec::with_capacity(bytes.len());
    let mut place = 0;
    while place < bytes.len() {
        let length = token(&bytes[place..], blanked.last().copied());
        let hidden = length > 1;
        for &byte in &bytes[place..place + length.max(1)] {
            blanked.push(if hidden && byte != b'\n' { b' ' } else { byte });
        }
        place += length.max(1);
    }
    String::from_utf8_lossy(&blanked).into_owned()
}

/// The length of the comment, string or character that begins here, or 0.
fn token(rest: &[u8], before: Option<u8>) -> usize {
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => find(rest, b"\n").unwrap_or(rest.len()),
        [b'/', b'*', ..] => find(rest, b"*/").map_or(rest.len(), |end| end + 2),
        [b'"', ..] => quoted(rest, 1),
        [b'b' | b'c', b'"', ..] if !in_word => quoted(rest, 2),
        [b'r', ..] if !in_word => raw_string(rest, 1),
        [b'b', b'r', ..] if !in_word => raw_string(rest, 2),
        [b'\'', b'\\', ..] => find(&rest[3..], b"'").map_or(0, |end| end + 4),
        [b'\'', ..] => character(rest),
        _ => 0,
    }
}

fn quoted(rest: &[u8], begin: usize) -> usize {
    let mut place = begin;
    while place < rest.len() && rest[place] != b'"' {
        place += if rest[place] == b'\\' { 2 } else { 1 };
    }
    (place + 1).min(rest.len())
}

fn raw_string(rest: &[u8], begin: usize) -> usize {
    let hashes = rest[begin..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(begin + hashes) != Some(&b'"') {
        return 0;
    }
    let end = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let open = begin + hashes + 1;
    find(&rest[open..], &end).map_or(rest.len(), |place| open + place + end.len())
}

/// A character and not a lifetime: something of one letter between two quotes.
fn character(rest: &[u8]) -> usize {
    let text = String::from_utf8_lossy(&rest[1..rest.len().min(6)]).into_owned();
    let Some(letter) = text.chars().next() else { return 0 };
    let end = 1 + letter.len_utf8();
    if rest.get(end) == Some(&b'\'') { end + 1 } else { 0 }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[test]
fn sentences_are_not_code() {
    let text = "let a = \"unsafe\"; // unwrap()\n\
                let b: &'a str = r#\"x\"y\"#; let c = 'd'; '\\n' /* e */ f";
    let wanted = ["let a =         ;", "let b: &'a str =         ; let c =    ;"];
    let blanked = blank(text);
    for (line, wanted) in blanked.lines().zip(wanted) {
        assert!(line.starts_with(wanted), "{line:?}");
    }
    assert!(blanked.ends_with("  f") && blanked.len() == text.len(), "{blanked:?}");
}
