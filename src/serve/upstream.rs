//! An observatory of another CRDS server, served from a cache: files are fetched once and kept, calls are answered here
//! where rules and memory allow, else passed on.

mod calls;
mod datasets;
mod pass_on;
mod replies;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::envelope::{Call, MethodResult, RpcError};
use super::reply::Came;
use crate::cache::Cache;
use crate::crds::{ContextSpec, FileKey, FileName, Observatory, ServerInfo};
use crate::fetch::{FetchError, Outcome, Provided};
use crate::resolve::ResolveError;

use replies::Replies;

/// An observatory of another server.
pub(super) struct Upstream {
    cache: Cache,
    observatory: Observatory,
    replies: Replies,
}

impl Upstream {
    pub(super) fn new(cache: Cache, observatory: Observatory) -> Self {
        let replies = Replies::new(&cache, observatory);
        Self {
            cache,
            observatory,
            replies,
        }
    }

    /// The last good description, which is waited for where there is none yet.
    pub(super) async fn info(&self) -> Result<Arc<ServerInfo>, FetchError> {
        self.cache
            .fetcher()
            .catalogs()
            .load(self.observatory)
            .wait()
            .await
    }

    /// The description that is in memory.
    pub(super) fn known(&self) -> Option<Arc<ServerInfo>> {
        self.cache.fetcher().catalogs().current(self.observatory)
    }

    /// The catalog's entry of a file, after a look into a newer catalog where that is worth it.
    pub(super) async fn info_with(&self, name: &str) -> Result<Arc<ServerInfo>, FetchError> {
        let info = self.info().await?;
        if info.catalog().contains(name) {
            return Ok(info);
        }
        if let Some(looked) = self.cache.fetcher().catalogs().missing(self.observatory, name) {
            looked.await;
        }
        Ok(self.known().unwrap_or(info))
    }

    /// An open file, fetched and verified if it is not here, and where it came from.
    pub(super) async fn provide(&self, name: &FileName) -> (Result<Provided, FetchError>, Came) {
        let key = self.key(name);
        // Clients read the rules of a context one by one.
        self.cache.resolver().note_opened(&key);
        let fetcher = self.cache.fetcher().clone();
        let looked = tokio::task::spawn_blocking(move || fetcher.provide(&key)).await;
        match looked {
            Ok(Outcome::Ready(provided)) => (provided, Came::Here),
            Ok(Outcome::Later(arrival)) => (arrival.await, Came::Fetched),
            Err(error) => (Err(FetchError::gave_up(&self.key(name), &error)), Came::Here),
        }
    }

    /// The mapping that a context means. Blocking.
    pub(super) fn context(&self, spec: &ContextSpec) -> Result<FileName, RpcError> {
        let runtime = self.cache.fetcher().runtime();
        let found = runtime.block_on(self.cache.resolver().context(spec).wait());
        let context = found.map_err(|error| of_resolver(&error))?;
        // Calls that use a context go through its rules one by one.
        self.cache.resolver().note_opened(&self.key(&context));
        Ok(context)
    }

    /// Answers the methods that need more than the catalog and the rules; `None` for all others.
    pub(super) async fn answer(&self, call: &Call) -> Option<MethodResult> {
        calls::answer(self, call).await
    }

    /// The time since upstream's last answer, also over restarts.
    pub(super) fn age(&self) -> Option<Duration> {
        self.cache.fetcher().catalogs().age(self.observatory)
    }

    /// Whether upstream cannot be reached, or is not asked on purpose.
    pub(super) fn is_cut_off(&self) -> bool {
        let catalogs = self.cache.fetcher().catalogs();
        catalogs.is_offline(self.observatory) || catalogs.offline_since(self.observatory).is_some()
    }

    /// The cache that the files are kept in.
    pub(super) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Calls to upstream so far, by method, other than for descriptions and best references.
    pub(super) fn calls(&self) -> BTreeMap<String, u64> {
        self.replies.calls()
    }

    /// Keeps what was learnt from upstream for the next start.
    pub(super) async fn save(&self) {
        self.replies.save().await;
    }

    fn key(&self, name: &FileName) -> FileKey {
        FileKey {
            observatory: self.observatory,
            name: name.clone(),
        }
    }
}

/// The failure to answer a question about contexts or best references.
fn of_resolver(error: &ResolveError) -> RpcError {
    match error {
        ResolveError::UnknownContext { .. } => RpcError::new("UnknownContext", error),
        ResolveError::Remote(error) => pass_on::of_remote(error),
        _ => RpcError::other(error),
    }
}
