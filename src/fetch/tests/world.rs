//! A world for the fetcher: an origin and a server in memory that misbehave as they are told.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use futures_util::future::BoxFuture;
use sha1::{Digest as _, Sha1};

use super::*;
use crate::crds::Sha1Sum;
use crate::remote::memory::MemoryDestination;
use crate::remote::{ByteRange, CrdsServer, Download, RemoteError, Settings, SourcePlace, TierSetting};
use crate::store::{DiskStore, MemoryStore, StoreOptions};

mod archive;
mod place;

pub(in crate::fetch) use archive::{Archive, description, literal};
pub(in crate::fetch) use place::{Act, Place};

pub(in crate::fetch) fn sum(bytes: &[u8]) -> Sha1Sum {
    Sha1Sum::from_bytes(Sha1::digest(bytes).into())
}

pub(in crate::fetch) fn key(name: &str) -> FileKey {
    FileKey {
        observatory: Observatory::Hst,
        name: name.parse().unwrap(),
    }
}

pub(in crate::fetch) fn bytes_of(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Bytes that are all different somewhere.
pub(in crate::fetch) fn content(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap())
        .collect()
}

/// Everything put together, with a store in a directory.
pub(in crate::fetch) struct World {
    pub(in crate::fetch) place: Arc<Place>,
    pub(in crate::fetch) archive: Arc<Archive>,
    pub(in crate::fetch) fetcher: Fetcher,
    pub(in crate::fetch) dir: Option<tempfile::TempDir>,
}

pub(in crate::fetch) const FILE: &str = "hst_acs_darkfile_0001.fits";

pub(in crate::fetch) fn settings() -> FetchSettings {
    FetchSettings {
        // Small enough for tests: a file of 400,000 bytes has four parts, and one of 10,000 has a partial file.
        whole: 8000,
        large: 300_000,
        part: 100_000,
        align: 1,
        streams: 3,
        ..FetchSettings::default()
    }
}

impl World {
    /// A world with one file.
    pub(in crate::fetch) fn with(bytes: &[u8]) -> Self {
        Self::new(&[(FILE, bytes)], settings())
    }

    pub(in crate::fetch) fn new(files: &[(&str, &[u8])], settings: FetchSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = disk_store(&dir);
        Self {
            dir: Some(dir),
            ..Self::on(store, files, settings)
        }
    }

    /// A world with one file of this content, and mirrors that are asked first.
    pub(in crate::fetch) fn with_mirrors(bytes: &[u8], mirrors: &[&Arc<Place>]) -> Self {
        Self::with_mirrors_by(settings(), bytes, mirrors)
    }

    pub(in crate::fetch) fn with_mirrors_by(
        settings: FetchSettings,
        bytes: &[u8],
        mirrors: &[&Arc<Place>],
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Arc::new(Place::default());
        place.put(FILE, bytes);
        let archive = Arc::new(Archive::new(&[(FILE, Some(bytes))]));
        let places = std::iter::once(&place).chain(mirrors.iter().copied());
        let fetcher = fetcher_with(
            disk_store(&dir),
            places.map(Arc::clone).collect(),
            &archive,
            settings,
            CatalogSettings::default(),
        );
        Self {
            place,
            archive,
            fetcher,
            dir: Some(dir),
        }
    }

    /// A world with one file of this content, and a tier, which has nothing in it but what `tier` has.
    pub(in crate::fetch) fn with_tier(
        bytes: &[u8],
        tier: &Arc<Place>,
        destination: &MemoryDestination,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Arc::new(Place::default());
        place.put(FILE, bytes);
        let archive = Arc::new(Archive::new(&[(FILE, Some(bytes))]));
        let remote = Settings {
            tier: Some(TierSetting {
                place: SourcePlace::Root(Url::new("http://127.0.0.2/tier")),
            }),
            ..Settings::default()
        };
        let fetcher = Fetcher::with_tier(
            Handle::current(),
            Arc::new(Places(vec![Arc::clone(&place), Arc::clone(tier)])),
            Some(Arc::new(destination.clone())),
            Endpoints::new(&remote, &[Observatory::Hst]).unwrap(),
            catalogs(disk_store(&dir), &archive, CatalogSettings::default()),
            settings(),
        );
        Self {
            place,
            archive,
            fetcher,
            dir: Some(dir),
        }
    }

    pub(in crate::fetch) fn in_memory(files: &[(&str, &[u8])], cache_size: Option<u64>) -> Self {
        Self::on(Arc::new(MemoryStore::with_size(cache_size)), files, settings())
    }

    pub(in crate::fetch) fn on(
        store: Arc<dyn Store>,
        files: &[(&str, &[u8])],
        settings: FetchSettings,
    ) -> Self {
        let place = Arc::new(Place::default());
        let mut listed = Vec::new();
        for (name, bytes) in files {
            place.put(name, bytes);
            listed.push((*name, Some(*bytes)));
        }
        let archive = Arc::new(Archive::new(&listed));
        let fetcher = fetcher(store, &place, &archive, settings, CatalogSettings::default());
        Self {
            place,
            archive,
            fetcher,
            dir: None,
        }
    }

    /// The same world after a restart of the program.
    pub(in crate::fetch) async fn restart(self, settings: FetchSettings) -> Self {
        self.fetcher.shutdown();
        self.fetcher.finished().await;
        let Self {
            place,
            archive,
            fetcher,
            dir,
        } = self;
        fetcher.store().close().unwrap();
        drop(fetcher);
        let store = loop {
            // Tasks that end in the background hold the old store for a moment.
            match DiskStore::open(dir.as_ref().unwrap().path(), options()) {
                Ok(store) => break store,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let fetcher = super::fetcher(
            Arc::new(store),
            &place,
            &archive,
            settings,
            CatalogSettings::default(),
        );
        Self {
            place,
            archive,
            fetcher,
            dir,
        }
    }

    pub(in crate::fetch) async fn open(&self, name: &str) -> Result<Vec<u8>, FetchError> {
        self.fetcher
            .open(&key(name))
            .wait()
            .await
            .map(|file| bytes_of(&file))
    }

    pub(in crate::fetch) async fn fails(&self, name: &str) -> FetchErrorKind {
        self.open(name).await.expect_err("it should fail").kind
    }

    /// Every file under a final name in the store is that of the origin.
    pub(in crate::fetch) fn check_store(&self) {
        let files = self.place.files.lock();
        let Some(dir) = &self.dir else { return };
        for area in ["references/hst", "mappings/hst"] {
            let Ok(entries) = std::fs::read_dir(dir.path().join(area)) else {
                continue;
            };
            for entry in entries {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                assert_eq!(
                    std::fs::read(entry.path()).unwrap(),
                    files[&name].0,
                    "{name} in the store is wrong"
                );
            }
        }
    }
}

fn options() -> StoreOptions {
    StoreOptions {
        keep_free: 0,
        ..StoreOptions::default()
    }
}

pub(in crate::fetch) fn disk_store(dir: &tempfile::TempDir) -> Arc<DiskStore> {
    Arc::new(DiskStore::open(dir.path(), options()).unwrap())
}

/// Several places: the server's at 127.0.0.1, and the sources at the addresses that follow.
struct Places(Vec<Arc<Place>>);

impl Origin for Places {
    fn get<'a>(
        &'a self,
        url: &'a Url,
        range: Option<ByteRange>,
        if_range: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Download, RemoteError>> {
        let host = url.host().unwrap();
        let number: usize = host.rsplit('.').next().unwrap().parse().unwrap();
        self.0[number - 1].get(url, range, if_range)
    }
}

pub(in crate::fetch) fn fetcher(
    store: Arc<dyn Store>,
    place: &Arc<Place>,
    archive: &Arc<Archive>,
    settings: FetchSettings,
    catalog_settings: CatalogSettings,
) -> Fetcher {
    fetcher_with(
        store,
        vec![Arc::clone(place)],
        archive,
        settings,
        catalog_settings,
    )
}

fn fetcher_with(
    store: Arc<dyn Store>,
    places: Vec<Arc<Place>>,
    archive: &Arc<Archive>,
    settings: FetchSettings,
    catalog_settings: CatalogSettings,
) -> Fetcher {
    let catalogs = catalogs(store, archive, catalog_settings);
    let named = (2..=places.len()).map(|number| format!("http://127.0.0.{number}/{{name}}").parse().unwrap());
    let remote = Settings {
        sources: named.collect(),
        ..Settings::default()
    };
    let endpoints = Endpoints::new(&remote, &[Observatory::Hst]).unwrap();
    let origin = Arc::new(Places(places));
    Fetcher::new(Handle::current(), origin, endpoints, catalogs, settings)
}

fn catalogs(store: Arc<dyn Store>, archive: &Arc<Archive>, settings: CatalogSettings) -> Catalogs {
    let server: Arc<dyn CrdsServer> = Arc::<Archive>::clone(archive);
    let source = CatalogSource {
        observatory: Observatory::Hst,
        server: Some(server),
    };
    Catalogs::new(Handle::current(), store, vec![source], settings)
}
