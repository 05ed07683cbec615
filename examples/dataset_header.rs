//! Prints the headers of dataset files as JSON lines, or writes values into one, for comparison with other programs.
//!
//! ```text
//! dataset_header [--observatory OBS] FILE...       {"file": ..., "header": {...}} or {"file": ..., "error": ...}
//! dataset_header --set KEYWORD=VALUE ... FILE      writes, then prints {"file": ..., "written": true|false}
//! ```

use std::path::Path;
use std::process::ExitCode;

use crds_fs::crds::Observatory;
use crds_fs::dataset::{self, Change};
use serde_json::{Map, Value, json};

fn main() -> ExitCode {
    let mut observatory = None;
    let mut changes = Vec::new();
    let mut files = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = match argument.as_str() {
            "--observatory" | "--set" => arguments.next(),
            _ => None,
        };
        match (argument.as_str(), value) {
            ("--observatory", Some(name)) => match name.parse::<Observatory>() {
                Ok(known) => observatory = Some(known),
                Err(error) => return wrong(&error.to_string()),
            },
            ("--set", Some(setting)) => match setting.split_once('=') {
                Some((keyword, value)) => changes.push(Change {
                    keyword: keyword.to_owned(),
                    value: value.to_owned(),
                }),
                None => return wrong("--set needs KEYWORD=VALUE"),
            },
            ("--observatory" | "--set", None) => return wrong("an option lacks its value"),
            _ => files.push(argument),
        }
    }
    let mut failed = false;
    for file in &files {
        let result = if changes.is_empty() {
            show(file, observatory)
        } else {
            dataset::update(Path::new(file), &changes)
                .map(|written| json!({"file": file, "written": written}))
        };
        let line = result.unwrap_or_else(|error| {
            failed = true;
            json!({"file": file, "error": error.to_string()})
        });
        println!("{line}");
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn show(file: &str, observatory: Option<Observatory>) -> Result<Value, dataset::DatasetError> {
    let header = dataset::read(Path::new(file), observatory)?;
    let entries: Map<String, Value> = header
        .iter()
        .map(|(name, text)| (name.to_owned(), Value::from(text)))
        .collect();
    Ok(json!({"file": file, "observatory": header.observatory().as_str(), "header": entries}))
}

fn wrong(message: &str) -> ExitCode {
    eprintln!("dataset_header: {message}");
    ExitCode::from(2)
}
