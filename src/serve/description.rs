//! The server's description of itself: contexts, their history, bad files. Taken from the `server_config` that the cache
//! brings along, else made up from the names that are there.

use std::path::Path;

use serde_json::{Value, json};

use super::archive::Files;
use crate::crds::literal::{self, Value as Literal};
use crate::crds::{FileKind, FileName, Observatory};
use crate::dataset::{open_regular, read_text};

/// Larger `server_config` files are not read.
const LIMIT: u64 = 256 << 20;

/// Best references, or headers, that one call may ask for: what every known server says.
pub(super) const MAX_PER_CALL: usize = 1000;

/// The contexts and bad files of an observatory. An empty text is an unknown context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) latest: String,
    pub(super) edit: String,
    pub(super) versions: String,
    pub(super) build: String,
    /// `[start, context, description]`, newest first.
    pub(super) history: Vec<[String; 3]>,
    pub(super) bad_files: Vec<String>,
    pub(super) remote_mode: bool,
}

impl Description {
    /// Reads `config/<obs>/server_config`; missing values follow from the files.
    pub(super) fn read(root: &Path, observatory: Observatory, files: &Files) -> Self {
        let path = root
            .join("config")
            .join(observatory.as_str())
            .join("server_config");
        let mut description = match recorded(&path) {
            Ok(recorded) => recorded.as_ref().map(Self::of_literal).unwrap_or_default(),
            Err(why) => {
                log::warn!("{} is not used: {why}", path.display());
                Self::default()
            }
        };
        if description.latest.is_empty() {
            description.latest = newest_context(files).map(ToString::to_string).unwrap_or_default();
        } else if !files.contains_key(description.latest.as_str()) {
            log::warn!(
                "{}: the default context {} is not among the files of this cache",
                path.display(),
                description.latest
            );
        }
        if description.edit.is_empty() {
            description.edit.clone_from(&description.latest);
        }
        description
    }

    fn of_literal(recorded: &Literal) -> Self {
        let text = |key: &str| {
            recorded
                .get(key)
                .and_then(Literal::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let items = |key: &str| recorded.get(key).and_then(Literal::as_items).unwrap_or_default();
        let latest = Some(text("latest_context")).filter(|context| !context.is_empty());
        Self {
            latest: latest.unwrap_or_else(|| text("operational_context")),
            edit: text("edit_context"),
            versions: text("versions_context"),
            build: text("build_context"),
            history: items("context_history")
                .iter()
                .filter_map(history_entry)
                .collect(),
            bad_files: items("bad_files_list")
                .iter()
                .filter_map(Literal::as_str)
                .map(str::to_owned)
                .collect(),
            remote_mode: match recorded.get("force_remote_mode") {
                Some(Literal::Bool(flag)) => *flag,
                Some(Literal::Int(number)) => *number != 0,
                _ => false,
            },
        }
    }

    /// The result of `get_server_info`, without the places of downloads.
    pub(super) fn to_json<'a>(
        &self,
        observatory: Observatory,
        mappings: impl Iterator<Item = &'a FileName>,
        catalog: &Value,
    ) -> Value {
        json!({
            "observatory": observatory.as_str(),
            "latest_context": self.latest,
            "operational_context": self.latest,
            "edit_context": self.edit,
            "build_context": self.build,
            "versions_context": self.versions,
            "context_history": self.history,
            "mappings": mappings.map(FileName::as_str).collect::<Vec<_>>(),
            "bad_files_list": self.bad_files,
            "force_remote_mode": i32::from(self.remote_mode),
            "download_metadata": catalog,
            "max_bestrefs_per_rpc": MAX_PER_CALL,
            "max_headers_per_rpc": MAX_PER_CALL,
            "crds_version": {"str": concat!("crds-fs-", env!("CARGO_PKG_VERSION"))},
            "last_synced": jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S.%6f").to_string(),
        })
    }
}

/// The literal in a `server_config`, if there is such a file.
fn recorded(path: &Path) -> Result<Option<Literal>, String> {
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let text = read_text(&file, LIMIT).map_err(|error| error.to_string())?;
    literal::parse(&text).map(Some).map_err(|error| error.to_string())
}

fn history_entry(entry: &Literal) -> Option<[String; 3]> {
    match entry.as_items()? {
        [start, context, rest @ ..] => Some([
            start.as_str()?.to_owned(),
            context.as_str()?.to_owned(),
            rest.first()
                .and_then(Literal::as_str)
                .unwrap_or_default()
                .to_owned(),
        ]),
        _ => None,
    }
}

/// The pipeline context with the highest number: names are numbered, a longer number is a higher one.
fn newest_context(files: &Files) -> Option<&FileName> {
    files
        .keys()
        .filter(|name| name.kind() == FileKind::Pmap)
        .max_by_key(|name| (name.as_str().len(), name.as_str()))
}
