//! The writer of Prometheus' text format, for the metrics of a mount and of a server. The names are in docs/metrics.md.

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// Labels with their values.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// Durations, counted by their length.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Durations {
    /// The number of durations up to a bound in seconds and above the bound before; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// Seconds in all.
    pub sum: f64,
}

impl Durations {
    /// The number of all durations.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

/// The values of a metric, by their labels.
#[derive(Debug)]
enum Samples {
    Counter(Vec<(Labels, u64)>),
    Gauge(Vec<(Labels, u64)>),
    Histogram(Vec<(Labels, Durations)>),
}

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

/// Metrics as they are at one moment. Each name begins with `crds_fs_`, which is not said again, and that of a counter
/// ends in `_total`.
#[derive(Debug)]
pub(crate) struct Metrics(Registry);

impl Metrics {
    pub(crate) fn new() -> Self {
        Self(Registry::with_prefix("crds_fs"))
    }

    /// Adds a counter without labels.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, [(Labels::new(), value)]);
    }

    /// Adds a gauge without labels.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.gauges(name, help, [(Labels::new(), value)]);
    }

    /// Adds a counter for each set of labels.
    pub(crate) fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let samples = Samples::Counter(values.into_iter().collect());
        self.0.register(name, help, samples);
    }

    /// Adds a gauge for each set of labels.
    pub(crate) fn gauges(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        let samples = Samples::Gauge(values.into_iter().collect());
        self.0.register(name, help, samples);
    }

    /// Adds a histogram for each set of labels.
    pub(crate) fn histograms(&mut self, name: &str, help: &str, values: Vec<(Labels, Durations)>) {
        self.0.register(name, help, Samples::Histogram(values));
    }

    /// All metrics in Prometheus' text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_text::encode(&mut text, &self.0);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_metric_is_written() {
        let mut metrics = Metrics::new();
        metrics.counter("downloads", "Files downloaded", 3);
        metrics.gauges(
            "used_bytes",
            "Bytes",
            [(vec![("observatory", "hst".to_owned())], 7)],
        );
        let waits = Durations {
            buckets: vec![(0.5, 2), (f64::INFINITY, 1)],
            sum: 1.25,
        };
        metrics.histograms("wait_seconds", "Waits", vec![(Labels::new(), waits)]);
        let text = metrics.text();
        for line in [
            "# TYPE crds_fs_downloads_total counter",
            "crds_fs_downloads_total 3",
            "crds_fs_used_bytes{observatory=\"hst\"} 7",
            "crds_fs_wait_seconds_bucket{le=\"0.5\"} 2",
            "crds_fs_wait_seconds_bucket{le=\"+Inf\"} 3",
            "crds_fs_wait_seconds_sum 1.25",
            "crds_fs_wait_seconds_count 3",
        ] {
            assert!(
                text.lines().any(|written| written == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
