//! Everything that comments cite is in the repository: numbers of properties, scenarios and bad
//! inputs stand in `docs/`, and `§` names a section of `docs/observed.md`.

use std::collections::BTreeSet;
use std::fs;

use super::{Source, lines, root, rust_files, sources};

/// The catalogues, each with the letters of its numbers.
const CATALOGUES: &[(&str, &str)] =
    &[("docs/properties.md", "PCSWLR"), ("docs/known-bugs.md", "S"), ("docs/bad-input.md", "B")];

/// The page whose sections `§` names.
const OBSERVED: &str = "docs/observed.md";

#[test]
fn every_cite_resolves() {
    let known = known();
    let mut dangling = String::new();
    let mut all = sources();
    all.extend(rust_files("tests"));
    let mut count = 0;
    for file in &all {
        for (line, cite) in cites(file) {
            count += 1;
            if !known.contains(&cite) {
                dangling += &format!("  {}:{line}: {cite}\n", file.path);
            }
        }
    }
    assert!(dangling.is_empty(), "not in docs/:\n{dangling}");
    assert!(count > 50, "{count} cites found: the check looks past them");
}

#[test]
fn the_check_sees_cites() {
    let text = [
        "//! B21, and P3 to P5 (§2, §1.6); not UTF8, X1 or B123.",
        "let b7 = \"B8\";",
        "fn b9_is_one() {}",
        "fn b_is_none() {}",
    ]
    .join("\n");
    let found: Vec<String> =
        cites(&Source::new("x.rs", text)).into_iter().map(|(_, cite)| cite).collect();
    assert_eq!(found, ["B21", "P3", "P5", "§2", "§1.6", "B9"]);
}

#[test]
fn the_catalogues_count_without_repeating() {
    for (page, letters) in CATALOGUES {
        let rows = rows(page, letters);
        let distinct: BTreeSet<&String> = rows.iter().collect();
        assert!(
            !rows.is_empty() && distinct.len() == rows.len(),
            "{page} says something twice, or nothing"
        );
    }
}

/// Everything that can be cited.
fn known() -> BTreeSet<String> {
    let mut known: BTreeSet<String> =
        CATALOGUES.iter().flat_map(|(page, letters)| rows(page, letters)).collect();
    let observed = read(OBSERVED);
    let sections = observed.lines().filter_map(|line| line.strip_prefix("## ")?.split('.').next());
    known.extend(sections.map(|number| format!("§{number}")));
    known
}

/// The numbers that a page's tables explain: each row starts with its own.
fn rows(page: &str, letters: &str) -> Vec<String> {
    let text = read(page);
    let first = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    first.filter(|cell| is_number(cell, letters)).map(str::to_owned).collect()
}

fn is_number(word: &str, letters: &str) -> bool {
    let mut chars = word.chars();
    let digits =
        chars.next().is_some_and(|letter| letters.contains(letter)).then_some(chars.as_str());
    digits.is_some_and(|digits| {
        (1..=2).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// Every cite of a file: in its comments, and at the start of a test's name.
fn cites(file: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for ((number, line), code) in lines(&file.text).zip(file.code.lines()) {
        let comment =
            line.find("//").filter(|at| code.get(*at..).is_none_or(|rest| rest.trim().is_empty()));
        if let Some(at) = comment {
            found.extend(in_comment(&line[at..]).into_iter().map(|cite| (number, cite)));
        }
        let name = code
            .trim_start()
            .strip_prefix("fn ")
            .and_then(|rest| rest.split('_').next())
            .unwrap_or_default();
        let cite = name.to_ascii_uppercase();
        if CATALOGUES.iter().any(|(_, letters)| is_number(&cite, letters)) {
            found.push((number, cite));
        }
    }
    found
}

fn in_comment(text: &str) -> Vec<String> {
    let words =
        text.split(|ch: char| !ch.is_alphanumeric() && !matches!(ch, '_' | '§' | '.' | '-' | '`'));
    let bare = words.map(|word| word.trim_end_matches('.'));
    let is_cite = |word: &&str| {
        let is_section = word
            .strip_prefix('§')
            .is_some_and(|rest| rest.starts_with(|ch: char| ch.is_ascii_digit()));
        is_section || CATALOGUES.iter().any(|(_, letters)| is_number(word, letters))
    };
    bare.filter(is_cite).map(str::to_owned).collect()
}

fn read(page: &str) -> String {
    let path = root().join(page);
    fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}
