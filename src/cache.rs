//! A CRDS cache that fetches missing files: [`Cache`] puts store, transfers and best references together.
//!
//! It is everything behind a mount, without the mount. A program that wants verified files or best references opens a
//! directory as a [`Cache`], on a tokio runtime:
//!
//! ```
//! use crds_fs::cache::Cache;
//! use crds_fs::crds::Observatory;
//! # use crds_fs::serve::{Options, Server};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let served = temporary.path().join("served");
//! # for directory in ["mappings/roman", "references/roman"] {
//! #     std::fs::create_dir_all(served.join(directory))?;
//! # }
//! # std::fs::write(served.join("mappings/roman/roman_0001.pmap"), "header = {}\nselector = {}\n")?;
//! # std::fs::write(served.join("references/roman/roman_wfi_dark_0001.asdf"), "#ASDF 1.0.0\n")?;
//! # let datasets = temporary.path().join("datasets.json");
//! # std::fs::write(&datasets, r#"{"R0000101001001001001_01101_0001.WFI01": {"header": {"roman.meta.instrument.name": "WFI"},
//! #     "bestrefs": {"roman_0001.pmap": {"dark": "roman_wfi_dark_0001.asdf"}}}}"#)?;
//! # let server = Server::bind(&served, Options { datasets: Some(datasets), ..Options::default() }).await?;
//! # let url = server.url(Observatory::Roman);
//! # let directory = temporary.path().join("cache");
//! # std::fs::create_dir(&directory)?;
//! let cache = Cache::builder(&directory)
//!     .observatories([Observatory::Roman])
//!     .server(Observatory::Roman, &url)
//!     .open()?;
//!
//! // The best references of a dataset, by the context that is the default today.
//! let dataset = "R0000101001001001001_01101_0001.WFI01".parse()?;
//! let answer = cache.bestrefs(&"roman-latest".parse()?, &dataset).await?;
//! assert_eq!(answer.context.as_str(), "roman_0001.pmap");
//!
//! // A reference as an open file, whose SHA-1 is the catalog's.
//! let dark = answer.file("dark").ok_or("no dark")?;
//! let file = cache.open(Observatory::Roman, dark).await?;
//! assert!(std::io::read_to_string(&*file)?.starts_with("#ASDF"));
//!
//! cache.close().await;
//! # server.shutdown().await;
//! // What was fetched is there as in any CRDS cache.
//! assert!(directory.join("references/roman/roman_wfi_dark_0001.asdf").is_file());
//! # Ok(())
//! # }
//! ```

mod builder;
mod circuit_breaker;
pub(crate) mod contexts;
mod error;
pub(crate) mod holdings;

use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

pub use self::builder::Builder;
pub use self::error::{Error, ErrorKind};
pub use crate::resolve::{Answer, ComputedBy, Mode, Prefetch, TypeAnswer, UnknownMode, UnknownPrefetch};

use crate::crds::{ContextSpec, DatasetName, FileKey, FileName, Observatory};
use crate::fetch::Fetcher;
use crate::resolve::Resolver;

/// The longest wait, when a cache is closed, for what was fetched to be written to the tier.
const WRITE_BACK_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest wait, when a cache is closed, for transfers to save their bytes and end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A directory in use as a CRDS cache: files are fetched when they are opened, and stay. Clones share everything.
///
/// One process at a time may write to a directory; one that cannot be written can be read by any number. Dropping a
/// clone ends nothing: [`Cache::close`] does.
#[derive(Clone)]
pub struct Cache {
    fetcher: Fetcher,
    resolver: Resolver,
}

impl Cache {
    /// The settings to open `directory` with, which is made when it is missing.
    pub fn builder(directory: impl Into<std::path::PathBuf>) -> Builder {
        Builder::new(directory.into())
    }

    /// Opens a file of a catalog, fetching it if it is not in the directory. Its length and SHA-1 are those of the catalog,
    /// unless the user has put a file of his own in its place. The handle is shared with other callers: read with positions
    /// ([`FileExt`](std::os::unix::fs::FileExt)), or through a handle of your own ([`File::try_clone`] shares the position
    /// too).
    ///
    /// Any number of callers share one transfer; dropping the future abandons the wait, and the transfer goes on.
    pub async fn open(&self, observatory: Observatory, name: &FileName) -> Result<Arc<File>, Error> {
        let key = FileKey {
            observatory,
            name: name.clone(),
        };
        self.fetcher.open(&key).wait().await.map_err(Error::fetch)
    }

    /// The literal name of a context, such as `jwst_1322.pmap` for `jwst-latest`; it exists.
    pub async fn context(&self, spec: &ContextSpec) -> Result<FileName, Error> {
        self.resolver.context(spec).wait().await.map_err(Error::resolve)
    }

    /// The best references of a dataset under a context: asked of the server or computed here, as [`Mode`] says, and
    /// remembered in the directory.
    pub async fn bestrefs(&self, context: &ContextSpec, dataset: &DatasetName) -> Result<Arc<Answer>, Error> {
        let context = self.context(context).await?;
        let answer = self.resolver.answer(&context, dataset);
        answer.wait().await.map_err(Error::resolve)
    }

    /// Ends transfers, which are resumed another time where they can be, and waits for that for ten seconds at most. Writes
    /// what still waits to the tier, if there is one, for twenty seconds at most.
    /// Then waits, without a limit of time, until every fetched file is durable under its final name, and saves the
    /// answers and the order of last use. Failures are logged.
    ///
    /// Opens that wait for a transfer, or would need one, fail with [`ErrorKind::Closed`] from now on. The directory is
    /// released when the last clone is dropped.
    pub async fn close(&self) {
        self.fetcher.shutdown();
        self.resolver.save().await;
        if tokio::time::timeout(CLOSE_TIMEOUT, self.fetcher.finished())
            .await
            .is_err()
        {
            log::warn!("some transfers did not stop in time; they are resumed from what is on disk");
        }
        self.fetcher.finish_write_back(WRITE_BACK_TIMEOUT).await;
        // Once more, for answers that have come meanwhile.
        self.resolver.save().await;
        self.note_order_of_use().await;
    }

    /// Waits until every fetched file is durable under its final name, and saves the order of last use, by which copies
    /// are evicted, and the sources that they came from. To be called at intervals as well, since a process may be killed.
    pub(crate) async fn note_order_of_use(&self) {
        let (store, fetcher) = (Arc::clone(self.fetcher.store()), self.fetcher.clone());
        let close = move || {
            fetcher.save_origins();
            store.close()
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(close).await {
            log::warn!("the cache is not written in full: {error}");
        }
    }

    /// Files: catalogs and transfers.
    pub(crate) fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Best references.
    pub(crate) fn resolver(&self) -> &Resolver {
        &self.resolver
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cache")
            .field("fetcher", &self.fetcher)
            .finish_non_exhaustive()
    }
}
