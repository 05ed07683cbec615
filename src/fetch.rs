//! Brings names into the store: catalogs, and one transfer per file.

mod outcome;

pub use outcome::Outcome;
