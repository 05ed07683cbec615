//! The files of the origin, and its answers to calls.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

/// The contents of a file, and their SHA-1, which is computed once. Clones share both.
#[derive(Debug, Clone)]
pub struct Blob(Arc<(Vec<u8>, OnceLock<String>)>);

impl Blob {
    /// Bytes that look random, the same for the same name.
    pub fn random(name: &str, size: usize) -> Self {
        bytes_for(name, size).into()
    }

    /// The SHA-1 in hexadecimal.
    pub fn sha1(&self) -> &str {
        let (bytes, sha1) = &*self.0;
        sha1.get_or_init(|| sha1_of(bytes))
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.0
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new((bytes, OnceLock::new())))
    }
}

impl FromIterator<u8> for Blob {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> Self {
        bytes.into_iter().collect::<Vec<u8>>().into()
    }
}

/// The content of the origin.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// `hst`, `jwst` or `roman`.
    pub observatory: &'static str,
    /// The default context.
    pub context: String,
    /// Contents by name.
    pub files: BTreeMap<String, Blob>,
    /// Names of bad files.
    pub bad_files: Vec<String>,
    /// Answers by upper-case dataset id: header, and answers by context and type.
    pub datasets: BTreeMap<String, (Value, BTreeMap<String, Value>)>,
    /// By context, the parameters that its rules ask for: all that headers tell under it. Under other contexts they
    /// tell everything.
    pub parameters: BTreeMap<String, Vec<String>>,
    /// JSON texts that are the results of methods, instead of what is right.
    pub results: BTreeMap<&'static str, String>,
    /// Entries that the catalog has although there is no such file: name, size, SHA-1.
    pub phantoms: Vec<(String, u64, String)>,
    /// Files that the catalog gives neither size nor SHA-1 of: mappings, which are listed anyway.
    pub undigested: Vec<String>,
    /// The value that `Authorization` must have; 401 without it.
    pub authorization: Option<String>,
    /// The address for downloads that it gives instead of its own; `{port}` in it is its port.
    pub told: Option<String>,
    /// The query of the URLs that it tells, such as `?token=...`.
    pub told_query: String,
}

impl Content {
    /// A file with contents of this length that depend on the name alone.
    pub fn file(self, name: &str, size: usize) -> Self {
        self.share(name, &Blob::random(name, size))
    }

    /// A file with contents that others may have, too.
    pub fn share(mut self, name: &str, blob: &Blob) -> Self {
        self.files.insert(name.to_owned(), blob.clone());
        self
    }
}

fn bytes_for(name: &str, size: usize) -> Vec<u8> {
    let mut state = name.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn sha1_of(bytes: &[u8]) -> String {
    let digits = Sha1::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>();
    digits.concat()
}

impl Content {
    /// The result of a JSON-RPC method, or the text of the error.
    pub(super) fn answer(&self, base: &str, method: &str, params: &Value) -> Result<Value, String> {
        match method {
            "get_server_info" => Ok(self.description(base)),
            "get_default_context" => Ok(json!(self.context)),
            "get_best_references_by_ids" => Ok(self.best_references(params)),
            _ => Err(format!("OtherError: no method &#39;{method}&#39;")),
        }
    }

    fn description(&self, base: &str) -> Value {
        let is_mapping = |name: &&String| [".pmap", ".imap", ".rmap"].iter().any(|end| name.ends_with(end));
        let catalog: serde_json::Map<_, _> = self
            .files
            .iter()
            .filter(|(name, _)| !self.undigested.contains(name))
            .map(|(name, blob)| (name.clone(), blob.len() as u64, blob.sha1().to_owned()))
            .chain(self.phantoms.iter().cloned())
            .map(|(name, size, sha1)| (name, json!({"size": size.to_string(), "sha1sum": sha1})))
            .collect();
        let port = base.split(['/', ':']).nth(4).unwrap_or_default();
        let base = self.told.as_deref().unwrap_or(base).replace("{port}", port);
        let query = &self.told_query;
        let url = |part: &str| json!({self.observatory: format!("{base}/unchecked_get/{part}/{}/{query}", self.observatory)});
        json!({
            "observatory": self.observatory,
            "latest_context": self.context, "operational_context": self.context, "edit_context": self.context,
            "versions_context": "", "context_history": [["2020-01-01 00:00:00", self.context, "the first"]],
            "mappings": self.files.keys().filter(is_mapping).collect::<Vec<_>>(),
            "bad_files_list": self.bad_files, "force_remote_mode": 0, "download_metadata": catalog,
            "mapping_url": url("mappings"), "reference_url": url("references"), "config_url": url("config"),
            "max_bestrefs_per_rpc": 1000, "max_headers_per_rpc": 1000,
            "crds_version": {"str": "13.0.0"}, "last_synced": "2026-01-01 00:00:00.000000",
        })
    }

    /// Keys of the two-part form, as newer servers answer. An id that the archive does not have is taken for another one
    /// of the same call that contains it, as older servers do.
    fn best_references(&self, params: &Value) -> Value {
        let context = params[0].as_str().unwrap_or_default();
        let (mut answers, mut headers) = (serde_json::Map::new(), serde_json::Map::new());
        let asked = params[1].as_array().into_iter().flatten();
        let asked: Vec<String> = asked
            .filter_map(Value::as_str)
            .map(str::to_ascii_uppercase)
            .collect();
        for id in &asked {
            let similar = || {
                let mut known = asked
                    .iter()
                    .filter(|known| known.contains(id))
                    .collect::<Vec<_>>();
                known.sort();
                known.iter().find_map(|known| self.datasets.get(*known))
            };
            if let Some((header, contexts)) = self.datasets.get(id).or_else(similar) {
                let types = contexts.get(context).cloned().unwrap_or_else(|| json!({}));
                answers.insert(format!("{id}:{id}"), json!([true, types]));
                headers.insert(format!("{id}:{id}"), self.told(context, header));
            } else {
                let text = format!("NOT FOUND dataset ID does not exist '{id}'");
                answers.insert(id.clone(), json!([false, text]));
            }
        }
        if params[3] == json!(true) {
            answers.insert("headers".to_owned(), Value::Object(headers));
        }
        Value::Object(answers)
    }

    /// The header that is told under a context.
    fn told(&self, context: &str, header: &Value) -> Value {
        match (self.parameters.get(context), header) {
            (Some(parameters), Value::Object(header)) => {
                let told = parameters.iter().filter_map(|name| {
                    let value = header.get(name)?;
                    Some((name.clone(), value.clone()))
                });
                told.collect::<serde_json::Map<_, _>>().into()
            }
            _ => header.clone(),
        }
    }
}

/// A JSON text in the encoded form of modern servers (spec/crds-service 1.2): gzip, base64 on one line.
pub fn encoded(json: &[u8]) -> Value {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(json).unwrap();
    let payload = STANDARD.encode(gzip.finish().unwrap());
    json!({"crds_encoded": "1.0", "crds_payload": payload})
}
