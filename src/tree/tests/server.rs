//! The server of a tree under test.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use crate::crds::{FileKind, Observatory, Sha1Sum};
use crate::remote::{CrdsServer, RemoteError, RemoteErrorKind};

/// A server with the files and answers that a test gives it.
pub(super) struct Server {
    pub(super) observatory: Observatory,
    pub(super) state: Mutex<ServerState>,
}

#[derive(Default)]
pub(super) struct ServerState {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) bad: Vec<String>,
    pub(super) answers: BTreeMap<String, Value>,
    pub(super) unreachable: bool,
    pub(super) calls: Vec<String>,
}

impl Server {
    pub(super) fn base(&self) -> String {
        format!("http://{}.test/", self.observatory)
    }

    fn info(&self) -> Value {
        let state = self.state.lock();
        let observatory = self.observatory.as_str();
        let catalog: serde_json::Map<String, Value> = state
            .files
            .iter()
            .map(|(name, contents)| {
                let sha1 = Sha1Sum::from_bytes(Sha1::digest(contents).into()).to_string();
                (
                    name.clone(),
                    json!({"size": contents.len().to_string(), "sha1sum": sha1}),
                )
            })
            .collect();
        let mappings: Vec<&String> = state
            .files
            .keys()
            .filter(|name| FileKind::of(name).is_mapping())
            .collect();
        let context = mappings
            .iter()
            .rfind(|name| FileKind::of(name) == FileKind::Pmap)
            .map_or("", |name| name.as_str());
        json!({
            "observatory": observatory, "latest_context": context, "operational_context": context,
            "edit_context": context, "versions_context": "", "context_history": [], "mappings": mappings,
            "bad_files_list": state.bad, "download_metadata": catalog, "force_remote_mode": 0,
            "last_synced": "2026-01-01 00:00:00",
            "mapping_url": {observatory: self.base()}, "reference_url": {observatory: self.base()},
        })
    }
}

impl CrdsServer for Server {
    fn observatory(&self) -> Observatory {
        self.observatory
    }

    fn url(&self) -> &'static str {
        "http://crds.test"
    }

    fn call<'a>(&'a self, method: &'a str, params: Value) -> BoxFuture<'a, Result<Value, RemoteError>> {
        self.state.lock().calls.push(method.to_owned());
        let answer = if self.state.lock().unreachable {
            Err(RemoteError::new(
                RemoteErrorKind::Unreachable,
                self.url(),
                "connection refused",
            ))
        } else if method == "get_server_info" {
            Ok(self.info())
        } else if method == "get_best_references_by_ids" {
            let state = self.state.lock();
            let mut found = serde_json::Map::new();
            let mut headers = serde_json::Map::new();
            for id in params[1]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                let id = id.to_ascii_uppercase();
                let unknown = json!([false, format!("NOT FOUND dataset ID does not exist '{id}'")]);
                found.insert(
                    id.clone(),
                    state
                        .answers
                        .get(&id)
                        .map_or(unknown, |types| json!([true, types])),
                );
                headers.insert(id, json!({"INSTRUME": "ACS"}));
            }
            found.insert("headers".into(), headers.into());
            Ok(found.into())
        } else {
            Err(RemoteError::new(
                RemoteErrorKind::Rpc,
                self.url(),
                "no such method",
            ))
        };
        Box::pin(async move { answer })
    }
}
