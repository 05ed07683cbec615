//! docs/semantics.md names, beside each promise, the tests that hold it: they exist, and each promise has one.

use std::fs;
use std::path::{Path, PathBuf};

/// A row of a table of the page.
#[derive(Debug, PartialEq, Eq)]
struct Row<'a> {
    line: usize,
    promise: &'a str,
    tests: Vec<&'a str>,
}

/// The rows of all tables, without their heads.
fn rows(page: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let mut within = false;
    for (index, line) in page.lines().enumerate() {
        if !line.starts_with('|') {
            within = false;
        } else if line.starts_with("| ---") {
            within = true;
        } else if within {
            let (promise, tests) = line
                .trim_matches(['|', ' '])
                .rsplit_once(" | ")
                .unwrap_or((line, ""));
            rows.push(Row {
                line: index + 1,
                promise,
                tests: tests.split('`').skip(1).step_by(2).collect(),
            });
        }
    }
    rows
}

/// The file of a test that is named by modules and function: of the library, else of the tests.
fn file_of(root: &Path, name: &str) -> Option<PathBuf> {
    let (modules, _) = name.rsplit_once("::")?;
    let modules = modules.replace("::", "/");
    let places = [
        format!("src/{modules}.rs"),
        format!("tests/{modules}.rs"),
        format!("tests/{modules}/main.rs"),
    ];
    places
        .iter()
        .map(|place| root.join(place))
        .find(|path| path.is_file())
}

/// True if the source has a test function of this name: one with an attribute that marks tests, or one in the braces of
/// a macro that makes tests, by its name in full or as an item of a list.
fn has_test(source: &str, function: &str) -> bool {
    let mut marked = false;
    let mut in_macro = false;
    for line in source.lines() {
        let text = line.trim_start();
        if line.ends_with('{') && line.contains("! {") {
            in_macro = !line.starts_with("macro_rules");
        } else if line.starts_with('}') {
            in_macro = false;
        }
        if text.starts_with("#[") {
            marked |= text.contains("test");
        } else if !text.starts_with("//") {
            let rest = text
                .strip_prefix("async ")
                .unwrap_or(text)
                .strip_prefix("fn ")
                .or_else(|| in_macro.then_some(text));
            if (marked || in_macro)
                && let Some(rest) = rest
                && let Some(rest) = rest.strip_prefix(function)
                && rest.starts_with(['(', ':', ' ', ','])
            {
                return true;
            }
            marked = false;
        }
    }
    false
}

#[test]
fn every_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/semantics.md")).unwrap();
    let rows = rows(&page);
    assert!(rows.len() > 50, "only {} rows were found", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        if row.tests.is_empty() {
            wrong.push(format!("line {}: no test for '{}'", row.line, row.promise));
        }
        for name in &row.tests {
            let function = name.rsplit("::").next().unwrap_or(name);
            let source = file_of(root, name).and_then(|path| fs::read_to_string(path).ok());
            if !source.is_some_and(|source| has_test(&source, function)) {
                wrong.push(format!("line {}: there is no test {name}", row.line));
            }
        }
    }
    assert!(wrong.is_empty(), "docs/semantics.md:\n{}", wrong.join("\n"));
}

#[test]
fn rows_and_tests_are_told_from_what_looks_like_them() {
    let page = "| promise | tests |\n| --- | --- |\n| `a` is so | `m::one`, `m::two` |\n| b | |\n\n| not | a table |\n";
    let tests = |row: &Row<'_>| row.tests.join(" ");
    assert_eq!(
        rows(page).iter().map(tests).collect::<Vec<_>>(),
        ["m::one m::two", ""]
    );
    let source = "#[test]\n#[expect(x)]\nfn one() {\nfn help() {\n}\n// fn two() {\ntests! {\n    async fn three() {\n}\n\
                  for_all! {\n    four: None;\n}\nfn four() {\n";
    for (function, is) in [
        ("one", true),
        ("on", false),
        ("help", false),
        ("two", false),
        ("three", true),
        ("four", true),
    ] {
        assert_eq!(has_test(source, function), is, "{function}");
    }
}
