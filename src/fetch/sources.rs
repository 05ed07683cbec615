//! The sources of files.

use std::fmt;
use std::sync::Arc;

use crate::crds::{FileKey, Url};
use crate::remote::Origin;

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
