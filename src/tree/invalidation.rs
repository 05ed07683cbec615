//! Telling the kernel what changes behind its back: new catalogs, and copies that come and go.
//!
//! Both are waited for by threads and not by tasks: the listener is set from wherever the mount is made. They end with
//! the catalogs and with the store.
//!
//! That a copy has come is told when its first reader closes it, or after [`DELAY`]: a reader whose kernel forgets the
//! attributes between its open and the end of the file asks for them again, one request more for each cold file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::Instant;
use std::{io, thread};

use crate::crds::FileKey;
use crate::fetch::FileState;

use super::core::Core;
use super::ops::{Ino, Invalidation, InvalidationSink};
use super::untold::DELAY;

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
            .spawn(move || tell_blocks(&core, &files));
        watching?;
        self.fetcher.store().watch(sender);
        Ok(())
    }

    /// Tells the kernel that the blocks of a copy have changed: now if it is gone, in a while if it has come.
    fn blocks_changed(&self, key: &FileKey) {
        let view = self.view(key.observatory);
        let Some(file) = view.and_then(|view| view.named(key.name.as_str())) else {
            return;
        };
        let ino = Self::number_of(&file);
        if self.fetcher.state(key) == FileState::Remote {
            self.untold.remove(ino);
            self.tell(Invalidation::Attributes { ino });
        } else {
            self.untold.insert(ino, Instant::now());
        }
    }

    /// Tells the kernel of a copy that has come, after a reader has closed it.
    pub(super) fn tell_closed(&self, ino: Ino) {
        if self.untold.remove(ino) {
            self.tell(Invalidation::Attributes { ino });
        }
    }
}

/// Tells the kernel of copies that come and go, until the store is dropped.
fn tell_blocks(core: &Weak<Core>, files: &mpsc::Receiver<FileKey>) {
    let mut is_waiting = false;
    loop {
        let next = if is_waiting {
            files.recv_timeout(DELAY)
        } else {
            files.recv().map_err(RecvTimeoutError::from)
        };
        let Some(core) = core.upgrade() else { return };
        match next {
            Ok(key) => {
                // A panic, which is counted and logged, must not keep later changes from the kernel.
                let _ = catch_unwind(AssertUnwindSafe(|| core.blocks_changed(&key)));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        for ino in core.untold.due(Instant::now()) {
            core.tell(Invalidation::Attributes { ino });
        }
        is_waiting = !core.untold.is_empty();
    }
}
