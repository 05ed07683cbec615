//! The embedded server, in this process, over the demonstration's observatory or a real cache.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crds_fs::crds::Observatory;
use crds_fs::serve::{Counters, Handle, Options, Server};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::rig;

/// A served cache.
pub(crate) struct Library {
    pub(crate) cache: PathBuf,
    handle: Option<Handle>,
    runtime: Runtime,
    _directory: Option<TempDir>,
}

impl Library {
    /// The observatory of `crds-fs demo`, with its datasets.
    pub(crate) fn demo() -> Self {
        let directory = TempDir::new().unwrap();
        let cache = directory.path().join("cache");
        let status = rig::program()
            .args(["demo", "--write"])
            .arg(&cache)
            .status()
            .unwrap();
        assert!(status.success());
        let datasets = Some(cache.join("datasets.json"));
        Self::made(directory, cache, datasets)
    }

    /// The real rules, where they are at hand.
    pub(crate) fn shared() -> Option<Self> {
        let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/crds-cache");
        if cache.is_dir() {
            Some(Self::over(cache, None))
        } else {
            writeln!(io::stderr().lock(), "not run: {} is not here", cache.display()).unwrap();
            None
        }
    }

    /// A cache made for one test, below `directory`.
    pub(crate) fn made(directory: TempDir, cache: PathBuf, datasets: Option<PathBuf>) -> Self {
        Self {
            _directory: Some(directory),
            ..Self::over(cache, datasets)
        }
    }

    fn over(cache: PathBuf, datasets: Option<PathBuf>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let options = Options {
            datasets,
            ..Options::default()
        };
        let handle = runtime.block_on(Server::bind(&cache, options)).unwrap();
        Self {
            cache,
            handle: Some(handle),
            runtime,
            _directory: None,
        }
    }

    fn handle(&self) -> &Handle {
        self.handle.as_ref().unwrap()
    }

    /// As `--server` wants them.
    pub(crate) fn flags(&self) -> Vec<String> {
        let handle = self.handle();
        let known = handle
            .observatories()
            .filter(|observatory| *observatory != Observatory::Tobs);
        known
            .map(|observatory| format!("{observatory}={}", handle.url(observatory)))
            .collect()
    }

    /// The number of files that are served to the observatories of [`Library::flags`].
    pub(crate) fn files(&self) -> usize {
        let handle = self.handle();
        let known = handle
            .observatories()
            .filter(|observatory| *observatory != Observatory::Tobs);
        known.map(|observatory| handle.files(observatory)).sum()
    }

    pub(crate) fn counters(&self) -> &Counters {
        self.handle().counters()
    }

    /// Ends the server: its port is closed.
    pub(crate) fn stop(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.runtime.block_on(handle.shutdown());
        }
    }
}

/// A dataset file of the demonstration's observatory in a directory.
pub(crate) fn dataset_file(directory: &Path) -> PathBuf {
    let path = directory.join("r0000101_uncal.asdf");
    let tree = "#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n--- !core/asdf-1.1.0\nroman:\n  meta:\n    telescope: ROMAN\n    \
                instrument: {name: WFI, detector: WFI01}\n    exposure: {type: WFI_IMAGE, start_time: '2027-01-01 \
                00:00:00'}\n...\n";
    std::fs::write(&path, tree).unwrap();
    path
}
