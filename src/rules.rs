//! CRDS rules: mappings and their evaluation, exactly as the Python client does it (spec/crds-rules). Pure: no I/O, no
//! clock; threads only for computing ([`spread`]).
//!
//! A [`Mapping`] is the compiled text of a pmap, imap or rmap. A [`Context`] is the mapping that lookups start from;
//! it gets the others through [`Mappings`] and puts the rules of an instrument together when a header first needs them.
//! [`Context::best_references`] gives an [`Answer`] for each reference type.
//!
//! | module | its job |
//! | --- | --- |
//! | `source`, `item` | text -> syntax |
//! | `load`, `error`, `fields`, `checksum`, `compile`, `substitute` | syntax -> checks -> compiled selectors |
//! | `selector`, `column`, `pattern`, `glob`, `regex`, `version` | the compiled forms |
//! | `evaluate`, `failure`, `merge`, `reference`, `hooks`, `expression` | evaluation of one rmap |
//! | `naming`, `linked`, `context`, `answer` | names in headers, all rmaps of an instrument, lookups, results |
//! | `reads`, `plan`, `memory` | what holds for all headers of one kind, remembered |
//! | `condition`, `date`, `python` | values, dates, and Python's ways with texts and numbers |

mod answer;
mod bits;
mod checksum;
mod column;
mod compile;
mod condition;
mod context;
mod date;
mod error;
mod evaluate;
mod expression;
mod failure;
mod fields;
mod frame;
mod glob;
mod header;
mod hooks;
mod item;
pub(crate) mod jwst;
mod linked;
mod load;
mod mapping;
mod memory;
mod merge;
pub(crate) mod naming;
mod pattern;
mod plan;
mod pool;
pub(crate) mod python;
mod reads;
mod reference;
mod regex;
mod selector;
mod slots;
mod source;
mod spread;
mod substitute;
pub mod units;
mod version;
mod vocabulary;

pub use answer::{Answer, BestRefs, NotFound};
pub use context::{Context, LookupError, LookupOptions};
pub use error::{LoadError, LoadErrorKind};
pub use header::{Header, HeaderValue};
pub use jwst::{annotate, default_reftypes};
pub use mapping::{Instrument, Mapping, Mappings, Pipeline, Target};
pub use memory::Memory;
pub use reference::Reference;
pub use spread::spread;

#[cfg(test)]
mod tests;
