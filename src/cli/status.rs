//! `crds-fs status`: how a mounted file system is.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

mod describe;
mod file;

use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::target::STATUS;
use super::target::find::{self, Chosen};
use super::{Failure, output, settings};
use crate::fetch::FetchErrorKind;
use crate::mount::health::Server;
use crate::mount::mountinfo::MountEntry;
use crate::mount::{Error, unmount};
use crate::tree::report::{CatalogState, StatusReport};
use describe::describe;

const UNREADABLE: &str = "the status is not as it should be";

/// The time between two reports of `--watch`.
const PERIOD: Duration = Duration::from_secs(1);

/// Show how a mounted file system is: its catalogs, transfers, space and last failures.
///
/// The exit status is 1 when it is not well: its process has died, or the catalog of an observatory cannot be had, or the
/// default context means nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The mount point, or a path below it; for a file its own status is shown [default: the mount that the working
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
    loop {
        let report = match find::choose(args.mountpoint.as_deref(), &environment)? {
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

/// The text to print, and a description of what is wrong, if anything is.
struct Report {
    text: String,
    trouble: Option<String>,
}

/// The report on one mount.
fn one(mountpoint: &Path, json: bool) -> Result<Report, Failure> {
    let text = text_of(unmount::find(mountpoint)?.read(STATUS)?)?;
    let status = parse(&text)?;
    Ok(Report {
        trouble: trouble(&status),
        text: if json { text } else { describe(&status) },
    })
}

/// The report on several mounts: a line for each.
fn several(mounts: &[MountEntry], json: bool) -> Report {
    let mounts: Vec<MountLine> = mounts.iter().map(line).collect();
    let count = mounts.len();
    let unwell = mounts
        .iter()
        .filter(|line| line.state != MountState::Well)
        .count();
    let text = if json {
        let all = MountList { mounts };
        format!("{}\n", serde_json::to_string_pretty(&all).unwrap_or_default())
    } else {
        mounts.iter().map(MountLine::text).collect()
    };
    Report {
        text,
        trouble: (unwell > 0).then(|| {
            format!("{unwell} of {count} mounts are not well; 'crds-fs status MOUNTPOINT' tells more of one")
        }),
    }
}

/// The JSON about several mounts.
#[derive(Debug, Serialize)]
struct MountList {
    mounts: Vec<MountLine>,
}

/// The entry of one mount among several.
#[derive(Debug, Serialize)]
struct MountLine {
    mountpoint: String,
    /// The process that serves it, where that can be seen.
    pid: Option<u32>,
    /// The directory of the store, if the mount answers.
    store: Option<String>,
    state: MountState,
    /// The reason why it is not well.
    error: Option<String>,
}

/// The state of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum MountState {
    /// It answers, and nothing is wrong with it.
    Well,
    /// It answers, but something does not work.
    Failing,
    /// Its process has ended.
    Dead,
    /// It does not answer.
    Silent,
    /// It cannot be asked.
    Unknown,
}

impl MountLine {
    fn text(&self) -> String {
        let pid = self.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let store = self.store.as_deref().unwrap_or("-");
        let state = match self.state {
            MountState::Well => "well",
            MountState::Failing => "failing",
            MountState::Dead => "dead",
            MountState::Silent => "silent",
            MountState::Unknown => "unknown",
        };
        let error = self.error.as_ref();
        let error = error.map_or_else(String::new, |text| format!(" ({text})"));
        format!(
            "{}: process {pid}, cache {store}, {state}{error}\n",
            self.mountpoint
        )
    }
}

fn line(mount: &MountEntry) -> MountLine {
    let mountpoint = mount.mountpoint.display().to_string();
    let text = match mount.read(STATUS) {
        Ok(text) => text,
        Err(error) => {
            let state = match &error {
                Error::Dead(_) => MountState::Dead,
                Error::Silent { .. } => MountState::Silent,
                _ => MountState::Unknown,
            };
            let pid = match mount.server() {
                Server::Running(pid) | Server::Exiting(pid) => Some(pid),
                Server::Gone | Server::Unknown => None,
            };
            return MountLine {
                mountpoint,
                pid,
                store: None,
                state,
                error: Some(Failure::from(error).to_string()),
            };
        }
    };
    match text_of(text).and_then(|text| parse::<StatusReport>(&text)) {
        Ok(status) => {
            let error = trouble(&status);
            let state = if error.is_some() {
                MountState::Failing
            } else {
                MountState::Well
            };
            MountLine {
                mountpoint,
                pid: Some(status.pid),
                store: Some(status.store),
                state,
                error,
            }
        }
        Err(failure) => MountLine {
            mountpoint,
            pid: None,
            store: None,
            state: MountState::Failing,
            error: Some(failure.to_string()),
        },
    }
}

/// The reasons why a mount that answers is not well; `None` when it is.
fn trouble(status: &StatusReport) -> Option<String> {
    let catalogs = status.observatories.iter().filter_map(|observatory| {
        let error = observatory.error.as_ref()?;
        // Without a network on purpose nothing has failed.
        let failed =
            observatory.state == CatalogState::Failed && error.kind != FetchErrorKind::Offline.as_str();
        failed.then(|| {
            let remedy = error.remedy.as_ref();
            format!(
                "the catalog of {} cannot be had: {}{}",
                observatory.name,
                error.message,
                remedy.map_or_else(String::new, |remedy| format!("; {remedy}"))
            )
        })
    });
    let contexts = status
        .observatories
        .iter()
        .filter_map(|observatory| observatory.context_error.clone());
    let removed = status.store_removed.then(|| {
        format!(
            "the cache directory '{}' has been removed, and with it all that was fetched: umount, make it again, and mount",
            status.store
        )
    });
    let failed: Vec<String> = removed.into_iter().chain(catalogs).chain(contexts).collect();
    (!failed.is_empty()).then(|| failed.join("; "))
}

fn text_of(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| Failure::because(UNREADABLE, error))
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::because(UNREADABLE, error))
}
