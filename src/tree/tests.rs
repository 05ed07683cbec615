//! The tree without FUSE: a store in a temporary directory, a server and files in memory.

use std::ffi::OsStr;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::ops::{
    Attr, Backing, Caller, FileSystem, Ino, Invalidation, Lookup, Opened, Outcome, ROOT, SetAttr,
};
use super::{CrdsTree, Error, TreeOptions};
use crate::crds::Observatory;
use crate::fetch::{CatalogSettings, CatalogSource, Catalogs, FetchSettings, Fetcher};
use crate::remote::memory::MemoryOrigin;
use crate::remote::{CrdsServer, Endpoints, Settings};
use crate::resolve::{BadFilePolicy, ResolveOptions, Resolver};
use crate::store::{DiskStore, Store, StoreOptions};

mod bestrefs;
mod catalogued;
mod counting;
mod layers_model;
mod listing;
mod looking;
mod many;
mod model;
mod reading;
mod server;
mod writing;

use server::Server;

const CALLER: Caller = Caller {
    tid: 0,
    uid: 0,
    gid: 0,
};

const O_RDONLY: i32 = 0;
const O_WRONLY: i32 = 1;
const O_RDWR: i32 = 2;
const O_CREAT: i32 = 0o100;
const O_EXCL: i32 = 0o200;
const O_TRUNC: i32 = 0o1000;
const O_APPEND: i32 = 0o2000;

/// A tree with all that is below it.
struct Fixture {
    tree: CrdsTree,
    server: Arc<Server>,
    origin: MemoryOrigin,
    store: Arc<dyn Store>,
    changes: Arc<Mutex<Vec<Invalidation>>>,
    directory: Arc<TempDir>,
}

/// The contents of a catalogued file of the fixture.
fn contents(name: &str) -> Vec<u8> {
    format!("contents of {name}\n").into_bytes()
}

const NAMES: [&str; 8] = [
    "hst_0001.pmap",
    "hst_acs_0001.imap",
    "hst_acs_darkfile_0001.rmap",
    "v8q14451j_idc.fits",
    "a0h1524tu.r4h",
    "a0h1524tu.r4d",
    "x1o1958ej_drk.fits",
    "Weekdark_0H_wk03_drk.fits",
];

/// The options of a fixture.
struct Making {
    directory: Option<Arc<TempDir>>,
    options: TreeOptions,
    unreachable: bool,
    bad_files: BadFilePolicy,
    names: Option<Vec<String>>,
}

impl Default for Making {
    fn default() -> Self {
        Self {
            directory: None,
            options: TreeOptions {
                xattrs: true,
                ..TreeOptions::default()
            },
            unreachable: false,
            bad_files: BadFilePolicy::default(),
            names: None,
        }
    }
}

impl Making {
    fn instrument(self) -> Self {
        let directory = self
            .directory
            .clone()
            .unwrap_or_else(|| Arc::new(TempDir::new().unwrap()));
        let config = directory.path().join("config/hst");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::write(config.join("ref_cache_subdir_mode"), "instrument\n").unwrap();
        self.again(directory)
    }

    /// In the directory of a mount that has ended.
    fn again(self, directory: Arc<TempDir>) -> Self {
        Self {
            directory: Some(directory),
            ..self
        }
    }

    fn make(self) -> Fixture {
        let directory = self
            .directory
            .unwrap_or_else(|| Arc::new(TempDir::new().unwrap()));
        let options = StoreOptions {
            keep_free: 0,
            ..StoreOptions::default()
        };
        let store: Arc<dyn Store> = Arc::new(DiskStore::open(directory.path(), options).unwrap());
        let server = Arc::new(Server {
            observatory: Observatory::Hst,
            state: Mutex::default(),
        });
        let origin = MemoryOrigin::new();
        {
            let mut state = server.state.lock();
            state.unreachable = self.unreachable;
            let names = self.names.unwrap_or_else(|| NAMES.map(String::from).into());
            for name in names {
                state.files.insert(name.clone(), contents(&name));
            }
        }
        for (name, contents) in &server.state.lock().files {
            origin.put(&format!("{}{name}", server.base()), contents.clone());
        }
        let runtime = tokio::runtime::Handle::current();
        let sources = vec![CatalogSource {
            observatory: Observatory::Hst,
            server: Some(Arc::clone(&server) as Arc<dyn CrdsServer>),
        }];
        let settings = CatalogSettings {
            missing_interval: std::time::Duration::ZERO,
            failure_memory: std::time::Duration::ZERO,
            ..CatalogSettings::default()
        };
        let catalogs = Catalogs::new(runtime.clone(), Arc::clone(&store), sources, settings);
        let fetcher = Fetcher::new(
            runtime.clone(),
            Arc::new(origin.clone()),
            Endpoints::new(&Settings::default(), &[Observatory::Hst]).unwrap(),
            catalogs,
            FetchSettings::default(),
        );
        let resolve = ResolveOptions {
            bad_files: self.bad_files,
            ..ResolveOptions::default()
        };
        let resolver = Resolver::new(fetcher.clone(), resolve, runtime);
        let options = TreeOptions {
            // Not under the mount.
            store: directory.path().to_owned(),
            ..self.options
        };
        let tree = CrdsTree::new(fetcher, resolver, options).unwrap();
        let changes: Arc<Mutex<Vec<Invalidation>>> = Arc::default();
        let heard = Arc::clone(&changes);
        tree.listen(Box::new(move |change| heard.lock().push(change)));
        Fixture {
            tree,
            server,
            origin,
            store,
            changes,
            directory,
        }
    }
}

fn fixture() -> Fixture {
    Making::default().make()
}

/// An answer that must be there on the spot.
#[track_caller]
fn now<T>(outcome: Outcome<T, Error>) -> Result<T, Error> {
    match outcome {
        Outcome::Ready(answer) => answer,
        Outcome::Later(_) => panic!("this must not need waiting"),
    }
}

impl Fixture {
    /// The errno of a call that must have failed.
    #[track_caller]
    fn errno<T>(&self, result: Result<T, Error>) -> i32 {
        match result {
            Ok(_) => panic!("this must fail"),
            Err(error) => self.tree.errno(&error),
        }
    }

    async fn find(&self, parent: Ino, name: &str) -> Result<Option<Attr>, Error> {
        match self.tree.lookup(CALLER, parent, OsStr::new(name)).wait().await? {
            Lookup::Found { attr, .. } => Ok(Some(attr)),
            Lookup::Absent { .. } => Ok(None),
        }
    }

    /// The attributes of an inode.
    async fn attr(&self, ino: Ino) -> Result<Attr, Error> {
        let (attr, _) = self.tree.getattr(CALLER, ino, None).wait().await?;
        Ok(attr)
    }

    async fn setattr(&self, ino: Ino, change: SetAttr) -> Result<Attr, Error> {
        let (attr, _) = self.tree.setattr(CALLER, ino, change).wait().await?;
        Ok(attr)
    }

    /// The attributes of what is at `path`, as the kernel would find it.
    async fn stat(&self, path: &str) -> Result<Attr, Error> {
        let mut attr = self.attr(ROOT).await?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            attr = self.find(attr.ino, name).await?.ok_or(Error::NotFound)?;
        }
        Ok(attr)
    }

    async fn ino(&self, path: &str) -> Ino {
        self.stat(path)
            .await
            .unwrap_or_else(|error| panic!("{path}: {error}"))
            .ino
    }

    async fn exists(&self, path: &str) -> bool {
        match self.stat(path).await {
            Ok(_) => true,
            Err(Error::NotFound) => false,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// The listed names, in order.
    async fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        let ino = self.stat(path).await?.ino;
        let (handle, _) = self.tree.opendir(CALLER, ino).wait().await?;
        let mut names = Vec::new();
        self.tree.readdir(handle, 0, &mut |entry| {
            names.push(entry.name.to_str().unwrap().to_owned());
            true
        })?;
        self.tree.releasedir(handle);
        names.retain(|name| name != "." && name != "..");
        names.sort();
        Ok(names)
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

    async fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let opened = self.open(path, O_RDONLY).await?;
        let size = u32::try_from(opened.size).unwrap();
        let bytes = self.tree.read(opened.handle, 0, size + 10).wait().await?.to_vec();
        // The kernel may read a stored file itself.
        if let Backing::Stored(file) = &opened.backing {
            let mut stored = vec![0; usize::try_from(opened.size).unwrap()];
            file.read_exact_at(&mut stored, 0).unwrap();
            assert_eq!(bytes, stored);
        }
        self.tree.release(opened.handle);
        Ok(bytes)
    }

    async fn text(&self, path: &str) -> String {
        let bytes = self
            .read(path)
            .await
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        String::from_utf8(bytes).unwrap()
    }

    /// Creates a file as `open(2)` with `O_CREAT` does when there is none.
    async fn create(&self, path: &str, flags: i32, contents: &[u8]) -> Result<Attr, Error> {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = self.stat(parent).await?.ino;
        let made = self
            .tree
            .create(CALLER, parent, OsStr::new(name), 0o644, flags | O_CREAT | O_RDWR);
        let (found, opened) = made.wait().await?;
        let written = self.tree.write(opened.handle, 0, contents).wait().await?;
        assert_eq!(written as usize, contents.len());
        self.tree.release(opened.handle);
        match found {
            Lookup::Found { attr, .. } => Ok(attr),
            Lookup::Absent { .. } => panic!("created and not there"),
        }
    }

    async fn mkdir(&self, path: &str) -> Result<Lookup, Error> {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = self.stat(parent).await?.ino;
        self.tree
            .mkdir(CALLER, parent, OsStr::new(name), 0o755)
            .wait()
            .await
    }

    async fn unlink(&self, path: &str) -> Result<(), Error> {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = self.stat(parent).await?.ino;
        self.tree.unlink(CALLER, parent, OsStr::new(name)).wait().await
    }

    async fn rmdir(&self, path: &str) -> Result<(), Error> {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = self.stat(parent).await?.ino;
        self.tree.rmdir(CALLER, parent, OsStr::new(name)).wait().await
    }

    /// Puts a file of the user's over a catalogued name, and gives its attributes.
    async fn put_over(&self, path: &str, contents: &[u8]) -> Attr {
        let (directory, _) = path.rsplit_once('/').unwrap();
        let mine = format!("{directory}/mine");
        let made = self.create(&mine, 0, contents).await.unwrap();
        self.rename(&mine, path).await.unwrap();
        made
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        self.rename_with(from, to, 0).await
    }

    async fn rename_with(&self, from: &str, to: &str, flags: u32) -> Result<(), Error> {
        let (parent, name) = from.rsplit_once('/').unwrap();
        let (new_parent, new_name) = to.rsplit_once('/').unwrap();
        let parent = self.stat(parent).await?.ino;
        let new_parent = self.stat(new_parent).await?.ino;
        let renamed = self.tree.rename(
            CALLER,
            parent,
            OsStr::new(name),
            new_parent,
            OsStr::new(new_name),
            flags,
        );
        renamed.wait().await
    }

    async fn xattr(&self, path: &str, name: &str) -> Result<String, Error> {
        let ino = self.stat(path).await?.ino;
        self.tree
            .getxattr(ino, OsStr::new(name))
            .wait()
            .await
            .map(|value| String::from_utf8(value).unwrap())
    }

    /// Waits until the kernel is told so.
    async fn hears(&self, change: Invalidation) {
        let told = async {
            while !self.changes.lock().contains(&change) {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        let patience = std::time::Duration::from_secs(60);
        assert!(
            tokio::time::timeout(patience, told).await.is_ok(),
            "the kernel is never told of {change:?}"
        );
    }

    /// Ends the mount; its directory can be used by the next one.
    async fn close(self) -> Arc<TempDir> {
        self.tree.shutdown();
        self.tree.core.fetcher.finished().await;
        let Self {
            tree,
            store,
            directory,
            ..
        } = self;
        drop(tree);
        // Background tasks let go of the store in their own time.
        while Arc::strong_count(&store) > 1 {
            tokio::task::yield_now().await;
        }
        directory
    }

    /// The number of requests for files.
    fn downloads(&self) -> usize {
        self.origin.requests().len()
    }

    /// A path in the store, after what was published has got its name there.
    fn on_disk(&self, path: &str) -> std::path::PathBuf {
        self.store.close().unwrap();
        self.directory.path().join(path)
    }
}
