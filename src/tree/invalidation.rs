//! Telling the kernel what changes behind its back: new catalogs, and copies that come and go.
//!
//! Both are waited for by threads and not by tasks: the listener is set from wherever the mount is made. They end with
//! the catalogs and with the store.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::{io, thread};

use crate::crds::FileKey;

use super::core::Core;
use super::ops::{Invalidation, InvalidationSink};

impl Core {
    /// Sends what changes behind the kernel's back to `changes` from now on.
    pub(super) fn listen(self: &Arc<Self>, changes: InvalidationSink) {
        if self.changes.set(changes).is_err() {
            log::warn!("the tree already has a listener; the second one hears nothing");
            return;
        }
        if let Err(error) = self.watch_catalogs().and_then(|()| self.watch_store()) {
            log::warn!("no thread to tell the kernel of changes: it shows what it remembers ({error})");
        }
    }

    fn watch_catalogs(self: &Arc<Self>) -> io::Result<()> {
        let mut catalogs = self.fetcher.catalogs().subscribe();
        let core = Arc::downgrade(self);
        let watching = thread::Builder::new()
            .name("catalog-changes".into())
            .spawn(move || {
                while let Some(change) = catalogs.blocking_recv() {
                    let Some(core) = core.upgrade() else { break };
                    // Taking the new catalog into use tells the kernel what is different. A panic, which is counted and
                    // logged, must not keep later catalogs from it.
                    let _ = catch_unwind(AssertUnwindSafe(|| core.view(change.observatory)));
                }
            });
        watching.map(drop)
    }

    /// Starts the thread that tells the kernel when the blocks of a file on the disk have changed.
    fn watch_store(self: &Arc<Self>) -> io::Result<()> {
        let (sender, files) = mpsc::channel::<FileKey>();
        let core = Arc::downgrade(self);
        let watching = thread::Builder::new()
            .name("store-changes".into())
            .spawn(move || {
                while let Ok(key) = files.recv() {
                    let Some(core) = core.upgrade() else { break };
                    let _ = catch_unwind(AssertUnwindSafe(|| core.tell_blocks(&key)));
                }
            });
        watching?;
        self.fetcher.store().watch(sender);
        Ok(())
    }

    fn tell_blocks(&self, key: &FileKey) {
        let view = self.view(key.observatory);
        if let Some(file) = view.and_then(|view| view.named(key.name.as_str())) {
            let ino = Self::number_of(&file);
            self.tell(Invalidation::Attributes { ino });
        }
    }
}
