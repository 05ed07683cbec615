//! The fields of a server's description as they came, and readers that take what makes sense and pass over what does
//! not.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::HistoryEntry;
use crate::crds::catalog::Dropped;
use crate::crds::literal::{self, Value};
use crate::crds::name::{FileName, Observatory};
use crate::crds::url::Url;

/// Named values in the order they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fields(Vec<(Value, Value)>);

/// Fields that differ with every reply, or that the client adds.
const TIMES: [&str; 6] = [
    "last_synced",
    "last_refreshed",
    "updated",
    "server",
    "status",
    "connected",
];

impl Fields {
    pub(super) fn new(value: Value) -> Option<Self> {
        match value {
            Value::Dict(pairs) => Some(Self(pairs)),
            _ => None,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0
            .iter()
            .rev()
            .find_map(|(name, value)| (name.as_str() == Some(key)).then_some(value))
    }

    pub(super) fn set(&mut self, key: &str, value: Value) {
        match self
            .0
            .iter_mut()
            .rev()
            .find(|(name, _)| name.as_str() == Some(key))
        {
            Some((_, old)) => *old = value,
            None => self.0.push((Value::from(key), value)),
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// The name of a context; `""`, `None` and what is no mapping are nothing.
    pub(super) fn context(&self, key: &str) -> Option<FileName> {
        self.text(key)?
            .parse()
            .ok()
            .filter(|name: &FileName| name.kind().is_mapping())
    }

    /// A list of file names, without those that cannot be any.
    pub(super) fn names(&self, key: &str, dropped: &mut Dropped) -> Vec<FileName> {
        let items = self.get(key).and_then(Value::as_items).unwrap_or_default();
        let mut names = Vec::with_capacity(items.len());
        for text in items.iter().filter_map(Value::as_str) {
            match text.parse() {
                Ok(name) => names.push(name),
                Err(_) => dropped.note(text),
            }
        }
        names
    }

    pub(super) fn history(&self) -> Vec<HistoryEntry> {
        let items = self
            .get("context_history")
            .and_then(Value::as_items)
            .unwrap_or_default();
        items
            .iter()
            .filter_map(|item| {
                let line = item.as_items()?;
                Some(HistoryEntry {
                    start: date(line.first()?.as_str()?)?,
                    context: line.get(1)?.as_str()?.parse().ok()?,
                    description: line.get(2).and_then(Value::as_str).unwrap_or_default().to_owned(),
                })
            })
            .collect()
    }

    /// A base URL: `{obs: url}`, or in old servers `{"unchecked": {obs: url}, ...}`.
    pub(super) fn url(&self, key: &str, observatory: Observatory) -> Option<Url> {
        let urls = self.get(key)?;
        let by_observatory = urls.get("unchecked").unwrap_or(urls);
        by_observatory
            .get(observatory.as_str())
            .and_then(Value::as_str)
            .filter(|url| !url.is_empty())
            .map(Url::new)
    }

    /// Replaces every URL with credentials by its text without them.
    pub(super) fn hide_credentials(&mut self) {
        for (_, value) in &mut self.0 {
            hide_credentials(value);
        }
    }

    pub(super) fn count(&self, key: &str) -> Option<usize> {
        match self.get(key)? {
            Value::Int(number) => usize::try_from(*number).ok().filter(|&count| count > 0),
            _ => None,
        }
    }

    pub(super) fn truth(&self, key: &str) -> bool {
        match self.get(key) {
            Some(Value::Bool(truth)) => *truth,
            Some(Value::Int(number)) => *number != 0,
            _ => false,
        }
    }

    /// Whether both say the same but for times and the catalog. What the writer adds is no difference.
    pub(super) fn same_but_for_times(&self, other: &Self, observatory: Observatory) -> bool {
        let lasting = |fields: &Self| {
            let mut pairs = fields.completed(observatory).0;
            pairs.retain(|(key, _)| {
                key.as_str()
                    .is_none_or(|key| !TIMES.contains(&key) && key != "download_metadata")
            });
            pairs.sort_by_cached_key(|(key, _)| literal::write(key));
            pairs
        };
        lasting(self) == lasting(other)
    }

    /// The fields, and those missing without which a client would crash (spec/crds-service 2.2).
    fn completed(&self, observatory: Observatory) -> Self {
        let mut complete = self.clone();
        complete.set("observatory", Value::from(observatory.as_str()));
        if complete.text("latest_context").is_none() && complete.text("operational_context").is_none() {
            complete.set("operational_context", Value::from(""));
        }
        for (key, default) in [
            ("bad_files_list", Value::List(Vec::new())),
            ("connected", Value::Bool(false)),
            ("edit_context", Value::from("")),
            ("force_remote_mode", Value::Int(0)),
            ("last_synced", Value::from("")),
            ("mappings", Value::List(Vec::new())),
            ("server", Value::from("")),
            ("status", Value::from("cache")),
            ("versions_context", Value::from("")),
        ] {
            if complete.get(key).is_none() {
                complete.set(key, default);
            }
        }
        complete
    }

    /// The fields that a server gives, those among them without which a client would crash.
    pub(super) fn to_be_served(&self, observatory: Observatory) -> Self {
        let mut served = self.completed(observatory);
        let is_added = |key: &str| matches!(key, "server" | "status" | "connected" | "pickle_url");
        served.0.retain(|(key, _)| !key.as_str().is_some_and(is_added));
        served
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        let pairs = self.0.iter().map(|(key, value)| {
            let key = key.as_str().map_or_else(|| literal::write(key), str::to_owned);
            (key, to_json(value))
        });
        serde_json::Value::Object(pairs.collect())
    }

    pub(super) fn to_literal(&self, observatory: Observatory) -> String {
        let mut lines: Vec<String> = self
            .completed(observatory)
            .0
            .iter()
            .map(|(key, value)| format!("{}: {}", literal::write(key), literal::write(value)))
            .collect();
        lines.sort();
        format!("{{{}}}\n", lines.join(",\n "))
    }
}

fn hide_credentials(value: &mut Value) {
    match value {
        Value::Str(text) if text.contains("://") => {
            // One pass: a description may be of many megabytes of such words.
            *text = text
                .split_inclusive(char::is_whitespace)
                .map(|part| {
                    let word = part.trim_end();
                    if word.contains("://") {
                        part.replacen(word, Url::new(word).as_str(), 1)
                    } else {
                        part.to_owned()
                    }
                })
                .collect();
        }
        Value::List(items) | Value::Tuple(items) => items.iter_mut().for_each(hide_credentials),
        Value::Dict(pairs) => pairs.iter_mut().for_each(|(_, value)| hide_credentials(value)),
        _ => {}
    }
}

/// The three forms of dates (spec/crds-service 2.1): with an offset UTC is meant, without one the server's own time.
fn date(text: &str) -> Option<DateTime> {
    match text.parse::<Timestamp>() {
        Ok(instant) => Some(Offset::UTC.to_datetime(instant)),
        Err(_) => text.parse().ok(),
    }
}

/// A JSON value as a literal.
pub(super) fn from_json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::None,
        serde_json::Value::Bool(truth) => Value::Bool(truth),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Value::Int(number),
            (_, Some(number), _) => Value::BigInt(number.to_string()),
            (.., number) => Value::Float(number.unwrap_or_default()),
        },
        serde_json::Value::String(text) => Value::Str(text),
        serde_json::Value::Array(items) => Value::List(items.into_iter().map(from_json).collect()),
        serde_json::Value::Object(fields) => Value::Dict(
            fields
                .into_iter()
                .map(|(key, value)| (Value::Str(key), from_json(value)))
                .collect(),
        ),
    }
}

/// A literal as a JSON value: tuples become arrays, keys that are no texts their literal notation.
pub(super) fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::None => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int(number) => (*number).into(),
        Value::BigInt(digits) => digits.as_str().into(),
        Value::Float(number) => (*number).into(),
        Value::Str(text) => text.as_str().into(),
        Value::List(items) | Value::Tuple(items) => items.iter().map(to_json).collect(),
        Value::Dict(pairs) => serde_json::Value::Object(
            pairs
                .iter()
                .map(|(key, value)| {
                    let key = key.as_str().map_or_else(|| literal::write(key), str::to_owned);
                    (key, to_json(value))
                })
                .collect(),
        ),
    }
}
