//! `.crds-fs/metrics`: the state of the mount in Prometheus' text format. Made when it is opened, as the
//! status is.

use std::fmt::{Display, Write as _};
use std::time::UNIX_EPOCH;

use crate::store::Usage;

use super::core::Core;
use super::status::seconds_since;

impl Core {
    pub(super) fn metrics(&self, usage: &Usage) -> String {
        let mut text = Text::default();
        self.write_process(&mut text);
        self.write_counters(&mut text);
        self.write_operations(&mut text);
        self.write_store(&mut text, usage);
        self.write_catalogs(&mut text);
        text.0
    }

    fn write_process(&self, text: &mut Text) {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let help = "The program that serves this mount; always 1.";
        text.family("build_info", "gauge", help).labelled(&version, 1);
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let help = "When the mount was made, in seconds since 1970.";
        text.family("start_time_seconds", "gauge", help)
            .value(started.as_secs());
        let help = "Seconds since the mount was made.";
        text.family("uptime_seconds", "gauge", help)
            .value(seconds_since(self.started));
        let help = "Open files.";
        text.family("open_files", "gauge", help).value(self.files.len());
        let help = "Local files and entries of /bestrefs that the kernel knows.";
        text.family("nodes", "gauge", help).value(self.nodes.len());
        let help = "Transfers that run.";
        text.family("transfers", "gauge", help)
            .value(self.fetcher.transfers().len());
    }

    fn write_counters(&self, text: &mut Text) {
        let counters = self.counters();
        // Failures are not among these: they are counted by kind below.
        for (name, count, help) in [
            ("hits", counters.transfers.hits, "Opens answered by the store."),
            (
                "misses",
                counters.transfers.misses,
                "Opens that waited for a transfer or a verification.",
            ),
            (
                "downloads",
                counters.transfers.downloads,
                "Files downloaded and published.",
            ),
            ("bytes", counters.transfers.bytes, "Bytes of file data received."),
            (
                "retries",
                counters.transfers.retries,
                "Requests made again after a failure.",
            ),
            (
                "mismatches",
                counters.transfers.mismatches,
                "Downloads thrown away for a wrong length or digest.",
            ),
            (
                "adopted",
                counters.transfers.adopted,
                "Files found in the store and verified.",
            ),
            (
                "panics",
                counters.panics,
                "Panics: mistakes in crds-fs, which the log describes.",
            ),
        ] {
            text.family(&format!("{name}_total"), "counter", help)
                .value(count);
        }
        let help = "Transfers that failed in the end, by the kind of failure.";
        let mut family = text.family("failures_total", "counter", help);
        for (kind, count) in self.fetcher.failures_by_kind() {
            family.labelled(&[("kind", kind.as_str())], count);
        }
    }

    fn write_operations(&self, text: &mut Text) {
        let Some(counts) = self.operations.get() else {
            return;
        };
        let counts = counts();
        let help = "Requests of the kernel, by operation.";
        let mut family = text.family("fuse_operations_total", "counter", help);
        for count in &counts {
            family.labelled(&[("op", count.op)], count.requests);
        }
        let help = "Requests of the kernel that were answered with an error, by operation.";
        let mut family = text.family("fuse_errors_total", "counter", help);
        for count in &counts {
            family.labelled(&[("op", count.op)], count.errors);
        }
    }

    fn write_store(&self, text: &mut Text, usage: &Usage) {
        let help = "Copies that had to make room for others.";
        text.family("evicted_files_total", "counter", help)
            .value(usage.evicted.files);
        let help = "Bytes of copies that had to make room for others.";
        text.family("evicted_bytes_total", "counter", help)
            .value(usage.evicted.bytes);
        let help = "Bytes that files in the store take.";
        text.family("store_used_bytes", "gauge", help).value(usage.used);
        let help = "Bytes that can be stored without evicting anything.";
        text.family("store_available_bytes", "gauge", help)
            .value(usage.available);
        let help = "Files in the store.";
        text.family("store_files", "gauge", help).value(usage.files);
        let help = "Bytes that interrupted transfers have left, to go on with.";
        text.family("store_partial_bytes", "gauge", help)
            .value(usage.partial);
        let help = "Bytes of files that were found to be wrong and moved to quarantine.";
        text.family("store_quarantine_bytes", "gauge", help)
            .value(usage.quarantined);
        let (_, bytes) = self.fetcher.store().held_copies();
        let help = "Bytes of copies that are held.";
        text.family("store_held_bytes", "gauge", help).value(bytes);
        if let Some(limit) = usage.limit {
            let help = "Bytes that the store may hold (--cache-size).";
            text.family("store_limit_bytes", "gauge", help).value(limit);
        }
    }

    fn write_catalogs(&self, text: &mut Text) {
        let catalogs = self.fetcher.catalogs();
        let observatories = catalogs.observatories();
        let mut family = text.family("catalog_files", "gauge", "Files in the catalog.");
        for observatory in observatories {
            if let Some(view) = self.view(*observatory) {
                family.labelled(&[("observatory", observatory.as_str())], view.catalog().len());
            }
        }
        let help = "Seconds since the server said that the catalog is current.";
        let mut family = text.family("catalog_age_seconds", "gauge", help);
        for observatory in observatories {
            if let Some(age) = catalogs.age(*observatory) {
                family.labelled(&[("observatory", observatory.as_str())], age.as_secs());
            }
        }
        let help = "Whether the catalog could not be had when it was last tried.";
        let mut family = text.family("catalog_failed", "gauge", help);
        for observatory in observatories {
            let failed = u8::from(catalogs.failure(*observatory).is_some());
            family.labelled(&[("observatory", observatory.as_str())], failed);
        }
        let help = "Whether the server could not be reached the last time.";
        let mut family = text.family("server_unreachable", "gauge", help);
        for observatory in observatories {
            let unreachable = u8::from(catalogs.offline_since(*observatory).is_some());
            family.labelled(&[("observatory", observatory.as_str())], unreachable);
        }
    }
}

/// Text in Prometheus' format.
#[derive(Default)]
struct Text(String);

/// The values of one metric.
struct Family<'a> {
    text: &'a mut String,
    name: String,
}

impl Text {
    /// Begins a metric `crds_fs_<name>`.
    fn family(&mut self, name: &str, kind: &str, help: &str) -> Family<'_> {
        let name = format!("crds_fs_{name}");
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family {
            text: &mut self.0,
            name,
        }
    }
}

impl Family<'_> {
    fn value(&mut self, value: impl Display) {
        self.labelled(&[], value);
    }

    /// Labels are names and words of our own: there is nothing to escape.
    fn labelled(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{}{labels} {value}", self.name);
    }
}
