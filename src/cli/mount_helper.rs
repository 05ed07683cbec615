//! The program as the helper of mount(8), for lines in fstab: called as `mount.fuse.crds-fs SOURCE TARGET [-sfnv]
//! [-o OPTIONS] [-t TYPE]`.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use super::mount::Args;
use super::{Failure, failure, mount, output, target};
use crate::crds::Observatory;
use crate::mount::{remount, unmount};
use crate::tree::report::StatusReport;

/// The names under which mount(8) looks for a helper for our type begin so.
const PREFIX: &str = "mount.";

/// Exit statuses of mount(8): wrong usage, and a mount that failed.
const WRONG: u8 = 1;
const NOT_MOUNTED: u8 = 32;

/// The source that means all observatories.
const ALL: [&str; 5] = ["all", "none", "crds", "crds-fs", "any"];

/// Mount a CRDS cache as mount(8) asks for it.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[command(
    name = "mount.fuse.crds-fs",
    version,
    override_usage = "mount.fuse.crds-fs SOURCE TARGET [-sfnv] [-o OPTIONS] [-t TYPE]"
)]
struct Line {
    /// The observatories, as in `jwst` or `hst:jwst`, `all`, or `OBS=URL` of a server.
    source: String,
    /// The directory to mount on.
    target: String,
    /// Pass over options that are not known.
    #[arg(short)]
    sloppy: bool,
    /// Do all but mount.
    #[arg(short)]
    fake: bool,
    /// Write no mtab; there is none.
    #[arg(short)]
    no_mtab: bool,
    /// Say more.
    #[arg(short)]
    verbose: bool,
    /// Options.
    #[arg(short)]
    options: Vec<String>,
    /// The type.
    #[arg(short = 't')]
    fstype: Option<String>,
}

/// Whether mount(8) called the program, by the name that it was called by.
pub(super) fn is_called(program: Option<&OsStr>) -> bool {
    program
        .and_then(|program| Path::new(program).file_name())
        .and_then(OsStr::to_str)
        .is_some_and(|name| name.starts_with(PREFIX))
}

/// Mounts or remounts as mount(8) asks.
pub(super) fn main() -> ExitCode {
    let line = match Line::try_parse_from(std::env::args_os()) {
        Ok(line) => line,
        Err(error) => {
            let status = u8::from(error.use_stderr()) * WRONG;
            // mount(8) shows standard error, and has no other channel for errors.
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    match run(&line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::failure(&failure);
            ExitCode::from(if failure.status() == failure::USAGE {
                WRONG
            } else {
                NOT_MOUNTED
            })
        }
    }
}

fn run(line: &Line) -> Result<(), Failure> {
    let words = line
        .options
        .iter()
        .flat_map(|list| list.split(','))
        .map(str::trim);
    if words.clone().any(|word| word == "remount") {
        return remounted(&line.target, words);
    }
    let mut args = Args::on(&line.target);
    let flags = &mut args.flags;
    flags.options = source(&line.source)?.into_iter().collect();
    flags.options.extend(line.options.iter().cloned());
    flags.sloppy = line.sloppy;
    flags.common.verbose = u8::from(line.verbose);
    if !line.source.contains("://") {
        // The source as in fstab, so that 'mount -a' sees that it is mounted.
        flags.fsname = Some(line.source.clone());
    }
    if line.fake {
        return flags.options().map(drop);
    }
    mount::run(&args)
}

/// The option that a source stands for.
fn source(source: &str) -> Result<Option<String>, Failure> {
    if ALL.contains(&source) {
        return Ok(None);
    }
    if source.contains("://") {
        return Ok(Some(format!("server={source}")));
    }
    let mut names = source.split([',', ':']);
    if names.all(|name| name.parse::<Observatory>().is_ok()) {
        return Ok(Some(format!("observatory={}", source.replace(',', ":"))));
    }
    Err(Failure::usage(format!(
        "'{source}' is no source: name observatories as in 'jwst' or 'hst:jwst', 'all', or a server as in 'jwst=https://...'"
    )))
}

/// Changes what can be changed while it is mounted, which is whether it can be written to; everything else in the options
/// is as it was when it was mounted.
fn remounted<'a>(target: &str, words: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let mut appearance = remount::Flags::default();
    for word in words {
        match word {
            "ro" => appearance.read_only = true,
            "rw" => appearance.read_only = false,
            "noexec" => appearance.no_exec = true,
            "exec" => appearance.no_exec = false,
            _ => {}
        }
    }
    let entry = unmount::find(Path::new(target))?;
    if !appearance.read_only && is_read_only_itself(&entry.read(target::STATUS)?) {
        return Err(Failure::new(format!(
            "'{target}' was mounted read-only and stays so: unmount it, and mount it with rw"
        )));
    }
    Ok(remount::remount(&entry, appearance)?)
}

fn is_read_only_itself(status: &[u8]) -> bool {
    serde_json::from_slice::<StatusReport>(status).is_ok_and(|status| status.read_only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_observatories_or_servers() {
        let given = |text: &str| source(text).unwrap();
        assert_eq!(given("jwst").as_deref(), Some("observatory=jwst"));
        assert_eq!(given("hst,jwst").as_deref(), Some("observatory=hst:jwst"));
        assert_eq!(given("all"), None);
        assert_eq!(
            given("roman=http://127.0.0.1:1/roman").as_deref(),
            Some("server=roman=http://127.0.0.1:1/roman")
        );
        assert!(source("/dev/sda1").unwrap_err().to_string().contains("hst:jwst"));
    }

    #[test]
    fn called_by_the_name_that_mount_looks_for() {
        for name in [
            "mount.fuse.crds-fs",
            "/sbin/mount.fuse.crds-fs",
            "/usr/sbin/mount.crds-fs",
        ] {
            assert!(is_called(Some(OsStr::new(name))), "{name}");
        }
        for name in ["crds-fs", "/mount.d/crds-fs"] {
            assert!(!is_called(Some(OsStr::new(name))), "{name}");
        }
        assert!(!is_called(None));
    }
}
