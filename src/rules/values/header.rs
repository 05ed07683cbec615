//! Dataset headers as they come: parameters with their values, in order.

use std::borrow::Cow;

use crate::crds::literal::float_text;
use crate::rules::values::condition::condition;
use crate::rules::values::naming::begins_with_meta;
use crate::rules::values::python::upper;

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum HeaderValue {
    /// A text.
    Text(String),
    /// An integer.
    Int(i64),
    /// A floating point number.
    Float(f64),
    /// A logical value.
    Bool(bool),
    /// No value; conditioned to `NONE`.
    None,
}

impl HeaderValue {
    /// The value as Python's `str` shows it.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Int(number) => number.to_string().into(),
            Self::Float(number) => float_text(*number).into(),
            Self::Bool(true) => "True".into(),
            Self::Bool(false) => "False".into(),
            Self::None => "None".into(),
        }
    }

    /// The normal form (spec/crds-rules 7).
    pub fn conditioned(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => condition(text),
            other => match other.plain_number() {
                Some(text) => text.into(),
                None => condition(&other.text()).into_owned().into(),
            },
        }
    }
}

impl HeaderValue {
    /// The normal form of a whole number that surely stands for itself.
    fn plain_number(&self) -> Option<String> {
        let number = match *self {
            Self::Int(number) => number,
            #[expect(
                clippy::cast_possible_truncation,
                reason = "too large ones go the long way too"
            )]
            Self::Float(number) if number.fract() == 0.0 && number != 0.0 => number as i64,
            _ => return None,
        };
        (-999_999_999..=999_999_999)
            .contains(&number)
            .then(|| format!("{number}.0"))
    }
}

impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&serde_json::Value> for HeaderValue {
    /// Numbers are what JSON says: `2` is an integer, `2.0` a float. Lists and objects become their JSON text.
    fn from(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::None,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => Self::Int(number),
                (None, Some(number)) => Self::Float(number),
                (None, None) => Self::Text(number.to_string()),
            },
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(_) | Value::Object(_) => Self::Text(value.to_string()),
        }
    }
}

/// A dataset header. The order of its entries matters where two spellings of one parameter meet (spec/crds-rules 17).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header {
    entries: Vec<(String, HeaderValue)>,
}

impl Header {
    /// An empty header.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry at the end, even if the parameter is there already: the later one will count.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<HeaderValue>) {
        self.entries.push((name.into(), value.into()));
    }

    /// The entries in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &HeaderValue)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a parameter, its name exactly as written; the last one counts.
    pub fn get(&self, name: &str) -> Option<&HeaderValue> {
        self.entries
            .iter()
            .rev()
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The header with a prefix before the names that begin with `META` (Roman), if some of them then meet others of
    /// the same spelling, which decides where their value counts.
    pub(crate) fn with_prefix(&self, prefix: &str) -> Option<Self> {
        let renamed = |name: &str| begins_with_meta(name).then(|| format!("{prefix}{name}"));
        let meet =
            |(name, _): &(String, HeaderValue)| renamed(name).is_some_and(|name| self.get(&name).is_some());
        let prefixed = self.entries.iter().any(|(name, _)| name.starts_with(prefix));
        if !prefixed || !self.entries.iter().any(meet) {
            return None;
        }
        let mut result = Self::new();
        for (name, value) in &self.entries {
            let name = renamed(name).unwrap_or_else(|| name.clone());
            match result.entries.iter_mut().find(|(known, _)| *known == name) {
                Some((_, old)) => old.clone_from(value),
                None => result.push(name, value.clone()),
            }
        }
        Some(result)
    }

    /// Names upper-cased and values in normal form, a later entry replacing an earlier one in its place.
    #[must_use]
    pub fn conditioned(&self) -> Self {
        let mut result: Vec<(String, HeaderValue)> = Vec::with_capacity(self.entries.len());
        let mut places = std::collections::HashMap::with_capacity(self.entries.len());
        for (name, value) in &self.entries {
            let name = upper(name).into_owned();
            let value = HeaderValue::Text(value.conditioned().into_owned());
            if let Some(&place) = places.get(&name) {
                if let Some(entry) = result.get_mut(place) {
                    let (_, old): &mut (String, HeaderValue) = entry;
                    *old = value;
                }
            } else {
                places.insert(name.clone(), result.len());
                result.push((name, value));
            }
        }
        Self { entries: result }
    }
}

impl<N: Into<String>, V: Into<HeaderValue>> FromIterator<(N, V)> for Header {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        Self {
            entries: entries
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }
}
