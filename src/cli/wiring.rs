//! The cache and the tree as the settings say.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::Failure;
use super::settings::Settings;
use crate::cache::{Builder, Cache, Error, ErrorKind};
use crate::mount::{Owner, superblock};
use crate::resolve::BadFilePolicy;
use crate::store::DiskStore;
use crate::tree::{CrdsTree, TreeOptions};

/// The time for which a site server does not ask an upstream again that it has found dead; its clients are told the same.
const OUTAGE: Duration = Duration::from_secs(5);

/// The time for which the process of a mount that is gone is waited for, which saves what it has, and the pause between two looks.
const ENDING_TIMEOUT: Duration = Duration::from_secs(15);
const ENDING_PAUSE: Duration = Duration::from_millis(10);

/// Opens the store in `directory`, from now on used through its handle, and everything that stands on it. Tasks run on
/// `runtime`. Nothing is asked of the network.
pub(super) fn cache(settings: &Settings, directory: &Path, runtime: &Handle) -> Result<Cache, Failure> {
    open(&builder(settings, directory), directory, runtime)
}

/// As [`cache`], for a server whose clients wait for what it fetches.
pub(super) fn site_cache(settings: &Settings, directory: &Path, runtime: &Handle) -> Result<Cache, Failure> {
    let builder = builder(settings, directory).tells_soon(OUTAGE);
    open(&builder, directory, runtime)
}

fn builder(settings: &Settings, directory: &Path) -> Builder {
    Cache::builder(directory)
        .remote(settings.remote.clone())
        .observatories(settings.observatories.iter().copied())
        .offline(settings.offline)
        .default_context(settings.context.clone())
        .mode(settings.mode)
        .cache_size(settings.cache_size)
        .keep_free(settings.keep_free)
        .jobs(settings.jobs)
        .streams(settings.streams)
        .prefetch(settings.prefetch)
        .timeout(settings.timeout)
        .stall_timeout(settings.stall_timeout)
        .catalog_ttl(settings.catalog_ttl)
        .bestrefs_ttl(settings.bestrefs_ttl)
        .state(settings.state.clone())
        .sharing(settings.sharing)
        .checks(settings.lengths, settings.checksums)
        .bad_files(BadFilePolicy {
            allow_references: settings.allow_bad_references,
            allow_rules: settings.allow_bad_rules,
        })
        .ignore_mapping_checksum(settings.ignore_mapping_checksum)
}

fn open(builder: &Builder, directory: &Path, runtime: &Handle) -> Result<Cache, Failure> {
    open_when_free(builder, directory, runtime).map_err(|error| match error.kind() {
        ErrorKind::Settings => Failure::usage(error.to_string()),
        ErrorKind::InUse => in_use(directory, &error),
        ErrorKind::Store => Failure::because(
            format!("cannot use '{}' for the cache", directory.display()),
            error,
        ),
        _ => error.into(),
    })
}

/// Opens the cache. A process that has it and was unmounted, as by umount(8), which does not wait for that, is waited for.
fn open_when_free(builder: &Builder, directory: &Path, runtime: &Handle) -> Result<Cache, Error> {
    let limit = Instant::now() + ENDING_TIMEOUT;
    let is_in_use =
        |opened: &Result<_, Error>| matches!(opened, Err(error) if error.kind() == ErrorKind::InUse);
    let mut opened = builder.clone().open_on(runtime);
    if !is_in_use(&opened) {
        return opened;
    }
    let ending = DiskStore::last_owner(directory).filter(|owner| superblock::was_unmounted(*owner));
    if let Some(owner) = ending {
        log::info!("process {owner}, which was unmounted, still saves what was fetched: waiting for its end");
    }
    loop {
        opened = builder.clone().open_on(runtime);
        let waits = ending.is_some() && DiskStore::last_owner(directory) == ending && Instant::now() < limit;
        if !waits || !is_in_use(&opened) {
            return opened;
        }
        std::thread::sleep(ENDING_PAUSE);
    }
}

/// The failure that another process has the cache, with what keeps that process.
fn in_use(directory: &Path, error: &Error) -> Failure {
    let owner = DiskStore::last_owner(directory);
    let reason = owner.and_then(|owner| Some((owner, superblock::reason_of(owner)?)));
    Failure::new(match reason {
        Some((owner, reason)) => format!("{error} (process {owner} {reason})"),
        None => error.to_string(),
    })
}

/// The file system over the cache, as it is to be mounted on `mountpoint`.
pub(super) fn tree(
    settings: &Settings,
    cache: &Cache,
    mountpoint: &Path,
    store: &Path,
    descriptors: usize,
) -> Result<CrdsTree, Failure> {
    let owner = Owner::current();
    let options = TreeOptions {
        mountpoint: mountpoint.to_owned(),
        store: store.to_owned(),
        uid: settings.uid.unwrap_or(owner.uid),
        gid: settings.gid.unwrap_or(owner.gid),
        umask: settings.umask.unwrap_or(owner.umask),
        read_only: settings.read_only,
        offline: settings.offline,
        xattrs: settings.xattr,
        bestrefs_as: settings.bestrefs_as,
        descriptors,
        use_of_files: settings.use_of_files.clone(),
    };
    let tree = CrdsTree::new(cache.fetcher().clone(), cache.resolver().clone(), options)?;
    if settings.cache_size.is_some() {
        // The free part of the limit is known only when the store is counted.
        tree.count_store();
    }
    Ok(tree)
}
