//! `.crds-fs/metrics`: the state of the mount in Prometheus' text format. Made when it is opened, as the
//! status is.
//!
//! The names and their meaning are in docs/metrics.md. What is counted while the mount works is counted in atomics of the layers
//! below; nothing here is known to them.

use std::time::UNIX_EPOCH;

use nix::errno::Errno;

use crate::crds::Observatory;
use crate::fetch::TierStatus;
use crate::metrics::{Durations, Labels, Metrics};
use crate::store::Usage;

use super::core::Core;
use super::ops::{OpCount, Operations};
use super::status::seconds_since;

fn number(things: usize) -> u64 {
    u64::try_from(things).unwrap_or(u64::MAX)
}

fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

fn of(observatory: Observatory) -> Labels {
    label("observatory", observatory.as_str())
}

impl Core {
    pub(super) fn metrics(&self, usage: &Usage) -> String {
        let mut metrics = Metrics::new();
        self.write_process(&mut metrics);
        self.write_opens(&mut metrics);
        self.write_transfers(&mut metrics);
        write_shared(&mut metrics, usage);
        if let Some(tier) = self.fetcher.tier() {
            write_tier(&mut metrics, &tier);
        }
        if let Some(counts) = self.operations.get() {
            write_operations(&mut metrics, &counts());
        }
        self.write_store(&mut metrics, usage);
        self.write_catalogs(&mut metrics);
        metrics.text()
    }

    fn write_process(&self, metrics: &mut Metrics) {
        let version = label("version", env!("CARGO_PKG_VERSION"));
        let help = "The program that serves this mount; always 1";
        metrics.gauges("build_info", help, [(version, 1)]);
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let help = "When the mount was made, in seconds since 1970";
        metrics.gauge("start_time_seconds", help, started.as_secs());
        let help = "Seconds since the mount was made";
        metrics.gauge("uptime_seconds", help, seconds_since(self.started));
        metrics.gauge("open_files", "Open files", number(self.files.len()));
        let help = "Local files and entries of /bestrefs that the kernel knows";
        metrics.gauge("nodes", help, number(self.nodes.len()));
        let help = "Panics: mistakes in crds-fs, which the log describes";
        metrics.counter("panics", help, self.counters().panics);
    }

    fn write_opens(&self, metrics: &mut Metrics) {
        let counts = self.fetcher.counters();
        metrics.counter("hits", "Opens answered by the store", counts.hits);
        let help = "Opens that waited for a transfer or a verification";
        metrics.counter("misses", help, counts.misses);
        let transfers = self.fetcher.transfers();
        let waiters = transfers.iter().map(|transfer| transfer.waiters).sum();
        let help = "Opens that wait for a transfer now";
        metrics.gauge("waiting_opens", help, number(waiters));
        metrics.histograms(
            "open_wait_seconds",
            "The time that opens waited for a transfer or a verification, those that gave up included",
            self.by_observatory(self.fetcher.open_waits()),
        );
    }

    fn write_transfers(&self, metrics: &mut Metrics) {
        let counts = self.fetcher.counters();
        let running = number(self.fetcher.transfers().len());
        metrics.gauge("transfers", "Transfers that run", running);
        let help = "Files downloaded and published";
        metrics.counter("downloads", help, counts.downloads);
        metrics.counter("received_bytes", "Bytes of file data received", counts.bytes);
        metrics.counter("retries", "Requests made again after a failure", counts.retries);
        let help = "Downloads thrown away for a wrong length or digest";
        metrics.counter("mismatches", help, counts.mismatches);
        let help = "Files found in the store and verified";
        metrics.counter("adopted", help, counts.adopted);
        let kinds = self.fetcher.failures_by_kind().into_iter();
        metrics.counters(
            "failures",
            "Transfers that failed in the end, by the kind of failure",
            kinds.map(|(kind, count)| (label("kind", kind.as_str()), count)),
        );
        metrics.histograms(
            "source_latency_seconds",
            "The time from a request for file data until its source began to answer",
            self.by_observatory(self.fetcher.source_latencies()),
        );
    }

    /// Histograms of the observatories that are shown.
    fn by_observatory<const N: usize>(
        &self,
        histograms: [(Observatory, Durations); N],
    ) -> Vec<(Labels, Durations)> {
        let shown = histograms
            .into_iter()
            .filter(|(observatory, _)| self.shows(*observatory));
        shown
            .map(|(observatory, durations)| (of(observatory), durations))
            .collect()
    }

    fn write_store(&self, metrics: &mut Metrics, usage: &Usage) {
        let help = "Copies that had to make room for others";
        metrics.counter("evicted_files", help, usage.evicted.files);
        let help = "Bytes of copies that had to make room for others";
        metrics.counter("evicted_bytes", help, usage.evicted.bytes);
        metrics.gauge("store_files", "Files in the store", usage.files);
        let help = "Bytes that files in the store take";
        metrics.gauge("store_used_bytes", help, usage.used);
        let help = "Bytes that can be stored without evicting anything";
        metrics.gauge("store_available_bytes", help, usage.available);
        let help = "Bytes that interrupted transfers have left, to go on with";
        metrics.gauge("store_partial_bytes", help, usage.partial);
        let help = "Bytes of files that were found to be wrong and moved to quarantine";
        metrics.gauge("store_quarantine_bytes", help, usage.quarantined);
        let (_, bytes) = self.fetcher.store().held_copies();
        metrics.gauge("store_held_bytes", "Bytes of copies that are held", bytes);
        if let Some(limit) = usage.limit {
            let help = "Bytes that the store may hold (--cache-size)";
            metrics.gauge("store_limit_bytes", help, limit);
        }
    }

    fn write_catalogs(&self, metrics: &mut Metrics) {
        let catalogs = self.fetcher.catalogs();
        let mut each = |name: &str, help: &str, value: &dyn Fn(Observatory) -> Option<u64>| {
            let observatories = catalogs.observatories().iter();
            let values = observatories.filter_map(|one| Some((of(*one), value(*one)?)));
            metrics.gauges(name, help, values);
        };
        each("catalog_files", "Files in the catalog", &|one| {
            Some(number(self.view(one)?.catalog().len()))
        });
        let help = "Seconds since the server said that the catalog is current";
        each("catalog_age_seconds", help, &|one| {
            catalogs.age(one).map(|age| age.as_secs())
        });
        let help = "Whether the catalog could not be had when it was last tried";
        each("catalog_failed", help, &|one| {
            Some(catalogs.failure(one).is_some().into())
        });
        let help = "Whether the server could not be reached the last time";
        each("server_unreachable", help, &|one| {
            Some(catalogs.offline_since(one).is_some().into())
        });
    }
}

/// Zeros where the store is not shared.
fn write_shared(metrics: &mut Metrics, usage: &Usage) {
    let leases = usage.leases.unwrap_or_default();
    let help = "Files that others brought into a shared store, and that this mount has verified";
    metrics.counter("shared_found_files", help, leases.found);
    let help = "Files that other mounts of a shared store were fetching when this one wanted them";
    metrics.counter("shared_waited_files", help, leases.waited);
    let help = "Leases of other mounts that showed no sign of life";
    metrics.counter("shared_leases_taken_over", help, leases.taken_over);
    let help = "Leases that this mount holds: it fetches these files";
    metrics.gauge("shared_leases_held", help, leases.held);
}

fn write_tier(metrics: &mut Metrics, tier: &TierStatus) {
    let help = "Files that came from the tier";
    metrics.counter("tier_served_files", help, tier.served_files);
    let help = "Bytes that came from the tier";
    metrics.counter("tier_served_bytes", help, tier.served_bytes);
    let queue = &tier.write_back;
    let counts = queue.counts;
    let help = "Files that were written to the tier";
    metrics.counter("tier_written_files", help, counts.written_files);
    let help = "Bytes of files that were written to the tier";
    metrics.counter("tier_written_bytes", help, counts.written_bytes);
    let help = "Files that were in the tier already when they were to be written";
    metrics.counter("tier_existing_files", help, counts.existing_files);
    let help = "Files that could not be written to the tier, or did not fit into the queue";
    metrics.counter("tier_unwritten_files", help, counts.unwritten_files);
    let help = "Files in whose place the tier has another file";
    metrics.counter("tier_wrong_files", help, counts.wrong_files);
    let help = "Files that were not written to the tier because they are damaged in the store";
    metrics.counter("tier_damaged_files", help, counts.damaged_files);
    let help = "Files that wait to be written to the tier";
    metrics.gauge("tier_queued_files", help, queue.queued_files);
    let help = "Bytes of files that wait to be written to the tier";
    metrics.gauge("tier_queued_bytes", help, queue.queued_bytes);
    let help = "Whether files are written to the tier";
    metrics.gauge("tier_writable", help, queue.error.is_none().into());
}

fn write_operations(metrics: &mut Metrics, counts: &Operations) {
    let by_kind = |number: fn(&OpCount) -> u64| {
        let kinds = counts.by_kind.iter();
        kinds.map(move |count| (label("op", count.op), number(count)))
    };
    let help = "Requests of the kernel, by operation";
    metrics.counters("fuse_operations", help, by_kind(|count| count.requests));
    let help = "Requests of the kernel that were answered with an error, by operation";
    metrics.counters("fuse_errors", help, by_kind(|count| count.errors));
    let errors = counts.errors.iter().map(|(errno, count)| {
        let name = format!("{:?}", Errno::from_raw(*errno));
        (label("errno", &name), *count)
    });
    let help = "Requests of the kernel that were answered with an error, by its number";
    metrics.counters("fuse_error_replies", help, errors);
}
