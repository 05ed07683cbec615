//! The values of the nodes of an ASDF tree, by their tags.

use std::borrow::Cow;

use crate::crds::literal::float_text;
use crate::dataset::error::Trouble;
use crate::dataset::flatten::{Tree, Value};
use crate::dataset::python;
use crate::dataset::yaml::scalar::{self, Scalar};
use crate::dataset::yaml::{Document, Id, Kind, Node};

use super::time;

/// Tags of the YAML standard.
const YAML: &str = "tag:yaml.org,2002:";
/// Tags of the ASDF standard.
const ASDF: &str = "tag:stsci.edu:asdf/";
/// Tags whose nodes Python turns into objects that are neither texts nor mappings.
const OBJECTS: [&str; 3] = [ASDF, "tag:astropy.org:astropy/", "tag:stsci.edu:gwcs/"];

/// The tree of an ASDF or YAML file.
pub(super) struct AsdfTree(Document);

/// A node's tag, as far as it matters.
enum Meaning<'a> {
    /// None, or one that changes nothing: guess what a scalar is.
    Plain,
    /// A scalar is text, a collection is what it is, in this class.
    Class(&'a str),
    Time,
    Float,
    Complex,
    /// Some other object, of this class.
    Object(&'a str),
}

fn meaning(tag: Option<&str>) -> Meaning<'_> {
    let Some(tag) = tag else { return Meaning::Plain };
    if let Some(kind) = tag.strip_prefix(YAML) {
        return match kind {
            "str" => Meaning::Class("str"),
            "float" => Meaning::Float,
            _ => Meaning::Plain,
        };
    }
    let Some(rest) = OBJECTS.iter().find_map(|prefix| tag.strip_prefix(prefix)) else {
        return Meaning::Class("TaggedDict");
    };
    let name = rest.rsplit_once('-').map_or(rest, |(name, _)| name);
    match name {
        "core/asdf" => Meaning::Class("AsdfObject"),
        "core/software" => Meaning::Class("Software"),
        "core/history_entry" => Meaning::Class("HistoryEntry"),
        "core/extension_metadata" => Meaning::Class("ExtensionMetadata"),
        "core/subclass_metadata" => Meaning::Class("SubclassMetadata"),
        "core/complex" => Meaning::Complex,
        "time/time" => Meaning::Time,
        "core/ndarray" => Meaning::Object("NDArrayType"),
        "core/integer" => Meaning::Object("IntegerType"),
        "core/externalarray" => Meaning::Object("ExternalArrayReference"),
        "core/constant" => Meaning::Object("Constant"),
        "unit/quantity" => Meaning::Object("Quantity"),
        "unit/unit" | "units/unit" => Meaning::Object("Unit"),
        "table/table" => Meaning::Object("Table"),
        "table/column" => Meaning::Object("Column"),
        "wcs" => Meaning::Object("WCS"),
        // Names of classes only matter to people who read the header: no rule can match them.
        other => Meaning::Object(other.rsplit('/').next().unwrap_or(other)),
    }
}

impl AsdfTree {
    pub(super) fn new(document: Document) -> Self {
        Self(document)
    }

    pub(super) fn root(&self) -> Option<Id> {
        self.0.root()
    }

    /// The entries of the file's history, a line each, if there are any and all can be read.
    pub(super) fn history(&self) -> Option<String> {
        let history = self.0.get(self.root()?, "history")?;
        let entries = match &self.0.node(history).kind {
            Kind::Sequence(_) => history,
            _ => self.0.get(history, "entries")?,
        };
        let Kind::Sequence(entries) = &self.0.node(entries).kind else {
            return None;
        };
        let lines: Option<Vec<String>> = entries.iter().map(|entry| self.history_line(*entry)).collect();
        lines
            .filter(|lines| !lines.is_empty())
            .map(|lines| lines.join("\n"))
    }

    fn history_line(&self, entry: Id) -> Option<String> {
        let time = self.0.node(self.0.get(entry, "time")?);
        let Kind::Scalar { text, .. } = &time.kind else {
            return None;
        };
        let time = time::history_time(text)?;
        let Ok(Value::Text(description)) = self.value(self.0.get(entry, "description")?) else {
            return None;
        };
        Some(format!("{time} :: {description}"))
    }

    /// The pairs of a mapping as a Python dict has them: of equal keys the last value, at the position of the first;
    /// merged mappings (`<<`) before its own pairs; keys that are no texts left out.
    fn dict(&self, id: Id, depth: usize) -> Vec<(Cow<'_, str>, Id)> {
        let mut dict: Vec<(Cow<'_, str>, Id)> = Vec::new();
        let mut at = std::collections::HashMap::new();
        let merged = self
            .0
            .pairs(id)
            .iter()
            .filter(|(key, _)| depth < 8 && self.is_merge(*key));
        let merged = merged.flat_map(|(_, value)| match &self.0.node(*value).kind {
            Kind::Sequence(items) => items
                .iter()
                .rev()
                .flat_map(|id| self.dict(*id, depth + 1))
                .collect(),
            _ => self.dict(*value, depth + 1),
        });
        let own = self.0.pairs(id).iter().filter(|(key, _)| !self.is_merge(*key));
        let own = own.filter_map(|(key, value)| Some((Cow::from(self.0.key(*key)?), *value)));
        for (key, value) in merged.chain(own) {
            let index = *at.entry(key.clone()).or_insert(dict.len());
            match dict.get_mut(index) {
                Some((_, old)) => *old = value,
                None => dict.push((key, value)),
            }
        }
        dict
    }

    fn is_merge(&self, key: Id) -> bool {
        matches!(&self.0.node(key).kind, Kind::Scalar { text, plain: true } if text == "<<")
    }

    fn scalar<'a>(node: &'a Node, text: &'a str, plain: bool) -> Value<'a, Id> {
        match meaning(node.tag.as_deref()) {
            Meaning::Time => time::iso_text(text, "utc")
                .map_or(Value::Opaque("Time".into()), |text| Value::Text(text.into())),
            Meaning::Complex => Value::Text(python::read_complex(text).map_or(Cow::from(text), Cow::from)),
            Meaning::Object(class) => Value::Opaque(class.into()),
            Meaning::Float => match scalar::resolve(text) {
                Scalar::Integer(digits) => Value::Text(digits.parse().map_or(digits, float_text).into()),
                _ => plain_scalar(text),
            },
            Meaning::Plain if plain => plain_scalar(text),
            Meaning::Plain | Meaning::Class(_) => Value::Text(text.into()),
        }
    }

    /// A time written as a mapping.
    fn time(&self, id: Id) -> Option<String> {
        let text = |key: &str| match &self.0.node(self.0.get(id, key)?).kind {
            Kind::Scalar { text, .. } => Some(text.as_str()),
            _ => None,
        };
        let (value, scale) = (text("value")?, text("scale").unwrap_or("utc"));
        match text("format") {
            None | Some("iso" | "isot" | "fits" | "datetime" | "datetime64" | "ymdhms") => {
                time::iso_text(value, scale)
            }
            Some(format) => time::number_text(value, format, scale),
        }
    }
}

impl Tree for AsdfTree {
    type Id = Id;

    fn value(&self, id: Id) -> Result<Value<'_, Id>, Trouble> {
        let node = self.0.node(id);
        let meaning = meaning(node.tag.as_deref());
        Ok(match (&node.kind, meaning) {
            (Kind::Scalar { text, plain }, _) => Self::scalar(node, text, *plain),
            (_, Meaning::Time) => self
                .time(id)
                .map_or(Value::Opaque("Time".into()), |text| Value::Text(text.into())),
            (_, Meaning::Object(class)) => Value::Opaque(class.into()),
            (Kind::Sequence(items), _) => Value::Sequence(items.clone()),
            (Kind::Mapping(_), Meaning::Class(class)) => Value::Mapping(self.dict(id, 0), class),
            (Kind::Mapping(_), _) => Value::Mapping(self.dict(id, 0), "dict"),
        })
    }
}

fn plain_scalar(text: &str) -> Value<'_, Id> {
    match scalar::resolve(text) {
        Scalar::Text => Value::Text(text.into()),
        Scalar::Null => Value::Opaque("NoneType".into()),
        Scalar::Bool(true) => Value::Text("True".into()),
        Scalar::Bool(false) => Value::Text("False".into()),
        Scalar::Integer(digits) => Value::Text(digits.into()),
        Scalar::Float(number) => Value::Text(float_text(number).into()),
        Scalar::Date => Value::Opaque("date".into()),
        Scalar::Timestamp { date, time, micros } => {
            Value::Text(time::timestamp_text(&date, &time, micros).into())
        }
    }
}
