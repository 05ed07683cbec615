//! `crds-fs doctor`: what is wrong with this machine, and the commands that mend it.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

mod cache;
mod check;
mod facts;
mod gather;
mod machine;
mod mounts;
mod network;
mod print;
mod servers;
mod variables;

use super::flags::MountFlags;
use super::settings::{self, Settings};
use super::{Failure, output};
use crate::mount::trial;
use check::{Check, Group, State};
use facts::Facts;
use gather::Named;

/// Tell what is wrong with this machine, and the commands that mend it.
///
/// Looked at are FUSE and the rights to mount, the mounts there are, the cache's directory, network, servers and sources, and
/// the CRDS variables as clients will read them. Options are those of mount: what is checked is that mount. Nothing is
/// changed, no file is fetched, and no check takes more than a few seconds. Exit status 1 if something must be mended.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The mount point, or a directory to mount on [default: $CRDS_PATH, and all your mounts].
    mountpoint: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: MountFlags,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    // The child of the trial is made before any thread is.
    let trial = trial::begin();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("off")).init();
    let environment = settings::environment();
    let variable = || settings::variable(&environment, "CRDS_PATH").map(str::to_owned);
    let place = args.mountpoint.clone().or_else(variable);
    let named = place.as_deref().unwrap_or_default();
    let (settings, wrong) = Settings::tolerant(named, &args.flags, &environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let facts = runtime.block_on(gather::facts(
        Named {
            place: place.as_deref(),
            is_argument: args.mountpoint.is_some(),
        },
        settings,
        wrong,
        environment,
        trial.ok(),
    ));
    // A question to a dead disk or server may never be answered.
    runtime.shutdown_background();
    let checks = checks(&facts);
    let text = if args.json {
        print::json(&checks)
    } else {
        print::text(&checks, print::Style::of_output())
    };
    output::write(text.as_bytes())?;
    let must_be_mended = checks.iter().any(|check| check.state == State::Wrong);
    Ok(u8::from(must_be_mended) * super::failure::FAILED)
}

/// All checks, group by group.
fn checks(facts: &Facts) -> Vec<Check> {
    [
        (Group::Machine, machine::checks(&facts.machine)),
        (Group::Mounts, mounts::checks(&facts.mounts)),
        (Group::Cache, cache::checks(facts.cache.as_ref())),
        (Group::Network, network::checks(&facts.network, &facts.servers)),
        (Group::Servers, servers::checks(&facts.servers, &facts.sources)),
        (Group::Environment, variables::checks(&facts.variables())),
    ]
    .into_iter()
    .flat_map(|(group, checks)| checks.into_iter().map(move |check| check.within(group)))
    .collect()
}
