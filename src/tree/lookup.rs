//! Finding names.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use crate::crds::{FileName, Observatory, grammar};
use crate::store::ReferenceLayout;

use super::core::{Core, blocking, ready};
use super::directory::{Directory, Subset, fixed_directory, instrument_index, observatory_called};
use super::error::Error;
use super::ino::{Area, ConfigFile, ControlFile, Fixed, Number};
use super::local::Local;
use super::nodes::Key;
use super::ops::{CacheTtl, Ino, Lookup, NodeKind, Outcome};
use super::views::{Catalogued, View};

/// Never there.
pub(super) const ABSENT: Lookup = Lookup::Absent {
    keep: CacheTtl::Forever,
};
/// Not there, and not without a new catalog.
const NOT_IN_CATALOG: Lookup = Lookup::Absent {
    keep: CacheTtl::Briefly,
};
/// Not there at the moment.
pub(super) const NOT_NOW: Lookup = Lookup::Absent {
    keep: CacheTtl::Never,
};

impl Core {
    /// The directory with this number.
    pub(super) fn directory(&self, ino: Ino) -> Result<Directory, Error> {
        match Number::of(ino).ok_or(Error::Stale)? {
            Number::Fixed(fixed) => fixed_directory(fixed).ok_or(Error::NotDirectory),
            Number::Catalogued(..) | Number::Described(..) => Err(Error::NotDirectory),
            Number::Noded(_) => match self.nodes.key(ino).ok_or(Error::Stale)? {
                Key::Local { .. } => {
                    let (path, stat) = self.stat_node(ino)?;
                    match stat.kind {
                        NodeKind::Directory => path.map(Directory::Local).ok_or(Error::NotFound),
                        NodeKind::File | NodeKind::Symlink | NodeKind::Fifo | NodeKind::Socket => {
                            Err(Error::NotDirectory)
                        }
                    }
                }
                Key::Context(context) => Ok(Directory::Context(context)),
                Key::Dataset { context, dataset } => Ok(Directory::Dataset(context, dataset)),
                Key::Symbolic(_) | Key::Answer { .. } => Err(Error::NotDirectory),
            },
        }
    }

    /// Finds a name, and counts the kernel's reference to what it finds.
    pub(super) fn lookup(self: &Arc<Self>, parent: Ino, name: &OsStr) -> Outcome<Lookup, Error> {
        let place = match self.directory(parent) {
            Ok(place) => place,
            Err(error) => return ready(Err(error)),
        };
        match &place {
            Directory::Catalogue(observatory, subset) => self.lookup_catalogue(*observatory, *subset, name),
            Directory::Config(observatory) => self.lookup_config(*observatory, &place, name),
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
            | Directory::Local(_) => ready(match self.fixed_in(&place, name) {
                Some(fixed) => Ok(self.found_fixed(fixed)),
                None if self.is_hidden(&place, name) => Ok(ABSENT),
                None => self.lookup_local(&place, name),
            }),
        }
    }

    /// The place that always exists under this name.
    pub(super) fn fixed_in(&self, place: &Directory, name: &OsStr) -> Option<Fixed> {
        let name = name.to_str()?;
        match place {
            Directory::Root if name == "bestrefs" => Some(Fixed::Bestrefs),
            Directory::Root if name == ".crds-fs" => Some(Fixed::Control),
            Directory::Root => Area::ALL
                .into_iter()
                .find(|area| area.as_str() == name)
                .map(Fixed::Area),
            Directory::Control if name == "files" => Some(Fixed::Files),
            Directory::Control => ControlFile::ALL
                .into_iter()
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
    pub(super) fn is_hidden(&self, place: &Directory, name: &OsStr) -> bool {
        matches!(place, Directory::Area(_))
            && name
                .to_str()
                .and_then(observatory_called)
                .is_some_and(|observatory| !self.shows(observatory))
    }

    fn found_fixed(&self, fixed: Fixed) -> Lookup {
        let (attr, keep) = self.fixed_attr(fixed);
        Lookup::Found { attr, keep }
    }

    /// Finds one of the user's files.
    pub(super) fn lookup_local(&self, place: &Directory, name: &OsStr) -> Result<Lookup, Error> {
        let Some(path) = place
            .store_path()
            .and_then(|directory| Local::join(&directory, name))
        else {
            return Ok(ABSENT);
        };
        self.lookup_path(&path)
    }

    /// Finds the user's file at a path of the store.
    pub(super) fn lookup_path(&self, path: &Path) -> Result<Lookup, Error> {
        let Some(local) = &self.local else {
            return Ok(NOT_NOW);
        };
        let Some(stat) = local.stat(path).map_err(Error::local("stat", path))? else {
            return Ok(NOT_NOW);
        };
        let ino = self.nodes.refer(Key::of(&stat), Some(path));
        Ok(Lookup::Found {
            attr: self.local_attr(ino, &stat),
            keep: CacheTtl::Never,
        })
    }

    /// The config files are there whether or not the server can be reached; but what the server says is worth a wait.
    fn lookup_config(
        self: &Arc<Self>,
        observatory: Observatory,
        place: &Directory,
        name: &OsStr,
    ) -> Outcome<Lookup, Error> {
        match self.fixed_in(place, name) {
            None => ready(self.lookup_local(place, name)),
            Some(fixed @ Fixed::ConfigFile(_, ConfigFile::SubdirMode)) => ready(Ok(self.found_fixed(fixed))),
            Some(fixed) => {
                let core = Arc::clone(self);
                self.ensure(observatory).map(move |_| Ok(core.found_fixed(fixed)))
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
            return ready(Ok(self.found_fixed(fixed)));
        }
        let (core, name) = (Arc::clone(self), name.to_owned());
        self.ensure(observatory).then(move |view| match view {
            Ok(view) => core.lookup_in(&view, subset, name, true),
            Err(error) => ready(core.lookup_without_catalog(observatory, subset, &name, error)),
        })
    }

    /// The user's files are there without a catalog too; what could be in the catalog is not declared absent.
    fn lookup_without_catalog(
        &self,
        observatory: Observatory,
        subset: Subset,
        name: &OsStr,
        error: Error,
    ) -> Result<Lookup, Error> {
        match self.lookup_local(&Directory::Catalogue(observatory, subset), name)? {
            Lookup::Absent { .. } if is_plausible(observatory, subset, name) => Err(error),
            found => Ok(found),
        }
    }

    /// Finds a name among the catalogued and the user's own. One that could be newer than the catalog is asked for, if
    /// `may_ask`.
    fn lookup_in(
        self: &Arc<Self>,
        view: &View,
        subset: Subset,
        name: OsString,
        may_ask: bool,
    ) -> Outcome<Lookup, Error> {
        let observatory = view.observatory;
        let text = name.to_str();
        let file = text.and_then(|text| view.named(text));
        let elsewhere = match file {
            Some(file) if Subset::of(self.layout(), &file.key) == subset => {
                return self.found_catalogued(file);
            }
            other => other.is_some(),
        };
        let local = self.lookup_local(&Directory::Catalogue(observatory, subset), &name);
        if !matches!(local, Ok(Lookup::Absent { .. })) || elsewhere {
            return ready(local);
        }
        // The Python client's bestrefs tool lower-cases names before it looks for them (spec/crds-service 9, trap 3).
        let alias = text
            .and_then(|text| view.catalog().find_ignoring_case(text))
            .and_then(|item| view.at(item.index))
            .filter(|file| Subset::of(self.layout(), &file.key) == subset);
        if let Some(file) = alias {
            return self.found_catalogued(file);
        }
        if !is_plausible(observatory, subset, &name) {
            return ready(Ok(NOT_NOW));
        }
        let Some(asking) = text
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

    /// A catalogued file, or what the user has put in its place.
    pub(super) fn found_catalogued(self: &Arc<Self>, file: Catalogued) -> Outcome<Lookup, Error> {
        if self.is_overridden(&file) {
            match self.lookup_path(&self.path_of(&file.key)) {
                Ok(Lookup::Absent { .. }) => {}
                found => return ready(found),
            }
        }
        self.sized_attr(file).map(|attr| {
            Ok(Lookup::Found {
                attr: attr?,
                keep: CacheTtl::Forever,
            })
        })
    }
}

impl Core {
    /// Where a symbolic link leads.
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
                Some(Key::Local { .. }) => ready(self.local_link(ino)),
                Some(key) => self.bestref_link(key),
            },
        }
    }

    fn local_link(&self, ino: Ino) -> Result<OsString, Error> {
        let link = self.inode_of(ino)?;
        link.readlink()
            .map_err(Error::local("read the link", Path::new("")))
    }

    /// Makes the user's names in a directory durable.
    pub(super) fn fsyncdir(&self, ino: Ino) -> Outcome<(), Error> {
        let (local, path) = match self
            .directory(ino)
            .map(|place| (self.local.clone(), place.store_path()))
        {
            Err(error) => return ready(Err(error)),
            Ok((Some(local), Some(path))) => (local, path),
            Ok(_) => return ready(Ok(())),
        };
        Outcome::Later(Box::pin(blocking(move || {
            local.sync_dir(&path).map_err(Error::local("sync", &path))
        })))
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
