//! Checks of the remaining CRDS variables.

use super::{Place, Variables};
use crate::cli::client::misleading;
use crate::cli::doctor::check::Check;
use crate::cli::settings;
use crate::crds::Url;

/// Truth values that only clients read.
const TRUTHS: [&str; 2] = ["CRDS_S3_ENABLED", "CRDS_S3_RETURN_URI"];

/// Numbers that only clients read.
const NUMBERS: [&str; 3] = [
    "CRDS_CLIENT_RETRY_COUNT",
    "CRDS_CLIENT_RETRY_DELAY_SECONDS",
    "CRDS_CLIENT_TIMEOUT_SECONDS",
];

/// The places of files that clients read past the cache.
const PLACES: [&str; 4] = [
    "CRDS_CONFIG_URI",
    "CRDS_MAPPING_URI",
    "CRDS_REFERENCE_URI",
    "CRDS_PICKLE_URI",
];

pub(super) fn checks(variables: &Variables<'_>) -> Vec<Check> {
    let mut checks = wrong(variables);
    checks.extend(numbers_and_truths(variables));
    checks.extend(mode(variables));
    checks.extend(read_only(variables));
    checks.extend(subdirectories(variables));
    checks.extend(places(variables));
    checks.extend(checksums(variables));
    checks
}

/// The variables that make no sense to crds-fs.
fn wrong(variables: &Variables<'_>) -> Vec<Check> {
    let wrong = variables.wrong.iter();
    wrong
        .map(|wrong| Check::wrong(&wrong.by, &wrong.why).mended_by(format!("unset {}", wrong.by)))
        .collect()
}

fn numbers_and_truths(variables: &Variables<'_>) -> Vec<Check> {
    let truths = TRUTHS.into_iter().filter_map(|name| {
        let error = settings::truth(variables.environment, name).err()?;
        let why = error.to_string();
        Some((
            name,
            why.trim_start_matches(name).trim_start_matches(": ").to_owned(),
        ))
    });
    let numbers = NUMBERS.into_iter().filter_map(|name| {
        let value = variables.get(name)?;
        let is_number = value.trim().parse::<u64>().is_ok();
        (!is_number).then(|| (name, format!("'{value}' is not a whole number")))
    });
    truths
        .chain(numbers)
        .map(|(name, why)| Check::wrong(name, why).mended_by(format!("unset {name}")))
        .collect()
}

fn mode(variables: &Variables<'_>) -> Option<Check> {
    let name = "CRDS_MODE";
    let value = variables.get(name)?;
    if variables.is_wrong(name) {
        return None;
    }
    if value == "remote" && variables.clients_ask_nobody() {
        return Some(
            Check::wrong(
                name,
                "it is remote, but clients have no server to ask (CRDS_SERVER_URL)",
            )
            .mended_by(format!("export {name}=auto")),
        );
    }
    Some(Check::ok(name, value))
}

fn read_only(variables: &Variables<'_>) -> Option<Check> {
    let name = "CRDS_READONLY_CACHE";
    if settings::truth(variables.environment, name).ok()? != Some(true) {
        return None;
    }
    Some(match variables.place("CRDS_PATH") {
        Some(Place::Mount(_)) => Check::ok(name, "clients write nothing, and the mount fetches for them"),
        Some(Place::Directory(_)) => Check::note(
            name,
            "clients fetch nothing into CRDS_PATH, which is not mounted; a mount would refuse all writes",
        )
        .mended_by(format!("unset {name}")),
        _ => Check::note(name, "a mount would refuse all writes (--read-only)")
            .mended_by(format!("unset {name}")),
    })
}

/// The subdirectories of references, which the cache itself decides (spec/crds-service 4.2).
fn subdirectories(variables: &Variables<'_>) -> Option<Check> {
    let name = "CRDS_REF_SUBDIR_MODE";
    let value = variables.get(name)?;
    let unset = format!("unset {name}");
    if !matches!(value, "flat" | "instrument" | "legacy") {
        return Some(
            Check::wrong(name, format!("'{value}' is none of flat, instrument and legacy")).mended_by(unset),
        );
    }
    let tags: Vec<(String, String)> = match variables.place("CRDS_PATH") {
        Some(Place::Directory(directory)) => {
            let tags = directory.tags.iter();
            tags.map(|(observatory, tag)| (observatory.to_string(), tag.clone()))
                .collect()
        }
        Some(Place::Mount(mountpoint)) => {
            let mount = variables
                .mounts
                .iter()
                .find(|mount| mount.mountpoint == *mountpoint)?;
            vec![("the mount".to_owned(), mount.report.as_ref()?.layout.clone())]
        }
        _ => Vec::new(),
    };
    let other = tags.into_iter().find(|(_, tag)| !tag.is_empty() && tag != value);
    Some(match other {
        Some((whose, tag)) => Check::wrong(
            name,
            format!(
                "it is {value}, but the references of {whose} at CRDS_PATH lie {tag} (ref_cache_subdir_mode)"
            ),
        )
        .mended_by(unset),
        None => Check::ok(name, value),
    })
}

/// Places of files that lead clients past a mount.
fn places(variables: &Variables<'_>) -> Vec<Check> {
    if variables.mount().is_none() {
        return Vec::new();
    }
    let set = PLACES.into_iter().chain(TRUTHS);
    set.filter(|name| misleading().any(|one| one == *name) && !variables.is_wrong(name))
        .filter_map(|name| {
            let value = variables.get(name)?;
            if TRUTHS.contains(&name) && settings::truth(variables.environment, name).ok()? != Some(true) {
                return None;
            }
            let url = Url::new(value);
            Some(
                Check::wrong(
                    name,
                    format!("{url} leads clients past the mount that CRDS_PATH names"),
                )
                .mended_by(format!("unset {name}")),
            )
        })
        .collect()
}

fn checksums(variables: &Variables<'_>) -> Vec<Check> {
    let names = ["CRDS_DOWNLOAD_CHECKSUMS", "CRDS_DOWNLOAD_LENGTHS"];
    let off = names
        .into_iter()
        .filter(|name| matches!(settings::truth(variables.environment, name), Ok(Some(false))));
    off.map(|name| {
        Check::note(name, "it is off: files that arrive broken are used as they are")
            .mended_by(format!("unset {name}"))
    })
    .collect()
}
