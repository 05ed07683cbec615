//! The connection to the kernel: the FUSE adapter, sessions, passthrough, the daemon, and private namespaces.
//!
//! This is the only module that knows fuser, libc and `unsafe`. It is generic over
//! [`FileSystem`](crate::tree::ops::FileSystem), so that its tests mount file systems of their own.

mod adapter;
pub(crate) mod daemon;
pub(crate) mod device;
mod error;
pub(crate) mod health;
pub(crate) mod helper;
mod interrupt;
pub(crate) mod limits;
pub(crate) mod mountinfo;
mod mountpoint;
pub(crate) mod namespace;
mod notify;
mod open_mode;
mod owner;
mod passthrough;
pub(crate) mod processes;
pub(crate) mod remount;
pub(crate) mod server;
mod service_manager;
pub(crate) mod session;
pub(crate) mod superblock;
pub(crate) mod trial;
pub(crate) mod unmount;
pub(crate) mod users;

#[cfg(test)]
mod tests;

pub(crate) use error::Error;
pub(crate) use mountpoint::{Appearance, Mountpoint};
pub(crate) use owner::{Owner, user_name};
pub(crate) use service_manager::ServiceManager;
pub(crate) use session::Mounted;
