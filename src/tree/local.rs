//! The user's own files: what lies in the store's directory under `config`, `mappings`, `references` and `pickles` and is
//! no copy of a catalogued file. Every access starts at the store's directory handle, so that no name and no link leads out
//! of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, FileTypeExt, OpenOptions, OpenOptionsExt};
use rustix::fs::{
    AtFlags, DirEntryExt, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid,
};
use rustix::fs::{
    UTIME_NOW, UTIME_OMIT, chmodat, chownat, fchmod, fchown, fstat, futimens, renameat_with, statat,
    utimensat,
};

use super::ops::{Caller, NewTime, NodeKind, SetAttr};

/// What the store's file system says of one of the user's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LocalStat {
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) kind: NodeKind,
    pub(super) size: u64,
    pub(super) blocks: u64,
    pub(super) atime: SystemTime,
    pub(super) mtime: SystemTime,
    pub(super) ctime: SystemTime,
    pub(super) perm: u16,
    pub(super) nlink: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl LocalStat {
    /// `None` for what crds-fs does not show: devices.
    fn of(stat: &Stat) -> Option<Self> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => NodeKind::Directory,
            FileType::RegularFile => NodeKind::File,
            FileType::Symlink => NodeKind::Symlink,
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket => NodeKind::Socket,
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => return None,
        };
        Some(Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            kind,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            blocks: u64::try_from(stat.st_blocks).unwrap_or_default(),
            atime: system_time(stat.st_atime, stat.st_atime_nsec),
            mtime: system_time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: system_time(stat.st_ctime, stat.st_ctime_nsec),
            perm: u16::try_from(stat.st_mode & 0o7777).unwrap_or_default(),
            nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            uid: stat.st_uid,
            gid: stat.st_gid,
        })
    }

    /// Of an open file.
    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        Self::of(&fstat(file)?).ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}

fn system_time(seconds: i64, nanos: impl TryInto<u32>) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let second = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    let nanos = Duration::from_nanos(nanos.try_into().unwrap_or_default().into());
    second
        .and_then(|time| time.checked_add(nanos))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The open(2) flags that matter here.
#[expect(clippy::struct_excessive_bools, reason = "flags are what open(2) has")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) write: bool,
    read: bool,
    append: bool,
    pub(super) truncate: bool,
    exclusive: bool,
}

impl Access {
    pub(super) fn of(flags: i32) -> Self {
        let flags = OFlags::from_bits_retain(flags.cast_unsigned());
        let mode = flags & OFlags::RWMODE;
        Self {
            write: mode == OFlags::WRONLY || mode == OFlags::RDWR,
            read: mode != OFlags::WRONLY,
            append: flags.contains(OFlags::APPEND),
            truncate: flags.contains(OFlags::TRUNC),
            exclusive: flags.contains(OFlags::EXCL),
        }
    }

    /// Whether an open with these flags may change the file.
    pub(super) fn changes(self) -> bool {
        self.write || self.truncate
    }

    fn options(self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options
            .read(self.read)
            .write(self.write || self.truncate)
            .append(self.append && self.write)
            .follow(FollowSymlinks::No)
            // A FIFO that has come to the place of a file would let the mount wait for its other end.
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        options
    }
}

/// One name in a directory of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalEntry {
    pub(super) name: OsString,
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) kind: NodeKind,
}

/// The user's files in the store's directory. Paths are relative to it.
#[derive(Debug, Clone)]
pub(super) struct Local {
    dir: Arc<Dir>,
}

impl Local {
    pub(super) fn new(dir: Arc<Dir>) -> Self {
        Self { dir }
    }

    /// The directory that holds `path`, and the name in it: what follows is one name below one handle.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(Dir, &'a OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = match path.parent() {
            Some(parent) if parent != Path::new("") => self.dir.open_dir(parent)?,
            _ => self.dir.try_clone()?,
        };
        Ok((dir, name))
    }

    /// As [`Self::parent`], making the directories that the store does not have yet.
    fn made_parent<'a>(&self, path: &'a Path) -> io::Result<(Dir, &'a OsStr)> {
        match self.parent(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = path.parent() {
                    self.dir.create_dir_all(parent)?;
                }
                self.parent(path)
            }
            found => found,
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

    pub(super) fn open(&self, path: &Path, access: Access) -> io::Result<File> {
        let (dir, name) = self.parent(path)?;
        let file = dir
            .open_with(name, access.options().truncate(access.truncate))?
            .into_std();
        match FileType::from_raw_mode(fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(file),
            // Something else has come to its place: the kernel looks again.
            _ => Err(rustix::io::Errno::STALE.into()),
        }
    }

    /// Creates a file for `caller`, or opens the one that is there unless the flags say `O_EXCL`.
    pub(super) fn create(&self, caller: Caller, path: &Path, access: Access, mode: u32) -> io::Result<File> {
        let (dir, name) = self.made_parent(path)?;
        let mut options = access.options();
        options.mode(mode & 0o7777).write(true);
        match dir.open_with(name, options.clone().create_new(true)) {
            Ok(file) => {
                let file = file.into_std();
                let owner = Owner::of_new(caller, &dir)?;
                let given = fchown(&file, Some(owner.uid), owner.gid).is_ok();
                fchmod(&file, mode_of_new(mode, given))?;
                Ok(file)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !access.exclusive => {
                self.open(path, access)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn mkdir(&self, caller: Caller, path: &Path, mode: u32) -> io::Result<()> {
        let (dir, name) = self.made_parent(path)?;
        let mut builder = DirBuilder::new();
        builder.mode(mode & 0o7777);
        dir.create_dir_with(name, &builder)?;
        let owner = Owner::of_new(caller, &dir)?;
        owner.take(&dir, name);
        // A directory hands on the group that it was given.
        let bit = if owner.gid.is_none() {
            Mode::SGID
        } else {
            Mode::empty()
        };
        chmodat(
            &dir,
            name,
            Mode::from_raw_mode(mode & 0o7777) | bit,
            AtFlags::empty(),
        )?;
        Ok(())
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
        rustix::fs::mknodat(&dir, name, file_type, Mode::from_raw_mode(mode & 0o7777), 0)?;
        let given = Owner::of_new(caller, &dir)?.take(&dir, name);
        chmodat(&dir, name, mode_of_new(mode, given), AtFlags::empty())?;
        Ok(())
    }

    pub(super) fn symlink(&self, caller: Caller, path: &Path, target: &OsStr) -> io::Result<()> {
        let (dir, name) = self.made_parent(path)?;
        rustix::fs::symlinkat(target, &dir, name)?;
        Owner::of_new(caller, &dir)?.take(&dir, name);
        Ok(())
    }

    pub(super) fn readlink(&self, path: &Path) -> io::Result<OsString> {
        let (dir, name) = self.parent(path)?;
        let target = rustix::fs::readlinkat(&dir, name, Vec::new())?;
        Ok(OsStr::from_bytes(target.as_bytes()).to_owned())
    }

    pub(super) fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.made_parent(to)?;
        Ok(rustix::fs::linkat(
            &from_dir,
            from_name,
            &to_dir,
            to_name,
            AtFlags::empty(),
        )?)
    }

    pub(super) fn unlink(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(&dir, name, AtFlags::empty())?)
    }

    pub(super) fn rmdir(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR)?)
    }

    pub(super) fn rename(&self, from: &Path, to: &Path, keep_target: bool) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.made_parent(to)?;
        let flags = if keep_target {
            RenameFlags::NOREPLACE
        } else {
            RenameFlags::empty()
        };
        Ok(renameat_with(&from_dir, from_name, &to_dir, to_name, flags)?)
    }

    /// The names in a directory of the store; none when the store does not have it.
    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<LocalEntry>> {
        let dir = match self.dir.open_dir(path) {
            Ok(dir) => dir,
            Err(error) if is_absence(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let dev = fstat(&dir)?.st_dev;
        let mut entries = Vec::new();
        for entry in dir.entries()? {
            let entry = entry?;
            let file_type = entry.file_type()?;
            let kind = if file_type.is_fifo() {
                NodeKind::Fifo
            } else if file_type.is_socket() {
                NodeKind::Socket
            } else if file_type.is_dir() {
                NodeKind::Directory
            } else if file_type.is_file() {
                NodeKind::File
            } else if file_type.is_symlink() {
                NodeKind::Symlink
            } else {
                continue;
            };
            let (name, ino) = (entry.file_name(), entry.ino());
            entries.push(LocalEntry { name, dev, ino, kind });
        }
        Ok(entries)
    }

    /// Changes attributes by name; length and the rest through an open file are [`change_open`]'s.
    pub(super) fn change(&self, path: &Path, change: &SetAttr) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        let link = AtFlags::SYMLINK_NOFOLLOW;
        if let Some(size) = change.size {
            self.open(path, Access::of(OFlags::WRONLY.bits().cast_signed()))?
                .set_len(size)?;
        }
        if let Some(mode) = change.mode {
            chmodat(&dir, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
        }
        if change.uid.is_some() || change.gid.is_some() {
            chownat(
                &dir,
                name,
                change.uid.map(Uid::from_raw),
                change.gid.map(Gid::from_raw),
                link,
            )?;
        }
        if let Some(times) = timestamps(change) {
            utimensat(&dir, name, &times, link)?;
        }
        Ok(())
    }

    /// Makes the names in a directory durable; nothing to do when the store does not have it.
    pub(super) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match self.dir.open_dir(path) {
            Ok(dir) => Ok(rustix::fs::fsync(&dir)?),
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
    fn of_new(caller: Caller, dir: &Dir) -> io::Result<Self> {
        let inherited = Mode::from_raw_mode(fstat(dir)?.st_mode).contains(Mode::SGID);
        Ok(Self {
            uid: Uid::from_raw(caller.uid),
            gid: (!inherited).then(|| Gid::from_raw(caller.gid)),
        })
    }

    /// Takes what was made for it, and says whether that was allowed: only root may give files away, anyone else serves
    /// only themselves.
    fn take(self, dir: &Dir, name: &OsStr) -> bool {
        chownat(dir, name, Some(self.uid), self.gid, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }
}

/// The mode of a new file; to be set after the owner, because chown(2) takes the set-user-id bit away. Who could not be
/// made the owner does not get programs that run as somebody else.
fn mode_of_new(mode: u32, given: bool) -> Mode {
    Mode::from_raw_mode(mode & if given { 0o7777 } else { 0o1777 })
}

/// Changes attributes of an open file, which may have lost its name.
pub(super) fn change_open(file: &File, change: &SetAttr) -> io::Result<()> {
    if let Some(size) = change.size {
        file.set_len(size)?;
    }
    if let Some(mode) = change.mode {
        fchmod(file, Mode::from_raw_mode(mode & 0o7777))?;
    }
    if change.uid.is_some() || change.gid.is_some() {
        fchown(file, change.uid.map(Uid::from_raw), change.gid.map(Gid::from_raw))?;
    }
    if let Some(times) = timestamps(change) {
        futimens(file, &times)?;
    }
    Ok(())
}

fn timestamps(change: &SetAttr) -> Option<Timestamps> {
    if change.atime.is_none() && change.mtime.is_none() {
        return None;
    }
    Some(Timestamps {
        last_access: timespec(change.atime),
        last_modification: timespec(change.mtime),
    })
}

fn timespec(time: Option<NewTime>) -> Timespec {
    let special = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let time = match time {
        None => return special(UTIME_OMIT),
        Some(NewTime::Now) => return special(UTIME_NOW),
        Some(NewTime::At(time)) => time,
    };
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => Timespec {
            tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(after.subsec_nanos()),
        },
        Err(before) => {
            let before = before.duration();
            let borrowed = i64::from(before.subsec_nanos() > 0);
            Timespec {
                tv_sec: -i64::try_from(before.as_secs()).unwrap_or(i64::MAX) - borrowed,
                tv_nsec: borrowed * 1_000_000_000 - i64::from(before.subsec_nanos()),
            }
        }
    }
}

/// Whether the error says that there is nothing there.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
