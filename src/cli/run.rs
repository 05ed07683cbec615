//! `crds-fs run`: a private mount for one command.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::flags::MountFlags;
use super::settings::{self, Environment, Settings};
use super::{Failure, daemon_main, directories, logging, mount};
use crate::mount::daemon::{self, DaemonMode};
use crate::mount::health::Health;
use crate::mount::{Error, mountinfo, namespace};

/// Exit status when there is no such command, and when it cannot be run, as a shell gives them.
const NO_COMMAND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Run one command with a CRDS cache of its own, as CRDS_PATH.
///
/// The mount is seen by the command and its children only, and ends with the command, whose exit status is passed on. It
/// needs no root and no fusermount. The cache is that of --cache, else $CRDS_PATH, else ~/.cache/crds-fs; where it is
/// mounted already, the command uses that mount. Exit status 127 is "no such command", 126 "it cannot be run".
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
    let (directory, is_named) = place(&args.flags, &environment)?;
    let (program, arguments) = args
        .command
        .split_first()
        .ok_or_else(|| Failure::usage("which command is to be run?"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(mounted) = mounted_at(&directory)? {
        only_the_cache(&args.flags, &mounted)?;
        let ended = wait_for(command.env("CRDS_PATH", &mounted));
        return ended.map(status).map_err(|error| not_run(program, error));
    }
    if is_named {
        directories::make(&directory)?;
    } else {
        std::fs::create_dir_all(&directory).map_err(|error| {
            Failure::because(
                format!("cannot make the directory '{}'", directory.display()),
                error,
            )
        })?;
    }
    let mut settings = Settings::new(directory.to_str(), &args.flags, &environment)?;
    mount::make_absolute(&mut settings)?;

    namespace::enter()?;
    let log = mount::open_log(&settings, &environment)?;
    let daemon = daemon::launch(DaemonMode::Attached, |ready| {
        logging::start(settings.log_level, Some(log));
        u8::from(daemon_main::serve(&settings, ready, None).is_err())
    })?;
    daemon::answers(&settings.mountpoint)?;
    let ended = wait_for(command.env("CRDS_PATH", &settings.mountpoint));
    let stopped = daemon.stop();
    let ended = ended.map_err(|error| not_run(program, error))?;
    stopped?;
    Ok(status(ended))
}

fn wait_for(command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    // Signals from the terminal are for the command; this process ends after it.
    daemon::leave_terminal_signals_to_others();
    child.wait()
}

/// The mount point of a mount of ours that is on `directory` already, unless it is dead.
fn mounted_at(directory: &Path) -> Result<Option<PathBuf>, Failure> {
    let directory = match mountinfo::locate(directory) {
        // A directory that is not there is made later.
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let entry = mountinfo::at(&directory)?.filter(mountinfo::MountEntry::is_ours);
    // A dead mount is repaired by the mount that follows.
    Ok(entry
        .filter(|entry| !matches!(entry.health(), Health::Dead | Health::Hanging))
        .map(|entry| entry.mountpoint))
}

/// Refuses all flags but `--cache` and those for the log: the existing mount keeps its own settings.
fn only_the_cache(flags: &MountFlags, mounted: &Path) -> Result<(), Failure> {
    let telling = MountFlags {
        cache: flags.cache.clone(),
        verbose: flags.verbose,
        quiet: flags.quiet,
        ..MountFlags::default()
    };
    if *flags == telling {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "'{}' is mounted already, and the command uses that mount as it is: leave the mount's options out, unmount it, or \
         name another cache with --cache",
        mounted.display()
    )))
}

/// The failure to start a command, with the exit status that shells give it.
fn not_run(program: &str, error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::because(format!("there is no command '{program}'"), error).with_status(NO_COMMAND);
    }
    Failure::because(format!("cannot run '{program}'"), error).with_status(NOT_EXECUTABLE)
}

/// Adds to an error of usage that `--` is missing before the command.
pub(super) fn hint(error: &clap::Error) {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some("run") || arguments.any(|argument| argument == "--") {
        return;
    }
    if let (ErrorKind::UnknownArgument, Some(ContextValue::String(first))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    {
        let mut out = io::stderr().lock();
        // A closed standard error is no failure.
        let _ = writeln!(
            out,
            "\nhint: '--' goes before the command: crds-fs run [OPTIONS] -- {first} ..."
        );
    }
}

/// The directory to mount on: that of the cache that is named, else the default one; and whether it is named.
fn place(flags: &MountFlags, environment: &Environment) -> Result<(PathBuf, bool), Failure> {
    let absolute = |name: &str| {
        environment
            .get(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let named = flags
        .cache
        .as_deref()
        .map(PathBuf::from)
        .or_else(|| absolute("CRDS_PATH"));
    if let Some(directory) = named {
        return Ok((directory, true));
    }
    absolute("XDG_CACHE_HOME")
        .map(|path| path.join("crds-fs"))
        .or_else(|| absolute("HOME").map(|path| path.join(".cache/crds-fs")))
        .map(|directory| (directory, false))
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
        let named = |path: &str| (PathBuf::from(path), true);
        assert_eq!(place(&flags, &all).unwrap(), named("here"));
        assert_eq!(place(&MountFlags::default(), &all).unwrap(), named("/crds"));
        let home = environment(&[("HOME", "/home/a"), ("CRDS_PATH", "None")]);
        assert_eq!(
            place(&MountFlags::default(), &home).unwrap(),
            (PathBuf::from("/home/a/.cache/crds-fs"), false)
        );
        assert!(place(&MountFlags::default(), &environment(&[])).is_err());
    }
}
