//! The way into the kernel: the FUSE adapter, sessions, passthrough, the daemon, and private namespaces.
//!
//! This is the only module that knows fuser, libc and `unsafe`. It is generic over
//! [`FileSystem`](crate::tree::ops::FileSystem), so that its tests mount file systems of their own.

mod adapter;
pub mod daemon;
mod device;
mod error;
pub mod health;
mod interrupt;
pub mod limits;
pub mod mountinfo;
mod mountpoint;
pub mod namespace;
mod notify;
mod open_mode;
mod owner;
mod passthrough;
pub mod remount;
mod session;
pub mod unmount;
mod users;

#[cfg(test)]
mod tests;

pub use adapter::{Op, OpCounters};
pub use error::Error;
pub use mountpoint::{Appearance, Mountpoint};
pub use owner::Owner;
pub use session::Mounted;
