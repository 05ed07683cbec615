//! `crds-fs env`: the variables by which a shell's commands use a mount.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

use std::path::{Path, PathBuf};

use super::client::{ClientVariables, InForce, Job};
use super::flags::MountFlags;
use super::target::find::{self, Chosen};
use super::target::{Opened, Target};
use super::{Failure, output, settings};

/// Print what a shell needs to use a mount: eval "$(crds-fs env)".
///
/// CRDS_PATH leads to the mount, CRDS_SERVER_URL keeps clients from asking servers past it, and CRDS_OBSERVATORY and
/// CRDS_CONTEXT are set where they can be told: by the mount, by CRDS_OBSERVATORY and CRDS_CONTEXT, or by the calibration
/// package of the Python that is active.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The mount point, or a path below [default: the mount that the working directory is in, else $CRDS_PATH, else the
    /// only one there is].
    mountpoint: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    let environment = settings::environment();
    let variable = settings::variable(&environment, "CRDS_PATH").map(Path::new);
    let mountpoint = match find::choose(args.mountpoint.as_deref(), variable)? {
        Chosen::One(mountpoint) => mountpoint,
        Chosen::Several(_) => {
            return Err(Failure::usage(
                "several file systems are mounted; name one, as in 'crds-fs env MOUNTPOINT' ('crds-fs status' lists them)",
            ));
        }
    };
    let target = Target::Mount(mountpoint.clone());
    let settings = target.settings(&MountFlags::default(), &environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let opened = Opened::open(&target, &settings, runtime.handle())?;
    let job = Job {
        command: &[],
        files: &[],
        lock: None,
    };
    let found = runtime.block_on(InForce::find(&job, &opened, &settings, &environment));
    runtime.shutdown_background();
    if let Some(remark) = &found.remark {
        output::remark(&format!("crds-fs: {remark}\n"));
    }
    let variables = ClientVariables::of(&mountpoint, &found);
    let exports = variables.exports(|name| environment.contains_key(name));
    Ok(output::write(exports.as_bytes())?)
}
