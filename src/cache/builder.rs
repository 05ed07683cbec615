//! The settings of a cache, and the layers put together by them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::circuit_breaker::CircuitBreaker;
use super::{Cache, Error};
use crate::crds::{ContextSpec, Observatory};
use crate::fetch::{CatalogSettings, CatalogSource, Catalogs, FetchSettings, Fetcher};
use crate::remote::{
    self, CrdsServer, Endpoints, HttpClient, HttpOrigin, HttpSettings, ObjectOrigin, Origin, ServerSetting,
    TierSetting, UrlOrigin,
};
use crate::resolve::{BadFilePolicy, Mode, Prefetch, ResolveOptions, Resolver};
use crate::store::{DiskStore, Sharing, Store, StoreOptions};

/// The settings of a cache; made by [`Cache::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    directory: PathBuf,
    observatories: Vec<Observatory>,
    remote: remote::Settings,
    store: StoreOptions,
    http: HttpSettings,
    catalogs: CatalogSettings,
    fetch: FetchSettings,
    resolve: ResolveOptions,
}

impl Builder {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            observatories: vec![Observatory::Hst, Observatory::Jwst, Observatory::Roman],
            remote: remote::Settings::default(),
            store: StoreOptions::default(),
            http: HttpSettings::default(),
            catalogs: CatalogSettings::default(),
            fetch: FetchSettings::default(),
            resolve: ResolveOptions::default(),
        }
    }

    /// The observatories of the cache; without it HST, JWST and Roman. An observatory's catalog is loaded when
    /// something of it is first opened.
    #[must_use]
    pub fn observatories(mut self, observatories: impl IntoIterator<Item = Observatory>) -> Self {
        self.observatories = observatories.into_iter().collect();
        self
    }

    /// The server of an observatory, instead of the institute's own.
    #[must_use]
    pub fn server(mut self, observatory: Observatory, url: &str) -> Self {
        self.remote.servers.push(ServerSetting {
            observatory: Some(observatory),
            url: url.into(),
        });
        self
    }

    /// Whether no server may be asked: only files in the directory can be opened.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> Self {
        self.catalogs.offline = offline;
        self.fetch.offline = offline;
        self
    }

    /// The context that `latest` and `OBSERVATORY-latest` mean, instead of the server's.
    #[must_use]
    pub fn default_context(mut self, context: Option<ContextSpec>) -> Self {
        self.catalogs.context = context;
        self
    }

    /// The evaluator of the rules; without it [`Mode::Auto`].
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.resolve.mode = mode;
        self
    }

    /// The most bytes that the directory may hold; the least recently used copies are evicted to make room. `None`, or
    /// without it: as many as the disk gives, and only copies that crds-fs has fetched itself are evicted.
    #[must_use]
    pub fn cache_size(mut self, bytes: Option<u64>) -> Self {
        self.store.cache_size = bytes;
        self
    }

    /// The bytes of the disk that stay free; without it 1 GiB.
    #[must_use]
    pub fn keep_free(mut self, bytes: u64) -> Self {
        self.store.keep_free = bytes;
        self
    }

    /// Files fetched at a time from each observatory; without it 8.
    #[must_use]
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.fetch.jobs = jobs;
        self
    }

    /// Connections for one large file, at most: as many are used as make it come faster; without it 8.
    #[must_use]
    pub fn streams(mut self, streams: usize) -> Self {
        self.fetch.streams = streams;
        self
    }

    /// The files that are fetched before they are opened; without it none.
    #[must_use]
    pub fn prefetch(mut self, prefetch: Prefetch) -> Self {
        self.resolve.prefetch = prefetch;
        self
    }

    /// The time without progress, over all tries, after which an open fails, and the longest time for the answer to a
    /// call; without it 5 minutes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.http.call_timeout = timeout;
        self.catalogs.timeout = timeout;
        self.fetch.timeout = timeout;
        self.resolve.timeout = timeout;
        self
    }

    /// The time without a byte after which a transfer is tried again; without it 30 seconds.
    #[must_use]
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.http.stall_timeout = timeout;
        self.fetch.stall_timeout = timeout;
        self
    }

    /// The age from which a catalog is asked for again, in the background; without it 10 minutes.
    #[must_use]
    pub fn catalog_ttl(mut self, age: Duration) -> Self {
        self.catalogs.ttl = age;
        self
    }

    /// The time for which a server's answer on best references holds; without it 1 hour.
    #[must_use]
    pub fn bestrefs_ttl(mut self, age: Duration) -> Self {
        self.resolve.ttl = age;
        self
    }

    /// Whether others use the directory at the same time, on this node or on others: then nothing is evicted, and what is
    /// under way lies in [`Builder::state`], which has to be there.
    #[must_use]
    pub fn shared(self, shared: bool) -> Self {
        self.sharing(if shared { Sharing::Shared } else { Sharing::Alone })
    }

    /// As [`Builder::shared`], also for a directory that is used with others only where others share it already.
    pub(crate) fn sharing(mut self, sharing: Sharing) -> Self {
        self.store.sharing = sharing;
        self
    }

    /// The directory for the state of shared caches, and of such as cannot be written, in which each gets one of its own;
    /// without it nothing is remembered of the latter.
    #[must_use]
    pub fn state(mut self, directory: Option<PathBuf>) -> Self {
        self.store.state = directory;
        self
    }

    /// Tells those who wait for a file or an answer of a dead server soon, and those who ask for another one within `outage`
    /// after that at once: for caches whose files others wait for.
    pub(crate) fn tells_soon(mut self, outage: Duration) -> Self {
        self.fetch.tries_silent = self.fetch.tries_unreachable;
        self.fetch.outage = outage;
        self
    }

    /// The servers and URLs, as the user has given them.
    pub(crate) fn remote(mut self, remote: remote::Settings) -> Self {
        self.remote = remote;
        self
    }

    /// Whether lengths and digests of files are compared with the catalog.
    pub(crate) fn checks(mut self, lengths: bool, checksums: bool) -> Self {
        self.store.lengths = lengths;
        self.fetch.lengths = lengths;
        self.store.checksums = checksums;
        self.fetch.checksums = checksums;
        self
    }

    /// The policy on files that the server lists as bad.
    pub(crate) fn bad_files(mut self, policy: BadFilePolicy) -> Self {
        self.resolve.bad_files = policy;
        self
    }

    /// Whether rules whose own checksum is wrong are used.
    pub(crate) fn ignore_mapping_checksum(mut self, ignore: bool) -> Self {
        self.resolve.ignore_mapping_checksum = ignore;
        self
    }

    /// Opens the directory, which is used through its handle from now on. Nothing is requested over the network. To be
    /// called on a tokio runtime with time and I/O enabled, on which the tasks of the cache run.
    pub fn open(self) -> Result<Cache, Error> {
        let runtime = Handle::try_current().map_err(Error::settings)?;
        self.open_on(&runtime)
    }

    /// As [`Builder::open`], with tasks on `runtime`.
    pub(crate) fn open_on(self, runtime: &Handle) -> Result<Cache, Error> {
        let endpoints = Endpoints::new(&self.remote, &self.observatories).map_err(Error::settings)?;
        check_tier(&self.remote, &self.directory)?;
        let store = DiskStore::open(&self.directory, self.store).map_err(Error::store)?;
        let store: Arc<dyn Store> = Arc::new(store);
        let http = HttpClient::new(self.http);
        let origin: Arc<dyn Origin> = Arc::new(UrlOrigin::new(
            HttpOrigin::new(http.clone()),
            ObjectOrigin::new(http.clone(), self.remote.cloud.clone()),
        ));
        let outage = self.fetch.outage;
        let server = |observatory| {
            let server = endpoints.server(observatory, &http, &origin);
            if outage.is_zero() {
                return server;
            }
            Arc::new(CircuitBreaker::new(server, outage)) as Arc<dyn CrdsServer>
        };
        let source = |&observatory| CatalogSource {
            observatory,
            server: endpoints.is_described(observatory).then(|| server(observatory)),
        };
        let sources = self.observatories.iter().map(source).collect();
        let catalogs = Catalogs::new(runtime.clone(), store, sources, self.catalogs);
        let tier = self.remote.tier.as_ref();
        let tier = tier.map(|tier| tier.destination(&http, &self.remote.cloud));
        let fetcher = Fetcher::with_tier(runtime.clone(), origin, tier, endpoints, catalogs, self.fetch);
        let resolver = Resolver::new(fetcher.clone(), self.resolve, runtime.clone());
        Ok(Cache { fetcher, resolver })
    }
}

/// Refuses the cache itself as its tier, which would have nothing to give.
fn check_tier(remote: &remote::Settings, directory: &Path) -> Result<(), Error> {
    let tier = remote.tier.as_ref().and_then(TierSetting::directory);
    // The tier itself is not looked at: it may hang.
    let is_own =
        |tier: &Path| tier == directory || directory.canonicalize().is_ok_and(|directory| directory == tier);
    match tier {
        Some(tier) if is_own(&tier) => Err(Error::settings(OwnTier(tier))),
        _ => Ok(()),
    }
}

/// A tier that is the cache itself.
#[derive(Debug, thiserror::Error)]
#[error("--tier: '{}' is the cache itself: name another directory, or none", .0.display())]
struct OwnTier(PathBuf);
