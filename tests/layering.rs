//! The layering of the modules (docs/architecture.md): imports only point down, and the pure layers stay pure.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot read its own sources has failed"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of `lib.rs`, lowest first; modules of one level do not know each other.
const LEVELS: [&[&str]; 10] = [
    &["crds", "machine", "metrics"],
    &["rules"],
    &["dataset"],
    &["store", "remote"],
    &["fetch"],
    &["resolve"],
    &["cache"],
    &["tree"],
    &["mount", "serve"],
    &["cli"],
];

/// The modules of `rules`, lowest first.
const RULES: [&str; 7] = [
    "values",
    "syntax",
    "model",
    "compile",
    "eval",
    "lookup",
    "difference",
];

/// Modules that compute and do nothing else.
const PURE: [&str; 2] = ["crds", "rules"];

/// Paths that a pure module does not name: files, networks, clocks, system calls, tasks.
const IMPURE: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "SystemTime",
    "Instant",
    "tokio",
    "libc",
    "rustix",
];

/// A source file of a module: tests are free to import what they like.
struct Source {
    module: String,
    path: PathBuf,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut left = vec![root.clone()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let below = path.strip_prefix(&root).unwrap();
        let is_test = below.iter().any(|part| part == "tests" || part == "tests.rs");
        if is_test || path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let first = below.iter().next().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        sources.push(Source {
            module: first.trim_end_matches(".rs").to_owned(),
            text: without_tests(&text),
            path,
        });
    }
    sources
}

/// The text without comments and without what follows `#[cfg(test)]`, which stands last in a file.
fn without_tests(text: &str) -> String {
    let code = text
        .split("\n#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let lines = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn level(module: &str) -> Option<usize> {
    LEVELS.iter().position(|level| level.contains(&module))
}

/// The modules named after `crate::`, also in a list (`crate::{crds, store::Store}`).
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, start) in text.match_indices("crate::") {
        let rest = text.get(at + start.len()..).unwrap_or_default();
        let names = match rest.strip_prefix('{') {
            Some(list) => top_level_names(list),
            None => vec![first_name(rest)],
        };
        found.extend(names.into_iter().filter(|name| !name.is_empty()));
    }
    found
}

fn first_name(text: &str) -> String {
    let ends = |letter: char| !(letter.is_alphanumeric() || letter == '_');
    text.trim_start()
        .split(ends)
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The first names of the items of a list that begins behind its brace.
fn top_level_names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut item = String::new();
    for letter in list.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(first_name(&std::mem::take(&mut item))),
            _ => item.push(letter),
        }
    }
    names.push(first_name(&item));
    names
}

#[test]
fn every_module_has_its_level() {
    let library = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let modules: BTreeSet<_> = library
        .lines()
        .filter_map(|line| {
            line.trim_start_matches("pub(crate) ")
                .trim_start_matches("pub ")
                .strip_prefix("mod ")
        })
        .map(|name| name.trim_end_matches(';'))
        .collect();
    let levels: BTreeSet<_> = LEVELS.iter().copied().flatten().copied().collect();
    assert_eq!(modules, levels);
}

#[test]
fn imports_only_point_down() {
    let sources = sources();
    assert!(sources.len() > 100, "the sources were found");
    let mut arrows = BTreeSet::new();
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| level(&source.module).is_some()) {
        for import in imports(&source.text) {
            let (Some(from), Some(to)) = (level(&source.module), level(&import)) else {
                continue;
            };
            if import == source.module {
                continue;
            }
            arrows.insert((source.module.clone(), import.clone()));
            if to >= from {
                wrong.push(format!("{} imports crate::{import}", source.path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that do not point down:\n{}",
        wrong.join("\n")
    );
    println!(
        "{} files, {} arrows between modules, all down",
        sources.len(),
        arrows.len()
    );
}

#[test]
fn imports_within_rules_only_point_down() {
    let level = |name: &str| RULES.iter().position(|known| *known == name);
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.module == "rules") {
        let within = source.path.iter().skip_while(|part| *part != "rules").nth(1);
        let name = within.and_then(|part| part.to_str()).unwrap_or_default();
        let Some(from) = level(name.trim_end_matches(".rs")) else {
            continue;
        };
        for (at, start) in source.text.match_indices("crate::rules::") {
            let import = first_name(source.text.get(at + start.len()..).unwrap_or_default());
            if level(&import).is_none_or(|to| to > from) {
                wrong.push(format!(
                    "{} imports crate::rules::{import}",
                    source.path.display()
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that do not point down:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn pure_modules_name_no_files_networks_or_clocks() {
    let mut wrong = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| PURE.contains(&source.module.as_str()))
    {
        for name in IMPURE.iter().filter(|name| source.text.contains(**name)) {
            wrong.push(format!("{} names {name}", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "not pure:\n{}", wrong.join("\n"));
}

#[test]
fn imports_are_found_in_paths_and_in_lists() {
    let text = "use crate::crds::Name;\nuse crate::{store::{A, B}, fetch};\nlet x = crate::tree::f();";
    let found: Vec<_> = imports(text).into_iter().collect();
    assert_eq!(found, ["crds", "fetch", "store", "tree"]);
}
