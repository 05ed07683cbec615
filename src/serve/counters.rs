//! Counts of requests, so that tests and the demo can show what a client did not ask for.

use std::collections::BTreeMap;

use parking_lot::{Mutex, MutexGuard};

use super::reply::Came;
use crate::crds::FileKey;

/// Requests so far, by JSON-RPC method and by file.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    methods: BTreeMap<String, u64>,
    files: BTreeMap<FileKey, FileCount>,
    came: BTreeMap<Came, u64>,
}

/// Requests for one file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileCount {
    /// GET requests, whole or for a range.
    pub gets: u64,
    /// HEAD requests.
    pub heads: u64,
    /// Bytes of its contents handed to the network.
    pub bytes: u64,
}

impl Counters {
    /// Calls of a JSON-RPC method.
    pub fn calls(&self, method: &str) -> u64 {
        self.counts().methods.get(method).copied().unwrap_or_default()
    }

    /// Requests for one file.
    pub fn file(&self, key: &FileKey) -> FileCount {
        self.counts().files.get(key).copied().unwrap_or_default()
    }

    /// Requests for every file that was asked for.
    pub fn files(&self) -> BTreeMap<FileKey, FileCount> {
        self.counts().files.clone()
    }

    /// GET requests for all files.
    pub fn downloads(&self) -> u64 {
        self.counts().files.values().map(|count| count.gets).sum()
    }

    /// As `/.counters` shows them.
    pub fn to_json(&self) -> serde_json::Value {
        let counts = self.counts();
        let files: serde_json::Map<_, _> = counts
            .files
            .iter()
            .map(|(key, count)| {
                let count =
                    serde_json::json!({"gets": count.gets, "heads": count.heads, "bytes": count.bytes});
                (key.to_string(), count)
            })
            .collect();
        let came: BTreeMap<&str, u64> = counts
            .came
            .iter()
            .map(|(came, count)| (came.as_str(), *count))
            .collect();
        serde_json::json!({"methods": &counts.methods, "files": files, "answers": came})
    }

    /// Calls so far, by method.
    pub(super) fn methods(&self) -> BTreeMap<String, u64> {
        self.counts().methods.clone()
    }

    /// Files given out so far, by where they came from.
    pub(super) fn answers(&self) -> BTreeMap<Came, u64> {
        self.counts().came.clone()
    }

    /// Counts a file that is given out, whole or in part, by where it came from.
    pub(super) fn gave(&self, came: Came) {
        *self.counts().came.entry(came).or_default() += 1;
    }

    pub(super) fn called(&self, method: &str) {
        *self.counts().methods.entry(method.to_owned()).or_default() += 1;
    }

    pub(super) fn asked(&self, key: &FileKey, change: impl FnOnce(&mut FileCount)) {
        change(self.counts().files.entry(key.clone()).or_default());
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock()
    }
}
