//! Inodes of the user's files. Operations on an existing file go through a descriptor of its inode, so that replacing
//! its name meanwhile changes nothing.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::fs::{
    UTIME_NOW, UTIME_OMIT, chmodat, chownat, fchmod, fchown, fstat, futimens, getxattr, linkat, listxattr,
    openat, removexattr, setxattr, statat, utimensat,
};
use rustix::io::Errno;

use super::ops::{Caller, NewTime, NodeKind, SetAttr};

/// The attributes of one of the user's files, as the store's file system has them.
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
    /// The attributes in a `stat` structure; `None` for a device, which crds-fs does not show.
    pub(super) fn of(stat: &Stat) -> Option<Self> {
        let kind = kind_of(FileType::from_raw_mode(stat.st_mode))?;
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

    /// Whether it belongs to the caller.
    pub(super) fn is_of(&self, caller: Caller) -> bool {
        (self.uid, self.gid) == (caller.uid, caller.gid)
    }

    /// Whether it belongs to the caller and has this mode.
    pub(super) fn is_as(&self, caller: Caller, mode: u32) -> bool {
        self.is_of(caller) && u32::from(self.perm) == mode & 0o7777
    }

    /// The attributes of an open file.
    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        Self::of(&fstat(file)?).ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}

/// The kind of an inode; `None` for a device, which crds-fs does not show.
fn kind_of(file_type: FileType) -> Option<NodeKind> {
    match file_type {
        FileType::Directory => Some(NodeKind::Directory),
        FileType::RegularFile => Some(NodeKind::File),
        FileType::Symlink => Some(NodeKind::Symlink),
        FileType::Fifo => Some(NodeKind::Fifo),
        FileType::Socket => Some(NodeKind::Socket),
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => None,
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
    pub(super) read: bool,
    append: bool,
    pub(super) truncate: bool,
    pub(super) exclusive: bool,
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

    /// The open(2) flags for an existing file.
    pub(super) fn flags(self) -> OFlags {
        let mut flags = OFlags::CLOEXEC;
        flags |= match (self.read, self.write || self.truncate) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            (_, false) => OFlags::RDONLY,
        };
        flags.set(OFlags::APPEND, self.append && self.write);
        flags.set(OFlags::TRUNC, self.truncate);
        flags
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

/// One of the user's files, directories or links, held without opening it: it stays the same whatever becomes of its
/// names.
#[derive(Debug)]
pub(super) struct LocalInode {
    descriptor: OwnedFd,
}

impl LocalInode {
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        Self { descriptor }
    }

    pub(super) fn stat(&self) -> io::Result<Option<LocalStat>> {
        Ok(LocalStat::of(&fstat(&self.descriptor)?))
    }

    /// The link below `/proc/self/fd` that leads to the held inode, whatever its kind, and to nothing else.
    fn magic_link(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.descriptor.as_raw_fd().to_string())
    }

    /// Opens a regular file. A pipe would keep the caller waiting, and nothing else can be opened.
    pub(super) fn open(&self, access: Access) -> io::Result<File> {
        match self.stat()?.map(|stat| stat.kind) {
            Some(NodeKind::File) => {}
            Some(NodeKind::Directory) => return Err(Errno::ISDIR.into()),
            Some(NodeKind::Symlink) => return Err(Errno::LOOP.into()),
            Some(NodeKind::Fifo | NodeKind::Socket) | None => return Err(Errno::NXIO.into()),
        }
        let file = rustix::fs::open(self.magic_link(), access.flags(), Mode::empty())?;
        Ok(File::from(file))
    }

    /// Makes another name for it.
    pub(super) fn link(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
        Ok(linkat(
            CWD,
            self.magic_link(),
            dir,
            name,
            AtFlags::SYMLINK_FOLLOW,
        )?)
    }

    pub(super) fn readlink(&self) -> io::Result<OsString> {
        let target = rustix::fs::readlinkat(&self.descriptor, "", Vec::new())?;
        Ok(OsStr::from_bytes(target.as_bytes()).to_owned())
    }

    /// Changes attributes; those of an open file are [`change_open`]'s.
    pub(super) fn change(&self, change: &SetAttr) -> io::Result<()> {
        if let Some(size) = change.size {
            self.open(Access::of(OFlags::WRONLY.bits().cast_signed()))?
                .set_len(size)?;
        }
        if let Some(mode) = change.mode {
            self.chmod(Mode::from_raw_mode(mode & 0o7777))?;
        }
        if change.uid.is_some() || change.gid.is_some() {
            self.chown(change.uid.map(Uid::from_raw), change.gid.map(Gid::from_raw))?;
        }
        if let Some(times) = timestamps(change) {
            utimensat(CWD, self.magic_link(), &times, AtFlags::empty())?;
        }
        Ok(())
    }

    pub(super) fn chmod(&self, mode: Mode) -> io::Result<()> {
        // The mode of a link means nothing, and asking for it must not reach what it leads to.
        if self.stat()?.is_some_and(|stat| stat.kind == NodeKind::Symlink) {
            return Err(Errno::OPNOTSUPP.into());
        }
        Ok(chmodat(CWD, self.magic_link(), mode, AtFlags::empty())?)
    }

    pub(super) fn chown(&self, uid: Option<Uid>, gid: Option<Gid>) -> io::Result<()> {
        Ok(chownat(&self.descriptor, "", uid, gid, AtFlags::EMPTY_PATH)?)
    }

    /// The value of an extended attribute.
    pub(super) fn attribute(&self, name: &OsStr) -> io::Result<Vec<u8>> {
        filled(|buffer| getxattr(self.magic_link(), name, buffer))
    }

    pub(super) fn set_attribute(&self, name: &OsStr, value: &[u8], flags: XattrFlags) -> io::Result<()> {
        Ok(setxattr(self.magic_link(), name, value, flags)?)
    }

    pub(super) fn remove_attribute(&self, name: &OsStr) -> io::Result<()> {
        Ok(removexattr(self.magic_link(), name)?)
    }

    /// The names of its extended attributes, each with a zero behind it.
    pub(super) fn attributes(&self) -> io::Result<Vec<u8>> {
        filled(|buffer| listxattr(self.magic_link(), buffer))
    }
}

/// The names in a directory that is held.
pub(super) fn list(descriptor: &OwnedFd) -> io::Result<Vec<LocalEntry>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(descriptor, ".", flags, Mode::empty())?;
    let dev = fstat(&dir)?.st_dev;
    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::new(dir)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not give the kind with the name.
            FileType::Unknown => statat(descriptor, name, AtFlags::SYMLINK_NOFOLLOW)
                .ok()
                .and_then(|stat| Some(LocalStat::of(&stat)?.kind)),
            known => kind_of(known),
        };
        let (name, ino) = (name.to_owned(), entry.ino());
        entries.extend(kind.map(|kind| LocalEntry { name, dev, ino, kind }));
    }
    Ok(entries)
}

/// The longest value of an extended attribute, and the longest list of a file's attribute names, that Linux takes, in
/// bytes.
const MOST_OF_ATTRIBUTES: usize = 64 * 1024;

fn filled(fill: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; MOST_OF_ATTRIBUTES];
    let length = fill(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
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
