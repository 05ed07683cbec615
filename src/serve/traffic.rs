//! Counts of connections and requests, and the log of requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::access_log::{AccessLog, Entry};

/// The bytes and requests that have gone over connections so far.
#[derive(Default)]
pub(super) struct Traffic {
    open: AtomicU64,
    connections: AtomicU64,
    bytes: AtomicU64,
    requests: Mutex<BTreeMap<(Kind, u16), u64>>,
    log: Option<AccessLog>,
}

/// The kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A file, or a look at one.
    File,
    /// A JSON-RPC call.
    Call,
    /// Anything else.
    Other,
}

impl Kind {
    /// The kind of a request to this path.
    pub(super) fn of(path: &str) -> Self {
        match path.split('/').nth(2) {
            Some("unchecked_get") => Self::File,
            Some("json") => Self::Call,
            _ => Self::Other,
        }
    }

    /// The kind in a word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Call => "rpc",
            Self::Other => "other",
        }
    }
}

/// A connection that is open, until this is dropped.
pub(super) struct Open(Arc<Traffic>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Traffic {
    pub(super) fn new(log: Option<AccessLog>) -> Self {
        Self {
            log,
            ..Self::default()
        }
    }

    /// Counts a connection.
    pub(super) fn opened(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// Counts and logs a request that has ended.
    pub(super) fn ended(&self, kind: Kind, entry: &Entry) {
        self.bytes.fetch_add(entry.bytes, Ordering::Relaxed);
        *self.requests.lock().entry((kind, entry.status)).or_default() += 1;
        if let Some(log) = &self.log {
            log.write(entry);
        }
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections so far.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Bytes of bodies sent so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Requests that have ended, by kind and status.
    pub(super) fn requests(&self) -> BTreeMap<(Kind, u16), u64> {
        self.requests.lock().clone()
    }

    /// Continues the log in the file that has its name now.
    pub(super) fn reopen_log(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_paths() {
        for (path, kind) in [
            ("/roman/unchecked_get/references/roman/x", Kind::File),
            ("/roman/json/get_server_info/x/", Kind::Call),
            ("/roman/json/", Kind::Call),
            ("/.counters", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(Kind::of(path), kind, "{path}");
        }
    }
}
