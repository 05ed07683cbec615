//! The services of the observatories, made once at start: everything the server knows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::ServeError;
use super::archive::{self, Files, HashProgress};
use super::counters::Counters;
use super::datasets::Datasets;
use super::description::Description;
use super::envelope::RpcError;
use super::rules::Rules;
use crate::crds::{ContextSpec, FileKind, FileName, Observatory, ServerInfo, encoded};

/// The services of all observatories in the cache.
pub(super) struct Services {
    by_observatory: BTreeMap<Observatory, Service>,
    pub(super) datasets: Datasets,
    pub(super) counters: Counters,
}

/// The service of one observatory: its files and their descriptions.
pub(super) struct Service {
    pub(super) observatory: Observatory,
    pub(super) files: Arc<Files>,
    pub(super) description: Description,
    /// `download_metadata`, encoded once.
    pub(super) catalog: Value,
    /// The same description as clients understand it.
    known: ServerInfo,
    pub(super) rules: Rules,
}

impl Services {
    pub(super) fn load(
        root: &Path,
        datasets: Option<&Path>,
        state: Option<&Path>,
        progress: &(dyn Fn(HashProgress) + Sync),
    ) -> Result<Self, ServeError> {
        let datasets = datasets.map(Datasets::read).transpose()?.unwrap_or_default();
        let by_observatory = archive::read(root, state, progress)?
            .into_iter()
            .map(|(observatory, files)| Ok((observatory, Service::new(root, observatory, files)?)))
            .collect::<Result<_, ServeError>>()?;
        Ok(Self {
            by_observatory,
            datasets,
            counters: Counters::default(),
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Service> {
        self.by_observatory.values()
    }

    pub(super) fn get(&self, observatory: Observatory) -> Option<&Service> {
        self.by_observatory.get(&observatory)
    }
}

impl Service {
    fn new(root: &Path, observatory: Observatory, files: Files) -> Result<Self, ServeError> {
        let description = Description::read(root, observatory, &files);
        let catalog = encoded::encode(metadata(&files).to_string().as_bytes())
            .map_err(|error| ServeError::Interrupted(error.to_string()))?;
        let known = ServerInfo::empty(observatory);
        let files = Arc::new(files);
        let mut service = Self {
            observatory,
            files: Arc::clone(&files),
            description,
            catalog,
            known,
            rules: Rules::new(observatory, files),
        };
        service.known = ServerInfo::from_json_value(service.info(""))
            .map_err(|error| ServeError::Interrupted(error.to_string()))?;
        Ok(service)
    }

    /// The result of `get_server_info` for a client that knows the server as `base`.
    pub(super) fn info(&self, base: &str) -> Value {
        let mappings = self.files.keys().filter(|name| name.kind().is_mapping());
        self.description
            .to_json(self.observatory, mappings, &self.catalog, base)
    }

    /// The literal name of the mapping that a text means.
    pub(super) fn resolve_context(&self, text: &str) -> Result<FileName, RpcError> {
        let unknown = |why: &dyn std::fmt::Display| RpcError::new("UnknownContext", why);
        let resolved = text
            .parse::<ContextSpec>()
            .and_then(|spec| spec.resolve(&self.known))
            .map_err(|error| unknown(&error))?;
        if resolved.part.is_some() {
            return Err(unknown(&format_args!(
                "'{text}': only whole contexts are resolved by this server"
            )));
        }
        match self.files.get_key_value(resolved.mapping.as_str()) {
            Some((name, _)) if name.kind().is_mapping() => Ok(name.clone()),
            _ => Err(unknown(&format_args!(
                "'{text}' means {}, which is not among the files of this server",
                resolved.mapping
            ))),
        }
    }

    /// The types that the names of the rules tell of: `<obs>_<instrument>_<type>_<serial>.rmap`.
    pub(super) fn types(&self) -> BTreeSet<String> {
        self.files
            .keys()
            .filter(|name| name.kind() == FileKind::Rmap)
            .filter_map(|name| name.as_str().split(['_', '.']).nth(2))
            .map(str::to_owned)
            .collect()
    }
}

/// The catalog as clients know it: sizes are texts.
fn metadata(files: &Files) -> Value {
    let entry =
        |file: &archive::ServedFile| json!({"size": file.size.to_string(), "sha1sum": file.sha1.to_string()});
    Value::Object(
        files
            .iter()
            .map(|(name, file)| (name.to_string(), entry(file)))
            .collect::<Map<_, _>>(),
    )
}
