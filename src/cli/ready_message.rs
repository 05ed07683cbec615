//! The message of `crds-fs mount` when the file system is there: the directory, and on a first mount the state of each server.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::failure::DOCTOR;
use super::settings::Settings;
use crate::crds::{FileName, Observatory, ServerInfo};
use crate::fetch::{Catalogs, FetchError};
use crate::machine::shell_word;
use crate::mount::device::is_handed_over;
use crate::store::Store;

/// The time that a first mount waits for catalogs before it prints the message.
const CATALOG_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes the message for a mount that answers. Waits for catalogs only where the store has none, and not for long.
pub(super) async fn ready_message(settings: &Settings, log: &Path, catalogs: &Catalogs) -> String {
    let mountpoint = settings.mountpoint.display().to_string();
    let mut text = format!("mounted at '{mountpoint}'; the log is '{}'\n", log.display());
    let store = Arc::clone(catalogs.store());
    let wants_to_write = !settings.read_only && !settings.offline;
    let look = move || problems(&*store, wants_to_write);
    for problem in tokio::task::spawn_blocking(look).await.unwrap_or_default() {
        _ = writeln!(text, "{problem}");
    }
    let (kept, new): (Vec<Observatory>, Vec<Observatory>) = {
        let catalogs = catalogs.clone();
        let look = move || {
            let all = catalogs.observatories().iter().copied();
            all.partition(|observatory| has_catalog(&catalogs, *observatory))
        };
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    };
    if new.is_empty() {
        return text;
    }
    let lines = join_all(new.iter().map(|observatory| line(*observatory, catalogs))).await;
    let failed = lines.iter().any(|(_, is_of_network)| *is_of_network);
    if !kept.is_empty() {
        let kept: Vec<&str> = kept.iter().map(|observatory| observatory.as_str()).collect();
        _ = writeln!(
            text,
            "{}: the catalog that is in the cache, which is renewed when it is used",
            kept.join(", ")
        );
    }
    text.extend(lines.into_iter().map(|(line, _)| line));
    if failed {
        _ = writeln!(text, "    {DOCTOR}");
    }
    // Only whoever handed it over knows the directory.
    if is_handed_over(&settings.mountpoint) {
        return text;
    }
    let mountpoint = shell_word(&mountpoint);
    _ = writeln!(
        text,
        "next: eval \"$(crds-fs env {mountpoint})\"      (how it is: crds-fs status {mountpoint})"
    );
    text
}

/// The reasons why nothing can be fetched into a store, or not by others of the group that it is for.
fn problems(store: &dyn Store, wants_to_write: bool) -> Vec<&'static str> {
    let mut problems = Vec::new();
    if store.is_writable() {
        problems.extend(no_room(store).inspect(|problem| log::warn!("{problem}")));
    } else if wants_to_write {
        problems.push(
            "the cache cannot be written: what is in it can be read, and nothing is fetched; choose one of your own with \
             --cache, or say --read-only if that is meant",
        );
    }
    if store.keeps_group_out() {
        problems.push(
            "the cache is for a group, but what this mount makes in it cannot be written by the group: unmount, say \
             'umask 002', and mount again",
        );
    }
    problems
}

/// The problem that nothing more can be fetched into a store for want of room, if that is so.
fn no_room(store: &dyn Store) -> Option<&'static str> {
    let usage = store.usage().ok()?;
    (usage.available == 0 && usage.limit.is_none()).then_some(
        "nothing can be fetched: less of the cache's disk is free than --keep-free leaves (1 GiB unless it is given); make room, \
         or mount with a smaller --keep-free or with --cache on another disk",
    )
}

fn has_catalog(catalogs: &Catalogs, observatory: Observatory) -> bool {
    matches!(catalogs.store().snapshot(observatory), Ok(Some(_)))
}

/// The result of asking one server, and whether it failed by the network.
async fn line(observatory: Observatory, catalogs: &Catalogs) -> (String, bool) {
    if let Ok(loaded) = tokio::time::timeout(CATALOG_TIMEOUT, catalogs.load(observatory).wait()).await {
        let mut text = told(observatory, loaded.as_deref());
        if let Some(problem) = catalogs.context_problem(observatory) {
            _ = writeln!(text, "    {problem}");
        }
        return (text, loaded.is_err_and(|error| error.is_of_network()));
    }
    let server = catalogs
        .server(observatory)
        .map_or("the server", |server| server.url());
    let text = format!(
        "{observatory}: {server} has not told its catalog yet; it is waited for, and 'crds-fs status' tells what came of \
         it\n"
    );
    (text, false)
}

fn told(observatory: Observatory, loaded: Result<&ServerInfo, &FetchError>) -> String {
    match loaded {
        Ok(info) => {
            let context = info.default_context().map_or("none", FileName::as_str);
            format!(
                "{observatory}: context {context}, {} files\n",
                info.catalog().len()
            )
        }
        Err(error) => {
            let url = error
                .url
                .as_ref()
                .map_or_else(String::new, |url| format!(" ({url})"));
            let mut text = format!("{observatory}: no catalog: {}{url}\n", error.message);
            if let Some(remedy) = &error.remedy {
                _ = writeln!(text, "    {remedy}");
            }
            text
        }
    }
}
