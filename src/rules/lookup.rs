//! Mappings and contexts: loading, linking the rmaps of an instrument, lookups, answers, what is remembered
//! between lookups (`cache`, `plan`, `dependencies`), and the provider that keeps all of it.

pub(crate) mod bestrefs;
pub(crate) mod cache;
pub(crate) mod contents;
pub(crate) mod context;
pub(crate) mod dependencies;
pub(crate) mod error;
pub(crate) mod explanation;
pub(crate) mod last_made;
pub(crate) mod linked;
pub(crate) mod load;
pub(crate) mod mapping;
pub(crate) mod parallel;
pub(crate) mod plan;
pub(crate) mod provider;
