//! A world for the fetcher: an origin and a server in memory that misbehave as they are told.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use super::*;
use crate::crds::{ServerInfo, Sha1Sum};
use crate::remote::memory::MemoryDestination;
use crate::remote::{
    ByteRange, CrdsServer, Download, RemoteError, RemoteErrorKind, Retry, Settings, SourcePlace, TierSetting,
};
use crate::store::{DiskStore, MemoryStore, StoreOptions};

/// The way in which the origin treats one request.
#[derive(Debug, Clone)]
pub(in crate::fetch) enum Act {
    /// It fails at once.
    Fail(RemoteErrorKind),
    /// 429 with Retry-After.
    BusyFor(Duration),
    /// The connection breaks after so many bytes.
    Drop(usize),
    /// All bytes come, with a pause of a second between them.
    Slow,
    /// Nothing more comes after so many bytes.
    Stall(usize),
    /// The data ends after so many bytes, and the reply does not tell the length.
    End(usize),
    /// One byte is wrong.
    Flip(usize),
    /// Another file altogether.
    Other(&'static [u8]),
    /// The whole file, also where a part was requested.
    Whole,
    /// Of a part, more than was asked for.
    Beyond(usize),
    /// The origin has a bug.
    Panic,
}

pub(in crate::fetch) type Asked = (u64, Option<u64>, bool);

/// Files in memory.
#[derive(Default)]
pub(in crate::fetch) struct Place {
    files: Mutex<BTreeMap<String, (Bytes, u32)>>,
    acts: Mutex<VecDeque<Act>>,
    always: Mutex<Option<Act>>,
    asked: Mutex<Vec<(String, Asked)>>,
    delay: Mutex<Duration>,
}

impl Place {
    pub(in crate::fetch) fn put(&self, name: &str, bytes: &[u8]) {
        let mut files = self.files.lock();
        let version = files.get(name).map_or(1, |(_, version)| version + 1);
        files.insert(name.to_owned(), (Bytes::copy_from_slice(bytes), version));
    }

    pub(in crate::fetch) fn remove(&self, name: &str) {
        self.files.lock().remove(name);
    }

    /// The next requests go like this, one after the other.
    pub(in crate::fetch) fn then(&self, acts: impl IntoIterator<Item = Act>) {
        self.acts.lock().extend(acts);
    }

    /// Every request goes like this.
    pub(in crate::fetch) fn always(&self, act: Option<Act>) {
        *self.always.lock() = act;
    }

    /// Every request is answered after so long.
    pub(in crate::fetch) fn answer_after(&self, delay: Duration) {
        *self.delay.lock() = delay;
    }

    /// First byte, end, and whether there was a condition, of each request.
    pub(in crate::fetch) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().iter().map(|(_, asked)| *asked).collect()
    }

    pub(in crate::fetch) fn asked_for(&self) -> Vec<String> {
        self.asked.lock().iter().map(|(name, _)| name.clone()).collect()
    }

    fn answer(
        &self,
        url: &Url,
        range: Option<ByteRange>,
        condition: Option<&str>,
    ) -> Result<Download, RemoteError> {
        let name = url.as_str().rsplit('/').next().unwrap_or_default();
        let from = range.map_or(0, |range| range.start);
        let end = range.and_then(|range| range.end);
        self.asked
            .lock()
            .push((name.to_owned(), (from, end, condition.is_some())));
        let act = self
            .always
            .lock()
            .clone()
            .or_else(|| self.acts.lock().pop_front());
        match &act {
            Some(Act::Fail(kind)) => return Err(RemoteError::new(*kind, url, "told to fail")),
            Some(Act::BusyFor(time)) => {
                let busy = RemoteError::new(RemoteErrorKind::Busy, url, "429 Too Many Requests");
                return Err(busy.with_retry(Retry::After(*time)));
            }
            Some(Act::Panic) => panic!("on purpose"),
            _ => {}
        }
        let files = self.files.lock();
        let Some((bytes, version)) = files.get(name) else {
            return Err(RemoteError::new(RemoteErrorKind::NotFound, url, "404 Not Found"));
        };
        let bytes = match &act {
            Some(Act::Other(other)) => Bytes::from_static(other),
            _ => bytes.clone(),
        };
        let validator = format!("\"{version}\"");
        let same = condition.is_none_or(|condition| condition == validator);
        let total = bytes.len() as u64;
        let partial = range.filter(|_| same && !matches!(act, Some(Act::Whole)));
        let start = partial.map_or(0, |range| range.start);
        let end = partial
            .and_then(|range| range.end)
            .map_or(total, |end| end.min(total));
        if start > total || (start == total && total > 0) {
            return Err(RemoteError::new(RemoteErrorKind::NoSuchRange, url, "416"));
        }
        let mut data = bytes.slice(usize::try_from(start).unwrap()..usize::try_from(end).unwrap());
        let known = !matches!(act, Some(Act::End(_)));
        let mut last = None;
        // Bytes beyond the end come together with those before it.
        let chunk = if matches!(act, Some(Act::Beyond(_))) {
            usize::MAX
        } else {
            10_000
        };
        match &act {
            Some(Act::Drop(count)) => {
                data.truncate(*count);
                let error = RemoteError::new(RemoteErrorKind::Interrupted, url, "the connection broke");
                last = Some(stream::iter([Err(error)]).boxed());
            }
            Some(Act::Stall(count)) => {
                data.truncate(*count);
                last = Some(stream::pending().boxed());
            }
            Some(Act::End(count)) => data.truncate(*count),
            Some(Act::Beyond(count)) => {
                let beyond = usize::try_from(end).unwrap() + count;
                data = bytes.slice(usize::try_from(start).unwrap()..beyond.min(bytes.len()));
            }
            Some(Act::Flip(at)) => {
                let mut wrong = data.to_vec();
                wrong[*at] ^= 1;
                data = wrong.into();
            }
            _ => {}
        }
        let chunks: Vec<_> = data
            .chunks(chunk)
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        let pause = matches!(act, Some(Act::Slow)).then_some(Duration::from_secs(1));
        let chunks = stream::iter(chunks).then(move |chunk| async move {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            chunk
        });
        let body = chunks.chain(last.unwrap_or_else(|| stream::empty().boxed()));
        Ok(Download {
            url: url.clone(),
            offset: start,
            total: known.then_some(total),
            length: known.then_some(end - start),
            validator: Some(validator),
            body: body.boxed(),
        })
    }
}

impl Origin for Place {
    fn get<'a>(
        &'a self,
        url: &'a Url,
        range: Option<ByteRange>,
        if_range: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Download, RemoteError>> {
        let (answer, delay) = (self.answer(url, range, if_range), *self.delay.lock());
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            answer
        })
    }
}

/// A server that knows its catalog.
pub(in crate::fetch) struct Archive {
    pub(in crate::fetch) description: Mutex<Result<Value, RemoteErrorKind>>,
    pub(in crate::fetch) calls: Mutex<Vec<String>>,
    /// Whether it says nothing at all.
    pub(in crate::fetch) silent: AtomicBool,
}

impl Archive {
    pub(in crate::fetch) fn new(files: &[(&str, Option<&[u8]>)]) -> Self {
        Self {
            description: Mutex::new(Ok(description(files))),
            calls: Mutex::default(),
            silent: AtomicBool::new(false),
        }
    }

    pub(in crate::fetch) fn say(&self, description: Result<Value, RemoteErrorKind>) {
        *self.description.lock() = description;
    }

    pub(in crate::fetch) fn count(&self) -> usize {
        self.calls.lock().len()
    }
}

/// A description of a server with these files; `None` is a listed mapping without metadata.
pub(in crate::fetch) fn description(files: &[(&str, Option<&[u8]>)]) -> Value {
    let metadata: serde_json::Map<String, Value> = files
        .iter()
        .filter_map(|(name, bytes)| {
            let entry = json!({"size": (*bytes)?.len().to_string(), "sha1sum": sum((*bytes)?).to_string()});
            Some(((*name).to_owned(), entry))
        })
        .collect();
    let mappings: Vec<&str> = files
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| name.ends_with("map"))
        .collect();
    json!({
        "observatory": "hst", "latest_context": "hst_0001.pmap", "mappings": mappings, "bad_files_list": [],
        "mapping_url": {"hst": "http://127.0.0.1/maps"}, "reference_url": {"hst": "http://127.0.0.1/refs"},
        "last_synced": "2026-01-01 00:00:00", "download_metadata": metadata,
    })
}

impl CrdsServer for Archive {
    fn observatory(&self) -> Observatory {
        Observatory::Hst
    }

    fn url(&self) -> &'static str {
        "http://127.0.0.1/"
    }

    fn call<'a>(&'a self, method: &'a str, _: Value) -> BoxFuture<'a, Result<Value, RemoteError>> {
        self.calls.lock().push(method.to_owned());
        if self.silent.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        let said = self.description.lock().clone();
        let said = said.map_err(|kind| RemoteError::new(kind, self.url(), "told to fail"));
        Box::pin(std::future::ready(said))
    }
}

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
        let dir = tempfile::tempdir().unwrap();
        let place = Arc::new(Place::default());
        place.put(FILE, bytes);
        let archive = Arc::new(Archive::new(&[(FILE, Some(bytes))]));
        let places = std::iter::once(&place).chain(mirrors.iter().copied());
        let fetcher = fetcher_with(
            disk_store(&dir),
            places.map(Arc::clone).collect(),
            &archive,
            settings(),
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

/// The catalog of this text, for stores that exist already.
pub(in crate::fetch) fn literal(files: &[(&str, Option<&[u8]>)]) -> String {
    ServerInfo::from_json_value(description(files))
        .unwrap()
        .received_from("http://127.0.0.1/")
        .to_literal()
}
