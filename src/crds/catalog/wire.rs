//! The catalog as servers write it: `{name: {"size": "<decimal>", "sha1sum": "<hex>"}}` (spec/crds-service 2.1), read
//! entry by entry, since as a whole it is many times larger than what is kept of it.

use std::fmt;
use std::io::Read;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
#[cfg(test)]
use serde_json::{Map, Value, json};

use super::{Catalog, CatalogEntry, Dropped};
use crate::crds::digest::Sha1Sum;
use crate::crds::name::FileName;

/// More files than this are not a catalog but an attack.
const MAX_FILES: usize = 1_000_000;

impl Catalog {
    /// Reads the metadata of files as JSON text: what `download_metadata` holds, or `get_file_info_map` returns. Names
    /// that cannot be file names are left out and told; unknown files (`"NOT FOUND"`) are left out.
    pub(crate) fn from_json(json_text: &[u8]) -> Result<(Self, Dropped), serde_json::Error> {
        Self::read(serde_json::Deserializer::from_slice(json_text))
    }

    /// The same as [`Catalog::from_json`], from a stream: the text is never in memory as a whole.
    pub(crate) fn from_json_stream(json_text: impl Read) -> Result<(Self, Dropped), serde_json::Error> {
        let buffered = std::io::BufReader::with_capacity(64 << 10, json_text);
        Self::read(serde_json::Deserializer::from_reader(buffered))
    }

    fn read<'de>(
        mut reader: serde_json::Deserializer<impl serde_json::de::Read<'de>>,
    ) -> Result<(Self, Dropped), serde_json::Error> {
        let files = reader.deserialize_map(FilesVisitor)?;
        reader.end()?;
        Ok((Self::new(files.known), files.dropped))
    }

    /// The metadata as JSON text, as servers write it. A file without a size is left out.
    #[cfg(test)]
    pub(crate) fn to_json(&self) -> String {
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
    fn add(&mut self, name: &str, entry: Option<CatalogEntry>) {
        let Some(entry) = entry else { return };
        match name.parse::<FileName>() {
            Ok(name) => self.known.push((name, entry)),
            Err(_) => self.dropped.note(name),
        }
    }
}

/// The entry of one file; nothing where that is no object of fields. Only what is wanted is kept.
struct Entry(Option<CatalogEntry>);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(EntryVisitor).map(Self)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Option<CatalogEntry>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the fields of a file")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut entry = CatalogEntry {
            size: None,
            sha1: None,
        };
        while let Some(key) = fields.next_key::<String>()? {
            match key.as_str() {
                "size" => entry.size = fields.next_value::<Scalar>()?.size(),
                "sha1sum" => entry.sha1 = fields.next_value::<Scalar>()?.sha1(),
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Some(entry))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// A short text or a number; nothing for every other value.
enum Scalar {
    Text(String),
    Number(u64),
    Other,
}

impl Scalar {
    /// A size is a decimal string; a plain number is taken as well.
    fn size(&self) -> Option<u64> {
        match self {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Number(number) => Some(*number),
            Self::Other => None,
        }
        .filter(|&bytes| i64::try_from(bytes).is_ok())
    }

    fn sha1(&self) -> Option<Sha1Sum> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::Number(_) | Self::Other => None,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text or a number")
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.chars().take(100).collect()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Scalar, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Scalar, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

struct FilesVisitor;

impl<'de> Visitor<'de> for FilesVisitor {
    type Value = Files;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object of file names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Files, A::Error> {
        let mut files = Files::default();
        while let Some((name, fields)) = entries.next_entry::<String, Entry>()? {
            files.add(&name, fields.0);
            if files.known.len() > MAX_FILES {
                return Err(A::Error::custom(format!(
                    "a catalog of more than {MAX_FILES} files"
                )));
            }
        }
        Ok(files)
    }
}
