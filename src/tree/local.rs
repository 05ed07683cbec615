//! The user's own files: everything in the store's directory under `config`, `mappings`, `references` and `pickles`
//! that is no copy of a catalogued file. Every access starts at the store's directory handle and follows no link.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Uid};
use rustix::fs::{
    fchmod, fchown, fstat, fstatfs, mkdirat, mknodat, openat, openat2, renameat_with, statat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;

use super::inode::{Access, LocalEntry, LocalInode, LocalStat};
use super::ops::{Caller, NodeKind};

// The types in statfs(2) of file systems that may lie on others.
const OVERLAY: u64 = 0x794c_7630;
const FUSE: u64 = 0x6573_5546;
const ECRYPTFS: u64 = 0xf15f;

/// The open(2) flags for holding a directory for operations on its names.
const HELD: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The user's files in the store's directory. Paths are relative to it.
#[derive(Debug, Clone)]
pub(super) struct Local {
    root: Arc<Dir>,
}

/// A directory of the store, held for operations on its names.
#[derive(Debug)]
pub(super) struct LocalDir {
    descriptor: OwnedFd,
}

impl Local {
    pub(super) fn new(root: Arc<Dir>) -> Self {
        Self { root }
    }

    /// Whether the store lies on a file system that itself lies on another one (overlayfs, FUSE or eCryptfs). False
    /// where that cannot be told.
    pub(super) fn is_stacked(&self) -> bool {
        const STACKED: [u64; 3] = [OVERLAY, FUSE, ECRYPTFS];
        fstatfs(&*self.root)
            .ok()
            .and_then(|told| u64::try_from(told.f_type).ok())
            .is_some_and(|magic| STACKED.contains(&magic))
    }

    /// The directory at `path`. No part of the path may be a link, so that replacing one by a link leads nowhere else.
    pub(super) fn directory(&self, path: &Path) -> io::Result<LocalDir> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(&*self.root, path, HELD, Mode::empty(), resolve) {
            // Before Linux 5.6, and in sandboxes that do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => self.walk(path, false),
            opened => Ok(LocalDir { descriptor: opened? }),
        }
    }

    /// As [`Self::directory`], making the directories that the store does not have yet.
    pub(super) fn made_directory(&self, path: &Path) -> io::Result<LocalDir> {
        match self.directory(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.walk(path, true),
            found => found,
        }
    }

    /// Goes to a directory one name at a time. With `make`, those that are missing are made.
    fn walk(&self, path: &Path, make: bool) -> io::Result<LocalDir> {
        let mut at = openat(&*self.root, ".", HELD, Mode::empty())?;
        for part in path.components() {
            let name = match part {
                Component::Normal(name) => name,
                Component::CurDir => continue,
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            };
            at = match openat(&at, name, HELD, Mode::empty()) {
                Err(Errno::NOENT) if make => match mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => openat(&at, name, HELD, Mode::empty())?,
                    Err(error) => return Err(error.into()),
                },
                found => found?,
            };
        }
        Ok(LocalDir { descriptor: at })
    }

    /// The directory that holds `path`, and the name in it.
    pub(super) fn parent<'a>(&self, path: &'a Path) -> io::Result<(LocalDir, &'a OsStr)> {
        let (parent, name) = split(path)?;
        Ok((self.directory(parent)?, name))
    }

    /// As [`Self::parent`], making the directories that the store does not have yet.
    pub(super) fn made_parent<'a>(&self, path: &'a Path) -> io::Result<(LocalDir, &'a OsStr)> {
        let (parent, name) = split(path)?;
        Ok((self.made_directory(parent)?, name))
    }

    /// The inode at `path`, held by a descriptor; `None` for nothing.
    pub(super) fn inode(&self, path: &Path) -> io::Result<Option<LocalInode>> {
        match self.parent(path) {
            Ok((dir, name)) => dir.inode(name),
            Err(error) => none_if_absent(error),
        }
    }

    /// The attributes of the file at `path`; `None` for nothing, or for a device, which is not shown.
    pub(super) fn stat(&self, path: &Path) -> io::Result<Option<LocalStat>> {
        match self.parent(path) {
            Ok((dir, name)) => dir.stat(name),
            Err(error) => none_if_absent(error),
        }
    }

    /// Makes a file without a name.
    pub(super) fn nameless(&self) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = openat(&*self.root, ".", flags, Mode::from_raw_mode(0o644))?;
        Ok(File::from(file))
    }

    /// Gives a file without a name one.
    pub(super) fn name(&self, file: &File, path: &Path) -> io::Result<()> {
        let (dir, name) = self.made_parent(path)?;
        dir.link(&LocalInode::new(file.try_clone()?.into()), name)
    }

    /// The path below the store's directory of a name in one of its directories; refuses what is not one name.
    pub(super) fn join(directory: &Path, name: &OsStr) -> Option<PathBuf> {
        let bytes = name.as_bytes();
        let plain = !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/');
        plain.then(|| directory.join(name))
    }
}

impl LocalDir {
    pub(super) fn stat_itself(&self) -> io::Result<Option<LocalStat>> {
        Ok(LocalStat::of(&fstat(&self.descriptor)?))
    }

    /// The inode with this name, held by a descriptor; `None` for nothing.
    pub(super) fn inode(&self, name: &OsStr) -> io::Result<Option<LocalInode>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.descriptor, name, flags, Mode::empty()) {
            Ok(descriptor) => Ok(Some(LocalInode::new(descriptor))),
            Err(error) => none_if_absent(error.into()),
        }
    }

    /// The attributes of the file with this name; `None` for nothing, or for a device, which is not shown.
    pub(super) fn stat(&self, name: &OsStr) -> io::Result<Option<LocalStat>> {
        match statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(LocalStat::of(&stat)),
            Err(error) => none_if_absent(error.into()),
        }
    }

    /// Creates a file for `caller`, or opens the one that is there unless the flags say `O_EXCL`.
    pub(super) fn create(
        &self,
        caller: Caller,
        name: &OsStr,
        access: Access,
        mode: u32,
    ) -> io::Result<(File, LocalStat)> {
        let mode_of_open = if access.read { OFlags::RDWR } else { OFlags::WRONLY };
        let flags = access.flags().difference(OFlags::RWMODE | OFlags::TRUNC)
            | mode_of_open
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW;
        let file = match openat(&self.descriptor, name, flags, Mode::from_raw_mode(mode & 0o7777)) {
            Ok(file) => File::from(file),
            Err(Errno::EXIST) if !access.exclusive => {
                let there = self.inode(name)?.ok_or(io::ErrorKind::NotFound)?;
                let file = there.open(access)?;
                let stat = LocalStat::of_file(&file)?;
                return Ok((file, stat));
            }
            Err(error) => return Err(error.into()),
        };
        let mut stat = LocalStat::of_file(&file)?;
        if !stat.is_as(caller, mode) {
            let owner = self.owner_of_new(caller)?;
            let given = fchown(&file, Some(owner.uid), owner.gid).is_ok();
            fchmod(&file, mode_of_new(mode, given))?;
            stat = LocalStat::of_file(&file)?;
        }
        Ok((file, stat))
    }

    /// Makes a directory. `None` when something else has replaced it already.
    pub(super) fn mkdir(&self, caller: Caller, name: &OsStr, mode: u32) -> io::Result<Option<LocalStat>> {
        mkdirat(&self.descriptor, name, Mode::from_raw_mode(mode & 0o7777))?;
        let Some((inode, stat)) = self.made(name, NodeKind::Directory)? else {
            return Ok(None);
        };
        if stat.is_as(caller, mode) {
            return Ok(Some(stat));
        }
        let owner = self.owner_of_new(caller)?;
        owner.take(&inode);
        // A directory that inherited its group passes it on.
        let bit = if owner.gid.is_none() {
            Mode::SGID
        } else {
            Mode::empty()
        };
        inode.chmod(Mode::from_raw_mode(mode & 0o7777) | bit)?;
        inode.stat()
    }

    /// Makes a file, a FIFO or a socket. `None` when something else has replaced it already.
    pub(super) fn mknod(
        &self,
        caller: Caller,
        name: &OsStr,
        kind: NodeKind,
        mode: u32,
    ) -> io::Result<Option<LocalStat>> {
        let file_type = match kind {
            NodeKind::File => FileType::RegularFile,
            NodeKind::Fifo => FileType::Fifo,
            NodeKind::Socket => FileType::Socket,
            NodeKind::Directory | NodeKind::Symlink => return Err(io::ErrorKind::InvalidInput.into()),
        };
        mknodat(
            &self.descriptor,
            name,
            file_type,
            Mode::from_raw_mode(mode & 0o7777),
            0,
        )?;
        let Some((inode, stat)) = self.made(name, kind)? else {
            return Ok(None);
        };
        if stat.is_as(caller, mode) {
            return Ok(Some(stat));
        }
        let given = self.owner_of_new(caller)?.take(&inode);
        inode.chmod(mode_of_new(mode, given))?;
        inode.stat()
    }

    /// Makes a symbolic link. `None` when something else has replaced it already.
    pub(super) fn symlink(
        &self,
        caller: Caller,
        name: &OsStr,
        target: &OsStr,
    ) -> io::Result<Option<LocalStat>> {
        symlinkat(target, &self.descriptor, name)?;
        let Some((inode, stat)) = self.made(name, NodeKind::Symlink)? else {
            return Ok(None);
        };
        if stat.is_of(caller) {
            return Ok(Some(stat));
        }
        self.owner_of_new(caller)?.take(&inode);
        inode.stat()
    }

    /// The inode that was just made under a name, and its attributes; `None` when something of another kind, or
    /// nothing, is there by now.
    fn made(&self, name: &OsStr, kind: NodeKind) -> io::Result<Option<(LocalInode, LocalStat)>> {
        let Some(inode) = self.inode(name)? else {
            return Ok(None);
        };
        let stat = inode.stat()?.filter(|stat| stat.kind == kind);
        Ok(stat.map(|stat| (inode, stat)))
    }

    fn owner_of_new(&self, caller: Caller) -> io::Result<Owner> {
        let inherited = Mode::from_raw_mode(fstat(&self.descriptor)?.st_mode).contains(Mode::SGID);
        Ok(Owner {
            uid: Uid::from_raw(caller.uid),
            gid: (!inherited).then(|| Gid::from_raw(caller.gid)),
        })
    }

    /// Makes another name for a file.
    pub(super) fn link(&self, from: &LocalInode, name: &OsStr) -> io::Result<()> {
        from.link(&self.descriptor, name)
    }

    pub(super) fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.descriptor, name, AtFlags::empty())?)
    }

    pub(super) fn rmdir(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.descriptor, name, AtFlags::REMOVEDIR)?)
    }

    pub(super) fn rename(&self, name: &OsStr, to: &Self, new: &OsStr, flags: RenameFlags) -> io::Result<()> {
        Ok(renameat_with(&self.descriptor, name, &to.descriptor, new, flags)?)
    }

    /// The names in it.
    pub(super) fn list(&self) -> io::Result<Vec<LocalEntry>> {
        super::inode::list(&self.descriptor)
    }

    /// Makes its names durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(&self.descriptor, ".", flags, Mode::empty())?;
        Ok(rustix::fs::fsync(&dir)?)
    }
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((path.parent().unwrap_or(Path::new("")), name))
}

/// The owner of a new file.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: Uid,
    /// `None` where the directory gave it its own group already, as set-group-id directories do.
    gid: Option<Gid>,
}

impl Owner {
    /// Makes this the owner of a new file. False where that is not allowed: only root may give files away.
    fn take(self, made: &LocalInode) -> bool {
        made.chown(Some(self.uid), self.gid).is_ok()
    }
}

/// The mode of a new file; to be set after the owner, because chown(2) clears the set-user-id bit. Without the set-id
/// bits when the owner could not be changed (`given` is false), so that no program runs as the mount's user instead.
fn mode_of_new(mode: u32, given: bool) -> Mode {
    Mode::from_raw_mode(mode & if given { 0o7777 } else { 0o1777 })
}

/// `None` where the error says that there is nothing; else the error.
fn none_if_absent<T>(error: io::Error) -> io::Result<Option<T>> {
    if is_absence(&error) { Ok(None) } else { Err(error) }
}

/// Whether the error says that there is nothing there.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
