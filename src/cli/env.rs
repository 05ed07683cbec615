//! `crds-fs env`: the variables by which a shell's commands use a mount.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

use std::path::PathBuf;

use super::client::{ClientVariables, InForce, Job};
use super::flags::MountFlags;
use super::target::find::{self, Chosen};
use super::target::{Session, Target, TargetFlags};
use super::{Failure, logging, output, settings};

/// Print what a shell needs to use a mount: eval "$(crds-fs env)".
///
/// CRDS_PATH leads to the mount, CRDS_SERVER_URL keeps clients from asking servers past it, and CRDS_OBSERVATORY and
/// CRDS_CONTEXT are set where they can be told: by the mount, by CRDS_OBSERVATORY and CRDS_CONTEXT, or by the calibration
/// package of the Python that is active.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The mount point, or a path below [default: the mount with $CRDS_FS_CACHE for its cache, else that which the working
    /// directory is in, else $CRDS_PATH, else the only one there is].
    mountpoint: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    logging::to_standard_error("error");
    let environment = settings::environment();
    let mountpoint = match find::choose(args.mountpoint.as_deref(), &environment)? {
        Chosen::One(mountpoint) => mountpoint,
        Chosen::Several(_) => {
            return Err(Failure::usage(
                "which mount is meant? Name one, as in 'crds-fs env MOUNTPOINT' ('crds-fs status' lists them)",
            ));
        }
    };
    let target = Target::Mount(mountpoint.clone());
    let settings = target.settings(&TargetFlags::default(), MountFlags::default(), &environment)?;
    let session = Session::open(&target, settings)?;
    let job = Job {
        command: &[],
        files: &[],
        lock: None,
    };
    let found = session.wait(InForce::find(
        &job,
        session.target(),
        session.settings(),
        &environment,
    ));
    session.end();
    if let Some(remark) = &found.remark {
        output::remark(&format!("crds-fs: {remark}\n"));
    }
    let variables = ClientVariables::of(&mountpoint, &found);
    let exports = variables.exports(|name| environment.contains_key(name));
    Ok(output::write(exports.as_bytes())?)
}
