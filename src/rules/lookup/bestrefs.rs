//! Answers: what a lookup finds for each reference type (spec/crds-rules 20).

use std::borrow::Cow;
use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::rules::eval::rmap::RmapResult;
use crate::rules::eval::selector::Selected;
use crate::rules::model::failure::{Failure, Reason};
use crate::rules::model::selector::Choice;
use crate::rules::syntax::arena::Arena;

/// The answer for one reference type. It borrows from the context that gave it.
///
/// `Display` and `Serialize` give the client's form: `NOT FOUND ...` for failures, arrays for tuples.
#[derive(Debug, Clone)]
pub enum BestRef<'c> {
    /// The name of a reference file.
    File(&'c str),
    /// Several answers: a Python tuple, of files usually.
    Several(Vec<BestRef<'c>>),
    /// Named answers: a Python dict.
    Named(Vec<(BestRef<'c>, BestRef<'c>)>),
    /// A number or the like, in Python's notation.
    Value(&'c str),
    /// Something that is not data, by the name of the client's class; only within [`BestRef::Several`].
    Object(&'static str),
    /// The type does not apply to the dataset.
    NotApplicable,
    /// There is no best reference, and why.
    NotFound(NotFound<'c>),
}

/// The reason for which there is no best reference. `Display` gives the text that follows `NOT FOUND ` in the client's
/// answers.
#[derive(Debug, Clone)]
pub struct NotFound<'c>(Why<'c>);

#[derive(Debug, Clone)]
enum Why<'c> {
    Reason(Reason<'c>),
    UnknownType(String),
}

impl Why<'_> {
    /// Whether both surely have the same text.
    fn is_same(&self, other: &Why<'_>) -> bool {
        match (self, other) {
            (Self::Reason(one), Why::Reason(other)) => one.is_same(other),
            _ => false,
        }
    }
}

impl fmt::Display for NotFound<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Reason(reason) => reason.fmt(out),
            Why::UnknownType(filekind) => {
                write!(
                    out,
                    "Unknown reference type {}",
                    crate::rules::values::python::repr(filekind)
                )
            }
        }
    }
}

impl<'c> BestRef<'c> {
    /// The answer of an rmap; nothing if the type is omitted.
    pub(crate) fn new(result: RmapResult<'c>) -> Option<Self> {
        match result {
            RmapResult::Selected(arena, found) => Some(Self::found(arena, found)),
            RmapResult::NotApplicable => Some(Self::NotApplicable),
            RmapResult::Omitted => None,
            RmapResult::Failed(Failure { reason, .. }) => Some(Self::NotFound(NotFound(Why::Reason(reason)))),
        }
    }

    /// The answer for a type that an imap does not have.
    pub(crate) fn unknown_type(filekind: &str) -> Self {
        Self::NotFound(NotFound(Why::UnknownType(filekind.to_owned())))
    }

    fn found(arena: &'c Arena, found: Selected<'c>) -> Self {
        match found {
            Selected::Choice(choice) => Self::choice(arena, choice),
            Selected::Several(items) => {
                Self::Several(items.into_iter().map(|item| Self::found(arena, item)).collect())
            }
            Selected::Object(kind) => Self::Object(kind.class()),
        }
    }

    fn choice(arena: &'c Arena, choice: &'c Choice) -> Self {
        match choice {
            Choice::Text(text) => Self::File(arena.get(*text)),
            Choice::Tuple(items) | Choice::List(items) => {
                Self::Several(items.iter().map(|item| Self::choice(arena, item)).collect())
            }
            Choice::Dict(pairs) => Self::Named(
                pairs
                    .iter()
                    .map(|(key, value)| (Self::choice(arena, key), Self::choice(arena, value)))
                    .collect(),
            ),
            Choice::Other(text) => Self::Value(arena.get(*text)),
            Choice::Selector(selector) => Self::Object(selector.kind.class()),
        }
    }

    /// Whether both are the same in the client's form.
    fn is_same(&self, other: &BestRef<'_>) -> bool {
        match (self, other) {
            (Self::File(one), BestRef::File(other)) => one == other,
            (Self::NotApplicable, BestRef::NotApplicable) => true,
            (Self::NotFound(NotFound(one)), BestRef::NotFound(NotFound(other))) if one.is_same(other) => true,
            (
                Self::File(_) | Self::NotApplicable | Self::NotFound(_),
                BestRef::File(_) | BestRef::NotApplicable | BestRef::NotFound(_),
            ) => self.text() == other.text(),
            _ => serde_json::to_value(self).ok() == serde_json::to_value(other).ok(),
        }
    }

    /// All file names in the answer, in order.
    pub fn files(&self) -> Vec<&'c str> {
        match self {
            Self::File(name) => vec![name],
            Self::Several(items) => items.iter().flat_map(BestRef::files).collect(),
            Self::Named(pairs) => pairs.iter().flat_map(|(_, value)| value.files()).collect(),
            _ => Vec::new(),
        }
    }

    /// The client's text for a plain answer: a file name or `NOT FOUND ...`.
    pub fn text(&self) -> Cow<'c, str> {
        match self {
            Self::File(text) | Self::Value(text) => (*text).into(),
            Self::Object(class) => (*class).into(),
            Self::NotApplicable => "NOT FOUND n/a".into(),
            Self::NotFound(why) => format!("NOT FOUND {why}").into(),
            Self::Several(items) => {
                let items: Vec<String> = items.iter().map(BestRef::quoted).collect();
                let comma = if items.len() == 1 { "," } else { "" };
                format!("({}{comma})", items.join(", ")).into()
            }
            Self::Named(pairs) => {
                let pairs: Vec<String> = pairs
                    .iter()
                    .map(|(key, value)| format!("{}: {}", key.quoted(), value.quoted()))
                    .collect();
                format!("{{{}}}", pairs.join(", ")).into()
            }
        }
    }

    /// As it appears within a tuple.
    fn quoted(&self) -> String {
        match self {
            Self::File(text) => crate::rules::values::python::repr(text),
            other => other.text().into_owned(),
        }
    }
}

impl fmt::Display for BestRef<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text())
    }
}

impl Serialize for BestRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Several(items) => serializer.collect_seq(items),
            Self::Named(pairs) => {
                serializer.collect_map(pairs.iter().map(|(key, value)| (key.text(), value)))
            }
            Self::Object(class) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("!object", class)?;
                map.end()
            }
            Self::Value("None") => serializer.serialize_none(),
            Self::Value("True") => serializer.serialize_bool(true),
            Self::Value("False") => serializer.serialize_bool(false),
            Self::Value(number) => match (number.parse::<i64>(), number.parse::<f64>()) {
                (Ok(number), _) => serializer.serialize_i64(number),
                (_, Ok(number)) => serializer.serialize_f64(number),
                _ => serializer.serialize_str(number),
            },
            other => serializer.serialize_str(&other.text()),
        }
    }
}

/// The answers for a dataset, in the order of the types asked for; omitted types are not here.
#[derive(Debug, Clone, Default)]
pub struct BestRefs<'c> {
    pub(crate) answers: Vec<(Cow<'c, str>, BestRef<'c>)>,
}

impl<'c> BestRefs<'c> {
    /// The types with their answers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BestRef<'c>)> {
        self.answers
            .iter()
            .map(|(filekind, answer)| (&**filekind, answer))
    }

    /// The answer for a type.
    pub fn get(&self, filekind: &str) -> Option<&BestRef<'c>> {
        self.iter()
            .find_map(|(own, answer)| (own == filekind).then_some(answer))
    }

    /// The types whose answer is another one in `others`, or is not there.
    #[must_use]
    pub fn differing_from(&self, others: &BestRefs<'_>) -> Self {
        let differs = |(place, (filekind, answer)): &(usize, &(Cow<'c, str>, BestRef<'c>))| {
            // Answers of two contexts are in the same order almost always.
            let other = match others.answers.get(*place) {
                Some((own, other)) if own == filekind => Some(other),
                _ => others.get(filekind),
            };
            other.is_none_or(|other| !answer.is_same(other))
        };
        let differing = self.answers.iter().enumerate().filter(differs);
        Self {
            answers: differing.map(|(_, entry)| entry.clone()).collect(),
        }
    }

    /// The number of types that have an answer.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether no type has one.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

impl Serialize for BestRefs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}
