//! Finding the user's files and directories in the store by their numbers.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::core::Core;
use super::directory::Directory;
use super::error::Error;
use super::handles::Content;
use super::inode::{LocalInode, LocalStat};
use super::local::{Local, LocalDir, is_absence};
use super::nodes::Key;
use super::ops::Ino;

/// A directory of the store, and its path.
pub(super) struct FoundDir {
    pub(super) dir: LocalDir,
    pub(super) path: PathBuf,
}

/// One of the user's files, directories or links that was made or found in the store.
pub(super) struct Made {
    pub(super) path: PathBuf,
    pub(super) stat: LocalStat,
    /// The number of renames that had been done before its directory was looked for.
    pub(super) renames: u64,
}

impl Core {
    /// Looks under the names of a local node until the file there is the node's. `None` when it has no name any more.
    fn look_for<T>(
        &self,
        ino: Ino,
        look: impl Fn(&Local, &Path) -> io::Result<Option<(T, LocalStat)>>,
    ) -> Result<Option<(PathBuf, T)>, Error> {
        let Some(key @ Key::Local { .. }) = self.nodes.key(ino) else {
            return Err(Error::Stale);
        };
        let local = self.local()?;
        loop {
            let names = self.nodes.names(ino).ok_or(Error::Stale)?;
            for path in &names.paths {
                let found = look(local, path).map_err(Error::local("stat", path))?;
                if let Some((found, stat)) = found
                    && Key::of(&stat) == key
                {
                    return Ok(Some((path.clone(), found)));
                }
            }
            if self.nodes.lost(ino, &names) {
                return Ok(None);
            }
        }
    }

    /// The user's file with this inode number: its path, unless it has lost all names, and its attributes.
    pub(super) fn stat_node(&self, ino: Ino) -> Result<(Option<PathBuf>, LocalStat), Error> {
        let named = self.look_for(ino, |local, path| Ok(local.stat(path)?.map(|stat| (stat, stat))))?;
        if let Some((path, stat)) = named {
            return Ok((Some(path), stat));
        }
        let stat = match self.nodes.held(ino) {
            Some(held) => held.stat(),
            None => LocalStat::of_file(&*self.open_nameless(ino)?).map(Some),
        };
        let stat = stat.map_err(Error::local("stat", Path::new("")))?;
        Ok((None, stat.ok_or(Error::Stale)?))
    }

    /// The inode of the user's file with this inode number. [`Error::Stale`] when it has no name and is not held.
    pub(super) fn inode_of(&self, ino: Ino) -> Result<Arc<LocalInode>, Error> {
        let named = self.look_for(ino, |local, path| {
            let Some(inode) = local.inode(path)? else {
                return Ok(None);
            };
            Ok(inode.stat()?.map(|stat| (inode, stat)))
        })?;
        match named {
            Some((_, inode)) => Ok(Arc::new(inode)),
            None => self.nodes.held(ino).ok_or(Error::Stale),
        }
    }

    /// An open file that lost its name behind the back of the mount.
    pub(super) fn open_nameless(&self, ino: Ino) -> Result<Arc<File>, Error> {
        let open = self.files.find(|file| file.ino == ino).ok_or(Error::Stale)?;
        match &open.content {
            Content::Local { file, .. } => Ok(Arc::clone(file)),
            Content::Stored(_) | Content::Generated(_) | Content::Hold { .. } => Err(Error::Stale),
        }
    }

    /// The directory of the store that shows as `directory`, whose inode number is `ino`. [`Error::NotFound`] where the
    /// store does not have it.
    pub(super) fn find_dir(&self, ino: Ino, directory: &Directory) -> Result<FoundDir, Error> {
        self.dir_of(ino, directory, Local::directory)
    }

    /// As [`Self::find_dir`], making the directories of a cache that the store does not have yet.
    pub(super) fn make_dir(&self, ino: Ino, directory: &Directory) -> Result<FoundDir, Error> {
        self.dir_of(ino, directory, Local::made_directory)
    }

    fn dir_of(
        &self,
        ino: Ino,
        directory: &Directory,
        open: impl FnOnce(&Local, &Path) -> io::Result<LocalDir>,
    ) -> Result<FoundDir, Error> {
        if let Directory::Local(_) = directory {
            let found = self.look_for(ino, |local, path| match local.directory(path) {
                Ok(dir) => Ok(dir.stat_itself()?.map(|stat| (dir, stat))),
                Err(error) if is_absence(&error) => Ok(None),
                Err(error) => Err(error),
            })?;
            let (path, dir) = found.ok_or(Error::NotFound)?;
            return Ok(FoundDir { dir, path });
        }
        let path = directory.store_path().ok_or(Error::ReadOnly)?;
        match open(self.local()?, &path) {
            Ok(dir) => Ok(FoundDir { dir, path }),
            Err(error) if is_absence(&error) => Err(Error::NotFound),
            Err(error) => Err(Error::local("open", &path)(error)),
        }
    }

    /// Holds the inode that is about to lose a name in a directory of the store, if the kernel knows it.
    pub(super) fn hold(&self, found: &FoundDir, name: &OsStr) {
        if !self.nodes.is_known(&found.path.join(name)) {
            return;
        }
        let inode = found.dir.inode(name).ok().flatten();
        let stat = inode.as_ref().and_then(|inode| inode.stat().ok()?);
        if let (Some(inode), Some(stat)) = (inode, stat) {
            self.nodes.hold(&Key::of(&stat), inode);
        }
    }
}
