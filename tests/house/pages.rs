//! The pages for people: their lines fit, and what they name is there.

use std::fs;

use super::root;

/// The pages that are checked.
const PAGES: &[&str] = &[
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "docs/architecture.md",
    "docs/bad-input.md",
    "docs/known-bugs.md",
    "docs/migration.md",
    "docs/observed.md",
    "docs/properties.md",
    "tests/README.md",
];

/// The longest line of running text; rows of tables and commands may be longer.
const COLUMNS_MAX: usize = 110;

/// Where a name may begin.
const FOLDERS: &[&str] = &[".", "src", "tests", "docs"];

/// The endings of the names of files.
const ENDINGS: &[&str] = &[".rs", ".md", ".toml", ".py", "/"];

#[test]
fn lines_of_pages_fit() {
    let mut long = String::new();
    for page in PAGES {
        for (at, line) in read(page).lines().enumerate() {
            let is_text = !line.starts_with('|') && !line.starts_with("    ");
            if is_text && line.chars().count() > COLUMNS_MAX {
                long += &format!("  {page}:{}\n", at + 1);
            }
        }
    }
    assert!(long.is_empty(), "more than {COLUMNS_MAX} columns:\n{long}");
}

#[test]
fn pages_name_files_that_exist() {
    let mut missing = String::new();
    let mut count = 0;
    for page in PAGES {
        for (line, name) in file_names(&read(page)) {
            count += 1;
            if !FOLDERS.iter().any(|folder| root().join(folder).join(&name).exists()) {
                missing += &format!("  {page}:{line}: {name}\n");
            }
        }
    }
    assert!(missing.is_empty(), "named but not there:\n{missing}");
    assert!(count > 30, "{count} names found: the check looks past them");
}

#[test]
fn the_index_of_tests_is_whole() {
    let index = read("tests/README.md");
    let entries = fs::read_dir(root().join("tests")).expect("the folder is readable");
    let names =
        entries.map(|entry| entry.expect("the folder is readable").file_name().into_string());
    let missing: Vec<String> = names
        .map(|name| name.expect("names are UTF-8"))
        .filter(|name| name != "README.md" && !name.starts_with('.') && name != "__pycache__")
        .filter(|name| {
            !index.contains(&format!("`{name}`")) && !index.contains(&format!("`{name}/"))
        })
        .collect();
    assert!(missing.is_empty(), "tests/README.md says nothing of {missing:?}");
}

#[test]
fn the_check_sees_names_of_files() {
    let text = "Read `codes.rs` and `src/`, not `Codes` or `a b.rs`;\n`cargo test`, `sim/op.rs`.";
    assert_eq!(
        file_names(text),
        [(1, "codes.rs".into()), (1, "src/".into()), (2, "sim/op.rs".into())]
    );
}

/// The texts in backticks that look like a file's or a folder's name.
fn file_names(text: &str) -> Vec<(usize, String)> {
    let in_line = |(at, line): (usize, &str)| {
        let quoted: Vec<String> = line.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let is_name = |word: &String| {
            let plain = word.chars().all(|ch| ch.is_ascii_alphanumeric() || "./_-".contains(ch));
            let is_one = !word.starts_with('/') && word != "mod.rs";
            plain && is_one && ENDINGS.iter().any(|ending| word.ends_with(ending))
        };
        quoted.into_iter().filter(is_name).map(move |word| (at + 1, word)).collect::<Vec<_>>()
    };
    text.lines().enumerate().flat_map(in_line).collect()
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|err| panic!("{page}: {err}"))
}
