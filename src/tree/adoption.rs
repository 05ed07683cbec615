//! Adoption: a file with which the user replaces a catalogued one, and that has the same contents, becomes a copy like
//! any other.

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::error::Error;
use super::handles::Content;
use super::inode::LocalStat;
use super::nodes::Key;
use super::ops::{Ino, NodeKind};
use super::views::Catalogued;

/// The waits, one after the other, for a file that is open for writing to be closed; about 13 seconds in all.
const CLOSING: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(10),
];

impl Core {
    /// Finds out whether a user's file that was renamed over a catalogued one has the contents of that one, and adopts
    /// it then. The file has to be read for it, and the rename holds its directory: so this is done afterwards, in a
    /// task, and only for files of the right size.
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
        // While the file is open for writing, its contents may still change. The kernel tells of a close later than of the
        // rename that follows it.
        for delay in CLOSING {
            if !self.is_being_written(node) {
                break;
            }
            tokio::time::sleep(delay).await;
        }
        let Ok(_turn) = self.adopting.acquire().await else {
            return Ok(());
        };
        let (key, entry) = (file.key.clone(), file.entry);
        self.blocking(move |core| {
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

    /// Refuses to change a file that was adopted a moment ago, under the inode number that it had before.
    /// [`Error::Immutable`].
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
