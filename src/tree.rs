//! The file system without FUSE: what every path means, in terms of the rooms below.

pub mod ops;

mod handles;
mod ino;
mod local;
mod nodes;
mod numbering;
