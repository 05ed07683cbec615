//! System calls on the directory that is passed through, and their results as the kernel wants them.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use rustix::fs::{self, AtFlags, Mode, OFlags, Stat, Timespec, Timestamps};

use super::memory::{Listed, ROOT};

/// The user, and the group, that servers take root for.
const NOBODY: u32 = 65534;

/// Opens a name as a place only.
pub(super) fn place(parent: impl AsFd, name: &OsStr) -> io::Result<(OwnedFd, Stat)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = fs::openat(parent, name, flags, Mode::empty())?;
    let stat = fs::fstat(&place)?;
    Ok((place, stat))
}

/// The place of an open file.
pub(super) fn place_of(file: &File) -> io::Result<(OwnedFd, Stat)> {
    let place = fs::open(path(file), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fs::fstat(&place)?;
    Ok((place, stat))
}

/// A name of an open file or place, whatever names it has.
pub(super) fn path(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// Opens a place for reading or writing.
pub(super) fn open(place: impl AsFd, flags: i32) -> io::Result<File> {
    // As on NFS, the kernel finds the end to append to.
    let kept = OFlags::RDONLY | OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC;
    let flags = OFlags::from_bits_retain(flags.cast_unsigned()) & kept;
    Ok(fs::open(path(place), flags | OFlags::CLOEXEC, Mode::empty())?.into())
}

/// Creates and opens a file.
pub(super) fn create(parent: impl AsFd, name: &OsStr, flags: i32, mode: u32) -> io::Result<File> {
    let kept = OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC | OFlags::EXCL;
    let flags = OFlags::from_bits_retain(flags.cast_unsigned()) & kept;
    let mode = Mode::from_raw_mode(mode & 0o7777);
    Ok(fs::openat(parent, name, flags | OFlags::CREATE | OFlags::CLOEXEC, mode)?.into())
}

/// The entries of a directory.
pub(super) fn list(directory: impl AsFd, ino: u64, number: impl Fn(&Stat) -> u64) -> io::Result<Vec<Listed>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = fs::openat(&directory, ".", flags, Mode::empty())?;
    let mut found = Vec::new();
    for entry in fs::Dir::read_from(&opened)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
        let (ino, kind) = if name == "." {
            (ino, FileType::Directory)
        } else if name == ".." {
            (ROOT, FileType::Directory)
        } else {
            match fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => (number(&stat), kind(&stat)),
                // Gone meanwhile.
                Err(_) => continue,
            }
        };
        found.push(Listed { ino, kind, name });
    }
    Ok(found)
}

/// New attributes of a file.
#[derive(Default)]
pub(super) struct Change {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) atime: Option<TimeOrNow>,
    pub(super) mtime: Option<TimeOrNow>,
}

/// Changes attributes. `clock` is how far the clock of the server is ahead.
pub(super) fn change(place: impl AsFd, open: Option<&File>, change: &Change, clock: i64) -> io::Result<()> {
    let name = path(&place);
    if let Some(size) = change.size {
        match open {
            Some(file) => file.set_len(size)?,
            None => self::open(&place, libc::O_WRONLY)?.set_len(size)?,
        }
    }
    if let Some(mode) = change.mode {
        fs::chmod(&*name, Mode::from_raw_mode(mode & 0o7777))?;
    }
    if change.uid.is_some() || change.gid.is_some() {
        std::os::unix::fs::chown(&name, change.uid, change.gid)?;
    }
    if change.atime.is_some() || change.mtime.is_some() {
        let time = |time: Option<TimeOrNow>| match time {
            None => Timespec {
                tv_sec: 0,
                tv_nsec: fs::UTIME_OMIT,
            },
            Some(TimeOrNow::Now) => Timespec {
                tv_sec: 0,
                tv_nsec: fs::UTIME_NOW,
            },
            Some(TimeOrNow::SpecificTime(time)) => {
                let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                Timespec {
                    tv_sec: since.as_secs().cast_signed() - clock,
                    tv_nsec: since.subsec_nanos().into(),
                }
            }
        };
        let times = Timestamps {
            last_access: time(change.atime),
            last_modification: time(change.mtime),
        };
        fs::utimensat(fs::CWD, &*name, &times, AtFlags::empty())?;
    }
    Ok(())
}

/// Attributes as the kernel wants them. `clock` is how far the clock of the server is ahead; `squashed` if all files are nobody's.
pub(super) fn attributes(ino: u64, stat: &Stat, clock: i64, squashed: bool) -> FileAttr {
    let time = |seconds: i64, nanoseconds: u64| {
        let seconds = u64::try_from(seconds + clock).unwrap_or(0);
        let nanoseconds = u32::try_from(nanoseconds).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
    };
    let ctime = time(stat.st_ctime, stat.st_ctime_nsec);
    FileAttr {
        ino: INodeNo(ino),
        size: stat.st_size.cast_unsigned(),
        blocks: stat.st_blocks.cast_unsigned(),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime,
        crtime: ctime,
        kind: kind(stat),
        perm: u16::try_from(stat.st_mode & 0o7777).unwrap_or(0),
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: if squashed { NOBODY } else { stat.st_uid },
        gid: if squashed { NOBODY } else { stat.st_gid },
        rdev: u32::try_from(stat.st_rdev).unwrap_or(0),
        blksize: 4096,
        flags: 0,
    }
}

fn kind(stat: &Stat) -> FileType {
    match fs::FileType::from_raw_mode(stat.st_mode) {
        fs::FileType::Directory => FileType::Directory,
        fs::FileType::Symlink => FileType::Symlink,
        fs::FileType::Fifo => FileType::NamedPipe,
        fs::FileType::Socket => FileType::Socket,
        fs::FileType::CharacterDevice => FileType::CharDevice,
        fs::FileType::BlockDevice => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}
