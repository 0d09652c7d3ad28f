//! The house rules that a compiler does not check: layers, house numbers, what sans-io modules may
//! not touch.
//!
//! It reads the sources as text, with comments and literals blanked out, so that a rule sees code
//! alone. The layers and the exceptions stand at the end of this file; the list of exceptions may
//! only shrink.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "house/asserts.rs"]
mod asserts;
#[path = "house/circles.rs"]
mod circles;
#[path = "house/cites.rs"]
mod cites;
#[path = "house/known_bugs.rs"]
mod known_bugs;
#[path = "house/pages.rs"]
mod pages;
#[path = "house/unused.rs"]
mod unused;

#[test]
fn modules_use_only_the_rows_above_them() {
    report("a module uses only rows above its own and no sibling", |file, out| {
        let Some(own) = row_of(&file.module) else { return };
        for (line, used) in crate_paths(&file.code) {
            let Some(row) = row_of(&used) else { continue };
            if used != file.module && row >= own {
                out.push((line, format!("{} (row {own}) uses {used} (row {row})", file.module)));
            }
        }
        for line in supers_beyond_the_module(file) {
            out.push((line, "climbs out of its module by super::; write crate::".into()));
        }
    });
}

#[test]
fn every_module_has_a_row() {
    report("lib.rs and the rows agree", |file, out| {
        if !OUTSIDE_THE_ROWS.contains(&file.module.as_str()) && row_of(&file.module).is_none() {
            out.push((1, format!("module {} stands in no row", file.module)));
        }
    });
}

#[test]
fn sans_io_rows_touch_no_machine() {
    report(
        "rows 0 to 6 hold no descriptor, thread, clock, randomness, atomic or async",
        |file, out| {
            // Tests may read the golden files.
            if row_of(&file.module).is_none_or(|row| row > SANS_IO_ROW_MAX)
                || file.path.contains("/tests/")
            {
                return;
            }
            for (number, line) in
                lines(&file.code).filter(|(number, _)| !file.is_test_line(*number))
            {
                for word in MACHINE_WORDS {
                    // A test may read its golden files.
                    let is_fixture = *word == "std::fs" && file.is_test_line(number);
                    if has_word(line, word) && !is_fixture {
                        out.push((number, format!("uses {word}")));
                    }
                }
                if line.contains("std::net") && !line.split("std::net").skip(1).all(only_addresses)
                {
                    out.push((number, "uses std::net beyond addresses".into()));
                }
            }
        },
    );
}

/// glommio-ng is pinned and kept where it can be replaced: one man keeps it.
#[test]
fn glommio_stays_in_its_two_files() {
    report("glommio is named in two files alone", |file, out| {
        for (number, line) in lines(&file.code) {
            if has_word(line, "glommio") && !GLOMMIO_FILES.contains(&file.path.as_str()) {
                out.push((number, "names glommio".into()));
            }
        }
    });
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest is readable");
    assert!(manifest.contains(GLOMMIO_PIN), "Cargo.toml does not pin glommio-ng");
}

#[test]
fn unsafe_lives_in_the_runtime_with_its_reason() {
    report("unsafe stands in src/runtime alone, under a SAFETY line", |file, out| {
        let text: Vec<&str> = file.text.lines().collect();
        for (number, line) in lines(&file.code) {
            if !has_word(line, "unsafe") {
                continue;
            }
            if file.module != "runtime" {
                out.push((number, "unsafe outside src/runtime".into()));
            } else if !reason_above(&text, number) {
                out.push((number, "unsafe without a SAFETY line above it".into()));
            }
        }
    });
}

#[test]
fn files_say_what_they_are_and_fit() {
    report(
        "a file opens with //! and has at most 800 lines of at most 100 columns",
        |file, out| {
            if !file.text.starts_with("//!") {
                out.push((1, "does not open with //!".into()));
            }
            let count = file.text.lines().count();
            if count > FILE_LINES_MAX {
                out.push((count, format!("{count} lines")));
            }
            // Comments and texts are spaces in the code: rustfmt does not wrap them, and they may
            // run over by a word.
            for ((number, line), code) in lines(&file.text).zip(file.code.lines()) {
                let (columns, of_code) = (line.chars().count(), code.trim_end().chars().count());
                if columns > TEXT_COLUMNS_MAX || of_code > LINE_COLUMNS_MAX + PUNCTUATION_COLUMNS {
                    out.push((number, format!("{columns} columns")));
                }
            }
        },
    );
}

#[test]
fn functions_fit_a_screen() {
    report("a function has at most 70 lines", |file, out| {
        for (number, name, length) in functions(&file.code) {
            let excused = FUNCTION_EXCEPTIONS.contains(&(file.path.as_str(), name.as_str()));
            if length > FUNCTION_LINES_MAX && !excused {
                out.push((number, format!("fn {name} has {length} lines")));
            }
        }
    });
}

#[test]
fn exceptions_are_still_needed() {
    let files = sources();
    for (path, name) in FUNCTION_EXCEPTIONS {
        let needed = files.iter().filter(|file| file.path == *path).any(|file| {
            functions(&file.code)
                .iter()
                .any(|(_, found, length)| found == name && *length > FUNCTION_LINES_MAX)
        });
        assert!(needed, "{path}: fn {name} fits by now; take it off the list");
    }
}

#[test]
fn nothing_is_left_to_do_and_nothing_unwraps() {
    report("no unfinished marks, and .unwrap() in tests only", |file, out| {
        for (number, line) in lines(&file.text) {
            for mark in ["TODO", "FIXME", "XXX"] {
                if has_word(line, mark) {
                    out.push((number, format!("says {mark}")));
                }
            }
        }
        for (number, line) in lines(&file.code) {
            for mark in ["todo!", "unimplemented!"] {
                if line.contains(mark) {
                    out.push((number, format!("holds {mark}")));
                }
            }
            if line.contains(".unwrap()") && !file.is_test_line(number) {
                out.push((number, ".unwrap() outside tests".into()));
            }
        }
    });
}

/// `println!` and its like panic where nobody reads on.
#[test]
fn commands_print_with_say() {
    report("commands print with say! and say_error!", |file, out| {
        for (number, line) in lines(&file.code) {
            let prints = ["print!", "println!"].iter().any(|call| line.contains(call));
            // What a test of the simulator says on its way.
            let prints = prints && !file.path.contains("/directed/");
            if prints && PRINTING_ROWS.contains(&file.module.as_str()) && !file.is_test_line(number)
            {
                out.push((number, "prints with a macro that panics".into()));
            }
        }
    });
}

/// The checks must see what they look for: each is shown one offender.
#[test]
fn the_checks_can_fail() {
    let code = blank(
        "use crate::{tree::Tree, zxid::{Now, Zxid}};\n// crate::bench\nlet s = \
         \"crate::cli\";\nfn f() {\n}\n",
    );
    let used: Vec<String> = crate_paths(&code).into_iter().map(|(_, used)| used).collect();
    assert_eq!(used, ["tree", "zxid"]);
    assert_eq!(functions(&code), [(4, "f".to_owned(), 2)]);
    assert!(!only_addresses("::TcpStream;") && only_addresses("::{IpAddr, SocketAddr};"));
    assert!(has_word("x = unsafe { y }", "unsafe") && !has_word("unsafe_op", "unsafe"));
    assert_eq!(blank("'\\'' 'a' \"a\\\"b\" r#\"x\"y\"# <'a>").matches('x').count(), 0);
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
    assert_eq!(test_ranges(&blank(text)), [(2, 5)]);
}

/// One source file: as it is, and with comments and literals blanked out.
struct Source {
    /// Relative to `src/`.
    path: String,
    /// The first segment of its module path; `lib` and `main` for the roots.
    module: String,
    /// The number of modules between it and the crate's root.
    depth: usize,
    text: String,
    code: String,
    tests: Vec<(usize, usize)>,
}

impl Source {
    fn new(path: &str, text: String) -> Self {
        let mut segments: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
        if segments.len() > 1 && segments.last() == Some(&"mod") {
            segments.pop();
        }
        let code = blank(&text);
        let tests = test_ranges(&code);
        Self {
            path: path.to_owned(),
            module: segments[0].to_owned(),
            depth: segments.len(),
            text,
            code,
            tests,
        }
    }

    fn is_test_line(&self, line: usize) -> bool {
        let file_of_tests = self.path.ends_with("tests.rs") || self.path.contains("/tests/");
        file_of_tests || self.tests.iter().any(|(from, to)| (*from..=*to).contains(&line))
    }
}

/// The package's folder.
fn root() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

fn sources() -> Vec<Source> {
    let files = rust_files("src");
    assert!(!files.is_empty(), "no sources found under {}", root().display());
    files
}

/// All Rust files below a folder of the package.
fn rust_files(folder: &str) -> Vec<Source> {
    let folder = root().join(folder);
    let mut paths = Vec::new();
    collect(&folder, &mut paths);
    paths.sort();
    paths.iter().map(|path| load(&folder, path)).collect()
}

fn collect(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the source folder is readable") {
        let path = entry.expect("the source folder is readable").path();
        if path.is_dir() {
            collect(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

fn load(root: &Path, path: &Path) -> Source {
    let text = fs::read_to_string(path).expect("sources are UTF-8");
    let relative = path
        .strip_prefix(root)
        .expect("collected below the root")
        .to_str()
        .expect("paths are UTF-8");
    Source::new(relative, text)
}

/// Runs a check over all sources and fails with every finding.
fn report(rule: &str, check: impl Fn(&Source, &mut Vec<(usize, String)>)) {
    let mut findings = String::new();
    for file in sources() {
        let mut found = Vec::new();
        check(&file, &mut found);
        for (line, what) in found {
            writeln!(findings, "  src/{}:{line}: {what}", file.path).expect("a String takes all");
        }
    }
    assert!(findings.is_empty(), "{rule}:\n{findings}");
}

fn row_of(module: &str) -> Option<usize> {
    ROWS.iter().find(|(_, modules)| modules.contains(&module)).map(|(row, _)| *row)
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// Every `crate::x` in the code, also in braces, as (line, x).
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at]
            .ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '$')
        {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push((line, identifier(rest))),
            Some(inside) => {
                found.extend(first_segments(inside).into_iter().map(|used| (line, used)))
            }
        }
    }
    found
}

/// The first segments of a braced import list, up to its closing brace.
fn first_segments(list: &str) -> Vec<String> {
    let (mut depth, mut fresh, mut found) = (1, true, Vec::new());
    for (at, ch) in list.char_indices() {
        match ch {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' => fresh = fresh || depth == 1,
            _ if ch.is_whitespace() => {}
            _ if fresh && depth == 1 => {
                found.push(identifier(&list[at..]));
                fresh = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|ch| ch.is_alphanumeric() || *ch == '_').collect()
}

/// Lines whose `super::` chain reaches the crate's root.
fn supers_beyond_the_module(file: &Source) -> Vec<usize> {
    if file.module == "lib" || file.module == "main" {
        return Vec::new();
    }
    lines(&file.code)
        .filter(|(number, line)| {
            let inline =
                usize::from(file.tests.iter().any(|(from, to)| (*from..=*to).contains(number)));
            (0..=line.len())
                .any(|at| line.get(at..).is_some_and(|rest| chain(rest) >= file.depth + inline))
        })
        .map(|(number, _)| number)
        .collect()
}

/// The number of `super::` at the start of `text`.
fn chain(text: &str) -> usize {
    text.strip_prefix("super::").map_or(0, |rest| 1 + chain(rest))
}

fn has_word(line: &str, word: &str) -> bool {
    let part = |ch: char| ch.is_alphanumeric() || ch == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

/// Whether what follows `std::net` names addresses alone.
fn only_addresses(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix("::") else { return false };
    let names = rest.strip_prefix('{').map_or_else(|| vec![identifier(rest)], first_segments);
    names.iter().all(|name| name.contains("Addr"))
}

/// Whether the comment or attribute lines right above (or the line itself) hold `SAFETY:` or a
/// `# Safety` section.
fn reason_above(text: &[&str], number: usize) -> bool {
    let given = |line: &str| line.contains("SAFETY:") || line.contains("# Safety");
    let above = text[..number - 1].iter().rev().map(|line| line.trim_start());
    given(text[number - 1])
        || above.take_while(|line| line.starts_with("//") || line.starts_with('#')).any(given)
}

/// Every function with a body: (line, name, lines from its `fn` to its closing brace).
fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            continue;
        }
        let name = identifier(code[at + 3..].trim_start());
        let Some(body) = body_start(&code[at..]) else { continue };
        let end = at + body + closing(&code[at + body..]);
        if !name.is_empty() {
            let line = code[..at].matches('\n').count() + 1;
            found.push((line, name, code[at..=end].matches('\n').count() + 1));
        }
    }
    found
}

/// Where the body of the function at the start of `code` opens; none for a declaration.
fn body_start(code: &str) -> Option<usize> {
    let mut nested = 0;
    for (at, ch) in code.char_indices() {
        match ch {
            '(' | '[' => nested += 1,
            ')' | ']' => nested -= 1,
            ';' if nested == 0 => return None,
            '{' if nested == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// The offset of the brace that closes the one at the start of `code`.
fn closing(code: &str) -> usize {
    let mut depth = 0;
    for (at, ch) in code.char_indices() {
        match ch {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    code.len() - 1
}

/// The line ranges of inline modules and functions under `#[cfg(test)]`.
fn test_ranges(code: &str) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let rest = &code[at..];
        let (Some(open), end) = (rest.find('{'), rest.find(';')) else { continue };
        if end.is_some_and(|end| end < open) {
            continue;
        }
        let from = code[..at].matches('\n').count() + 1;
        let to = code[..at + open + closing(&rest[open..])].matches('\n').count() + 1;
        ranges.push((from, to));
    }
    ranges
}

/// The source with the insides of comments, strings and characters turned into spaces; newlines
/// stay.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (code, hidden) = next_hidden(rest);
        out.push_str(&rest[..code]);
        out.extend(rest[code..code + hidden].chars().map(|ch| if ch == '\n' { '\n' } else { ' ' }));
        rest = &rest[code + hidden..];
    }
    out
}

/// The number of bytes of code that come first, and of the hidden ones after them.
fn next_hidden(text: &str) -> (usize, usize) {
    for (at, ch) in text.char_indices() {
        let rest = &text[at..];
        let hidden = match ch {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => string_length(rest),
            'r' if !text[..at]
                .ends_with(|before: char| before.is_alphanumeric() || before == '_') =>
            {
                raw_length(rest)
            }
            '\'' => char_length(rest),
            _ => 0,
        };
        if hidden > 0 {
            return (at, hidden);
        }
    }
    (text.len(), 0)
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, ch) in text.char_indices().skip(1) {
        match ch {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_length(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|ch| *ch == '#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let start = 2 + hashes;
    text[start..].find(&end).map_or(text.len(), |at| start + at + end.len())
}

/// A character literal's length; 0 for a lifetime.
fn char_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(0, |at| at + 4),
        Some((at, ch)) if text[at + ch.len_utf8()..].starts_with('\'') => at + ch.len_utf8() + 1,
        _ => 0,
    }
}

/// The layers, top row first.
const ROWS: &[(usize, &[&str])] = &[
    (0, &["zxid", "codes", "limits", "room", "shown", "splitmix"]),
    (1, &["jute", "pieces"]),
    (2, &["proto", "packet", "txn"]),
    (3, &["tree", "watch", "session", "acl", "txnlog", "snapshot"]),
    (4, &["zab"]),
    (5, &["handoff"]),
    (6, &["quorum", "frontend"]),
    (7, &["runtime", "sim"]),
    (8, &["server"]),
    (9, &["cli", "bench", "tools"]),
];

/// The crate's roots.
const OUTSIDE_THE_ROWS: &[&str] = &["lib", "main"];

/// Up to this row a module takes everything from its caller.
const SANS_IO_ROW_MAX: usize = 6;

/// The names that a sans-io module may not use.
const MACHINE_WORDS: &[&str] = &[
    "std::fs",
    "std::thread",
    "std::process",
    "std::os",
    "std::env",
    "Instant",
    "SystemTime",
    "RandomState",
    "Mutex",
    "RwLock",
    "Condvar",
    "OnceLock",
    "LazyLock",
    "std::sync::atomic",
    "atomic",
    "async",
    "await",
    "thread_local",
    "rand",
    "glommio",
    "io_uring",
    "crossbeam",
    "memmap2",
    "libc",
    "rustix",
    "tokio",
];

/// The executors' threads, and the files and the timer of snapshots.
const GLOMMIO_FILES: &[&str] = &["runtime/executor.rs", "runtime/snapshotter.rs"];

const GLOMMIO_PIN: &str = "package = \"glommio-ng\", version = \"=";

const FILE_LINES_MAX: usize = 800;
/// Modules of which a person reads what they print.
const PRINTING_ROWS: &[&str] = &["bench", "cli", "sim", "tools"];
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;
/// The longest line of a comment or a text.
const TEXT_COLUMNS_MAX: usize = 120;
/// The characters that may follow a text that runs over: `"),` and the like.
const PUNCTUATION_COLUMNS: usize = 10;

/// Functions that may be longer than a screen: (file below src, name).
const FUNCTION_EXCEPTIONS: &[(&str, &str)] = &[
    // A table of texts: one arm for each refusal, and the compiler sees that none is left out.
    ("server/config/error.rs", "fmt"),
];
