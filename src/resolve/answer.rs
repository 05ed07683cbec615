//! The answer for one dataset: which files of each reference type are best, or why there is none.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::crds::{DatasetName, FileName, Observatory, Reftype, times};

/// The matching parameters of a dataset: values by name, as texts.
pub(crate) type Header = BTreeMap<String, String>;

/// The best references of one dataset under one context.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The observatory of the rules and references.
    pub observatory: Observatory,
    /// The literal context.
    pub context: FileName,
    /// The dataset, as the caller names it (archive ids in upper case).
    pub dataset: DatasetName,
    /// The answer for each reference type; a type without an entry is omitted by the rules.
    pub types: BTreeMap<Reftype, TypeAnswer>,
    /// The matching parameters that were used, if they are known.
    pub header: Option<Arc<Header>>,
    /// The evaluator of the rules.
    pub computed_by: ComputedBy,
    /// The time of that.
    pub when: SystemTime,
}

/// The evaluator of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComputedBy {
    /// The CRDS server.
    Server,
    /// The rules engine of this program.
    Here,
}

/// The bytes that an entry of a map takes in memory beside its texts, roughly.
const ENTRY: usize = 64;

/// The bytes that a header takes in memory, roughly.
pub(super) fn memory(header: &Header) -> usize {
    let entries = header.iter();
    entries
        .map(|(name, value)| name.len() + value.len() + ENTRY)
        .sum()
}

impl Answer {
    /// The bytes that it takes in memory with its header, roughly.
    pub(super) fn memory(&self) -> usize {
        let types = self.types.iter();
        let types: usize = types
            .map(|(name, answer)| name.as_str().len() + answer.memory() + ENTRY)
            .sum();
        types + self.header.as_deref().map_or(0, memory)
    }

    /// The best reference of a type, where that is one file.
    pub fn file(&self, reftype: &str) -> Option<&FileName> {
        match self.types.get(reftype) {
            Some(TypeAnswer::File(name)) => Some(name),
            _ => None,
        }
    }
}

impl ComputedBy {
    /// The word used in `bestrefs.json`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Here => "crds-fs",
        }
    }
}

/// The answer for one reference type (spec/crds-service 1.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeAnswer {
    /// The best reference.
    File(FileName),
    /// Several files in the order of the rules (a tuple).
    Several(Vec<FileName>),
    /// Several files with names of their own (a dict).
    Named(BTreeMap<String, FileName>),
    /// The type does not apply to this dataset; the text as it came.
    NotApplicable(String),
    /// The rules have no answer, or the lookup failed; the text as it came.
    NotFound(String),
}

impl TypeAnswer {
    /// Reads a server's value. Whatever is neither a file name nor one of the known texts becomes
    /// [`TypeAnswer::NotFound`] with a text that says so: a server's words never become paths.
    pub(crate) fn from_json(value: &Value) -> Self {
        let unusable = || {
            Self::NotFound(format!(
                "NOT FOUND the answer {} is not a file name",
                brief(value)
            ))
        };
        match value {
            Value::String(text) => Self::from_text(text),
            Value::Array(items) => items
                .iter()
                .map(file_name)
                .collect::<Option<Vec<_>>>()
                .filter(|names| !names.is_empty())
                .map_or_else(unusable, Self::Several),
            Value::Object(items) => items
                .iter()
                .map(|(name, item)| file_name(item).map(|item| (name.clone(), item)))
                .collect::<Option<BTreeMap<_, _>>>()
                .filter(|names| !names.is_empty())
                .map_or_else(unusable, Self::Named),
            Value::Null | Value::Bool(_) | Value::Number(_) => unusable(),
        }
    }

    /// Reads a text: a file name, `NOT FOUND ...`, or a left-over of an earlier assignment (`N/A`, `UNDEFINED`, `NONE`,
    /// `*`, nothing).
    pub(crate) fn from_text(text: &str) -> Self {
        let lower = text.trim().to_ascii_lowercase();
        if lower.starts_with("not found") {
            if lower.contains("n/a") {
                Self::NotApplicable(text.into())
            } else {
                Self::NotFound(text.into())
            }
        } else if lower == "n/a" {
            Self::NotApplicable(text.into())
        } else if matches!(lower.as_str(), "" | "*" | "none" | "undefined") {
            Self::NotFound(text.into())
        } else {
            match text.trim().parse() {
                Ok(name) => Self::File(name),
                Err(_) => Self::NotFound(format!(
                    "NOT FOUND the answer {} is not a file name",
                    brief(&text.into())
                )),
            }
        }
    }

    /// The answer as JSON: a text, an array, or an object; `TypeAnswer::from_json` reads it back.
    pub fn to_json(&self) -> Value {
        match self {
            Self::File(name) => name.as_str().into(),
            Self::Several(names) => names.iter().map(FileName::as_str).collect(),
            Self::Named(names) => names
                .iter()
                .map(|(name, file)| (name.clone(), Value::from(file.as_str())))
                .collect(),
            Self::NotApplicable(text) | Self::NotFound(text) => text.as_str().into(),
        }
    }

    /// The file, where the answer is exactly one.
    pub const fn file(&self) -> Option<&FileName> {
        match self {
            Self::File(name) => Some(name),
            _ => None,
        }
    }

    /// Every file that the answer names.
    pub fn files(&self) -> impl Iterator<Item = &FileName> {
        let (one, several, named) = match self {
            Self::File(name) => (Some(name), None, None),
            Self::Several(names) => (None, Some(names), None),
            Self::Named(names) => (None, None, Some(names)),
            Self::NotApplicable(_) | Self::NotFound(_) => (None, None, None),
        };
        one.into_iter()
            .chain(several.into_iter().flatten())
            .chain(named.into_iter().flat_map(BTreeMap::values))
    }

    /// The bytes of its texts, and of the entries that hold them.
    fn memory(&self) -> usize {
        let files: usize = self.files().map(|name| name.as_str().len() + ENTRY).sum();
        let names: usize = match self {
            Self::Named(names) => names.keys().map(String::len).sum(),
            _ => 0,
        };
        files + names + self.reason().map_or(0, str::len)
    }

    /// The reason for which there is no file, where there is none.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::NotApplicable(text) | Self::NotFound(text) => Some(text),
            Self::File(_) | Self::Several(_) | Self::Named(_) => None,
        }
    }
}

impl Answer {
    /// The answer for a type; `None` when the rules omit it.
    pub fn get(&self, reftype: &str) -> Option<&TypeAnswer> {
        self.types.get(reftype)
    }

    /// Every file that the answer names, GEIS data halves not included; a file may come more than once.
    pub fn files(&self) -> impl Iterator<Item = &FileName> {
        self.types.values().flat_map(TypeAnswer::files)
    }

    /// The whole answer, NOT FOUND texts included: the text of `bestrefs.json`.
    pub fn to_json(&self) -> Value {
        let types: Map<_, _> = self
            .types
            .iter()
            .map(|(reftype, answer)| (reftype.as_str().to_owned(), answer.to_json()))
            .collect();
        json!({
            "observatory": self.observatory.as_str(),
            "context": self.context.as_str(),
            "dataset": self.dataset.to_string(),
            "computed_by": self.computed_by.as_str(),
            "computed_at": times::rfc3339(self.when),
            "bestrefs": types,
        })
    }
}

impl fmt::Display for ComputedBy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

fn file_name(value: &Value) -> Option<FileName> {
    match TypeAnswer::from_json(value) {
        TypeAnswer::File(name) => Some(name),
        _ => None,
    }
}

/// A value in a message, cut to a length that a person reads.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FileName {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_of_a_value() {
        let read = |value: Value| TypeAnswer::from_json(&value);
        assert_eq!(read(json!("a_b.fits")), TypeAnswer::File(name("a_b.fits")));
        assert_eq!(
            read(json!("Weekdark_0H.fits")),
            TypeAnswer::File(name("Weekdark_0H.fits"))
        );
        for text in ["NOT FOUND n/a", "NOT FOUND N/A", "N/A", "n/a"] {
            assert_eq!(read(json!(text)), TypeAnswer::NotApplicable(text.into()));
        }
        for text in [
            "NOT FOUND No match found.",
            "NOT FOUND  parameter='X'",
            "",
            "*",
            "NONE",
            "UNDEFINED",
            "undefined",
        ] {
            assert_eq!(read(json!(text)), TypeAnswer::NotFound(text.into()));
        }
        assert_eq!(
            read(json!(["a.fits", "b.fits"])),
            TypeAnswer::Several(vec![name("a.fits"), name("b.fits")])
        );
        let named = TypeAnswer::Named([("low".to_owned(), name("a.fits"))].into());
        assert_eq!(read(json!({"low": "a.fits"})), named);
        assert_eq!(read(named.to_json()), named);
    }

    #[test]
    fn nothing_else_becomes_a_path() {
        for value in [
            json!("../../etc/passwd"),
            json!(".hidden"),
            json!(7),
            json!(null),
            json!(true),
            json!([]),
            json!({}),
            json!(["a.fits", "../b"]),
            json!([["a.fits"]]),
            json!({"x": "N/A"}),
        ] {
            let answer = TypeAnswer::from_json(&value);
            assert!(
                answer.reason().is_some_and(|text| text.starts_with("NOT FOUND")),
                "{value}: {answer:?}"
            );
            assert_eq!(answer.files().count(), 0);
        }
    }

    #[test]
    fn files_of_all_shapes() {
        let several = TypeAnswer::Several(vec![name("a.fits"), name("b.fits")]);
        assert_eq!(
            several.files().map(FileName::as_str).collect::<Vec<_>>(),
            ["a.fits", "b.fits"]
        );
        assert_eq!(several.file(), None);
        assert_eq!(TypeAnswer::File(name("a.fits")).files().count(), 1);
    }
}
