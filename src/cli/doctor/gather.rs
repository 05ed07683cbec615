//! Gathers the facts, all at once and each within its time; nothing is changed by it.

mod disk;
mod outside;

use std::time::Duration;

use tokio::task::spawn_blocking;

use super::facts::Facts;
use super::machine::MachineFacts;
use super::mounts::MountFacts;
use crate::cli::client::Packages;
use crate::cli::settings::{Environment, Settings, WrongSetting};
use crate::cli::target::find;
use crate::machine::Advice;
use crate::mount::health::Health;
use crate::mount::helper::{self, Helper};
use crate::mount::namespace::Restrictions;
use crate::mount::server::Server;
use crate::mount::trial::{Running, Trial};
use crate::mount::{Error, device, session, user_name};
use crate::tree::report::StatusReport;

/// The time for what is on this machine.
const LOCAL: Duration = Duration::from_secs(2);

/// The mount, or the directory to mount on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) place: Option<&'a str>,
    /// Whether the command line names it: then it is about no other mount.
    pub(super) is_argument: bool,
}

/// Gathers them. `trial` was begun before.
pub(super) async fn facts(
    named: Named<'_>,
    settings: Settings,
    mut wrong: Vec<WrongSetting>,
    environment: Environment,
    trial: Option<Running>,
) -> Facts {
    let endpoints = outside::endpoints(&settings, &mut wrong);
    let packages = within(LOCAL, {
        let environment = environment.clone();
        move || Packages::of(None, &environment)
    });
    let behind_network = async {
        let packages = packages.await.unwrap_or_default();
        let found = outside::gather(&settings, &endpoints, &environment, &packages).await;
        (packages, found)
    };
    let on_disk = async {
        let mounts = mounts(named).await;
        let (cache, places) = tokio::join!(
            disk::cache(named.place, &settings, &environment, &mounts),
            disk::places(&environment, &settings, &mounts),
        );
        (mounts, cache, places)
    };
    let (machine, behind_network, on_disk) =
        tokio::join!(machine(trial, settings.allow_other), behind_network, on_disk);
    let (packages, (network, servers, sources)) = behind_network;
    let (mounts, cache, (places, has_central_store, has_own_context)) = on_disk;
    Facts {
        machine,
        mounts,
        cache,
        network,
        servers,
        sources,
        environment,
        wrong,
        places,
        packages,
        has_central_store,
        has_own_context,
    }
}

/// Does `work` on a thread for blocking work; `None` when it takes too long, and then it is left alone.
async fn within<T: Send + 'static>(time: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::time::timeout(time, spawn_blocking(work)).await.ok()?.ok()
}

async fn machine(trial: Option<Running>, allow_other: bool) -> MachineFacts {
    let tried = spawn_blocking(move || trial.map(|trial| trial.finish(LOCAL)));
    let trial = tried.await.ok().flatten().unwrap_or_else(Trial::default);
    let device = within(LOCAL, || device::open().map(drop)).await;
    MachineFacts {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        device: match device {
            Some(Ok(())) => Ok(()),
            Some(Err(Error::Device { advice, .. })) => Err(advice),
            Some(Err(other)) => Err(Advice::cause(other.to_string())),
            None => Err(Advice::cause("opening it takes too long")),
        },
        helper: within(LOCAL, Helper::find).await.flatten(),
        no_new_rights: helper::has_no_new_rights(),
        is_root: rustix::process::geteuid().is_root(),
        allow_other,
        trial,
        namespace_advice: Restrictions::read().advice(),
        request_timeouts: session::request_timeouts(),
        program: std::env::current_exe()
            .map_or_else(|_| "crds-fs".to_owned(), |path| path.display().to_string()),
    }
}

/// The mounts of this user, for root those of others as well, each asked by a process of its own.
async fn mounts(named: Named<'_>) -> Vec<MountFacts> {
    let Ok(mut entries) = find::seen() else {
        return Vec::new();
    };
    if let Some(Ok(only)) = named.place.filter(|_| named.is_argument).map(std::path::absolute) {
        entries.retain(|entry| only.starts_with(&entry.mountpoint));
    }
    let asked = entries.into_iter().map(|entry| {
        spawn_blocking(move || {
            let other_owner =
                (!find::is_own(&entry)).then(|| entry.owner.map_or_else(String::new, user_name));
            let mut health = entry.health_within(LOCAL);
            let read = || entry.read_within(LOCAL, find::STATUS).ok();
            let report = (health == Health::Answers).then(read).flatten();
            // A mount that lets nobody in but its owner says no more than that, also when it is dead.
            if health == Health::Answers && report.is_none() && entry.server() == Server::Gone {
                health = Health::Dead;
            }
            MountFacts {
                report: report.and_then(|text| serde_json::from_slice::<StatusReport>(&text).ok()),
                mountpoint: entry.mountpoint,
                health,
                other_owner,
            }
        })
    });
    let asked = futures_util::future::join_all(asked).await;
    asked.into_iter().flatten().collect()
}
