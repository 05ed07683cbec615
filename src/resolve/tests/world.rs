//! Everything around a resolver: a server, an origin with a few rules, a store, a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, json};
use sha1::{Digest, Sha1};
use tokio::runtime::Handle;

use super::Archive;
use crate::crds::{DatasetName, FileName, Observatory, Sha1Sum};
use crate::fetch::{CatalogSettings, CatalogSource, Catalogs, FetchSettings, Fetcher};
use crate::remote::memory::MemoryOrigin;
use crate::remote::{CrdsServer, Endpoints, Settings};
use crate::resolve::{Answer, Clock, ResolveError, ResolveOptions, Resolver};
use crate::store::{MemoryStore, Store};

pub(super) const ID: &str = "R0000101001001001001_01101_0001.WFI16";

/// A server, a store and a clock that outlive resolvers.
pub(super) struct World {
    pub(super) archive: Archive,
    pub(super) origin: MemoryOrigin,
    pub(super) store: Arc<MemoryStore>,
    seconds: Arc<AtomicU64>,
    pub(super) options: ResolveOptions,
}

impl World {
    pub(super) fn new() -> Self {
        let archive = Archive::new();
        let origin = MemoryOrigin::new();
        let mut names = Vec::new();
        let mut files = Map::new();
        for (name, text) in rules() {
            let sum: Sha1Sum = Sha1Sum::from_bytes(Sha1::digest(text.as_bytes()).into());
            files.insert(
                name.to_owned(),
                json!({"size": text.len().to_string(), "sha1sum": sum.to_string()}),
            );
            origin.put(&format!("https://archive.example/mappings/{name}"), text);
            names.push(name);
        }
        archive.set_info(json!({
            "observatory": "roman",
            "latest_context": "roman_0042.pmap",
            "operational_context": "roman_0042.pmap",
            "edit_context": "roman_0043.pmap",
            "versions_context": "",
            "context_history": [
                ["2026-06-17 18:42:21", "roman_0042.pmap", "newer"],
                ["2025-01-01 00:00:00", "roman_0041.pmap", "older"],
                ["2024-01-01 00:00:00", "roman_0001.pmap", "no longer there"],
            ],
            "mappings": names,
            "bad_files_list": ["dark_bad.asdf"],
            "download_metadata": files,
            "mapping_url": {"roman": "https://archive.example/mappings/"},
            "reference_url": {"roman": "https://archive.example/references/"},
            "force_remote_mode": 0,
            "last_synced": "2026-06-17 14:43:06",
        }));
        archive.put(&format!("{ID}:{ID}"), json!([true, {
            "dark": "dark_1.asdf", "flat": "NOT FOUND No match found.", "ipc": "NOT FOUND n/a", "area": "dark_bad.asdf",
        }]));
        archive.put_header(
            &format!("{ID}:{ID}"),
            json!({"ROMAN.META.INSTRUMENT.NAME": "WFI", "ROMAN.META.INSTRUMENT.DETECTOR": "WFI01"}),
        );
        let seconds = Arc::new(AtomicU64::new(1_000_000));
        let now = Arc::clone(&seconds);
        let clock = Clock::new(move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::SeqCst)));
        Self {
            archive,
            origin,
            store: Arc::default(),
            seconds,
            options: ResolveOptions {
                clock,
                window: Duration::from_millis(1),
                ignore_mapping_checksum: true,
                ..ResolveOptions::default()
            },
        }
    }

    pub(super) fn start(&self) -> Resolver {
        self.start_with(false)
    }

    pub(super) fn start_with(&self, offline: bool) -> Resolver {
        let server: Arc<dyn CrdsServer> = Arc::new(self.archive.clone());
        let source = CatalogSource {
            observatory: Observatory::Roman,
            server: Some(server),
        };
        let settings = CatalogSettings {
            offline,
            ..CatalogSettings::default()
        };
        let catalogs = Catalogs::new(
            Handle::current(),
            Arc::clone(&self.store) as Arc<dyn Store>,
            vec![source],
            settings,
        );
        let endpoints = Endpoints::new(&Settings::default(), &[Observatory::Roman]).unwrap();
        let origin = Arc::new(self.origin.clone());
        let settings = FetchSettings {
            offline,
            ..FetchSettings::default()
        };
        let fetcher = Fetcher::new(Handle::current(), origin, endpoints, catalogs, settings);
        Resolver::new(fetcher, self.options.clone(), Handle::current())
    }

    pub(super) fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(super) fn now(&self) -> SystemTime {
        self.options.clock.now()
    }
}

/// A few rules: the darks of three contexts differ by the last one's.
fn rules() -> Vec<(&'static str, String)> {
    let pmap = |imap: &str| {
        format!(
            "header = {{'mapping': 'PIPELINE', 'parkey': ('ROMAN.META.INSTRUMENT.NAME',), 'name': 'x', \
             'derived_from': 'y', 'observatory': 'ROMAN'}}\nselector = {{'WFI': '{imap}'}}\n"
        )
    };
    let imap = |dark: &str| {
        format!(
            "header = {{'mapping': 'INSTRUMENT', 'parkey': ('REFTYPE',), 'name': 'x', 'derived_from': 'y', \
             'observatory': 'ROMAN', 'instrument': 'WFI'}}\nselector = {{'DARK': '{dark}', 'FLAT': \
             'roman_wfi_flat_0001.rmap', 'GAIN': 'N/A'}}\n"
        )
    };
    let rmap = |kind: &str, file: &str| {
        format!(
            "header = {{'mapping': 'REFERENCE', 'parkey': (('ROMAN.META.INSTRUMENT.DETECTOR',),), 'name': 'x', \
             'derived_from': 'y', 'observatory': 'ROMAN', 'instrument': 'WFI', 'filekind': '{kind}'}}\n\
             selector = Match({{('WFI01',): '{file}', ('WFI02',): 'other.asdf'}})\n"
        )
    };
    vec![
        ("roman_0041.pmap", pmap("roman_wfi_0007.imap")),
        ("roman_0042.pmap", pmap("roman_wfi_0008.imap")),
        ("roman_0043.pmap", pmap("roman_wfi_missing.imap")),
        ("roman_wfi_0007.imap", imap("roman_wfi_dark_0001.rmap")),
        ("roman_wfi_0008.imap", imap("roman_wfi_dark_0002.rmap")),
        ("roman_wfi_dark_0001.rmap", rmap("DARK", "dark_a.asdf")),
        ("roman_wfi_dark_0002.rmap", rmap("DARK", "dark_b.asdf")),
        ("roman_wfi_flat_0001.rmap", rmap("FLAT", "flat.asdf")),
    ]
}

pub(super) fn context() -> FileName {
    "roman_0042.pmap".parse().unwrap()
}

pub(super) fn dataset(text: &str) -> DatasetName {
    text.parse().unwrap()
}

pub(super) async fn ask(resolver: &Resolver, name: &str) -> Result<Arc<Answer>, ResolveError> {
    resolver.answer(&context(), &dataset(name)).wait().await
}

pub(super) async fn spec(resolver: &Resolver, text: &str) -> Result<String, ResolveError> {
    resolver
        .context(&text.parse().unwrap())
        .wait()
        .await
        .map(|name| name.to_string())
}
