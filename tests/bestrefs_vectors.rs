//! `crds-fs bestrefs --headers - --json --cache DIR`, the program itself, against the lookups of the oracle vectors.

#![expect(clippy::unwrap_used, reason = "a test: what goes wrong is its failure")]

#[path = "common/shared.rs"]
mod shared;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use flate2::read::GzDecoder;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A record, with its header as it is written.
struct Lookup {
    record: Value,
    header: Box<RawValue>,
}

#[derive(serde::Deserialize)]
struct Line {
    header: Box<RawValue>,
}

fn lookups(file: &Path) -> Vec<Lookup> {
    BufReader::new(GzDecoder::new(File::open(file).unwrap()))
        .lines()
        .map(|line| {
            let line = line.unwrap();
            let Line { header } = serde_json::from_str(&line).unwrap();
            Lookup {
                record: serde_json::from_str(&line).unwrap(),
                header,
            }
        })
        .filter(|lookup| lookup.record["level"] != "rmap_raw")
        .collect()
}

/// The answers of the program to these lookups, one from each line.
fn ask(shared: &Path, lookups: &[Lookup], ignore_checksum: bool) -> Vec<Value> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_crds-fs"))
        .args(["bestrefs", "--headers", "-", "--json", "--cache"])
        .arg(shared.join("crds-cache").canonicalize().unwrap())
        .env(
            "CRDS_IGNORE_MAPPING_CHECKSUM",
            if ignore_checksum { "1" } else { "0" },
        )
        .current_dir(shared.join("vectors"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = program.stdin.take().unwrap();
    let output = program.stdout.take().unwrap();
    let answers = thread::scope(|scope| {
        scope.spawn(move || {
            for (id, Lookup { record, header }) in lookups.iter().enumerate() {
                let (context, types) = (&record["context"], &record["reftypes"]);
                writeln!(
                    input,
                    "{{\"id\":{id},\"header\":{header},\"context\":{context},\"reftypes\":{types}}}"
                )
                .unwrap();
            }
        });
        BufReader::new(output)
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect()
    });
    assert!(program.wait().unwrap().success());
    answers
}

/// The right answer of the program to a record; `None` if any error will do.
fn expected(id: usize, record: &Value) -> Option<Value> {
    match record.get("error") {
        Some(_) if record["compare"] == "error" => None,
        Some(error) => Some(json!({"id": id, "error": error})),
        None => Some(json!({"id": id, "context": record["context"], "result": record["result"]})),
    }
}

#[test]
fn all_public_lookups_through_the_program() {
    let Some(shared) = shared::directory() else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(shared.join("vectors"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .filter(|path| {
            !["unit.jsonl.gz", "files.jsonl.gz"]
                .iter()
                .any(|name| path.ends_with(name))
        })
        .collect();
    files.sort();
    let (mut equal, mut different) = (0, Vec::new());
    for file in files {
        let mut parts: BTreeMap<bool, Vec<Lookup>> = BTreeMap::new();
        for lookup in lookups(&file) {
            let ignore_checksum = lookup.record["ignore_checksum"] == true;
            parts.entry(ignore_checksum).or_default().push(lookup);
        }
        for (ignore_checksum, lookups) in parts {
            let answers = ask(&shared, &lookups, ignore_checksum);
            assert_eq!(answers.len(), lookups.len());
            for (id, (lookup, answer)) in lookups.iter().zip(&answers).enumerate() {
                let same = match expected(id, &lookup.record) {
                    Some(expected) => expected == *answer,
                    None => answer["id"] == id && answer["error"].is_string(),
                };
                if same {
                    equal += 1;
                } else {
                    different.push(format!(
                        "{}: {}\n  answer: {answer}",
                        file.display(),
                        lookup.record
                    ));
                }
            }
        }
    }
    writeln!(
        io::stderr().lock(),
        "{equal} lookups equal, {} different",
        different.len()
    )
    .unwrap();
    let shown: Vec<&str> = different.iter().take(5).map(String::as_str).collect();
    assert!(
        different.is_empty(),
        "{} lookups differ:\n{}",
        different.len(),
        shown.join("\n")
    );
    assert!(equal > 30_000, "{equal}");
}
