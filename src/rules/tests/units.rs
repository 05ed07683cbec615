//! Single functions of the rules, and what the Python client says of them in `../shared/vectors`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::shared;
use crate::rules::compile::alternatives;
use crate::rules::values::condition;
use crate::rules::values::date;
use crate::rules::values::header::HeaderValue;
use crate::rules::values::pattern::{Pattern, Verdict};
use crate::rules::values::version::parse_version;

/// The normal form of a header value (spec/crds-rules 7).
pub(super) fn condition(value: &HeaderValue) -> String {
    value.conditioned().into_owned()
}

/// A date as `YYYY-MM-DD HH:MM:SS[.ffffff]`, or the text of the failure (spec/crds-rules 9).
pub(super) fn date(text: &str) -> Result<String, String> {
    date::parse(text).map(|moment| moment.to_string())
}

/// The normal form of an element of a match key that is one text or number (spec/crds-rules 10).
pub(super) fn match_element(value: &HeaderValue) -> String {
    match value {
        HeaderValue::Text(text) => condition::condition_element(text).into_owned(),
        other => condition(other),
    }
}

/// The normal form of an element of a match key that is a tuple.
pub(super) fn match_element_tuple(values: &[HeaderValue]) -> String {
    alternatives(values.iter().map(HeaderValue::text))
}

/// The verdict of a conditioned match element on a value: 1 match, 0 don't care, -1 no match (spec/crds-rules 11).
pub(super) fn match_pattern(pattern: &str, value: &str) -> Result<i8, String> {
    Ok(match Pattern::new(pattern)?.judge(value) {
        Verdict::Match => 1,
        Verdict::Indifferent => 0,
        Verdict::Mismatch => -1,
    })
}

/// The three numbers of a version (spec/crds-rules 13).
pub(super) fn version(text: &str) -> Result<[u32; 3], String> {
    parse_version(text)
}

fn records(path: &Path) -> impl Iterator<Item = Value> {
    let file = File::open(path).unwrap();
    BufReader::new(GzDecoder::new(file))
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

fn unit(record: &Value) -> Value {
    let text = |name: &str| record[name].as_str().unwrap();
    let result = |result: Result<Value, String>| match result {
        Ok(out) => json!({"out": out}),
        Err(error) => json!({"error": error}),
    };
    match text("kind") {
        "condition" => json!({"out": condition(&HeaderValue::from(&record["in"]))}),
        "date" => result(date(text("in")).map(Value::from)),
        "element" => match record["in"].as_array() {
            Some(items) => {
                let items: Vec<HeaderValue> = items.iter().map(HeaderValue::from).collect();
                json!({"out": match_element_tuple(&items)})
            }
            None => json!({"out": match_element(&HeaderValue::from(&record["in"]))}),
        },
        "match" => result(match_pattern(text("pattern"), text("value")).map(Value::from)),
        "version" => result(version(text("in")).map(|version| json!(version))),
        other => panic!("unknown kind of record: {other}"),
    }
}

#[test]
fn units_equal_the_clients() {
    let Some(shared) = shared::directory() else { return };
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let mut smallest: Option<(usize, Value, Value)> = None;
    for record in records(&shared.join("vectors/unit.jsonl.gz")) {
        let answer = unit(&record);
        let (count, equal) = counts
            .entry(record["kind"].as_str().unwrap().to_owned())
            .or_default();
        *count += 1;
        let fine = match record.get("error") {
            Some(_) if record["compare"] == "error" => answer.get("error").is_some(),
            Some(error) => answer.get("error") == Some(error),
            None => answer.get("out") == record.get("out"),
        };
        if fine {
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
    for (kind, (count, equal)) in counts {
        writeln!(
            io::stderr().lock(),
            "unit ({kind}): {count} vectors, {equal} equal"
        )
        .unwrap();
    }
    if let Some((_, record, answer)) = smallest {
        panic!("the smallest difference:\n{record:#}\nis answered\n{answer:#}");
    }
}
