//! CRDS rules: mappings and their evaluation, exactly as the Python client does it (spec/crds-rules). Pure: no I/O, no
//! clock; threads only for computing.
//!
//! A [`Mapping`] is the compiled text of a pmap, imap or rmap. A [`Context`] is the mapping that lookups start from;
//! it gets the others through [`Mappings`] and links the rmaps of an instrument when a header first needs them.
//! [`Context::best_references`] gives a [`BestRef`] for each reference type. A [`Provider`] compiles [`Texts`] and keeps
//! the mappings and contexts of many lookups.
//!
//! | module | its job |
//! | --- | --- |
//! | `values` | header values, dates, versions, patterns, regular expressions; Python's ways with texts and numbers |
//! | `syntax` | the text of a mapping -> syntax tree, fields, checksum |
//! | `model` | compiled selectors: columns of match keys, rows, choices |
//! | `compile` | syntax -> compiled selectors |
//! | `eval` | evaluation of one rmap: `Match`, `UseAfter` and the other selectors, expressions, hooks |
//! | `lookup` | loading and linking of mappings, lookups in a context, answers, what is remembered between lookups |
//!
//! Each module knows only those above it in this table.

mod compile;
mod eval;
mod lookup;
mod model;
mod syntax;
mod values;

pub use eval::rmap::Reference;
pub use lookup::bestrefs::{BestRef, BestRefs, NotFound};
pub use lookup::cache::Memory;
pub use lookup::context::{Context, LookupError, LookupOptions};
pub use lookup::mapping::{Instrument, Mapping, Mappings, Pipeline, Target};
pub use lookup::provider::{Closure, Compiled, MAX_TEXT_BYTES, OpenContext, Pinned, Provider, Texts};
pub use syntax::error::{LoadError, LoadErrorKind};
pub use values::header::{Header, HeaderValue};
pub use values::jwst::{annotate, default_reftypes};
pub(crate) use values::{jwst, naming, python};

#[cfg(test)]
mod tests;
