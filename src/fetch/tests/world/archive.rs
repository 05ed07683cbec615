//! The server of a world, with its description and catalog.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::sum;
use crate::crds::{Observatory, ServerInfo};
use crate::remote::{CrdsServer, RemoteError, RemoteErrorKind};

/// A server with a catalog.
pub(in crate::fetch) struct Archive {
    pub(in crate::fetch) description: Mutex<Result<Value, RemoteErrorKind>>,
    pub(in crate::fetch) calls: Mutex<Vec<String>>,
    /// True if calls are never answered.
    pub(in crate::fetch) silent: AtomicBool,
}

impl Archive {
    pub(in crate::fetch) fn new(files: &[(&str, Option<&[u8]>)]) -> Self {
        Self {
            description: Mutex::new(Ok(description(files))),
            calls: Mutex::default(),
            silent: AtomicBool::new(false),
        }
    }

    pub(in crate::fetch) fn say(&self, description: Result<Value, RemoteErrorKind>) {
        *self.description.lock() = description;
    }

    pub(in crate::fetch) fn count(&self) -> usize {
        self.calls.lock().len()
    }
}

/// A description of a server with these files; `None` is a listed mapping without metadata.
pub(in crate::fetch) fn description(files: &[(&str, Option<&[u8]>)]) -> Value {
    let metadata: serde_json::Map<String, Value> = files
        .iter()
        .filter_map(|(name, bytes)| {
            let entry = json!({"size": (*bytes)?.len().to_string(), "sha1sum": sum((*bytes)?).to_string()});
            Some(((*name).to_owned(), entry))
        })
        .collect();
    let mappings: Vec<&str> = files
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| name.ends_with("map"))
        .collect();
    json!({
        "observatory": "hst", "latest_context": "hst_0001.pmap", "mappings": mappings, "bad_files_list": [],
        "mapping_url": {"hst": "http://127.0.0.1/maps"}, "reference_url": {"hst": "http://127.0.0.1/refs"},
        "last_synced": "2026-01-01 00:00:00", "download_metadata": metadata,
    })
}

impl CrdsServer for Archive {
    fn observatory(&self) -> Observatory {
        Observatory::Hst
    }

    fn url(&self) -> &'static str {
        "http://127.0.0.1/"
    }

    fn call<'a>(&'a self, method: &'a str, _: Value) -> BoxFuture<'a, Result<Value, RemoteError>> {
        self.calls.lock().push(method.to_owned());
        if self.silent.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        let said = self.description.lock().clone();
        let said = said.map_err(|kind| RemoteError::new(kind, self.url(), "told to fail"));
        Box::pin(std::future::ready(said))
    }
}

/// The catalog of this text, for stores that exist already.
pub(in crate::fetch) fn literal(files: &[(&str, Option<&[u8]>)]) -> String {
    ServerInfo::from_json_value(description(files))
        .unwrap()
        .received_from("http://127.0.0.1/")
        .to_literal()
}
