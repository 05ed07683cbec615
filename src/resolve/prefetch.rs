//! The rules of a context, fetched together in the background when the context is first used.
//!
//! Clients read all rules of a context one after the other. Here the mappings that a mapping names are asked for as soon
//! as it is there, many at a time, so that a cold context costs a few round trips, not one for each rule.

use std::collections::{HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Shared;
use crate::crds::{FileKey, FileKind, FileName, Observatory};

/// The number of contexts whose state is remembered.
const CONTEXTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);
/// The time after which a context is tried again whose rules could not all be had.
const AGAIN: Duration = Duration::from_secs(60);
/// The most rules of a context that are fetched: none has so many.
const RULES: usize = 10_000;

/// The files that are fetched before they are opened (`--prefetch`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefetch {
    /// Nothing.
    #[default]
    Nothing,
    /// The rules of a context that is used.
    Rules,
}

/// The text is none of the values of `--prefetch`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is neither rules nor none")]
pub struct UnknownPrefetch(String);

impl FromStr for Prefetch {
    type Err = UnknownPrefetch;

    fn from_str(text: &str) -> Result<Self, UnknownPrefetch> {
        match text {
            "rules" => Ok(Self::Rules),
            "none" => Ok(Self::Nothing),
            _ => Err(UnknownPrefetch(text.chars().take(80).collect())),
        }
    }
}

/// The contexts whose rules were fetched, or are being fetched.
pub(super) struct Prefetcher {
    contexts: Mutex<LruCache<FileName, Stage>>,
    /// Slots for the files, of all contexts together, that are fetched at a time.
    slots: Semaphore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    Here,
    Failed(Instant),
}

impl Prefetcher {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            contexts: Mutex::new(LruCache::new(CONTEXTS)),
            slots: Semaphore::new(slots.clamp(1, Semaphore::MAX_PERMITS)),
        }
    }

    /// Whether the rules of a context are to be fetched now; if so it counts as running.
    fn begin(&self, context: &FileName) -> bool {
        let mut contexts = self.contexts.lock();
        let is_due = match contexts.get(context) {
            None => true,
            Some(Stage::Failed(when)) => when.elapsed() >= AGAIN,
            Some(Stage::Running | Stage::Here) => false,
        };
        if is_due {
            contexts.put(context.clone(), Stage::Running);
        }
        is_due
    }

    fn end(&self, context: FileName, is_whole: bool) {
        let stage = if is_whole {
            Stage::Here
        } else {
            Stage::Failed(Instant::now())
        };
        self.contexts.lock().put(context, stage);
    }

    /// Whether all rules of a context have been fetched; `None` while that is not known.
    #[cfg(test)]
    pub(super) fn is_here(&self, context: &FileName) -> Option<bool> {
        match self.contexts.lock().peek(context)? {
            Stage::Running => None,
            Stage::Here => Some(true),
            Stage::Failed(_) => Some(false),
        }
    }

    /// Forgets which contexts have been fetched, because some rules have other contents now.
    pub(super) fn forget(&self) {
        let mut contexts = self.contexts.lock();
        let running: Vec<FileName> = contexts
            .iter()
            .filter(|(_, stage)| **stage == Stage::Running)
            .map(|(context, _)| context.clone())
            .collect();
        contexts.clear();
        for context in running {
            contexts.put(context, Stage::Running);
        }
    }
}

/// One fetch of a context's rules. When it is dropped before its end, as by a panic, the context counts as failed.
struct Burst {
    shared: Arc<Shared>,
    key: FileKey,
    is_whole: bool,
}

impl Drop for Burst {
    fn drop(&mut self) {
        self.shared.prefetcher.end(self.key.name.clone(), self.is_whole);
    }
}

impl Shared {
    /// Fetches the rules below a file that is used, if it is a pmap and they were not fetched before, in the
    /// background. Does not wait.
    pub(super) fn prefetch(self: &Arc<Self>, key: &FileKey) {
        if self.options.prefetch == Prefetch::Nothing
            || key.name.kind() != FileKind::Pmap
            || self.fetcher.is_offline(key.observatory)
            || !self.fetcher.store().is_writable()
            || !self.prefetcher.begin(&key.name)
        {
            return;
        }
        let mut burst = Burst {
            shared: Arc::clone(self),
            key: key.clone(),
            is_whole: false,
        };
        self.runtime.spawn(async move {
            let (brought, failed) = burst.shared.bring_rules(&burst.key).await;
            burst.is_whole = failed == 0;
            log::debug!(
                "rules of {}: {brought} brought, {failed} could not be had",
                burst.key
            );
        });
    }

    /// Fetches a context and the mappings below it; returns the numbers of those that came and that could not be had.
    async fn bring_rules(&self, context: &FileKey) -> (usize, usize) {
        let observatory = context.observatory;
        let mut waiting = VecDeque::from([context.name.clone()]);
        let (mut seen, mut running) = (HashSet::new(), FuturesUnordered::new());
        let (mut brought, mut failed) = (0, 0);
        loop {
            running.extend(waiting.drain(..).map(|name| self.bring(observatory, name)));
            let Some(came) = running.next().await else {
                return (brought, failed);
            };
            match came {
                Some(children) => {
                    brought += 1;
                    let new = |name: &FileName| seen.len() < RULES && seen.insert(name.clone());
                    waiting.extend(children.into_iter().filter(new));
                }
                None => failed += 1,
            }
        }
    }

    /// Fetches a mapping, unless the store has it, and returns the mappings that it names. `None` if it cannot be had
    /// or read; the reason is reported when it is used.
    async fn bring(&self, observatory: Observatory, name: FileName) -> Option<Vec<FileName>> {
        let has_children = matches!(name.kind(), FileKind::Pmap | FileKind::Imap);
        let key = FileKey { observatory, name };
        if !has_children && self.fetcher.store().holding(&key).is_some() {
            return Some(Vec::new());
        }
        let _slot = self.prefetcher.slots.acquire().await.ok()?;
        if !has_children {
            return self.fetcher.open(&key).wait().await.ok().map(|_| Vec::new());
        }
        self.rules.get(&observatory)?.children(&key.name).await.ok()
    }
}
