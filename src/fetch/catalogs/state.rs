//! The state of each observatory's catalog.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::crds::{Observatory, ServerInfo};
use crate::fetch::error::FetchError;
use crate::fetch::settings::CatalogSettings;
use crate::remote::CrdsServer;
use crate::store::Store;

/// A catalog was loaded, or replaced by another one.
#[derive(Debug, Clone)]
pub(crate) struct CatalogChange {
    /// Its observatory.
    pub observatory: Observatory,
}

/// The state that all clones of the catalogs share.
pub(super) struct Inner {
    pub(super) runtime: Handle,
    pub(super) store: Arc<dyn Store>,
    pub(super) settings: CatalogSettings,
    pub(super) observatories: Vec<Observatory>,
    pub(super) slots: Vec<Slot>,
    pub(super) listeners: Mutex<Vec<mpsc::UnboundedSender<CatalogChange>>>,
    pub(super) end: CancellationToken,
}

/// One observatory: its server, and what is known of its catalog.
pub(super) struct Slot {
    pub(super) observatory: Observatory,
    pub(super) server: Option<Arc<dyn CrdsServer>>,
    pub(super) state: Mutex<SlotState>,
}

/// A catalog, or the reason why there is none.
pub(super) type Answer = Result<Arc<ServerInfo>, FetchError>;

/// The state of the catalog of one observatory.
#[derive(Default)]
pub(super) struct SlotState {
    pub(super) info: Option<Arc<ServerInfo>>,
    /// The time when the last request to the server ended, successfully or not.
    pub(super) asked: Option<Instant>,
    /// The time of the server's last answer; after a restart that of the stored catalog.
    pub(super) confirmed: Option<SystemTime>,
    pub(super) failure: Option<(Instant, FetchError)>,
    pub(super) offline_since: Option<SystemTime>,
    /// The time since which the server has answered each time.
    pub(super) online_since: Option<SystemTime>,
    /// Whether `info` is of another server than the one in force: good for names, not for downloads.
    pub(super) foreign: bool,
    pub(super) loading: Option<watch::Receiver<Option<Answer>>>,
    /// The request to the server that is under way, and the time when it began.
    pub(super) refreshing: Option<(Instant, watch::Receiver<Option<Answer>>)>,
}

impl Slot {
    pub(super) fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock()
    }
}

impl Inner {
    pub(super) fn slot(&self, observatory: Observatory) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.observatory == observatory)
    }

    pub(super) fn listeners(&self) -> MutexGuard<'_, Vec<mpsc::UnboundedSender<CatalogChange>>> {
        self.listeners.lock()
    }
}

/// Waits for an answer that a task will give.
pub(super) fn wait_for(
    mut receiver: watch::Receiver<Option<Answer>>,
    observatory: Observatory,
) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let gone = || FetchError::shutting_down(&subject(observatory));
        let answer = receiver.wait_for(Option::is_some).await.map_err(|_| gone())?;
        answer.clone().unwrap_or_else(|| Err(gone()))
    })
}

/// The words for the catalog of an observatory in errors.
pub(super) fn subject(observatory: Observatory) -> String {
    FetchError::catalog_subject(observatory)
}
