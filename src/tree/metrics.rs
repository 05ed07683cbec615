//! `.crds-fs/metrics`: the state of the mount in Prometheus' text format. Made when it is opened, as the
//! status is.
//!
//! The names and their meaning are in docs/metrics.md. What is counted while the mount works is counted in atomics of the layers
//! below; nothing here is known to them.

use std::time::UNIX_EPOCH;

use nix::errno::Errno;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::crds::Observatory;
use crate::fetch::Durations;
use crate::store::Usage;

use super::core::Core;
use super::status::seconds_since;

/// The values of a metric, by their labels.
#[derive(Debug)]
enum Samples {
    Counter(Vec<(Labels, u64)>),
    Gauge(Vec<(Labels, u64)>),
    Histogram(Vec<(Labels, Durations)>),
}

/// No label, or one with its value.
type Labels = Vec<(&'static str, String)>;

impl EncodeMetric for Samples {
    fn encode(&self, mut encoder: MetricEncoder) -> std::fmt::Result {
        match self {
            Self::Counter(values) => values.iter().try_for_each(|(labels, value)| {
                encoder
                    .encode_family(labels)?
                    .encode_counter::<Labels, _, u64>(value, None)
            }),
            Self::Gauge(values) => values
                .iter()
                .try_for_each(|(labels, value)| encoder.encode_family(labels)?.encode_gauge(value)),
            Self::Histogram(values) => values.iter().try_for_each(|(labels, value)| {
                let mut encoder = encoder.encode_family(labels)?;
                encoder.encode_histogram::<Labels>(value.sum, value.count(), &value.buckets, None)
            }),
        }
    }

    fn metric_type(&self) -> MetricType {
        match self {
            Self::Counter(_) => MetricType::Counter,
            Self::Gauge(_) => MetricType::Gauge,
            Self::Histogram(_) => MetricType::Histogram,
        }
    }
}

fn counter(value: u64) -> Samples {
    Samples::Counter(vec![(Labels::new(), value)])
}

fn gauge(value: u64) -> Samples {
    Samples::Gauge(vec![(Labels::new(), value)])
}

fn count(things: usize) -> Samples {
    gauge(u64::try_from(things).unwrap_or(u64::MAX))
}

fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

fn of(observatory: Observatory) -> Labels {
    label("observatory", observatory.as_str())
}

impl Core {
    pub(super) fn metrics(&self, usage: &Usage) -> String {
        let mut registry = Registry::with_prefix("crds_fs");
        self.write_process(&mut registry);
        self.write_opens(&mut registry);
        self.write_transfers(&mut registry);
        Self::write_shared(&mut registry, usage);
        self.write_tier(&mut registry);
        self.write_operations(&mut registry);
        self.write_store(&mut registry, usage);
        self.write_catalogs(&mut registry);
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_text::encode(&mut text, &registry);
        text
    }

    fn write_process(&self, registry: &mut Registry) {
        let build = Samples::Gauge(vec![(label("version", env!("CARGO_PKG_VERSION")), 1)]);
        registry.register(
            "build_info",
            "The program that serves this mount; always 1",
            build,
        );
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        registry.register(
            "start_time_seconds",
            "When the mount was made, in seconds since 1970",
            gauge(started.as_secs()),
        );
        let help = "Seconds since the mount was made";
        registry.register("uptime_seconds", help, gauge(seconds_since(self.started)));
        registry.register("open_files", "Open files", count(self.files.len()));
        registry.register(
            "nodes",
            "Local files and entries of /bestrefs that the kernel knows",
            count(self.nodes.len()),
        );
        registry.register(
            "panics",
            "Panics: mistakes in crds-fs, which the log describes",
            counter(self.counters().panics),
        );
    }

    fn write_opens(&self, registry: &mut Registry) {
        let counts = self.fetcher.counters();
        registry.register("hits", "Opens answered by the store", counter(counts.hits));
        let help = "Opens that waited for a transfer or a verification";
        registry.register("misses", help, counter(counts.misses));
        let transfers = self.fetcher.transfers();
        let waiters = transfers.iter().map(|transfer| transfer.waiters).sum();
        registry.register(
            "waiting_opens",
            "Opens that wait for a transfer now",
            count(waiters),
        );
        let waits = self.by_observatory(self.fetcher.open_waits());
        registry.register(
            "open_wait_seconds",
            "The time that opens waited for a transfer or a verification, those that gave up included",
            Samples::Histogram(waits),
        );
    }

    fn write_transfers(&self, registry: &mut Registry) {
        let counts = self.fetcher.counters();
        registry.register(
            "transfers",
            "Transfers that run",
            count(self.fetcher.transfers().len()),
        );
        for (name, value, help) in [
            ("downloads", counts.downloads, "Files downloaded and published"),
            ("received_bytes", counts.bytes, "Bytes of file data received"),
            ("retries", counts.retries, "Requests made again after a failure"),
            (
                "mismatches",
                counts.mismatches,
                "Downloads thrown away for a wrong length or digest",
            ),
            ("adopted", counts.adopted, "Files found in the store and verified"),
        ] {
            registry.register(name, help, counter(value));
        }
        let kinds = self.fetcher.failures_by_kind().into_iter();
        let failures = kinds.map(|(kind, count)| (label("kind", kind.as_str()), count));
        registry.register(
            "failures",
            "Transfers that failed in the end, by the kind of failure",
            Samples::Counter(failures.collect()),
        );
        let latencies = self.by_observatory(self.fetcher.source_latencies());
        registry.register(
            "source_latency_seconds",
            "The time from a request for file data until its source began to answer",
            Samples::Histogram(latencies),
        );
    }

    /// Zeros where the store is not shared.
    fn write_shared(registry: &mut Registry, usage: &Usage) {
        let leases = usage.leases.unwrap_or_default();
        registry.register(
            "shared_found_files",
            "Files that others brought into a shared store, and that this mount has verified",
            counter(leases.found),
        );
        registry.register(
            "shared_waited_files",
            "Files that other mounts of a shared store were fetching when this one wanted them",
            counter(leases.waited),
        );
        registry.register(
            "shared_leases_taken_over",
            "Leases of other mounts that showed no sign of life",
            counter(leases.taken_over),
        );
        registry.register(
            "shared_leases_held",
            "Leases that this mount holds: it fetches these files",
            gauge(leases.held),
        );
    }

    fn write_tier(&self, registry: &mut Registry) {
        let Some(tier) = self.fetcher.tier() else { return };
        let counts = tier.write_back.counts;
        for (name, value, help) in [
            (
                "tier_served_files",
                tier.served_files,
                "Files that came from the tier",
            ),
            (
                "tier_served_bytes",
                tier.served_bytes,
                "Bytes that came from the tier",
            ),
            (
                "tier_written_files",
                counts.written_files,
                "Files that were written to the tier",
            ),
            (
                "tier_written_bytes",
                counts.written_bytes,
                "Bytes of files that were written to the tier",
            ),
            (
                "tier_existing_files",
                counts.existing_files,
                "Files that were in the tier already when they were to be written",
            ),
            (
                "tier_unwritten_files",
                counts.unwritten_files,
                "Files that could not be written to the tier, or did not fit into the queue",
            ),
            (
                "tier_wrong_files",
                counts.wrong_files,
                "Files in whose place the tier has another file",
            ),
            (
                "tier_damaged_files",
                counts.damaged_files,
                "Files that were not written to the tier because they are damaged in the store",
            ),
        ] {
            registry.register(name, help, counter(value));
        }
        let queue = &tier.write_back;
        registry.register(
            "tier_queued_files",
            "Files that wait to be written to the tier",
            gauge(queue.queued_files),
        );
        registry.register(
            "tier_queued_bytes",
            "Bytes of files that wait to be written to the tier",
            gauge(queue.queued_bytes),
        );
        registry.register(
            "tier_writable",
            "Whether files are written to the tier",
            gauge(u64::from(queue.error.is_none())),
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

    fn write_operations(&self, registry: &mut Registry) {
        let Some(counts) = self.operations.get() else {
            return;
        };
        let counts = counts();
        let by_kind = |number: fn(&super::ops::OpCount) -> u64| {
            let kinds = counts.by_kind.iter();
            Samples::Counter(
                kinds
                    .map(|count| (label("op", count.op), number(count)))
                    .collect(),
            )
        };
        let help = "Requests of the kernel, by operation";
        registry.register("fuse_operations", help, by_kind(|count| count.requests));
        let help = "Requests of the kernel that were answered with an error, by operation";
        registry.register("fuse_errors", help, by_kind(|count| count.errors));
        let errors = counts.errors.iter().map(|(errno, count)| {
            let name = format!("{:?}", Errno::from_raw(*errno));
            (label("errno", &name), *count)
        });
        registry.register(
            "fuse_error_replies",
            "Requests of the kernel that were answered with an error, by its number",
            Samples::Counter(errors.collect()),
        );
    }

    fn write_store(&self, registry: &mut Registry, usage: &Usage) {
        let (_, held_bytes) = self.fetcher.store().held_copies();
        let help = "Copies that had to make room for others";
        registry.register("evicted_files", help, counter(usage.evicted.files));
        let help = "Bytes of copies that had to make room for others";
        registry.register("evicted_bytes", help, counter(usage.evicted.bytes));
        registry.register("store_files", "Files in the store", gauge(usage.files));
        for (name, value, help) in [
            (
                "store_used_bytes",
                usage.used,
                "Bytes that files in the store take",
            ),
            (
                "store_available_bytes",
                usage.available,
                "Bytes that can be stored without evicting anything",
            ),
            (
                "store_partial_bytes",
                usage.partial,
                "Bytes that interrupted transfers have left, to go on with",
            ),
            (
                "store_quarantine_bytes",
                usage.quarantined,
                "Bytes of files that were found to be wrong and moved to quarantine",
            ),
            ("store_held_bytes", held_bytes, "Bytes of copies that are held"),
        ] {
            registry.register(name, help, gauge(value));
        }
        if let Some(limit) = usage.limit {
            let help = "Bytes that the store may hold (--cache-size)";
            registry.register("store_limit_bytes", help, gauge(limit));
        }
    }

    fn write_catalogs(&self, registry: &mut Registry) {
        let catalogs = self.fetcher.catalogs();
        let each = |value: &dyn Fn(Observatory) -> Option<u64>| {
            let observatories = catalogs.observatories().iter();
            let values = observatories.filter_map(|one| Some((of(*one), value(*one)?)));
            Samples::Gauge(values.collect())
        };
        let names = each(&|one| u64::try_from(self.view(one)?.catalog().len()).ok());
        registry.register("catalog_files", "Files in the catalog", names);
        let help = "Seconds since the server said that the catalog is current";
        let ages = each(&|one| catalogs.age(one).map(|age| age.as_secs()));
        registry.register("catalog_age_seconds", help, ages);
        let help = "Whether the catalog could not be had when it was last tried";
        let failed = each(&|one| Some(catalogs.failure(one).is_some().into()));
        registry.register("catalog_failed", help, failed);
        let help = "Whether the server could not be reached the last time";
        let unreachable = each(&|one| Some(catalogs.offline_since(one).is_some().into()));
        registry.register("server_unreachable", help, unreachable);
    }
}
