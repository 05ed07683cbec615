//! The state of the mount: `statfs`, `.crds-fs/status.json` and `.crds-fs/metrics`. Made when they are opened, from
//! memory.

use std::fmt::Write;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::crds::{FileName, Observatory};
use crate::fetch::TransferStatus;
use crate::store::HoldingKind;

use super::core::Core;
use super::error::Error;
use super::ino::ControlFile;
use super::ops::StatFs;
use super::panics;

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

    fn status(&self) -> Value {
        let observatories = self.fetcher.catalogs().observatories();
        let usage = self.fetcher.store().usage().unwrap_or_default();
        let failures = self.fetcher.last_errors();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "mountpoint": self.options.mountpoint.display().to_string(),
            "store": self.options.store.display().to_string(),
            "started": timestamp(self.started),
            "uptime_seconds": seconds_since(self.started),
            "offline": self.options.offline,
            "read_only": self.options.read_only,
            "layout": self.layout().as_str(),
            "observatories": observatories.iter().map(|one| self.observatory_status(*one)).collect::<Vec<_>>(),
            "transfers": self.fetcher.transfers().iter().map(transfer_status).collect::<Vec<_>>(),
            "counters": self.counters().into_iter().map(|(name, count, _)| (name.to_owned(), count.into()))
                .collect::<serde_json::Map<String, Value>>(),
            "failures": failures.iter().map(|(when, error)| json!({
                "file": error.subject,
                "kind": error.kind.as_str(),
                "url": error.url,
                "message": error.message,
                "when": timestamp(*when),
            })).collect::<Vec<_>>(),
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
            },
            "open_files": self.files.len(),
            "nodes": self.nodes.len(),
        })
    }

    fn observatory_status(&self, observatory: Observatory) -> Value {
        let catalogs = self.fetcher.catalogs();
        let view = self.view(observatory);
        let info = view.as_ref().map(|view| &view.info);
        json!({
            "name": observatory.as_str(),
            "files": info.map(|info| info.catalog().len()),
            "context": info.and_then(|info| info.default_context()).map(FileName::as_str),
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

    /// What was counted: a name, the count, and what it counts.
    fn counters(&self) -> [(&'static str, u64, &'static str); 9] {
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

    fn metrics(&self) -> String {
        let mut text = String::new();
        for (name, count, help) in self.counters() {
            metric(
                &mut text,
                &format!("crds_fs_{name}_total"),
                "counter",
                help,
                &[("", count)],
            );
        }
        let usage = self.fetcher.store().usage().unwrap_or_default();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let gauges = [
            (
                "transfers",
                count(self.fetcher.transfers().len()),
                "Transfers that run.",
            ),
            ("open_files", count(self.files.len()), "Open files."),
            (
                "nodes",
                count(self.nodes.len()),
                "Local files and entries of /bestrefs that the kernel knows.",
            ),
            (
                "store_used_bytes",
                usage.used,
                "Bytes that files in the store take.",
            ),
            (
                "store_available_bytes",
                usage.available,
                "Bytes that can be stored without evicting anything.",
            ),
            ("store_files", usage.files, "Files in the store."),
            (
                "uptime_seconds",
                seconds_since(self.started),
                "Seconds since the mount was made.",
            ),
        ];
        for (name, value, help) in gauges {
            metric(
                &mut text,
                &format!("crds_fs_{name}"),
                "gauge",
                help,
                &[("", value)],
            );
        }
        let catalogs = self.fetcher.catalogs();
        let mut files = Vec::new();
        let mut unreachable = Vec::new();
        for observatory in catalogs.observatories() {
            let label = format!("{{observatory=\"{observatory}\"}}");
            if let Some(view) = self.view(*observatory) {
                files.push((label.clone(), count(view.catalog().len())));
            }
            unreachable.push((label, u64::from(catalogs.offline_since(*observatory).is_some())));
        }
        metric(
            &mut text,
            "crds_fs_catalog_files",
            "gauge",
            "Files in the catalog.",
            &files,
        );
        let help = "Whether the server could not be reached the last time.";
        metric(
            &mut text,
            "crds_fs_server_unreachable",
            "gauge",
            help,
            &unreachable,
        );
        text
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

/// Adds a metric in Prometheus' text format; labels come with their braces.
fn metric(text: &mut String, name: &str, kind: &str, help: &str, values: &[(impl AsRef<str>, u64)]) {
    let header = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    let values = values
        .iter()
        .try_for_each(|(labels, value)| writeln!(text, "{name}{} {value}", labels.as_ref()));
    debug_assert!(
        header.is_ok() && values.is_ok(),
        "writing into a string does not fail"
    );
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

fn seconds_since(time: SystemTime) -> u64 {
    time.elapsed().map_or(0, |elapsed| elapsed.as_secs())
}
