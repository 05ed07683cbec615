//! Checks of the context: that it is known, and that it fits the calibration package.

use super::Variables;
use crate::cli::client::build;
use crate::cli::doctor::check::Check;
use crate::crds::context::latest_advice;
use crate::crds::{ContextError, ContextSpec, ContextVersion, FileName, Observatory};

const NAME: &str = "CRDS_CONTEXT";

/// The context of the settings.
pub(super) fn crds_context(variables: &Variables<'_>) -> Option<Check> {
    let value = variables.get(NAME)?;
    if variables.is_wrong(NAME) {
        return None;
    }
    let spec: ContextSpec = value.parse().ok()?;
    let Some(observatory) = spec.observatory().or_else(|| variables.observatory()) else {
        return Some(Check::ok(NAME, value));
    };
    if let Some(wanted) = variables.observatory()
        && wanted != observatory
    {
        return Some(
            Check::wrong(
                NAME,
                format!("'{value}' is a context of {observatory}, but CRDS_OBSERVATORY is {wanted}"),
            )
            .mended_by(format!("unset {NAME}")),
        );
    }
    let Some(info) = variables.info(observatory) else {
        return Some(Check::ok(
            NAME,
            format!("{value} (no server has told whether it is known)"),
        ));
    };
    if is_of_release(&spec) {
        return Some(Check::ok(NAME, value));
    }
    let mended = match info.default_context() {
        Some(latest) => format!("export {NAME}={latest}"),
        None => format!("unset {NAME}"),
    };
    let wrong = |why: &ContextError| {
        Some(Check::wrong(NAME, format!("{why}; {}", latest_advice(info))).mended_by(mended.as_str()))
    };
    match spec.resolve(info) {
        Err(error) => wrong(&error),
        Ok(found) if !info.catalog().contains(found.mapping.as_str()) && !variables.has_own_context => {
            wrong(&ContextError::NotListed {
                name: found.mapping,
                observatory,
            })
        }
        Ok(found) if found.mapping.as_str() == value => Some(Check::ok(NAME, value)),
        Ok(found) => Some(Check::ok(NAME, format!("{value}, which is {}", found.mapping))),
    }
}

fn is_of_release(spec: &ContextSpec) -> bool {
    match spec {
        ContextSpec::Symbolic(symbolic) => {
            matches!(
                symbolic.version,
                ContextVersion::Build | ContextVersion::BuildOf(_)
            )
        }
        ContextSpec::Literal(_) => false,
    }
}

/// The calibration packages, and whether the context in force fits them.
pub(super) fn package(variables: &Variables<'_>) -> Vec<Check> {
    let packages = [
        (Observatory::Jwst, "jwst", &variables.packages.jwst),
        (Observatory::Roman, "romancal", &variables.packages.romancal),
    ];
    let installed = packages
        .into_iter()
        .filter_map(|(observatory, package, version)| Some((observatory, package, version.as_ref()?)));
    installed
        .filter_map(|(observatory, package, version)| fit(variables, observatory, package, version))
        .collect()
}

fn fit(variables: &Variables<'_>, observatory: Observatory, package: &str, version: &str) -> Option<Check> {
    let server = variables
        .servers
        .iter()
        .find(|server| server.observatory == observatory)?;
    let chosen = variables
        .get(NAME)
        .and_then(|value| value.parse::<ContextSpec>().ok());
    let chosen = chosen.filter(|spec| spec.observatory().is_none_or(|named| named == observatory));
    let asks_nobody = variables.clients_ask_nobody();
    // A client that cannot ask knows no build context, and some versions fail then.
    let cannot_ask = asks_nobody && variables.mount().is_some();
    let Some(own) = server.build.as_ref().and_then(|told| told.as_ref().ok()) else {
        return (chosen.is_none() && cannot_ask)
            .then(|| unknown_build(variables, observatory, package, version))
            .flatten();
    };
    let Some(spec) = chosen else {
        if cannot_ask {
            return unknown_build(variables, observatory, package, version)
                .map(|check| check.mended_by(format!("export {NAME}={own}")));
        }
        return Some(Check::ok(package, format!("{version}, whose context is {own}")));
    };
    let used = server.info().and_then(|info| spec.resolve(info).ok())?.mapping;
    if used == *own {
        return Some(Check::ok(
            package,
            format!("{version}, whose context {own} is in use"),
        ));
    }
    let what = if number(&used) > number(own) {
        "newer than this package knows: 'Unknown reference type' comes of that"
    } else {
        "older than its own"
    };
    Some(
        Check::note(
            package,
            format!("{version} goes with {own}, but {NAME} is {used}, {what}"),
        )
        .mended_by(format!("export {NAME}={own}")),
    )
}

fn unknown_build(
    variables: &Variables<'_>,
    observatory: Observatory,
    package: &str,
    version: &str,
) -> Option<Check> {
    let check = Check::note(
        package,
        format!(
            "{version}: without {NAME} clients on the mount cannot ask for its context ({}): they take the latest, or fail",
            build(observatory, version)
        ),
    );
    Some(check.mended_by(variables.use_of_mount()?))
}

/// The number in the name of a context.
fn number(context: &FileName) -> Option<u64> {
    let stem = context.as_str().rsplit_once('.')?.0;
    stem.rsplit_once('_')?.1.parse().ok()
}
