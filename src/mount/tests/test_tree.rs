//! A small file system without a network behind it, mounted on a directory of its own for one test.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::mount::{Appearance, Mounted, Mountpoint, remount};
use crate::tree::ops::{
    Attr, Backing, CacheTtl, Caller, DirEntry, FileSystem, Handle, Ino, Invalidation, InvalidationSink,
    Lookup, NodeKind, OpCounts, Opened, Outcome, ROOT, SetAttr, StatFs,
};

/// The directory with many names.
pub(super) const MANY: Ino = 2;
const FIRST_FILE: Ino = 10;
const FIRST_OF_MANY: Ino = 1_000_000;

/// The behaviour of a test file when it is opened.
pub(super) enum Content {
    /// A complete file in a store.
    Stored(Vec<u8>),
    /// Text that is made at every open and stays.
    Text(&'static str),
    /// Text that is different at every open.
    Live,
    /// Text that stays for the first open, and is as [`Content::Live`] from then on.
    Turning,
    /// Opens when the test lets it, and never before.
    Stalled,
    /// A bug, at once.
    Panics,
    /// A bug, in a task.
    PanicsLater,
}

struct Node {
    name: &'static str,
    content: Content,
    stored: Option<Arc<File>>,
}

#[derive(Debug, thiserror::Error)]
#[error("error {0}")]
pub(super) struct Refused(i32);

type Answer<T> = Outcome<T, Refused>;

/// A tree with the files that a test wants, read-only.
pub(super) struct TestTree {
    files: Vec<Node>,
    many: u64,
    handles: Arc<Mutex<HashMap<Handle, Bytes>>>,
    next: Arc<AtomicU64>,
    /// Lets stalled files go on.
    pub(super) gate: CancellationToken,
    changes: OnceLock<InvalidationSink>,
    counts: OnceLock<OpCounts>,
    /// Whether the tree was told that the mount goes away.
    pub(super) shut_down: AtomicBool,
    /// Whether an unknown name may be remembered.
    pub(super) absent: CacheTtl,
}

fn ready<T>(value: T) -> Answer<T> {
    Outcome::Ready(Ok(value))
}

fn refuse<T>(errno: i32) -> Answer<T> {
    Outcome::Ready(Err(Refused(errno)))
}

impl TestTree {
    pub(super) fn new(files: Vec<(&'static str, Content)>) -> Self {
        let files = files
            .into_iter()
            .map(|(name, content)| {
                let stored = match &content {
                    Content::Stored(bytes) => {
                        let mut file = tempfile::tempfile().unwrap();
                        file.write_all(bytes).unwrap();
                        Some(Arc::new(file))
                    }
                    _ => None,
                };
                Node {
                    name,
                    content,
                    stored,
                }
            })
            .collect();
        Self {
            files,
            many: 0,
            handles: Arc::default(),
            next: Arc::new(AtomicU64::new(1)),
            gate: CancellationToken::new(),
            changes: OnceLock::new(),
            counts: OnceLock::new(),
            shut_down: AtomicBool::new(false),
            absent: CacheTtl::Forever,
        }
    }

    /// With a directory `many` of so many names.
    pub(super) fn with_many(mut self, names: u64) -> Self {
        self.many = names;
        self
    }

    pub(super) fn report(&self, change: Invalidation) {
        (self.changes.get().unwrap())(change);
    }

    pub(super) fn open_handles(&self) -> usize {
        self.handles.lock().unwrap().len()
    }

    fn node(&self, ino: Ino) -> Option<&Node> {
        self.files
            .get(usize::try_from(ino.checked_sub(FIRST_FILE)?).ok()?)
    }

    fn attr(&self, ino: Ino) -> Option<Attr> {
        let directory = ino == ROOT || ino == MANY;
        let size = match self.node(ino).map(|node| &node.content) {
            Some(Content::Stored(bytes)) => bytes.len() as u64,
            Some(Content::Text(text)) => text.len() as u64,
            Some(_) => 0,
            None if directory => 4096,
            None if (FIRST_OF_MANY..FIRST_OF_MANY + self.many).contains(&ino) => 1234,
            None => return None,
        };
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        Some(Attr {
            ino,
            kind: if directory {
                NodeKind::Directory
            } else {
                NodeKind::File
            },
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            perm: if directory { 0o755 } else { 0o444 },
            nlink: 1,
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
        })
    }

    fn child(&self, parent: Ino, name: &OsStr) -> Option<Ino> {
        let name = name.to_str()?;
        if parent == MANY {
            let number: u64 = name.strip_prefix("name-")?.strip_suffix(".fits")?.parse().ok()?;
            return (number < self.many).then_some(FIRST_OF_MANY + number);
        }
        if name == "many" {
            return (self.many > 0).then_some(MANY);
        }
        self.files
            .iter()
            .position(|node| node.name == name)
            .map(|index| FIRST_FILE + index as u64)
    }

    fn entry(&self, directory: Ino, index: u64) -> Option<DirEntry> {
        let (name, ino) = match index {
            0 => (".".into(), directory),
            1 => ("..".into(), ROOT),
            _ if directory == MANY => {
                let number = index - 2;
                (number < self.many).then(|| {
                    (
                        OsString::from(format!("name-{number}.fits")),
                        FIRST_OF_MANY + number,
                    )
                })?
            }
            2 if self.many > 0 => ("many".into(), MANY),
            _ => {
                let ino = FIRST_FILE + index - 2 - u64::from(self.many > 0);
                (self.node(ino)?.name.into(), ino)
            }
        };
        let kind = if ino == ROOT || ino == MANY {
            NodeKind::Directory
        } else {
            NodeKind::File
        };
        Some(DirEntry {
            name,
            ino,
            kind,
            next: index + 1,
        })
    }
}

fn opened(
    handles: &Mutex<HashMap<Handle, Bytes>>,
    next: &AtomicU64,
    backing: Backing,
    bytes: Bytes,
) -> Opened {
    let handle = next.fetch_add(1, Ordering::Relaxed);
    let size = bytes.len() as u64;
    handles.lock().unwrap().insert(handle, bytes);
    Opened {
        handle,
        size,
        backing,
        keep_cache: true,
    }
}

impl FileSystem for TestTree {
    type Error = Refused;
    type Ahead = Handle;

    fn errno(&self, error: &Refused) -> i32 {
        error.0
    }

    fn listen(&self, changes: InvalidationSink) {
        assert!(self.changes.set(changes).is_ok(), "called once");
    }

    fn count_operations(&self, counts: OpCounts) {
        assert!(self.counts.set(counts).is_ok(), "called once");
    }

    fn lookup(&self, _: Caller, parent: Ino, name: &OsStr) -> Answer<Lookup> {
        let found = self.child(parent, name).and_then(|ino| self.attr(ino));
        ready(match found {
            Some(attr) => Lookup::Found {
                attr,
                keep: CacheTtl::Forever,
            },
            None => Lookup::Absent { keep: self.absent },
        })
    }

    fn forget(&self, _: Ino, _: u64) {}

    fn getattr(&self, _: Caller, ino: Ino, _: Option<Handle>) -> Answer<(Attr, CacheTtl)> {
        self.attr(ino)
            .map_or_else(|| refuse(libc::ENOENT), |attr| ready((attr, CacheTtl::Forever)))
    }

    fn setattr(&self, _: Caller, _: Ino, _: SetAttr) -> Answer<(Attr, CacheTtl)> {
        refuse(libc::EROFS)
    }

    fn readlink(&self, _: Ino) -> Answer<OsString> {
        refuse(libc::EINVAL)
    }

    fn open(&self, _: Caller, ino: Ino, _: i32) -> Answer<Opened> {
        let Some(node) = self.node(ino) else {
            return refuse(libc::ENOENT);
        };
        let open = |backing, bytes| opened(&self.handles, &self.next, backing, bytes);
        match &node.content {
            Content::Stored(bytes) => {
                let file = node.stored.clone().unwrap();
                ready(open(Backing::Stored(file), bytes.clone().into()))
            }
            Content::Text(text) => ready(open(Backing::Generated, Bytes::from_static(text.as_bytes()))),
            Content::Turning if self.next.load(Ordering::Relaxed) == 1 => {
                ready(open(Backing::Generated, Bytes::new()))
            }
            Content::Live | Content::Turning => {
                let text = format!("opened {} times\n", self.next.load(Ordering::Relaxed));
                ready(Opened {
                    keep_cache: false,
                    ..open(Backing::Generated, text.into())
                })
            }
            Content::Stalled => {
                let (gate, handles, next) = (
                    self.gate.clone(),
                    Arc::clone(&self.handles),
                    Arc::clone(&self.next),
                );
                Outcome::Later(Box::pin(async move {
                    gate.cancelled().await;
                    Ok(opened(&handles, &next, Backing::Generated, Bytes::new()))
                }))
            }
            Content::Panics => panic!("on purpose"),
            Content::PanicsLater => Outcome::Later(Box::pin(async { panic!("on purpose, later") })),
        }
    }

    fn create(&self, _: Caller, _: Ino, _: &OsStr, _: u32, _: i32) -> Answer<(Lookup, Opened)> {
        refuse(libc::EROFS)
    }

    fn read(&self, handle: Handle, offset: u64, size: u32) -> Answer<Bytes> {
        let handles = self.handles.lock().unwrap();
        match handles.get(&handle) {
            Some(bytes) => {
                let from = usize::try_from(offset).unwrap().min(bytes.len());
                let to = (from + size as usize).min(bytes.len());
                ready(bytes.slice(from..to))
            }
            None => refuse(libc::EBADF),
        }
    }

    fn write(&self, _: Handle, _: u64, _: &[u8]) -> Answer<u32> {
        refuse(libc::EROFS)
    }

    fn flush(&self, _: Handle) -> Answer<()> {
        ready(())
    }

    fn fsync(&self, _: Handle, _: bool) -> Answer<()> {
        ready(())
    }

    fn release(&self, handle: Handle) {
        self.handles.lock().unwrap().remove(&handle);
    }

    fn opendir(&self, _: Caller, ino: Ino) -> Answer<(Handle, CacheTtl)> {
        ready((ino, CacheTtl::Forever))
    }

    fn rewind(&self, _: Handle) -> Answer<()> {
        ready(())
    }

    fn readdir(
        &self,
        handle: Handle,
        offset: u64,
        each: &mut dyn FnMut(DirEntry) -> bool,
    ) -> Result<(), Refused> {
        let mut next = offset;
        while let Some(entry) = self.entry(handle, next) {
            if !each(entry) {
                break;
            }
            next += 1;
        }
        Ok(())
    }

    fn look_ahead(&self, handle: Handle, _: u64) -> Answer<Handle> {
        ready(handle)
    }

    fn readdirplus(
        &self,
        handle: Handle,
        offset: u64,
        each: &mut dyn FnMut(DirEntry, Attr, CacheTtl) -> bool,
    ) -> Result<(), Refused> {
        self.readdir(handle, offset, &mut |entry| {
            let attr = self.attr(entry.ino).unwrap();
            each(entry, attr, CacheTtl::Forever)
        })
    }

    fn releasedir(&self, _: Handle) {}

    fn fsyncdir(&self, _: Ino) -> Answer<()> {
        ready(())
    }

    fn mkdir(&self, _: Caller, _: Ino, _: &OsStr, _: u32) -> Answer<Lookup> {
        refuse(libc::EROFS)
    }

    fn symlink(&self, _: Caller, _: Ino, _: &OsStr, _: &OsStr) -> Answer<Lookup> {
        refuse(libc::EROFS)
    }

    fn link(&self, _: Caller, _: Ino, _: Ino, _: &OsStr) -> Answer<Lookup> {
        refuse(libc::EROFS)
    }

    fn fallocate(&self, _: Handle, _: i32, _: u64, _: u64) -> Answer<()> {
        refuse(libc::EBADF)
    }

    fn mknod(&self, _: Caller, _: Ino, _: &OsStr, _: NodeKind, _: u32) -> Answer<Lookup> {
        refuse(libc::EROFS)
    }

    fn unlink(&self, _: Caller, _: Ino, _: &OsStr) -> Answer<()> {
        refuse(libc::EROFS)
    }

    fn rmdir(&self, _: Caller, _: Ino, _: &OsStr) -> Answer<()> {
        refuse(libc::EROFS)
    }

    fn rename(&self, _: Caller, _: Ino, _: &OsStr, _: Ino, _: &OsStr, _: u32) -> Answer<()> {
        refuse(libc::EROFS)
    }

    fn getxattr(&self, _: Ino, name: &OsStr) -> Answer<Vec<u8>> {
        if name == "user.crds.state" {
            ready(b"cached".to_vec())
        } else {
            refuse(libc::ENODATA)
        }
    }

    fn setxattr(&self, _: Ino, _: &OsStr, _: &[u8], _: i32) -> Answer<()> {
        refuse(libc::EROFS)
    }

    fn listxattr(&self, _: Ino) -> Answer<Vec<u8>> {
        ready(Vec::new())
    }

    fn removexattr(&self, _: Ino, _: &OsStr) -> Answer<()> {
        refuse(libc::EROFS)
    }

    fn statfs(&self) -> Answer<StatFs> {
        ready(StatFs {
            total: 1 << 40,
            free: 1 << 39,
            available: 1 << 38,
            files: 1000,
            files_free: 10,
        })
    }

    fn store_is_stacked(&self) -> bool {
        false
    }

    fn shutdown(&self) {
        self.shut_down.store(true, Ordering::SeqCst);
    }
}

/// A tree mounted for one test; unmounted when it is dropped.
pub(super) struct TestMount {
    pub(super) mounted: Mounted,
    pub(super) tree: Arc<TestTree>,
    pub(super) runtime: tokio::runtime::Runtime,
    directory: tempfile::TempDir,
}

impl TestMount {
    /// Mounts it.
    pub(super) fn new(tree: TestTree) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let tree = Arc::new(tree);
        let appearance = Appearance {
            source: "test".into(),
            flags: remount::Flags::default(),
            allow_other: false,
        };
        let mountpoint = Mountpoint::prepare(directory.path()).unwrap();
        let mounted = Mounted::start(Arc::clone(&tree), mountpoint, &appearance, runtime.handle());
        let mounted = mounted.unwrap_or_else(|error| panic!("{error}"));
        Self {
            mounted,
            tree,
            runtime,
            directory,
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The number of the kernel's requests for an operation, by its name in metrics.
    pub(super) fn requests(&self, op: &str) -> u64 {
        let counts = (self.tree.counts.get().unwrap())();
        counts
            .by_kind
            .iter()
            .find(|count| count.op == op)
            .unwrap()
            .requests
    }
}

/// Waits until something is so, up to a limit that only a broken program reaches.
pub(super) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < limit, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
