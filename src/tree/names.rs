//! Making, removing and renaming names.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::RenameFlags;

use crate::crds::{FileKey, FileName, grammar};

use super::core::{Core, ready};
use super::directory::Directory;
use super::error::Error;
use super::ino::{Fixed, Number};
use super::inode::LocalStat;
use super::local::Local;
use super::lookup::is_plausible;
use super::nodes::Key;
use super::open::is_cache_directory;
use super::ops::{Caller, Ino, Lookup, NodeKind, Outcome};
use super::views::Catalogued;

impl Core {
    /// Does a change of names once the catalogs that have a say in it are there. Where one cannot be had, names that
    /// could be in it are not touched.
    pub(super) fn prepared<T: Send + 'static>(
        self: &Arc<Self>,
        names: &[(Ino, &OsStr)],
        change: impl FnOnce(&Arc<Self>) -> Result<T, Error> + Send + 'static,
    ) -> Outcome<T, Error> {
        let mut loading: Outcome<(), Error> = ready(Ok(()));
        for (parent, name) in names {
            let place = match self.directory(*parent) {
                Ok(place) => place,
                Err(error) => return ready(Err(error)),
            };
            let Directory::Catalogue(observatory, subset) = place else {
                continue;
            };
            if self.view(observatory).is_some() || !is_plausible(observatory, subset, name) {
                continue;
            }
            let core = Arc::clone(self);
            loading = loading.then(move |before| match before {
                Ok(()) => core.ensure(observatory).map(|view| view.map(drop)),
                Err(error) => ready(Err(error)),
            });
        }
        let core = Arc::clone(self);
        loading.map(move |loaded| {
            loaded?;
            change(&core)
        })
    }

    pub(super) fn mknod(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        kind: NodeKind,
        mode: u32,
    ) -> Result<Lookup, Error> {
        let path = self.free_path(parent, name)?;
        self.refuse_catalogued(&path)?;
        self.writable()?
            .mknod(caller, &path, kind, mode)
            .map_err(Error::local("make", &path))?;
        self.made(parent, &path)
    }

    pub(super) fn mkdir(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        mode: u32,
    ) -> Result<Lookup, Error> {
        let path = self.free_path(parent, name)?;
        self.refuse_catalogued(&path)?;
        self.writable()?
            .mkdir(caller, &path, mode)
            .map_err(Error::local("make", &path))?;
        self.made(parent, &path)
    }

    pub(super) fn symlink(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        target: &OsStr,
    ) -> Result<Lookup, Error> {
        let path = self.free_path(parent, name)?;
        self.refuse_catalogued(&path)?;
        self.writable()?
            .symlink(caller, &path, target)
            .map_err(Error::local("link", &path))?;
        self.made(parent, &path)
    }

    pub(super) fn link(&self, ino: Ino, parent: Ino, name: &OsStr) -> Result<Lookup, Error> {
        let path = self.free_path(parent, name)?;
        self.refuse_catalogued(&path)?;
        let local = self.writable()?;
        match Number::of(ino).ok_or(Error::Stale)? {
            Number::Noded(_) if matches!(self.nodes.key(ino), Some(Key::Local { .. })) => {}
            Number::Fixed(_) | Number::Catalogued(..) | Number::Described(..) | Number::Noded(_) => {
                return Err(Error::NotPermitted(
                    "only files of your own can have more than one name",
                ));
            }
        }
        let from = self.inode_of(ino)?;
        local.link(&from, &path).map_err(Error::local("link", &path))?;
        self.made(parent, &path)
    }

    fn made(&self, parent: Ino, path: &Path) -> Result<Lookup, Error> {
        self.keep_own(path);
        self.touch_directory(parent);
        self.lookup_path(path)
    }

    /// What lies at a path is the user's, also when a later catalog has its name.
    pub(super) fn keep_own(&self, path: &Path) {
        if let Some(key) = self.key_at(path)
            && let Err(error) = self.fetcher.store().set_local(&key)
        {
            log::warn!("{key} is not taken for a file of the user's: {error}");
        }
    }

    /// The user's file is no longer at a path.
    fn forget_own(&self, path: &Path) -> Result<(), Error> {
        match self.key_at(path) {
            Some(key) => Ok(self.fetcher.store().moved_out(&key)?),
            None => Ok(()),
        }
    }

    /// The file of CRDS that would lie at a path, if there is one some day.
    fn key_at(&self, path: &Path) -> Option<FileKey> {
        let (observatory, name) = Self::catalogue_of(path)?;
        let name: FileName = name.to_str()?.parse().ok()?;
        let key = FileKey { observatory, name };
        let plausible = grammar::plausible(observatory, key.name.as_str());
        (plausible && self.path_of(&key) == path).then_some(key)
    }

    /// The user's file under a name, for taking it away: its path in the store.
    fn own_path(&self, parent: Ino, name: &OsStr) -> Result<std::path::PathBuf, Error> {
        let place = self.directory(parent)?;
        let directory = match (place.store_path(), &place) {
            (Some(directory), _) => directory,
            (None, Directory::Root) => return Err(Error::NotPermitted("the names in the root are fixed")),
            (None, _) => return Err(Error::ReadOnly),
        };
        self.writable()?;
        if self.is_hidden(&place, name) {
            return Err(Error::NotFound);
        }
        Local::join(&directory, name).ok_or(Error::NotFound)
    }

    /// Removes a file. Of a catalogued one only the copy in the store goes: the file is still in the catalog, and so
    /// still there.
    pub(super) fn unlink(self: &Arc<Self>, caller: Caller, parent: Ino, name: &OsStr) -> Result<(), Error> {
        let path = self.own_path(parent, name)?;
        match self.fixed_in(&self.directory(parent)?, name) {
            Some(Fixed::ConfigFile(..) | Fixed::InstrumentLink(..)) => {
                return Err(Error::NotPermitted("this file is kept by crds-fs"));
            }
            Some(_) => return Err(Error::IsDirectory),
            None => {}
        }
        let catalogued = self.catalogued_at(&path).filter(|(_, here)| *here);
        if let Some((file, _)) = catalogued.as_ref().filter(|(file, _)| !self.is_overridden(file)) {
            return self.remove_copy(Self::number_of(file), &file.key, caller);
        }
        self.hold(&path);
        let removing = self.nodes.removing(&path);
        if let Some((file, _)) = catalogued {
            self.fetcher.store().remove(&file.key)?;
            removing.done();
            return Ok(());
        }
        self.writable()?
            .unlink(&path)
            .map_err(Error::local("remove", &path))?;
        self.forget_own(&path)?;
        removing.done();
        self.touch_directory(parent);
        Ok(())
    }

    pub(super) fn rmdir(&self, parent: Ino, name: &OsStr) -> Result<(), Error> {
        let path = self.own_path(parent, name)?;
        match self.fixed_in(&self.directory(parent)?, name).map(Fixed::kind) {
            Some(NodeKind::Directory) => return Err(Error::NotEmpty),
            Some(_) => return Err(Error::NotDirectory),
            None => {}
        }
        self.hold(&path);
        let removing = self.nodes.removing(&path);
        self.writable()?
            .rmdir(&path)
            .map_err(Error::local("remove", &path))?;
        self.forget_own(&path)?;
        removing.done();
        self.touch_directory(parent);
        Ok(())
    }

    pub(super) fn rename(
        self: &Arc<Self>,
        parent: Ino,
        name: &OsStr,
        new_parent: Ino,
        new_name: &OsStr,
        flags: u32,
    ) -> Result<(), Error> {
        let flags = RenameFlags::from_bits_retain(flags);
        let keep_target = flags.contains(RenameFlags::NOREPLACE);
        if flags == RenameFlags::EXCHANGE {
            return self.exchange((parent, name), (new_parent, new_name));
        }
        if !(flags - RenameFlags::NOREPLACE).is_empty() {
            return Err(Error::Invalid(
                "only RENAME_NOREPLACE and RENAME_EXCHANGE are known",
            ));
        }
        let from = self.own_path(parent, name)?;
        if self.fixed_in(&self.directory(parent)?, name).is_some() {
            return Err(Error::NotPermitted("this name is kept by crds-fs"));
        }
        if let Some((file, true)) = self.catalogued_at(&from)
            && !self.is_overridden(&file)
        {
            return Err(Error::Immutable(file.key));
        }
        let to_place = self.directory(new_parent)?;
        let to = self.own_path(new_parent, new_name)?;
        match self.fixed_in(&to_place, new_name) {
            Some(Fixed::ConfigFile(..)) if !keep_target => return self.give_up(parent, &from),
            Some(_) => return Err(Error::Exists),
            None => {}
        }
        if self.is_hidden(&to_place, new_name) {
            return Err(Error::NotPermitted("this observatory is not part of the mount"));
        }
        self.hold(&to);
        let renaming = self.nodes.renaming(&from, &to);
        match self.catalogued_at(&to) {
            Some((_, true)) if keep_target => return Err(Error::Exists),
            Some((file, true)) => {
                self.removals.cancel(Self::number_of(&file));
                let stat = self.override_catalogued(&from, &file)?;
                self.adopt_later(file, &stat);
            }
            _ => {
                self.refuse_catalogued(&to)?;
                let local = self.writable()?;
                local
                    .rename(&from, &to, flags)
                    .map_err(Error::local("rename", &from))?;
                self.keep_own(&to);
            }
        }
        renaming.done();
        // The store shall not go on taking the name for the user's.
        self.forget_own(&from)?;
        self.touch_directory(parent);
        self.touch_directory(new_parent);
        Ok(())
    }

    /// Two of the user's own names change places, neither of which a catalogue has.
    fn exchange(&self, one: (Ino, &OsStr), other: (Ino, &OsStr)) -> Result<(), Error> {
        let mut paths = Vec::new();
        for (parent, name) in [one, other] {
            let path = self.own_path(parent, name)?;
            if self.fixed_in(&self.directory(parent)?, name).is_some() {
                return Err(Error::NotPermitted("this name is kept by crds-fs"));
            }
            match self.catalogued_at(&path) {
                Some((file, here)) if here || is_cache_directory(&path) => {
                    return Err(Error::Immutable(file.key));
                }
                _ => paths.push(path),
            }
        }
        let [from, to] = paths.as_slice() else {
            return Err(Error::NotFound);
        };
        let (there, back) = (self.nodes.renaming(from, to), self.nodes.renaming(to, from));
        self.writable()?
            .rename(from, to, RenameFlags::EXCHANGE)
            .map_err(Error::local("exchange", from))?;
        self.nodes.exchanged(&there, &back);
        self.keep_own(from);
        self.keep_own(to);
        self.touch_directory(one.0);
        self.touch_directory(other.0);
        Ok(())
    }

    /// The user's file takes the place of a catalogued one. The store does it, so that a transfer that ends at the same
    /// moment does not replace the file.
    fn override_catalogued(&self, from: &Path, file: &Catalogued) -> Result<LocalStat, Error> {
        let stat = self
            .writable()?
            .stat(from)
            .map_err(Error::local("stat", from))?
            .ok_or(Error::NotFound)?;
        match stat.kind {
            NodeKind::File | NodeKind::Symlink => {}
            NodeKind::Directory => return Err(Error::NotDirectory),
            NodeKind::Fifo | NodeKind::Socket => {
                return Err(Error::NotPermitted(
                    "only a file or a link can replace a catalogued file",
                ));
            }
        }
        self.fetcher.store().move_in(from, &file.key)?;
        Ok(stat)
    }

    /// A connected client renames its own copy of the server's description over `server_config` (and the like), once per
    /// process. What the mount shows there is at least as new, and what the store keeps is what the next offline start
    /// relies on: so the client's copy is thrown away, and the client is told that all is well. Its next look at the
    /// name finds the mount's file.
    fn give_up(&self, parent: Ino, from: &Path) -> Result<(), Error> {
        let local = self.writable()?;
        self.hold(from);
        let removing = self.nodes.removing(from);
        local.unlink(from).map_err(Error::local("replace", from))?;
        removing.done();
        self.touch_directory(parent);
        Ok(())
    }
}
