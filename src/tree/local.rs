//! The user's own files: what lies in the store's directory under `config`, `mappings`, `references` and `pickles` and is
//! no copy of a catalogued file. Every access starts at the store's directory handle and follows no link.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::fs::{fchmod, fchown, fstat, fstatfs, mkdirat, mknodat, openat, renameat_with, statat};
use rustix::io::Errno;

use super::inode::{Access, LocalEntry, LocalInode, LocalStat};
use super::ops::{Caller, NodeKind};

// The numbers by which statfs(2) tells file systems that may lie on others.
const OVERLAY: u64 = 0x794c_7630;
const FUSE: u64 = 0x6573_5546;
const ECRYPTFS: u64 = 0xf15f;

/// How a directory is held that is only a step on the way to a name.
const STEP: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The user's files in the store's directory. Paths are relative to it.
#[derive(Debug, Clone)]
pub(super) struct Local {
    dir: Arc<Dir>,
}

impl Local {
    pub(super) fn new(dir: Arc<Dir>) -> Self {
        Self { dir }
    }

    /// Whether it lies on a file system that itself lies on another one. What cannot be told is taken for one that does not.
    pub(super) fn is_stacked(&self) -> bool {
        const STACKED: [u64; 3] = [OVERLAY, FUSE, ECRYPTFS];
        fstatfs(&*self.dir)
            .ok()
            .and_then(|told| u64::try_from(told.f_type).ok())
            .is_some_and(|magic| STACKED.contains(&magic))
    }

    /// The directory at `path`. Its parts are directories, not links: whoever replaces one leads nowhere. With `make`, those
    /// that are missing are made.
    fn directory(&self, path: &Path, make: bool) -> io::Result<OwnedFd> {
        let mut at = openat(&*self.dir, ".", STEP, Mode::empty())?;
        for part in path.components() {
            let Component::Normal(name) = part else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            at = match openat(&at, name, STEP, Mode::empty()) {
                Err(Errno::NOENT) if make => match mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => openat(&at, name, STEP, Mode::empty())?,
                    Err(error) => return Err(error.into()),
                },
                found => found?,
            };
        }
        Ok(at)
    }

    fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((path.parent().unwrap_or(Path::new("")), name))
    }

    /// The directory that holds `path`, and the name in it: what follows is one name below one handle.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let (parent, name) = Self::split(path)?;
        Ok((self.directory(parent, false)?, name))
    }

    /// As [`Self::parent`], making the directories that the store does not have yet.
    fn made_parent<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let (parent, name) = Self::split(path)?;
        Ok((self.directory(parent, true)?, name))
    }

    /// What is at `path`, to be held; `None` for nothing.
    pub(super) fn inode(&self, path: &Path) -> io::Result<Option<LocalInode>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = self
            .parent(path)
            .and_then(|(dir, name)| Ok(openat(&dir, name, flags, Mode::empty())?));
        match opened {
            Ok(descriptor) => Ok(Some(LocalInode::new(descriptor))),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is at `path`; `None` for nothing, or for something that is not shown.
    pub(super) fn stat(&self, path: &Path) -> io::Result<Option<LocalStat>> {
        match self
            .parent(path)
            .and_then(|(dir, name)| Ok(statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?))
        {
            Ok(stat) => Ok(LocalStat::of(&stat)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a file for `caller`, or opens the one that is there unless the flags say `O_EXCL`.
    pub(super) fn create(&self, caller: Caller, path: &Path, access: Access, mode: u32) -> io::Result<File> {
        let (dir, name) = self.made_parent(path)?;
        let mode_of_open = if access.read { OFlags::RDWR } else { OFlags::WRONLY };
        let flags = access.flags().difference(OFlags::RWMODE | OFlags::TRUNC)
            | mode_of_open
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW;
        match openat(&dir, name, flags, Mode::from_raw_mode(mode & 0o7777)) {
            Ok(file) => {
                let owner = Owner::of_new(caller, &dir)?;
                let given = fchown(&file, Some(owner.uid), owner.gid).is_ok();
                fchmod(&file, mode_of_new(mode, given))?;
                Ok(File::from(file))
            }
            Err(Errno::EXIST) if !access.exclusive => {
                let there = self.inode(path)?.ok_or(io::ErrorKind::NotFound)?;
                there.open(access)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn mkdir(&self, caller: Caller, path: &Path, mode: u32) -> io::Result<()> {
        let (dir, name) = self.made_parent(path)?;
        let mode = Mode::from_raw_mode(mode & 0o7777);
        mkdirat(&dir, name, mode)?;
        let Some(created) = self.made(path, NodeKind::Directory)? else {
            return Ok(());
        };
        let owner = Owner::of_new(caller, &dir)?;
        owner.take(&created);
        // A directory hands on the group that it was given.
        let bit = if owner.gid.is_none() {
            Mode::SGID
        } else {
            Mode::empty()
        };
        created.chmod(mode | bit)
    }

    /// Makes a file, a FIFO or a socket.
    pub(super) fn mknod(&self, caller: Caller, path: &Path, kind: NodeKind, mode: u32) -> io::Result<()> {
        let file_type = match kind {
            NodeKind::File => FileType::RegularFile,
            NodeKind::Fifo => FileType::Fifo,
            NodeKind::Socket => FileType::Socket,
            NodeKind::Directory | NodeKind::Symlink => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let (dir, name) = self.made_parent(path)?;
        mknodat(&dir, name, file_type, Mode::from_raw_mode(mode & 0o7777), 0)?;
        let Some(created) = self.made(path, kind)? else {
            return Ok(());
        };
        let given = Owner::of_new(caller, &dir)?.take(&created);
        created.chmod(mode_of_new(mode, given))
    }

    /// What was just made at `path`; `None` when something else has replaced it already.
    fn made(&self, path: &Path, kind: NodeKind) -> io::Result<Option<LocalInode>> {
        let Some(inode) = self.inode(path)? else {
            return Ok(None);
        };
        let is_it = inode.stat()?.is_some_and(|stat| stat.kind == kind);
        Ok(is_it.then_some(inode))
    }

    pub(super) fn symlink(&self, caller: Caller, path: &Path, target: &OsStr) -> io::Result<()> {
        let (dir, name) = self.made_parent(path)?;
        rustix::fs::symlinkat(target, &dir, name)?;
        if let Some(created) = self.made(path, NodeKind::Symlink)? {
            Owner::of_new(caller, &dir)?.take(&created);
        }
        Ok(())
    }

    /// Makes a file without a name.
    pub(super) fn nameless(&self) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = openat(&*self.dir, ".", flags, Mode::from_raw_mode(0o644))?;
        Ok(File::from(file))
    }

    /// Gives a file without a name one.
    pub(super) fn name(&self, file: &File, path: &Path) -> io::Result<()> {
        let (dir, name) = self.made_parent(path)?;
        LocalInode::new(file.try_clone()?.into()).link(&dir, name)
    }

    /// Makes another name for a file.
    pub(super) fn link(&self, from: &LocalInode, to: &Path) -> io::Result<()> {
        let (dir, name) = self.made_parent(to)?;
        from.link(&dir, name)
    }

    pub(super) fn unlink(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(&dir, name, AtFlags::empty())?)
    }

    pub(super) fn rmdir(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR)?)
    }

    pub(super) fn rename(&self, from: &Path, to: &Path, flags: RenameFlags) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.made_parent(to)?;
        Ok(renameat_with(&from_dir, from_name, &to_dir, to_name, flags)?)
    }

    /// The names in a directory of the store; none when the store does not have it.
    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<LocalEntry>> {
        match self.directory(path, false) {
            Ok(descriptor) => LocalInode::new(descriptor).list(),
            Err(error) if is_absence(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Makes the names in a directory durable; nothing to do when the store does not have it.
    pub(super) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match self.directory(path, false) {
            Ok(descriptor) => LocalInode::new(descriptor).sync_names(),
            Err(error) if is_absence(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The path below the store's directory of a name in one of its directories; refuses what is not one name.
    pub(super) fn join(directory: &Path, name: &OsStr) -> Option<PathBuf> {
        let bytes = name.as_bytes();
        let plain = !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/');
        plain.then(|| directory.join(name))
    }
}

/// Whose a new file is.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: Uid,
    /// None where the directory gave it its own group already, as set-group-id directories do.
    gid: Option<Gid>,
}

impl Owner {
    fn of_new(caller: Caller, dir: &OwnedFd) -> io::Result<Self> {
        let inherited = Mode::from_raw_mode(fstat(dir)?.st_mode).contains(Mode::SGID);
        Ok(Self {
            uid: Uid::from_raw(caller.uid),
            gid: (!inherited).then(|| Gid::from_raw(caller.gid)),
        })
    }

    /// Takes what was made for it, and says whether that was allowed: only root may give files away, anyone else serves
    /// only themselves.
    fn take(self, made: &LocalInode) -> bool {
        made.chown(Some(self.uid), self.gid).is_ok()
    }
}

/// The mode of a new file; to be set after the owner, because chown(2) takes the set-user-id bit away. Who could not be
/// made the owner does not get programs that run as somebody else.
fn mode_of_new(mode: u32, given: bool) -> Mode {
    Mode::from_raw_mode(mode & if given { 0o7777 } else { 0o1777 })
}

/// Whether the error says that there is nothing there.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
