//! The whole report, as it looks on terminals and in files.

use serde_json::{Value, json};

use super::describe;
use crate::cli::status::look::tests::{file, terminal};
use crate::cli::status::look::{Look, measure};
use crate::tree::report::StatusReport;

fn read(status: Value) -> StatusReport {
    serde_json::from_value(status).unwrap()
}

fn busy() -> StatusReport {
    read(json!({
        "version": "1.2.3", "pid": 42, "mountpoint": "/crds", "store": "/crds", "started": "2026-01-01T09:45:00Z",
        "uptime_seconds": 8100, "read_only": true, "store_writable": true,
        "observatories": [
            {"name": "hst", "files": null},
            {"name": "jwst", "state": "stale", "files": 41230, "context": "jwst_1413.pmap", "catalog_age_seconds": 90_000,
             "offline_since": "2026-01-01T00:00:00Z", "server": "https://jwst-crds.stsci.edu",
             "error": {"kind": "unreachable", "message": "no address", "url": "https://jwst-crds.stsci.edu/json/",
                       "remedy": "nobody knows that host: check the network", "when": "2026-01-01T11:59:00Z"}},
            {"name": "roman", "state": "ready", "files": 18, "context": "roman_0004.pmap", "catalog_age_seconds": 61,
             "online_since": "2026-01-01T09:45:00Z", "server": "https://roman-crds.stsci.edu",
             "stored": [{"group": "mappings", "files": 3, "bytes": 1024}, {"group": "wfi", "files": 4, "bytes": 3072}],
             "sources": [
                {"source": "http://a/", "state": "failing", "files": 1, "bytes": 2048, "error": "refused",
                 "since": "2026-01-01T00:00:00Z", "retry_in_seconds": 7},
                {"source": "file:///b", "state": "ready", "files": 2, "bytes": 1024},
                {"source": "crds", "state": "unused"}]},
        ],
        "transfers": [
            {"file": "roman/q.asdf", "state": "queued", "done": 0, "total": 2048, "waiters": 1},
            {"file": "roman/roman_wfi_dark_0001.asdf", "state": "receiving", "done": 512, "total": 2048,
             "bytes_per_second": 256, "remaining_seconds": 6, "waiters": 5,
             "waiting": [{"pid": 7, "command": "strun", "waited_seconds": 61}, {"pid": 8, "command": "cat", "waited_seconds": 2}]},
        ],
        "counters": {"hits": 999, "misses": 1, "downloads": 3, "bytes": 4096, "retries": 1, "failures": 2},
        "failures": [
            {"file": "roman/a.asdf", "kind": "gone", "message": "the first", "when": "2026-01-01T00:00:00Z"},
            {"file": "roman/b.asdf", "kind": "gone", "message": "404", "url": "http://x/b.asdf",
             "remedy": "tell those who run the server", "when": "2026-01-01T11:00:00Z"},
        ],
        "local_overrides": ["roman/c.asdf"],
        "space": {"total": 1_073_741_824, "limit": 1_073_741_824, "used": 536_870_912, "available": 536_870_912, "files": 7,
                  "held_files": 1, "held_bytes": 2048, "evicted_files": 2, "evicted_bytes": 4096, "partial": 512,
                  "quarantined_files": 1, "quarantined_bytes": 10, "complete": true},
    }))
}

#[test]
fn a_file_gets_stable_text() {
    assert_eq!(
        describe(&busy(), &file()),
        "\
/crds: crds-fs 1.2.3, process 42, since 2026-01-01T09:45:00Z, read-only

  cache       /crds
  space       ##########----------  50%  512.0 MiB of 1.0 GiB in 7 files
  held        1 file with 2.0 KiB, never evicted
  evicted     2 files with 4.0 KiB, to make room
  partial     512 B of interrupted transfers, which go on from there
  quarantine  1 file with 10 B in .crds-fs/quarantine in the cache: look through them after 'crds-fs umount'
  opens       999 of 1000 from the cache (99.9%), 1 waited
  fetched     3 files with 4.0 KiB, 1 retry, 2 failures

  catalogs  context          names  here     size    age  server
  hst       -                    -     0      0 B      -  not asked yet
  jwst      jwst_1413.pmap   41230     0      0 B  1d 1h  offline since 2026-01-01T00:00:00Z  https://jwst-crds.stsci.edu
      no newer catalog, at 2026-01-01T11:59:00Z: no address (https://jwst-crds.stsci.edu/json/)
      nobody knows that host: check the network
  roman     roman_0004.pmap     18     7  4.0 KiB  1m 1s  online since 2026-01-01T09:45:00Z  https://roman-crds.stsci.edu
      from http://a/: failing since 2026-01-01T00:00:00Z: refused, 1 file with 2.0 KiB; others are asked before it for 7s
      from file:///b: answers, 2 files with 1.0 KiB
      from crds: not asked yet

  fetching    2 files, 256 B/s, 1 queued
  roman/roman_wfi_dark_0001.asdf  #####---------------  25%  512 B of 2.0 KiB  256 B/s  6s left
    waited for by strun (7) 1m 1s, cat (8) 2s and 3 more
  roman/q.asdf  --------------------   0%  0 B of 2.0 KiB  queued
    1 waiting

  local files in place of catalogued ones
  roman/c.asdf

  last failures, newest first
  roman/b.asdf  gone, at 2026-01-01T11:00:00Z
    404 (http://x/b.asdf)
    tell those who run the server
  roman/a.asdf  gone, at 2026-01-01T00:00:00Z
    the first
"
    );
}

#[test]
fn a_terminal_is_not_left_and_tells_spans() {
    for width in [80, 100, 160] {
        let text = describe(&busy(), &terminal(width));
        for line in text.lines() {
            assert!(measure(line) <= width, "{width}: {line}");
        }
        for told in [
            "up 2h 15m",
            "offline for 12h 0m",
            "gone, 1h 0m ago",
            "6s left",
            "█████",
        ] {
            assert!(text.contains(told), "{told}: {text}");
        }
    }
    let wide = describe(&busy(), &terminal(160));
    assert!(
        wide.contains("https://roman-crds.stsci.edu") && wide.contains("dark_0001.asdf  █"),
        "{wide}"
    );
    let coloured = Look {
        colour: true,
        ..terminal(80)
    };
    let text = describe(&busy(), &coloured);
    assert_eq!(
        console::strip_ansi_codes(&text),
        describe(&busy(), &terminal(80)),
        "colour changes nothing else"
    );
}

#[test]
fn what_is_too_much_for_a_terminal_is_counted() {
    let many: Vec<Value> = (0..30)
        .map(|number| json!({"file": format!("roman/{number}.asdf"), "state": "receiving", "message": "no"}))
        .collect();
    let status = read(json!({"transfers": many, "failures": many}));
    let text = describe(&status, &terminal(80));
    assert!(
        text.contains("and 18 more\n") && text.contains("and 25 more (--json has them)"),
        "{text}"
    );
    let plain = describe(&status, &file());
    assert!(
        !plain.contains(" more") && plain.contains("roman/29.asdf"),
        "{plain}"
    );
}

#[test]
fn another_version_is_told_as_far_as_it_goes() {
    let text = describe(&read(json!({})), &file());
    assert!(text.starts_with("-: crds-fs -, process 0, since -\n"), "{text}");
    assert!(
        describe(&read(json!({"transfers": [{}]})), &file()).contains("  -  ----"),
        "{text}"
    );
}
