//! Tree, transfers and store together against a plain model. Whatever the steps are, and whatever fails meanwhile: a
//! read gives what the catalog has or the user wrote, no file of the user's is lost, and every byte on the disk is
//! counted.
//!
//! `PROPTEST_CASES` sets how many rows of steps are tried. Here are the layers; `layers.rs` compares them with the model.

mod layers;
mod steps;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tempfile::TempDir;

use crate::crds::{FileKey, FileKind, Observatory, Sha1Sum};
use crate::fetch::{CatalogSettings, CatalogSource, Catalogs, FetchSettings, Fetcher};
use crate::remote::memory::MemoryOrigin;
use crate::remote::{CrdsServer, Endpoints, RemoteError, RemoteErrorKind, Settings};
use crate::resolve::{ResolveOptions, Resolver};
use crate::store::{DiskStore, Store, StoreOptions};
use crate::tree::ops::{Attr, Caller, FileSystem, Lookup, Opened, ROOT};
use crate::tree::{CrdsTree, Error, TreeOptions};

const CALLER: Caller = Caller {
    tid: 0,
    uid: 0,
    gid: 0,
};
/// The URL that the server gives for files.
const BASE: &str = "http://hst.test/";

/// A server with a catalog that the test sets.
#[derive(Default)]
struct Server {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    unreachable: Mutex<bool>,
}

impl Server {
    fn description(&self) -> Value {
        let files = self.files.lock().unwrap();
        let catalog = files.iter().map(|(name, bytes)| {
            let sha1 = Sha1Sum::from_bytes(Sha1::digest(bytes).into()).to_string();
            (
                name.clone(),
                json!({"size": bytes.len().to_string(), "sha1sum": sha1}),
            )
        });
        let mappings: Vec<_> = files
            .keys()
            .filter(|name| FileKind::of(name).is_mapping())
            .collect();
        json!({
            "observatory": "hst", "latest_context": "hst_0001.pmap", "operational_context": "hst_0001.pmap",
            "edit_context": "hst_0001.pmap", "versions_context": "", "context_history": [], "mappings": mappings,
            "bad_files_list": [], "download_metadata": catalog.collect::<serde_json::Map<_, _>>(),
            "force_remote_mode": 0, "last_synced": "2026-01-01 00:00:00",
            "mapping_url": {"hst": BASE}, "reference_url": {"hst": BASE},
        })
    }
}

impl CrdsServer for Server {
    fn observatory(&self) -> Observatory {
        Observatory::Hst
    }

    fn url(&self) -> &'static str {
        BASE
    }

    fn call<'a>(&'a self, _: &'a str, _: Value) -> BoxFuture<'a, Result<Value, RemoteError>> {
        let answer = if *self.unreachable.lock().unwrap() {
            let kind = RemoteErrorKind::Unreachable;
            Err(RemoteError::new(kind, BASE, "connection refused"))
        } else {
            Ok(self.description())
        };
        Box::pin(async move { answer })
    }
}

/// The layers over one directory.
struct World {
    tree: CrdsTree,
    fetcher: Fetcher,
    server: Arc<Server>,
    origin: MemoryOrigin,
    store: Arc<dyn Store>,
    directory: Arc<TempDir>,
}

impl World {
    /// Starts the layers, with room for `room` bytes in the store.
    fn begin(directory: Arc<TempDir>, server: Arc<Server>, room: u64, offline: bool) -> Self {
        let options = StoreOptions {
            keep_free: 0,
            cache_size: Some(room),
            ..StoreOptions::default()
        };
        let store: Arc<dyn Store> = Arc::new(DiskStore::open(directory.path(), options).unwrap());
        let origin = MemoryOrigin::new();
        let runtime = tokio::runtime::Handle::current();
        let source = CatalogSource {
            observatory: Observatory::Hst,
            server: Some(Arc::clone(&server) as Arc<dyn CrdsServer>),
        };
        let settings = CatalogSettings {
            missing_interval: Duration::ZERO,
            failure_memory: Duration::ZERO,
            offline,
            ..CatalogSettings::default()
        };
        let catalogs = Catalogs::new(runtime.clone(), Arc::clone(&store), vec![source], settings);
        let fetcher = Fetcher::new(
            runtime.clone(),
            Arc::new(origin.clone()),
            Endpoints::new(&Settings::default(), &[Observatory::Hst]).unwrap(),
            catalogs,
            FetchSettings {
                // Files come in one request, in two, and in three.
                large: 1_500,
                part: 1_000,
                align: 1,
                pause: Duration::from_millis(1),
                failure_memory: Duration::ZERO,
                offline,
                ..FetchSettings::default()
            },
        );
        let resolver = Resolver::new(fetcher.clone(), ResolveOptions::default(), runtime);
        let tree = CrdsTree::new(fetcher.clone(), resolver, TreeOptions::default()).unwrap();
        Self {
            tree,
            fetcher,
            server,
            origin,
            store,
            directory,
        }
    }

    /// Ends the layers; the next ones may use the directory.
    async fn end(self) -> (Arc<TempDir>, Arc<Server>) {
        self.tree.shutdown();
        self.fetcher.finished().await;
        let Self {
            tree,
            fetcher,
            store,
            directory,
            server,
            ..
        } = self;
        drop((tree, fetcher));
        // Tasks in the background let go of the store in their own time.
        while Arc::strong_count(&store) > 1 {
            tokio::task::yield_now().await;
        }
        (directory, server)
    }

    /// The attributes of what is at `path`, as the kernel would find it.
    async fn stat(&self, path: &str) -> Result<Attr, Error> {
        let mut attr = self.tree.getattr(CALLER, ROOT, None).wait().await?.0;
        for name in path.split('/') {
            let found = self.tree.lookup(CALLER, attr.ino, OsStr::new(name));
            attr = match found.wait().await? {
                Lookup::Found { attr, .. } => attr,
                Lookup::Absent { .. } => return Err(Error::NotFound),
            };
        }
        Ok(attr)
    }

    async fn open(&self, path: &str, flags: i32) -> Result<Opened, Error> {
        let ino = self.stat(path).await?.ino;
        match self.tree.open(CALLER, ino, flags).wait().await {
            // As the kernel does.
            Err(Error::Stale) => {
                let ino = self.stat(path).await?.ino;
                self.tree.open(CALLER, ino, flags).wait().await
            }
            opened => opened,
        }
    }

    async fn read(&self, opened: &Opened) -> Vec<u8> {
        let read = self.tree.read(opened.handle, 0, 1 << 16).wait().await;
        read.unwrap().to_vec()
    }

    async fn list(&self, path: &str) -> Vec<String> {
        let ino = self.stat(path).await.unwrap().ino;
        let (handle, _) = self.tree.opendir(CALLER, ino).wait().await.unwrap();
        let mut names = Vec::new();
        let mut take = |entry: crate::tree::ops::DirEntry| {
            names.push(entry.name.to_str().unwrap().to_owned());
            true
        };
        self.tree.readdir(handle, 0, &mut take).unwrap();
        self.tree.releasedir(handle);
        names
    }

    /// Creates a file as `open(2)` with `O_CREAT | O_EXCL` does: the kernel looks its name up first, as always.
    async fn create(&self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        match self.stat(path).await {
            Ok(_) => return Err(Error::Exists),
            Err(error) if self.errno(&error) == libc::ENOENT => {}
            Err(error) => return Err(error),
        }
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = self.stat(parent).await?.ino;
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
        let made = self.tree.create(CALLER, parent, OsStr::new(name), 0o644, flags);
        let (_, opened) = made.wait().await?;
        self.write(&opened, bytes).await;
        Ok(())
    }

    /// Writes, and closes.
    async fn write(&self, opened: &Opened, bytes: &[u8]) {
        let written = self.tree.write(opened.handle, 0, bytes).wait().await;
        assert_eq!(written.unwrap() as usize, bytes.len());
        self.tree.release(opened.handle);
    }

    async fn unlink(&self, path: &str) -> Result<(), Error> {
        self.stat(path).await?;
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = self.stat(parent).await?.ino;
        self.tree.unlink(CALLER, parent, OsStr::new(name)).wait().await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        self.stat(from).await?;
        // The target need not exist.
        let _ = self.stat(to).await;
        let ((from, name), (to, new_name)) = (from.rsplit_once('/').unwrap(), to.rsplit_once('/').unwrap());
        let (from, to) = (self.stat(from).await?.ino, self.stat(to).await?.ino);
        let renamed = self
            .tree
            .rename(CALLER, from, OsStr::new(name), to, OsStr::new(new_name), 0);
        renamed.wait().await
    }

    fn errno(&self, error: &Error) -> i32 {
        self.tree.errno(error)
    }

    fn key(name: &str) -> FileKey {
        FileKey {
            observatory: Observatory::Hst,
            name: name.parse().unwrap(),
        }
    }

    fn on_disk(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }
}
