//! The store's work for a transfer, on other threads.

use std::sync::Arc;

use tokio::task::JoinError;

use super::Transfer;
use crate::crds::FileKey;
use crate::fetch::error::{FetchError, FetchErrorKind};
use crate::fetch::short_work::{short_work, shortest_work};
use crate::store::{Store, StoreError};

impl Transfer<'_> {
    /// The error of work on another thread that ended without a result: by a panic, or with the runtime.
    fn unfinished(&self, error: &JoinError) -> FetchError {
        if error.is_panic() {
            let message = "the store has panicked, which is a mistake in crds-fs: see the log";
            FetchError::new(FetchErrorKind::Store, self.key(), message)
        } else {
            FetchError::shutting_down(self.key())
        }
    }

    /// Does work that may take long on a thread for blocking work.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Store, &FileKey) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, FetchError> {
        tokio::task::spawn_blocking(self.counted(work))
            .await
            .map_err(|error| self.unfinished(&error))?
            .map_err(|error| FetchError::store(self.key(), error))
    }

    /// Does work of a few system calls.
    pub(super) async fn short_work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Store, &FileKey) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, FetchError> {
        short_work(self.counted(work))
            .await
            .ok_or_else(|| FetchError::shutting_down(self.key()))?
            .map_err(|error| FetchError::store(self.key(), error))
    }

    /// Does the last work of a small file, as [`shortest_work`].
    pub(super) async fn shortest_work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Store, &FileKey) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, FetchError> {
        shortest_work(self.counted(work))
            .await
            .ok_or_else(|| FetchError::shutting_down(self.key()))?
            .map_err(|error| FetchError::store(self.key(), error))
    }

    /// Work that the end of the mount waits for.
    fn counted<T, W>(&self, work: W) -> impl FnOnce() -> Result<T, StoreError> + use<T, W>
    where
        W: FnOnce(&dyn Store, &FileKey) -> Result<T, StoreError>,
    {
        let (store, key) = (Arc::clone(&self.inner.store), self.key().clone());
        let under_way = self.inner.tasks.token();
        move || {
            let done = work(&*store, &key);
            drop(under_way);
            done
        }
    }
}
