//! The datasets that the server knows: a file in place of the archive that stands behind a real server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::crds::Observatory;

/// Larger files are refused: 256 MiB of JSON is a mistake.
const LIMIT: u64 = 256 << 20;

/// The datasets file is not usable.
#[derive(Debug, thiserror::Error)]
pub enum DatasetsError {
    /// It cannot be read.
    #[error("cannot read the datasets file {}", path.display())]
    Read {
        /// The datasets file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// It is too large.
    #[error("the datasets file {} is larger than {LIMIT} bytes", .0.display())]
    TooLarge(PathBuf),
    /// It has another form.
    #[error(
        "the datasets file {} is not of the form {{id: {{\"header\": {{...}}, \"bestrefs\": {{context: {{type: value}}}}}}}}",
        path.display()
    )]
    Parse {
        /// The datasets file.
        path: PathBuf,
        /// The reason.
        source: serde_json::Error,
    },
    /// An id does not follow the grammar of spec/crds-service 1.4.
    #[error("the datasets file {} has a dataset id that no client can ask for: '{id}'", path.display())]
    Id {
        /// The datasets file.
        path: PathBuf,
        /// The id.
        id: String,
    },
}

/// The entry of one dataset.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dataset {
    /// Its matching parameters.
    #[serde(default)]
    pub(super) header: Map<String, Value>,
    /// Its best references by context and type.
    #[serde(default)]
    pub(super) bestrefs: BTreeMap<String, BTreeMap<String, Value>>,
}

/// All datasets, by upper-case id.
#[derive(Debug, Default)]
pub(super) struct Datasets(BTreeMap<String, Dataset>);

impl Datasets {
    pub(super) fn read(path: &Path) -> Result<Self, DatasetsError> {
        let failed = |source| DatasetsError::Read {
            path: path.to_owned(),
            source,
        };
        if std::fs::metadata(path).map_err(failed)?.len() > LIMIT {
            return Err(DatasetsError::TooLarge(path.to_owned()));
        }
        let text = std::fs::read(path).map_err(failed)?;
        let datasets: BTreeMap<String, Dataset> =
            serde_json::from_slice(&text).map_err(|source| DatasetsError::Parse {
                path: path.to_owned(),
                source,
            })?;
        match datasets.keys().find(|id| !is_id(id)) {
            Some(id) => Err(DatasetsError::Id {
                path: path.to_owned(),
                id: id.clone(),
            }),
            None => Ok(Self(
                datasets
                    .into_iter()
                    .map(|(id, dataset)| (id.to_ascii_uppercase(), dataset))
                    .collect(),
            )),
        }
    }

    /// The datasets of an observatory, by full id.
    pub(super) fn of(&self, observatory: Observatory) -> impl Iterator<Item = (&str, &Dataset)> {
        self.0
            .iter()
            .filter(move |(_, dataset)| dataset.belongs_to(observatory))
            .map(|(id, dataset)| (id.as_str(), dataset))
    }

    /// Finds the dataset that a client means, and the key under which it is answered; else the text of the refusal.
    pub(super) fn find(&self, observatory: Observatory, asked: &str) -> Result<(String, &Dataset), String> {
        if !is_id(asked) {
            return Err(format!("NOT FOUND bad ID format for '{asked}'"));
        }
        let id = asked.to_ascii_uppercase();
        // As answers name a dataset that has no product of its own.
        let id = match id.split_once(':') {
            Some((product, exposure)) if product == exposure => exposure.to_owned(),
            _ => id,
        };
        let dotted = id.rsplit_once('_').map(|(head, tail)| format!("{head}.{tail}"));
        let forms = || std::iter::once(&id).chain(&dotted);
        let exact = |key: &str| self.0.get_key_value(key);
        forms()
            .find_map(|form| exact(form).or_else(|| exact(&format!("{form}:{form}"))))
            .or_else(|| {
                self.0
                    .iter()
                    .find(|(key, _)| forms().any(|form| key.split(':').any(|half| half == form)))
            })
            .filter(|(_, dataset)| dataset.belongs_to(observatory))
            .map(|(key, dataset)| {
                (
                    if key.contains(':') {
                        key.clone()
                    } else {
                        format!("{key}:{key}")
                    },
                    dataset,
                )
            })
            .ok_or_else(|| format!("NOT FOUND dataset ID does not exist '{id}'"))
    }

    /// Every type that some dataset has an answer for.
    pub(super) fn types(&self, observatory: Observatory) -> BTreeSet<String> {
        self.of(observatory)
            .flat_map(|(_, dataset)| dataset.bestrefs.values())
            .flat_map(|types| types.keys().cloned())
            .collect()
    }
}

impl Dataset {
    /// A dataset with answers belongs to the observatory of their contexts, one without to any that is asked for it.
    fn belongs_to(&self, observatory: Observatory) -> bool {
        self.bestrefs.is_empty()
            || self
                .bestrefs
                .keys()
                .any(|context| context.split(['_', '.']).next() == Some(observatory.as_str()))
    }

    /// The instrument that the header names, in lower case.
    pub(super) fn instrument(&self) -> Option<String> {
        ["INSTRUME", "META.INSTRUMENT.NAME", "ROMAN.META.INSTRUMENT.NAME"]
            .into_iter()
            .find_map(|key| self.header.get(key))
            .and_then(Value::as_str)
            .map(str::to_ascii_lowercase)
    }
}

/// `[A-Za-z0-9_.+-]{1,128}`, optionally `:` and the same again.
fn is_id(text: &str) -> bool {
    let half = |half: &str| {
        (1..=128).contains(&half.len())
            && half
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'+' | b'-'))
    };
    match text.split_once(':') {
        Some((product, exposure)) => half(product) && half(exposure),
        None => half(text),
    }
}
