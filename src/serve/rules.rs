//! Closures, parameters and best references by the rules that are served.

use std::io;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::archive::Files;
use super::envelope::RpcError;
use crate::cache::Cache;
use crate::crds::{FileKey, FileName, Observatory, Sha1Sum};
use crate::dataset::{open_regular, read_text};
use crate::fetch::Fetcher;
use crate::rules::{
    Closure, Header, HeaderValue, LoadError, LoadErrorKind, LookupError, LookupOptions, MAX_TEXT_BYTES,
    Memory, OpenContext, Provider, Target, Texts,
};

/// The reason for which a file that somebody has put in place of a catalogued one is not given out.
pub(super) const OWN_FILE: &str =
    "another file is in its place in the cache of this server: whoever keeps it can take that away";

/// The rules of one observatory, compiled when they are asked for.
pub(super) struct Rules {
    observatory: Observatory,
    provider: Provider<ServedTexts>,
}

/// The mappings of one observatory.
enum ServedTexts {
    /// Those in a directory.
    Files(Arc<Files>),
    /// Those of upstream's catalog, which are fetched when they are asked for.
    Cache(Observatory, Fetcher),
}

impl Texts for ServedTexts {
    /// The SHA-1 that upstream's catalog gives.
    type Version = Option<Sha1Sum>;

    /// Blocking: waits until the mapping is there.
    fn text(&self, name: &str) -> Result<String, LoadError> {
        let unreadable = |error: &dyn std::fmt::Display| {
            LoadError::new(LoadErrorKind::Absent, format!("cannot read '{name}': {error}"))
        };
        match self {
            Self::Files(files) => {
                let file = files.get(name).ok_or_else(|| LoadError::absent(name))?;
                let text = open_regular(&file.path).and_then(|file| read_text(&file, MAX_TEXT_BYTES));
                text.map_err(|error: io::Error| unreadable(&error))
            }
            Self::Cache(observatory, fetcher) => {
                let key = FileKey {
                    observatory: *observatory,
                    name: name.parse().map_err(|_| LoadError::absent(name))?,
                };
                let provided = fetcher.runtime().block_on(fetcher.provide(&key).wait());
                let provided = provided.map_err(|error| unreadable(&error))?;
                if provided.entry.is_none() {
                    return Err(unreadable(&OWN_FILE));
                }
                read_text(&provided.file, MAX_TEXT_BYTES).map_err(|error| unreadable(&error))
            }
        }
    }

    fn version(&self, name: &str) -> Option<Self::Version> {
        match self {
            Self::Files(_) => None,
            Self::Cache(observatory, fetcher) => {
                let info = fetcher.catalogs().current(*observatory)?;
                Some(info.catalog().get(name).and_then(|entry| entry.sha1))
            }
        }
    }
}

impl Rules {
    /// The rules among the files of a directory.
    pub(super) fn of_files(observatory: Observatory, files: Arc<Files>) -> Self {
        Self::new(observatory, ServedTexts::Files(files), LookupOptions::default())
    }

    /// The rules of upstream. Every method may wait for their transfers.
    pub(super) fn of_cache(observatory: Observatory, cache: &Cache) -> Self {
        let texts = ServedTexts::Cache(observatory, cache.fetcher().clone());
        Self::new(observatory, texts, cache.resolver().lookup_options())
    }

    fn new(observatory: Observatory, texts: ServedTexts, options: LookupOptions) -> Self {
        Self {
            observatory,
            provider: Provider::new(texts, options),
        }
    }

    /// The names of all mappings that a context consists of, itself included.
    pub(super) fn mapping_names(&self, context: &FileName) -> Result<Value, RpcError> {
        Ok(json!(self.closure(context)?.mappings))
    }

    /// The names of all references that a context names.
    pub(super) fn reference_names(&self, context: &FileName) -> Result<Value, RpcError> {
        Ok(json!(self.closure(context)?.references))
    }

    fn closure(&self, context: &FileName) -> Result<Closure, RpcError> {
        let closure = self.provider.closure(context.as_str());
        closure.map_err(|error| RpcError::new(error.class(), &error))
    }

    /// The parameters that the rules ask for, by instrument; of an rmap its own alone.
    pub(super) fn required_parkeys(&self, name: &FileName) -> Result<Value, RpcError> {
        let context = self.context(name)?;
        let keys = context.required_parkeys().map_err(|error| rpc_error(&error))?;
        Ok(match context.context().mapping().target() {
            Target::Reference(_) => json!(keys.into_iter().flat_map(|(_, keys)| keys).collect::<Vec<_>>()),
            _ => Value::Object(
                keys.into_iter()
                    .map(|(instrument, keys)| (instrument, json!(keys)))
                    .collect(),
            ),
        })
    }

    /// The best references for a header.
    pub(super) fn best_references(
        &self,
        name: &FileName,
        header: &Map<String, Value>,
        types: Option<&[String]>,
    ) -> Result<Value, RpcError> {
        let context = self.context(name)?;
        let parameters: Header = header
            .iter()
            .map(|(key, value)| (key.as_str(), HeaderValue::from(value)))
            .collect();
        let found = context
            .best_references(&mut Memory::none(), &parameters, types)
            .map_err(|error| rpc_error(&error))?;
        Ok(json!(found))
    }

    fn context(&self, name: &FileName) -> Result<OpenContext<'_, ServedTexts>, RpcError> {
        let context = self.provider.context(self.observatory, name.as_str());
        context.map_err(|error| rpc_error(&error))
    }
}

fn rpc_error(error: &LookupError) -> RpcError {
    RpcError::new(error.class(), error)
}
