//! The file records of the oracle vectors: headers of real dataset files, as the Python client reads them.

#![expect(clippy::unwrap_used, reason = "a test: what goes wrong is its failure")]

#[path = "common/shared.rs"]
mod shared;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crds_fs::crds::Observatory;
use crds_fs::dataset::{self, DatasetHeader, Plan, Recipe};
use crds_fs::rules::{self, Context, LoadError, LookupOptions, Mapping, Mappings, Memory};
use flate2::read::GzDecoder;
use serde_json::Value;

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
    let Some(shared) = shared::directory() else { return };
    let vectors = shared.join("vectors");
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
        let conditioned = header.iter().collect::<rules::Header>().conditioned();
        let conditioned: BTreeMap<&str, String> = conditioned
            .iter()
            .map(|(name, value)| (name, value.text().into_owned()))
            .collect();
        let theirs: BTreeMap<&str, String> = record["conditioned"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(conditioned, theirs, "{}", path.display());
        equal += 1;
    }
    writeln!(
        io::stderr().lock(),
        "{} header records, {equal} equal",
        headers.len()
    )
    .unwrap();
}

/// The rules of the oracle's cache.
struct Cache {
    mappings: PathBuf,
    loaded: RefCell<HashMap<String, Arc<Mapping>>>,
}

impl Mappings for Cache {
    fn get(&self, name: &str) -> Result<Arc<Mapping>, LoadError> {
        if let Some(mapping) = self.loaded.borrow().get(name) {
            return Ok(mapping.clone());
        }
        let observatory = name.split('_').next().unwrap_or_default();
        let text = std::fs::read_to_string(self.mappings.join(observatory).join(name))
            .map_err(|_| LoadError::absent(name))?;
        let mapping = Arc::new(Mapping::load(name, &text)?);
        self.loaded.borrow_mut().insert(name.to_owned(), mapping.clone());
        Ok(mapping)
    }
}

/// The words after `option` up to the next option, lower case.
fn option(arguments: &[&str], option: &str) -> BTreeSet<String> {
    let after = arguments.iter().skip_while(|word| **word != option).skip(1);
    after
        .take_while(|word| !word.starts_with("--"))
        .map(|word| word.to_lowercase())
        .collect()
}

/// Plans the changes of one file as `bestrefs --update-bestrefs` does (spec, section 22), without writing them.
fn plan(cache: &Cache, header: &DatasetHeader, record: &Value) -> Plan {
    let header = header.clone().for_lookup().unwrap();
    let arguments: Vec<&str> = record["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    let mapping = cache.get(text(record, "context")).unwrap();
    let instrument = header.instrument().unwrap();
    let for_rules: rules::Header = header.iter().collect();
    let mut types = option(&arguments, "--types");
    let all = arguments.contains(&"--all-types");
    if types.is_empty() && !all && header.observatory() == Observatory::Jwst {
        types = rules::default_reftypes(&for_rules)
            .into_iter()
            .map(str::to_owned)
            .collect();
    }
    let skipped = option(&arguments, "--skip-types");
    let asked: Vec<String> = types.difference(&skipped).cloned().collect();
    // No type at all stands for all of them.
    assert!(types.is_empty() || !asked.is_empty());
    let context = Context::new(mapping, header.observatory(), LookupOptions::default()).unwrap();
    let answers = context
        .best_references(&mut Memory::none(), cache, &for_rules, Some(&asked))
        .unwrap();
    let texts: Vec<(&str, String)> = answers
        .iter()
        .filter(|(reftype, _)| !skipped.contains(*reftype))
        .map(|(reftype, answer)| (reftype, answer.text().into_owned()))
        .collect();
    let recipe = Recipe {
        dataset: text(record, "file").rsplit('/').next().unwrap(),
        instrument: &instrument,
        context: text(record, "context"),
        undefined_differences_matter: arguments.contains(&"--undefined-differences-matter"),
    };
    dataset::plan(
        &header,
        &recipe,
        texts
            .iter()
            .map(|(reftype, text)| (*reftype, Some(text.as_str()))),
    )
}

#[test]
fn updates_are_those_of_the_python_client() {
    let Some(shared) = shared::directory() else { return };
    let vectors = shared.join("vectors");
    let cache = Cache {
        mappings: vectors.join("../crds-cache/mappings"),
        loaded: RefCell::default(),
    };
    let scratch = tempfile::tempdir().unwrap();
    let records = records(&vectors);
    let updates: Vec<&Value> = records
        .iter()
        .filter(|record| record["kind"] == "bestrefs")
        .collect();
    let mut equal = 0;
    for record in &updates {
        let name = text(record, "file").rsplit('/').next().unwrap();
        let copy = scratch.path().join(name);
        let _ = std::fs::remove_file(&copy);
        std::fs::write(&copy, std::fs::read(vectors.join(text(record, "file"))).unwrap()).unwrap();
        let before = dataset::read(&copy, None).unwrap();
        let (mut messages, mut written) = (Vec::new(), BTreeMap::new());
        match before.instrument() {
            Ok(_) => {
                let plan = plan(&cache, &before, record);
                assert_eq!(
                    dataset::update(&copy, &plan.changes).unwrap(),
                    !plan.changes.is_empty()
                );
                messages.extend(plan.errors);
            }
            Err(error) => messages.push(format!(
                "Failed loading source '{name}' from 'FileHeaderGenerator' : {error}"
            )),
        }
        let after = dataset::read(&copy, None).unwrap();
        for (keyword, value) in after
            .iter()
            .filter(|(keyword, value)| before.get(keyword) != Some(value))
        {
            // Cross-strapping shows some keywords a second time, under names that are not in the file.
            if !keyword.contains('.') {
                written.insert(keyword, value);
            }
        }
        let mut expected: BTreeMap<&str, &str> = record["written"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(keyword, value)| (keyword.as_str(), value.as_str().unwrap()))
            .collect();
        if let Some(version) = expected.get_mut("CRDS_VER") {
            *version = dataset::VERSION_TEXT;
        }
        assert_eq!(written, expected, "{name} {}", record["args"]);
        let expected: Vec<&str> = record["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|text| text.as_str().unwrap())
            .collect();
        let messages: Vec<String> = messages
            .iter()
            .map(|text| format!("CRDS - ERROR -  {text}"))
            .collect();
        assert_eq!(messages, expected, "{name} {}", record["args"]);
        equal += 1;
    }
    writeln!(
        io::stderr().lock(),
        "{} update records, {equal} equal",
        updates.len()
    )
    .unwrap();
}
