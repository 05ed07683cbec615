//! `crds-fs status`: how a mounted file system is.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

mod describe;
mod file;
mod find;

use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Failure, output, settings};
use crate::mount::health::Server;
use crate::mount::mountinfo::MountEntry;
use crate::mount::{Error, unmount};
use describe::{describe, list, shown};
use find::Chosen;

/// The file of a mount that tells how it is.
const STATUS: &str = ".crds-fs/status.json";

/// How often `--watch` looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Show how a mounted file system is: its catalogs, transfers, space and last failures.
///
/// The exit status is 1 when it is not well: its process has died, or the catalog of an observatory cannot be had, or the
/// default context means nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where it is mounted, or a path below; a file tells what is known of it [default: the mount that the working
    /// directory is in, else $CRDS_PATH, else all there are].
    #[arg(value_name = "MOUNTPOINT | FILE")]
    mountpoint: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print it again every second until interrupted.
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let environment = settings::environment();
    let variable = settings::variable(&environment, "CRDS_PATH").map(Path::new);
    loop {
        let report = match find::choose(args.mountpoint.as_deref(), variable)? {
            Chosen::One(mountpoint) => {
                let file = args.mountpoint.as_deref();
                let report = file.map_or(Ok(None), |file| file::report(&mountpoint, file, args.json))?;
                report.map_or_else(|| one(&mountpoint, args.json), Ok)?
            }
            Chosen::Several(mounts) => several(&mounts, args.json),
        };
        let mut out = io::stdout().lock();
        if args.watch && !args.json && out.is_terminal() {
            // Back to the top of an empty screen.
            write!(out, "\x1b[2J\x1b[H").map_err(output::OutputError::from)?;
        }
        let written = write!(out, "{}", report.text).and_then(|()| out.flush());
        written.map_err(output::OutputError::from)?;
        drop(out);
        if !args.watch {
            return report.trouble.map_or(Ok(()), |text| Err(Failure::new(text)));
        }
        std::thread::sleep(PERIOD);
    }
}

/// What is printed, and what is wrong.
struct Report {
    text: String,
    trouble: Option<String>,
}

/// The report on one mount.
fn one(mountpoint: &Path, json: bool) -> Result<Report, Failure> {
    let text = read(mountpoint)?;
    let status = parse(&text)?;
    Ok(Report {
        trouble: trouble(&status),
        text: if json { text } else { describe(&status) },
    })
}

/// The report on several mounts: a line for each.
fn several(mounts: &[MountEntry], json: bool) -> Report {
    let lines: Vec<Value> = mounts.iter().map(line).collect();
    let unwell = lines.iter().filter(|line| line["state"] != "well").count();
    let text = if json {
        let all = json!({"mounts": lines});
        format!("{}\n", serde_json::to_string_pretty(&all).unwrap_or_default())
    } else {
        lines.iter().map(told).collect()
    };
    let count = mounts.len();
    Report {
        text,
        trouble: (unwell > 0).then(|| {
            format!("{unwell} of {count} mounts are not well; 'crds-fs status MOUNTPOINT' tells more of one")
        }),
    }
}

fn line(mount: &MountEntry) -> Value {
    let place = mount.mountpoint.display().to_string();
    let text = match mount.read(STATUS) {
        Ok(text) => text,
        Err(error) => {
            let state = match &error {
                Error::Dead(_) => "dead",
                Error::Silent { .. } => "silent",
                _ => "unknown",
            };
            let pid = match mount.server() {
                Server::Lives(pid) | Server::Ending(pid) => Some(pid),
                Server::Gone | Server::Hidden => None,
            };
            let why = Failure::from(error).to_string();
            return json!({"mountpoint": place, "pid": pid, "store": null, "state": state, "error": why});
        }
    };
    let status = text_of(text).and_then(|text| parse(&text));
    let status = status.unwrap_or_else(|failure| json!({"unreadable": failure.to_string()}));
    let trouble = trouble(&status);
    json!({
        "mountpoint": place,
        "pid": status["pid"],
        "store": status["store"],
        "state": if trouble.is_some() { "failing" } else { "well" },
        "error": trouble,
    })
}

fn told(line: &Value) -> String {
    let word = |name: &str| shown(&line[name]);
    let error = line["error"]
        .as_str()
        .map_or_else(String::new, |text| format!(" ({text})"));
    format!(
        "{}: process {}, cache {}, {}{error}\n",
        word("mountpoint"),
        word("pid"),
        word("store"),
        word("state"),
    )
}

/// What keeps a living mount from being well.
fn trouble(status: &Value) -> Option<String> {
    let failed = list(&status["observatories"]).iter().filter_map(|observatory| {
        // Without a network on purpose nothing has failed.
        let error = &observatory["error"];
        (observatory["state"] == "failed" && error["kind"] != "offline").then(|| {
            let remedy = error["remedy"].as_str();
            format!(
                "the catalog of {} cannot be had: {}{}",
                shown(&observatory["name"]),
                shown(&error["message"]),
                remedy.map_or_else(String::new, |remedy| format!("; {remedy}"))
            )
        })
    });
    let contexts = list(&status["observatories"]).iter();
    let contexts =
        contexts.filter_map(|observatory| observatory["context_error"].as_str().map(str::to_owned));
    let unreadable = status["unreadable"].as_str().map(str::to_owned);
    let failed: Vec<String> = failed.chain(contexts).chain(unreadable).collect();
    (!failed.is_empty()).then(|| failed.join("; "))
}

fn read(mountpoint: &Path) -> Result<String, Failure> {
    text_of(unmount::find(mountpoint)?.read(STATUS)?)
}

fn text_of(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| Failure::because("the status is not as it should be", error))
}

fn parse(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::because("the status is not as it should be", error))
}
