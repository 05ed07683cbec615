//! `crds-fs status`: how a mounted file system is.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

mod describe;
mod file;
mod look;
mod mounts;
mod page;
mod screen;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::target::STATUS;
use super::target::find::{self, Chosen};
use super::{Failure, output, settings};
use crate::fetch::FetchErrorKind;
use crate::mount::unmount;
use crate::tree::report::{CatalogState, StatusReport};
use describe::describe;
use look::Look;

const UNREADABLE: &str = "the status is not as it should be";

/// Show how a mounted file system is: its catalogs, transfers, space and last failures; or what is known of one file.
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
    /// Show it anew every second until interrupted (on a terminal also by 'q'); with --json one report after the other.
    #[arg(long)]
    watch: bool,
    /// Serve a page about one mount for a browser, on a loopback address (HOST:PORT; port 0 takes any free one), until
    /// interrupted. From another machine: ssh -L 7480:127.0.0.1:7480 HOST.
    #[arg(
        long,
        value_name = "ADDR",
        num_args = 0..=1,
        default_missing_value = page::DEFAULT,
        value_parser = page::address,
        conflicts_with_all = ["json", "watch"]
    )]
    serve: Option<SocketAddr>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let subject = Subject::choose(args)?;
    if let Some(address) = args.serve {
        return match subject {
            Subject::One { mountpoint, .. } => page::serve(&mountpoint, address),
            Subject::Several => Err(Failure::usage(
                "several file systems are mounted; name one, as in 'crds-fs status MOUNTPOINT --serve' ('crds-fs status' lists them)",
            )),
        };
    }
    if !args.watch {
        let report = subject.report(args.json, &Look::of_output())?;
        output::write(report.text.as_bytes())?;
        return report.trouble.map_or(Ok(()), |text| Err(Failure::new(text)));
    }
    let json = args.json;
    watch::watch(json, move |look| subject.report(json, look))
}

/// The thing that is reported on. It is chosen once: whoever watches a mount goes on when it is mounted again.
enum Subject {
    /// A mount, or a file in it.
    One {
        mountpoint: PathBuf,
        path: Option<PathBuf>,
    },
    /// All mounts there are.
    Several,
}

impl Subject {
    fn choose(args: &Args) -> Result<Self, Failure> {
        let chosen = find::choose(args.mountpoint.as_deref(), &settings::environment())?;
        Ok(match chosen {
            Chosen::One(mountpoint) => Self::One {
                mountpoint,
                path: args.mountpoint.clone(),
            },
            Chosen::Several(_) => Self::Several,
        })
    }

    fn report(&self, json: bool, look: &Look) -> Result<Report, Failure> {
        match self {
            Self::One { mountpoint, path } => {
                let file = path.as_deref();
                let file = file.map_or(Ok(None), |path| file::report(mountpoint, path, json, look))?;
                file.map_or_else(|| one(mountpoint, json, look), Ok)
            }
            Self::Several => match find::choose(None, &settings::environment())? {
                Chosen::One(mountpoint) => one(&mountpoint, json, look),
                Chosen::Several(mounts) => Ok(mounts::report(&mounts, json, look)),
            },
        }
    }
}

/// The text to print, and a description of what is wrong, if anything is.
struct Report {
    text: String,
    trouble: Option<String>,
}

/// The report on one mount.
fn one(mountpoint: &Path, json: bool, look: &Look) -> Result<Report, Failure> {
    let text = text_of(unmount::find(mountpoint)?.read(STATUS)?)?;
    let status = parse(&text)?;
    Ok(Report {
        trouble: trouble(&status),
        text: if json { text } else { describe(&status, look) },
    })
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
