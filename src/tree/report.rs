//! The JSON of `.crds-fs/status.json` and of `.crds-fs/files/...`, as the tree writes it and commands read it.
//!
//! Reading is tolerant, since a mount may run another version than the command: fields that are not known are passed over,
//! and those that are missing have the default of their type. Times are RFC 3339 in UTC with whole seconds.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::crds::{LockFile, times};
use crate::fetch::{Counters, WriteBackCounts};

#[cfg(test)]
mod tests;

/// `.crds-fs/status.json`: the state of one mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct StatusReport {
    /// The version of crds-fs that serves the mount.
    pub version: String,
    /// The process that serves it.
    pub pid: u32,
    /// The mount point.
    pub mountpoint: String,
    /// The directory of the store.
    pub store: String,
    /// The time of mounting.
    pub started: String,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// Whether no server is asked (`--offline`).
    pub offline: bool,
    /// Whether all writes are refused (`--read-only`).
    pub read_only: bool,
    /// Whether files can be fetched into the store.
    pub store_writable: bool,
    /// The store as it is used together with others (`--shared`).
    pub shared: Option<SharedReport>,
    /// Whether the directory of the store has been removed.
    pub store_removed: bool,
    /// `flat` or `instrument`.
    pub layout: String,
    /// The observatories that are shown, in their order.
    pub observatories: Vec<ObservatoryReport>,
    /// The tier, where there is one.
    pub tier: Option<TierReport>,
    /// The transfers that run, oldest first.
    pub transfers: Vec<TransferReport>,
    /// The counts since it was mounted.
    pub counters: CounterReport,
    /// Sources that gave a wrong file a while ago, oldest first: others are asked before them.
    pub wrong_sources: Vec<WrongSourceReport>,
    /// The last failures of files and of best references, oldest first.
    pub failures: Vec<FailureReport>,
    /// The last panic of the process.
    pub last_panic: Option<PanicReport>,
    /// Catalogued names in whose place the user has put files, `OBSERVATORY/NAME`, sorted.
    pub local_overrides: Vec<String>,
    /// The use of the store's space.
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

/// A store that is used together with others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SharedReport {
    /// The directory of what this mount has of its own.
    pub state: String,
    /// Files that others brought, and that this mount has verified.
    pub found: u64,
    /// Files that others were fetching when this mount wanted them.
    pub waited: u64,
    /// Leases that this mount holds now: it fetches these files.
    pub leases_held: u64,
    /// Leases of others that this mount has taken over, because they showed no sign of life.
    pub leases_taken_over: u64,
}

/// One observatory of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ObservatoryReport {
    /// `hst`, `jwst`, `roman` or `tobs`.
    pub name: String,
    /// The state of its catalog.
    pub state: CatalogState,
    /// The reason why there is no catalog, or no newer one.
    pub error: Option<CatalogFailure>,
    /// Names in the catalog, if there is one.
    pub files: Option<usize>,
    /// The default context.
    pub context: Option<String>,
    /// Whether that is the context of the settings, not the server's.
    pub context_chosen: bool,
    /// The reason why the default context of the settings cannot be used.
    pub context_error: Option<String>,
    /// The server that the catalog came from.
    pub server: Option<String>,
    /// Seconds since the server said that the catalog is current.
    pub catalog_age_seconds: Option<u64>,
    /// Whether its server is not asked.
    pub offline: bool,
    /// The time since which its server cannot be reached.
    pub offline_since: Option<String>,
    /// The time since which its server has answered whenever it was asked; none while it does not, or was never asked.
    pub online_since: Option<String>,
    /// The files of the observatory in the store: rules, then references by instrument. Empty until they are counted.
    pub stored: Vec<StoredReport>,
    /// The sources of its files, in the order of the settings, the tier first.
    pub sources: Vec<SourceStateReport>,
}

/// The files of one kind in the store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StoredReport {
    /// `mappings`, an instrument, or `other` for references of which the name tells none.
    pub group: String,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The state of a source of files, in a mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SourceStateReport {
    /// The source as it was named, without credentials; `crds` for the URLs that the server tells.
    pub source: String,
    /// Whether it is the tier: files that it does not have are asked of the other sources.
    pub tier: bool,
    /// `unused`, `ready`, `failing` or `wrong`: it gave a wrong file. Others are asked before the last two.
    pub state: String,
    /// Files that came from it, the last of their bytes at least.
    pub files: u64,
    /// Bytes that came from it.
    pub bytes: u64,
    /// The reason why others are asked before it.
    pub error: Option<String>,
    /// The time since which it fails, or at which it gave a wrong file.
    pub since: Option<String>,
    /// Seconds until it is tried again.
    pub retry_in_seconds: Option<u64>,
}

/// The tier: what came from it, and what was written to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TierReport {
    /// The tier as a URL, without credentials.
    pub tier: String,
    /// Files that came from it, the last of their bytes at least.
    pub served_files: u64,
    /// Bytes that came from it.
    pub served_bytes: u64,
    /// Whether files are written to it: `ready`, `failing`, `full` or `read-only`.
    pub state: String,
    /// The reason why none are.
    pub error: Option<String>,
    /// The time since which none are.
    pub since: Option<String>,
    /// Seconds until that is tried again.
    pub retry_in_seconds: Option<u64>,
    /// Files that wait to be written to it, or are being written.
    pub queued_files: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Files that were written to it, and files that were not.
    #[serde(flatten)]
    pub counts: WriteBackCounts,
}

/// The state of an observatory's catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CatalogState {
    /// There is none yet, and no try to get one has failed: it was not needed so far, or is being loaded.
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

/// The reason why there is no catalog, or no newer one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CatalogFailure {
    /// The kind of failure, a key of [`StatusReport::failures_by_kind`].
    pub kind: String,
    /// The URL of the request, without credentials.
    pub url: Option<String>,
    /// The reason.
    pub message: String,
    /// A remedy, if one is known.
    pub remedy: Option<String>,
    /// The time of the failure.
    pub when: String,
}

/// A transfer that runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TransferReport {
    /// `OBSERVATORY/NAME`.
    pub file: String,
    /// The URL that it comes from, without credentials.
    pub url: Option<String>,
    /// The state of the transfer, such as `queued` or `receiving`.
    pub state: String,
    /// Bytes that have arrived.
    pub done: u64,
    /// Bytes in all; 0 while that is not known.
    pub total: u64,
    /// The rate of the last seconds, in bytes per second; 0 while it is not measured, and where nothing comes.
    pub bytes_per_second: u64,
    /// Seconds until all bytes are here if they go on to come at that rate; none while that is not known.
    pub remaining_seconds: Option<u64>,
    /// Opens that wait for it.
    pub waiters: usize,
    /// The processes that wait for it, longest first: at most eight, and only those that can be seen.
    pub waiting: Vec<WaiterReport>,
    /// Seconds since it began.
    pub age_seconds: u64,
    /// The bytes that are here, by the source that they came from.
    pub sources: Vec<SourceReport>,
}

/// A process that waits for a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WaiterReport {
    /// Its number.
    pub pid: u32,
    /// Its name, of at most 15 bytes.
    pub command: String,
    /// Seconds that it has waited.
    pub waited_seconds: u64,
}

/// A process that has a file open.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OpenerReport {
    /// Its number.
    pub pid: u32,
    /// Its name, of at most 15 bytes.
    pub command: String,
}

/// The bytes that one source has given of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SourceReport {
    /// The URL of the source, without credentials.
    pub url: String,
    /// The number of bytes.
    pub bytes: u64,
}

/// A source that gave a wrong file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WrongSourceReport {
    /// The URL that the file was read from, without credentials.
    pub url: String,
    /// `OBSERVATORY/NAME`.
    pub file: String,
    /// The time at which its length or digest turned out to be wrong.
    pub when: String,
}

/// The counts since a file system was mounted.
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
    /// The URL of the request, without credentials.
    pub url: Option<String>,
    /// The reason.
    pub message: String,
    /// A remedy, if one is known.
    pub remedy: Option<String>,
    /// The time of the failure.
    pub when: String,
}

/// A panic of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PanicReport {
    /// The time of the panic.
    pub when: String,
    /// Its thread, its position in the source, and its message.
    pub message: String,
}

/// The use of a store's space, in bytes and files.
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
    /// Copies that are held, so that they are never evicted.
    pub held_files: u64,
    /// Bytes of copies that are held.
    pub held_bytes: u64,
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
    /// The number that is open, where it can be read.
    pub open: Option<usize>,
    /// The most that can be open.
    pub limit: usize,
    /// The most files that can be open at a time.
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
    /// The state of its bytes: `remote`, `fetching`, `cached` or `local`, as in `user.crds.state`.
    pub state: String,
    /// Bytes, as the catalog has it.
    pub size: Option<u64>,
    /// Bytes of the user's own file in its place.
    pub local_size: Option<u64>,
    /// The digest in the catalog, 40 hexadecimal digits.
    pub sha1: Option<String>,
    /// The part of it that is here.
    pub progress: FileProgress,
    /// The URL that it comes from, or came from, without credentials; none where that is not known.
    pub source: Option<String>,
    /// Its transfer, if one runs.
    pub transfer: Option<TransferReport>,
    /// The last failure to provide it, until it succeeds.
    pub error: Option<FileFailure>,
    /// Whether it is held: its copy is never evicted.
    pub held: bool,
    /// Whether what is here is known to be the catalogued file.
    pub verified: bool,
    /// Whether somebody has its copy open.
    pub open: bool,
    /// The processes that opened it and have it open, without those that cannot be seen or have passed it on.
    pub openers: Vec<OpenerReport>,
    /// The time at which the file that is here was written: for a copy, when it was fetched.
    pub written: Option<String>,
    /// The time of its last use, to the microsecond, if it is here.
    pub last_used: Option<String>,
}

/// The part of a file that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FileProgress {
    /// Bytes that are here.
    pub done: u64,
    /// Bytes in all; 0 while that is not known.
    pub total: u64,
}

/// The last failure to provide a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FileFailure {
    /// The kind of failure.
    pub kind: String,
    /// The URL of the request, without credentials.
    pub url: Option<String>,
    /// The reason, with its causes.
    pub message: String,
    /// A remedy, if one is known.
    pub remedy: Option<String>,
    /// The time of the failure.
    pub when: String,
}

/// `.crds-fs/opened.json`: which files were opened since the mount was made, in the form of a lock file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OpenedReport {
    /// The fields of a lock file.
    #[serde(flatten)]
    pub lock: serde_json::Map<String, serde_json::Value>,
    /// Paths of the user's own files among rules and references, which no lock file has.
    pub local: Vec<String>,
    /// Opens that were refused, with the reasons.
    pub refused: Vec<String>,
}

impl OpenedReport {
    pub(super) fn new(lock: &LockFile, local: Vec<String>, refused: Vec<String>) -> Self {
        // It is JSON.
        let lock = serde_json::from_str(&lock.to_text()).unwrap_or_default();
        Self { lock, local, refused }
    }
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
