//! Files and directories that are made in the limit while it is mounted: each request is one system call on the directory
//! that it serves, and nothing else.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fuser::{FileAttr, INodeNo};

use super::attr;

/// The files and directories made so far, by inode and by name.
pub(super) struct Made(Mutex<State>);

struct State {
    next: u64,
    paths: HashMap<INodeNo, PathBuf>,
    names: HashMap<INodeNo, HashMap<OsString, INodeNo>>,
}

impl Made {
    /// Nothing yet; the first inode number will be `first`.
    pub(super) fn new(first: u64) -> Self {
        Self(Mutex::new(State {
            next: first,
            paths: HashMap::new(),
            names: HashMap::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path(&self, ino: INodeNo) -> Option<PathBuf> {
        self.state().paths.get(&ino).cloned()
    }

    pub(super) fn named(&self, parent: INodeNo, name: &OsStr) -> Option<INodeNo> {
        self.state().names.get(&parent)?.get(name).copied()
    }

    pub(super) fn getattr(&self, ino: INodeNo) -> io::Result<FileAttr> {
        let path = self.path(ino).ok_or(io::ErrorKind::NotFound)?;
        Ok(attr(ino.0, &fs::symlink_metadata(path)?))
    }

    /// Makes a directory, or a file, in the directory at `at`, whose inode is `parent`.
    pub(super) fn make(
        &self,
        parent: INodeNo,
        at: &Path,
        name: &OsStr,
        directory: bool,
    ) -> io::Result<FileAttr> {
        let path = at.join(name);
        let metadata = if directory {
            fs::create_dir(&path)?;
            fs::symlink_metadata(&path)?
        } else {
            File::create_new(&path)?.metadata()?
        };
        let mut state = self.state();
        let ino = INodeNo(state.next);
        state.next += 1;
        state.paths.insert(ino, path);
        state
            .names
            .entry(parent)
            .or_default()
            .insert(name.to_owned(), ino);
        Ok(attr(ino.0, &metadata))
    }

    pub(super) fn remove(&self, parent: INodeNo, name: &OsStr, directory: bool) -> io::Result<()> {
        let ino = self.named(parent, name).ok_or(io::ErrorKind::NotFound)?;
        let path = self.path(ino).ok_or(io::ErrorKind::NotFound)?;
        if directory {
            fs::remove_dir(path)?;
        } else {
            fs::remove_file(path)?;
        }
        let mut state = self.state();
        state.paths.remove(&ino);
        if let Some(names) = state.names.get_mut(&parent) {
            names.remove(name);
        }
        Ok(())
    }
}
