//! The JSON of `.crds-fs/status.json` and of `.crds-fs/files/...`, as the tree writes it and commands read it.
//!
//! Reading is tolerant, since a mount may run another version than the command: fields that are not known are passed over,
//! and those that are missing have the default of their type. Times are RFC 3339 in UTC with whole seconds.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::crds::times;
use crate::fetch::Counters;

/// `.crds-fs/status.json`: the state of one mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StatusReport {
    /// The version of crds-fs that serves the mount.
    pub version: String,
    /// The process that serves it.
    pub pid: u32,
    /// Where it is mounted.
    pub mountpoint: String,
    /// The directory of the store.
    pub store: String,
    /// When it was mounted.
    pub started: String,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// Whether no server is asked (`--offline`).
    pub offline: bool,
    /// Whether all writes are refused (`--read-only`).
    pub read_only: bool,
    /// Whether files can be fetched into the store.
    pub store_writable: bool,
    /// `flat` or `instrument`.
    pub layout: String,
    /// The observatories that are shown, in their order.
    pub observatories: Vec<ObservatoryReport>,
    /// The transfers that run, oldest first.
    pub transfers: Vec<TransferReport>,
    /// What was counted since it was mounted.
    pub counters: CounterReport,
    /// The last failures of files and of best references, oldest first.
    pub failures: Vec<FailureReport>,
    /// The last panic of the process.
    pub last_panic: Option<PanicReport>,
    /// Catalogued names in whose place the user has put files, `OBSERVATORY/NAME`, sorted.
    pub local_overrides: Vec<String>,
    /// What the store holds and has room for.
    pub space: SpaceReport,
    /// Transfers that failed in the end, by the kind of failure; every kind has its number.
    pub failures_by_kind: BTreeMap<String, u64>,
    /// Open files.
    pub open_files: usize,
    /// File descriptors of the process.
    pub descriptors: DescriptorReport,
    /// Local files and entries of `/bestrefs` that the kernel knows.
    pub nodes: usize,
}

/// One observatory of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ObservatoryReport {
    /// `hst`, `jwst`, `roman` or `tobs`.
    pub name: String,
    /// What is known of its catalog.
    pub state: CatalogState,
    /// Why there is no catalog, or no newer one.
    pub error: Option<CatalogFailure>,
    /// Names in the catalog, if there is one.
    pub files: Option<usize>,
    /// The default context.
    pub context: Option<String>,
    /// Why the context of the settings means nothing.
    pub context_error: Option<String>,
    /// The server that the catalog came from.
    pub server: Option<String>,
    /// Seconds since the catalog was told.
    pub catalog_age_seconds: Option<u64>,
    /// Whether its server is not asked.
    pub offline: bool,
    /// Since when its server cannot be reached.
    pub offline_since: Option<String>,
}

/// What is known of an observatory's catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CatalogState {
    /// Nobody has looked below the observatory's directories yet.
    #[default]
    Unused,
    /// There is a catalog.
    Ready,
    /// There is a catalog, and the last try to get a newer one failed.
    Stale,
    /// There is none, and the last try to get one failed.
    Failed,
    /// A state of another version.
    #[serde(other)]
    Unknown,
}

/// Why there is no catalog, or no newer one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CatalogFailure {
    /// The kind of failure, a key of [`StatusReport::failures_by_kind`].
    pub kind: String,
    /// What was asked, without credentials.
    pub url: Option<String>,
    /// The reason.
    pub message: String,
    /// What can be done about it.
    pub remedy: Option<String>,
    /// When it failed.
    pub when: String,
}

/// A transfer that runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TransferReport {
    /// `OBSERVATORY/NAME`.
    pub file: String,
    /// Where it comes from, without credentials.
    pub url: Option<String>,
    /// The state of the transfer, such as `queued` or `receiving`.
    pub state: String,
    /// Bytes that have arrived.
    pub done: u64,
    /// Bytes in all; 0 while that is not known.
    pub total: u64,
    /// The mean rate since the transfer began.
    pub bytes_per_second: u64,
    /// Opens that wait for it.
    pub waiters: usize,
    /// Seconds since it began.
    pub age_seconds: u64,
    /// How many of the bytes that are here came from which source.
    pub sources: Vec<SourceReport>,
}

/// What one source has given of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SourceReport {
    /// Where it was read, without credentials.
    pub url: String,
    /// Bytes.
    pub bytes: u64,
}

/// What was counted since a file system was mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CounterReport {
    /// Transfers, and opens that needed none.
    #[serde(flatten)]
    pub transfers: Counters,
    /// Panics: mistakes in crds-fs, which the log describes.
    pub panics: u64,
}

/// A failure of a file or of a question for best references.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FailureReport {
    /// `OBSERVATORY/NAME`, or the dataset and context asked for.
    pub file: String,
    /// The kind of failure.
    pub kind: String,
    /// What was asked, without credentials.
    pub url: Option<String>,
    /// The reason.
    pub message: String,
    /// When it failed.
    pub when: String,
}

/// A panic of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PanicReport {
    /// When it was.
    pub when: String,
    /// What it said, and where.
    pub message: String,
}

/// What a store holds and has room for, in bytes and files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SpaceReport {
    /// Bytes of the file system, or of `--cache-size`.
    pub total: u64,
    /// Bytes that files in the store take.
    pub used: u64,
    /// Bytes that can be stored without evicting anything.
    pub available: u64,
    /// Files in the store.
    pub files: u64,
    /// Bytes that the store may hold (`--cache-size`).
    pub limit: Option<u64>,
    /// Bytes that interrupted transfers have left, to go on with.
    pub partial: u64,
    /// Bytes of files that were found to be wrong and moved to quarantine.
    pub quarantined_bytes: u64,
    /// Files that were found to be wrong and moved to quarantine.
    pub quarantined_files: u64,
    /// Copies that had to make room for others.
    pub evicted_files: u64,
    /// Bytes of copies that had to make room for others.
    pub evicted_bytes: u64,
    /// Whether the store's files are counted; before that the numbers grow.
    pub complete: bool,
}

/// File descriptors of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DescriptorReport {
    /// Those that are open, where the kernel tells.
    pub open: Option<usize>,
    /// Those that can be open.
    pub limit: usize,
    /// Files that can be open at a time.
    pub open_files_limit: usize,
}

/// `.crds-fs/files/{mappings,references}/OBSERVATORY/NAME`: what is known of one catalogued file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FileReport {
    /// The observatory.
    pub observatory: String,
    /// The bare name.
    pub name: String,
    /// The path below the mount point.
    pub path: String,
    /// Where its bytes are: `remote`, `fetching`, `cached` or `local`, as in `user.crds.state`.
    pub state: String,
    /// Bytes, as the catalog has it.
    pub size: Option<u64>,
    /// Bytes of the user's own file in its place.
    pub local_size: Option<u64>,
    /// The digest in the catalog, 40 hexadecimal digits.
    pub sha1: Option<String>,
    /// How much of it is here.
    pub progress: FileProgress,
    /// Where it comes from, without credentials.
    pub source: Option<String>,
    /// The last failure to provide it, until it succeeds.
    pub error: Option<FileFailure>,
}

/// How much of a file is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FileProgress {
    /// Bytes that are here.
    pub done: u64,
    /// Bytes in all; 0 while that is not known.
    pub total: u64,
}

/// Why a file could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FileFailure {
    /// The kind of failure.
    pub kind: String,
    /// The reason, with its causes.
    pub message: String,
}

/// A time as these reports have it: `2026-01-01T00:00:00Z`.
pub(super) fn timestamp(time: SystemTime) -> String {
    times::rfc3339(time)
}

/// A report as the text of a file: indented JSON with a newline at the end.
pub(super) fn text<T: Serialize>(report: &T) -> bytes::Bytes {
    let mut text = serde_json::to_vec_pretty(report).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The names are a promise to scripts that read these files.
    #[test]
    fn the_json_has_these_fields() {
        let status = StatusReport {
            observatories: vec![ObservatoryReport {
                error: Some(CatalogFailure::default()),
                ..ObservatoryReport::default()
            }],
            transfers: vec![TransferReport {
                sources: vec![SourceReport::default()],
                ..TransferReport::default()
            }],
            failures: vec![FailureReport::default()],
            last_panic: Some(PanicReport::default()),
            ..StatusReport::default()
        };
        assert_eq!(
            serde_json::to_value(&status).unwrap(),
            json!({
                "version": "", "pid": 0, "mountpoint": "", "store": "", "started": "", "uptime_seconds": 0,
                "offline": false, "read_only": false, "store_writable": false, "layout": "",
                "observatories": [{
                    "name": "", "state": "unused", "files": null, "context": null, "context_error": null,
                    "error": {"kind": "", "url": null, "message": "", "remedy": null, "when": ""},
                    "server": null, "catalog_age_seconds": null, "offline": false, "offline_since": null,
                }],
                "transfers": [{
                    "file": "", "url": null, "state": "", "done": 0, "total": 0, "bytes_per_second": 0, "waiters": 0,
                    "age_seconds": 0, "sources": [{"url": "", "bytes": 0}],
                }],
                "counters": {
                    "hits": 0, "misses": 0, "downloads": 0, "bytes": 0, "retries": 0, "failures": 0, "mismatches": 0,
                    "adopted": 0, "panics": 0,
                },
                "failures": [{"file": "", "kind": "", "url": null, "message": "", "when": ""}],
                "last_panic": {"when": "", "message": ""},
                "local_overrides": [],
                "space": {
                    "total": 0, "used": 0, "available": 0, "files": 0, "limit": null, "partial": 0,
                    "quarantined_bytes": 0, "quarantined_files": 0, "evicted_files": 0, "evicted_bytes": 0,
                    "complete": false,
                },
                "failures_by_kind": {},
                "open_files": 0,
                "descriptors": {"open": null, "limit": 0, "open_files_limit": 0},
                "nodes": 0,
            })
        );
        let file = FileReport {
            error: Some(FileFailure::default()),
            ..FileReport::default()
        };
        assert_eq!(
            serde_json::to_value(&file).unwrap(),
            json!({
                "observatory": "", "name": "", "path": "", "state": "", "size": null, "local_size": null, "sha1": null,
                "progress": {"done": 0, "total": 0}, "source": null, "error": {"kind": "", "message": ""},
            })
        );
    }

    #[test]
    fn other_versions_can_be_read() {
        let newer = json!({
            "version": "9", "mood": {"good": true}, "last_panic": null,
            "observatories": [{"name": "hst", "state": "rebuilt", "stars": 7}],
        });
        let read: StatusReport = serde_json::from_value(newer).unwrap();
        assert_eq!(read.version, "9");
        assert_eq!(read.observatories[0].state, CatalogState::Unknown);
        assert_eq!(read.space, SpaceReport::default());
        let older: StatusReport = serde_json::from_value(json!({})).unwrap();
        assert_eq!(older, StatusReport::default());
    }

    #[test]
    fn what_is_written_is_read() {
        let report = StatusReport {
            pid: 7,
            started: timestamp(SystemTime::UNIX_EPOCH),
            local_overrides: vec!["roman/a.asdf".into()],
            failures_by_kind: [("gone".to_owned(), 3)].into(),
            ..StatusReport::default()
        };
        let text = text(&report);
        assert_eq!(text.last(), Some(&b'\n'));
        assert_eq!(serde_json::from_slice::<StatusReport>(&text).unwrap(), report);
        let value: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["started"], "1970-01-01T00:00:00Z");
    }
}
