//! The status of a mount in words for people.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::cli::output;

/// The status as people read it. What is missing, as from another version, is shown as `-`.
pub(super) fn describe(status: &Value) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_description(&mut text, status);
    text
}

fn write_description(out: &mut String, status: &Value) -> std::fmt::Result {
    let word = |name: &str| shown(&status[name]);
    let circumstances = match (status["offline"].as_bool(), status["read_only"].as_bool()) {
        (Some(true), Some(true)) => ", offline, read-only",
        (Some(true), _) => ", offline",
        (_, Some(true)) => ", read-only",
        _ => "",
    };
    writeln!(
        out,
        "{}: crds-fs {}, process {}{circumstances}",
        word("mountpoint"),
        word("version"),
        word("pid")
    )?;
    write_store(out, status)?;
    for observatory in list(&status["observatories"]) {
        write_observatory(out, observatory)?;
    }
    let counters = &status["counters"];
    writeln!(
        out,
        "opens: {} from the cache, {} that waited; {} downloads with {}, {} retries, {} failures",
        shown(&counters["hits"]),
        shown(&counters["misses"]),
        shown(&counters["downloads"]),
        bytes(&counters["bytes"]),
        shown(&counters["retries"]),
        shown(&counters["failures"])
    )?;
    let (open, limit) = (&status["open_files"], &status["descriptors"]["open_files_limit"]);
    if let (Some(open), Some(limit)) = (open.as_u64(), limit.as_u64())
        && open.saturating_mul(10) >= limit.saturating_mul(9)
    {
        let advice = "mount with a higher 'ulimit -n'";
        writeln!(
            out,
            "open files: {open}, of {limit} that can be open at a time; {advice}"
        )?;
    }
    let panics = &status["counters"]["panics"];
    if panics.as_u64().is_some_and(|count| count > 0) {
        let last = &status["last_panic"];
        writeln!(
            out,
            "{} panics, mistakes in crds-fs that the log describes; please report the last, at {}: {}",
            shown(panics),
            shown(&last["when"]),
            shown(&last["message"])
        )?;
    }
    for transfer in list(&status["transfers"]) {
        let (done, total) = (&transfer["done"], &transfer["total"]);
        let (file, state) = (shown(&transfer["file"]), shown(&transfer["state"]));
        writeln!(
            out,
            "fetching {file}: {} of {}, {state}",
            bytes(done),
            bytes(total)
        )?;
    }
    for name in list(&status["local_overrides"]) {
        writeln!(out, "local file in place of a catalogued one: {}", shown(name))?;
    }
    for failure in list(&status["failures"]) {
        let (when, file, message) = (&failure["when"], &failure["file"], &failure["message"]);
        writeln!(
            out,
            "failed at {}: {}: {}",
            shown(when),
            shown(file),
            shown(message)
        )?;
    }
    Ok(())
}

/// Where the cache is, and what it holds.
fn write_store(out: &mut String, status: &Value) -> std::fmt::Result {
    let unwritable = if status["store_writable"] == false {
        " (cannot be written: nothing is fetched into it)"
    } else {
        ""
    };
    writeln!(out, "cache: {}{unwritable}", shown(&status["store"]))?;
    let space = &status["space"];
    writeln!(
        out,
        "space: {} in {} files, {} of {} available",
        bytes(&space["used"]),
        shown(&space["files"]),
        bytes(&space["available"]),
        bytes(&space["total"])
    )?;
    if space["complete"] == false {
        writeln!(out, "the files in the cache are still being counted")?;
    }
    if space["evicted_files"].as_u64().is_some_and(|files| files > 0) {
        let (files, size) = (shown(&space["evicted_files"]), bytes(&space["evicted_bytes"]));
        writeln!(out, "evicted: {files} files with {size}")?;
    }
    if space["quarantined_files"].as_u64().is_some_and(|files| files > 0) {
        let (files, size) = (
            shown(&space["quarantined_files"]),
            bytes(&space["quarantined_bytes"]),
        );
        writeln!(
            out,
            "quarantine: {files} files with {size}, in .crds-fs/quarantine in the cache: look through them"
        )?;
    }
    Ok(())
}

fn write_observatory(out: &mut String, observatory: &Value) -> std::fmt::Result {
    let name = shown(&observatory["name"]);
    let error = &observatory["error"];
    if observatory["files"].is_null() {
        return match error["message"].as_str() {
            Some(message) => writeln!(
                out,
                "{name}: the catalog cannot be had: {message}{}",
                place(error)
            ),
            None => writeln!(out, "{name}: not looked at yet"),
        };
    }
    write!(
        out,
        "{name}: {} files, context {}",
        shown(&observatory["files"]),
        shown(&observatory["context"])
    )?;
    if let Some(age) = observatory["catalog_age_seconds"].as_u64() {
        write!(
            out,
            ", catalog of {} ago",
            humantime::format_duration(Duration::from_secs(age))
        )?;
    }
    if let Some(since) = observatory["offline_since"].as_str() {
        write!(out, ", server not reachable since {since}")?;
    }
    if let Some(problem) = observatory["context_error"].as_str() {
        write!(out, "; {problem}")?;
    }
    if let Some(message) = error["message"].as_str() {
        write!(out, "; no newer catalog: {message}{}", place(error))?;
    }
    writeln!(out)
}

/// Where something failed and what can be done, for behind its message.
fn place(error: &Value) -> String {
    let part = |name: &str, before: &str, after: &str| {
        let text = error[name].as_str();
        text.map_or_else(String::new, |text| format!("{before}{text}{after}"))
    };
    part("url", " (", ")") + &part("remedy", "; ", "")
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn bytes(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), output::size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_well() {
        let status = json!({
            "version": "1.2.3", "pid": 42, "mountpoint": "/crds", "store": "/crds", "offline": false, "read_only": true,
            "observatories": [
                {"name": "hst", "files": null},
                {"name": "roman", "files": 18, "context": "roman_0004.pmap", "catalog_age_seconds": 61,
                 "offline_since": "2026-01-01T00:00:00Z"},
            ],
            "transfers": [{"file": "roman/a.asdf", "state": "receiving", "done": 512, "total": 2048}],
            "counters": {"hits": 1, "misses": 2, "downloads": 3, "bytes": 4096, "retries": 0, "failures": 1},
            "failures": [{"file": "roman/b.asdf", "message": "404", "when": "2026-01-01T00:00:00Z"}],
            "local_overrides": ["roman/c.asdf"],
            "space": {"total": 1_073_741_824, "used": 0, "available": 1024, "files": 7},
        });
        assert_eq!(
            describe(&status),
            "/crds: crds-fs 1.2.3, process 42, read-only\n\
             cache: /crds\n\
             space: 0 B in 7 files, 1.0 KiB of 1.0 GiB available\n\
             hst: not looked at yet\n\
             roman: 18 files, context roman_0004.pmap, catalog of 1m 1s ago, server not reachable since 2026-01-01T00:00:00Z\n\
             opens: 1 from the cache, 2 that waited; 3 downloads with 4.0 KiB, 0 retries, 1 failures\n\
             fetching roman/a.asdf: 512 B of 2.0 KiB, receiving\n\
             local file in place of a catalogued one: roman/c.asdf\n\
             failed at 2026-01-01T00:00:00Z: roman/b.asdf: 404\n"
        );
        // From another version: whatever is missing, it is told.
        assert!(describe(&json!({})).starts_with("-: crds-fs -"));
        assert!(describe(&json!({"transfers": [{}], "failures": 7})).contains("fetching -"));
    }
}
