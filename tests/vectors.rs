//! Conformance: every answer of the real Python client in `../shared/vectors`, character for character. Without that
//! directory the tests say so and pass. `CRDS_FS_VECTORS` names another directory of vectors, such as
//! `tests/clients/vectors.py` makes. Counts go to standard error itself, which the test runner does not swallow.

#![expect(
    clippy::unwrap_used,
    reason = "a record that cannot be read is a failure of the test"
)]

#[path = "common/shared.rs"]
mod shared;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use crds_fs::crds::{FileKind, Observatory};
use crds_fs::rules::{
    BestRef, Explanation, Header, HeaderValue, LoadError, LookupError, LookupOptions, Mapping, Memory,
    Provider, Step, Texts,
};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

/// The directory of the vectors.
fn vectors(shared: &Path) -> PathBuf {
    std::env::var_os("CRDS_FS_VECTORS").map_or_else(|| shared.join("vectors"), PathBuf::from)
}

/// The texts of the cache, and of the vectors' own mappings, which go by their paths.
struct Directory(PathBuf);

impl Texts for Directory {
    type Version = ();

    fn text(&self, name: &str) -> Result<String, LoadError> {
        let path = if name.contains('/') {
            vectors(&self.0).join(name)
        } else {
            let observatory = name.split(['_', '.']).next().unwrap();
            self.0.join("crds-cache/mappings").join(observatory).join(name)
        };
        std::fs::read_to_string(path).map_err(|_| LoadError::absent(name))
    }
}

fn records(path: &Path) -> impl Iterator<Item = Value> {
    let file = std::fs::File::open(path).unwrap();
    BufReader::new(GzDecoder::new(file))
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

fn header(record: &Value) -> Header {
    let entries = record["header"].as_object().unwrap();
    entries
        .iter()
        .map(|(name, value)| (name.clone(), HeaderValue::from(value)))
        .collect()
}

/// The answer of this implementation, in the form of the records.
fn answer(
    record: &Value,
    checked: &Provider<Directory>,
    unchecked: &Provider<Directory>,
    memory: &mut Memory,
) -> Value {
    let name = record["context"].as_str().unwrap();
    let observatory: Observatory = record["observatory"].as_str().unwrap().parse().unwrap();
    let provider = if record["ignore_checksum"] == json!(true) {
        unchecked
    } else {
        checked
    };
    let reftypes: Option<Vec<&str>> = record["reftypes"]
        .as_array()
        .map(|types| types.iter().map(|name| name.as_str().unwrap()).collect());
    let failed = |error: LookupError| json!({"error": error.to_string(), "error_type": error.class()});
    let context = match provider.context(observatory, name) {
        Ok(context) => context,
        Err(error) => return failed(error),
    };
    if record["level"] == "rmap_raw" {
        let result = context.context().evaluate_raw(&header(record));
        return json!({"result": result});
    }
    match context.best_references(memory, &header(record), reftypes.as_deref()) {
        Ok(answers) => json!({"result": answers}),
        Err(error) => failed(error),
    }
}

fn agrees(record: &Value, answer: &Value) -> bool {
    if record.get("error").is_some() {
        return record["compare"] == "error" && answer.get("error").is_some()
            || record["error"] == answer["error"] && record["error_type"] == answer["error_type"];
    }
    answer.get("error").is_none() && record["result"] == answer["result"]
}

#[test]
fn lookups_equal_the_clients() {
    let Some(shared) = shared::directory() else { return };
    let provider =
        |ignore_checksum| Provider::new(Directory(shared.clone()), LookupOptions { ignore_checksum });
    let (checked, unchecked) = (provider(false), provider(true));
    // One for all, as where many headers are looked up.
    let mut memory = Memory::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(vectors(&shared))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".jsonl.gz"))
        .filter(|path| {
            !["unit.jsonl.gz", "files.jsonl.gz"].contains(&path.file_name().unwrap().to_str().unwrap())
        })
        .collect();
    files.sort();
    let mut smallest: Option<(usize, Value, Value)> = None;
    let (mut all, mut all_equal) = (0, 0);
    for path in files {
        let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
        for record in records(&path) {
            let answer = answer(&record, &checked, &unchecked, &mut memory);
            let (count, equal) = counts
                .entry(record["level"].as_str().unwrap().to_owned())
                .or_default();
            *count += 1;
            if agrees(&record, &answer) {
                *equal += 1;
            } else {
                let size = record.to_string().len();
                if std::env::var_os("CRDS_FS_ALL_DIFFERENCES").is_some() {
                    println!("DIFFERENCE {record} | {answer}");
                }
                if smallest.as_ref().is_none_or(|(least, ..)| size < *least) {
                    smallest = Some((size, record, answer));
                }
            }
        }
        let name = path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .replace(".jsonl.gz", "");
        for (level, (count, equal)) in counts {
            writeln!(
                io::stderr().lock(),
                "{name} ({level}): {count} vectors, {equal} equal"
            )
            .unwrap();
            all += count;
            all_equal += equal;
        }
    }
    writeln!(io::stderr().lock(), "all: {all} vectors, {all_equal} equal").unwrap();
    if let Some((_, record, answer)) = smallest {
        panic!("the smallest difference:\n{record:#}\nis answered\n{answer:#}");
    }
    assert!(all > 0, "no vectors were found");
}

/// The value that the last selector in an explanation gave.
fn decided(explanation: &Explanation) -> Option<&str> {
    explanation.steps.iter().rev().find_map(|step| match step {
        Step::Entry { value, .. } => Some(value.as_str()),
        Step::Tried { keys, weight } => match &keys[..] {
            [only] => explanation.steps.iter().find_map(|step| match step {
                Step::Match(step) => step
                    .matching
                    .iter()
                    .find(|key| key.key == *only && key.weight == *weight)
                    .map(|key| key.value.as_str()),
                _ => None,
            }),
            _ => None,
        },
        _ => None,
    })
}

/// The steps are noted by the evaluation itself: they must not change its answers, and lead to them.
#[test]
fn explanations_agree_with_answers() {
    let Some(shared) = shared::directory() else { return };
    let options = LookupOptions {
        ignore_checksum: true,
    };
    let provider = Provider::new(Directory(shared.clone()), options);
    let (mut headers, mut types, mut files, mut failures) = (0, 0, 0, 0);
    for name in [
        "hst-pmap",
        "jwst-pmap",
        "roman-pmap-nosum",
        "tobs-pmap",
        "synthetic",
        "fuzz",
    ] {
        let path = vectors(&shared).join(format!("{name}.jsonl.gz"));
        if !path.is_file() {
            continue;
        }
        for record in records(&path).filter(|record| record["level"] != "rmap_raw") {
            let observatory: Observatory = record["observatory"].as_str().unwrap().parse().unwrap();
            let Ok(context) = provider.context(observatory, record["context"].as_str().unwrap()) else {
                continue;
            };
            let reftypes: Option<Vec<&str>> = record["reftypes"]
                .as_array()
                .map(|types| types.iter().map(|name| name.as_str().unwrap()).collect());
            let header = header(&record);
            let answers = context.best_references(&mut Memory::none(), &header, reftypes.as_deref());
            let explained = context.explain(&header, reftypes.as_deref());
            let (answers, explained) = match (answers, explained) {
                (Ok(answers), Ok(explained)) => (answers, explained),
                (Err(one), Err(other)) => {
                    assert_eq!(one, other);
                    continue;
                }
                (one, other) => panic!("{record}: {one:?} {other:?}"),
            };
            headers += 1;
            let told = explained
                .iter()
                .filter(|explanation| explanation.answer.is_some());
            assert_eq!(told.clone().count(), answers.len());
            for (explanation, (reftype, answer)) in told.zip(answers.iter()) {
                types += 1;
                assert_eq!(explanation.reftype, reftype);
                assert_eq!(explanation.answer, Some(json!(answer)), "{record}");
                let text = explanation.to_string();
                match answer {
                    BestRef::File(file) => {
                        files += 1;
                        assert_eq!(decided(explanation), Some(*file), "{record}\n{text}");
                    }
                    BestRef::NotFound(why) if explanation.rmap.is_some() => {
                        failures += 1;
                        assert!(text.contains(why.to_string().trim()), "{record}\n{text}");
                    }
                    _ => {}
                }
            }
        }
    }
    writeln!(
        io::stderr().lock(),
        "explained: {headers} headers, {types} types, of them {files} files and {failures} failures"
    )
    .unwrap();
    assert!(files > 0 && failures > 0);
}

#[test]
fn every_mapping_of_the_cache_is_read() {
    let Some(shared) = shared::directory() else { return };
    // The Python client refuses them too: a syntax error in an expression, a missing header field.
    let refused = [
        "hst_acs_darkfile_badexpr.rmap",
        "hst_acs_darkfile_missing_key.rmap",
    ];
    let (mut counts, mut unexpected, mut checksums) =
        (BTreeMap::<FileKind, u32>::new(), Vec::new(), Vec::new());
    for observatory in ["hst", "jwst", "roman", "tobs"] {
        let directory = shared.join("crds-cache/mappings").join(observatory);
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if !["pmap", "imap", "rmap"].iter().any(|level| name.ends_with(level)) {
                continue;
            }
            match Mapping::load(&name, std::fs::read_to_string(&path).unwrap()) {
                Ok(mapping) => {
                    *counts.entry(mapping.kind()).or_default() += 1;
                    if mapping.checksum().is_err() {
                        checksums.push(name);
                    }
                }
                Err(error) => unexpected.push((name, error.to_string())),
            }
        }
    }
    writeln!(
        io::stderr().lock(),
        "read: {counts:?}; wrong checksums: {checksums:?}; refused: {unexpected:?}"
    )
    .unwrap();
    unexpected.retain(|(name, _)| !refused.contains(&name.as_str()));
    assert_eq!(unexpected, []);
}
