//! Text of a mapping -> syntax tree and header fields, with the errors of loading.

pub(crate) mod arena;
pub(crate) mod ast;
pub(crate) mod checksum;
pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod kind;
pub(crate) mod parser;
