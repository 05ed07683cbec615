//! The services of the observatories: a directory as it lies there, or a cache that fetches from upstream.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::ServeError;
use super::archive::{self, Files, HashProgress};
use super::counters::Counters;
use super::datasets::Datasets;
use super::description::Description;
use super::description_text::DescriptionText;
use super::envelope::RpcError;
use super::rules::Rules;
use super::upstream::Upstream;
use crate::cache::Cache;
use crate::crds::{ContextSpec, FileName, Observatory, ServerInfo, encoded};
use crate::fetch::FetchError;

/// The services of all observatories that are served.
pub(super) struct Services {
    by_observatory: BTreeMap<Observatory, Service>,
    pub(super) counters: Counters,
    /// Turns of calls that are worked on at a time: each has a thread while it is, also while rules are fetched.
    pub(super) turns: Semaphore,
}

/// Calls that are worked on at a time.
const AT_ONCE: usize = 64;

/// The service of one observatory.
pub(super) struct Service {
    pub(super) observatory: Observatory,
    pub(super) place: Place,
    pub(super) rules: Rules,
    pub(super) description: DescriptionText,
}

/// The place of the files that are served.
pub(super) enum Place {
    /// A directory whose files were hashed at the start; they are the catalog.
    Directory(Directory),
    /// A cache that fetches what it does not have; the catalog is upstream's.
    Cache(Upstream),
}

/// The files of an observatory in a directory.
pub(super) struct Directory {
    pub(super) files: Arc<Files>,
    pub(super) datasets: Arc<Datasets>,
    info: Arc<ServerInfo>,
}

impl Services {
    /// Those of the files below `root`.
    pub(super) fn of_directory(
        root: &Path,
        datasets: Option<&Path>,
        state: Option<&Path>,
        progress: &(dyn Fn(HashProgress) + Sync),
    ) -> Result<Self, ServeError> {
        let datasets = Arc::new(datasets.map(Datasets::read).transpose()?.unwrap_or_default());
        let service = |(observatory, files)| {
            let files = Arc::new(files);
            let info = described(root, observatory, &files)?;
            let service = Service {
                observatory,
                rules: Rules::of_files(observatory, Arc::clone(&files)),
                description: DescriptionText::default(),
                place: Place::Directory(Directory {
                    files,
                    datasets: Arc::clone(&datasets),
                    info: Arc::new(info),
                }),
            };
            Ok((observatory, service))
        };
        let found = archive::read(root, state, progress)?.into_iter();
        Ok(Self {
            by_observatory: found.map(service).collect::<Result<_, ServeError>>()?,
            counters: Counters::default(),
            turns: Semaphore::new(AT_ONCE),
        })
    }

    /// Those of a cache. To be called on the runtime of its tasks.
    pub(super) fn of_cache(cache: &Cache) -> Self {
        let service = |&observatory: &Observatory| {
            let upstream = Upstream::new(cache.clone(), observatory);
            let service = Service {
                observatory,
                rules: Rules::of_cache(observatory, cache),
                description: DescriptionText::default(),
                place: Place::Cache(upstream),
            };
            (observatory, service)
        };
        let observatories = cache.fetcher().catalogs().observatories().iter();
        Self {
            by_observatory: observatories.map(service).collect(),
            counters: Counters::default(),
            turns: Semaphore::new(AT_ONCE),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Service> {
        self.by_observatory.values()
    }

    pub(super) fn get(&self, observatory: Observatory) -> Option<&Service> {
        self.by_observatory.get(&observatory)
    }
}

impl Service {
    /// The description by which everything is answered: upstream's last good one, which is waited for where there is none.
    pub(super) async fn info(&self) -> Result<Arc<ServerInfo>, FetchError> {
        match &self.place {
            Place::Directory(directory) => Ok(Arc::clone(&directory.info)),
            Place::Cache(upstream) => upstream.info().await,
        }
    }

    /// The other server that is served from a cache.
    pub(super) fn upstream(&self) -> Option<&Upstream> {
        match &self.place {
            Place::Directory(_) => None,
            Place::Cache(upstream) => Some(upstream),
        }
    }

    /// Keeps what was learnt for the next start.
    pub(super) async fn save(&self) {
        if let Some(upstream) = self.upstream() {
            upstream.save().await;
        }
    }

    /// The number of files in the catalog, as far as it is loaded.
    pub(super) fn file_count(&self) -> usize {
        match &self.place {
            Place::Directory(directory) => directory.files.len(),
            Place::Cache(upstream) => upstream.known().map_or(0, |info| info.catalog().len()),
        }
    }

    /// The datasets in place of an archive.
    pub(super) fn datasets(&self) -> Arc<Datasets> {
        match &self.place {
            Place::Directory(directory) => Arc::clone(&directory.datasets),
            Place::Cache(_) => Arc::default(),
        }
    }

    /// The literal name of the mapping that a text means. Blocking: a cache may have to ask upstream.
    pub(super) fn resolve_context(&self, info: &ServerInfo, text: &str) -> Result<FileName, RpcError> {
        let unknown = |why: &dyn std::fmt::Display| RpcError::new("UnknownContext", why);
        let spec = text.parse::<ContextSpec>().map_err(|error| unknown(&error))?;
        if let Place::Cache(upstream) = &self.place {
            return upstream.context(&spec);
        }
        let resolved = spec.resolve(info).map_err(|error| unknown(&error))?;
        if resolved.part.is_some() {
            return Err(unknown(&format_args!(
                "'{text}': only whole contexts are resolved by this server"
            )));
        }
        if resolved.mapping.kind().is_mapping() && info.catalog().contains(resolved.mapping.as_str()) {
            Ok(resolved.mapping)
        } else {
            Err(unknown(&format_args!(
                "'{text}' means {}, which is not among the files of this server",
                resolved.mapping
            )))
        }
    }
}

/// The description of the files in a directory.
fn described(root: &Path, observatory: Observatory, files: &Files) -> Result<ServerInfo, ServeError> {
    let unusable = |error: &dyn std::fmt::Display| ServeError::Interrupted(error.to_string());
    let description = Description::read(root, observatory, files);
    let catalog =
        encoded::encode(metadata(files).to_string().as_bytes()).map_err(|error| unusable(&error))?;
    let mappings = files.keys().filter(|name| name.kind().is_mapping());
    let described = description.to_json(observatory, mappings, &catalog);
    ServerInfo::from_json_value(described).map_err(|error| unusable(&error))
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
