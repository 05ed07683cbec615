//! Checks of the variables that choose the server and the observatory.

use super::{Place, Variables, is_serverless};
use crate::cli::doctor::check::Check;
use crate::cli::settings::NO_SERVER;
use crate::crds::{ContextSpec, Observatory, Url};
use crate::machine::shell_word;

/// The server that clients ask.
pub(super) fn server_url(variables: &Variables<'_>) -> Option<Check> {
    let name = "CRDS_SERVER_URL";
    let value = variables.get(name)?;
    // It may have a password in it.
    let url = Url::new(value);
    if value == NO_SERVER {
        return Some(Check::ok(
            name,
            "clients ask no server, as 'crds-fs env' has set it",
        ));
    }
    if variables.is_wrong(name) && !is_serverless(value) {
        return None;
    }
    if is_serverless(value) {
        return Some(serverless(variables, &url));
    }
    let named = Observatory::ALL
        .into_iter()
        .find(|known| value.contains(known.as_str()));
    let wanted = variables.observatory();
    if let (Some(named), Some(wanted)) = (named, wanted)
        && named != wanted
    {
        return Some(
            Check::wrong(
                name,
                format!("{url} is the server of {named}, but CRDS_OBSERVATORY is {wanted}"),
            )
            .mended_by(format!("export {name}=https://{wanted}-crds.stsci.edu")),
        );
    }
    if variables.mount().is_some() {
        let check = Check::note(
            name,
            format!("{url}: clients ask it themselves, past the mount, and wait or fail when it does"),
        );
        return Some(match variables.use_of_mount() {
            Some(command) => check.mended_by(command),
            None => check.mended_by(format!("unset {name}")),
        });
    }
    Some(Check::ok(name, url.to_string()))
}

/// A server URL that says that there is none.
fn serverless(variables: &Variables<'_>, url: &Url) -> Check {
    let name = "CRDS_SERVER_URL";
    let unset = format!("unset {name}");
    if variables.mount().is_some() || variables.get("CRDS_FS_SERVER").is_some() {
        return Check::ok(name, format!("{url}: clients ask no server"));
    }
    let has_catalog = match variables.place("CRDS_PATH") {
        Some(Place::Directory(directory)) => !directory.described.is_empty(),
        _ => false,
    };
    if has_catalog {
        Check::note(
            name,
            format!("{url}: clients ask no server, nor would a new mount (offline)"),
        )
        .mended_by(unset)
    } else {
        Check::wrong(
            name,
            format!("{url}: clients ask no server, nor would a new mount, and there is no catalog yet"),
        )
        .mended_by(unset)
    }
}

/// The observatory that clients take.
pub(super) fn observatory(variables: &Variables<'_>) -> Option<Check> {
    let name = "CRDS_OBSERVATORY";
    if variables.is_wrong(name) {
        return None;
    }
    let imported = variables
        .environment
        .get(name)
        .is_some_and(|value| value == "None");
    if imported {
        let check = Check::note(
            name,
            "it is 'None': this comes from a Python that had imported crds before the variables were set, which is too late",
        );
        let command = variables.use_of_mount();
        return Some(check.mended_by(command.unwrap_or_else(|| format!("unset {name}"))));
    }
    if let Some(value) = variables.get(name) {
        if value.contains([',', ':']) {
            return Some(
                Check::wrong(name, format!("'{value}' names several: clients take one")).mended_by(format!(
                    "export CRDS_FS_OBSERVATORY={}; unset {name}",
                    shell_word(value)
                )),
            );
        }
        return Some(Check::ok(name, value));
    }
    let evidence = evidence(variables);
    match evidence {
        Some((Observatory::Jwst, by)) => Some(Check::ok(
            name,
            format!("it is not set: clients take jwst, as {by} does"),
        )),
        Some((other, by)) => Some(
            Check::wrong(
                name,
                format!("it is not set: clients take jwst without a word, but {by} is of {other}"),
            )
            .mended_by(format!("export {name}={other}")),
        ),
        None if variables.get("CRDS_PATH").is_some() => Some(
            Check::note(name, "it is not set: clients take jwst without a word")
                .mended_by(format!("export {name}=jwst")),
        ),
        None => None,
    }
}

/// The observatory that other settings are about, and the setting.
fn evidence(variables: &Variables<'_>) -> Option<(Observatory, String)> {
    let of_context = || {
        let spec: ContextSpec = variables.get("CRDS_CONTEXT")?.parse().ok()?;
        Some((spec.observatory()?, format!("CRDS_CONTEXT ({spec})")))
    };
    let of_server = || {
        let url = variables
            .get("CRDS_SERVER_URL")
            .filter(|url| !is_serverless(url))?;
        let named = Observatory::ALL
            .into_iter()
            .find(|known| url.contains(known.as_str()))?;
        Some((named, "CRDS_SERVER_URL".to_owned()))
    };
    let of_packages = || match (&variables.packages.jwst, &variables.packages.romancal) {
        (Some(_), None) => Some((Observatory::Jwst, "the package jwst".to_owned())),
        (None, Some(_)) => Some((Observatory::Roman, "the package romancal".to_owned())),
        _ => None,
    };
    let of_place = || {
        let only: Vec<Observatory> = match variables.place("CRDS_PATH")? {
            Place::Directory(directory) => directory.described.clone(),
            Place::Mount(mountpoint) => {
                let mount = variables
                    .mounts
                    .iter()
                    .find(|mount| mount.mountpoint == *mountpoint)?;
                let names = mount.report.as_ref()?.observatories.iter();
                names.filter_map(|shown| shown.name.parse().ok()).collect()
            }
            _ => Vec::new(),
        };
        match only[..] {
            [only] => Some((only, "the cache at CRDS_PATH".to_owned())),
            _ => None,
        }
    };
    of_context()
        .or_else(of_server)
        .or_else(of_packages)
        .or_else(of_place)
}
