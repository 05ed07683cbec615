//! A server with an archive of datasets, in this process.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crds_fs::crds::Observatory;
use crds_fs::serve::{Handle, Options, Server};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{cache, command};

/// A served copy of [`cache`] that knows some datasets.
pub(super) struct Archive {
    handle: Option<Handle>,
    runtime: Runtime,
    _directory: TempDir,
}

/// The dataset `J00000001` with its answers under both contexts.
pub(super) fn datasets() -> Value {
    json!({"J00000001": {
        "header": {"INSTRUME": "ACS", "DETECTOR": "WFC"},
        "bestrefs": {
            "hst_0001.pmap": {"darkfile": "old_drk.fits", "pfltfile": "flat_pfl.fits"},
            "hst_0002.pmap": {"darkfile": "new_drk.fits", "pfltfile": "flat_pfl.fits"},
        },
    }})
}

impl Archive {
    pub(super) fn new() -> Self {
        Self::of(&datasets())
    }

    pub(super) fn of(datasets: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let served = directory.path().join("served");
        cache(&served);
        let path = directory.path().join("datasets.json");
        fs::write(&path, datasets.to_string()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let options = Options {
            datasets: Some(path),
            ..Options::default()
        };
        let handle = runtime.block_on(Server::bind(&served, options)).unwrap();
        Self {
            handle: Some(handle),
            runtime,
            _directory: directory,
        }
    }

    /// As `--server` wants it.
    pub(super) fn server(&self) -> String {
        let handle = self.handle.as_ref().unwrap();
        format!("hst={}", handle.url(Observatory::Hst))
    }

    /// The command on a cache, with this archive, which alone gives answers for its datasets.
    pub(super) fn command(&self, root: &Path, args: &[&str]) -> Command {
        let mut command = command(env!("CARGO_BIN_EXE_crds-fs"), root, args);
        command
            .env("CRDS_FS_SERVER", self.server())
            .env("CRDS_MODE", "remote");
        command
    }

    pub(super) fn bestrefs(&self, root: &Path, args: &[&str]) -> Output {
        self.command(root, args).output().unwrap()
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.runtime.block_on(handle.shutdown());
        }
    }
}
