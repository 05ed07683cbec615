//! The compiled form of an rmap's selectors, and the header fields that a lookup reads.

pub(crate) mod column;
pub(crate) mod failure;
pub(crate) mod frame;
pub(crate) mod selector;
pub(crate) mod slots;
