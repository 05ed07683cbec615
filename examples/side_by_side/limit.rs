//! The limit: a FUSE file system over complete files with everything in memory that can be, kernel passthrough for files
//! of 64 KiB or more and pages that are kept for smaller ones. It has no store, no catalog and no network, and does nothing
//! for files that are made in it but to make them, so that no FUSE file system of this kind is much faster.

mod made;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackingId, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, Request, Session,
};
use made::Made;

use crate::Fallible;

/// The first argument with which this program is the limit.
pub(crate) const COMMAND: &str = "--serve-limit";

const PASSTHROUGH_BYTES: u64 = 64 << 10;
const FOREVER: Duration = Duration::from_secs(86_400);

/// Serves a directory of directories of files until it is unmounted.
pub(crate) fn serve(directory: &Path, point: &Path) -> Fallible<()> {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("limit".to_owned()),
        MountOption::Subtype("limit".to_owned()),
        MountOption::NoAtime,
        MountOption::DefaultPermissions,
    ];
    config.n_threads = Some(2);
    let nodes = load(directory)?;
    let limit = Limit {
        made: Made::new(nodes.len() as u64 + 1),
        nodes,
        backings: Mutex::default(),
        next: AtomicU64::new(1),
    };
    Ok(Session::new(limit, point, &config)?.run()?)
}

struct Node {
    attr: FileAttr,
    path: PathBuf,
    entries: Vec<(OsString, INodeNo, FileType)>,
    places: HashMap<OsString, INodeNo>,
}

struct Limit {
    nodes: Vec<Node>,
    made: Made,
    backings: Mutex<HashMap<u64, BackingId>>,
    next: AtomicU64,
}

fn attr(ino: u64, metadata: &Metadata) -> FileAttr {
    let time = metadata.modified().unwrap_or(UNIX_EPOCH);
    let directory = metadata.is_dir();
    FileAttr {
        ino: INodeNo(ino),
        size: metadata.size(),
        blocks: metadata.blocks(),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: UNIX_EPOCH,
        kind: if directory {
            FileType::Directory
        } else {
            FileType::RegularFile
        },
        perm: if directory { 0o755 } else { 0o644 },
        nlink: 1,
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn load(root: &Path) -> Fallible<Vec<Node>> {
    let node = |ino, path: PathBuf| -> Fallible<Node> {
        Ok(Node {
            attr: attr(ino, &fs::metadata(&path)?),
            path,
            entries: Vec::new(),
            places: HashMap::new(),
        })
    };
    let mut nodes = vec![node(1, root.to_owned())?];
    let mut place = 0;
    while place < nodes.len() {
        if nodes[place].attr.kind == FileType::Directory {
            for entry in fs::read_dir(&nodes[place].path)? {
                let entry = entry?;
                let new = node(nodes.len() as u64 + 1, entry.path())?;
                let (name, ino, kind) = (entry.file_name(), new.attr.ino, new.attr.kind);
                nodes[place].places.insert(name.clone(), ino);
                nodes[place].entries.push((name, ino, kind));
                nodes.push(new);
            }
        }
        place += 1;
    }
    Ok(nodes)
}

impl Limit {
    fn node(&self, ino: INodeNo) -> Option<&Node> {
        self.nodes.get(usize::try_from(ino.0).ok()?.checked_sub(1)?)
    }

    /// Makes a file or a directory.
    fn make(&self, parent: INodeNo, name: &OsStr, directory: bool) -> std::io::Result<FileAttr> {
        let at = self.node(parent).map(|node| node.path.clone());
        let at = at.or_else(|| self.made.path(parent));
        let at = at.ok_or(std::io::ErrorKind::NotFound)?;
        self.made.make(parent, &at, name, directory)
    }

    fn remove(&self, parent: INodeNo, name: &OsStr, directory: bool, reply: ReplyEmpty) {
        match self.made.remove(parent, name, directory) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }
}

impl Filesystem for Limit {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // A kernel that lacks one of them serves without it.
        for flag in [
            InitFlags::FUSE_PASSTHROUGH,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
        ] {
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_stack_depth(1);
        let _ = config.set_max_readahead(1 << 20);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self
            .node(parent)
            .and_then(|node| self.node(*node.places.get(name)?));
        match found {
            Some(node) => reply.entry(&FOREVER, &node.attr, Generation(0)),
            None => match self.made.named(parent, name).map(|ino| self.made.getattr(ino)) {
                Some(Ok(attr)) => reply.entry(&FOREVER, &attr, Generation(0)),
                _ => reply.error(Errno::ENOENT),
            },
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        match self.make(parent, name, true) {
            Ok(attr) => reply.entry(&FOREVER, &attr, Generation(0)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        match self.make(parent, name, false) {
            Ok(attr) => reply.created(&FOREVER, &attr, Generation(0), FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error.into()),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove(parent, name, false, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove(parent, name, true, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.node(ino) {
            Some(node) => reply.attr(&FOREVER, &node.attr),
            None => match self.made.getattr(ino) {
                Ok(attr) => reply.attr(&FOREVER, &attr),
                Err(error) => reply.error(error.into()),
            },
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let Some(node) = self.node(ino) else {
            return reply.error(Errno::ENOENT);
        };
        let kept = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH;
        if node.attr.size < PASSTHROUGH_BYTES {
            return reply.opened(FileHandle(0), kept);
        }
        match File::open(&node.path).and_then(|file| reply.open_backing(&file)) {
            Ok(backing) => {
                let handle = self.next.fetch_add(1, Ordering::Relaxed);
                reply.opened_passthrough(FileHandle(handle), FopenFlags::FOPEN_NOFLUSH, &backing);
                let mut backings = self.backings.lock().unwrap_or_else(PoisonError::into_inner);
                backings.insert(handle, backing);
            }
            Err(_) => reply.opened(FileHandle(0), kept),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(node) = self.node(ino) else {
            return reply.error(Errno::ENOENT);
        };
        let mut buffer = vec![0; size as usize];
        match File::open(&node.path).and_then(|file| file.read_at(&mut buffer, offset)) {
            Ok(count) => reply.data(&buffer[..count]),
            Err(error) => reply.error(error.into()),
        }
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
        let backing = {
            let mut backings = self.backings.lock().unwrap_or_else(PoisonError::into_inner);
            backings.remove(&handle.0)
        };
        drop(backing);
        reply.ok();
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(
            FileHandle(0),
            FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE,
        );
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Some(node) = self.node(ino) else {
            return reply.error(Errno::ENOENT);
        };
        for (next, (name, ino, kind)) in (1..)
            .zip(&node.entries)
            .skip(usize::try_from(offset).unwrap_or(0))
        {
            if reply.add(*ino, next, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let Some(node) = self.node(ino) else {
            return reply.error(Errno::ENOENT);
        };
        for (next, (name, ino, _)) in (1..)
            .zip(&node.entries)
            .skip(usize::try_from(offset).unwrap_or(0))
        {
            let Some(child) = self.node(*ino) else { continue };
            if reply.add(*ino, next, name, &FOREVER, &child.attr, Generation(0)) {
                break;
            }
        }
        reply.ok();
    }
}
