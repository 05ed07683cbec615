//! Extended attributes: answered by name, never listed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use crate::fetch::FileState;

use super::core::Core;
use super::error::Error;
use super::ino::{Fixed, Number};
use super::nodes::Key;
use super::ops::Ino;
use super::views::Catalogued;

impl Core {
    /// The value of `user.crds.*`; from memory.
    pub(super) fn getxattr(self: &Arc<Self>, ino: Ino, name: &OsStr) -> Result<Vec<u8>, Error> {
        if !self.options.xattrs {
            return Err(Error::NoAttributes);
        }
        // The kernel asks for others' attributes (security.capability and the like) with every look at a file.
        let name = name
            .to_str()
            .and_then(|name| name.strip_prefix("user.crds."))
            .ok_or(Error::NoAttribute)?;
        let value = match Number::of(ino).ok_or(Error::Stale)? {
            Number::Fixed(Fixed::Root) => self.root_attribute(name),
            Number::Fixed(_) => None,
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
                let size = file.entry.size.unwrap_or_default();
                let (done, total) = match self.fetcher.state(key) {
                    FileState::Remote => (0, size),
                    FileState::Fetching { done, total } => (done, if total == 0 { size } else { total }),
                    FileState::Cached | FileState::Local => (size, size),
                };
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
