//! Invariants are asserted: how many assertions there are in the machines and the log, for each
//! thousand lines of code outside tests. Comments and empty lines are not code.

use std::fmt::Write as _;

use super::{Source, lines, sources};

/// Parts of the code, by the beginnings of their files' paths, and the least that they have.
const PARTS: &[(&[&str], usize)] =
    &[(&["quorum/"], 10), (&["frontend/"], 10), (&["txnlog/", "runtime/log/"], 10)];

/// The macros that state an invariant.
const MACROS: &[&str] = &[
    "assert!",
    "assert_eq!",
    "assert_ne!",
    "debug_assert!",
    "debug_assert_eq!",
    "debug_assert_ne!",
];

#[test]
fn invariants_are_asserted() {
    let files = sources();
    let mut short = String::new();
    for (paths, least) in PARTS {
        let (mut asserts, mut lines) = (0, 0);
        for file in files.iter().filter(|file| paths.iter().any(|at| file.path.starts_with(at))) {
            let (more_asserts, more_lines) = count(file);
            (asserts, lines) = (asserts + more_asserts, lines + more_lines);
        }
        if asserts * 1000 < least * lines {
            let text =
                format!("{paths:?}: {asserts} assertions in {lines} lines, not {least} in 1000");
            writeln!(short, "  {text}").expect("a String takes all");
        }
    }
    assert!(short.is_empty(), "too few invariants are asserted:\n{short}");
}

#[test]
fn the_count_leaves_tests_and_comments_out() {
    let text = "fn f() {\n\n    // Why.\n    assert!(a); // assert!(b)\n    debug_assert_eq!(a, b);\n}\n\
                #[cfg(test)]\nmod tests {\n    fn t() { assert!(c); }\n}\n";
    assert_eq!(count(&Source::new("quorum/x.rs", text.to_owned())), (2, 4));
}

/// Assertions and lines of code, tests left out.
fn count(file: &Source) -> (usize, usize) {
    let own = lines(&file.code)
        .filter(|(number, line)| !file.is_test_line(*number) && !line.trim().is_empty());
    own.fold((0, 0), |(asserts, count), (_, line)| (asserts + in_line(line), count + 1))
}

fn in_line(line: &str) -> usize {
    MACROS.iter().filter(|name| stands(line, name)).count()
}

/// Whether the macro stands in the line, and not only as the end of a longer name.
fn stands(line: &str, name: &str) -> bool {
    let part = |ch: char| ch.is_alphanumeric() || ch == '_';
    line.match_indices(name).any(|(at, _)| !line[..at].ends_with(part))
}
