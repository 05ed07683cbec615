//! `crds-fs run`: a private mount for one command.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

mod prefetch;
mod record;

use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use tokio::runtime::Runtime;

use super::client::{ClientVariables, InForce, Job, dataset_files};
use super::flags::{CacheFlags, MountFlags};
use super::lock_files::{self, NewLockFile};
use super::settings::{self, Environment, Settings};
use super::target::{Opened, Target, TargetFlags};
use super::{Failure, daemon_main, directories, logging, mount, output};
use crate::crds::LockFile;
use crate::mount::daemon::{self, DaemonMode};
use crate::mount::health::Health;
use crate::mount::{Error, mountinfo, namespace};
use crate::tree::UseOfFiles;

/// Exit status when there is no such command, and when it cannot be run, as a shell gives them.
const NO_COMMAND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Run one command with a CRDS cache of its own, as CRDS_PATH.
///
/// The mount is seen by the command and its children only, and ends with the command, whose exit status is passed on. It
/// needs no root and no fusermount. The cache is that of --cache, else $CRDS_PATH, else ~/.cache/crds-fs; where it is
/// mounted already, the command uses that mount. CRDS_PATH, CRDS_OBSERVATORY and CRDS_CONTEXT are set as far as they can be
/// told, and CRDS_SERVER_URL so that the command asks no server. Exit status 127 is "no such command", 126 "it cannot be
/// run".
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: MountFlags,
    /// Write down which rules and references the command opens, as a lock file. Nothing is fetched beforehand then.
    #[arg(long, value_name = "FILE", conflicts_with = "lock")]
    record: Option<PathBuf>,
    /// Let no other rules and references be opened than those of a lock file: EACCES.
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Do not fetch the best references of dataset files among the arguments, or the files of the lock, beforehand.
    #[arg(long)]
    no_prefetch: bool,
    /// The command and its arguments.
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let environment = settings::environment();
    let (directory, is_named) = place(&args.flags, &environment)?;
    let lock = args
        .lock
        .as_deref()
        .map(lock_files::read)
        .transpose()?
        .map(Arc::new);
    let record = args.record.as_deref().map(NewLockFile::at).transpose()?;
    if let Some(mounted) = mounted_at(&directory)? {
        return run_on(&mounted, args, &environment, lock.as_deref());
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
    settings.check_places()?;
    settings.use_of_files = match (&lock, &record) {
        (Some(lock), _) => UseOfFiles::Locked(Arc::clone(lock)),
        (None, Some(_)) => UseOfFiles::Recorded,
        (None, None) => UseOfFiles::Free,
    };

    namespace::enter()?;
    let log = mount::open_log(&settings, &environment)?;
    let daemon = daemon::launch(DaemonMode::Attached, |ready| {
        logging::start(settings.log_level, settings.log_format, Some(log));
        u8::from(daemon_main::serve(&settings, ready, None).is_err())
    })?;
    daemon::answers(&settings.mountpoint)?;
    let ended = CommandMount::own(&settings).and_then(|mount| mount.run(args, &environment, lock.as_deref()));
    let recorded = match (&ended, record) {
        (Ok((_, found)), Some(file)) => record::write(&settings.mountpoint, found, file),
        _ => Ok(()),
    };
    if lock.is_some() {
        record::tell_refused(&settings.mountpoint);
    }
    let stopped = daemon.stop();
    let (status, _) = ended?;
    recorded?;
    stopped?;
    Ok(status)
}

/// Runs the command on a mount that is there already, and gives its exit status.
fn run_on(
    mounted: &Path,
    args: &Args,
    environment: &Environment,
    lock: Option<&LockFile>,
) -> Result<u8, Failure> {
    only_the_cache(args, mounted)?;
    let target = Target::Mount(mounted.to_owned());
    let settings = target.settings(&TargetFlags::default(), MountFlags::default(), environment)?;
    let mount = CommandMount {
        mountpoint: mounted,
        settings: &settings,
        opened: Opened::mount(mounted)?,
        runtime: runtime()?,
    };
    let (status, _) = mount.run(args, environment, lock)?;
    Ok(status)
}

/// The mount that a command runs on.
struct CommandMount<'a> {
    mountpoint: &'a Path,
    settings: &'a Settings,
    opened: Opened,
    runtime: Runtime,
}

impl<'a> CommandMount<'a> {
    /// A mount of this process's own.
    fn own(settings: &'a Settings) -> Result<Self, Failure> {
        Ok(Self {
            mountpoint: &settings.mountpoint,
            settings,
            opened: Opened::mounted(&settings.mountpoint, settings.observatories.clone())?,
            runtime: runtime()?,
        })
    }

    /// Runs the command: its exit status as a shell passes it on, and the context that it worked with.
    fn run(
        self,
        args: &Args,
        environment: &Environment,
        lock: Option<&LockFile>,
    ) -> Result<(u8, InForce), Failure> {
        let (program, arguments) = args
            .command
            .split_first()
            .ok_or_else(|| Failure::usage("which command is to be run?"))?;
        let files = dataset_files(arguments);
        let job = Job {
            command: &args.command,
            files: &files,
            lock,
        };
        let found = InForce::find(&job, &self.opened, self.settings, environment);
        let found = self.runtime.block_on(found);
        self.runtime.shutdown_background();
        if let Some(remark) = &found.remark {
            output::remark(&format!("crds-fs: {remark}\n"));
        }
        let variables = ClientVariables::of(self.mountpoint, &found);
        let prefetch = match &args.lock {
            // Files that were opened beforehand would be recorded too.
            _ if args.no_prefetch || args.record.is_some() => None,
            Some(lock) => prefetch::lock(&variables, lock),
            None => prefetch::files(&variables, &files),
        };
        let mut command = Command::new(program);
        command.args(arguments);
        variables.apply(&mut command);
        let ended = wait_for(&mut command);
        drop(prefetch);
        let ended = ended.map_err(|error| not_run(program, error))?;
        Ok((status(ended), found))
    }
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
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

/// Refuses all flags but `--cache` and those for the log: the existing mount keeps its own settings. What others open there
/// cannot be told from what the command opens.
fn only_the_cache(args: &Args, mounted: &Path) -> Result<(), Failure> {
    let flags = &args.flags;
    let telling = MountFlags {
        cache: flags.cache.clone(),
        common: CacheFlags {
            verbose: flags.common.verbose,
            quiet: flags.common.quiet,
            ..CacheFlags::default()
        },
        ..MountFlags::default()
    };
    if args.record.is_some() || args.lock.is_some() {
        return Err(Failure::usage(format!(
            "'{mounted}' is mounted already, and --record and --lock need a mount that nobody else uses: unmount it with \
             'crds-fs umount {mounted}', or name another cache with --cache",
            mounted = mounted.display()
        )));
    }
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
