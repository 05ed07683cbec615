//! The state that all operations of the tree share, and the ways to wait for a catalog or for the disk.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::crds::{Catalog, FileKey, FileName, Observatory};
use crate::fetch::Fetcher;
use crate::resolve::Resolver;
use crate::store::{ReferenceLayout, StoreError, Usage, file_path};

use super::copies::Copies;
use super::descriptors::Descriptors;
use super::directory::Subset;
use super::disk_calls::{DiskCalls, Permission};
use super::error::Error;
use super::handles::{Handles, OpenDirectory, OpenFile};
use super::ino::{Area, ConfigFile, Fixed, Number, catalogued};
use super::local::Local;
use super::nodes::Nodes;
use super::opens::Opens;
use super::ops::{Ino, Invalidation, InvalidationSink, OpCounts, Outcome};
use super::options::TreeOptions;
use super::refused_moves::RefusedMoves;
use super::removals::Removals;
use super::room::Room;
use super::scan::Scan;
use super::untold::Untold;
use super::views::{View, Views};
use super::waiting::Waiting;

/// The longest time that a lookup waits for a catalog, from the beginning of the catalog's load on.
const LOOK: Duration = Duration::from_secs(2);

/// The number of files that are read at the same time to find out whether they are the catalogued ones.
const ADOPTING: usize = 2;

/// The state that all operations of the tree share.
pub(super) struct Core {
    pub(super) options: TreeOptions,
    pub(super) fetcher: Fetcher,
    pub(super) resolver: Resolver,
    /// The user's files; none when the store is not on a disk.
    pub(super) local: Option<Local>,
    pub(super) nodes: Nodes,
    pub(super) files: Handles<OpenFile>,
    pub(super) listings: Handles<OpenDirectory>,
    pub(super) descriptors: Descriptors,
    pub(super) copies: Copies,
    pub(super) untold: Untold,
    pub(super) views: Views,
    pub(super) removals: Removals,
    pub(super) refused_moves: RefusedMoves,
    pub(super) opens: Opens,
    pub(super) waiting: Waiting,
    disk_calls: DiskCalls,
    /// Permits for reading a file to find out whether it is the catalogued one, [`ADOPTING`] in all.
    pub(super) adopting: Semaphore,
    pub(super) changes: OnceLock<InvalidationSink>,
    /// The counts of operations; none where the tree is not mounted.
    pub(super) operations: OnceLock<OpCounts>,
    pub(super) started: SystemTime,
    pub(super) scan: Scan,
    room: Arc<Room>,
    /// The beginning of each load of a catalog that a lookup waits for.
    loads: Mutex<HashMap<Observatory, Instant>>,
    /// The last change of the names in a directory during this mount, by the directory's inode number.
    directory_times: Mutex<HashMap<Ino, SystemTime>>,
}

/// An answer that is known already.
pub(super) fn ready<T>(answer: Result<T, Error>) -> Outcome<T, Error> {
    Outcome::Ready(answer)
}

impl Core {
    /// Makes calls on the store's disk that take microseconds on a healthy disk: on the calling thread if [`DiskCalls`]
    /// permits it, else in a task, as [`DiskCalls::make_few`].
    pub(super) fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> Result<T, Error> + Send + 'static,
    ) -> Outcome<T, Error> {
        self.on_disk_then(move |core| ready(work(core)))
    }

    /// As [`Self::on_disk`], for work that may have to wait for something else than the disk after its disk calls.
    pub(super) fn on_disk_then<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> Outcome<T, Error> + Send + 'static,
    ) -> Outcome<T, Error> {
        if let Some(_permission) = self.disk_calls.permission() {
            return work(self);
        }
        let core = Arc::clone(self);
        Outcome::Later(Box::pin(async move {
            let begun = core.briefly(move |core| Ok(work(core))).await?;
            begun.wait().await
        }))
    }

    /// Closes what nobody uses any more, as [`Self::on_disk`]: at the last close the data of a removed file goes, and a
    /// network file system sends what was written.
    pub(super) fn close<T: Send + 'static>(self: &Arc<Self>, unused: T) {
        let closed = self.on_disk(move |_| {
            drop(unused);
            Ok(())
        });
        if let Outcome::Later(closing) = closed {
            self.fetcher.runtime().spawn(async move {
                if let Err(error) = closing.await {
                    log::debug!("{error}");
                }
            });
        }
    }

    /// Makes calls on the store's disk that take long even on a healthy disk: always on a thread for blocking work.
    pub(super) fn on_pool<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> Result<T, Error> + Send + 'static,
    ) -> Outcome<T, Error> {
        let core = Arc::clone(self);
        Outcome::Later(Box::pin(async move { core.blocking(work).await }))
    }

    /// Runs work that may wait for the disk on one of the runtime's threads for blocking work. A panic of the work goes on
    /// in the caller; [`Error::ShuttingDown`] when the runtime ends before the work began.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let core = Arc::clone(self);
        self.disk_calls.make(move || work(&core)).await
    }

    /// Runs a few calls on the store's disk in a task; else as [`Self::blocking`].
    async fn briefly<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let core = Arc::clone(self);
        self.disk_calls.make_few(move || work(&core)).await
    }

    /// The usage of the store, as far as its disk tells it soon, as [`Room::soon`].
    pub(super) async fn usage_soon(&self) -> Usage {
        self.room.soon(self.fetcher.store(), &self.disk_calls).await
    }

    /// Permission to make calls on the store's disk on the calling thread.
    pub(super) fn disk_permission(&self) -> Option<Permission<'_>> {
        self.disk_calls.permission()
    }

    /// The layout of the references: flat, or by instrument.
    pub(super) fn layout(&self) -> ReferenceLayout {
        self.fetcher.store().layout()
    }

    /// Whether this mount shows the observatory.
    pub(super) fn shows(&self, observatory: Observatory) -> bool {
        self.fetcher.catalogs().observatories().contains(&observatory)
    }

    /// The path of a catalogued file below the root, of the mount and of the store alike.
    pub(super) fn path_of(&self, key: &FileKey) -> PathBuf {
        file_path(self.layout(), key)
    }

    pub(super) fn new(
        fetcher: Fetcher,
        resolver: Resolver,
        options: TreeOptions,
    ) -> Result<Self, StoreError> {
        let local = match fetcher.store().directory() {
            Some(dir) => Some(Local::new(Arc::new(dir.try_clone().map_err(|source| {
                StoreError::Io {
                    doing: "open the directory of",
                    path: String::from("."),
                    source: Arc::new(source),
                }
            })?))),
            None => None,
        };
        let descriptors = Descriptors::new(options.descriptors);
        Ok(Self {
            options,
            fetcher,
            resolver,
            local,
            nodes: Nodes::default(),
            files: Handles::default(),
            listings: Handles::default(),
            descriptors,
            copies: Copies::default(),
            untold: Untold::default(),
            views: Views::default(),
            removals: Removals::default(),
            refused_moves: RefusedMoves::default(),
            opens: Opens::default(),
            waiting: Waiting::default(),
            disk_calls: DiskCalls::default(),
            adopting: Semaphore::new(ADOPTING),
            changes: OnceLock::new(),
            operations: OnceLock::new(),
            started: SystemTime::now(),
            scan: Scan::default(),
            room: Arc::default(),
            loads: Mutex::default(),
            directory_times: Mutex::default(),
        })
    }

    /// The user's files, for reading. [`Error::NotFound`] when the store is not on a disk.
    pub(super) fn local(&self) -> Result<&Local, Error> {
        self.local.as_ref().ok_or(Error::NotFound)
    }

    /// The user's files, for changing. [`Error::ReadOnly`] on a read-only mount, and when the store is not on a disk.
    pub(super) fn writable(&self) -> Result<&Local, Error> {
        if self.options.read_only {
            return Err(Error::ReadOnly);
        }
        self.local.as_ref().ok_or(Error::ReadOnly)
    }

    /// The current view of an observatory, if its catalog is there. Never waits.
    pub(super) fn view(&self, observatory: Observatory) -> Option<Arc<View>> {
        let info = self.fetcher.catalogs().current(observatory)?;
        let (view, old) = self.views.show(info);
        if let Some(old) = old {
            self.tell_difference(&old, &view);
        }
        Some(view)
    }

    /// The view of an observatory, whose catalog is loaded first if there is none yet.
    pub(super) fn ensure(self: &Arc<Self>, observatory: Observatory) -> Outcome<Arc<View>, Error> {
        if let Some(view) = self.view(observatory) {
            return ready(Ok(view));
        }
        let core = Arc::clone(self);
        self.fetcher.catalogs().load(observatory).map(move |loaded| {
            loaded?;
            core.view(observatory).ok_or(Error::NotFound)
        })
    }

    /// As [`Self::ensure`], for lookups: waits for no more than [`LOOK`] from the beginning of the load on, and fails
    /// then with the last failure to load the catalog, or with [`Error::CatalogLoading`] when none is known.
    pub(super) fn ensure_soon(self: &Arc<Self>, observatory: Observatory) -> Outcome<Arc<View>, Error> {
        let loading = match self.ensure(observatory) {
            Outcome::Later(loading) => loading,
            known @ Outcome::Ready(_) => return known,
        };
        let begun = self.load_begun(observatory);
        let core = Arc::clone(self);
        Outcome::Later(Box::pin(async move {
            match timeout_at(begun + LOOK, loading).await {
                Ok(loaded) => loaded,
                Err(_) => Err(core.load_trouble(observatory)),
            }
        }))
    }

    /// The time at which a lookup first saw the load of a catalog that is under way.
    fn load_begun(self: &Arc<Self>, observatory: Observatory) -> Instant {
        let now = Instant::now();
        let mut loads = self.loads.lock();
        if let Some(begun) = loads.get(&observatory) {
            return *begun;
        }
        loads.insert(observatory, now);
        drop(loads);
        let (core, load) = (Arc::clone(self), self.ensure(observatory));
        self.fetcher.runtime().spawn(async move {
            // The lookups that wait for the load get its result themselves.
            let _ = load.wait().await;
            core.loads.lock().remove(&observatory);
        });
        now
    }

    /// The last failure to load a catalog, or [`Error::CatalogLoading`] when none is known.
    fn load_trouble(&self, observatory: Observatory) -> Error {
        let failure = self.fetcher.catalogs().failure(observatory);
        failure.map_or(Error::CatalogLoading(observatory), |(_, error)| {
            Error::Fetch(error)
        })
    }

    /// Tells the kernel of something that changed behind its back.
    pub(super) fn tell(&self, change: Invalidation) {
        if let Some(changes) = self.changes.get() {
            changes(change);
        }
    }

    /// Tells the kernel what is different in a new catalog.
    fn tell_difference(&self, old: &View, new: &View) {
        let observatory = new.observatory;
        for file in [ConfigFile::ServerConfig, ConfigFile::BadFiles] {
            let ino = Fixed::ConfigFile(observatory, file).ino();
            self.tell(Invalidation::Attributes { ino });
        }
        let difference = Catalog::difference(old.catalog(), new.catalog());
        let mut directories = HashSet::new();
        for name in difference.added.iter().chain(&difference.removed) {
            directories.insert(self.directory_of(observatory, name));
        }
        // A file with other contents has a new inode number; under the old one it is gone, too.
        for name in difference.removed.iter().chain(&difference.changed) {
            if let Some(file) = old.named(name.as_str()) {
                let ino = catalogued(observatory, file.serial);
                self.tell(Invalidation::Attributes { ino });
            }
        }
        for ino in directories {
            self.touch_directory(ino);
            self.tell(Invalidation::Attributes { ino });
        }
    }

    fn directory_of(&self, observatory: Observatory, name: &FileName) -> Ino {
        let name = name.clone();
        let key = FileKey { observatory, name };
        Subset::of(self.layout(), &key).ino(observatory)
    }

    /// Records that the names in a directory changed now. The times of the user's own directories are kept by the
    /// store's file system.
    pub(super) fn touch_directory(&self, ino: Ino) {
        if !matches!(Number::of(ino), Some(Number::Noded(_))) {
            self.directory_times.lock().insert(ino, SystemTime::now());
        }
    }

    /// The last change of the names in a directory during this mount; `None` when there was none.
    pub(super) fn directory_time(&self, ino: Ino) -> Option<SystemTime> {
        self.directory_times.lock().get(&ino).copied()
    }

    /// The observatory that a path of the store belongs to, and the last name of the path. `None` unless the path is
    /// `mappings/OBSERVATORY` or `references/OBSERVATORY`, or lies below one of them.
    pub(super) fn catalogue_of(path: &Path) -> Option<(Observatory, &OsStr)> {
        let mut parts = path.iter();
        let area = parts.next()?;
        if area != Area::Mappings.as_str() && area != Area::References.as_str() {
            return None;
        }
        let observatory = parts.next()?.to_str()?;
        let observatory = Observatory::ALL
            .into_iter()
            .find(|known| known.as_str() == observatory)?;
        Some((observatory, path.file_name()?))
    }
}
