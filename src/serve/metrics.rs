//! `/metrics`: the state of the server in Prometheus' text format. The names are in docs/metrics.md.

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::services::Services;
use super::traffic::Traffic;
use super::upstream::Upstream;

/// Labels with their values.
type Labels = Vec<(&'static str, String)>;

/// The values of a metric, by their labels.
#[derive(Debug)]
enum Samples {
    Counter(Vec<(Labels, u64)>),
    Gauge(Vec<(Labels, u64)>),
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
        }
    }

    fn metric_type(&self) -> MetricType {
        match self {
            Self::Counter(_) => MetricType::Counter,
            Self::Gauge(_) => MetricType::Gauge,
        }
    }
}

fn counter(value: u64) -> Samples {
    Samples::Counter(vec![(Labels::new(), value)])
}

fn gauge(value: u64) -> Samples {
    Samples::Gauge(vec![(Labels::new(), value)])
}

/// All metrics.
pub(super) fn text(services: &Services, traffic: &Traffic) -> String {
    let mut registry = Registry::with_prefix("crds_fs");
    let build = Samples::Gauge(vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1)]);
    registry.register("serve_build_info", "The program that serves; always 1", build);
    write_traffic(&mut registry, services, traffic);
    write_upstream(&mut registry, services);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = prometheus_text::encode(&mut text, &registry);
    text
}

fn write_traffic(registry: &mut Registry, services: &Services, traffic: &Traffic) {
    registry.register(
        "serve_open_connections",
        "Connections that are open",
        gauge(traffic.open()),
    );
    registry.register(
        "serve_connections",
        "Connections that were accepted",
        counter(traffic.connections()),
    );
    registry.register(
        "serve_sent_bytes",
        "Bytes of answers sent",
        counter(traffic.bytes()),
    );
    let requests = traffic.requests().into_iter().map(|((kind, status), count)| {
        let labels = vec![("kind", kind.as_str().to_owned()), ("status", status.to_string())];
        (labels, count)
    });
    registry.register(
        "serve_requests",
        "Requests that have ended, by kind (file, rpc, other) and HTTP status (499: the client left)",
        Samples::Counter(requests.collect()),
    );
    let methods = services.counters.methods().into_iter();
    registry.register(
        "serve_calls",
        "JSON-RPC calls, by method",
        Samples::Counter(
            methods
                .map(|(method, count)| (vec![("method", method)], count))
                .collect(),
        ),
    );
    let answers = services.counters.answers().into_iter();
    registry.register(
        "serve_files",
        "Files given out, whole or in part, by where they came from: hit (they were here) or fetched",
        Samples::Counter(
            answers
                .map(|(came, count)| (vec![("from", came.as_str().to_owned())], count))
                .collect(),
        ),
    );
}

fn write_upstream(registry: &mut Registry, services: &Services) {
    let all: Vec<_> = services
        .iter()
        .filter_map(|service| Some((service.observatory, service.upstream()?)))
        .collect();
    // All of them have one cache.
    let Some((_, first)) = all.first() else { return };
    write_fetches(registry, first);
    let of = |observatory: &dyn ToString| ("observatory", observatory.to_string());
    let calls = all.iter().flat_map(|(observatory, upstream)| {
        let calls = upstream.calls().into_iter();
        calls.map(move |(method, count)| (vec![of(observatory), ("method", method)], count))
    });
    registry.register(
        "serve_upstream_calls",
        "Calls passed on to the upstream server, by observatory and method",
        Samples::Counter(calls.collect()),
    );
    let mut gauges = |name: &str, help: &str, value: &dyn Fn(&Upstream) -> Option<u64>| {
        let values = all.iter();
        let values =
            values.filter_map(|(observatory, upstream)| Some((vec![of(observatory)], value(upstream)?)));
        registry.register(name, help, Samples::Gauge(values.collect()));
    };
    gauges("serve_catalog_files", "Files in the catalog", &|upstream| {
        u64::try_from(upstream.known()?.catalog().len()).ok()
    });
    gauges(
        "serve_catalog_age_seconds",
        "Seconds since the upstream server's last answer",
        &|upstream| Some(upstream.age()?.as_secs()),
    );
    gauges(
        "serve_upstream_offline",
        "Whether the upstream server cannot be reached, or is not asked on purpose",
        &|upstream| Some(u64::from(upstream.is_cut_off())),
    );
}

fn write_fetches(registry: &mut Registry, upstream: &Upstream) {
    let counters = upstream.cache().fetcher().counters();
    for (name, help, value) in [
        ("serve_downloads", "Files fetched and kept", counters.downloads),
        ("serve_received_bytes", "Bytes of files received", counters.bytes),
        (
            "serve_retries",
            "Requests for files made again after a failure",
            counters.retries,
        ),
        (
            "serve_failures",
            "Transfers that failed in the end",
            counters.failures,
        ),
        (
            "serve_mismatches",
            "Downloads thrown away because length or digest did not match",
            counters.mismatches,
        ),
    ] {
        registry.register(name, help, counter(value));
    }
}
