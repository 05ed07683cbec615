//! Loads of catalogs from the store and from servers, each once for all who wait, and what keeps them fresh.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::state::{Answer, CatalogChange, Inner, SlotState, subject, wait_for};
use crate::crds::{Observatory, ServerInfo, Url};
use crate::fetch::error::{FetchError, FetchErrorKind};
use crate::fetch::remedy;
use crate::remote::{RemoteError, RemoteErrorKind};
use crate::store::StoreError;

/// A catalog from the store and how old it is.
struct Kept {
    info: Arc<ServerInfo>,
    age: Duration,
    /// Whether it is of another server than the one in force.
    foreign: bool,
}

impl Inner {
    /// The first load: from the store, else from the server; then the catalog is kept fresh.
    pub(super) fn spawn_load(
        self: &Arc<Self>,
        observatory: Observatory,
        sender: watch::Sender<Option<Answer>>,
    ) {
        let inner = Arc::clone(self);
        self.runtime.spawn(async move {
            let answer = AssertUnwindSafe(inner.load(observatory)).catch_unwind().await;
            let answer = answer.unwrap_or_else(|_| Err(panicked(observatory)));
            if let Some(slot) = inner.slot(observatory) {
                slot.state().loading = None;
            }
            let age = match &answer {
                Ok((_, age)) => *age,
                Err(_) => Duration::ZERO,
            };
            let loaded = answer.is_ok();
            // Those who waited may have left.
            let _ = sender.send(Some(answer.map(|(info, _)| info)));
            if loaded && inner.slot(observatory).is_some_and(|slot| slot.server.is_some()) {
                inner
                    .runtime
                    .spawn(keep_fresh(Arc::downgrade(&inner), observatory, age));
            }
        });
    }

    async fn load(
        self: &Arc<Self>,
        observatory: Observatory,
    ) -> Result<(Arc<ServerInfo>, Duration), FetchError> {
        let inner = Arc::clone(self);
        let kept = tokio::task::spawn_blocking(move || inner.read_store(observatory)).await;
        match kept {
            Ok(Ok(Some(kept))) => {
                let info = self.install(observatory, &kept.info, kept.foreign);
                if let Some(slot) = self.slot(observatory) {
                    slot.state().confirmed = SystemTime::now().checked_sub(kept.age);
                }
                // It counts as too old: the server in force is asked at once.
                let age = if kept.foreign { Duration::MAX } else { kept.age };
                return Ok((info, age));
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                return Err(self.fail(observatory, FetchError::store(&subject(observatory), error)));
            }
            Err(error) if error.is_panic() => return Err(panicked(observatory)),
            Err(_) => return Err(FetchError::shutting_down(&subject(observatory))),
        }
        let info = self.ask(observatory).await?;
        Ok((info, Duration::ZERO))
    }

    /// Blocking: indexes the store and reads the catalog that it has kept.
    fn read_store(&self, observatory: Observatory) -> Result<Option<Kept>, StoreError> {
        self.store.load_index(observatory)?;
        let Some(snapshot) = self.store.snapshot(observatory)? else {
            return Ok(None);
        };
        match ServerInfo::from_literal(&snapshot.text) {
            Ok(info) if info.observatory() == observatory => {
                self.sweep(&info);
                let foreign = self.is_foreign(&info);
                Ok(Some(Kept {
                    info: Arc::new(if foreign { info.without_urls() } else { info }),
                    age: snapshot.written.elapsed().unwrap_or_default(),
                    foreign,
                }))
            }
            Ok(info) => {
                log::warn!(
                    "the stored catalog of {observatory} is one of {}",
                    info.observatory()
                );
                self.store.set_aside_snapshot(observatory)?;
                Ok(None)
            }
            Err(error) => {
                let error = error.to_string();
                log::warn!(
                    "the stored catalog of {observatory} cannot be read: {}",
                    error.escape_debug()
                );
                self.store.set_aside_snapshot(observatory)?;
                Ok(None)
            }
        }
    }

    /// Whether files cannot be downloaded by a stored description: it is of another server than the one in force, or
    /// its URLs had credentials, which are not stored.
    pub(super) fn is_foreign(&self, info: &ServerInfo) -> bool {
        let slot = self.slot(info.observatory());
        let Some(server) = slot.and_then(|slot| slot.server.as_ref()) else {
            return false;
        };
        let urls = [&info.urls().mappings, &info.urls().references];
        !info.server().is_some_and(|url| server.is_described_at(url))
            || urls.into_iter().flatten().any(Url::has_lost_credentials)
    }

    /// Blocking: removes partial files that no transfer will resume. No transfer runs before the first catalog is
    /// shown.
    fn sweep(&self, info: &ServerInfo) {
        self.store
            .sweep(info.observatory(), &|name| info.catalog().contains(name));
    }

    /// Joins the running request to the server, or begins one; returns also the time when it began.
    pub(super) fn refresh(
        self: &Arc<Self>,
        state: &mut SlotState,
        observatory: Observatory,
    ) -> (Instant, watch::Receiver<Option<Answer>>) {
        if let Some(running) = &state.refreshing {
            return running.clone();
        }
        let (sender, receiver) = watch::channel(None);
        let running = (Instant::now(), receiver);
        state.refreshing = Some(running.clone());
        let inner = Arc::clone(self);
        self.runtime.spawn(async move {
            let answer = AssertUnwindSafe(inner.ask(observatory)).catch_unwind().await;
            let answer = answer.unwrap_or_else(|_| Err(panicked(observatory)));
            if let Some(slot) = inner.slot(observatory) {
                slot.state().refreshing = None;
            }
            let _ = sender.send(Some(answer));
        });
        running
    }

    /// Asks the server for its catalog, stores it and makes it the current one.
    async fn ask(self: &Arc<Self>, observatory: Observatory) -> Answer {
        let slot = self.slot(observatory);
        let Some((slot, server)) = slot.and_then(|slot| Some((slot, slot.server.as_ref()?))) else {
            let error = FetchError::offline(&subject(observatory)).with_remedy(remedy::offline(observatory));
            return Err(self.fail(observatory, error));
        };
        let asked = tokio::select! {
            () = self.end.cancelled() => return Err(FetchError::shutting_down(&subject(observatory))),
            asked = tokio::time::timeout(self.settings.timeout, server.server_info()) => asked,
        };
        slot.state().asked = Some(Instant::now());
        let info = match asked {
            Ok(Ok(info)) => info,
            Ok(Err(error)) => {
                let remedy = remedy::remedy(observatory, server.url(), &error);
                let error = FetchError::remote(&subject(observatory), &error).with_remedy(remedy);
                return Err(self.fail(observatory, error));
            }
            Err(_) => {
                let message = format!("the server has not answered within {:?}", self.settings.timeout);
                let error = RemoteError::new(RemoteErrorKind::TimedOut, server.url(), message);
                let remedy = remedy::remedy(observatory, server.url(), &error);
                let error = FetchError::remote(&subject(observatory), &error).with_remedy(remedy);
                return Err(self.fail(observatory, error));
            }
        };
        {
            let mut state = slot.state();
            let now = SystemTime::now();
            state.confirmed = Some(now);
            state.online_since.get_or_insert(now);
        }
        let dropped = info.dropped();
        if dropped.count > 0 {
            let examples = dropped.examples.join(", ").escape_debug().to_string();
            log::warn!(
                "{} names of {observatory} cannot be file names: left out ({examples})",
                dropped.count
            );
        }
        let info = Arc::new(info);
        let (inner, kept) = (Arc::clone(self), Arc::clone(&info));
        let first = slot.state().info.is_none();
        // The index must be there before the catalog is: presence is answered from it.
        let saved = tokio::task::spawn_blocking(move || {
            inner.store.load_index(observatory)?;
            if first {
                inner.sweep(&kept);
            }
            inner
                .store
                .save_snapshot(observatory, &kept.to_literal(), &kept.bad_files_text())
        })
        .await;
        if let Ok(Err(error)) = saved {
            log::warn!("the catalog of {observatory} cannot be kept: {error}");
        }
        Ok(self.install(observatory, &info, false))
    }

    /// Makes a catalog the current one, unless it says nothing new, and tells the listeners.
    fn install(&self, observatory: Observatory, info: &Arc<ServerInfo>, foreign: bool) -> Arc<ServerInfo> {
        let Some(slot) = self.slot(observatory) else {
            return Arc::clone(info);
        };
        let info = &self.with_context(info);
        {
            let mut state = slot.state();
            state.failure = None;
            state.foreign = foreign;
            if state.asked.is_some() {
                state.offline_since = None;
            }
            match &state.info {
                Some(old) if old.says_the_same(info) => return Arc::clone(old),
                _ => state.info = Some(Arc::clone(info)),
            }
        }
        log::info!("catalog of {observatory}: {} files", info.catalog().len());
        let change = CatalogChange { observatory };
        if let Some(problem) = self.context_problem(info) {
            log::warn!("{problem}: 'latest' means nothing until that changes");
        }
        self.listeners()
            .retain(|listener| listener.send(change.clone()).is_ok());
        Arc::clone(info)
    }

    fn fail(&self, observatory: Observatory, error: FetchError) -> FetchError {
        if let Some(slot) = self.slot(observatory) {
            let mut state = slot.state();
            let told = state
                .failure
                .as_ref()
                .is_some_and(|(_, earlier)| earlier.kind == error.kind);
            let level = if told { log::Level::Debug } else { log::Level::Warn };
            log::log!(level, "{error}");
            state.failure = Some((Instant::now(), error.clone()));
            if matches!(error.kind, FetchErrorKind::Unreachable | FetchErrorKind::TimedOut) {
                state.offline_since.get_or_insert_with(SystemTime::now);
                state.online_since = None;
            }
        }
        error
    }
}

/// The error of a load or refresh that has panicked; the next one begins anew.
fn panicked(observatory: Observatory) -> FetchError {
    let message = "reading it failed by a panic, a bug in crds-fs (see the log)";
    FetchError::new(FetchErrorKind::Store, &subject(observatory), message)
}

/// Asks for a new catalog whenever the current one has become too old, until the catalogs are shut down or dropped.
async fn keep_fresh(inner: Weak<Inner>, observatory: Observatory, age: Duration) {
    let Some((ttl, retry, end)) = inner.upgrade().map(|inner| {
        (
            inner.settings.ttl,
            inner.settings.retry_interval,
            inner.end.clone(),
        )
    }) else {
        return;
    };
    let mut pause = ttl.saturating_sub(age);
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let Some(inner) = inner.upgrade() else { return };
        let Some(slot) = inner.slot(observatory) else {
            return;
        };
        let (_, receiver) = inner.refresh(&mut slot.state(), observatory);
        drop(inner);
        pause = match wait_for(receiver, observatory).await {
            Ok(_) => ttl,
            Err(_) => ttl.min(retry),
        };
    }
}
