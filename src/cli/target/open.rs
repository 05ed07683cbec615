//! An open target: its catalogs, contexts and files, alike for a mount and for a cache directory.

pub(super) mod answers;
mod mounted;
pub(super) mod upkeep;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use self::mounted::{config_in_mount, described, flat, open_in_mount};
use super::find::STATUS;
use crate::cache::Cache;
use crate::cli::cache_dirs::CacheDirs;
use crate::cli::settings::Settings;
use crate::cli::{Failure, output, wiring};
use crate::crds::{ContextSpec, FileKey, FileName, Observatory, ServerInfo};
use crate::fetch::{FetchError, FileState};
use crate::mount::mountinfo::MountEntry;
use crate::mount::unmount;
use crate::tree::report::{ObservatoryReport, StatusReport};

/// A description younger than this is not asked for again.
const JUST_NOW: Duration = Duration::from_secs(10);

/// So long a server may take that says again what is known already.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest wait for one more file that is written to the tier.
const WRITE_BACK_PATIENCE: Duration = Duration::from_secs(60);

/// An open target.
pub(in crate::cli) struct Opened {
    place: Place,
    observatories: Vec<Observatory>,
    /// The observatories whose default context the mount was made with.
    chosen: Vec<Observatory>,
    /// Those that a mount was asked for.
    catalogs: Mutex<BTreeMap<Observatory, Arc<ServerInfo>>>,
}

enum Place {
    Mount(MountEntry),
    Cache(Box<Cache>),
}

/// The place of a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct FileStatus {
    /// `remote`, `fetching`, `cached` or `local`.
    pub(in crate::cli) state: String,
    /// Bytes that are here.
    pub(in crate::cli) done: u64,
}

impl FileStatus {
    /// Whether it can be opened without a transfer.
    pub(in crate::cli) fn is_here(&self) -> bool {
        self.state == FileState::Cached.as_str() || self.is_local()
    }

    /// Whether a file of the user's own stands in its place.
    pub(in crate::cli) fn is_local(&self) -> bool {
        self.state == FileState::Local.as_str()
    }
}

impl Opened {
    /// Opens a mount, which must answer.
    pub(in crate::cli) fn mount(mountpoint: &Path) -> Result<Self, Failure> {
        let entry = unmount::find(mountpoint)?;
        let status: StatusReport = serde_json::from_slice(&entry.read(STATUS)?)
            .map_err(|error| Failure::because("the status of the mount is not as it should be", error))?;
        let shown = |is_meant: fn(&ObservatoryReport) -> bool| {
            let shown = status.observatories.iter().filter(|report| is_meant(report));
            shown.filter_map(|report| report.name.parse().ok()).collect()
        };
        Ok(Self {
            place: Place::Mount(entry),
            observatories: shown(|_| true),
            chosen: shown(|report| report.context_chosen),
            catalogs: Mutex::default(),
        })
    }

    /// Opens a cache directory by the settings. Nothing is asked of the network. Tasks run on `runtime`.
    pub(in crate::cli) fn cache(
        directory: &Path,
        settings: &Settings,
        runtime: &Handle,
    ) -> Result<Self, Failure> {
        Ok(Self {
            place: Place::Cache(Box::new(wiring::cache(settings, directory, runtime)?)),
            observatories: settings.observatories.clone(),
            chosen: Vec::new(),
            catalogs: Mutex::default(),
        })
    }

    /// A mount of this process's own making, which is well and shows these observatories.
    pub(in crate::cli) fn mounted(
        mountpoint: &Path,
        observatories: Vec<Observatory>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            place: Place::Mount(unmount::find(mountpoint)?),
            observatories,
            chosen: Vec::new(),
            catalogs: Mutex::default(),
        })
    }

    /// Whether it is a mount that was made with a default context of its own.
    pub(in crate::cli) fn has_own_context(&self, observatory: Observatory) -> bool {
        self.chosen.contains(&observatory)
    }

    /// The observatories that it shows.
    pub(in crate::cli) fn observatories(&self) -> &[Observatory] {
        &self.observatories
    }

    /// An observatory's catalog and contexts: what is kept, else what its server says.
    pub(in crate::cli) async fn catalog(&self, observatory: Observatory) -> Result<Arc<ServerInfo>, Failure> {
        let mount = match &self.place {
            Place::Cache(cache) => return Ok(cache.fetcher().catalogs().load(observatory).wait().await?),
            Place::Mount(mount) => mount,
        };
        if let Some(info) = self.catalogs.lock().get(&observatory) {
            return Ok(Arc::clone(info));
        }
        let dirs = CacheDirs::of_cache(&mount.mountpoint);
        let read = move || dirs.server_info(observatory).map_err(Failure::new);
        let info = Arc::new(in_background(read).await??);
        if info.catalog().len() == 0 {
            return Err(self.no_catalog(observatory).await);
        }
        self.catalogs.lock().insert(observatory, Arc::clone(&info));
        Ok(info)
    }

    /// The failure that a mount has no catalog, with what it says of that.
    async fn no_catalog(&self, observatory: Observatory) -> Failure {
        let report = self.mount_report().await;
        let reports = report.map(|report| report.observatories).unwrap_or_default();
        let told = reports
            .into_iter()
            .filter(|report| report.name == observatory.as_str())
            .find_map(|report| report.error);
        Failure::new(match told {
            Some(error) => format!(
                "the catalog of {observatory} cannot be had: {}{}",
                error.message,
                error
                    .remedy
                    .map(|remedy| format!("; {remedy}"))
                    .unwrap_or_default()
            ),
            None => format!("the catalog of {observatory} is empty"),
        })
    }

    /// The status of the mount, if it is one.
    async fn mount_report(&self) -> Option<StatusReport> {
        let Place::Mount(mount) = &self.place else {
            return None;
        };
        let mount = mount.clone();
        let text = in_background(move || mount.read(STATUS)).await.ok()?.ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The mapping that a context means; it exists.
    pub(in crate::cli) async fn context(&self, spec: &ContextSpec) -> Result<FileKey, Failure> {
        let name = match &self.place {
            Place::Cache(cache) => cache.context(spec).await?,
            Place::Mount(mount) => self.context_in_mount(mount, spec).await?,
        };
        match Observatory::of_name(name.as_str()) {
            Some(observatory) => Ok(FileKey { observatory, name }),
            None => Err(Failure::new(format!("'{name}' belongs to no observatory"))),
        }
    }

    async fn context_in_mount(&self, mount: &MountEntry, spec: &ContextSpec) -> Result<FileName, Failure> {
        let link = format!("bestrefs/{spec}");
        let path = mount.mountpoint.join(&link);
        let config = spec
            .observatory()
            .map(|observatory| config_in_mount(mount, observatory));
        let found = in_background(move || {
            // An open waits for a catalog that is on its way, a lookup only for a short while. Without one the lookup fails.
            drop(config.map(File::open));
            fs::canonicalize(path)
        });
        let found = found.await?;
        let name = found.and_then(|target| {
            let name = target.file_name().and_then(|name| name.to_str());
            name.and_then(|name| name.parse().ok())
                .ok_or_else(|| io::ErrorKind::InvalidData.into())
        });
        match name {
            Ok(name) => Ok(name),
            Err(error) => Err(match self.failure_in_mount(&link).await {
                Some(told) => Failure::new(told),
                None => Failure::because(format!("there is no context '{spec}'"), error),
            }),
        }
    }

    /// The last failure of a mount with an entry of `/bestrefs`, if it tells one.
    async fn failure_in_mount(&self, entry: &str) -> Option<String> {
        let failures = self.mount_report().await?.failures;
        let told = failures.into_iter().rev().find(|failure| failure.file == entry);
        told.map(|failure| failure.message)
    }

    /// The description of an observatory's server: as the server gives it now, else as it is kept, with the reason why the
    /// server was not asked. A mount says what it goes by.
    pub(in crate::cli) async fn description(
        &self,
        observatory: Observatory,
    ) -> Result<(Arc<ServerInfo>, Option<String>), Failure> {
        let kept = self.catalog(observatory).await?;
        let Place::Cache(cache) = &self.place else {
            return Ok((kept, None));
        };
        let catalogs = cache.fetcher().catalogs();
        let is_fresh = catalogs.age(observatory).is_some_and(|age| age < JUST_NOW);
        if is_fresh || catalogs.is_offline(observatory) {
            return Ok((kept, None));
        }
        let fresh = tokio::time::timeout(PATIENCE, catalogs.refresh(observatory).wait()).await;
        Ok(match fresh {
            Ok(Ok(fresh)) => (fresh, None),
            Ok(Err(error)) => (kept, Some(error.to_string())),
            Err(_) => {
                let seconds = PATIENCE.as_secs();
                let why = format!("the server of {observatory} says nothing for {seconds} s");
                (kept, Some(why))
            }
        })
    }

    /// An open file, fetched if it is not here. Dropping the future abandons the wait.
    pub(in crate::cli) async fn file(&self, key: &FileKey) -> Result<Arc<File>, Failure> {
        let mount = match &self.place {
            Place::Cache(cache) => {
                let opened = cache.fetcher().open(key).wait().await;
                return opened.map_err(|error| Failure::new(reason(&error)));
            }
            Place::Mount(mount) => mount.mountpoint.clone(),
        };
        let key = key.clone();
        in_background(move || {
            open_in_mount(&mount, &key).map(Arc::new).map_err(|error| {
                let told = described(&mount, &key).and_then(|report| report.error);
                match told {
                    Some(failure) => {
                        // The caller names the file itself.
                        let name = format!("{key}: ");
                        let why = failure.message.strip_prefix(&name);
                        Failure::new(why.unwrap_or(&failure.message))
                    }
                    None => Failure::from(error),
                }
            })
        })
        .await?
    }

    /// The place of a file's bytes. From memory; of a mount it takes a few system calls.
    pub(in crate::cli) fn status(&self, key: &FileKey) -> FileStatus {
        match &self.place {
            Place::Cache(cache) => {
                let state = cache.fetcher().state(key);
                let done = match state {
                    FileState::Fetching { done, .. } => done,
                    FileState::Remote | FileState::Cached | FileState::Local => 0,
                };
                FileStatus {
                    state: state.as_str().to_owned(),
                    done,
                }
            }
            Place::Mount(mount) => {
                let report = described(&mount.mountpoint, key).unwrap_or_default();
                FileStatus {
                    state: report.state,
                    done: report.progress.done,
                }
            }
        }
    }

    /// As [`Self::status`], but a file on its way may count as remote. Of a mount one system call tells that a file is not
    /// here.
    pub(in crate::cli) fn status_at_rest(&self, key: &FileKey) -> FileStatus {
        if let Place::Mount(mount) = &self.place
            && fs::metadata(flat(&mount.mountpoint, key))
                .is_ok_and(|metadata| metadata.len() > 0 && metadata.blocks() == 0)
        {
            return FileStatus {
                state: FileState::Remote.as_str().to_owned(),
                done: 0,
            };
        }
        self.status(key)
    }

    /// The URL that the file that is here came from, as far as it is known. Waits for the disk.
    pub(in crate::cli) fn came_from(&self, key: &FileKey) -> Option<String> {
        match &self.place {
            Place::Cache(cache) => cache.fetcher().came_from(key).map(|url| url.to_string()),
            Place::Mount(mount) => {
                let report = described(&mount.mountpoint, key)?;
                report
                    .source
                    .filter(|_| report.state == FileState::Cached.as_str())
            }
        }
    }

    /// Returns when all that was fetched is under its final name, where others find it.
    pub(in crate::cli) async fn flush(&self) -> Result<(), Failure> {
        let Place::Cache(cache) = &self.place else {
            return Ok(());
        };
        let store = Arc::clone(cache.fetcher().store());
        Ok(in_background(move || store.flush()).await??)
    }

    /// The end: transfers of a cache directory stop where they can go on another time, and what is to be remembered is
    /// written down.
    pub(in crate::cli) async fn close(&self) {
        if let Place::Cache(cache) = &self.place {
            cache.close().await;
        }
    }

    /// Writes to the tier of a cache directory what was fetched from elsewhere, as long as that goes on, and tells what it was
    /// given. Dropping the future abandons it.
    pub(in crate::cli) async fn write_back(&self) {
        let Place::Cache(cache) = &self.place else { return };
        let Some(before) = cache.fetcher().tier() else {
            return;
        };
        if before.write_back.queued_files > 0 {
            let left = output::files(before.write_back.queued_files);
            output::remark(&format!(
                "crds-fs: {left} to be written to the tier {}\n",
                before.tier
            ));
        }
        let after = cache.fetcher().written_back(WRITE_BACK_PATIENCE).await;
        let left = after.counts.unwritten_files + after.counts.wrong_files + after.queued_files;
        if left > 0 {
            let why = after.error.map(|error| format!(": {error}")).unwrap_or_default();
            let left = output::files(left);
            output::remark(&format!(
                "crds-fs: {left} not written to the tier {}{why}\n",
                before.tier
            ));
        }
    }
}

/// The reason for a failure, without the file's name.
fn reason(error: &FetchError) -> String {
    let url = error.url.as_ref();
    let url = url.map(|url| format!(" ({url})")).unwrap_or_default();
    let remedy = error.remedy.as_ref();
    let remedy = remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
    let mut reason = format!("{}{url}{remedy}", error.message);
    if let Some(cause) = &error.source {
        let cause = cause.to_string();
        if !reason.contains(&cause) {
            reason = format!("{reason}: {cause}");
        }
    }
    reason
}

/// Does what may wait for a disk or a mount on a thread for such work.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    Ok(tokio::task::spawn_blocking(work).await?)
}
