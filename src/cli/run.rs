//! `crds-fs run`: a private mount for one command.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use super::flags::MountFlags;
use super::settings::{self, Environment, Settings};
use super::{Failure, logging, mount, mounting};
use crate::mount::daemon::{self, Tie};
use crate::mount::namespace;

/// Run one command with a CRDS cache of its own, as CRDS_PATH.
///
/// The mount is seen by the command and its children only, and ends with the command, whose exit status is passed on. It
/// needs no root and no fusermount. The cache is that of --cache, else $CRDS_PATH, else ~/.cache/crds-fs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: MountFlags,
    /// The command and its arguments.
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let environment = settings::environment();
    let place = place(&args.flags, &environment)?;
    std::fs::create_dir_all(&place).map_err(|error| {
        Failure::because(format!("cannot make the directory '{}'", place.display()), error)
    })?;
    let mut settings = Settings::new(place.to_str(), &args.flags, &environment)?;
    mount::make_absolute(&mut settings)?;
    let (program, arguments) = args
        .command
        .split_first()
        .ok_or_else(|| Failure::usage("which command is to be run?"))?;

    namespace::enter()?;
    let log = logging::open(&mount::log_path(&settings, &environment))?;
    let daemon = daemon::launch(Tie::Attached, |ready| {
        logging::start(settings.log_level, Some(log));
        u8::from(mounting::serve(&settings, ready).is_err())
    })?;
    daemon::answers(&settings.mountpoint)?;
    let ended = Command::new(program)
        .args(arguments)
        .env("CRDS_PATH", &settings.mountpoint)
        .spawn()
        .and_then(|mut child| {
            // What is typed at the terminal is for the command; we go when it has gone.
            daemon::leave_terminal_signals_to_others();
            child.wait()
        });
    let stopped = daemon.stop();
    let ended = ended.map_err(|error| Failure::because(format!("cannot run '{program}'"), error))?;
    stopped?;
    Ok(status(ended))
}

/// Where to mount: over the cache that is named, or over one in the usual place.
fn place(flags: &MountFlags, environment: &Environment) -> Result<PathBuf, Failure> {
    let absolute = |name: &str| {
        environment
            .get(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    flags
        .cache
        .as_deref()
        .map(Path::new)
        .map(Path::to_owned)
        .or_else(|| absolute("CRDS_PATH"))
        .or_else(|| absolute("XDG_CACHE_HOME").map(|path| path.join("crds-fs")))
        .or_else(|| absolute("HOME").map(|path| path.join(".cache/crds-fs")))
        .ok_or_else(|| Failure::usage("where is the cache? Say --cache DIR, or set CRDS_PATH"))
}

/// The exit status as a shell passes it on: 128 and the signal's number for a command that was killed.
fn status(ended: ExitStatus) -> u8 {
    let status = ended.code().or_else(|| Some(128 + ended.signal()?)).unwrap_or(1);
    u8::try_from(status).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_is_passed_on() {
        assert_eq!(status(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(status(ExitStatus::from_raw(15)), 143);
    }

    #[test]
    fn the_cache_is_where_it_was_said() {
        let environment = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<Environment>()
        };
        let flags = MountFlags {
            cache: Some("here".into()),
            ..MountFlags::default()
        };
        let all = environment(&[("CRDS_PATH", "/crds"), ("HOME", "/home/a")]);
        assert_eq!(place(&flags, &all).unwrap(), Path::new("here"));
        assert_eq!(place(&MountFlags::default(), &all).unwrap(), Path::new("/crds"));
        let home = environment(&[("HOME", "/home/a"), ("CRDS_PATH", "None")]);
        assert_eq!(
            place(&MountFlags::default(), &home).unwrap(),
            Path::new("/home/a/.cache/crds-fs")
        );
        assert!(place(&MountFlags::default(), &environment(&[])).is_err());
    }
}
