//! Public items that nobody uses. The compiler does not warn of them, because the crate's modules
//! are public. The check goes by names: an item counts as used when its name stands anywhere else
//! in the code.

use std::collections::BTreeMap;

use super::{Source, identifier, lines, report, rust_files, sources};

/// Items that only tests use, and why they stay. The list may only shrink.
const FOR_TESTS: &[&str] = &[];

/// Files whose constants are a table of Apache's numbers, which stands whole.
const TABLES: &[&str] = &["codes.rs"];

/// Words that come before a public item's name.
const KINDS: &[&str] = &["fn", "struct", "enum", "const", "static", "type", "trait"];

#[test]
fn every_public_item_is_used() {
    let uses = uses();
    report("a public item is used outside unit tests", |file, out| {
        for (line, name) in public_items(file) {
            let is_entry =
                TABLES.contains(&file.path.as_str()) && name == name.to_ascii_uppercase();
            let excused = is_entry || FOR_TESTS.contains(&name.as_str());
            if uses.get(&name).is_none_or(|count| *count < 2) && !excused {
                out.push((line, format!("nobody uses {name}")));
            }
        }
    });
}

#[test]
fn exceptions_for_tests_are_still_needed() {
    let uses = uses();
    for name in FOR_TESTS {
        assert_eq!(uses.get(*name), Some(&1), "{name} is used, or gone; take it off the list");
    }
}

#[test]
fn the_check_sees_public_items() {
    let text = "pub const A: u8 = 1;\npub(crate) fn b() {}\n    pub const fn c() \
                {}\n#[cfg(test)]\nmod t {\n pub fn d() {}\n}";
    let file = Source::new("x.rs", text.to_owned());
    assert_eq!(public_items(&file), [(1, "A".to_owned()), (3, "c".to_owned())]);
}

/// The number of times that each name stands in code: in `src` outside unit tests, in `tests/` and
/// in `benches/`.
fn uses() -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let mut count = |code: &str| {
        for word in code
            .split(|ch: char| !ch.is_alphanumeric() && ch != '_')
            .filter(|word| !word.is_empty())
        {
            *counts.entry(word.to_owned()).or_insert(0) += 1;
        }
    };
    for file in sources() {
        for ((number, line), code) in lines(&file.text).zip(file.code.lines()) {
            if !file.is_test_line(number) {
                count(code);
                formatted(line, code).into_iter().for_each(|name| count(&name));
            }
        }
    }
    for folder in ["tests", "benches"] {
        rust_files(folder).iter().for_each(|file| count(&file.code));
    }
    counts
}

/// The names that a line's texts hold in braces: `"{NAME}"` uses NAME.
fn formatted(line: &str, code: &str) -> Vec<String> {
    if line.trim_start().starts_with("//") {
        return Vec::new();
    }
    let hidden = |at: usize| code.get(at..=at).is_none_or(|ch| ch == " ");
    line.match_indices('{')
        .filter(|(at, _)| hidden(*at))
        .map(|(at, _)| identifier(&line[at + 1..]))
        .collect()
}

fn public_items(file: &Source) -> Vec<(usize, String)> {
    let of_line = |(number, line): (usize, &str)| {
        let mut rest = line.trim_start().strip_prefix("pub ")?.trim_start();
        let mut name = None;
        // `pub const fn name`, `pub unsafe fn name`
        while let Some(word) = Some(identifier(rest)).filter(|word| !word.is_empty()) {
            rest = rest[word.len()..].trim_start();
            if KINDS.contains(&word.as_str()) {
                name = Some(identifier(rest));
            } else if word != "unsafe" {
                break;
            }
        }
        Some((number, name?)).filter(|(number, _)| !file.is_test_line(*number))
    };
    lines(&file.code).filter_map(of_line).collect()
}
