//! The way into the kernel: the FUSE adapter, sessions, passthrough, the daemon, and private namespaces.
//!
//! This is the only room that knows fuser, libc and `unsafe`. It is generic over
//! [`FileSystem`](crate::tree::ops::FileSystem), so that its tests mount file systems of their own.

mod error;
pub mod mountinfo;
pub mod unmount;
mod users;

pub use error::Error;
