//! No circle inside a module either: the files of one module import each other in one direction. A
//! file and the folder it stands in are one thing here: `mod.rs` shows its children's names, and
//! children use what it holds.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, blank, identifier, lines, sources};

/// Circles that are known, by the files in them. The list may only shrink.
const KNOWN: &[&[&str]] = &[];

#[test]
fn files_of_a_module_do_not_import_each_other_in_circles() {
    let circles = circles(&sources());
    let unknown: Vec<_> =
        circles.iter().filter(|circle| !KNOWN.contains(&names(circle).as_slice())).collect();
    assert!(unknown.is_empty(), "circles of imports: {unknown:#?}");
}

#[test]
fn the_check_sees_a_circle() {
    let files = [
        source("m/mod.rs", "mod a;\nmod b;\nmod c;\nuse a::A;\npub struct M;"),
        source("m/a.rs", "use super::{M, b::{B, Other}};\npub struct A;"),
        source("m/b.rs", "use crate::m::c::C;\npub struct B;"),
        source(
            "m/c.rs",
            "#[cfg(test)]\nmod tests {\n    use super::super::b::B;\n}\npub struct C;",
        ),
    ];
    assert!(circles(&files).is_empty());
    let [whole, a, b, _] = files;
    let closing = source("m/c.rs", "fn c() -> super::a::A {\n}");
    let found = circles(&[whole, a, b, closing]);
    assert_eq!(found, [BTreeSet::from(["m/a.rs".into(), "m/b.rs".into(), "m/c.rs".into()])]);
}

fn names(circle: &BTreeSet<String>) -> Vec<&str> {
    circle.iter().map(String::as_str).collect()
}

fn source(path: &str, text: &str) -> Source {
    Source::new(path, text.to_owned())
}

/// Sets of files that reach each other by imports.
fn circles(files: &[Source]) -> Vec<BTreeSet<String>> {
    let of_module: BTreeMap<Vec<&str>, &Source> =
        files.iter().map(|file| (module_path(&file.path), file)).collect();
    let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, file) in &of_module {
        for used in imported(file, path) {
            let Some(target) = owner(&of_module, &used) else { continue };
            let own = module_path(&target.path);
            if own[..1] == path[..1] && !own.starts_with(path) && !path.starts_with(&own) {
                imports.entry(&file.path).or_default().insert(&target.path);
            }
        }
    }
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|file| (*file, reached(&imports, file))).collect();
    let reaches = |from: &str, to: &str| reach.get(from).is_some_and(|set| set.contains(to));
    let mut found: Vec<BTreeSet<String>> = Vec::new();
    for file in reach.keys().filter(|file| reaches(file, file)) {
        let circle = reach.keys().filter(|other| reaches(file, other) && reaches(other, file));
        let circle: BTreeSet<String> = circle.map(|name| (*name).to_owned()).collect();
        if !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

fn reached<'a>(imports: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut left: Vec<&str> = imports.get(from).into_iter().flatten().copied().collect();
    while let Some(file) = left.pop() {
        if seen.insert(file) {
            left.extend(imports.get(file).into_iter().flatten());
        }
    }
    seen
}

/// `frontend/mod.rs` is frontend, `frontend/reads.rs` frontend::reads.
fn module_path(path: &str) -> Vec<&str> {
    let path = path.trim_end_matches(".rs");
    path.strip_suffix("/mod").unwrap_or(path).split('/').collect()
}

/// The file that holds what a path names: the deepest module on its way.
fn owner<'a>(of_module: &BTreeMap<Vec<&str>, &'a Source>, path: &[String]) -> Option<&'a Source> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    (1..=path.len()).rev().find_map(|depth| of_module.get(&path[..depth]).copied())
}

/// All paths that start at `crate::` or `super::`, from the crate's root on; tests and test files
/// import none.
fn imported(file: &Source, module: &[&str]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut offset = 0;
    for (number, line) in lines(&file.code) {
        for start in ["crate::", "super::"] {
            for (at, _) in line.match_indices(start) {
                let inside =
                    line[..at].ends_with(|ch: char| ch.is_alphanumeric() || ch == '_' || ch == ':');
                if !inside && !file.is_test_line(number) {
                    found.extend(resolved(&file.code[offset + at..], module));
                }
            }
        }
        offset += line.len() + 1;
    }
    found
}

/// The paths at the start of `code`, each with its `crate` or `super`s resolved.
fn resolved(code: &str, module: &[&str]) -> Vec<Vec<String>> {
    let (mut rest, mut base) =
        (code, module.iter().map(|&segment| segment.to_owned()).collect::<Vec<_>>());
    if let Some(after) = rest.strip_prefix("crate::") {
        (rest, base) = (after, Vec::new());
    }
    while let Some(after) = rest.strip_prefix("super::") {
        base.pop();
        rest = after;
    }
    let mut found = Vec::new();
    expand(rest, &base, &mut found);
    found
}

/// Adds every path of an import tree; answers what comes after it.
fn expand<'a>(tree: &'a str, base: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut rest) = tree.strip_prefix('{') {
        loop {
            rest = expand(rest, base, found).trim_start();
            match rest.strip_prefix(',') {
                Some(after) => rest = after,
                None => return rest.strip_prefix('}').unwrap_or_default(),
            }
        }
    }
    let name = identifier(tree);
    let rest = &tree[name.len()..];
    let mut path = base.to_vec();
    if !name.is_empty() && name != "self" {
        path.push(name);
    }
    match rest.strip_prefix("::") {
        Some(after) => expand(after, &path, found),
        None => {
            found.push(path);
            let renamed = rest.trim_start().strip_prefix("as ").map(str::trim_start);
            renamed.map_or(rest.trim_start_matches('*'), |alias| &alias[identifier(alias).len()..])
        }
    }
}

#[test]
fn paths_are_resolved() {
    let code = blank("super::{M, b::{self, B as Bee}, c::*};");
    let found: Vec<String> =
        resolved(&code, &["m", "a"]).iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["m::M", "m::b", "m::b::B", "m::c"]);
}
