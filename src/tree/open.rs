//! Opening and creating files.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use crate::crds::Observatory;
use crate::fetch::Provided;

use super::copies::Identity;
use super::core::{Core, ready};
use super::descriptors::Slot;
use super::directory::Directory;
use super::error::Error;
use super::find::{FoundDir, Made};
use super::handles::{Content, OpenFile};
use super::ino::{Area, ConfigFile, ControlFile, Fixed, Number, catalogued};
use super::inode::{Access, LocalStat};
use super::local::Local;
use super::nodes::Key;
use super::ops::{Backing, Caller, Ino, Invalidation, Lookup, Opened, Outcome};
use super::views::Catalogued;

/// One of the user's files that was created, or found, and is open.
pub(super) struct Created {
    made: Made,
    file: File,
    access: Access,
    slot: Slot,
}

impl Core {
    pub(super) fn open(self: &Arc<Self>, caller: Caller, ino: Ino, flags: i32) -> Outcome<Opened, Error> {
        let access = Access::of(flags);
        if access.changes() && self.options.read_only {
            return ready(Err(Error::ReadOnly));
        }
        match Number::of(ino) {
            None => ready(Err(Error::Stale)),
            Some(Number::Fixed(Fixed::ControlFile(ControlFile::Hold))) => self.open_hold(access),
            Some(Number::Fixed(Fixed::ControlFile(file))) => {
                if access.changes() {
                    return ready(Err(Error::ReadOnly));
                }
                self.open_control(file)
            }
            Some(Number::Fixed(fixed)) => self.open_fixed(fixed, access),
            Some(Number::Catalogued(observatory, serial)) => {
                let Some(file) = self.view(observatory).and_then(|view| view.with_serial(serial)) else {
                    return ready(Err(Error::Stale));
                };
                if access.changes() {
                    return if self.removals.is_by(ino, caller.tid) {
                        self.open_upload(ino, file, access)
                    } else {
                        ready(Err(Error::Immutable(file.key)))
                    };
                }
                if self.refused_moves.begins_copy(caller.tid, ino) {
                    return ready(Err(Error::Immutable(file.key)));
                }
                if let Err(error) = self.use_catalogued(&file) {
                    return ready(Err(error));
                }
                self.after_removal(ino, move |core| core.open_catalogued(caller.tid, ino, &file))
            }
            Some(Number::Described(..)) if access.changes() => ready(Err(Error::ReadOnly)),
            Some(Number::Described(observatory, serial)) => ready(
                self.described_text(observatory, serial)
                    .map(|text| self.opened_text(ino, text)),
            ),
            Some(Number::Noded(_)) => match self.nodes.key(ino) {
                None => ready(Err(Error::Stale)),
                Some(Key::Local { .. }) => self.open_local(ino, access),
                Some(_) if access.changes() => ready(Err(Error::ReadOnly)),
                Some(key) => self.open_answer(ino, key),
            },
        }
    }

    /// Opens a catalogued file. One that is not in the store is downloaded.
    fn open_catalogued(self: &Arc<Self>, tid: u32, ino: Ino, file: &Catalogued) -> Outcome<Opened, Error> {
        let slot = match self.descriptors.slot() {
            Ok(slot) => slot,
            Err(error) => return ready(Err(error)),
        };
        let key = file.key.clone();
        let provided = self.on_disk_then(move |core| {
            let provided = core.fetcher.provide(&key);
            core.resolver.note_opened(&key);
            provided.map(|provided| Ok(provided?))
        });
        let provided = self.waiting.note(&file.key, tid, provided);
        let (core, file) = (Arc::clone(self), file.clone());
        provided.then(move |provided| match provided {
            // Not where the disk is called: who has left by then would leave an open file behind.
            Ok(copy) if copy.entry == Some(file.entry) => {
                ready(core.opened_copy(tid, ino, &file, copy, slot))
            }
            // A catalog that came since the number was looked up gives the name other contents, or the user has put a file
            // there: each has another number, for which the kernel looks on hearing that this one is stale.
            Ok(_) => ready(Err(Error::Stale)),
            Err(error) => ready(Err(error)),
        })
    }

    /// Opens a copy of the store. When it is another one than the copy that is open under this number (that was
    /// damaged, or removed, and fetched anew), the name gets another number, for which the kernel looks after hearing
    /// that this one is stale.
    fn opened_copy(
        &self,
        tid: u32,
        ino: Ino,
        file: &Catalogued,
        copy: Provided,
        slot: Slot,
    ) -> Result<Opened, Error> {
        let size = file.entry.size.unwrap_or(copy.length);
        let is_open = || {
            let handle = |open: &OpenFile| open.ino == ino && matches!(open.content, Content::Stored(_));
            self.files.find(handle).is_some()
        };
        let opened = self.copies.open(ino, Identity::of(&copy), is_open, |keep_cache| {
            self.opened_file(tid, ino, size, Content::Stored(copy.file), keep_cache, Some(slot))
        });
        opened.ok_or_else(|| {
            self.views.renumber(file);
            self.tell(Invalidation::Attributes { ino });
            Error::Stale
        })
    }

    fn open_fixed(self: &Arc<Self>, fixed: Fixed, access: Access) -> Outcome<Opened, Error> {
        match fixed {
            Fixed::ConfigFile(..) if access.changes() => {
                ready(Err(Error::NotPermitted("this file is kept by crds-fs")))
            }
            Fixed::ConfigFile(observatory, file) => self.open_config(observatory, file),
            Fixed::InstrumentLink(..) => ready(Err(Error::Invalid("a link cannot be opened"))),
            Fixed::Root
            | Fixed::Area(_)
            | Fixed::Bestrefs
            | Fixed::Control
            | Fixed::ControlFile(_)
            | Fixed::Files
            | Fixed::FilesArea(_)
            | Fixed::FilesObservatory(..)
            | Fixed::Observatory(..)
            | Fixed::Instrument(..) => ready(Err(Error::IsDirectory)),
        }
    }

    /// Opens a config file once the catalog is there, or cannot be had.
    fn open_config(self: &Arc<Self>, observatory: Observatory, file: ConfigFile) -> Outcome<Opened, Error> {
        let ino = Fixed::ConfigFile(observatory, file).ino();
        if file == ConfigFile::SubdirMode {
            return ready(Ok(self.opened_text(ino, self.config_text(observatory, file))));
        }
        let core = Arc::clone(self);
        self.ensure(observatory)
            .map(move |_| Ok(core.opened_text(ino, core.config_text(observatory, file))))
    }

    /// An open file of generated text, which does not change while it is open.
    pub(super) fn opened_text(&self, ino: Ino, text: Bytes) -> Opened {
        let size = u64::try_from(text.len()).unwrap_or_default();
        self.opened_file(0, ino, size, Content::Generated(text), false, None)
    }

    fn open_local(self: &Arc<Self>, ino: Ino, access: Access) -> Outcome<Opened, Error> {
        if access.read
            && let Err(error) = self.use_local(ino)
        {
            return ready(Err(error));
        }
        let slot = match self.descriptors.slot() {
            Ok(slot) => slot,
            Err(error) => return ready(Err(error)),
        };
        let core = Arc::clone(self);
        let opened = self.on_disk(move |core| {
            if access.changes() {
                core.refuse_adopted(ino)?;
            }
            let inode = core.inode_of(ino)?;
            let file = inode.open(access).map_err(Error::local("open", Path::new("")))?;
            let stat = LocalStat::of_file(&file).map_err(Error::local("stat", Path::new("")))?;
            Ok((file, stat.size))
        });
        opened.map(move |opened| {
            let (file, size) = opened?;
            Ok(core.opened_local(ino, file, size, access, slot))
        })
    }

    fn opened_local(&self, ino: Ino, file: File, size: u64, access: Access, slot: Slot) -> Opened {
        let file = Arc::new(file);
        self.opened_file(0, ino, size, Content::Local { file, access }, false, Some(slot))
    }

    pub(super) fn opened_file(
        &self,
        opener: u32,
        ino: Ino,
        size: u64,
        content: Content,
        keep_cache: bool,
        slot: Option<Slot>,
    ) -> Opened {
        let (backing, length) = match &content {
            Content::Stored(file) => (Backing::Stored(Arc::clone(file)), Some(size)),
            Content::Local { .. } => (Backing::Local, None),
            Content::Generated(_) | Content::Hold { .. } => (Backing::Generated, None),
        };
        let handle = self.files.insert(OpenFile {
            ino,
            content,
            length,
            written: AtomicBool::new(false),
            upload: None,
            opener,
            _slot: slot,
        });
        Opened {
            handle,
            size,
            backing,
            keep_cache,
        }
    }

    /// The path in the store under which a new name may be made. An error where there cannot be new names, and where
    /// something that is not the user's has the name.
    pub(super) fn free_path(&self, parent: Ino, name: &OsStr) -> Result<PathBuf, Error> {
        let directory = self.directory(parent)?;
        let parent_path = match (directory.store_path(), &directory) {
            (Some(path), _) => path,
            (None, Directory::Root) => {
                return Err(Error::NotPermitted(
                    "the names in the root are fixed; use one of its directories",
                ));
            }
            (None, _) => return Err(Error::ReadOnly),
        };
        self.writable()?;
        let path = Local::join(&parent_path, name).ok_or(Error::Invalid("not a file name"))?;
        if self.fixed_in(&directory, name).is_some() {
            return Err(Error::Exists);
        }
        if self.is_hidden(&directory, name) {
            return Err(Error::NotPermitted("this observatory is not part of the mount"));
        }
        Ok(path)
    }

    /// As [`Self::free_path`], with the directory in the store, made if need be. Refuses names that a catalog has.
    pub(super) fn new_name(&self, parent: Ino, name: &OsStr) -> Result<(FoundDir, PathBuf), Error> {
        self.refuse_catalogued(&self.free_path(parent, name)?)?;
        let found = self.make_dir(parent, &self.directory(parent)?)?;
        let path = found.path.join(name);
        Ok((found, path))
    }

    /// The catalogued file that has the last name of a path of the store, and whether that is the path at which it is
    /// shown.
    pub(super) fn catalogued_at(&self, path: &Path) -> Option<(Catalogued, bool)> {
        let (observatory, name) = Self::catalogue_of(path)?;
        let file = self.view(observatory)?.named(name.to_str()?)?;
        let here = self.path_of(&file.key) == path;
        Some((file, here))
    }

    /// Refuses to make a file at the path of a catalogued one, and at the path that it has in the other layout: `crds
    /// sync --organize` would copy (and so download) the whole archive there (spec/crds-service 6.4).
    pub(super) fn refuse_catalogued(&self, path: &Path) -> Result<(), Error> {
        match self.catalogued_at(path) {
            Some((file, true)) if !self.is_overridden(&file) => Err(Error::Exists),
            Some((file, false)) if is_cache_directory(path) => Err(Error::Immutable(file.key)),
            _ => Ok(()),
        }
    }

    pub(super) fn create(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> Result<Created, Error> {
        let access = Access::of(flags);
        let slot = self.descriptors.slot()?;
        let renames = self.nodes.renames();
        let (found, path) = self.new_name(parent, name)?;
        let created = found.dir.create(caller, name, access, mode);
        let (file, stat) = created.map_err(Error::local("create", &path))?;
        self.keep_own(&path);
        self.touch_directory(parent);
        Ok(Created {
            made: Made { path, stat, renames },
            file,
            access,
            slot,
        })
    }

    /// The answer to a create: the file, with the kernel's reference counted, and its handle.
    pub(super) fn created(&self, created: Created) -> (Lookup, Opened) {
        let Created {
            made,
            file,
            access,
            slot,
        } = created;
        let (attr, keep) = self.referred(&made);
        let opened = self.opened_local(attr.ino, file, made.stat.size, access, slot);
        (Lookup::Found { attr, keep }, opened)
    }

    /// The inode number of a catalogued file.
    pub(super) fn number_of(file: &Catalogued) -> Ino {
        catalogued(file.key.observatory, file.serial)
    }
}

/// Whether the path is directly in a directory where one of the layouts puts references.
pub(super) fn is_cache_directory(path: &Path) -> bool {
    let parts: Vec<&str> = path.iter().filter_map(OsStr::to_str).collect();
    match parts.as_slice() {
        [area, _, _] => *area == Area::References.as_str() || *area == Area::Mappings.as_str(),
        [area, observatory, directory, _] => {
            let observatory = super::directory::observatory_called(observatory);
            *area == Area::References.as_str()
                && observatory.is_some_and(|known| known.instrument_directories().contains(directory))
        }
        _ => false,
    }
}
