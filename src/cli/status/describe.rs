//! The status of a mount in words for people.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cli::output;
use crate::crds::times;
use crate::tree::report::{
    CatalogFailure, CounterReport, ObservatoryReport, SourceStateReport, SpaceReport, StatusReport,
    TransferReport,
};

/// The status as people read it. What is missing, as from another version, is shown as `-`.
pub(super) fn describe(status: &StatusReport) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_description(&mut text, status);
    text
}

fn write_description(out: &mut String, status: &StatusReport) -> std::fmt::Result {
    let conditions = match (status.offline, status.read_only) {
        (true, true) => ", offline, read-only",
        (true, false) => ", offline",
        (false, true) => ", read-only",
        (false, false) => "",
    };
    writeln!(
        out,
        "{}: crds-fs {}, process {}{conditions}",
        shown(&status.mountpoint),
        shown(&status.version),
        status.pid
    )?;
    write_store(out, status)?;
    for observatory in &status.observatories {
        write_observatory(out, observatory)?;
        write_sources(out, observatory)?;
    }
    write_counters(out, &status.counters)?;
    let (open, limit) = (status.open_files, status.descriptors.open_files_limit);
    if limit > 0 && open.saturating_mul(10) >= limit.saturating_mul(9) {
        let advice = "mount with a higher 'ulimit -n'";
        writeln!(
            out,
            "open files: {open}, of {limit} that can be open at a time; {advice}"
        )?;
    }
    if let Some(last) = &status.last_panic {
        writeln!(
            out,
            "{} panics, mistakes in crds-fs that the log describes; please report the last, at {}: {}",
            status.counters.panics, last.when, last.message
        )?;
    }
    for transfer in &status.transfers {
        write_transfer(out, transfer)?;
    }
    for name in &status.local_overrides {
        writeln!(out, "local file in place of a catalogued one: {name}")?;
    }
    for source in &status.wrong_sources {
        writeln!(
            out,
            "wrong file at {} from {}: other sources are asked before this one for a while",
            source.when, source.url
        )?;
    }
    for failure in &status.failures {
        writeln!(
            out,
            "failed at {}: {}: {}",
            failure.when, failure.file, failure.message
        )?;
    }
    Ok(())
}

fn write_counters(out: &mut String, counters: &CounterReport) -> std::fmt::Result {
    writeln!(
        out,
        "opens: {} from the cache, {} that waited; {} downloads with {}, {} retries, {} failures",
        counters.transfers.hits,
        counters.transfers.misses,
        counters.transfers.downloads,
        output::size(counters.transfers.bytes),
        counters.transfers.retries,
        counters.transfers.failures
    )
}

fn write_transfer(out: &mut String, transfer: &TransferReport) -> std::fmt::Result {
    writeln!(
        out,
        "fetching {}: {} of {}, {}",
        shown(&transfer.file),
        output::size(transfer.done),
        output::size(transfer.total),
        shown(&transfer.state)
    )
}

/// The lines about the store: its directory and its space.
fn write_store(out: &mut String, status: &StatusReport) -> std::fmt::Result {
    let unwritable = if status.store_removed {
        " (it has been removed)"
    } else if status.store_writable {
        ""
    } else {
        " (cannot be written: nothing is fetched into it)"
    };
    writeln!(out, "cache: {}{unwritable}", shown(&status.store))?;
    write_space(out, &status.space)
}

fn write_space(out: &mut String, space: &SpaceReport) -> std::fmt::Result {
    writeln!(
        out,
        "space: {} in {} files, {} of {} available",
        output::size(space.used),
        space.files,
        output::size(space.available),
        output::size(space.total)
    )?;
    if !space.complete {
        writeln!(out, "the files in the cache are still being counted")?;
    }
    if space.evicted_files > 0 {
        let size = output::size(space.evicted_bytes);
        writeln!(out, "evicted: {} files with {size}", space.evicted_files)?;
    }
    if space.held_files > 0 {
        let size = output::size(space.held_bytes);
        writeln!(
            out,
            "held: {} with {size}, which are never evicted",
            output::files(space.held_files)
        )?;
    }
    if space.quarantined_files > 0 {
        writeln!(
            out,
            "quarantine: {} files with {}, in .crds-fs/quarantine in the cache: look through them",
            space.quarantined_files,
            output::size(space.quarantined_bytes)
        )?;
    }
    Ok(())
}

fn write_observatory(out: &mut String, observatory: &ObservatoryReport) -> std::fmt::Result {
    let name = shown(&observatory.name);
    let error = observatory.error.as_ref();
    let Some(files) = observatory.files else {
        return match error {
            Some(error) => writeln!(
                out,
                "{name}: the catalog cannot be had: {}{}",
                error.message,
                url_and_remedy(error)
            ),
            None => writeln!(out, "{name}: not looked at yet"),
        };
    };
    let context = observatory.context.as_deref().unwrap_or("-");
    write!(out, "{name}: {files} files, context {context}")?;
    if let Some(age) = observatory.catalog_age_seconds {
        write!(
            out,
            ", catalog of {} ago",
            times::friendly(Duration::from_secs(age))
        )?;
    }
    if let Some(since) = &observatory.offline_since {
        write!(out, ", server not reachable since {since}")?;
    }
    if let Some(problem) = &observatory.context_error {
        write!(out, "; {problem}")?;
    }
    if let Some(error) = error {
        write!(
            out,
            "; no newer catalog: {}{}",
            error.message,
            url_and_remedy(error)
        )?;
    }
    writeln!(out)
}

/// The lines about the sources of an observatory's files. Where there is nothing to tell apart, and nothing is wrong, there
/// are none.
fn write_sources(out: &mut String, observatory: &ObservatoryReport) -> std::fmt::Result {
    let is_worth_it = |source: &SourceStateReport| match source.state.as_str() {
        "failing" => true,
        "unused" => false,
        _ => source.source != "crds",
    };
    if !observatory.sources.iter().any(is_worth_it) {
        return Ok(());
    }
    for source in &observatory.sources {
        let given = format!(
            "{} with {}",
            output::files(source.files),
            output::size(source.bytes)
        );
        let (since, error) = (source.since.as_deref(), source.error.as_deref());
        let (since, error) = (since.unwrap_or("-"), error.unwrap_or("-"));
        let state = match source.state.as_str() {
            "unused" => "not asked yet".to_owned(),
            "failing" => format!("{given}; failing since {since}: {error}"),
            "wrong" => format!("{given}; wrong file at {since}"),
            _ => given,
        };
        write!(
            out,
            "source of {}: {}: {state}",
            shown(&observatory.name),
            shown(&source.source)
        )?;
        if let Some(left) = source.retry_in_seconds {
            let left = times::friendly(Duration::from_secs(left));
            write!(out, "; others are asked before it for {left}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The URL and the remedy of a failure, in the form that follows its message.
fn url_and_remedy(error: &CatalogFailure) -> String {
    let mut text = String::new();
    if let Some(url) = &error.url {
        text = format!(" ({url})");
    }
    if let Some(remedy) = &error.remedy {
        text.push_str("; ");
        text.push_str(remedy);
    }
    text
}

/// A text, or `-` where it is missing.
pub(super) fn shown(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(status: Value) -> StatusReport {
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn reads_well() {
        let status = read(json!({
            "version": "1.2.3", "pid": 42, "mountpoint": "/crds", "store": "/crds", "offline": false, "read_only": true,
            "store_writable": true,
            "observatories": [
                {"name": "hst", "files": null},
                {"name": "roman", "files": 18, "context": "roman_0004.pmap", "catalog_age_seconds": 61,
                 "offline_since": "2026-01-01T00:00:00Z", "sources": [
                    {"source": "http://a/", "state": "failing", "files": 1, "bytes": 2048, "error": "refused",
                     "since": "2026-01-01T00:00:00Z", "retry_in_seconds": 7},
                    {"source": "file:///b", "state": "ready", "files": 2, "bytes": 1024},
                    {"source": "crds", "state": "unused"}]},
            ],
            "transfers": [{"file": "roman/a.asdf", "state": "receiving", "done": 512, "total": 2048}],
            "counters": {"hits": 1, "misses": 2, "downloads": 3, "bytes": 4096, "retries": 0, "failures": 1},
            "failures": [{"file": "roman/b.asdf", "message": "404", "when": "2026-01-01T00:00:00Z"}],
            "local_overrides": ["roman/c.asdf"],
            "space": {"total": 1_073_741_824, "used": 0, "available": 1024, "files": 7, "complete": true},
        }));
        assert_eq!(
            describe(&status),
            "/crds: crds-fs 1.2.3, process 42, read-only\n\
             cache: /crds\n\
             space: 0 B in 7 files, 1.0 KiB of 1.0 GiB available\n\
             hst: not looked at yet\n\
             roman: 18 files, context roman_0004.pmap, catalog of 1m 1s ago, server not reachable since 2026-01-01T00:00:00Z\n\
             source of roman: http://a/: 1 file with 2.0 KiB; failing since 2026-01-01T00:00:00Z: refused; others are asked before it for 7s\n\
             source of roman: file:///b: 2 files with 1.0 KiB\n\
             source of roman: crds: not asked yet\n\
             opens: 1 from the cache, 2 that waited; 3 downloads with 4.0 KiB, 0 retries, 1 failures\n\
             fetching roman/a.asdf: 512 B of 2.0 KiB, receiving\n\
             local file in place of a catalogued one: roman/c.asdf\n\
             failed at 2026-01-01T00:00:00Z: roman/b.asdf: 404\n"
        );
        // From another version: whatever is missing, it is told.
        assert!(describe(&read(json!({}))).starts_with("-: crds-fs -"));
        assert!(describe(&read(json!({"transfers": [{}]}))).contains("fetching -"));
    }
}
