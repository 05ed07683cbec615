//! Finding names.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use crate::crds::{FileName, Observatory, grammar};
use crate::store::ReferenceLayout;

use super::core::{Core, ready};
use super::directory::{Directory, Subset, fixed_directory, instrument_index, observatory_called};
use super::error::Error;
use super::find::Made;
use super::ino::{Area, ConfigFile, Fixed, Number};
use super::local::Local;
use super::nodes::Key;
use super::ops::{CacheTtl, Ino, Lookup, Outcome};
use super::views::{Catalogued, View};

/// Never there, so that the kernel may remember it for good.
pub(super) const ABSENT: Lookup = Lookup::Absent {
    keep: CacheTtl::Forever,
};
/// Not there, and not without a new catalog.
const NOT_IN_CATALOG: Lookup = Lookup::Absent {
    keep: CacheTtl::Briefly,
};
/// Not in the store, where it may appear behind the back of the mount.
const NOT_IN_STORE: Lookup = Lookup::Absent {
    keep: CacheTtl::Briefly,
};
/// Not there at the moment.
pub(super) const NOT_NOW: Lookup = Lookup::Absent {
    keep: CacheTtl::Never,
};

impl Core {
    /// The directory with this number. From memory.
    pub(super) fn directory(&self, ino: Ino) -> Result<Directory, Error> {
        match Number::of(ino).ok_or(Error::Stale)? {
            Number::Fixed(fixed) => fixed_directory(fixed).ok_or(Error::NotDirectory),
            Number::Catalogued(..) | Number::Described(..) => Err(Error::NotDirectory),
            Number::Noded(_) => match self.nodes.key(ino).ok_or(Error::Stale)? {
                // The kernel was told that it is a directory. Its path is verified when it is used.
                Key::Local { .. } => self.nodes.path(ino).map(Directory::Local).ok_or(Error::NotFound),
                Key::Context(context) => Ok(Directory::Context(context)),
                Key::Dataset { context, dataset } => Ok(Directory::Dataset(context, dataset)),
                Key::Symbolic(_) | Key::Answer { .. } => Err(Error::NotDirectory),
            },
        }
    }

    /// Finds a name, and counts the kernel's reference to what it finds.
    pub(super) fn lookup(self: &Arc<Self>, parent: Ino, name: &OsStr) -> Outcome<Lookup, Error> {
        let directory = match self.directory(parent) {
            Ok(directory) => directory,
            Err(error) => return ready(Err(error)),
        };
        match &directory {
            Directory::Catalogue(observatory, subset) => self.lookup_catalogue(*observatory, *subset, name),
            Directory::Config(observatory) => self.lookup_config(*observatory, parent, name),
            Directory::Bestrefs => self.lookup_context(name),
            Directory::Context(context) => self.lookup_dataset(context, name),
            Directory::Dataset(context, dataset) => self.lookup_answer(context, dataset, name),
            Directory::FilesObservatory(area, observatory) => {
                self.lookup_described(*area, *observatory, name)
            }
            Directory::Root
            | Directory::Control
            | Directory::Files
            | Directory::FilesArea(_)
            | Directory::Area(_)
            | Directory::Pickles(_)
            | Directory::Local(_) => match self.fixed_in(&directory, name) {
                Some(fixed) => self.found_fixed(fixed),
                None if self.is_hidden(&directory, name) => ready(Ok(ABSENT)),
                None => self.lookup_local(parent, directory, name),
            },
        }
    }

    /// The fixed entry with this name, if it is one.
    pub(super) fn fixed_in(&self, directory: &Directory, name: &OsStr) -> Option<Fixed> {
        let name = name.to_str()?;
        match directory {
            Directory::Root if name == "bestrefs" => Some(Fixed::Bestrefs),
            Directory::Root if name == ".crds-fs" => Some(Fixed::Control),
            Directory::Root => Area::ALL
                .into_iter()
                .find(|area| area.as_str() == name)
                .map(Fixed::Area),
            Directory::Control if name == "files" => Some(Fixed::Files),
            Directory::Control => self
                .control_files()
                .find(|file| file.as_str() == name)
                .map(Fixed::ControlFile),
            Directory::Area(area) => {
                let observatory = observatory_called(name).filter(|found| self.shows(*found))?;
                Some(Fixed::Observatory(*area, observatory))
            }
            Directory::Files => Area::DESCRIBED
                .into_iter()
                .find(|area| area.as_str() == name)
                .map(Fixed::FilesArea),
            Directory::FilesArea(area) => {
                let observatory = observatory_called(name).filter(|found| self.shows(*found))?;
                Some(Fixed::FilesObservatory(*area, observatory))
            }
            Directory::Config(observatory) => {
                let file = ConfigFile::ALL.into_iter().find(|file| file.as_str() == name)?;
                Some(Fixed::ConfigFile(*observatory, file))
            }
            Directory::Catalogue(observatory, Subset::References)
                if self.layout() == ReferenceLayout::Instrument =>
            {
                let links = observatory.legacy_links();
                let link = links.iter().position(|(link, _)| *link == name);
                match link.and_then(|index| u8::try_from(index).ok()) {
                    Some(index) => Some(Fixed::InstrumentLink(*observatory, index)),
                    None => instrument_index(*observatory, name)
                        .map(|index| Fixed::Instrument(*observatory, index)),
                }
            }
            Directory::Catalogue(..)
            | Directory::Pickles(_)
            | Directory::Local(_)
            | Directory::Bestrefs
            | Directory::Context(_)
            | Directory::Dataset(..)
            | Directory::FilesObservatory(..) => None,
        }
    }

    /// Whether the store may have this name although the mount does not show it: other observatories' directories.
    pub(super) fn is_hidden(&self, directory: &Directory, name: &OsStr) -> bool {
        matches!(directory, Directory::Area(_))
            && name
                .to_str()
                .and_then(observatory_called)
                .is_some_and(|observatory| !self.shows(observatory))
    }

    fn found_fixed(self: &Arc<Self>, fixed: Fixed) -> Outcome<Lookup, Error> {
        self.fixed_attr(fixed).map(|found| {
            let (attr, keep) = found?;
            Ok(Lookup::Found { attr, keep })
        })
    }

    /// Finds one of the user's files in a directory.
    fn lookup_local(
        self: &Arc<Self>,
        parent: Ino,
        directory: Directory,
        name: &OsStr,
    ) -> Outcome<Lookup, Error> {
        let (core, name) = (Arc::clone(self), name.to_owned());
        self.on_disk(move |core| core.find_local(parent, &directory, &name))
            .map(move |found| Ok(core.found_local(found?)))
    }

    /// The file that the store has under a name in a directory; `None` for nothing.
    fn find_local(&self, parent: Ino, directory: &Directory, name: &OsStr) -> Result<Option<Made>, Error> {
        if self.local.is_none() || directory.store_path().is_none() {
            return Ok(None);
        }
        let renames = self.nodes.renames();
        let found = match self.find_dir(parent, directory) {
            Ok(found) => found,
            Err(Error::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(path) = Local::join(&found.path, name) else {
            return Ok(None);
        };
        let stat = found.dir.stat(name).map_err(Error::local("stat", &path))?;
        Ok(stat.map(|stat| Made { path, stat, renames }))
    }

    fn found_local(&self, found: Option<Made>) -> Lookup {
        found.map_or(NOT_IN_STORE, |found| self.refer_local(&found))
    }

    /// Finds the user's file that replaces a catalogued one.
    fn lookup_override(self: &Arc<Self>, file: &Catalogued) -> Outcome<Lookup, Error> {
        let (core, path) = (Arc::clone(self), self.path_of(&file.key));
        let stat = self.on_disk(move |core| {
            let renames = core.nodes.renames();
            let stat = core.local()?.stat(&path).map_err(Error::local("stat", &path))?;
            Ok(stat.map(|stat| Made { path, stat, renames }))
        });
        stat.map(move |found| Ok(core.found_local(found?)))
    }

    /// Finds a name in `config/OBSERVATORY`. The config files exist even when the server cannot be reached. Opening one
    /// waits for the catalog, whose load begins here.
    fn lookup_config(
        self: &Arc<Self>,
        observatory: Observatory,
        parent: Ino,
        name: &OsStr,
    ) -> Outcome<Lookup, Error> {
        let directory = Directory::Config(observatory);
        match self.fixed_in(&directory, name) {
            None => self.lookup_local(parent, directory, name),
            Some(fixed) => {
                // Dropping the wait does not end the load.
                drop(self.ensure(observatory));
                self.found_fixed(fixed)
            }
        }
    }

    fn lookup_catalogue(
        self: &Arc<Self>,
        observatory: Observatory,
        subset: Subset,
        name: &OsStr,
    ) -> Outcome<Lookup, Error> {
        if let Some(fixed) = self.fixed_in(&Directory::Catalogue(observatory, subset), name) {
            return self.found_fixed(fixed);
        }
        let (core, name) = (Arc::clone(self), name.to_owned());
        self.ensure_soon(observatory).then(move |view| match view {
            Ok(view) => core.lookup_in(&view, subset, name, true),
            Err(error) => core.lookup_without_catalog(observatory, subset, name, error),
        })
    }

    /// Finds one of the user's files while there is no catalog. A name that the catalog could have is not declared
    /// absent: it fails with `error`.
    fn lookup_without_catalog(
        self: &Arc<Self>,
        observatory: Observatory,
        subset: Subset,
        name: OsString,
        error: Error,
    ) -> Outcome<Lookup, Error> {
        let directory = Directory::Catalogue(observatory, subset);
        self.lookup_local(subset.ino(observatory), directory, &name)
            .map(move |found| match found? {
                Lookup::Absent { .. } if is_plausible(observatory, subset, &name) => Err(error),
                found => Ok(found),
            })
    }

    /// Finds a name among the catalogued files and the user's own. If `may_ask`, the server is asked for a name that
    /// could be newer than the catalog.
    fn lookup_in(
        self: &Arc<Self>,
        view: &Arc<View>,
        subset: Subset,
        name: OsString,
        may_ask: bool,
    ) -> Outcome<Lookup, Error> {
        let observatory = view.observatory;
        let file = name.to_str().and_then(|text| view.named(text));
        let elsewhere = match file {
            Some(file) if Subset::of(self.layout(), &file.key) == subset => {
                return self.found_catalogued(file);
            }
            other => other.is_some(),
        };
        let directory = Directory::Catalogue(observatory, subset);
        let (core, view) = (Arc::clone(self), Arc::clone(view));
        self.lookup_local(subset.ino(observatory), directory, &name)
            .then(move |local| match local {
                Ok(Lookup::Absent { .. }) if !elsewhere => core.lookup_unlisted(&view, subset, name, may_ask),
                found => ready(found),
            })
    }

    /// Finds a name that neither the catalog nor the user has in a directory: in another spelling, or in a newer catalog.
    fn lookup_unlisted(
        self: &Arc<Self>,
        view: &View,
        subset: Subset,
        name: OsString,
        may_ask: bool,
    ) -> Outcome<Lookup, Error> {
        let observatory = view.observatory;
        // The Python client's bestrefs tool lower-cases names before it looks for them (spec/crds-service 9, trap 3).
        let alias = name
            .to_str()
            .and_then(|text| view.catalog().find_ignoring_case(text))
            .and_then(|item| view.at(item.index))
            .filter(|file| Subset::of(self.layout(), &file.key) == subset);
        if let Some(file) = alias {
            return self.found_catalogued(file);
        }
        if !is_plausible(observatory, subset, &name) {
            return ready(Ok(NOT_IN_STORE));
        }
        let Some(asking) = name
            .to_str()
            .filter(|_| may_ask)
            .and_then(|name| self.fetcher.catalogs().missing(observatory, name))
        else {
            return ready(Ok(NOT_IN_CATALOG));
        };
        let core = Arc::clone(self);
        Outcome::Later(Box::pin(async move {
            let answered = asking.await.is_some();
            let found = match core.view(observatory) {
                Some(view) => core.lookup_in(&view, subset, name, false).wait().await?,
                None => NOT_NOW,
            };
            match found {
                Lookup::Absent { .. } if !answered => Ok(NOT_NOW),
                found => Ok(found),
            }
        }))
    }

    /// A catalogued file, or the user's file that replaces it.
    pub(super) fn found_catalogued(self: &Arc<Self>, file: Catalogued) -> Outcome<Lookup, Error> {
        if !self.is_overridden(&file) {
            return self.found_copy(file);
        }
        let core = Arc::clone(self);
        self.lookup_override(&file).then(move |found| match found {
            Ok(Lookup::Absent { .. }) => core.found_copy(file),
            found => ready(found),
        })
    }

    fn found_copy(self: &Arc<Self>, file: Catalogued) -> Outcome<Lookup, Error> {
        self.sized_attr(file).map(|attr| {
            Ok(Lookup::Found {
                attr: attr?,
                keep: CacheTtl::Forever,
            })
        })
    }
}

impl Core {
    /// The target of a symbolic link. [`Error::Invalid`] when it is no link.
    pub(super) fn readlink(self: &Arc<Self>, ino: Ino) -> Outcome<OsString, Error> {
        let no_link = Err(Error::Invalid("not a symbolic link"));
        match Number::of(ino) {
            None => ready(Err(Error::Stale)),
            Some(Number::Fixed(Fixed::InstrumentLink(observatory, index))) => {
                let link = observatory.legacy_links().get(usize::from(index));
                ready(link.map(|(_, target)| (*target).into()).ok_or(Error::Stale))
            }
            Some(Number::Fixed(_) | Number::Catalogued(..) | Number::Described(..)) => ready(no_link),
            Some(Number::Noded(_)) => match self.nodes.key(ino) {
                None => ready(Err(Error::Stale)),
                Some(Key::Local { .. }) => self.on_disk(move |core| core.local_link(ino)),
                Some(key) => self.bestref_link(key),
            },
        }
    }

    fn local_link(&self, ino: Ino) -> Result<OsString, Error> {
        let link = self.inode_of(ino)?;
        link.readlink()
            .map_err(Error::local("read the link", Path::new("")))
    }

    /// Makes the names in a directory durable.
    pub(super) fn fsyncdir(self: &Arc<Self>, ino: Ino) -> Outcome<(), Error> {
        let directory = match self.directory(ino) {
            Ok(directory) if self.local.is_some() && directory.store_path().is_some() => directory,
            // A directory that is not on the disk, or was removed, has nothing to make durable.
            Ok(_) | Err(Error::NotFound) => return ready(Ok(())),
            Err(error) => return ready(Err(error)),
        };
        self.on_pool(move |core| {
            // Also the names of copies, which are made durable after the opens that fetched them.
            core.fetcher.store().flush()?;
            match core.find_dir(ino, &directory) {
                Ok(found) => found.dir.sync().map_err(Error::local("sync", &found.path)),
                Err(Error::NotFound) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }
}

/// Whether the server could know of such a file in this directory.
pub(super) fn is_plausible(observatory: Observatory, subset: Subset, name: &OsStr) -> bool {
    name.to_str()
        .and_then(|text| text.parse::<FileName>().ok())
        .is_some_and(|name| {
            let instrument = || {
                let instrument = observatory.instrument_of(name.as_str());
                instrument.and_then(|instrument| instrument_index(observatory, instrument))
            };
            let here = match subset {
                Subset::Mappings => name.kind().is_mapping(),
                Subset::References => !name.kind().is_mapping(),
                Subset::Instrument(index) => !name.kind().is_mapping() && instrument() == Some(index),
            };
            here && grammar::plausible(observatory, name.as_str())
        })
}
