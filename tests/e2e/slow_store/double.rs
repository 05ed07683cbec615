//! A file system that shows a directory, with calls that wait until they are let go, or fail at close.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, SessionACL,
    TimeOrNow, WriteFlags,
};

use crate::rig::PATIENCE;

/// Reads of files whose names begin so wait for the [`Gate`].
pub(super) const SLOW: &str = "slow-";
/// As do lookups of such names, writes to such files, and renames, removals and closes of them.
pub(super) const HUNG: [&str; 5] = ["look-", "write-", "rename-", "remove-", "close-"];
/// Closing a file with this name fails.
pub(super) const FULL: &str = "full";
const TTL: Duration = Duration::ZERO;

/// The calls that wait, and whether they may go on.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<(usize, bool)>,
    changed: Condvar,
    /// Calls that ask for the size of the file system wait as well.
    pub(super) keeps_room: AtomicBool,
}

impl Gate {
    fn wait(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |(_, open)| !*open).unwrap());
    }

    pub(super) fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    pub(super) fn wait_for(&self, waiting: usize) {
        let state = self.state.lock().unwrap();
        let few = |state: &mut (usize, bool)| state.0 < waiting;
        let (state, late) = self.changed.wait_timeout_while(state, PATIENCE, few).unwrap();
        let late = late.timed_out();
        drop(state);
        if late {
            self.open();
        }
        assert!(!late, "the reads do not come");
    }
}

/// An open file, and its path.
type Opened = (Arc<File>, PathBuf);

/// A directory shown as it is, but for [`SLOW`], [`HUNG`] and [`FULL`].
#[derive(Clone)]
pub(super) struct Double {
    paths: Arc<Mutex<HashMap<u64, PathBuf>>>,
    files: Arc<Mutex<HashMap<u64, Opened>>>,
    gate: Arc<Gate>,
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_i32(error.raw_os_error().unwrap_or(libc::EIO))
}

impl Double {
    /// Shows the directory `real` at `shown`, until what is returned is dropped.
    pub(super) fn mount(real: PathBuf, shown: &Path, gate: Arc<Gate>) -> BackgroundSession {
        let double = Self {
            paths: Arc::new(Mutex::new([(1, real)].into())),
            files: Arc::default(),
            gate,
        };
        let mut config = Config::default();
        config.acl = SessionACL::Owner;
        fuser::spawn_mount(double, shown, &config).unwrap()
    }

    fn path(&self, ino: INodeNo) -> PathBuf {
        self.paths
            .lock()
            .unwrap()
            .get(&ino.0)
            .cloned()
            .unwrap_or_default()
    }

    fn attr(&self, path: &Path) -> std::io::Result<FileAttr> {
        let found = fs::symlink_metadata(path)?;
        let root = self
            .paths
            .lock()
            .unwrap()
            .get(&1)
            .is_some_and(|root| root == path);
        let ino = if root { 1 } else { found.ino() };
        self.paths.lock().unwrap().insert(ino, path.to_owned());
        let kind = match found.file_type() {
            kind if kind.is_dir() => FileType::Directory,
            kind if kind.is_symlink() => FileType::Symlink,
            _ => FileType::RegularFile,
        };
        Ok(FileAttr {
            ino: INodeNo(ino),
            size: found.len(),
            blocks: found.blocks(),
            atime: found.accessed()?,
            mtime: found.modified()?,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: u16::try_from(found.mode() & 0o7777).unwrap(),
            nlink: u32::try_from(found.nlink()).unwrap(),
            uid: found.uid(),
            gid: found.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn entry(&self, path: &Path, reply: ReplyEntry) {
        match self.attr(path) {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    /// Does something with a file; if its name begins with `beginning`, once the gate is open.
    fn gated(&self, path: &Path, beginning: &str, work: impl FnOnce(&Self) + Send + 'static) {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if !name.starts_with(beginning) {
            return work(self);
        }
        let double = self.clone();
        std::thread::spawn(move || {
            double.gate.wait();
            work(&double);
        });
    }

    fn keep(&self, file: File, path: PathBuf) -> FileHandle {
        let number = u64::try_from(file.as_raw_fd()).unwrap();
        self.files.lock().unwrap().insert(number, (Arc::new(file), path));
        FileHandle(number)
    }

    fn file(&self, handle: FileHandle) -> Opened {
        self.files.lock().unwrap().get(&handle.0).cloned().unwrap()
    }
}

fn done(result: std::io::Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(&error)),
    }
}

impl Filesystem for Double {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let path = self.path(parent).join(name);
        let looked = path.clone();
        self.gated(&path, HUNG[0], move |double| double.entry(&looked, reply));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(&self.path(ino)) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        handle: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let path = self.path(ino);
        if let Some(mode) = mode {
            let _ = fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777));
        }
        if let Some(size) = size {
            let _ = File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_len(size));
        }
        self.getattr(request, ino, handle, reply);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let path = self.path(parent).join(name);
        match fs::create_dir(&path) {
            Ok(()) => self.entry(&path, reply),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let path = self.path(parent).join(name);
        let removed = path.clone();
        self.gated(&path, HUNG[3], move |_| done(fs::remove_file(removed), reply));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = (self.path(parent).join(name), self.path(new_parent).join(new_name));
        if !flags.is_empty() && to.exists() {
            return reply.error(Errno::EEXIST);
        }
        let moved = from.clone();
        self.gated(&from, HUNG[2], move |_| done(fs::rename(moved, &to), reply));
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let path = self.path(ino);
        let write = flags.0 & libc::O_ACCMODE != libc::O_RDONLY;
        match File::options().read(true).write(write).open(&path) {
            Ok(file) => reply.opened(self.keep(file, path), FopenFlags::empty()),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let path = self.path(parent).join(name);
        let created = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(mode)
            .open(&path);
        match created.and_then(|file| Ok((file, self.attr(&path)?))) {
            Ok((file, attr)) => {
                reply.created(
                    &TTL,
                    &attr,
                    Generation(0),
                    self.keep(file, path),
                    FopenFlags::empty(),
                );
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let (file, path) = self.file(handle);
        self.gated(&path, SLOW, move |_| {
            let mut bytes = vec![0; usize::try_from(size).unwrap()];
            match file.read_at(&mut bytes, offset) {
                Ok(length) => reply.data(&bytes[..length]),
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let ((file, path), data) = (self.file(handle), data.to_vec());
        self.gated(&path, HUNG[1], move |_| match file.write_all_at(&data, offset) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap()),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, handle: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        let path = self.file(handle).1;
        if path.ends_with(FULL) {
            return reply.error(Errno::EDQUOT);
        }
        self.gated(&path, HUNG[4], move |_| reply.ok());
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.files.lock().unwrap().remove(&handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let gate = Arc::clone(&self.gate);
        std::thread::spawn(move || {
            if gate.keeps_room.load(Ordering::Relaxed) {
                gate.wait();
            }
            reply.statfs(1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096);
        });
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let path = self.path(ino);
        let mut names: Vec<_> = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        for (next, name) in (1..).zip(&names).skip(usize::try_from(offset).unwrap()) {
            let Ok(attr) = self.attr(&path.join(name)) else {
                continue;
            };
            if reply.add(attr.ino, next, attr.kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
