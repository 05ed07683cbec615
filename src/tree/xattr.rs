//! Extended attributes: what is known of each file under `user.crds.`, answered by name and never listed, and those that
//! users give their own files, which the store's file system keeps.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::XattrFlags;

use crate::crds::Observatory;

use super::core::{Core, ready};
use super::error::Error;
use super::ino::{ConfigFile, Fixed, Number};
use super::inode::LocalInode;
use super::nodes::Key;
use super::ops::{Ino, Outcome};
use super::views::Catalogued;

/// The prefix of the names of attributes that crds-fs answers itself.
const OURS: &str = "user.crds.";

/// The name, without [`OURS`], of an attribute that crds-fs answers itself; `None` for any other.
fn ours(name: &OsStr) -> Option<&str> {
    name.to_str()?.strip_prefix(OURS)
}

fn is_user(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"user.")
}

impl Core {
    /// The value of an attribute; of `user.crds.*` from memory.
    pub(super) fn getxattr(self: &Arc<Self>, ino: Ino, name: &OsStr) -> Outcome<Vec<u8>, Error> {
        if !self.options.xattrs {
            return ready(Err(Error::NoAttributes));
        }
        let Some(name) = ours(name) else {
            // The kernel asks for attributes of other namespaces (such as security.capability) at every access to a file.
            if !is_user(name) || !self.is_local(ino) {
                return ready(Err(Error::NoAttribute));
            }
            let name = name.to_owned();
            return self.on_local(ino, "read an attribute of", move |inode| inode.attribute(&name));
        };
        ready(self.own_attribute(ino, name))
    }

    /// The value of `user.crds.<name>`.
    fn own_attribute(&self, ino: Ino, name: &str) -> Result<Vec<u8>, Error> {
        let value = match Number::of(ino).ok_or(Error::Stale)? {
            Number::Fixed(Fixed::Root) => self.root_attribute(name),
            Number::Fixed(
                Fixed::Observatory(_, observatory) | Fixed::ConfigFile(observatory, ConfigFile::ServerConfig),
            ) => self.observatory_attribute(observatory, name),
            Number::Fixed(_) | Number::Described(..) => None,
            Number::Catalogued(observatory, serial) => {
                let file = self.view(observatory).and_then(|view| view.with_serial(serial));
                self.file_attribute(&file.ok_or(Error::Stale)?, name)
            }
            Number::Noded(_) => match self.nodes.key(ino) {
                Some(Key::Local { .. }) if name == "state" => Some(b"local".to_vec()),
                Some(_) => None,
                None => return Err(Error::Stale),
            },
        };
        value.ok_or(Error::NoAttribute)
    }

    /// Gives one of the user's files an attribute.
    pub(super) fn setxattr(
        self: &Arc<Self>,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        flags: i32,
    ) -> Outcome<(), Error> {
        if let Err(error) = self.may_change(ino, name) {
            return ready(Err(error));
        }
        let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
        let (name, value) = (name.to_owned(), value.to_owned());
        self.on_local(ino, "set an attribute of", move |inode| {
            inode.set_attribute(&name, &value, flags)
        })
    }

    /// Takes an attribute from one of the user's files.
    pub(super) fn removexattr(self: &Arc<Self>, ino: Ino, name: &OsStr) -> Outcome<(), Error> {
        if let Err(error) = self.may_change(ino, name) {
            return ready(Err(error));
        }
        let name = name.to_owned();
        self.on_local(ino, "remove an attribute of", move |inode| {
            inode.remove_attribute(&name)
        })
    }

    /// The names of the attributes that users gave their own files. Those of crds-fs are not listed: what is listed gets
    /// copied by backups.
    pub(super) fn listxattr(self: &Arc<Self>, ino: Ino) -> Outcome<Vec<u8>, Error> {
        if !self.options.xattrs {
            return ready(Err(Error::NoAttributes));
        }
        if !self.is_local(ino) {
            return ready(Ok(Vec::new()));
        }
        self.on_local(ino, "list the attributes of", |inode| {
            let names = inode.attributes()?;
            let theirs = names
                .split_inclusive(|byte| *byte == 0)
                .filter(|name| name.starts_with(b"user.") && !name.starts_with(OURS.as_bytes()));
            Ok(theirs.flatten().copied().collect())
        })
    }

    fn is_local(&self, ino: Ino) -> bool {
        matches!(Number::of(ino), Some(Number::Noded(_)))
            && matches!(self.nodes.key(ino), Some(Key::Local { .. }))
    }

    fn may_change(&self, ino: Ino, name: &OsStr) -> Result<(), Error> {
        if !self.options.xattrs {
            return Err(Error::NoAttributes);
        }
        self.writable()?;
        if !is_user(name) {
            return Err(Error::Unsupported("only user.* attributes"));
        }
        if ours(name).is_some() {
            return Err(Error::NotPermitted("user.crds.* belongs to crds-fs"));
        }
        match Number::of(ino).ok_or(Error::Stale)? {
            Number::Noded(_) if self.is_local(ino) => Ok(()),
            Number::Catalogued(observatory, serial) => {
                let file = self.view(observatory).and_then(|view| view.with_serial(serial));
                Err(Error::Immutable(file.ok_or(Error::Stale)?.key))
            }
            Number::Fixed(_) | Number::Described(..) | Number::Noded(_) => Err(Error::NotPermitted(
                "only files of your own have attributes of your own",
            )),
        }
    }

    /// Does something with the attributes of one of the user's files.
    fn on_local<T: Send + 'static>(
        self: &Arc<Self>,
        ino: Ino,
        doing: &'static str,
        work: impl FnOnce(&LocalInode) -> io::Result<T> + Send + 'static,
    ) -> Outcome<T, Error> {
        self.on_disk(move |core| {
            let inode = core.inode_of(ino)?;
            work(&inode).map_err(Error::local(doing, Path::new("")))
        })
    }

    /// The value of `user.crds.<name>` of an observatory's directories and its `server_config`: only `error`, the last
    /// failure to load its catalog.
    fn observatory_attribute(&self, observatory: Observatory, name: &str) -> Option<Vec<u8>> {
        let (_, error) = self.fetcher.catalogs().failure(observatory)?;
        (name == "error").then(|| super::error::chain(&error).into())
    }

    fn root_attribute(&self, name: &str) -> Option<Vec<u8>> {
        match name {
            "version" => Some(env!("CARGO_PKG_VERSION").into()),
            "pid" => Some(std::process::id().to_string().into()),
            "offline" => Some(if self.options.offline { b"1" } else { b"0" }.to_vec()),
            "store" => Some(self.options.store.as_os_str().as_bytes().to_vec()),
            _ => None,
        }
    }

    fn file_attribute(&self, file: &Catalogued, name: &str) -> Option<Vec<u8>> {
        let key = &file.key;
        match name {
            "sha1" => file.entry.sha1.map(|sha1| sha1.to_string().into()),
            "state" => Some(self.fetcher.state(key).as_str().into()),
            "progress" => {
                let (done, total) = self.progress(file);
                Some(format!("{done}/{total}").into())
            }
            "url" => self.fetcher.url(key).map(|url| url.as_str().into()),
            "error" => self
                .fetcher
                .last_error(key)
                .map(|error| super::error::chain(&error).into()),
            _ => None,
        }
    }
}
