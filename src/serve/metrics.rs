//! `/metrics`: the state of the server in Prometheus' text format. The names are in docs/metrics.md.

use crate::metrics::Metrics;

use super::services::Services;
use super::traffic::Traffic;
use super::upstream::Upstream;

/// All metrics.
pub(super) fn text(services: &Services, traffic: &Traffic) -> String {
    let mut metrics = Metrics::new();
    let build = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    let help = "The program that serves; always 1";
    metrics.gauges("serve_build_info", help, [(build, 1)]);
    write_traffic(&mut metrics, services, traffic);
    write_upstream(&mut metrics, services);
    metrics.text()
}

fn write_traffic(metrics: &mut Metrics, services: &Services, traffic: &Traffic) {
    let help = "Connections that are open";
    metrics.gauge("serve_open_connections", help, traffic.open());
    let help = "Connections that were accepted";
    metrics.counter("serve_connections", help, traffic.connections());
    metrics.counter("serve_sent_bytes", "Bytes of answers sent", traffic.bytes());
    let requests = traffic.requests().into_iter().map(|((kind, status), count)| {
        let labels = vec![("kind", kind.as_str().to_owned()), ("status", status.to_string())];
        (labels, count)
    });
    metrics.counters(
        "serve_requests",
        "Requests that have ended, by kind (file, rpc, other) and HTTP status (499: the client left)",
        requests,
    );
    let methods = services.counters.methods().into_iter();
    metrics.counters(
        "serve_calls",
        "JSON-RPC calls, by method",
        methods.map(|(method, count)| (vec![("method", method)], count)),
    );
    let answers = services.counters.answers().into_iter();
    metrics.counters(
        "serve_files",
        "Files given out, whole or in part, by where they came from: hit (they were here) or fetched",
        answers.map(|(came, count)| (vec![("from", came.as_str().to_owned())], count)),
    );
}

fn write_upstream(metrics: &mut Metrics, services: &Services) {
    let all: Vec<_> = services
        .iter()
        .filter_map(|service| Some((service.observatory, service.upstream()?)))
        .collect();
    // All of them have one cache.
    let Some((_, first)) = all.first() else { return };
    write_fetches(metrics, first);
    let of = |observatory: &dyn ToString| ("observatory", observatory.to_string());
    let calls = all.iter().flat_map(|(observatory, upstream)| {
        let calls = upstream.calls().into_iter();
        calls.map(move |(method, count)| (vec![of(observatory), ("method", method)], count))
    });
    let help = "Calls passed on to the upstream server, by observatory and method";
    metrics.counters("serve_upstream_calls", help, calls);
    let mut gauges = |name: &str, help: &str, value: &dyn Fn(&Upstream) -> Option<u64>| {
        let values = all.iter();
        let values =
            values.filter_map(|(observatory, upstream)| Some((vec![of(observatory)], value(upstream)?)));
        metrics.gauges(name, help, values);
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

fn write_fetches(metrics: &mut Metrics, upstream: &Upstream) {
    let counters = upstream.cache().fetcher().counters();
    let help = "Files fetched and kept";
    metrics.counter("serve_downloads", help, counters.downloads);
    let help = "Bytes of files received";
    metrics.counter("serve_received_bytes", help, counters.bytes);
    let help = "Requests for files made again after a failure";
    metrics.counter("serve_retries", help, counters.retries);
    let help = "Transfers that failed in the end";
    metrics.counter("serve_failures", help, counters.failures);
    let help = "Downloads thrown away because length or digest did not match";
    metrics.counter("serve_mismatches", help, counters.mismatches);
}
