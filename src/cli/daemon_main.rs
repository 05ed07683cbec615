//! Mounting and serving a file system in this process, from the store to the last request.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use super::settings::Settings;
use super::{Failure, allocator, directories, logging, ready_message, wiring};
use crate::cache::Cache;
use crate::crds::context::latest_advice;
use crate::crds::{ContextError, FileKey, Url};
use crate::fetch::Catalogs;
use crate::mount::daemon::{self, Ready, StopSignals};
use crate::mount::limits;
use crate::mount::remount::Flags;
use crate::mount::{Appearance, Mounted};
use crate::store::{ReferenceLayout, file_path};
use crate::tree::panics;

/// The time that threads for blocking work get to end.
const BLOCKING_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two saves of the cache's state for the next mount.
const NOTE_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Mounts, reports that to the waiting process, with a message for the user if there is a log, and serves until the file
/// system is unmounted or the process is told to stop.
pub(super) fn serve(settings: &Settings, ready: Ready, log: Option<&Path>) -> Result<(), Failure> {
    panics::watch();
    allocator::give_back_early();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(failure) => return Err(report_failure(ready, failure)),
    };
    let result = runtime.block_on(async {
        let (mounted, cache, mut signals) = match start(settings) {
            Ok(started) => started,
            Err(failure) => return Err(report_failure(ready, failure)),
        };
        let notes = tokio::spawn(note_periodically(cache.clone()));
        let message = match log {
            Some(log) => ready_message::ready_message(settings, log, cache.fetcher().catalogs()).await,
            None => String::new(),
        };
        let served = if let Ok(manager) = ready.ready(&message, &service_status(settings)) {
            daemon::serve(&mounted, &mut signals, &manager).await
        } else {
            log::warn!("who asked for this mount has gone; unmounting");
            Ok(())
        };
        drop(mounted);
        notes.abort();
        cache.close().await;
        served.map_err(Failure::from)
    });
    runtime.shutdown_timeout(BLOCKING_TIMEOUT);
    match &result {
        Ok(()) => log::info!("the end"),
        Err(failure) => log::error!("{failure}"),
    }
    result
}

/// The status of a mounted file system, for the service manager.
fn service_status(settings: &Settings) -> String {
    let observatories: Vec<_> = settings.observatories.iter().map(ToString::to_string).collect();
    format!(
        "{} at '{}'{}; more: crds-fs status",
        observatories.join(", "),
        settings.mountpoint.display(),
        if settings.offline { ", offline" } else { "" },
    )
}

/// Saves the cache's state for the next mount now and then, since this one may be killed.
async fn note_periodically(cache: Cache) {
    loop {
        tokio::time::sleep(NOTE_INTERVAL).await;
        cache.note_order_of_use().await;
    }
}

/// Reports a failure to the process that waits for the mount.
fn report_failure(ready: Ready, failure: Failure) -> Failure {
    ready.failed(&failure.told());
    failure
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .thread_name("crds-fs")
        .enable_all()
        .build()
        .map_err(|error| Failure::because("cannot start the threads of the file system", error))
}

/// Refuses a source below the mount point, where the mount would ask itself.
fn check_sources(settings: &Settings, mounted_on: &Path) -> Result<(), Failure> {
    let is_below = |directory: PathBuf| directory.starts_with(mounted_on);
    let sources = settings.remote.sources.iter();
    let tier = settings.remote.tier.iter();
    let mut places = sources
        .map(|source| ("--source", &source.place))
        .chain(tier.map(|tier| ("--tier", &tier.place)));
    match places.find(|(_, place)| place.directory().is_some_and(is_below)) {
        Some((flag, own)) => Err(Failure::new(format!(
            "{flag}: {own} is in {}, which is mounted over: name another directory, or none, since what is in the cache is \
             not fetched",
            mounted_on.display()
        ))),
        None => Ok(()),
    }
}

fn start(settings: &Settings) -> Result<(Arc<Mounted>, Cache, StopSignals), Failure> {
    let signals = StopSignals::listen(logging::reopener())
        .map_err(|error| Failure::because("cannot listen for signals", error))?;
    // The mount point comes first, since a dead mount may lie on it; the store may be the same directory, and is used
    // through its handle once it is mounted over.
    limits::raise_addresses()?;
    let mountpoint = directories::mountpoint(&settings.mountpoint)?;
    let directory = store_directory(settings, mountpoint.path())?;
    if mountpoint.path() == Some(&directory) && !settings.over {
        directories::must_be_cache(&directory, settings.log_file.as_deref())?;
    }
    let mounted_on = mountpoint.path().unwrap_or(&settings.mountpoint).to_owned();
    check_sources(settings, &mounted_on)?;
    let runtime = Handle::current();
    let cache = wiring::cache(settings, &directory, &runtime)?;
    check_context(settings, cache.fetcher().catalogs())?;
    let appearance = Appearance {
        source: source(settings),
        flags: Flags {
            read_only: settings.read_only,
            no_exec: settings.no_exec,
        },
        allow_other: settings.allow_other,
    };
    let tree = wiring::tree(
        settings,
        &cache,
        &mounted_on,
        &directory,
        limits::raise_descriptors(),
    )?;
    let mounted = Mounted::start(Arc::new(tree), mountpoint, &appearance, &runtime)?;
    log::info!(
        "crds-fs {} is mounted at '{}', with the cache in '{}'{}{}",
        env!("CARGO_PKG_VERSION"),
        mounted_on.display(),
        directory.display(),
        if settings.offline { ", offline" } else { "" },
        if mounted.passes_through() {
            "; the kernel reads cached files itself"
        } else {
            ""
        },
    );
    Ok((Arc::new(mounted), cache, signals))
}

/// Refuses a default context that is known to be wrong before anything is asked: the catalog in the store is of the server
/// in force and young, and does not list it, nor has the user a file of that name.
fn check_context(settings: &Settings, catalogs: &Catalogs) -> Result<(), Failure> {
    let Some(spec) = &settings.context else {
        return Ok(());
    };
    // A spec that names no observatory means something for each: it may be right for one and not for another.
    let only = settings.observatories.len() == 1;
    let whose = settings.observatories.iter();
    for observatory in whose.filter(|whose| spec.observatory().map_or(only, |named| named == **whose)) {
        let Some((info, age)) = catalogs.kept(*observatory) else {
            continue;
        };
        if age > settings.catalog_ttl && !catalogs.is_offline(*observatory) {
            continue;
        }
        let wrong = |why: &ContextError| {
            let text = format!("--context: {why}; {}", latest_advice(&info));
            Err(Failure::usage(text))
        };
        let name = match spec.resolve(&info) {
            Ok(found) => found.mapping,
            Err(error) => return wrong(&error),
        };
        let (observatory, directory) = (*observatory, catalogs.store().directory());
        let key = FileKey { observatory, name };
        let own = file_path(ReferenceLayout::Flat, &key);
        let name = key.name;
        if !info.catalog().contains(name.as_str()) && !directory.is_some_and(|store| store.exists(&own)) {
            return wrong(&ContextError::NotListed { name, observatory });
        }
    }
    Ok(())
}

fn store_directory(settings: &Settings, mountpoint: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(cache) = &settings.cache {
        directories::must_be_outside_mounts(cache)?;
        if !settings.read_only {
            directories::make(cache)?;
        }
        // A directory may be spelt in several ways.
        return Ok(cache.canonicalize().unwrap_or_else(|_| cache.clone()));
    }
    mountpoint.map(Path::to_owned).ok_or_else(|| {
        Failure::usage("a device that is handed over has no directory of its own: say --cache DIR")
    })
}

/// The source that `findmnt` shows: that of fstab, else the server, if there is one that was named.
fn source(settings: &Settings) -> String {
    if let Some(name) = &settings.fsname {
        return name.clone();
    }
    let named = settings.remote.servers.first().map(|server| &server.url);
    named
        .or(settings.remote.server_url.as_ref())
        .map_or_else(|| "crds".to_owned(), Url::to_string)
}
