//! The current catalog of each observatory: the store's at once, the server's in the background.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Outcome;
use super::error::{FetchError, FetchErrorKind};
use super::settings::CatalogSettings;
use crate::crds::grammar::plausible;
use crate::crds::{Observatory, ServerInfo};
use crate::remote::CrdsServer;
use crate::store::Store;

mod default_context;
mod loading;
mod state;
#[cfg(test)]
mod tests;

use state::{CatalogChange, Inner, Slot, subject, wait_for};

/// An observatory, and the server that its catalog comes from.
pub(crate) struct CatalogSource {
    /// The observatory of the catalog.
    pub observatory: Observatory,
    /// Its server; `None` when there is none to ask.
    pub server: Option<Arc<dyn CrdsServer>>,
}

/// The catalogs of all observatories. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Catalogs {
    inner: Arc<Inner>,
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
