//! Where the bytes of a file may come from.

use std::fmt;
use std::sync::Arc;

use crate::crds::{FileKey, Url};
use crate::remote::Origin;

/// A file at a place that may have it.
#[derive(Clone)]
pub(crate) struct Source {
    /// What reads it.
    pub origin: Arc<dyn Origin>,
    /// Where it is.
    pub url: Url,
}

impl fmt::Debug for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Source")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// A place that has the same files as the CRDS server.
pub(crate) trait Mirror: Send + Sync {
    /// The file there; `None` where it is known not to have such files.
    fn source(&self, key: &FileKey) -> Option<Source>;
}

/// What one source has given of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served {
    /// Where it was read.
    pub url: Url,
    /// How many bytes of the file are from there.
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
