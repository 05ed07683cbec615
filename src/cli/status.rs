//! `crds-fs status`: how a mounted file system is.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

mod describe;
mod file;
mod look;
mod mounts;
mod page;
mod screen;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::target::STATUS;
use super::target::find::{self, Chosen};
use super::{Failure, output, settings};
use crate::crds::FileName;
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
    /// The mount point, or a path below it; for a file, or the name of one, its own status is shown [default: the mount that the working
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
        let named = args.mountpoint.as_deref();
        if let Some(name) = named.and_then(bare_name) {
            return Self::of_name(&name);
        }
        let chosen = find::choose(named, &settings::environment())?;
        Ok(match chosen {
            Chosen::One(mountpoint) => Self::One {
                mountpoint,
                path: args.mountpoint.clone(),
            },
            Chosen::Several(_) => Self::Several,
        })
    }

    /// The file of this name in the mount that is found without one.
    fn of_name(name: &FileName) -> Result<Self, Failure> {
        let Chosen::One(mountpoint) = find::choose(None, &settings::environment())? else {
            return Err(Failure::new(format!(
                "'{name}' may be in any of several mounts: name it by its path ('crds-fs status' lists the mounts)"
            )));
        };
        unmount::find(&mountpoint)?.must_answer()?;
        match file::path_of(&mountpoint, name) {
            Some(path) => Ok(Self::One {
                path: Some(path),
                mountpoint,
            }),
            None => Err(Failure::new(format!(
                "there is no '{name}' here, and none in the catalogs of the mount at '{}'",
                mountpoint.display()
            ))),
        }
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

/// A path that is a mere name of a rule or reference, and leads nowhere.
fn bare_name(path: &Path) -> Option<FileName> {
    let name: FileName = path.to_str()?.parse().ok()?;
    let is_absent = path
        .symlink_metadata()
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    (is_absent && name.extension().is_some()).then_some(name)
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

/// The reasons why a mount that answers is not well, one a line; `None` when it is. Remedies stand in the report itself.
fn trouble(status: &StatusReport) -> Option<String> {
    // Where a network is down all servers fail alike.
    let mut catalogs: Vec<(&str, Vec<&str>)> = Vec::new();
    for observatory in &status.observatories {
        let failed = observatory.error.as_ref().filter(|error| {
            // Without a network on purpose nothing has failed.
            observatory.state == CatalogState::Failed && error.kind != FetchErrorKind::Offline.as_str()
        });
        let Some(error) = failed else { continue };
        match catalogs.iter_mut().find(|(message, _)| *message == error.message) {
            Some((_, names)) => names.push(&observatory.name),
            None => catalogs.push((&error.message, vec![&observatory.name])),
        }
    }
    let catalogs = catalogs
        .into_iter()
        .map(|(message, names)| format!("no catalog of {}: {message}", names.join(", ")));
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
    (!failed.is_empty()).then(|| failed.join("\n         "))
}

fn text_of(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| Failure::because(UNREADABLE, error))
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::because(UNREADABLE, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_catalogs_have_failed_of_is_told_once() {
        let failed = |name: &str, message: &str| {
            serde_json::json!({
                "name": name, "state": "failed",
                "error": {"kind": "unreachable", "message": message, "remedy": "look", "when": ""},
            })
        };
        let status = serde_json::json!({"observatories": [
            failed("hst", "nobody"), failed("jwst", "404"), failed("roman", "nobody"),
            {"name": "tobs", "state": "failed", "error": {"kind": "offline", "message": "offline", "when": ""}},
        ]});
        let told = trouble(&serde_json::from_value(status).unwrap()).unwrap();
        assert_eq!(
            told,
            "no catalog of hst, roman: nobody\n         no catalog of jwst: 404"
        );
    }
}
