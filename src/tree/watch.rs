//! Telling the kernel of new catalogs.

use std::sync::Arc;
use std::thread;

use super::core::Core;
use super::ops::Changes;

impl Core {
    /// Sends what changes behind the kernel's back to `changes` from now on.
    pub(super) fn listen(self: &Arc<Self>, changes: Changes) {
        if self.changes.set(changes).is_err() {
            log::warn!("the tree already has a listener; the second one hears nothing");
            return;
        }
        let mut catalogs = self.fetcher.catalogs().subscribe();
        let core = Arc::downgrade(self);
        // A thread and not a task: the listener is set from wherever the mount is made, and the thread ends with the
        // catalogs.
        let watching = thread::Builder::new()
            .name("crds-fs-catalogs".into())
            .spawn(move || {
                while let Some(change) = catalogs.blocking_recv() {
                    let Some(core) = core.upgrade() else { break };
                    // Taking the new catalog into use tells the kernel what is different.
                    core.view(change.observatory);
                }
            });
        if let Err(error) = watching {
            log::warn!("new names will appear when the directory is looked at again only: {error}");
        }
    }
}
