//! Making, removing and renaming names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::RenameFlags;

use crate::crds::{FileKey, FileName, grammar};

use super::core::{Core, ready};
use super::directory::Directory;
use super::error::Error;
use super::find::{FoundDir, Made};
use super::ino::{Area, ConfigFile, Fixed, Number};
use super::inode::{Access, LocalStat};
use super::local::Local;
use super::lookup::is_plausible;
use super::nodes::{FoundAt, Key};
use super::open::is_cache_directory;
use super::ops::{Attr, CacheTtl, Caller, Ino, Lookup, NodeKind, Outcome};
use super::views::Catalogued;

impl Core {
    /// Makes a change of names on the disk, after loading the catalogs that could have one of `names`. Fails, and
    /// changes nothing, when such a catalog cannot be loaded.
    pub(super) fn prepared<T: Send + 'static>(
        self: &Arc<Self>,
        names: &[(Ino, &OsStr)],
        change: impl FnOnce(&Arc<Self>) -> Result<T, Error> + Send + 'static,
    ) -> Outcome<T, Error> {
        self.prepared_then(names, |core| core.on_disk(change))
    }

    /// As [`Self::prepared`], for a change that says itself on which thread it is made.
    pub(super) fn prepared_then<T: Send + 'static>(
        self: &Arc<Self>,
        names: &[(Ino, &OsStr)],
        change: impl FnOnce(&Arc<Self>) -> Outcome<T, Error> + Send + 'static,
    ) -> Outcome<T, Error> {
        let mut loading: Outcome<(), Error> = ready(Ok(()));
        for (parent, name) in names {
            let directory = match self.directory(*parent) {
                Ok(directory) => directory,
                Err(error) => return ready(Err(error)),
            };
            let Directory::Catalogue(observatory, subset) = directory else {
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
        loading.then(move |loaded| match loaded {
            Ok(()) => change(&core),
            Err(error) => ready(Err(error)),
        })
    }

    /// As [`Self::prepared`], for a change that makes an entry, to which the kernel then has a reference.
    pub(super) fn prepared_entry(
        self: &Arc<Self>,
        (parent, name): (Ino, &OsStr),
        make: impl FnOnce(&Core, &OsStr) -> Result<Made, Error> + Send + 'static,
    ) -> Outcome<Lookup, Error> {
        let (core, own) = (Arc::clone(self), name.to_owned());
        self.prepared(&[(parent, name)], move |core| make(core, &own))
            .map(move |made| Ok(core.refer_local(&made?)))
    }

    /// The answer to a lookup of one of the user's files, with the kernel's reference counted.
    pub(super) fn refer_local(&self, made: &Made) -> Lookup {
        let (attr, keep) = self.referred(made);
        Lookup::Found { attr, keep }
    }

    /// The attributes of one of the user's files, to which the kernel has one more reference.
    pub(super) fn referred(&self, made: &Made) -> (Attr, CacheTtl) {
        let found = FoundAt {
            path: &made.path,
            renames: made.renames,
        };
        let ino = self.nodes.refer(Key::of(&made.stat), Some(found));
        (self.local_attr(ino, &made.stat), self.keep_of(&made.path))
    }

    /// The time for which the kernel may keep the user's file at a path. A store that the mount covers changes through
    /// the mount alone; any other may change behind its back. A file beside the config files may be renamed over one of
    /// those, and is gone then.
    pub(super) fn keep_of(&self, path: &Path) -> CacheTtl {
        if path.starts_with(Area::Config.as_str()) {
            CacheTtl::Never
        } else if self.options.mountpoint == self.options.store {
            CacheTtl::Minute
        } else {
            CacheTtl::Briefly
        }
    }

    pub(super) fn mknod(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        kind: NodeKind,
        mode: u32,
    ) -> Result<Made, Error> {
        self.make(parent, name, |found| found.dir.mknod(caller, name, kind, mode))
    }

    pub(super) fn mkdir(&self, caller: Caller, parent: Ino, name: &OsStr, mode: u32) -> Result<Made, Error> {
        self.make(parent, name, |found| found.dir.mkdir(caller, name, mode))
    }

    pub(super) fn symlink(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        target: &OsStr,
    ) -> Result<Made, Error> {
        self.make(parent, name, |found| found.dir.symlink(caller, name, target))
    }

    pub(super) fn link(&self, ino: Ino, parent: Ino, name: &OsStr) -> Result<Made, Error> {
        match Number::of(ino).ok_or(Error::Stale)? {
            Number::Noded(_) if matches!(self.nodes.key(ino), Some(Key::Local { .. })) => {}
            Number::Fixed(_) | Number::Catalogued(..) | Number::Described(..) | Number::Noded(_) => {
                // An error of the name comes first.
                self.free_path(parent, name)?;
                return Err(Error::NotPermitted(
                    "only files of your own can have more than one name",
                ));
            }
        }
        let from = self.inode_of(ino)?;
        let made = self.make(parent, name, |found| {
            found.dir.link(&from, name)?;
            from.stat()
        })?;
        self.count_own(&made.path);
        Ok(made)
    }

    /// Makes something new under a name, and records it as the user's.
    fn make(
        &self,
        parent: Ino,
        name: &OsStr,
        work: impl FnOnce(&FoundDir) -> std::io::Result<Option<LocalStat>>,
    ) -> Result<Made, Error> {
        let renames = self.nodes.renames();
        let (found, path) = self.new_name(parent, name)?;
        let made = work(&found).map_err(Error::local("make", &path))?;
        self.keep_own(&path);
        self.touch_directory(parent);
        let stat = made.ok_or(Error::NotFound)?;
        Ok(Made { path, stat, renames })
    }

    /// Records that the file at a path is the user's, also when a later catalog has its name. A failure is only logged.
    pub(super) fn keep_own(&self, path: &Path) {
        if let Some(key) = self.key_at(path)
            && grammar::plausible(key.observatory, key.name.as_str())
            && let Err(error) = self.fetcher.store().set_local(&key)
        {
            log::warn!("{key} is not taken for a file of the user's: {error}");
        }
    }

    /// Lets the store count what lies at a path now, or no longer does.
    pub(super) fn count_own(&self, path: &Path) {
        if let Some(key) = self.key_at(path)
            && let Err(error) = self.fetcher.store().recount(&key)
        {
            log::warn!("{key} is not counted as it is: {error}");
        }
    }

    /// Lets the store count the user's file with this number, which was written to, under all of its names.
    pub(super) fn count_node(&self, ino: Ino) {
        let names = self.nodes.names(ino);
        for path in names.into_iter().flat_map(|names| names.paths) {
            self.count_own(&path);
        }
    }

    /// The key by which the store counts what lies at a path, if its name is one of CRDS or looks like one.
    fn key_at(&self, path: &Path) -> Option<FileKey> {
        let (observatory, name) = Self::catalogue_of(path)?;
        let name: FileName = name.to_str()?.parse().ok()?;
        let key = FileKey { observatory, name };
        (self.path_of(&key) == path).then_some(key)
    }

    /// The directory of a user's file that is to lose its name, and the file's path in the store. From memory.
    fn own_path(&self, parent: Ino, name: &OsStr) -> Result<(Directory, PathBuf), Error> {
        let directory = self.directory(parent)?;
        let path = match (directory.store_path(), &directory) {
            (Some(path), _) => path,
            (None, Directory::Root) => return Err(Error::NotPermitted("the names in the root are fixed")),
            (None, _) => return Err(Error::ReadOnly),
        };
        self.writable()?;
        if self.is_hidden(&directory, name) {
            return Err(Error::NotFound);
        }
        let path = Local::join(&path, name).ok_or(Error::NotFound)?;
        Ok((directory, path))
    }

    /// Removes a file. Of a catalogued one only the copy in the store goes: the file is still in the catalog, and so
    /// still there.
    pub(super) fn unlink(self: &Arc<Self>, caller: Caller, parent: Ino, name: &OsStr) -> Result<(), Error> {
        let (directory, path) = self.own_path(parent, name)?;
        match self.fixed_in(&directory, name) {
            Some(Fixed::ConfigFile(..) | Fixed::InstrumentLink(..)) => {
                return Err(Error::NotPermitted("this file is kept by crds-fs"));
            }
            Some(_) => return Err(Error::IsDirectory),
            None => {}
        }
        let catalogued = self.catalogued_at(&path).filter(|(_, here)| *here);
        if let Some((file, _)) = catalogued.as_ref().filter(|(file, _)| !self.is_overridden(file)) {
            if self.fetcher.store().is_held(&file.key) {
                return Err(Error::NotPermitted(
                    "this file is held: 'crds-fs release' lets it go",
                ));
            }
            if self.fetcher.store().is_shared() {
                return Err(Error::NotPermitted(
                    "the cache is shared, and this copy is everybody's: 'crds-fs evict --cache DIR --shared' removes it",
                ));
            }
            return self.remove_copy(Self::number_of(file), &file.key, caller);
        }
        let found = self.find_dir(parent, &directory)?;
        let path = found.path.join(name);
        self.hold(&found, name);
        let removing = self.nodes.removing(&path);
        if let Some((file, _)) = catalogued {
            self.fetcher.store().remove(&file.key)?;
            removing.done();
            return Ok(());
        }
        found.dir.unlink(name).map_err(Error::local("remove", &path))?;
        self.count_own(&path);
        removing.done();
        self.touch_directory(parent);
        Ok(())
    }

    pub(super) fn rmdir(&self, parent: Ino, name: &OsStr) -> Result<(), Error> {
        let (directory, _) = self.own_path(parent, name)?;
        match self.fixed_in(&directory, name).map(Fixed::kind) {
            Some(NodeKind::Directory) => return Err(Error::NotEmpty),
            Some(_) => return Err(Error::NotDirectory),
            None => {}
        }
        let found = self.find_dir(parent, &directory)?;
        let path = found.path.join(name);
        self.hold(&found, name);
        let removing = self.nodes.removing(&path);
        found.dir.rmdir(name).map_err(Error::local("remove", &path))?;
        self.count_own(&path);
        removing.done();
        self.touch_directory(parent);
        Ok(())
    }

    pub(super) fn rename(
        self: &Arc<Self>,
        caller: Caller,
        (parent, name): (Ino, &OsStr),
        (new_parent, new_name): (Ino, &OsStr),
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
        let (from_directory, from) = self.own_path(parent, name)?;
        if self.fixed_in(&from_directory, name).is_some() {
            return Err(Error::NotPermitted("this name is kept by crds-fs"));
        }
        self.refuse_to_move(caller, (&from, name), (new_parent, new_name))?;
        let (to_directory, to) = self.own_path(new_parent, new_name)?;
        let found = self.find_dir(parent, &from_directory)?;
        match self.fixed_in(&to_directory, new_name) {
            Some(Fixed::ConfigFile(_, file)) if !keep_target => {
                return self.give_up(parent, &found, name, file);
            }
            Some(_) => return Err(Error::Exists),
            None => {}
        }
        if self.is_hidden(&to_directory, new_name) {
            return Err(Error::NotPermitted("this observatory is not part of the mount"));
        }
        let from = found.path.join(name);
        match self.catalogued_at(&to) {
            Some((_, true)) if keep_target => return Err(Error::Exists),
            Some((file, true)) if self.fetcher.store().is_shared() => {
                self.rename_to_copy(&found, name, &file)?;
            }
            Some((file, true)) => {
                if let Ok(target) = self.find_dir(new_parent, &to_directory) {
                    self.hold(&target, new_name);
                }
                self.rename_over(&found, name, file, &to)?;
            }
            _ => {
                self.refuse_catalogued(&to)?;
                let target = self.make_dir(new_parent, &to_directory)?;
                self.rename_own((&found, name), (&target, new_name), flags)?;
            }
        }
        // The store must not keep the old name recorded as the user's.
        self.count_own(&from);
        self.touch_directory(parent);
        self.touch_directory(new_parent);
        Ok(())
    }

    /// Refuses to move a catalogued file, and notes who tried to move it into a directory of the other layout.
    fn refuse_to_move(
        &self,
        caller: Caller,
        (from, name): (&Path, &OsStr),
        (new_parent, new_name): (Ino, &OsStr),
    ) -> Result<(), Error> {
        match self.catalogued_at(from) {
            Some((file, true)) if !self.is_overridden(&file) => {
                let to = self.own_path(new_parent, new_name);
                if new_name == name && to.is_ok_and(|(_, to)| to != from && is_cache_directory(&to)) {
                    self.refused_moves.note(caller.tid, Self::number_of(&file));
                }
                Err(Error::Immutable(file.key))
            }
            _ => Ok(()),
        }
    }

    /// Renames one of the user's files to a name that no catalog has.
    fn rename_own(
        &self,
        (found, name): (&FoundDir, &OsStr),
        (target, new_name): (&FoundDir, &OsStr),
        flags: RenameFlags,
    ) -> Result<(), Error> {
        let (from, to) = (found.path.join(name), target.path.join(new_name));
        self.hold(target, new_name);
        let renaming = self.nodes.renaming(&from, &to);
        let renamed = found.dir.rename(name, &target.dir, new_name, flags);
        renamed.map_err(Error::local("rename", &from))?;
        self.keep_own(&to);
        self.count_own(&to);
        renaming.done();
        Ok(())
    }

    /// Renames one of the user's files to the name of a catalogued one, at the path `to`.
    fn rename_over(
        self: &Arc<Self>,
        found: &FoundDir,
        name: &OsStr,
        file: Catalogued,
        to: &Path,
    ) -> Result<(), Error> {
        let renaming = self.nodes.renaming(&found.path.join(name), to);
        self.removals.cancel(Self::number_of(&file));
        let stat = self.override_catalogued(found, name, &file)?;
        self.adopt_later(file, &stat);
        renaming.done();
        Ok(())
    }

    /// Makes one of the user's files the copy of a catalogued one in a shared store. Refuses one with other contents.
    fn rename_to_copy(&self, found: &FoundDir, name: &OsStr, file: &Catalogued) -> Result<(), Error> {
        let from = found.path.join(name);
        self.hold(found, name);
        let removing = self.nodes.removing(&from);
        if !self.fetcher.store().take_copy(&from, &file.key, file.entry)? {
            return Err(Error::NotPermitted(
                "the cache is shared, and a file of yours in place of a catalogued one would be everybody's: give it \
                 another name, or use a cache of your own",
            ));
        }
        removing.done();
        Ok(())
    }

    /// Whether a file that is renamed to this name replaces a catalogued one. From memory.
    pub(super) fn is_to_be_overridden(&self, parent: Ino, name: &OsStr) -> bool {
        let path = self.own_path(parent, name).map(|(_, path)| path);
        path.is_ok_and(|path| matches!(self.catalogued_at(&path), Some((_, true))))
    }

    /// Exchanges two of the user's own names, neither of which a catalog has.
    fn exchange(&self, one: (Ino, &OsStr), other: (Ino, &OsStr)) -> Result<(), Error> {
        let own = |(parent, name): (Ino, &OsStr)| {
            let (directory, path) = self.own_path(parent, name)?;
            if self.fixed_in(&directory, name).is_some() {
                return Err(Error::NotPermitted("this name is kept by crds-fs"));
            }
            match self.catalogued_at(&path) {
                Some((file, here)) if here || is_cache_directory(&path) => Err(Error::Immutable(file.key)),
                _ => self.find_dir(parent, &directory),
            }
        };
        let (here, there) = (own(one)?, own(other)?);
        let (from, to) = (here.path.join(one.1), there.path.join(other.1));
        let (going, coming) = (self.nodes.renaming(&from, &to), self.nodes.renaming(&to, &from));
        here.dir
            .rename(one.1, &there.dir, other.1, RenameFlags::EXCHANGE)
            .map_err(Error::local("exchange", &from))?;
        self.nodes.exchanged(&going, &coming);
        for path in [&from, &to] {
            self.keep_own(path);
            self.count_own(path);
        }
        self.touch_directory(one.0);
        self.touch_directory(other.0);
        Ok(())
    }

    /// Replaces a catalogued file by the user's file at `found` and `name`. The store does it, so that a transfer that
    /// ends at the same moment does not replace the file.
    fn override_catalogued(
        &self,
        found: &FoundDir,
        name: &OsStr,
        file: &Catalogued,
    ) -> Result<LocalStat, Error> {
        let from = found.path.join(name);
        let stat = found
            .dir
            .stat(name)
            .map_err(Error::local("stat", &from))?
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
        self.fetcher.store().move_in(&from, &file.key)?;
        Ok(stat)
    }

    /// Removes a file that a client renames over a config file, and reports success. A connected client renames its own
    /// copy of the server's description over `server_config` (and the like), once per process. The mount's file is at
    /// least as new, and the next offline start relies on the one in the store. The client's next lookup of the name
    /// finds the mount's file. Only the tag of the layout has to be the mount's own: references lie as it says.
    fn give_up(&self, parent: Ino, found: &FoundDir, name: &OsStr, file: ConfigFile) -> Result<(), Error> {
        let from = found.path.join(name);
        if file == ConfigFile::SubdirMode && !self.is_tag(found, name) {
            log::warn!(
                "the layout of references stays {}: a mount shows one layout, and moves none of them",
                self.layout().as_str()
            );
            return Err(Error::NotPermitted("the layout of a mount is fixed"));
        }
        self.hold(found, name);
        let removing = self.nodes.removing(&from);
        found.dir.unlink(name).map_err(Error::local("replace", &from))?;
        removing.done();
        self.touch_directory(parent);
        Ok(())
    }

    /// Whether the file has the contents of the mount's own tag.
    fn is_tag(&self, found: &FoundDir, name: &OsStr) -> bool {
        let mut text = [0; 64];
        let read = |file: std::fs::File| std::os::unix::fs::FileExt::read_at(&file, &mut text, 0);
        let inode = found.dir.inode(name).ok().flatten();
        let length = inode.and_then(|inode| inode.open(Access::of(0)).and_then(read).ok());
        length
            .and_then(|length| text.get(..length))
            .is_some_and(|text| text.trim_ascii() == self.layout().as_str().as_bytes())
    }
}
