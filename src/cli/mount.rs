//! `crds-fs mount`: makes a directory a complete CRDS cache.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

use std::path::Path;

use log::LevelFilter;

use super::flags::MountFlags;
use super::logging::LogFile;
use super::settings::{self, Environment, Settings};
use super::{Failure, daemon_main, logging, output};
use crate::mount::Error;
use crate::mount::daemon::{self, DaemonMode, Ready};

/// The log file when none can be written.
const NO_LOG: &str = "/dev/null";

/// Mount the CRDS cache on a directory.
///
/// The directory shows every rule and reference of the observatories as plain files; they are fetched when they are
/// opened, and kept in the same directory, under the mount. Without -f it returns as soon as the file system answers.
/// 'crds-fs umount' takes it away. Each option can be a variable as well: CRDS_FS_CACHE_SIZE=200G is --cache-size 200G.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory to mount on [default: $CRDS_PATH].
    mountpoint: Option<String>,
    /// Stay in the foreground, and log to standard error.
    #[arg(short, long)]
    foreground: bool,
    #[command(flatten)]
    pub(super) flags: MountFlags,
}

impl Args {
    /// In the background, on this directory.
    pub(super) fn on(mountpoint: &str) -> Self {
        Self {
            mountpoint: Some(mountpoint.to_owned()),
            foreground: false,
            flags: MountFlags::default(),
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let environment = settings::environment();
    let mut settings = Settings::new(args.mountpoint.as_deref(), &args.flags, &environment)?;
    make_absolute(&mut settings)?;
    settings.check_places()?;
    if args.foreground || settings::foreground(&environment)? {
        let file = settings.log_file.as_deref().map(logging::open).transpose()?;
        logging::start(settings.log_level, settings.log_format, file);
        return daemon_main::serve(&settings, Ready::foreground(), None);
    }
    let log = open_log(&settings, &environment)?;
    let path = log.path().to_owned();
    let quiet = settings.log_level < LevelFilter::Info;
    let message_log = (!quiet).then_some(path.as_path());
    let daemon = daemon::launch(DaemonMode::Detached(log.try_clone()?), |ready| {
        logging::start(
            settings.log_level,
            settings.log_format,
            Some(log.for_all_output()),
        );
        u8::from(daemon_main::serve(&settings, ready, message_log).is_err())
    });
    let daemon = daemon.map_err(|error| with_log(error, &path))?;
    daemon::answers(&settings.mountpoint)?;
    output::remark(daemon.message());
    Ok(())
}

/// The failure to start a process, with its log where that may tell more.
fn with_log(error: Error, log: &Path) -> Failure {
    if matches!(error, Error::Died(_)) && log != Path::new(NO_LOG) {
        return Failure::new(format!("{error}; its log may tell more: '{}'", log.display()));
    }
    error.into()
}

/// Makes the paths of the settings absolute, because the process in the background runs in `/`.
pub(super) fn make_absolute(settings: &mut Settings) -> Result<(), Failure> {
    let paths = [
        Some(&mut settings.mountpoint),
        settings.cache.as_mut(),
        settings.state.as_mut(),
        settings.log_file.as_mut(),
    ];
    for path in paths.into_iter().flatten() {
        *path = std::path::absolute(&path)
            .map_err(|error| Failure::because(format!("cannot make sense of '{}'", path.display()), error))?;
    }
    Ok(())
}

/// Opens the log that was named, else the default one; where that cannot be written, as in a home that is read-only, it
/// says so and goes on without one.
pub(super) fn open_log(settings: &Settings, environment: &Environment) -> Result<LogFile, Failure> {
    if let Some(path) = &settings.log_file {
        return logging::open(path);
    }
    let opened = logging::default_path(&settings.mountpoint, environment).map(|path| logging::open(&path));
    match opened {
        Some(Ok(log)) => Ok(log),
        Some(Err(failure)) => {
            output::remark(&format!(
                "crds-fs: there is no log, unless --log-file names one: {failure}\n"
            ));
            logging::open(Path::new(NO_LOG))
        }
        None => logging::open(Path::new(NO_LOG)),
    }
}
