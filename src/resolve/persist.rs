//! Keeps the memory in the store, off every answer's path: some time after a change, and at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use super::memory::Memory;
use super::options::Mode;
use super::{Shared, State};
use crate::store::Store;

/// The note's name in the store.
const NOTE: &str = "bestrefs";

/// The time for which changes are gathered before they are written. A crash loses no more than this.
const PAUSE: Duration = Duration::from_secs(2);

/// A larger note was not written by this program.
const MAX_BYTES: usize = 256 << 20;

/// The state of saving: the version that is saved, and whether a task to save a later one is under way.
#[derive(Default)]
pub(super) struct Persistence {
    scheduled: AtomicBool,
    /// [`Memory::changes`] of the version in the store.
    written: AtomicU64,
    /// Held while writing, so that an older state never replaces a newer one.
    writing: Mutex<()>,
}

/// Restores the memory that an earlier run saved. One that cannot be read is dropped with a warning: all of it can be
/// asked for again.
pub(super) fn restore(memory: &mut Memory, mode: Mode, store: &dyn Store) {
    let text = match store.note(NOTE) {
        Ok(Some(text)) if text.len() <= MAX_BYTES => text,
        Ok(Some(_)) => return log::warn!("the answers kept in the store are not read: too large"),
        Ok(None) => return,
        Err(error) => return log::warn!("the answers kept in the store cannot be read: {error}"),
    };
    if let Err(error) = memory.restore(&text) {
        log::warn!("the answers kept in the store make no sense, starting without: {error}");
    }
    memory.doubt(|by| !mode.believes(by));
}

impl Shared {
    /// Starts a task that saves the memory soon, unless there is one.
    pub(super) fn save_soon(self: &Arc<Self>) {
        if !self.persistence.scheduled.swap(true, Ordering::AcqRel) {
            let shared = Arc::clone(self);
            self.runtime.spawn(async move {
                tokio::time::sleep(PAUSE).await;
                shared.persistence.scheduled.store(false, Ordering::Release);
                shared.save().await;
            });
        }
    }

    /// Writes the memory if it has changed.
    pub(super) async fn save(self: Arc<Self>) {
        let _writing = self.persistence.writing.lock().await;
        let (changes, snapshot) = {
            let State { memory, .. } = &*self.lock();
            (memory.changes(), memory.snapshot())
        };
        if changes == self.persistence.written.load(Ordering::Acquire) {
            return;
        }
        let shared = Arc::clone(&self);
        let written = self.runtime.spawn_blocking(move || {
            let text = snapshot.to_json().map_err(|error| error.to_string())?;
            shared
                .fetcher
                .store()
                .save_note(NOTE, &text)
                .map_err(|error| error.to_string())
        });
        match written.await {
            Ok(Ok(())) => self.persistence.written.store(changes, Ordering::Release),
            Ok(Err(error)) => log::warn!("the answers could not be kept in the store: {error}"),
            Err(error) => log::warn!("the answers could not be kept in the store: {error}"),
        }
    }
}
