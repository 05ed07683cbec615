//! The resolver against an archive in memory.

mod archive;
mod batching;
mod memory;
mod panics;
mod prefetch;
mod resolver;
mod rules;
mod world;

pub(super) use archive::Archive;
