//! The sources of files.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::crds::{FileKey, Observatory, Url};
use crate::remote::Origin;

/// The time for which a source that gave a wrong file is asked after all others.
pub(super) const LEFT_ALONE: Duration = Duration::from_secs(600);

/// A file at a URL that may have it.
#[derive(Clone)]
pub(crate) struct Source {
    /// The origin that reads it.
    pub origin: Arc<dyn Origin>,
    /// Its URL.
    pub url: Url,
}

impl fmt::Debug for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Source")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// An origin with the same files as the CRDS server.
pub(crate) trait Mirror: Send + Sync {
    /// The file there; `None` where it is known not to have such files.
    fn source(&self, key: &FileKey) -> Option<Source>;
}

/// A file from one source whose length or digest is not what the catalog says.
#[derive(Debug, Clone)]
pub(crate) struct WrongFile {
    /// The file.
    pub key: FileKey,
    /// The place that it was read from.
    pub url: Url,
    /// The time at which it turned out to be wrong.
    pub when: SystemTime,
}

/// The last wrong file of each source. A source is known by the observatory and its number in the order of settings.
#[derive(Debug, Default)]
pub(super) struct WrongFiles {
    last: Mutex<HashMap<(Observatory, usize), (Instant, WrongFile)>>,
}

impl WrongFiles {
    /// Notes that a source, alone, has given a wrong file.
    pub(super) fn note(&self, source: usize, key: &FileKey, url: &Url) {
        let wrong = WrongFile {
            key: key.clone(),
            url: url.clone(),
            when: SystemTime::now(),
        };
        let source = (key.observatory, source);
        self.last.lock().insert(source, (Instant::now(), wrong));
    }

    /// Whether a source is to be left alone, as long as there are others.
    pub(super) fn is_recent(&self, observatory: Observatory, source: usize) -> bool {
        let last = self.last.lock();
        last.get(&(observatory, source))
            .is_some_and(|(when, _)| when.elapsed() < LEFT_ALONE)
    }

    /// The last wrong file of each source that is to be left alone, oldest first.
    pub(super) fn recent(&self) -> Vec<WrongFile> {
        let mut last = self.last.lock();
        last.retain(|_, (when, _)| when.elapsed() < LEFT_ALONE);
        let mut recent: Vec<_> = last.values().map(|(_, wrong)| wrong.clone()).collect();
        drop(last);
        recent.sort_by_key(|wrong| wrong.when);
        recent
    }
}

/// The bytes of a file that came from one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served {
    /// The URL of the source.
    pub url: Url,
    /// The number of bytes.
    pub bytes: u64,
}

/// Counts bytes of a file that came from `url`.
pub(super) fn add_served(served: &mut Vec<Served>, url: &Url, bytes: u64) {
    if bytes == 0 {
        return;
    }
    match served.iter_mut().find(|source| source.url == *url) {
        Some(source) => source.bytes += bytes,
        None => served.push(Served {
            url: url.clone(),
            bytes,
        }),
    }
}
