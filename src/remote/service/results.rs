//! Readers of results, tolerant of what servers of several generations return.

use serde_json::{Map, Value};

use super::{BestReferences, Header, TypeValues};
use crate::crds::{FileName, Reftype};
use crate::remote::error::printable;

/// The fault of a result, in words.
type Wrong = String;

fn object(value: Value, what: &str) -> Result<Map<String, Value>, Wrong> {
    match value {
        Value::Object(fields) => Ok(fields),
        other => Err(format!("{what} is not an object but {}", glimpse(&other))),
    }
}

/// The beginning of a value, for messages.
fn glimpse(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// A header value: texts as they are, numbers and the like as JSON writes them.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}

/// An object of texts.
pub(super) fn texts(value: Value) -> Result<Header, Wrong> {
    let fields = object(value, "a set of fields")?;
    Ok(fields
        .into_iter()
        .map(|(key, value)| (key, text(value)))
        .collect())
}

/// A file name.
pub(super) fn name(value: &Value) -> Result<FileName, Wrong> {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("not a file name: {}", glimpse(value)))
}

/// More reference types than this are not an answer: an instrument has a hundred.
const MAX_TYPES: usize = 10_000;

/// The values of reference types. Keys are lower case; what cannot be a type's name is left out.
pub(super) fn type_values(value: Value) -> Result<TypeValues, Wrong> {
    let fields = object(value, "a set of best references")?;
    if fields.len() > MAX_TYPES {
        return Err(format!("best references of {} types", fields.len()));
    }
    Ok(fields
        .into_iter()
        .map(|(key, value)| (key.to_ascii_lowercase(), value))
        .filter(|(key, _)| key.parse::<Reftype>().is_ok())
        .map(|(key, value)| match value {
            // A name, or why there is none: for people to read.
            Value::String(text) => (key, Value::String(printable(&text))),
            other => (key, other),
        })
        .collect())
}

/// `{id: [ok, payload]}`, in old servers `{id: payload}`, and `headers` beside the ids. `key` makes keys of ids.
pub(super) fn best_references(value: Value, key: fn(&str) -> String) -> Result<BestReferences, Wrong> {
    let mut found = BestReferences::default();
    for (id, payload) in object(value, "the answer for datasets")? {
        if id == "headers" {
            for (id, header) in object(payload, "the set of headers")? {
                // A text instead of a header tells that there is none.
                if header.is_object() {
                    found.headers.insert(key(&id), texts(header)?);
                }
            }
        } else {
            found.answers.insert(key(&id), answer(payload)?);
        }
    }
    Ok(found)
}

fn answer(payload: Value) -> Result<Result<TypeValues, String>, Wrong> {
    match payload {
        Value::Array(pair) => match <[Value; 2]>::try_from(pair) {
            Ok([Value::Bool(true), values]) => type_values(values).map(Ok),
            Ok([Value::Bool(false), why]) => Ok(Err(printable(&text(why)))),
            Ok(other) => Err(format!(
                "not an answer: {}",
                glimpse(&Value::from(other.to_vec()))
            )),
            Err(other) => Err(format!("not an answer: {}", glimpse(&Value::from(other)))),
        },
        Value::String(why) => Ok(Err(printable(&why))),
        values => type_values(values).map(Ok),
    }
}
