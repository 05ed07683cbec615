//! CRDS rules: mappings and their evaluation, exactly as the Python client does it (spec/crds-rules). Pure: no I/O, no
//! clock; threads only for computing.
//!
//! A [`Mapping`] is the compiled text of a pmap, imap or rmap. A [`Context`] is the mapping that lookups start from;
//! it gets the others through [`Mappings`] and links the rmaps of an instrument when a header first needs them.
//! [`Context::best_references`] gives a [`BestRef`] for each reference type. A [`Provider`] compiles [`Texts`] and keeps
//! the mappings and contexts of many lookups.
//!
//! ```
//! use std::collections::HashMap;
//!
//! use crds_fs::crds::Observatory;
//! use crds_fs::rules::{Header, LoadError, LookupOptions, Memory, Provider, Texts};
//!
//! /// Mappings in memory; those of a cache are files below `mappings/<observatory>`.
//! struct InMemory(HashMap<&'static str, &'static str>);
//!
//! impl Texts for InMemory {
//!     /// Texts never change.
//!     type Version = ();
//!
//!     fn text(&self, name: &str) -> Result<String, LoadError> {
//!         let text = self.0.get(name).ok_or_else(|| LoadError::absent(name))?;
//!         Ok((*text).to_owned())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let texts = InMemory(HashMap::from([(
//!     "hst_acs_darkfile_0001.rmap",
//!     "header = {
//!         'mapping': 'REFERENCE', 'observatory': 'HST', 'instrument': 'ACS', 'filekind': 'DARKFILE',
//!         'name': 'hst_acs_darkfile_0001.rmap', 'derived_from': 'nothing',
//!         'parkey': (('DETECTOR', 'CCDGAIN'), ('DATE-OBS', 'TIME-OBS')),
//!     }\n\
//!     selector = Match({
//!         ('WFC', '1.0|2.0'): UseAfter({
//!             '2000-01-01 00:00:00': 'old_drk.fits',
//!             '2010-01-01 00:00:00': 'new_drk.fits',
//!         }),
//!         ('HRC', '*'): 'N/A',
//!     })",
//! )]));
//! // Rules that were edited by hand have no right checksum.
//! let options = LookupOptions { ignore_checksum: true };
//! let provider = Provider::new(texts, options);
//! // Any mapping is a context: a pmap for all instruments, an imap for one, an rmap for the one type that it names.
//! let context = provider.context(Observatory::Hst, "hst_acs_darkfile_0001.rmap")?;
//!
//! let header: Header = [("DETECTOR", "WFC"), ("CCDGAIN", "2"), ("DATE-OBS", "2005-06-07"), ("TIME-OBS", "12:00:00")]
//!     .into_iter()
//!     .collect();
//! // A memory makes further headers of the same kind fast.
//! let mut memory = Memory::new();
//! let answers = context.best_references(&mut memory, &header, Some(&["darkfile"]))?;
//! let told: Vec<_> = answers.iter().map(|(reftype, answer)| format!("{reftype}: {answer}")).collect();
//! assert_eq!(told, ["darkfile: old_drk.fits"]);
//! # Ok(())
//! # }
//! ```
//!
//! | module | its job |
//! | --- | --- |
//! | `values` | header values, dates, versions, patterns, regular expressions; Python's ways with texts and numbers |
//! | `syntax` | the text of a mapping -> syntax tree, fields, checksum |
//! | `model` | compiled selectors: columns of match keys, rows, choices |
//! | `compile` | syntax -> compiled selectors |
//! | `eval` | evaluation of one rmap: `Match`, `UseAfter` and the other selectors, expressions, hooks |
//! | `lookup` | loading and linking of mappings, lookups in a context, answers, what is remembered between lookups |
//! | `difference` | what changes from one mapping to another, and below them |
//!
//! Each module knows only those above it in this table.

mod compile;
mod difference;
mod eval;
mod lookup;
mod model;
mod syntax;
mod values;

pub use difference::{Action, Change, Difference, DifferenceError, MappingChanges, NameChanges, difference};
pub use eval::step::{MatchStep, MatchingKey, Mismatch, NearKey, Parameter, Step};
pub use lookup::bestrefs::{BestRef, BestRefs, NotFound};
pub use lookup::cache::Memory;
pub use lookup::context::{Context, LookupOptions};
pub use lookup::error::LookupError;
pub use lookup::explanation::Explanation;
pub use lookup::mapping::{Mapping, Mappings};
pub(crate) use lookup::provider::MAX_TEXT_BYTES;
pub use lookup::provider::{Closure, OpenContext, Provider, Texts};
pub use syntax::error::{LoadError, LoadErrorKind};
pub use values::header::{Header, HeaderValue};
pub use values::jwst::default_reftypes;

pub(crate) use lookup::contents::Contents;
pub(crate) use lookup::mapping::Target;
pub(crate) use lookup::provider::{Compiled, Pinned};
pub(crate) use values::glob::Glob;
pub(crate) use values::jwst::annotate;
pub(crate) use values::{jwst, naming, python};

#[cfg(test)]
mod tests;
