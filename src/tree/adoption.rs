//! What the user puts in the place of a catalogued file, and is that very file: a copy like any other.

use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, blocking};
use super::error::Error;
use super::handles::Content;
use super::inode::LocalStat;
use super::nodes::Key;
use super::ops::{Ino, NodeKind};
use super::views::Catalogued;

/// How long the end of an open for writing is waited for.
const CLOSING: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(10),
];

impl Core {
    /// The user's file was renamed over a catalogued one. Whether it is that one takes as long to tell as reading it, and
    /// the rename holds its directory: so it is told afterwards, and only of files of the right size.
    pub(super) fn adopt_later(self: &Arc<Self>, file: Catalogued, stat: &LocalStat) {
        if stat.kind != NodeKind::File || file.entry.size != Some(stat.size) || file.entry.sha1.is_none() {
            return;
        }
        let (core, node) = (Arc::clone(self), self.nodes.number(&Key::of(stat)));
        self.fetcher.runtime().spawn(async move {
            if let Err(error) = core.adopt(&file, node).await {
                log::warn!("{} stays the user's own: {error}", file.key);
            }
        });
    }

    async fn adopt(self: &Arc<Self>, file: &Catalogued, node: Ino) -> Result<(), Error> {
        // Who has it open for writing may go on, and then it is not the catalogued file. The kernel tells of the end of an
        // open later than of the rename that follows it.
        for delay in CLOSING {
            if !self.is_being_written(node) {
                break;
            }
            tokio::time::sleep(delay).await;
        }
        let Ok(_turn) = self.adopting.acquire().await else {
            return Ok(());
        };
        let (core, key, entry) = (Arc::clone(self), file.key.clone(), file.entry);
        blocking(move || {
            let store = core.fetcher.store();
            if !core.is_being_written(node) && store.adopt(&key, entry)? && core.is_being_written(node) {
                store.set_local(&key)?;
            }
            Ok(())
        })
        .await
    }

    fn is_being_written(&self, node: Ino) -> bool {
        let writes = |content: &Content| matches!(content, Content::Local { access, .. } if access.changes());
        self.files
            .find(|file| file.ino == node && writes(&file.content))
            .is_some()
    }

    /// Refuses to change a file that has just been found to be the catalogued one, under the number that it had before.
    pub(super) fn refuse_adopted(&self, node: Ino) -> Result<(), Error> {
        let paths = self.nodes.names(node).map(|names| names.paths);
        for path in paths.into_iter().flatten() {
            if let Some((file, true)) = self.catalogued_at(&path)
                && !self.is_overridden(&file)
            {
                return Err(Error::Immutable(file.key));
            }
        }
        Ok(())
    }
}
