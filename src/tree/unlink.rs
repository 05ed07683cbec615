//! Removing catalogued files: their copies go or stay, as [`Removals`](super::removals::Removals) decides.

use std::sync::Arc;
use std::time::Instant;

use super::core::{Core, ready};
use super::error::Error;
use super::ops::{Attr, CacheTtl, Caller, Handle, Ino, Lookup, Outcome};
use super::removals::{DELAY, Looked};
use crate::crds::FileKey;

impl Core {
    /// Begins the removal of a catalogued file, whose copy goes soon, or stays. [`Error::Immutable`] when the same
    /// thread removes it again without having looked at it.
    pub(super) fn remove_copy(
        self: &Arc<Self>,
        ino: Ino,
        key: &FileKey,
        caller: Caller,
    ) -> Result<(), Error> {
        let Some((gone, unwatched)) = self.removals.begin(ino, key, caller.tid, Instant::now()) else {
            return Err(Error::Immutable(key.clone()));
        };
        if unwatched {
            let core = Arc::downgrade(self);
            self.fetcher.runtime().spawn(async move {
                loop {
                    tokio::time::sleep(DELAY / 4).await;
                    let Some(core) = core.upgrade() else { return };
                    let Some(gone) = core.removals.expired(Some(Instant::now())) else {
                        return;
                    };
                    core.drop_copies(gone).await;
                }
            });
        }
        if !gone.is_empty() {
            let core = Arc::clone(self);
            self.fetcher
                .runtime()
                .spawn(async move { core.drop_copies(gone).await });
        }
        Ok(())
    }

    /// Removes the copies that are about to go, at the end of the mount.
    pub(super) fn end_removals(&self) {
        for key in self.removals.expired(None).into_iter().flatten() {
            self.drop_copy(&key);
        }
    }

    fn drop_copy(&self, key: &FileKey) {
        if let Err(error) = self.fetcher.store().remove_copy(key) {
            log::warn!("the copy of {key} stays: {error}");
        }
    }

    async fn drop_copies(self: &Arc<Self>, keys: Vec<FileKey>) {
        let dropped = self.blocking(move |core| {
            for key in &keys {
                core.drop_copy(key);
            }
            Ok(())
        });
        if let Err(error) = dropped.await {
            log::debug!("copies stay: {error}");
        }
    }

    /// The answer to a lookup, changed when the name was removed before.
    pub(super) fn after_lookup(self: &Arc<Self>, caller: Caller, found: Lookup) -> Outcome<Lookup, Error> {
        let Lookup::Found { mut attr, keep } = found else {
            return ready(Ok(found));
        };
        match self.removals.looked_up(attr.ino, caller.tid) {
            Looked::Nothing if self.removals.is_by(attr.ino, caller.tid) => {
                let (attr, keep) = writable(attr);
                ready(Ok(Lookup::Found { attr, keep }))
            }
            Looked::Nothing => ready(Ok(found)),
            Looked::Open => {
                let (attr, keep) = removed(attr);
                ready(Ok(Lookup::Found { attr, keep }))
            }
            Looked::Gone(key) => {
                let core = Arc::clone(self);
                Outcome::Later(Box::pin(async move {
                    core.drop_copies(vec![key]).await;
                    attr.blocks = 0;
                    Ok(Lookup::Found { attr, keep })
                }))
            }
        }
    }

    /// The attributes of an inode; without blocks while its copy is about to be removed, and writable as long as its
    /// remover may write it anew.
    pub(super) fn after_getattr(
        self: &Arc<Self>,
        caller: Caller,
        ino: Ino,
        handle: Option<Handle>,
    ) -> Outcome<(Attr, CacheTtl), Error> {
        let found = self.getattr(caller, ino, handle);
        if self.removals.asked(ino) {
            found.map(|found| found.map(|(attr, _)| removed(attr)))
        } else if self.removals.remover(ino).is_some() {
            found.map(|found| found.map(|(attr, _)| writable(attr)))
        } else {
            found
        }
    }

    /// Runs `work`, which reads a file, after removing the copy that was about to go.
    pub(super) fn after_removal<T: Send + 'static>(
        self: &Arc<Self>,
        ino: Ino,
        work: impl FnOnce(&Arc<Self>) -> Outcome<T, Error> + Send + 'static,
    ) -> Outcome<T, Error> {
        let Some(key) = self.removals.used(ino) else {
            return work(self);
        };
        let core = Arc::clone(self);
        Outcome::Later(Box::pin(async move {
            core.drop_copies(vec![key]).await;
            work(&core).wait().await
        }))
    }
}

/// The attributes of a file whose copy is about to go.
fn removed(attr: Attr) -> (Attr, CacheTtl) {
    writable(Attr { blocks: 0, ..attr })
}

/// The attributes of a file that its remover may write anew. The kernel asks for them again.
fn writable(attr: Attr) -> (Attr, CacheTtl) {
    let perm = attr.perm | 0o200;
    (Attr { perm, ..attr }, CacheTtl::Never)
}
