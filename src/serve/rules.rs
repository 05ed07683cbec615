//! Closures, parameters and best references by the rules of the served cache.

use std::io;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::archive::Files;
use super::envelope::RpcError;
use crate::crds::{FileName, Observatory};
use crate::dataset::{open_regular, read_text};
use crate::rules::{
    Closure, Header, HeaderValue, LoadError, LoadErrorKind, LookupError, LookupOptions, MAX_TEXT_BYTES,
    Memory, OpenContext, Provider, Target, Texts,
};

/// The rules of one observatory, compiled when they are asked for.
pub(super) struct Rules {
    observatory: Observatory,
    provider: Provider<ServedTexts>,
}

/// The mappings among the files of one observatory.
struct ServedTexts(Arc<Files>);

impl Texts for ServedTexts {
    type Version = ();

    fn text(&self, name: &str) -> Result<String, LoadError> {
        let file = self.0.get(name).ok_or_else(|| LoadError::absent(name))?;
        let text = open_regular(&file.path).and_then(|file| read_text(&file, MAX_TEXT_BYTES));
        text.map_err(|error: io::Error| {
            LoadError::new(LoadErrorKind::Absent, format!("cannot read '{name}': {error}"))
        })
    }
}

impl Rules {
    pub(super) fn new(observatory: Observatory, files: Arc<Files>) -> Self {
        Self {
            observatory,
            provider: Provider::new(ServedTexts(files), LookupOptions::default()),
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
