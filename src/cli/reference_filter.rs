//! A choice among the references below a context, by instruments and types.

use std::collections::BTreeSet;

use crate::rules::{Mapping, Target};

/// The flags of a choice among the references of a context.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct FilterFlags {
    /// References of these instruments only.
    #[arg(
        long,
        value_name = "INSTRUMENT,...",
        value_delimiter = ',',
        requires = "references"
    )]
    instrument: Vec<String>,
    /// References of these types only.
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',', requires = "references")]
    types: Vec<String>,
}

impl FilterFlags {
    /// The choice.
    pub(super) fn filter(&self) -> ReferenceFilter {
        ReferenceFilter::new(&self.instrument, &self.types)
    }
}

/// A choice among the references below a context.
#[derive(Debug, Clone, Default)]
pub(super) struct ReferenceFilter {
    /// Of these instruments only, in lower case; empty for all.
    instruments: Vec<String>,
    /// Of these types only, in lower case; empty for all.
    types: Vec<String>,
}

impl ReferenceFilter {
    /// The references of these instruments and types, in any case; none of either stands for all.
    fn new(instruments: &[String], types: &[String]) -> Self {
        let lower = |names: &[String]| names.iter().map(|name| name.trim().to_lowercase()).collect();
        Self {
            instruments: lower(instruments),
            types: lower(types),
        }
    }

    /// Whether references below this child of a pmap may be wanted.
    pub(super) fn wants_below(&self, pmap: &Mapping, child: &str) -> bool {
        let mut instruments = self.instruments.iter();
        self.instruments.is_empty() || instruments.any(|instrument| pmap.child(instrument) == Some(child))
    }

    /// The references that a mapping names, if they are of a type that is wanted. Notes the types that there are.
    pub(super) fn references<'m>(&self, mapping: &'m Mapping, types: &mut BTreeSet<String>) -> Vec<&'m str> {
        match mapping.target() {
            Target::Pipeline(_) => Vec::new(),
            Target::Instrument(instrument) => {
                types.extend(instrument.filekinds().map(str::to_owned));
                Vec::new()
            }
            Target::Reference(reference) => {
                let own = reference.filekind();
                types.insert(own.to_owned());
                if self.types.is_empty() || self.types.iter().any(|wanted| wanted == own) {
                    mapping.references()
                } else {
                    Vec::new()
                }
            }
        }
    }

    /// Refuses instruments that a context does not have.
    pub(super) fn check_instruments(&self, mapping: &Mapping) -> Result<(), String> {
        let Target::Pipeline(pipeline) = mapping.target() else {
            return Ok(());
        };
        let known = || pipeline.entries.iter().map(|(instrument, _)| instrument.as_str());
        let mut wanted = self.instruments.iter();
        match wanted.find(|wanted| !known().any(|known| known == *wanted)) {
            Some(unknown) => Err(format!(
                "{} has no instrument '{unknown}'; it has: {}",
                mapping.name(),
                known().collect::<Vec<_>>().join(", ")
            )),
            None => Ok(()),
        }
    }

    /// The problem that a wanted type is none of the existing ones.
    pub(super) fn unknown_type(&self, types: &BTreeSet<String>) -> Option<String> {
        let unknown = self.types.iter().find(|wanted| !types.contains(*wanted))?;
        let types: Vec<&str> = types.iter().map(String::as_str).collect();
        Some(format!(
            "has no rules for the type '{unknown}'; it has: {}",
            types.join(", ")
        ))
    }
}
