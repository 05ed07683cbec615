//! An open target with the runtime of its tasks, for commands that wait for what they ask.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{Opened, Target};
use crate::cli::Failure;
use crate::cli::settings::Settings;

/// An open target and its runtime.
pub(in crate::cli) struct Session {
    target: Arc<Opened>,
    directory: PathBuf,
    settings: Settings,
    runtime: Runtime,
    /// The cache where only servers are asked.
    _temporary: Option<TempDir>,
}

impl Session {
    /// Opens a target: a mount, which must answer, or a cache directory, by the settings. Nothing is asked of the network.
    pub(in crate::cli) fn open(target: &Target, settings: Settings) -> Result<Self, Failure> {
        let (directory, temporary) = match target {
            Target::Mount(directory) | Target::Cache(directory) => (directory.clone(), None),
            Target::Servers => {
                let temporary = TempDir::new().map_err(|error| {
                    Failure::because("cannot make a directory for temporary files (TMPDIR)", error)
                })?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let opened = match target {
            Target::Mount(mountpoint) => Opened::mount(mountpoint)?,
            Target::Cache(_) | Target::Servers => Opened::cache(&directory, &settings, runtime.handle())?,
        };
        Ok(Self {
            target: Arc::new(opened),
            directory,
            settings,
            runtime,
            _temporary: temporary,
        })
    }

    /// The target.
    pub(in crate::cli) fn target(&self) -> &Arc<Opened> {
        &self.target
    }

    /// The mount point, or the directory of the cache.
    pub(in crate::cli) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The settings that it was opened with.
    pub(in crate::cli) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Waits for something asked of the target.
    pub(in crate::cli) fn wait<F: Future>(&self, asked: F) -> F::Output {
        self.runtime.block_on(asked)
    }

    /// Closes the target, and ends. What was fetched is written to the tier before, if there is one.
    pub(in crate::cli) fn close(self) {
        self.wait(self.target.write_back());
        self.wait(self.target.close());
        self.end();
    }

    /// Ends, with a target that is closed or needs no closing. Threads that wait for a mount end with the process.
    pub(in crate::cli) fn end(self) {
        self.runtime.shutdown_background();
    }
}
