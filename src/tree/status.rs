//! The state of the mount: `statfs` and `.crds-fs/status.json`. Made when it is opened, from memory and with a look at the
//! space on the disk, which is not waited for long.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::crds::{FileKey, Observatory};
use crate::fetch::{SourceStatus, TierStatus, TransferStatus};
use crate::store::Usage;

use super::core::{Core, ready};
use super::descriptors::Descriptors;
use super::error::Error;
use super::ino::{ControlFile, Fixed};
use super::ops::{Opened, Outcome, StatFs};
use super::panics;
use super::report::{
    self, CatalogFailure, CatalogState, CounterReport, DescriptorReport, FailureReport, ObservatoryReport,
    PanicReport, SharedReport, SourceReport, SourceStateReport, SpaceReport, StatusReport, TierReport,
    TransferReport, WaiterReport, WrongSourceReport, timestamp,
};
use super::stored::StoredFiles;

impl Core {
    /// The text of a file in `.crds-fs` as it is now.
    pub(super) fn control_text(self: &Arc<Self>, file: ControlFile) -> Outcome<Bytes, Error> {
        let make: fn(&Self, &Usage) -> Bytes = match file {
            ControlFile::Status => |core, usage| report::text(&core.status(usage)),
            ControlFile::Metrics => |core, usage| core.metrics(usage).into(),
            ControlFile::Hold => return ready(Ok(self.hold_text())),
            ControlFile::Opened => return ready(Ok(self.opened_json())),
        };
        let core = Arc::clone(self);
        Outcome::Later(Box::pin(async move {
            let usage = core.usage_soon().await;
            Ok(make(&core, &usage))
        }))
    }

    /// The files in `.crds-fs` that there are.
    pub(super) fn control_files(&self) -> impl Iterator<Item = ControlFile> {
        let tells = self.tells_opens();
        let is_there = move |file: &ControlFile| tells || *file != ControlFile::Opened;
        ControlFile::ALL.into_iter().filter(is_there)
    }

    /// Opens a file in `.crds-fs`, after waiting for the scan of the store, but not for long.
    pub(super) fn open_control(self: &Arc<Self>, file: ControlFile) -> Outcome<Opened, Error> {
        let ino = Fixed::ControlFile(file).ino();
        let core = Arc::clone(self);
        let opened = move |text: Result<Bytes, Error>| Ok(core.opened_text(ino, text?));
        if self.scan.is_done() || file == ControlFile::Opened {
            return self.control_text(file).map(opened);
        }
        let core = Arc::clone(self);
        let scanned = Outcome::Later(Box::pin(async move {
            core.scan.run(core.fetcher.store()).await;
            core.control_text(file).wait().await
        }));
        scanned.map(opened)
    }

    fn status(&self, usage: &Usage) -> StatusReport {
        let observatories = self.fetcher.catalogs().observatories().iter();
        let stored: Vec<_> = observatories.map(|one| (*one, self.stored_files(*one))).collect();
        let overrides = stored.iter().flat_map(|(_, stored)| self.overrides_among(stored));
        let mut local_overrides: Vec<String> = overrides.collect();
        local_overrides.sort();
        StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            mountpoint: self.options.mountpoint.display().to_string(),
            store: self.options.store.display().to_string(),
            started: timestamp(self.started),
            uptime_seconds: seconds_since(self.started),
            offline: self.options.offline,
            read_only: self.options.read_only,
            store_writable: self.fetcher.store().is_writable(),
            shared: self.shared_report(usage),
            store_removed: usage.removed,
            layout: self.layout().as_str().to_owned(),
            observatories: stored
                .iter()
                .map(|(one, stored)| self.observatory_status(*one, stored))
                .collect(),
            tier: self.fetcher.tier().map(tier_report),
            transfers: self.transfer_reports(),
            counters: self.counters(),
            wrong_sources: self.wrong_sources(),
            failures: self.failures(),
            last_panic: panics::seen().map(|panics| PanicReport {
                when: timestamp(panics.when),
                message: panics.text,
            }),
            local_overrides,
            space: self.space(usage),
            failures_by_kind: self
                .fetcher
                .failures_by_kind()
                .iter()
                .map(|(kind, count)| (kind.as_str().to_owned(), *count))
                .collect(),
            open_files: self.files.len(),
            descriptors: DescriptorReport {
                open: Descriptors::open(),
                limit: self.descriptors.limit(),
                open_files_limit: self.descriptors.files(),
            },
            nodes: self.nodes.len(),
        }
    }

    fn shared_report(&self, usage: &Usage) -> Option<SharedReport> {
        let state = self.fetcher.store().shared_state()?;
        let leases = usage.leases.unwrap_or_default();
        Some(SharedReport {
            state: state.display().to_string(),
            found: leases.found,
            waited: leases.waited,
            leases_held: leases.held,
            leases_taken_over: leases.taken_over,
        })
    }

    fn transfer_reports(&self) -> Vec<TransferReport> {
        let mut waiting = self.waiting.report();
        let transfers = self.fetcher.transfers();
        transfers
            .iter()
            .map(|transfer| transfer_report(transfer, waiting.remove(&transfer.key).unwrap_or_default()))
            .collect()
    }

    /// The report on the transfer of one file, if one runs.
    pub(super) fn transfer_of(&self, key: &FileKey) -> Option<TransferReport> {
        let transfer = self.fetcher.transfer(key)?;
        let waiting = self.waiting.report_on(key);
        Some(transfer_report(&transfer, waiting))
    }

    fn space(&self, usage: &Usage) -> SpaceReport {
        let (held_files, held_bytes) = self.fetcher.store().held_copies();
        SpaceReport {
            total: usage.total,
            used: usage.used,
            available: usage.available,
            files: usage.files,
            limit: usage.limit,
            partial: usage.partial,
            quarantined_bytes: usage.quarantined,
            quarantined_files: usage.quarantined_files,
            held_files,
            held_bytes,
            evicted_files: usage.evicted.files,
            evicted_bytes: usage.evicted.bytes,
            complete: self.scan.is_done(),
        }
    }

    fn wrong_sources(&self) -> Vec<WrongSourceReport> {
        let wrong = self.fetcher.wrong_files().into_iter();
        wrong
            .map(|wrong| WrongSourceReport {
                url: wrong.url.to_string(),
                file: wrong.key.to_string(),
                when: timestamp(wrong.when),
            })
            .collect()
    }

    /// The last failures of files and of best references, oldest first.
    fn failures(&self) -> Vec<FailureReport> {
        let files = self.fetcher.last_errors().into_iter().map(|(when, error)| {
            let report = FailureReport {
                remedy: error.advice(),
                file: error.subject,
                kind: error.kind.as_str().to_owned(),
                url: error.url.map(|url| url.to_string()),
                message: error.message,
                when: timestamp(when),
            };
            (when, report)
        });
        let questions = self.resolver.last_failures().into_iter().map(|failure| {
            let report = FailureReport {
                file: failure.subject,
                kind: failure.error.kind().to_owned(),
                url: None,
                message: failure.error.to_string(),
                remedy: failure.error.advice(),
                when: timestamp(failure.when),
            };
            (failure.when, report)
        });
        let mut all: Vec<_> = files.chain(questions).collect();
        all.sort_by_key(|(when, _)| *when);
        all.into_iter().map(|(_, report)| report).collect()
    }

    fn observatory_status(&self, observatory: Observatory, stored: &StoredFiles) -> ObservatoryReport {
        let catalogs = self.fetcher.catalogs();
        let view = self.view(observatory);
        let info = view.as_ref().map(|view| &view.info);
        let failure = catalogs.failure(observatory);
        let state = match (info.is_some(), failure.is_some()) {
            (true, false) => CatalogState::Ready,
            (true, true) => CatalogState::Stale,
            (false, true) => CatalogState::Failed,
            (false, false) => CatalogState::Unused,
        };
        ObservatoryReport {
            name: observatory.as_str().to_owned(),
            state,
            error: failure.map(|(when, error)| CatalogFailure {
                kind: error.kind.as_str().to_owned(),
                url: error.url.map(|url| url.to_string()),
                message: error.message,
                remedy: error.remedy,
                when: timestamp(when),
            }),
            files: info.map(|info| info.catalog().len()),
            context: info
                .and_then(|info| info.default_context())
                .map(|name| name.as_str().to_owned()),
            context_chosen: catalogs.has_own_context(observatory),
            context_error: catalogs.context_problem(observatory),
            server: info.and_then(|info| info.server()).map(str::to_owned),
            catalog_age_seconds: catalogs.age(observatory).map(|age| age.as_secs()),
            offline: catalogs.is_offline(observatory),
            offline_since: catalogs.offline_since(observatory).map(timestamp),
            online_since: catalogs.online_since(observatory).map(timestamp),
            stored: stored.groups(),
            sources: self
                .fetcher
                .sources(observatory)
                .into_iter()
                .map(source_state)
                .collect(),
        }
    }

    /// The counts of transfers and of panics.
    pub(super) fn counters(&self) -> CounterReport {
        CounterReport {
            transfers: self.fetcher.counters(),
            panics: panics::seen().map_or(0, |panics| panics.count),
        }
    }

    /// The size of the file system: the store's.
    pub(super) fn statfs(&self) -> Result<StatFs, Error> {
        let usage = self.fetcher.store().usage()?;
        Ok(StatFs {
            total: usage.total,
            free: usage.available,
            available: usage.available,
            files: usage.files.saturating_add(usage.files_free),
            files_free: usage.files_free,
        })
    }
}

fn source_state(source: SourceStatus) -> SourceStateReport {
    SourceStateReport {
        source: source.source,
        tier: source.is_tier,
        state: source.health.as_str().to_owned(),
        files: source.files,
        bytes: source.bytes,
        error: source.error,
        since: source.since.map(timestamp),
        retry_in_seconds: source.retry_in.map(|left| left.as_secs()),
    }
}

fn tier_report(status: TierStatus) -> TierReport {
    let write_back = status.write_back;
    TierReport {
        tier: status.tier,
        served_files: status.served_files,
        served_bytes: status.served_bytes,
        state: write_back.state.as_str().to_owned(),
        error: write_back.error,
        since: write_back.since.map(timestamp),
        retry_in_seconds: write_back.retry_in.map(|left| left.as_secs()),
        queued_files: write_back.queued_files,
        queued_bytes: write_back.queued_bytes,
        counts: write_back.counts,
    }
}

/// Reports on a transfer for which these processes wait.
fn transfer_report(transfer: &TransferStatus, waiting: Vec<WaiterReport>) -> TransferReport {
    TransferReport {
        file: transfer.key.to_string(),
        url: transfer.url.as_ref().map(ToString::to_string),
        state: transfer.state.as_str().to_owned(),
        done: transfer.done,
        total: transfer.total,
        bytes_per_second: transfer.rate,
        remaining_seconds: remaining(transfer),
        waiters: transfer.waiters,
        waiting,
        age_seconds: transfer.age.as_secs(),
        sources: transfer
            .served
            .iter()
            .map(|served| SourceReport {
                url: served.url.to_string(),
                bytes: served.bytes,
            })
            .collect(),
    }
}

/// Seconds until all bytes are here, rounded up.
fn remaining(transfer: &TransferStatus) -> Option<u64> {
    let left = transfer.total.checked_sub(transfer.done)?;
    (transfer.rate > 0 && transfer.total > 0).then(|| left.div_ceil(transfer.rate))
}

pub(super) fn seconds_since(time: SystemTime) -> u64 {
    time.elapsed().map_or(0, |elapsed| elapsed.as_secs())
}
