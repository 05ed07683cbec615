//! Values and texts as the rules see them: conditions, dates, versions, patterns, regular expressions, headers, and
//! Python's ways with texts and numbers.

pub(crate) mod bitset;
pub(crate) mod condition;
pub(crate) mod date;
pub(crate) mod glob;
pub(crate) mod header;
pub(crate) mod jwst;
pub(crate) mod naming;
pub(crate) mod pattern;
pub(crate) mod python;
pub(crate) mod regex;
pub(crate) mod version;
pub(crate) mod vocabulary;
