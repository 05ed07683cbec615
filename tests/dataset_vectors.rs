//! The file records of the oracle vectors: headers of real dataset files, as the Python client reads them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crds_fs::crds::Observatory;
use crds_fs::dataset;
use flate2::read::GzDecoder;
use serde_json::Value;

/// The oracle's directory, which is beside the checkout on machines that have it.
fn vectors() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors");
    if path.is_dir() {
        return Some(path);
    }
    println!("the oracle vectors are not there: nothing compared");
    None
}

fn records(vectors: &Path) -> Vec<Value> {
    let file = File::open(vectors.join("files.jsonl.gz")).unwrap();
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    lines
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect()
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap()
}

#[test]
fn headers_are_those_of_the_python_client() {
    let Some(vectors) = vectors() else { return };
    let mut equal = 0;
    let records = records(&vectors);
    let headers: Vec<&Value> = records
        .iter()
        .filter(|record| record["kind"] == "header")
        .collect();
    for record in &headers {
        let path = vectors.join(text(record, "file"));
        let observatory: Observatory = text(record, "observatory").parse().unwrap();
        assert_eq!(
            dataset::read(&path, None).unwrap().observatory(),
            observatory,
            "{}",
            path.display()
        );
        let header = dataset::read(&path, Some(observatory)).unwrap();
        let ours: Vec<(String, String)> = header
            .iter()
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .collect();
        let theirs: Vec<(String, String)> = record["header"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(ours, theirs, "{}", path.display());
        equal += 1;
    }
    println!("{} header records, {equal} equal", headers.len());
}
