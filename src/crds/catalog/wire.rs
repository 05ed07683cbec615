//! The catalog as servers write it: `{name: {"size": "<decimal>", "sha1sum": "<hex>"}}` (spec/crds-service 2.1), read
//! entry by entry, since as a whole it is many times larger than what is kept of it.

use std::fmt;

use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::{Catalog, CatalogEntry, Dropped};
use crate::crds::name::FileName;

/// More files than this are not a catalog but an attack.
const MAX_FILES: usize = 5_000_000;

impl Catalog {
    /// Reads the metadata of files as JSON text: what `download_metadata` holds, or `get_file_info_map` returns. Names
    /// that cannot be file names are left out and told; unknown files (`"NOT FOUND"`) are left out.
    pub fn from_json(json_text: &[u8]) -> Result<(Self, Dropped), serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(json_text);
        let files = reader.deserialize_map(FilesVisitor)?;
        reader.end()?;
        Ok((Self::new(files.known), files.dropped))
    }

    /// The same as [`Catalog::from_json`], from a value already parsed.
    pub fn from_map(files: &Map<String, Value>) -> (Self, Dropped) {
        let mut found = Files::default();
        for (name, fields) in files {
            found.add(name, fields);
        }
        (Self::new(found.known), found.dropped)
    }

    /// The metadata as JSON text, as servers write it. A file without a size is left out.
    pub fn to_json(&self) -> String {
        let files: Map<String, Value> = self
            .iter()
            .filter_map(|item| {
                let size = item.entry.size?.to_string();
                let sha1 = item
                    .entry
                    .sha1
                    .map_or_else(|| "none".to_owned(), |sum| sum.to_string());
                Some((item.name.to_owned(), json!({"size": size, "sha1sum": sha1})))
            })
            .collect();
        Value::Object(files).to_string()
    }
}

#[derive(Default)]
struct Files {
    known: Vec<(FileName, CatalogEntry)>,
    dropped: Dropped,
}

impl Files {
    fn add(&mut self, name: &str, fields: &Value) {
        let Some(fields) = fields.as_object() else {
            return;
        };
        match name.parse::<FileName>() {
            Ok(name) => self.known.push((
                name,
                CatalogEntry {
                    size: fields.get("size").and_then(size),
                    sha1: fields
                        .get("sha1sum")
                        .and_then(Value::as_str)
                        .and_then(|text| text.parse().ok()),
                },
            )),
            Err(_) => self.dropped.note(name),
        }
    }
}

/// A size is a decimal string; a plain number is taken as well.
fn size(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    }
    .filter(|&bytes| i64::try_from(bytes).is_ok())
}

struct FilesVisitor;

impl<'de> Visitor<'de> for FilesVisitor {
    type Value = Files;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object of file names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Files, A::Error> {
        let mut files = Files::default();
        while let Some((name, fields)) = entries.next_entry::<String, Value>()? {
            files.add(&name, &fields);
            if files.known.len() > MAX_FILES {
                return Err(A::Error::custom(format!(
                    "a catalog of more than {MAX_FILES} files"
                )));
            }
        }
        Ok(files)
    }
}
