//! The transfers of one `crds-fs fetch`: each file once, many at a time, with its result.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use futures_util::future::join;
use futures_util::stream::{self, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::progress::{Progress, SMALL};
use crate::cli::files_report::FilesReport;
use crate::cli::selection::Selected;
use crate::cli::target::Opened;
use crate::crds::{CatalogEntry, FileKey};

/// Small files at a time, for each large one.
const SMALL_PER_JOB: usize = 4;

/// Fetches the files of one command, so many small and large ones at a time, and keeps the result of each.
pub(super) struct Transfers<'a> {
    target: &'a Opened,
    progress: Progress,
    jobs: usize,
    small: Semaphore,
    large: Semaphore,
    outcomes: Mutex<BTreeMap<FileKey, Outcome>>,
}

/// The result for one file.
#[derive(Debug, Clone)]
struct Outcome {
    size: Option<u64>,
    state: &'static str,
    error: Option<String>,
}

impl<'a> Transfers<'a> {
    pub(super) fn new(target: &'a Opened, progress: Progress, jobs: usize) -> Self {
        Self {
            target,
            progress,
            jobs,
            small: Semaphore::new(jobs * SMALL_PER_JOB),
            large: Semaphore::new(jobs),
            outcomes: Mutex::default(),
        }
    }

    /// The target.
    pub(super) fn target(&self) -> &'a Opened {
        self.target
    }

    /// The progress, as it is shown.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Brings a file, or opens it where it is here already: its contents are then those of the catalog. The outcome is noted.
    pub(super) async fn bring(&self, key: &FileKey, entry: CatalogEntry) -> Result<Arc<File>, String> {
        let is_small = entry.size.is_none_or(|size| size <= SMALL);
        let lane = if is_small { &self.small } else { &self.large };
        // Nobody closes it.
        let _slot = lane.acquire().await;
        if self.outcomes.lock().contains_key(key) {
            return self.open(key).await;
        }
        let before = self.target.status(key);
        let was_here = before.is_here();
        self.progress.begin(key, entry.size, was_here);
        let opened = self.open(key).await;
        let state = match (&opened, was_here) {
            (Err(_), _) => "failed",
            (Ok(_), true) if before.is_local() => "local",
            (Ok(_), true) => "cached",
            (Ok(_), false) => "fetched",
        };
        // Where the catalog has no size, the file has one now; one of the user's has its own.
        let catalogued = entry.size.filter(|_| !before.is_local());
        let size = catalogued.or_else(|| Some(opened.as_ref().ok()?.metadata().ok()?.len()));
        let error = opened.as_ref().err().cloned();
        self.progress.end(key, state, error.as_deref());
        self.outcomes
            .lock()
            .insert(key.clone(), Outcome { size, state, error });
        opened
    }

    async fn open(&self, key: &FileKey) -> Result<Arc<File>, String> {
        let opened = self.target.file(key).await;
        opened.map_err(|failure| failure.to_string())
    }

    /// Brings files, all that were not brought before.
    pub(super) async fn bring_all(&self, files: &Selected) {
        let new: Vec<(&FileKey, CatalogEntry)> = {
            let outcomes = self.outcomes.lock();
            let is_new = |(key, _): &(&FileKey, CatalogEntry)| !outcomes.contains_key(*key);
            files
                .iter()
                .map(|(key, entry)| (key, *entry))
                .filter(is_new)
                .collect()
        };
        let (small, large): (Vec<_>, Vec<_>) = new
            .into_iter()
            .partition(|(_, entry)| entry.size.is_none_or(|size| size <= SMALL));
        join(
            self.bring_lane(small, self.jobs * SMALL_PER_JOB),
            self.bring_lane(large, self.jobs),
        )
        .await;
    }

    async fn bring_lane(&self, files: Vec<(&FileKey, CatalogEntry)>, at_once: usize) {
        let mut running = stream::iter(files)
            .map(|(key, entry)| async move { drop(self.bring(key, entry).await) })
            .buffer_unordered(at_once);
        while running.next().await.is_some() {}
    }

    /// Notes that a file cannot be had, without trying.
    pub(super) fn refuse(&self, key: &FileKey, size: Option<u64>, error: String) {
        let outcome = Outcome {
            size,
            state: "failed",
            error: Some(error),
        };
        self.outcomes.lock().insert(key.clone(), outcome);
    }

    /// The number of files that are here now.
    pub(super) fn here(&self) -> usize {
        let outcomes = self.outcomes.lock();
        outcomes
            .values()
            .filter(|outcome| outcome.error.is_none())
            .count()
    }

    /// The report on all files that were asked for.
    pub(super) fn report(&self) -> FilesReport {
        let mut report = FilesReport::default();
        for (key, outcome) in self.outcomes.lock().iter() {
            report.add(key, outcome.size, outcome.state, outcome.error.clone());
        }
        report
    }

    /// The report on a dry run: the same, with files that were not asked for in their present state.
    pub(super) fn plan(&self, files: &Selected) -> FilesReport {
        let mut report = self.report();
        let outcomes = self.outcomes.lock();
        for (key, entry) in files {
            if !outcomes.contains_key(key) {
                report.add(key, entry.size, &self.target.status_at_rest(key).state, None);
            }
        }
        report
    }
}
