//! The descriptions of files in calls. All of a catalog have some fifty megabytes as JSON, and several times as many as
//! values: they are made while they are sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::vec;

use serde_json::{Map, Value};

use super::envelope::{Params, RpcError};
use crate::crds::catalog::CatalogItem;
use crate::crds::{CatalogEntry, Observatory, ServerInfo};

/// The method that describes many files.
pub(super) const FILE_INFO_MAP: &str = "get_file_info_map";

/// The size from which on a part of the answer is sent, in bytes.
const PART: usize = 32 << 10;

/// The fields of a file, as texts.
pub(super) fn fields(
    observatory: Observatory,
    info: &ServerInfo,
    file: CatalogItem<'_>,
) -> Map<String, Value> {
    let text = file.name;
    let bad = info.bad_files().contains(text);
    let CatalogEntry { size, sha1 } = file.entry;
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let parts: Vec<_> = text
        .rsplit_once('.')
        .map_or(text, |(stem, _)| stem)
        .split('_')
        .collect();
    let named = parts.first() == Some(&observatory.as_str());
    let part = |index: usize| {
        parts
            .get(index)
            .copied()
            .filter(|_| named && parts.len() > index + 1)
            .unwrap_or("none")
    };
    let pairs = [
        ("name", text.to_owned()),
        ("observatory", observatory.to_string()),
        ("instrument", part(1).to_owned()),
        ("filekind", part(2).to_owned()),
        (
            "type",
            if file.kind().is_mapping() {
                "mapping"
            } else {
                "reference"
            }
            .to_owned(),
        ),
        ("size", or_none(size.map(|size| size.to_string()))),
        ("sha1sum", or_none(sha1.map(|sha1| sha1.to_string()))),
        ("state", "operational".to_owned()),
        ("rejected", bad.to_string()),
        ("blacklisted", "false".to_owned()),
    ];
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), Value::String(value)))
        .collect()
}

/// The answer of [`FILE_INFO_MAP`]: the parts of a JSON object, one after the other.
pub(super) struct FileInfoMap {
    observatory: Observatory,
    info: Arc<ServerInfo>,
    /// The fields that are wanted, `None` for all.
    wanted: Option<BTreeSet<String>>,
    /// The files that are left to be described.
    left: Left,
    has_begun: bool,
    has_ended: bool,
}

/// The files that are left to be described.
enum Left {
    /// Those of the catalog from this index on.
    Catalogued(usize),
    /// Those that were named.
    Named(vec::IntoIter<String>),
}

impl FileInfoMap {
    /// The answer to a call with these parameters.
    pub(super) fn new(
        observatory: Observatory,
        info: Arc<ServerInfo>,
        params: &Params,
    ) -> Result<Self, RpcError> {
        params.check_observatory(0, observatory)?;
        let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
        let files = params.optional_texts(1, "files")?.map(owned);
        let wanted = params.optional_texts(2, "fields")?.map(owned);
        Ok(Self {
            observatory,
            info,
            wanted,
            left: match files {
                None => Left::Catalogued(0),
                Some(names) => Left::Named(Vec::from_iter(names).into_iter()),
            },
            has_begun: false,
            has_ended: false,
        })
    }

    /// The next file by name, with its description.
    fn described(&mut self) -> Option<(String, Value)> {
        let catalog = self.info.catalog();
        let (name, file) = match &mut self.left {
            Left::Catalogued(index) => {
                let file = catalog.at(*index)?;
                *index += 1;
                (file.name.to_owned(), Some(file))
            }
            Left::Named(names) => {
                let name = names.next()?;
                let file = catalog.index_of(&name).and_then(|index| catalog.at(index));
                (name, file)
            }
        };
        let Some(file) = file else {
            return Some((name, "NOT FOUND".into()));
        };
        let mut fields = fields(self.observatory, &self.info, file);
        if let Some(wanted) = &self.wanted {
            fields.retain(|key, _| wanted.contains(key));
        }
        Some((name, Value::Object(fields)))
    }
}

impl Iterator for FileInfoMap {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.has_ended {
            return None;
        }
        let mut part = String::with_capacity(PART + (PART >> 2));
        while part.len() < PART {
            let Some((name, description)) = self.described() else {
                part.push_str(if self.has_begun { "}" } else { "{}" });
                self.has_ended = true;
                break;
            };
            part.push(if self.has_begun { ',' } else { '{' });
            self.has_begun = true;
            part.push_str(&Value::String(name).to_string());
            part.push(':');
            part.push_str(&description.to_string());
        }
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::envelope::Call;
    use super::*;

    #[test]
    fn many_files_are_described_in_parts() {
        let about = json!({"size": "1", "sha1sum": "0".repeat(40)});
        let all = (0..2000).map(|number| (format!("hst_acs_dark_{number:05}.fits"), about.clone()));
        let all = Value::Object(all.collect()).to_string();
        let info = ServerInfo::empty(Observatory::Hst).with_metadata(all.as_bytes());
        let info = Arc::new(info.unwrap());
        let parts = |params: Value| {
            let call = Call::parse(
                json!({"method": FILE_INFO_MAP, "params": params})
                    .to_string()
                    .as_bytes(),
            );
            let map = FileInfoMap::new(Observatory::Hst, Arc::clone(&info), &call.unwrap().params);
            map.unwrap().collect::<Vec<_>>()
        };
        let value = |parts: &[String]| serde_json::from_str::<Value>(&parts.concat()).unwrap();
        let whole = parts(json!(["hst", null, null]));
        assert!(whole.len() > 10 && whole.iter().all(|part| part.len() < 2 * PART));
        let described = value(&whole);
        assert_eq!(described.as_object().unwrap().len(), 2000);
        assert_eq!(described["hst_acs_dark_01999.fits"]["filekind"], "dark");
        let some = parts(json!([
            "hst",
            ["b\"", "hst_acs_dark_00001.fits", "b\""],
            ["size"]
        ]));
        let expected = json!({"b\"": "NOT FOUND", "hst_acs_dark_00001.fits": {"size": "1"}});
        assert_eq!(value(&some), expected);
        assert_eq!(value(&parts(json!(["hst", []]))), json!({}));
    }
}
