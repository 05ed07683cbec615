//! Catalogued files that a client writes itself: clients before 14 remove a file and write its contents under its own
//! name. The data goes to a file without a name, which becomes the copy at close if its contents are those of the
//! catalog.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::core::{Core, ready};
use super::error::Error;
use super::handles::{Content, OpenFile};
use super::inode::Access;
use super::ops::{Backing, Ino, Opened, Outcome, SetAttr};
use super::views::Catalogued;
use crate::store;

/// The directory of the store in which a finished upload lies until the store moves it in.
const FINISHED: &str = ".crds-fs/uploads";

impl Core {
    /// Opens a file without a name for the data that the remover of a catalogued one writes. [`Error::Immutable`] while
    /// the catalogued file is open: the kernel would show its readers this data.
    pub(super) fn open_upload(
        self: &Arc<Self>,
        ino: Ino,
        file: Catalogued,
        access: Access,
    ) -> Outcome<Opened, Error> {
        self.removals.cancel(ino);
        if self.files.find(|open| open.ino == ino).is_some() {
            return ready(Err(Error::Immutable(file.key)));
        }
        let slot = match self.descriptors.slot() {
            Ok(slot) => slot,
            Err(error) => return ready(Err(error)),
        };
        let (core, path) = (Arc::clone(self), self.path_of(&file.key));
        let nameless = self.on_disk(move |core| {
            let nameless = core.writable()?.nameless();
            nameless.map_err(Error::local("write", &path))
        });
        nameless.map(move |nameless| {
            let content = Content::Local {
                file: Arc::new(nameless?),
                access,
            };
            let handle = core.files.insert(OpenFile {
                ino,
                content,
                length: None,
                written: AtomicBool::new(false),
                upload: Some(file),
                opener: 0,
                _slot: Some(slot),
            });
            Ok(Opened {
                handle,
                size: 0,
                // Not through the pages that the kernel keeps of the catalogued file.
                backing: Backing::Generated,
                keep_cache: false,
            })
        })
    }

    /// Sets the length of an upload. The catalogued file keeps its own.
    pub(super) fn change_upload(&self, ino: Ino, file: &Catalogued, change: &SetAttr) -> Result<(), Error> {
        let refused = || Error::Immutable(file.key.clone());
        if change.mode.is_some() || change.uid.is_some() || change.gid.is_some() {
            return Err(refused());
        }
        // The kernel does not name the open file for which it truncates: but it is the only one.
        let open = self
            .files
            .find(|open| open.ino == ino && open.upload.is_some())
            .ok_or_else(refused)?;
        let (Content::Local { file: upload, .. }, Some(size)) = (&open.content, change.size) else {
            return Err(refused());
        };
        open.written.store(true, Ordering::Relaxed);
        let path = self.path_of(&file.key);
        upload.set_len(size).map_err(Error::local("change", &path))
    }

    /// Ends an upload: its file becomes the copy, or is refused with [`Error::Immutable`].
    pub(super) fn finish_upload(self: &Arc<Self>, upload: Arc<File>, file: Catalogued) -> Outcome<(), Error> {
        if self.local.is_none() {
            return ready(Err(Error::ReadOnly));
        }
        self.on_pool(move |core| core.take_upload(&upload, &file))
    }

    fn take_upload(&self, upload: &File, file: &Catalogued) -> Result<(), Error> {
        let path = self.path_of(&file.key);
        let failed = || Error::local("write", &path);
        let size = upload.metadata().map_err(failed())?.len();
        let (Some(wanted), Some(expected)) = (file.entry.size, file.entry.sha1) else {
            return Err(Error::Immutable(file.key.clone()));
        };
        if size != wanted || store::digest(upload).map_err(failed())? != expected {
            log::warn!(
                "what was written to {} is not what the catalog says: it is refused",
                file.key
            );
            return Err(Error::Immutable(file.key.clone()));
        }
        let finished = Path::new(FINISHED).join(format!("{}-{}", file.key.observatory, file.key.name));
        let local = self.writable()?;
        // A file that a crash has left.
        if let Ok((dir, name)) = local.parent(&finished) {
            let _ = dir.unlink(name);
        }
        local.name(upload, &finished).map_err(failed())?;
        let store = self.fetcher.store();
        store.move_in(&finished, &file.key)?;
        store.adopt(&file.key, file.entry)?;
        Ok(())
    }
}
