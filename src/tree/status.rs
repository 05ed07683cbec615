//! The state of the mount: `statfs` and `.crds-fs/status.json`. Made when it is opened, from memory.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::crds::{FileName, Observatory};
use crate::fetch::TransferStatus;
use crate::store::HoldingKind;

use super::core::{Core, ready};
use super::descriptors::Descriptors;
use super::error::Error;
use super::ino::{ControlFile, Fixed};
use super::ops::{Opened, Outcome, StatFs};
use super::panics;

/// A name, the count, and what it counts.
type Counter = (&'static str, u64, &'static str);

impl Core {
    /// The text of a file in `.crds-fs` as it is now.
    pub(super) fn control_text(&self, file: ControlFile) -> Bytes {
        match file {
            ControlFile::Status => {
                let mut text = serde_json::to_vec_pretty(&self.status()).unwrap_or_default();
                text.push(b'\n');
                text.into()
            }
            ControlFile::Metrics => self.metrics().into(),
        }
    }

    /// Opens a file in `.crds-fs` when the store's files are counted, or have been counted for long enough.
    pub(super) fn open_control(self: &Arc<Self>, file: ControlFile) -> Outcome<Opened, Error> {
        let ino = Fixed::ControlFile(file).ino();
        if self.scan.is_done() {
            return ready(Ok(self.opened_text(ino, self.control_text(file))));
        }
        let core = Arc::clone(self);
        Outcome::Later(Box::pin(async move {
            core.scan.run(core.fetcher.store()).await;
            Ok(core.opened_text(ino, core.control_text(file)))
        }))
    }

    fn status(&self) -> Value {
        let observatories = self.fetcher.catalogs().observatories();
        let usage = self.fetcher.store().usage().unwrap_or_default();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "mountpoint": self.options.mountpoint.display().to_string(),
            "store": self.options.store.display().to_string(),
            "started": timestamp(self.started),
            "uptime_seconds": seconds_since(self.started),
            "offline": self.options.offline,
            "read_only": self.options.read_only,
            "store_writable": self.fetcher.store().is_writable(),
            "layout": self.layout().as_str(),
            "observatories": observatories.iter().map(|one| self.observatory_status(*one)).collect::<Vec<_>>(),
            "transfers": self.fetcher.transfers().iter().map(transfer_status).collect::<Vec<_>>(),
            "counters": self.counters().into_iter().map(|(name, count, _)| (name.to_owned(), count.into()))
                .collect::<serde_json::Map<String, Value>>(),
            "failures": self.failures(),
            "last_panic": panics::seen().map(|panics| json!({
                "when": timestamp(panics.when),
                "message": panics.text,
            })),
            "local_overrides": self.local_overrides(),
            "space": {
                "total": usage.total,
                "used": usage.used,
                "available": usage.available,
                "files": usage.files,
                "limit": usage.limit,
                "partial": usage.partial,
                "quarantined_bytes": usage.quarantined,
                "quarantined_files": usage.quarantined_files,
                "evicted_files": usage.evicted.files,
                "evicted_bytes": usage.evicted.bytes,
                "complete": self.scan.is_done(),
            },
            "failures_by_kind": self.fetcher.failures_by_kind().iter()
                .map(|(kind, count)| (kind.as_str().to_owned(), (*count).into()))
                .collect::<serde_json::Map<String, Value>>(),
            "open_files": self.files.len(),
            "descriptors": {
                "open": Descriptors::open(),
                "limit": self.descriptors.limit(),
                "open_files_limit": self.descriptors.files(),
            },
            "nodes": self.nodes.len(),
        })
    }

    /// The last failures of files and of best references, oldest first.
    fn failures(&self) -> Vec<Value> {
        let files = self.fetcher.last_errors().into_iter().map(|(when, error)| {
            let text = json!({
                "file": error.subject,
                "kind": error.kind.as_str(),
                "url": error.url,
                "message": error.message,
                "when": timestamp(when),
            });
            (when, text)
        });
        let questions = self.resolver.last_failures().into_iter().map(|failure| {
            let text = json!({
                "file": failure.subject,
                "kind": failure.error.kind(),
                "url": null,
                "message": failure.error.to_string(),
                "when": timestamp(failure.when),
            });
            (failure.when, text)
        });
        let mut all: Vec<_> = files.chain(questions).collect();
        all.sort_by_key(|(when, _)| *when);
        all.into_iter().map(|(_, text)| text).collect()
    }

    fn observatory_status(&self, observatory: Observatory) -> Value {
        let catalogs = self.fetcher.catalogs();
        let view = self.view(observatory);
        let info = view.as_ref().map(|view| &view.info);
        let failure = catalogs.failure(observatory);
        let state = match (info.is_some(), failure.is_some()) {
            (true, false) => "ready",
            (true, true) => "stale",
            (false, true) => "failed",
            (false, false) => "unused",
        };
        json!({
            "name": observatory.as_str(),
            "state": state,
            "error": failure.map(|(when, error)| json!({
                "kind": error.kind.as_str(),
                "url": error.url,
                "message": error.message,
                "remedy": error.remedy,
                "when": timestamp(when),
            })),
            "files": info.map(|info| info.catalog().len()),
            "context": info.and_then(|info| info.default_context()).map(FileName::as_str),
            "context_error": catalogs.context_problem(observatory),
            "server": info.and_then(|info| info.server()),
            "catalog_age_seconds": catalogs.age(observatory).map(|age| age.as_secs()),
            "offline": catalogs.is_offline(observatory),
            "offline_since": catalogs.offline_since(observatory).map(timestamp),
        })
    }

    /// The catalogued names in whose place the user has put files.
    fn local_overrides(&self) -> Vec<String> {
        let observatories = self.fetcher.catalogs().observatories().iter();
        let mut names: Vec<String> = observatories
            .filter_map(|observatory| self.view(*observatory))
            .flat_map(|view| {
                let held = self
                    .fetcher
                    .store()
                    .holdings(view.observatory)
                    .unwrap_or_default();
                held.into_iter()
                    .filter(move |(key, holding)| {
                        holding.kind == HoldingKind::Local && view.catalog().contains(key.name.as_str())
                    })
                    .map(|(key, _)| key.to_string())
            })
            .collect();
        names.sort();
        names
    }

    /// What was counted.
    pub(super) fn counters(&self) -> [Counter; 9] {
        let counters = self.fetcher.counters();
        [
            ("hits", counters.hits, "Opens answered by the store."),
            (
                "misses",
                counters.misses,
                "Opens that waited for a transfer or a verification.",
            ),
            ("downloads", counters.downloads, "Files downloaded and published."),
            ("bytes", counters.bytes, "Bytes of file data received."),
            (
                "retries",
                counters.retries,
                "Requests made again after a failure.",
            ),
            ("failures", counters.failures, "Transfers that failed in the end."),
            (
                "mismatches",
                counters.mismatches,
                "Downloads thrown away for a wrong length or digest.",
            ),
            (
                "adopted",
                counters.adopted,
                "Files found in the store and verified.",
            ),
            (
                "panics",
                panics::seen().map_or(0, |panics| panics.count),
                "Panics: mistakes in crds-fs, which the log describes.",
            ),
        ]
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

fn transfer_status(transfer: &TransferStatus) -> Value {
    let seconds = transfer.age.as_secs_f64().max(0.001);
    json!({
        "file": transfer.key.to_string(),
        "url": transfer.url,
        "state": transfer.state.as_str(),
        "done": transfer.done,
        "total": transfer.total,
        // Whole bytes are exact enough for a rate.
        "bytes_per_second": rate(transfer.done, seconds),
        "waiters": transfer.waiters,
        "age_seconds": transfer.age.as_secs(),
    })
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate for people to read"
)]
fn rate(bytes: u64, seconds: f64) -> u64 {
    (bytes as f64 / seconds) as u64
}

fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

pub(super) fn seconds_since(time: SystemTime) -> u64 {
    time.elapsed().map_or(0, |elapsed| elapsed.as_secs())
}
