//! The view of one node: what its calls do, from memory or at the directory itself.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fuser::{FileAttr, FileHandle, INodeNo, OpenFlags, RenameFlags};
use parking_lot::Mutex;
use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags, Stat};

use super::calls;
use super::memory::{Listed, Memory, Remembered};
use super::requests::Requests;
use super::{Locks, Options, between};

/// The view of one node.
pub struct View {
    pub(super) options: Options,
    pub(super) memory: Mutex<Memory>,
    pub(super) requests: Arc<Requests>,
    pub(super) files: Mutex<HashMap<u64, Arc<File>>>,
    /// Bytes that were written.
    written: AtomicU64,
    /// Open files of which bytes were lost.
    beyond: Mutex<HashSet<u64>>,
    pub(super) listings: Mutex<HashMap<u64, Arc<Vec<Listed>>>>,
    next: AtomicU64,
}

impl View {
    pub(super) fn new(directory: &Path, options: Options, requests: Arc<Requests>) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::open(directory, flags, Mode::empty())?;
        let stat = fs::fstat(&root)?;
        Ok(Self {
            options,
            memory: Mutex::new(Memory::new(root, &stat, options)),
            requests,
            files: Mutex::default(),
            written: AtomicU64::new(0),
            beyond: Mutex::default(),
            listings: Mutex::default(),
            next: AtomicU64::new(1),
        })
    }

    /// Makes a request, which takes the time that the network takes.
    pub(super) fn travel(&self, kind: &'static str) {
        self.requests.note(kind);
        if self.options.delay > 0.0 {
            std::thread::sleep(between((0.0, self.options.delay)));
        }
    }

    fn attributes(&self, ino: u64, stat: &Stat) -> FileAttr {
        calls::attributes(ino, stat, self.options.clock, self.options.squashed)
    }

    /// Notes that this node has changed a name in a directory. The reply tells the attributes of that.
    fn changed(&self, parent: u64, name: &OsStr) {
        let mut memory = self.memory.lock();
        memory.changed(parent, name);
        let place = memory.place(parent);
        let stat = place.and_then(|place| fs::fstat(place).ok());
        memory.set_attributes(parent, stat.map(|stat| self.attributes(parent, &stat)));
    }

    /// Decides at random that the reply to a request that was done is lost.
    fn is_lost(&self) -> bool {
        fastrand::u32(..1000) < self.options.lost
    }

    pub(super) fn place(&self, ino: INodeNo) -> io::Result<Arc<OwnedFd>> {
        self.memory.lock().place(ino.0).ok_or_else(|| error(libc::ESTALE))
    }

    pub(super) fn file(&self, handle: FileHandle) -> io::Result<Arc<File>> {
        let files = self.files.lock();
        files.get(&handle.0).cloned().ok_or_else(|| error(libc::EBADF))
    }

    pub(super) fn handle(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn keep(&self, file: File) -> FileHandle {
        let handle = self.handle();
        self.files.lock().insert(handle, Arc::new(file));
        FileHandle(handle)
    }

    /// Enters a file that was found or made, and remembers its name and attributes.
    pub(super) fn enter(&self, parent: u64, name: &OsStr, (place, stat): (OwnedFd, Stat)) -> FileAttr {
        let mut memory = self.memory.lock();
        let ino = memory.enter(place, &stat);
        let attributes = self.attributes(ino, &stat);
        memory.set_attributes(ino, Some(attributes));
        memory.found(parent, name, Some(ino));
        attributes
    }

    pub(super) fn find(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        {
            let mut memory = self.memory.lock();
            match memory.look(parent.0, name) {
                Remembered::Absent => return Err(error(libc::ENOENT)),
                Remembered::Present(ino) => {
                    if let Some(attributes) = memory.attributes(ino) {
                        memory.again(ino);
                        return Ok(attributes);
                    }
                }
                Remembered::Nothing => {}
            }
        }
        self.travel("lookup");
        match calls::place(self.place(parent)?.as_fd(), name) {
            Ok(found) => Ok(self.enter(parent.0, name, found)),
            Err(error) => {
                if error.kind() == io::ErrorKind::NotFound {
                    self.memory.lock().found(parent.0, name, None);
                }
                Err(error)
            }
        }
    }

    /// The attributes of a file, remembered ones too unless `now`.
    pub(super) fn look(&self, ino: INodeNo, open: Option<&File>, now: bool) -> io::Result<FileAttr> {
        if !now && let Some(attributes) = self.memory.lock().attributes(ino.0) {
            return Ok(attributes);
        }
        if !now {
            self.requests.note("getattr");
        }
        let stat = match open {
            Some(file) => fs::fstat(file)?,
            None => fs::fstat(self.place(ino)?)?,
        };
        let mut memory = self.memory.lock();
        if memory.is_stale(ino.0, stat.st_nlink, open.is_some()) {
            return Err(error(libc::ESTALE));
        }
        let attributes = self.attributes(ino.0, &stat);
        memory.set_attributes(ino.0, Some(attributes));
        Ok(attributes)
    }

    /// Makes a name, and enters what it leads to. With `exclusive` the reply may be lost: then what is asked again finds that it
    /// is done.
    fn make<T>(
        &self,
        (kind, exclusive): (&'static str, bool),
        parent: INodeNo,
        name: &OsStr,
        make: impl FnOnce(&OwnedFd) -> io::Result<T>,
    ) -> io::Result<T> {
        self.travel(kind);
        let directory = self.place(parent)?;
        match make(&directory) {
            Ok(new) => {
                self.changed(parent.0, name);
                if exclusive && self.is_lost() {
                    return Err(error(libc::EEXIST));
                }
                Ok(new)
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::AlreadyExists && !self.options.stubborn {
                    self.memory.lock().drop_name(parent.0, name);
                }
                Err(error)
            }
        }
    }

    /// Makes something other than an open file.
    pub(super) fn made(
        &self,
        kind: &'static str,
        parent: INodeNo,
        name: &OsStr,
        make: impl FnOnce(&OwnedFd) -> rustix::io::Result<()>,
    ) -> io::Result<FileAttr> {
        self.make((kind, true), parent, name, |directory| Ok(make(directory)?))?;
        let found = calls::place(self.place(parent)?, name)?;
        Ok(self.enter(parent.0, name, found))
    }

    pub(super) fn create_file(
        &self,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> io::Result<(FileAttr, FileHandle)> {
        let exclusive = flags & libc::O_EXCL != 0;
        let file = self.make(("create", exclusive), parent, name, |directory| {
            calls::create(directory, name, flags, mode)
        })?;
        let attributes = self.enter(parent.0, name, calls::place_of(&file)?);
        Ok((attributes, self.keep(file)))
    }

    pub(super) fn open_file(&self, ino: INodeNo, flags: OpenFlags) -> io::Result<FileHandle> {
        self.travel("open");
        // From close to open, data is right: so is the length.
        self.look(ino, None, true)?;
        Ok(self.keep(calls::open(self.place(ino)?, flags.0)?))
    }

    pub(super) fn read_file(
        &self,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
    ) -> io::Result<Vec<u8>> {
        let file = self.file(handle)?;
        self.requests.note("read");
        if self
            .memory
            .lock()
            .is_stale(ino.0, fs::fstat(&file)?.st_nlink, true)
        {
            return Err(error(libc::ESTALE));
        }
        let mut bytes = vec![0; size as usize];
        let mut read = 0;
        while read < bytes.len() {
            match file.read_at(&mut bytes[read..], offset + read as u64)? {
                0 => break,
                count => read += count,
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }

    pub(super) fn write_file(
        &self,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
    ) -> io::Result<u32> {
        let file = self.file(handle)?;
        self.requests.note("write");
        let count = data.len() as u64;
        let before = self.written.fetch_add(count, Ordering::Relaxed);
        // As on NFS, the kernel has the bytes, and the server gets them later.
        match self.options.quota {
            Some(quota) if before + count > quota => {
                self.beyond.lock().insert(handle.0);
            }
            _ => file.write_all_at(data, offset)?,
        }
        self.memory.lock().set_attributes(ino.0, None);
        Ok(u32::try_from(data.len()).unwrap_or(u32::MAX))
    }

    /// Sends what was written of an open file: only now the server says that it was too much.
    pub(super) fn send(&self, handle: FileHandle) -> io::Result<Arc<File>> {
        let file = self.file(handle)?;
        if self.beyond.lock().contains(&handle.0) {
            return Err(error(libc::EDQUOT));
        }
        Ok(file)
    }

    pub(super) fn close(&self, handle: FileHandle) {
        self.requests.note("close");
        self.beyond.lock().remove(&handle.0);
        self.files.lock().remove(&handle.0);
    }

    pub(super) fn remove(&self, parent: INodeNo, name: &OsStr, flags: AtFlags) -> io::Result<()> {
        self.travel("remove");
        let directory = self.place(parent)?;
        self.removes(&directory, name);
        fs::unlinkat(&directory, name, flags)?;
        self.changed(parent.0, name);
        if self.is_lost() {
            return Err(error(libc::ENOENT));
        }
        Ok(())
    }

    /// Notes that what a name leads to loses it by this node.
    pub(super) fn removes(&self, directory: &OwnedFd, name: &OsStr) {
        if let Ok(stat) = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            self.memory.lock().removes(&stat);
        }
    }

    pub(super) fn move_name(
        &self,
        from: (INodeNo, &OsStr),
        to: (INodeNo, &OsStr),
        flags: RenameFlags,
    ) -> io::Result<()> {
        if !flags.is_empty() {
            return Err(error(libc::EINVAL));
        }
        self.travel("rename");
        let (source, target) = (self.place(from.0)?, self.place(to.0)?);
        self.removes(&target, to.1);
        fs::renameat(&source, from.1, &target, to.1)?;
        self.changed(from.0.0, from.1);
        self.changed(to.0.0, to.1);
        if self.is_lost() {
            return Err(error(libc::ENOENT));
        }
        Ok(())
    }

    pub(super) fn link_file(&self, ino: INodeNo, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        if !self.options.links {
            return Err(error(libc::EPERM));
        }
        let place = self.place(ino)?;
        self.made("link", parent, name, |directory| {
            let source = calls::path(&place);
            fs::linkat(fs::CWD, &*source, directory, name, AtFlags::SYMLINK_FOLLOW)
        })
    }

    pub(super) fn open_directory(&self, ino: INodeNo) -> io::Result<FileHandle> {
        let known = self.memory.lock().listing(ino.0);
        let listing = if let Some(listing) = known {
            listing
        } else {
            self.travel("opendir");
            let directory = self.place(ino)?;
            let listed = calls::list(&directory, ino.0, |stat| self.memory.lock().number(stat))?;
            let listing = Arc::new(listed);
            self.memory.lock().set_listing(ino.0, &listing);
            listing
        };
        let handle = self.handle();
        self.listings.lock().insert(handle, listing);
        Ok(FileHandle(handle))
    }

    /// The answer to a question for a lock that excludes another: there is none, or locks do not work here.
    pub(super) fn is_unlocked(&self) -> io::Result<()> {
        match self.options.locks {
            Locks::Granted | Locks::Honest => Ok(()),
            Locks::Refused => Err(error(libc::ENOLCK)),
            Locks::Unknown => Err(error(libc::ENOSYS)),
        }
    }

    /// Takes or gives back a lock of a whole file, at once.
    pub(super) fn lock(&self, handle: FileHandle, kind: i32) -> io::Result<()> {
        match self.options.locks {
            Locks::Granted => Ok(()),
            Locks::Honest => {
                let file = self.file(handle)?;
                let writes = fs::fcntl_getfl(&file)?.intersects(OFlags::WRONLY | OFlags::RDWR);
                let operation = match kind {
                    libc::F_UNLCK => FlockOperation::Unlock,
                    libc::F_RDLCK => FlockOperation::NonBlockingLockShared,
                    _ if writes => FlockOperation::NonBlockingLockExclusive,
                    _ => return Err(error(libc::EBADF)),
                };
                Ok(fs::flock(&file, operation)?)
            }
            Locks::Refused => Err(error(libc::ENOLCK)),
            Locks::Unknown => Err(error(libc::ENOSYS)),
        }
    }
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}
