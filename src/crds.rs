//! The words of CRDS: names, digests, catalogs, server descriptions. Pure: no I/O, no clock, no threads.

pub mod digest;
pub mod literal;
pub mod name;

pub use digest::Sha1Sum;
pub use name::{FileKey, FileKind, FileName, NameError, Observatory, Reftype};
