//! The resolver against an archive in memory.

mod archive;
mod batching;
mod memory;
mod resolver;

pub(super) use archive::Archive;
