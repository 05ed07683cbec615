//! The names in the JSON: a promise to scripts.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

/// A report with an element in every list.
fn full_status() -> StatusReport {
    StatusReport {
        observatories: vec![ObservatoryReport {
            error: Some(CatalogFailure::default()),
            stored: vec![StoredReport::default()],
            sources: vec![SourceStateReport::default()],
            ..ObservatoryReport::default()
        }],
        shared: Some(SharedReport::default()),
        tier: Some(TierReport::default()),
        transfers: vec![TransferReport {
            sources: vec![SourceReport::default()],
            waiting: vec![WaiterReport::default()],
            ..TransferReport::default()
        }],
        wrong_sources: vec![WrongSourceReport::default()],
        failures: vec![FailureReport::default()],
        last_panic: Some(PanicReport::default()),
        ..StatusReport::default()
    }
}

fn full_file() -> FileReport {
    FileReport {
        error: Some(FileFailure::default()),
        openers: vec![OpenerReport::default()],
        ..FileReport::default()
    }
}

/// The names are a promise to scripts that read these files.
#[test]
fn the_json_has_these_fields() {
    let status = full_status();
    assert_eq!(
        serde_json::to_value(&status).unwrap(),
        json!({
            "version": "", "pid": 0, "mountpoint": "", "store": "", "started": "", "uptime_seconds": 0,
            "offline": false, "read_only": false, "store_writable": false, "store_removed": false, "layout": "",
            "shared": {"state": "", "found": 0, "waited": 0, "leases_held": 0, "leases_taken_over": 0},
            "observatories": [{
                "name": "", "state": "unused", "files": null, "context": null, "context_chosen": false, "context_error": null,
                "error": {"kind": "", "url": null, "message": "", "remedy": null, "when": ""},
                "server": null, "catalog_age_seconds": null, "offline": false, "offline_since": null,
                "online_since": null, "stored": [{"group": "", "files": 0, "bytes": 0}],
                "sources": [{
                    "source": "", "tier": false, "state": "", "files": 0, "bytes": 0, "error": null, "since": null,
                    "retry_in_seconds": null,
                }],
            }],
            "tier": {
                "tier": "", "served_files": 0, "served_bytes": 0, "state": "", "error": null, "since": null,
                "retry_in_seconds": null, "queued_files": 0, "queued_bytes": 0, "written_files": 0, "written_bytes": 0,
                "existing_files": 0, "unwritten_files": 0, "wrong_files": 0, "damaged_files": 0,
            },
            "transfers": [{
                "file": "", "url": null, "state": "", "done": 0, "total": 0, "bytes_per_second": 0,
                "remaining_seconds": null, "waiters": 0, "waiting": [{"pid": 0, "command": "", "waited_seconds": 0}],
                "age_seconds": 0, "sources": [{"url": "", "bytes": 0}],
            }],
            "counters": {
                "hits": 0, "misses": 0, "downloads": 0, "bytes": 0, "retries": 0, "failures": 0, "mismatches": 0,
                "adopted": 0, "panics": 0,
            },
            "wrong_sources": [{"url": "", "file": "", "when": ""}],
            "failures": [{"file": "", "kind": "", "url": null, "message": "", "remedy": null, "when": ""}],
            "last_panic": {"when": "", "message": ""},
            "local_overrides": [],
            "space": {
                "total": 0, "used": 0, "available": 0, "files": 0, "limit": null, "partial": 0,
                "quarantined_bytes": 0, "quarantined_files": 0, "held_files": 0, "held_bytes": 0, "evicted_files": 0, "evicted_bytes": 0,
                "complete": false,
            },
            "failures_by_kind": {},
            "open_files": 0,
            "descriptors": {"open": null, "limit": 0, "open_files_limit": 0},
            "nodes": 0,
        })
    );
    let file = full_file();
    assert_eq!(
        serde_json::to_value(&file).unwrap(),
        json!({
            "observatory": "", "name": "", "path": "", "state": "", "size": null, "local_size": null, "sha1": null,
            "progress": {"done": 0, "total": 0}, "source": null, "transfer": null,
            "error": {"kind": "", "url": null, "message": "", "remedy": null, "when": ""},
            "held": false, "verified": false, "open": false, "openers": [{"pid": 0, "command": ""}], "written": null,
            "last_used": null,
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

/// The paths of all fields of a value: `a`, `a.b` and `list[].c`.
fn paths(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let separator = if prefix.is_empty() { "" } else { "." };
                let path = format!("{prefix}{separator}{name}");
                paths(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(values) => {
            for value in values {
                paths(value, &format!("{prefix}[]"), found);
            }
        }
        _ => {}
    }
}

/// The fields in the table below a heading of docs/status.md.
fn documented(heading: &str) -> BTreeSet<String> {
    let page = include_str!("../../../docs/status.md");
    let section = page
        .split("\n## ")
        .find_map(|section| section.strip_prefix(heading));
    let rows = section.unwrap().lines();
    rows.filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect()
}

#[test]
fn every_field_is_documented_and_nothing_else() {
    for (heading, report) in [
        ("The mount\n", serde_json::to_value(full_status()).unwrap()),
        ("A file\n", serde_json::to_value(full_file()).unwrap()),
    ] {
        let mut found = BTreeSet::new();
        paths(&report, "", &mut found);
        assert_eq!(documented(heading), found, "{heading}");
    }
}
