//! The table of known mistakes is true: its tests and its planted mistakes are there, and every test
//! with the number of one stands in its row.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::{Source, lines, root, rust_files, sources};

const PAGE: &str = "docs/known-bugs.md";

/// The row of one mistake.
struct Row {
    number: String,
    tests: Vec<String>,
    /// What stands there where no test is named.
    tests_cell: String,
    planted: Vec<String>,
}

#[test]
fn every_known_mistake_has_its_test_and_every_such_test_its_row() {
    let mut all = sources();
    all.extend(rust_files("tests"));
    let functions: BTreeSet<String> = all.iter().flat_map(functions).collect();
    let mut numbered: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in &functions {
        if let Some(number) = number_of(name) {
            numbered.entry(number).or_default().insert(name.clone());
        }
    }
    assert!(numbered.len() > 30, "{} numbers found: the check looks past them", numbered.len());
    let (mut wrong, mut rows) = (String::new(), BTreeSet::new());
    for row in table() {
        let number = &row.number;
        for name in row.tests.iter().filter(|name| !functions.contains(*name)) {
            wrong += &format!("  {number}: there is no {name}\n");
        }
        if row.tests.is_empty() && !row.tests_cell.starts_with("none: ") {
            wrong += &format!("  {number}: no test, and no reason for that\n");
        }
        for name in numbered.get(number).into_iter().flatten() {
            if !row.tests.contains(name) {
                wrong += &format!("  {number}: its row does not name {name}\n");
            }
        }
        let must_be_directed = matches!(number[1..].parse(), Ok(1..=27 | 70..=80));
        if must_be_directed && !numbered.contains_key(number) {
            wrong += &format!("  {number}: no test has its number\n");
        }
        rows.insert(row.number);
    }
    for number in numbered.keys().filter(|number| !rows.contains(*number)) {
        wrong += &format!("  {number} has a test and no row\n");
    }
    assert!(wrong.is_empty(), "{PAGE}:\n{wrong}");
}

#[test]
fn mistakes_that_the_table_calls_planted_are() {
    let defects = fs::read_to_string(root().join("src/sim/defect.rs")).expect("it is readable");
    let mut count = 0;
    for row in table() {
        for name in &row.planted {
            let variant: String = name.split('-').map(capitalized).collect();
            let is_there = lines(&defects).any(|(_, line)| line.trim() == format!("{variant},"));
            assert!(is_there, "{PAGE}: {}: there is no {name}", row.number);
            count += 1;
        }
    }
    assert!(count > 25, "{count} planted mistakes found: the check looks past them");
}

#[test]
fn the_check_sees_tests_and_numbers() {
    let text =
        "fn s01_it() {}\n// fn s02_it()\n    fn s0x_it() {}\nfn s123() {}\nfn s33_y<T>() {}\n";
    let found = functions(&Source::new("x.rs", text.to_owned()));
    let numbers: Vec<String> = found.iter().filter_map(|name| number_of(name)).collect();
    assert_eq!(numbers, ["S01", "S33"]);
    assert_eq!(capitalized("hole"), "Hole");
}

/// The names of all functions of a file.
fn functions(file: &Source) -> Vec<String> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let after = file.code.split("fn ").skip(1);
    after.map(|rest| rest.chars().take_while(|letter| is_part(*letter)).collect()).collect()
}

/// `S01` of `s01_some_name`.
fn number_of(name: &str) -> Option<String> {
    let (number, _) = name.strip_prefix('s')?.split_once('_')?;
    let is_number = number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("S{number}"))
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

fn table() -> Vec<Row> {
    let page = fs::read_to_string(root().join(PAGE)).expect("the page is readable");
    let rows = page.lines().filter(|line| line.starts_with("| S"));
    let rows: Vec<Row> = rows
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, number, _, _, tests, planted, _] = cells[..] else {
                panic!("{PAGE}: a row has five cells: {line}")
            };
            let names = |cell: &str| {
                cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
            };
            Row {
                number: number.to_owned(),
                tests: names(tests),
                tests_cell: tests.to_owned(),
                planted: names(planted),
            }
        })
        .collect();
    assert!(rows.len() > 40, "{} rows found", rows.len());
    rows
}
