//! `crds-fs status`: how a mounted file system is.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::settings;
use super::{Failure, output};
use crate::mount::mountinfo;

/// How often `--watch` looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Show how a mounted file system is: its catalogs, transfers, space and last failures.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where it is mounted [default: $CRDS_PATH, or the only one there is].
    mountpoint: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print it again every second until interrupted.
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mountpoint = find(args.mountpoint.as_deref())?;
    loop {
        let text = read(&mountpoint)?;
        let shown = if args.json { text } else { describe(&parse(&text)?) };
        let mut out = io::stdout().lock();
        if args.watch && !args.json && out.is_terminal() {
            // Back to the top of an empty screen.
            write!(out, "\x1b[2J\x1b[H")?;
        }
        write!(out, "{shown}")?;
        out.flush()?;
        if !args.watch {
            return Ok(());
        }
        std::thread::sleep(PERIOD);
    }
}

/// The mount point that is meant, with a living file system of ours on it.
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let environment = settings::environment();
    let variable = || settings::variable(&environment, "CRDS_PATH").map(PathBuf::from);
    if let Some(path) = named.map(Path::to_owned).or_else(variable) {
        let place = mountinfo::locate(&path)?;
        return match mountinfo::at(&place)? {
            Some(entry) if entry.is_ours() => Ok(place),
            _ => Err(crate::mount::Error::NotMounted(place).into()),
        };
    }
    let mut ours: Vec<PathBuf> = mountinfo::read()?
        .into_iter()
        .filter(mountinfo::MountEntry::is_ours)
        .map(|entry| entry.mountpoint)
        .collect();
    match (ours.pop(), ours.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(Failure::new("no crds-fs file system is mounted")),
        (Some(last), _) => {
            ours.push(last);
            let places: Vec<String> = ours.iter().map(|path| path.display().to_string()).collect();
            Err(Failure::usage(format!(
                "which one? There are {}",
                places.join(", ")
            )))
        }
    }
}

fn read(mountpoint: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(mountpoint.join(".crds-fs/status.json")).map_err(|error| {
        let place = mountpoint.display();
        let doing = match error.kind() {
            io::ErrorKind::NotConnected => {
                format!("the process of the file system at '{place}' has died; 'crds-fs mount' mends it")
            }
            _ => format!("the file system at '{place}' does not tell how it is"),
        };
        Failure::because(doing, error)
    })
}

fn parse(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::because("the status is not as it should be", error))
}

/// The pid of the process that serves `mountpoint`, if it answers.
pub(super) fn pid(mountpoint: &Path) -> Option<u32> {
    let status = parse(&read(mountpoint).ok()?).ok()?;
    u32::try_from(status.get("pid")?.as_u64()?).ok()
}

/// The status as people read it. What is missing, as from another version, is shown as `-`.
fn describe(status: &Value) -> String {
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
    writeln!(out, "cache: {}", word("store"))?;
    let space = &status["space"];
    writeln!(
        out,
        "space: {} in {} files, {} of {} available",
        bytes(&space["used"]),
        shown(&space["files"]),
        bytes(&space["available"]),
        bytes(&space["total"])
    )?;
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

fn write_observatory(out: &mut String, observatory: &Value) -> std::fmt::Result {
    let name = shown(&observatory["name"]);
    if observatory["files"].is_null() {
        return writeln!(out, "{name}: not looked at yet");
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
    writeln!(out)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn bytes(value: &Value) -> String {
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
