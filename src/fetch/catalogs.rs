//! The current catalog of each observatory: the store's at once, the server's in the background.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Outcome;
use super::error::{FetchError, FetchErrorKind};
use super::remedy;
use super::settings::CatalogSettings;
use crate::crds::grammar::plausible;
use crate::crds::{Observatory, ServerInfo, Url};
use crate::remote::{CrdsServer, RemoteError, RemoteErrorKind};
use crate::store::{Store, StoreError};

mod default_context;
#[cfg(test)]
mod tests;

/// An observatory, and the server that its catalog comes from.
pub(crate) struct CatalogSource {
    /// The observatory of the catalog.
    pub observatory: Observatory,
    /// Its server; `None` when there is none to ask.
    pub server: Option<Arc<dyn CrdsServer>>,
}

/// A catalog was loaded, or replaced by another one.
#[derive(Debug, Clone)]
pub(crate) struct CatalogChange {
    /// Its observatory.
    pub observatory: Observatory,
}

/// The catalogs of all observatories. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Catalogs {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Handle,
    store: Arc<dyn Store>,
    settings: CatalogSettings,
    observatories: Vec<Observatory>,
    slots: Vec<Slot>,
    listeners: Mutex<Vec<mpsc::UnboundedSender<CatalogChange>>>,
    end: CancellationToken,
}

struct Slot {
    observatory: Observatory,
    server: Option<Arc<dyn CrdsServer>>,
    state: Mutex<SlotState>,
}

type Answer = Result<Arc<ServerInfo>, FetchError>;

#[derive(Default)]
struct SlotState {
    info: Option<Arc<ServerInfo>>,
    /// The time when the last request to the server ended, successfully or not.
    asked: Option<Instant>,
    /// The time of the server's last answer; after a restart that of the stored catalog.
    confirmed: Option<SystemTime>,
    failure: Option<(Instant, FetchError)>,
    offline_since: Option<SystemTime>,
    /// The time since which the server has answered each time.
    online_since: Option<SystemTime>,
    /// Whether `info` is of another server than the one in force: good for names, not for downloads.
    foreign: bool,
    loading: Option<watch::Receiver<Option<Answer>>>,
    /// The request to the server that is under way, and the time when it began.
    refreshing: Option<(Instant, watch::Receiver<Option<Answer>>)>,
}

impl Catalogs {
    /// Catalogs of these observatories. Nothing is read or asked for yet.
    pub(crate) fn new(
        runtime: Handle,
        store: Arc<dyn Store>,
        sources: Vec<CatalogSource>,
        settings: CatalogSettings,
    ) -> Self {
        let slots: Vec<Slot> = sources
            .into_iter()
            .map(|source| Slot {
                observatory: source.observatory,
                server: source.server.filter(|_| !settings.offline),
                state: Mutex::default(),
            })
            .collect();
        let inner = Inner {
            runtime,
            store,
            settings,
            observatories: slots.iter().map(|slot| slot.observatory).collect(),
            slots,
            listeners: Mutex::default(),
            end: CancellationToken::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The observatories that are shown.
    pub(crate) fn observatories(&self) -> &[Observatory] {
        &self.inner.observatories
    }

    /// The store in which the last catalogs are kept.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// The server of an observatory, if one may be asked.
    pub(crate) fn server(&self, observatory: Observatory) -> Option<&Arc<dyn CrdsServer>> {
        self.inner.slot(observatory)?.server.as_ref()
    }

    /// The current catalog, if it is loaded. From memory.
    pub(crate) fn current(&self, observatory: Observatory) -> Option<Arc<ServerInfo>> {
        self.inner.slot(observatory)?.state().info.clone()
    }

    /// The catalog: the one that is loaded, else the stored one, else the server's.
    pub(crate) fn load(&self, observatory: Observatory) -> Outcome<Arc<ServerInfo>, FetchError> {
        let Some(slot) = self.inner.slot(observatory) else {
            let message = "this observatory is not mounted (--observatory)";
            return Outcome::Ready(Err(FetchError::new(
                FetchErrorKind::NotInCatalog,
                &subject(observatory),
                message,
            )));
        };
        let mut state = slot.state();
        if let Some(info) = &state.info {
            return Outcome::Ready(Ok(Arc::clone(info)));
        }
        if let Some((when, error)) = &state.failure
            && when.elapsed() < self.inner.settings.failure_memory
        {
            return Outcome::Ready(Err(error.clone()));
        }
        let receiver = state.loading.get_or_insert_with(|| {
            let (sender, receiver) = watch::channel(None);
            self.inner.spawn_load(observatory, sender);
            receiver
        });
        Outcome::Later(wait_for(receiver.clone(), observatory))
    }

    /// Asks the server for a new catalog because a plausible name is missing, unless it was asked within
    /// `missing_interval`. The future gives whether the name is there now, or `None` when that is not known: the server
    /// has failed, or has not answered within `look_timeout` after the request began. Without a future the name is not
    /// there, and there is no use in asking.
    pub(crate) fn missing(
        &self,
        observatory: Observatory,
        name: &str,
    ) -> Option<BoxFuture<'static, Option<bool>>> {
        let slot = self.inner.slot(observatory)?;
        slot.server.as_ref()?;
        if !plausible(observatory, name) {
            return None;
        }
        let mut state = slot.state();
        state.info.as_ref()?;
        let recently = |asked: Instant| asked.elapsed() < self.inner.settings.missing_interval;
        if state.refreshing.is_none() && state.asked.is_some_and(recently) {
            let unknown = || Box::pin(std::future::ready(None)) as BoxFuture<'static, _>;
            return state.failure.as_ref().map(|_| unknown());
        }
        let (since, receiver) = self.inner.refresh(&mut state, observatory);
        let (name, deadline) = (name.to_owned(), since + self.inner.settings.look_timeout);
        Some(Box::pin(async move {
            let answer = tokio::time::timeout_at(deadline, wait_for(receiver, observatory)).await;
            Some(answer.ok()?.ok()?.catalog().contains(&name))
        }))
    }

    /// The stored catalog and its age, if it is one of the server in force. Reads the disk; for use before any catalog
    /// is loaded.
    pub(crate) fn kept(&self, observatory: Observatory) -> Option<(ServerInfo, Duration)> {
        let snapshot = self.inner.store.snapshot(observatory).ok()??;
        let info = ServerInfo::from_literal(&snapshot.text).ok()?;
        let usable = info.observatory() == observatory && !self.inner.is_foreign(&info);
        usable.then(|| (info, snapshot.written.elapsed().unwrap_or_default()))
    }

    /// Asks the server for a new catalog now.
    pub(crate) fn refresh(&self, observatory: Observatory) -> Outcome<Arc<ServerInfo>, FetchError> {
        match self.inner.slot(observatory) {
            Some(slot) if slot.server.is_some() => {
                let (_, receiver) = self.inner.refresh(&mut slot.state(), observatory);
                Outcome::Later(wait_for(receiver, observatory))
            }
            _ => Outcome::Ready(Err(FetchError::offline(&subject(observatory)))),
        }
    }

    /// The catalog by which files may be downloaded: one of the server in force. A stored catalog of another server
    /// does not do, nor is any other server asked.
    pub(super) fn in_force(&self, observatory: Observatory) -> Outcome<Arc<ServerInfo>, FetchError> {
        let Some(slot) = self.inner.slot(observatory) else {
            return self.load(observatory);
        };
        let mut state = slot.state();
        match &state.info {
            Some(info) if !state.foreign => return Outcome::Ready(Ok(Arc::clone(info))),
            Some(_) => {}
            None => {
                drop(state);
                return self.load(observatory);
            }
        }
        if let Some((when, error)) = &state.failure
            && when.elapsed() < self.inner.settings.failure_memory
        {
            return Outcome::Ready(Err(error.clone()));
        }
        let (_, receiver) = self.inner.refresh(&mut state, observatory);
        Outcome::Later(wait_for(receiver, observatory))
    }

    /// Receives a message for every catalog that is loaded or replaced from now on.
    pub(crate) fn subscribe(&self) -> mpsc::UnboundedReceiver<CatalogChange> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.inner.listeners().push(sender);
        receiver
    }

    /// The time since which the server has not been reached; `None` while it answers or was never asked.
    pub(crate) fn offline_since(&self, observatory: Observatory) -> Option<SystemTime> {
        self.inner.slot(observatory)?.state().offline_since
    }

    /// The time since which the server has answered whenever it was asked; `None` while it does not, or was never asked.
    pub(crate) fn online_since(&self, observatory: Observatory) -> Option<SystemTime> {
        self.inner.slot(observatory)?.state().online_since
    }

    /// The last failure to get the catalog and its time; `None` if a catalog has been installed since.
    pub(crate) fn failure(&self, observatory: Observatory) -> Option<(SystemTime, FetchError)> {
        let (when, error) = self.inner.slot(observatory)?.state().failure.clone()?;
        let when = SystemTime::now().checked_sub(when.elapsed())?;
        Some((when, error))
    }

    /// The problem with the default context that the user wants, by the current catalog; `None` if there is none.
    /// Answered from memory, but for one look at a rule that may be the user's own.
    pub(crate) fn context_problem(&self, observatory: Observatory) -> Option<String> {
        self.inner.context_problem(&*self.current(observatory)?)
    }

    /// Whether the user wants another default context of this observatory than the server's.
    pub(crate) fn has_own_context(&self, observatory: Observatory) -> bool {
        let wanted = self.inner.settings.context.as_ref();
        wanted.is_some_and(|spec| spec.observatory().is_none_or(|named| named == observatory))
    }

    /// The time since the server's last answer, also over restarts.
    pub(crate) fn age(&self, observatory: Observatory) -> Option<Duration> {
        let confirmed = self.inner.slot(observatory)?.state().confirmed?;
        Some(confirmed.elapsed().unwrap_or_default())
    }

    /// Whether no server may be asked for this observatory.
    pub(crate) fn is_offline(&self, observatory: Observatory) -> bool {
        self.server(observatory).is_none()
    }

    /// Stops the requests in the background.
    pub(crate) fn shutdown(&self) {
        self.inner.end.cancel();
    }
}

impl fmt::Debug for Catalogs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Catalogs")
            .field("observatories", &self.inner.observatories)
            .finish_non_exhaustive()
    }
}

/// Waits for an answer that a task will give.
fn wait_for(
    mut receiver: watch::Receiver<Option<Answer>>,
    observatory: Observatory,
) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let gone = || FetchError::shutting_down(&subject(observatory));
        let answer = receiver.wait_for(Option::is_some).await.map_err(|_| gone())?;
        answer.clone().unwrap_or_else(|| Err(gone()))
    })
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock()
    }
}

/// A catalog from the store and how old it is.
struct Kept {
    info: Arc<ServerInfo>,
    age: Duration,
    /// Whether it is of another server than the one in force.
    foreign: bool,
}

impl Inner {
    fn slot(&self, observatory: Observatory) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.observatory == observatory)
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<mpsc::UnboundedSender<CatalogChange>>> {
        self.listeners.lock()
    }

    /// The first load: from the store, else from the server; then the catalog is kept fresh.
    fn spawn_load(self: &Arc<Self>, observatory: Observatory, sender: watch::Sender<Option<Answer>>) {
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
    fn is_foreign(&self, info: &ServerInfo) -> bool {
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
    fn refresh(
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

fn subject(observatory: Observatory) -> String {
    FetchError::catalog_subject(observatory)
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
