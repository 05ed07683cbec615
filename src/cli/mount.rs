//! `crds-fs mount`: makes a directory a complete CRDS cache.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

use std::path::{Path, PathBuf};

use log::LevelFilter;

use super::flags::MountFlags;
use super::settings::{self, Environment, Settings};
use super::{Failure, logging, mounting, output};
use crate::mount::daemon::{self, Ready, Tie};

/// Mount the CRDS cache on a directory.
///
/// The directory shows every rule and reference of the observatories as plain files; they are fetched when they are
/// opened, and kept in the same directory, under the mount. Without -f it returns as soon as the file system answers.
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
    if args.foreground {
        let file = settings.log_file.as_deref().map(logging::open).transpose()?;
        logging::start(settings.log_level, file);
        return mounting::serve(&settings, Ready::nobody(), None);
    }
    let path = log_path(&settings, &environment);
    let log = logging::open(&path)?;
    let quiet = settings.log_level < LevelFilter::Info;
    let greet = (!quiet).then_some(path.as_path());
    let daemon = daemon::launch(Tie::Detached(log.try_clone()?), |ready| {
        logging::start(settings.log_level, Some(log.for_all_output()));
        u8::from(mounting::serve(&settings, ready, greet).is_err())
    })?;
    daemon::answers(&settings.mountpoint)?;
    output::remark(daemon.greeting());
    Ok(())
}

/// The process in the background lives in `/`.
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

pub(super) fn log_path(settings: &Settings, environment: &Environment) -> PathBuf {
    settings
        .log_file
        .clone()
        .or_else(|| logging::default_path(&settings.mountpoint, environment))
        .unwrap_or_else(|| Path::new("/dev/null").to_owned())
}
