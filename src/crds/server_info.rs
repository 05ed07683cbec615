//! A server's description of itself: contexts, catalog, bad files, download URLs (spec/crds-service 2).
//!
//! The same object has two notations, JSON on the wire and a Python literal in `config/<obs>/server_config`. Both are
//! read here; the literal is also written, with fields that are not understood kept as they came.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::civil::DateTime;

use super::catalog::{Catalog, CatalogEntry, Dropped};
use super::encoded::{self, EncodedError};
#[cfg(test)]
use super::json;
use super::literal::{self, Value};
use super::name::{FileName, Observatory};
use super::url::Url;

mod fields;

use fields::Fields;

/// A server's description of itself.
#[derive(Debug, Clone)]
pub(crate) struct ServerInfo {
    observatory: Observatory,
    latest: Option<FileName>,
    operational: Option<FileName>,
    /// The reason why there is no default context although the settings name one.
    no_default: Option<String>,
    edit: Option<FileName>,
    versions: Option<FileName>,
    build: Option<FileName>,
    history: Vec<HistoryEntry>,
    bad_files: BTreeSet<FileName>,
    urls: BaseUrls,
    limits: Limits,
    force_remote_mode: bool,
    catalog: Arc<Catalog>,
    has_metadata: bool,
    dropped: Dropped,
    /// Everything as it came, in the order it came.
    fields: Fields,
}

/// One line of the history of default contexts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HistoryEntry {
    /// Since when the context was the default: UTC where the server gives an offset, else the server's local time.
    pub start: DateTime,
    /// The context.
    pub context: FileName,
    /// The reason of its delivery, in free text.
    pub description: String,
}

/// The URLs that files are downloaded from: names are appended to them. `None` where the server names none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BaseUrls {
    /// Of mappings.
    pub mappings: Option<Url>,
    /// Of references.
    pub references: Option<Url>,
    /// Of `server_config`.
    pub config: Option<Url>,
    /// Of pickles, which are never fetched.
    pub pickles: Option<Url>,
}

/// The limits of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Datasets in a call for best references.
    pub bestrefs_per_rpc: usize,
    /// Datasets in a call for headers.
    pub headers_per_rpc: usize,
}

impl Default for Limits {
    /// The limits that the Python client assumes of a server that does not say.
    fn default() -> Self {
        Self {
            bestrefs_per_rpc: 500,
            headers_per_rpc: 500,
        }
    }
}

/// The reason for which a text is no description of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServerInfoError {
    /// Not JSON.
    #[error("the server's description is not JSON: {0}")]
    #[cfg(test)]
    Json(String),
    /// Not a Python literal.
    #[error("server_config is not a Python literal: {0}")]
    Literal(#[from] literal::LiteralError),
    /// Something else than an object.
    #[error("the server's description is not an object of fields")]
    NotAnObject,
    /// Without its observatory nothing else can be understood.
    #[error("the server's description names no observatory that is known (found: {0})")]
    Observatory(String),
    /// The catalog in it cannot be read.
    #[error("the catalog in the server's description cannot be read: {0}")]
    Encoded(#[from] EncodedError),
    /// The catalog in it is not one.
    #[error("the catalog in the server's description cannot be read: {0}")]
    Catalog(String),
}

impl ServerInfo {
    /// Reads the result of `get_server_info`, as JSON text.
    #[cfg(test)]
    pub(crate) fn from_json(text: &str) -> Result<Self, ServerInfoError> {
        let value = json::parse(text.as_bytes(), json::MAX_TREE)
            .map_err(|error| ServerInfoError::Json(error.to_string()))?;
        Self::from_json_value(value)
    }

    /// Reads the result of `get_server_info`, a value already parsed.
    pub(crate) fn from_json_value(value: serde_json::Value) -> Result<Self, ServerInfoError> {
        Self::from_value(fields::from_json(value))
    }

    /// Reads the content of a `server_config` file.
    pub(crate) fn from_literal(text: &str) -> Result<Self, ServerInfoError> {
        Self::from_value(literal::parse(text)?)
    }

    /// The description of a server that was never reached: valid for every reader, and without a single file.
    pub(crate) fn empty(observatory: Observatory) -> Self {
        Self {
            observatory,
            latest: None,
            operational: None,
            no_default: None,
            edit: None,
            versions: None,
            build: None,
            history: Vec::new(),
            bad_files: BTreeSet::new(),
            urls: BaseUrls::default(),
            limits: Limits::default(),
            force_remote_mode: false,
            catalog: Arc::default(),
            has_metadata: false,
            dropped: Dropped::default(),
            fields: Fields::default(),
        }
    }

    fn from_value(value: Value) -> Result<Self, ServerInfoError> {
        let mut fields = Fields::new(value).ok_or(ServerInfoError::NotAnObject)?;
        let observatory: Observatory = match fields.text("observatory") {
            Some(text) => text
                .parse()
                .map_err(|_| ServerInfoError::Observatory(text.chars().take(40).collect()))?,
            None => return Err(ServerInfoError::Observatory("nothing".to_owned())),
        };
        let mut dropped = Dropped::default();
        let metadata = read_metadata(&mut fields, &mut dropped)?;
        let has_metadata = metadata.is_some();
        let catalog = with_listed(metadata.unwrap_or_default(), &fields, &mut dropped);
        let defaults = Limits::default();
        let urls = BaseUrls {
            mappings: fields.url("mapping_url", observatory),
            references: fields.url("reference_url", observatory),
            config: fields.url("config_url", observatory),
            pickles: fields.url("pickle_url", observatory),
        };
        fields.hide_credentials();
        Ok(Self {
            observatory,
            latest: fields.context("latest_context"),
            operational: fields.context("operational_context"),
            no_default: None,
            edit: fields.context("edit_context"),
            versions: fields.context("versions_context"),
            build: fields.context("build_context"),
            history: fields.history(),
            bad_files: fields.names("bad_files_list", &mut dropped).into_iter().collect(),
            urls,
            limits: Limits {
                bestrefs_per_rpc: fields
                    .count("max_bestrefs_per_rpc")
                    .unwrap_or(defaults.bestrefs_per_rpc),
                headers_per_rpc: fields
                    .count("max_headers_per_rpc")
                    .unwrap_or(defaults.headers_per_rpc),
            },
            force_remote_mode: fields.truth("force_remote_mode"),
            catalog: Arc::new(catalog),
            has_metadata,
            dropped,
            fields,
        })
    }

    /// The same description, with the metadata of files that an old server gives only on request
    /// (`get_file_info_map`, spec/crds-service 2.1), as JSON text.
    pub(crate) fn with_metadata(mut self, json_text: &[u8]) -> Result<Self, ServerInfoError> {
        let (catalog, mut dropped) =
            Catalog::from_json(json_text).map_err(|error| ServerInfoError::Catalog(error.to_string()))?;
        let encoded = fields::from_json(encoded::encode(json_text)?);
        self.fields.set("download_metadata", encoded);
        self.catalog = Arc::new(with_listed(catalog, &self.fields, &mut dropped));
        self.has_metadata = true;
        self.dropped = dropped;
        Ok(self)
    }

    /// The same description as the client would note it after a call to the server at `url`.
    #[must_use]
    pub(crate) fn received_from(mut self, url: impl Into<Url>) -> Self {
        self.fields.set("server", Value::from(url.into().as_str()));
        self.fields.set("status", Value::from("server"));
        self.fields.set("connected", Value::Bool(true));
        self
    }

    /// The same description as a server at `base`, `http(s)://host/<obs>`, gives it: files are downloaded from there. What
    /// clients add (`server`, `status`, `connected`) and pickles are left out.
    #[must_use]
    pub(crate) fn served_at(mut self, base: &str) -> Self {
        let observatory = self.observatory;
        self.fields = self.fields.to_be_served(observatory);
        for (key, part) in [
            ("mapping_url", "mappings"),
            ("reference_url", "references"),
            ("config_url", "config"),
        ] {
            let url = format!("{base}/unchecked_get/{part}/{observatory}/");
            let urls = vec![(Value::from(observatory.as_str()), Value::Str(url))];
            self.fields.set(key, Value::Dict(urls));
        }
        self
    }

    /// The result of `get_server_info`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        self.fields.to_json()
    }

    /// The result of `get_context_history`, as the server tells it.
    pub(crate) fn history_json(&self) -> serde_json::Value {
        let history = self.fields.get("context_history").map(fields::to_json);
        history.unwrap_or_else(|| serde_json::Value::Array(Vec::new()))
    }

    /// The same description, which does not say where files are downloaded from.
    #[must_use]
    pub(crate) fn without_urls(self) -> Self {
        Self {
            urls: BaseUrls::default(),
            ..self
        }
    }

    /// The same description with another default context (spec/crds-service 9, trap 13).
    #[must_use]
    pub(crate) fn with_default_context(mut self, context: &FileName) -> Self {
        for key in ["latest_context", "operational_context"] {
            self.fields.set(key, Value::from(context.as_str()));
        }
        self.latest = Some(context.clone());
        self.operational = Some(context.clone());
        self
    }

    /// The same description for a default context of the settings that cannot be resolved. Clients read `wanted` where
    /// the name should be, and fail on it.
    #[must_use]
    pub(crate) fn without_default_context(mut self, wanted: &str, reason: &str) -> Self {
        for key in ["latest_context", "operational_context"] {
            self.fields.set(key, Value::from(wanted));
        }
        self.latest = None;
        self.operational = None;
        self.no_default = Some(reason.to_owned());
        self
    }

    /// The content of a `server_config` file: a Python literal in ASCII with every field that clients need
    /// (spec/crds-service 2.2), one field on a line.
    pub(crate) fn to_literal(&self) -> String {
        self.fields.to_literal(self.observatory)
    }

    /// The content of `bad_files.txt`.
    pub(crate) fn bad_files_text(&self) -> String {
        let names: Vec<&str> = self.bad_files.iter().map(FileName::as_str).collect();
        names.join("\n")
    }

    /// The observatory of the server.
    pub(crate) fn observatory(&self) -> Observatory {
        self.observatory
    }

    /// The default context: `latest_context`, else `operational_context`.
    pub(crate) fn default_context(&self) -> Option<&FileName> {
        self.latest.as_ref().or(self.operational.as_ref())
    }

    /// The reason why there is no default context although the settings name one.
    pub(crate) fn no_default_context(&self) -> Option<&str> {
        self.no_default.as_deref()
    }

    /// The newest context that is being edited.
    pub(crate) fn edit_context(&self) -> Option<&FileName> {
        self.edit.as_ref()
    }

    /// The context for lookups of calibration software versions.
    pub(crate) fn versions_context(&self) -> Option<&FileName> {
        self.versions.as_ref()
    }

    /// The context that newer servers name for the present release of the calibration software.
    pub(crate) fn build_context(&self) -> Option<&FileName> {
        self.build.as_ref()
    }

    /// The default contexts of the past, in the server's order (newest first).
    pub(crate) fn history(&self) -> &[HistoryEntry] {
        &self.history
    }

    /// The context that was the default at `date`.
    pub(crate) fn context_at(&self, date: DateTime) -> Option<&FileName> {
        self.history
            .iter()
            .filter(|entry| entry.start <= date)
            .max_by_key(|entry| entry.start)
            .map(|entry| &entry.context)
    }

    /// The files that were judged invalid.
    pub(crate) fn bad_files(&self) -> &BTreeSet<FileName> {
        &self.bad_files
    }

    /// The URLs that files are downloaded from.
    pub(crate) fn urls(&self) -> &BaseUrls {
        &self.urls
    }

    /// The limits of one call.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether clients in mode `auto` must let the server compute best references.
    pub(crate) fn force_remote_mode(&self) -> bool {
        self.force_remote_mode
    }

    /// Every file: those with metadata, and the listed mappings without (spec/crds-service 9, trap 4).
    pub(crate) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Whether the catalog came along. If not, `get_file_info_map` has it: see [`ServerInfo::with_metadata`].
    pub(crate) fn has_metadata(&self) -> bool {
        self.has_metadata
    }

    /// The names that had to be left out, for a warning.
    pub(crate) fn dropped(&self) -> &Dropped {
        &self.dropped
    }

    /// The time of this description, in the server's words.
    pub(crate) fn synced(&self) -> Option<&str> {
        self.fields.text("last_synced").filter(|when| !when.is_empty())
    }

    /// The URL of the server that gave this description, where it was noted.
    pub(crate) fn server(&self) -> Option<&str> {
        self.fields.text("server").filter(|url| !url.is_empty())
    }

    /// Whether both say the same, but for the time when they said it (spec/crds-service 9, trap 12).
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.observatory == other.observatory
            && self.catalog == other.catalog
            && self.has_metadata == other.has_metadata
            && self.urls == other.urls
            && self.fields.same_but_for_times(&other.fields, self.observatory)
    }
}

/// The catalog in `download_metadata`. A plain one is put into the encoded form, which is smaller and what clients
/// expect.
fn read_metadata(fields: &mut Fields, dropped: &mut Dropped) -> Result<Option<Catalog>, ServerInfoError> {
    let unreadable = |error: serde_json::Error| ServerInfoError::Catalog(error.to_string());
    let (catalog, left_out) = match fields.get("download_metadata") {
        None | Some(Value::None) => return Ok(None),
        Some(value) if value.get("crds_encoded").is_some() => {
            let payload = value
                .get("crds_payload")
                .and_then(Value::as_str)
                .ok_or(EncodedError::NoPayload)?;
            let json_text = encoded::open_payload(payload, encoded::MAX_DECODED)?;
            Catalog::from_json_stream(json_text).map_err(unreadable)?
        }
        Some(value) => {
            let plain = fields::to_json(value).to_string();
            let encoded = fields::from_json(encoded::encode(plain.as_bytes())?);
            fields.set("download_metadata", encoded);
            Catalog::from_json(plain.as_bytes()).map_err(unreadable)?
        }
    };
    dropped.absorb(left_out);
    Ok(Some(catalog))
}

/// The catalog, and the mappings that the server lists but gives no metadata for.
fn with_listed(catalog: Catalog, fields: &Fields, dropped: &mut Dropped) -> Catalog {
    let unknown: Vec<FileName> = fields
        .names("mappings", dropped)
        .into_iter()
        .filter(|name| name.kind().is_mapping() && !catalog.contains(name.as_str()))
        .collect();
    if unknown.is_empty() {
        return catalog;
    }
    let listed = CatalogEntry {
        size: None,
        sha1: None,
    };
    let known = catalog
        .iter()
        .filter_map(|item| Some((item.name.parse().ok()?, item.entry)));
    Catalog::new(known.chain(unknown.into_iter().map(|name| (name, listed))))
}

#[cfg(test)]
mod tests;
