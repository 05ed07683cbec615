//! `crds-fs context`: the literal name of a context.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

use super::place::{Place, PlaceFlags, default_observatory};
use super::{Failure, output, settings};
use crate::crds::{ContextSpec, ContextVersion, Observatory};

/// Print the literal name of a context, for scripts: jwst_1322.pmap for jwst-latest.
///
/// The server is asked where one can be, else what it last said holds. CRDS_CONTEXT does not change what 'latest' means
/// here.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The context: jwst-latest, hst-edit, roman-2026-01-01, jwst-build-1.18.0, jwst-miri-dark-latest, or a literal name.
    #[arg(value_name = "SPEC")]
    spec: String,
    #[command(flatten)]
    place: PlaceFlags,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    let environment = settings::environment();
    let spec: ContextSpec = args
        .spec
        .parse()
        .map_err(|error: crate::crds::ContextError| Failure::usage(error.to_string()))?;
    let observatory = spec.observatory().or_else(|| match &spec {
        ContextSpec::Symbolic(_) => default_observatory(&environment),
        ContextSpec::Literal(_) => None,
    });
    let observatory = observatory.ok_or_else(|| nameless(&spec))?;
    if matches!(&spec, ContextSpec::Symbolic(symbolic) if symbolic.version == ContextVersion::Build) {
        return Err(Failure::usage(format!(
            "'{spec}' depends on the version of the calibration software: give that, as in 'crds-fs context {spec}-1.18.0'"
        )));
    }
    let place = Place::open(&args.place, &environment, Some(observatory))?;
    let found = place.literal(&with_observatory(&spec, observatory), observatory);
    place.close();
    Ok(output::line(found?)?)
}

fn nameless(spec: &ContextSpec) -> Failure {
    match spec {
        ContextSpec::Literal(_) => Failure::usage(format!(
            "'{spec}' is not a context: its name must begin with an observatory, as in hst_0001.pmap"
        )),
        ContextSpec::Symbolic(_) => Failure::usage(format!(
            "'{spec}' does not say of which observatory it is: write jwst-{spec}, or set CRDS_OBSERVATORY"
        )),
    }
}

/// The text of a context that names its observatory.
fn with_observatory(spec: &ContextSpec, observatory: Observatory) -> String {
    match spec {
        ContextSpec::Symbolic(symbolic) if symbolic.observatory.is_none() => format!("{observatory}-{spec}"),
        _ => spec.to_string(),
    }
}
