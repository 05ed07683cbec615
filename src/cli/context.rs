//! `crds-fs context`: the literal name of a context.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

use super::rule_source::{RuleSource, default_observatory, nameless, with_observatory};
use super::suggestions::CONTEXTS;
use super::target::TargetFlags;
use super::{Failure, logging, output, settings};
use crate::crds::{ContextSpec, ContextVersion};

/// Print the literal name of a context, for scripts: jwst_1322.pmap for jwst-latest.
///
/// The server is asked where one can be, else what it last said holds. CRDS_CONTEXT does not change what 'latest' means
/// here.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The context: jwst-latest, hst-edit, roman-2026-01-01, jwst-build-1.18.0, jwst-miri-dark-latest, or a literal name.
    #[arg(value_name = "SPEC", value_parser = CONTEXTS, hide_possible_values = true)]
    spec: String,
    #[command(flatten)]
    target: TargetFlags,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    logging::to_standard_error("error");
    let environment = settings::environment();
    let spec: ContextSpec = args
        .spec
        .parse()
        .map_err(|error: crate::crds::ContextError| Failure::usage(error.to_string()))?;
    let observatory = match (spec.observatory(), &spec) {
        (None, ContextSpec::Symbolic(_)) => default_observatory(&args.target, &environment)?,
        (named, _) => named,
    };
    let observatory = observatory.ok_or_else(|| nameless(&spec))?;
    if matches!(&spec, ContextSpec::Symbolic(symbolic) if symbolic.version == ContextVersion::Build) {
        return Err(Failure::usage(format!(
            "'{spec}' depends on the version of the calibration software: give that, as in 'crds-fs context {spec}-1.18.0'"
        )));
    }
    let source = RuleSource::open(&args.target, &environment, Some(observatory))?;
    let found = source.literal(&with_observatory(&spec, observatory), observatory);
    source.close();
    Ok(output::line(found?)?)
}
