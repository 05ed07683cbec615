//! The memory of upstream's replies: bounded, with an age, kept over restarts. Callers who ask the same at the same time
//! share one call.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use lru::LruCache;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cache::Cache;
use crate::crds::Observatory;
use crate::serve::envelope::{MethodResult, RpcError};
use crate::store::Store;

/// A longer reply is not remembered, in bytes of JSON.
const LONGEST: usize = 4 << 20;

/// All that is remembered, in bytes of JSON and of keys; the least recently used goes first.
const MAX_BYTES: usize = 64 << 20;

/// A larger note was not written by this program.
const MAX_NOTE: usize = 2 * MAX_BYTES;

/// The replies of one upstream server.
pub(super) struct Replies(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    observatory: Observatory,
    ttl: Duration,
    memory: Mutex<Memory>,
    running: Mutex<HashMap<String, Running>>,
    /// Calls to upstream, by method.
    calls: Mutex<BTreeMap<String, u64>>,
}

type Running = Shared<BoxFuture<'static, Result<Arc<Value>, RpcError>>>;

struct Memory {
    kept: LruCache<String, Kept>,
    bytes: usize,
    /// Whether there is something that the note in the store does not have.
    changed: bool,
}

/// A reply as JSON text.
#[derive(Debug, Clone)]
struct Kept {
    text: Arc<str>,
    when: SystemTime,
}

/// The note in the store.
#[derive(Default, Serialize, Deserialize)]
struct Saved {
    format: u32,
    /// Key, seconds since 1970, JSON; the least recently used first.
    replies: Vec<(String, u64, String)>,
}

/// The format of the note; notes of another format are not read.
const FORMAT: u32 = 1;

impl Replies {
    /// The replies that an earlier run has kept; they hold as long as answers on best references do.
    pub(super) fn new(cache: &Cache, observatory: Observatory) -> Self {
        let inner = Inner {
            store: Arc::clone(cache.fetcher().store()),
            observatory,
            ttl: cache.resolver().ttl(),
            memory: Mutex::new(Memory {
                kept: LruCache::unbounded(),
                bytes: 0,
                changed: false,
            }),
            running: Mutex::default(),
            calls: Mutex::default(),
        };
        inner.restore();
        Self(Arc::new(inner))
    }

    /// The reply to a question: the one that is remembered and young, else that of `ask`; where upstream cannot be asked,
    /// the one that is remembered, however old.
    pub(super) async fn get<F>(&self, key: &str, ask: impl FnOnce() -> F) -> MethodResult
    where
        F: Future<Output = MethodResult> + Send + 'static,
    {
        if let Some(fresh) = self.fresh(key) {
            return Ok(fresh);
        }
        let running = {
            let mut all = self.0.running.lock();
            let running = all
                .entry(key.to_owned())
                .or_insert_with(|| self.begin(key, ask()));
            running.clone()
        };
        match running.await {
            Ok(reply) => Ok(Value::clone(&reply)),
            Err(error) if error.is_no_contact() => self.known(key).ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// A call in a task, which runs to its end also when all who wait have left.
    fn begin(&self, key: &str, call: impl Future<Output = MethodResult> + Send + 'static) -> Running {
        let (inner, key) = (Arc::clone(&self.0), key.to_owned());
        let task = tokio::spawn(async move {
            let answered = call.await;
            if let Ok(reply) = &answered {
                inner.memory.lock().keep(&key, reply, SystemTime::now());
            }
            inner.running.lock().remove(&key);
            answered.map(Arc::new)
        });
        let ended = |_| RpcError::other("the call was given up: the log of this site server says why");
        task.map(move |ended_as| ended_as.unwrap_or_else(|error| Err(ended(error))))
            .boxed()
            .shared()
    }

    /// A reply that is remembered and young.
    pub(super) fn fresh(&self, key: &str) -> Option<Value> {
        self.recall(key, |age| age < self.0.ttl)
    }

    /// A reply that is remembered, however old.
    pub(super) fn known(&self, key: &str) -> Option<Value> {
        self.recall(key, |_| true)
    }

    /// Remembers a reply of this moment.
    pub(super) fn keep(&self, key: &str, reply: &Value) {
        self.0.memory.lock().keep(key, reply, SystemTime::now());
    }

    fn recall(&self, key: &str, counts: impl Fn(Duration) -> bool) -> Option<Value> {
        let kept = self.0.memory.lock().kept.get(key)?.clone();
        // A clock that was put back makes nothing young.
        let age = kept.when.elapsed().unwrap_or(Duration::MAX);
        if !counts(age) {
            return None;
        }
        serde_json::from_str(&kept.text).ok()
    }

    /// Counts a call to upstream.
    pub(super) fn note_call(&self, method: &str) {
        *self.0.calls.lock().entry(method.to_owned()).or_default() += 1;
    }

    /// Calls to upstream so far, by method.
    pub(super) fn calls(&self) -> BTreeMap<String, u64> {
        self.0.calls.lock().clone()
    }

    /// Writes what is remembered, if that has changed.
    pub(super) async fn save(&self) {
        let inner = Arc::clone(&self.0);
        if let Err(error) = tokio::task::spawn_blocking(move || inner.save()).await {
            log::warn!("upstream's replies are not kept: {error}");
        }
    }
}

impl Memory {
    fn keep(&mut self, key: &str, reply: &Value, when: SystemTime) {
        let text = reply.to_string();
        if text.len() > LONGEST {
            return;
        }
        self.put(
            key.to_owned(),
            Kept {
                text: text.into(),
                when,
            },
        );
        self.changed = true;
    }

    fn put(&mut self, key: String, kept: Kept) {
        let size = |key: &str, kept: &Kept| key.len() + kept.text.len();
        self.bytes += size(&key, &kept);
        if let Some((key, old)) = self.kept.push(key, kept) {
            self.bytes -= size(&key, &old);
        }
        while self.bytes > MAX_BYTES
            && let Some((key, old)) = self.kept.pop_lru()
        {
            self.bytes -= size(&key, &old);
        }
    }
}

impl Inner {
    fn note(&self) -> String {
        format!("replies-{}", self.observatory)
    }

    fn restore(&self) {
        let note = match self.store.note(&self.note()) {
            Ok(Some(note)) if note.len() <= MAX_NOTE => note,
            Ok(Some(_)) => return log::warn!("upstream's replies kept in the store are not read: too large"),
            Ok(None) => return,
            Err(error) => return log::warn!("upstream's replies kept in the store cannot be read: {error}"),
        };
        let saved: Saved = match serde_json::from_slice(&note) {
            Ok(saved) => saved,
            Err(error) => return log::warn!("upstream's replies kept in the store make no sense: {error}"),
        };
        let mut memory = self.memory.lock();
        for (key, when, text) in saved.replies.into_iter().filter(|_| saved.format == FORMAT) {
            let when = UNIX_EPOCH + Duration::from_secs(when.min(1 << 40));
            memory.put(
                key,
                Kept {
                    text: text.into(),
                    when,
                },
            );
        }
    }

    fn save(&self) {
        let kept: Vec<(String, Kept)> = {
            let mut memory = self.memory.lock();
            if !std::mem::take(&mut memory.changed) {
                return;
            }
            let all = memory.kept.iter().rev();
            all.map(|(key, kept)| (key.clone(), kept.clone())).collect()
        };
        let seconds = |when: SystemTime| when.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let replies = kept.into_iter();
        let saved = Saved {
            format: FORMAT,
            replies: replies
                .map(|(key, kept)| (key, seconds(kept.when), kept.text.as_ref().to_owned()))
                .collect(),
        };
        let written = serde_json::to_vec(&saved)
            .map_err(|error| error.to_string())
            .and_then(|note| {
                let saved = self.store.save_note(&self.note(), &note);
                saved.map_err(|error| error.to_string())
            });
        if let Err(error) = written {
            log::warn!("upstream's replies cannot be kept in the store: {error}");
            self.memory.lock().changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};

    use serde_json::json;
    use tokio::sync::Notify;

    use super::*;

    /// The replies kept in a directory, each of which holds for so long.
    fn replies(directory: &Path, ttl: Duration) -> (Replies, Cache) {
        let cache = Cache::builder(directory)
            .observatories([Observatory::Roman])
            .offline(true)
            .bestrefs_ttl(ttl)
            .open()
            .unwrap();
        (Replies::new(&cache, Observatory::Roman), cache)
    }

    const LONG: Duration = Duration::from_secs(3600);

    fn no_contact() -> MethodResult {
        Err(RpcError::no_contact("nobody answers"))
    }

    #[tokio::test]
    async fn callers_share_one_call_and_later_ones_its_reply() {
        let directory = tempfile::tempdir().unwrap();
        let (replies, _cache) = replies(directory.path(), LONG);
        let (calls, go) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let ask = || {
            let (calls, go) = (Arc::clone(&calls), Arc::clone(&go));
            async move {
                calls.fetch_add(1, Ordering::Relaxed);
                go.notified().await;
                Ok(json!([1, 2]))
            }
        };
        go.notify_one();
        let (one, other) = tokio::join!(replies.get("a", ask), replies.get("a", ask));
        assert_eq!((one, other), (Ok(json!([1, 2])), Ok(json!([1, 2]))));
        assert_eq!(replies.get("a", ask).await, Ok(json!([1, 2])));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn failures_are_not_remembered_and_old_replies_help_where_nobody_answers() {
        let directory = tempfile::tempdir().unwrap();
        let (replies, _cache) = replies(directory.path(), Duration::ZERO);
        let wrong = || async { Err(RpcError::told("OtherError: no")) };
        assert_eq!(
            replies.get("a", wrong).await,
            Err(RpcError::told("OtherError: no"))
        );
        assert!(replies.get("a", || async { no_contact() }).await.is_err());
        assert_eq!(
            replies.get("a", || async { Ok(json!("old")) }).await,
            Ok(json!("old"))
        );
        assert_eq!(
            replies.get("a", || async { no_contact() }).await,
            Ok(json!("old"))
        );
        assert_eq!(
            replies.get("a", wrong).await,
            Err(RpcError::told("OtherError: no")),
            "upstream's word counts"
        );
        assert_eq!(
            replies.get("a", || async { Ok(json!("new")) }).await,
            Ok(json!("new")),
            "it has no age"
        );
    }

    #[tokio::test]
    async fn replies_are_kept_over_restarts() {
        let directory = tempfile::tempdir().unwrap();
        {
            let (replies, cache) = replies(directory.path(), LONG);
            replies.keep("a", &json!({"x": 1}));
            replies.keep("long", &json!("x".repeat(LONGEST)));
            replies.save().await;
            cache.close().await;
        }
        let (replies, _cache) = replies(directory.path(), LONG);
        assert_eq!(replies.fresh("a"), Some(json!({"x": 1})));
        assert_eq!(replies.known("long"), None);
    }

    #[test]
    fn what_was_not_used_goes_first_when_there_is_too_much() {
        let mut memory = Memory {
            kept: LruCache::unbounded(),
            bytes: 0,
            changed: false,
        };
        let reply = json!("x".repeat(LONGEST - 100));
        for number in 0..=MAX_BYTES / LONGEST {
            memory.keep(&number.to_string(), &reply, UNIX_EPOCH);
            memory.kept.get("0");
        }
        assert!(memory.bytes <= MAX_BYTES);
        assert!(memory.kept.contains("0") && !memory.kept.contains("1"));
        memory.keep("0", &json!(1), UNIX_EPOCH);
        let bytes: usize = memory
            .kept
            .iter()
            .map(|(key, kept)| key.len() + kept.text.len())
            .sum();
        assert_eq!(memory.bytes, bytes);
    }
}
