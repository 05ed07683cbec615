//! Directory listings: the snapshot that is taken when a directory is opened or rewound.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::store::ReferenceLayout;

use super::core::{Core, ready};
use super::directory::{Directory, Subset};
use super::error::Error;
use super::handles::{Listing, Node, OpenDirectory, Other};
use super::ino::{Area, ConfigFile, Fixed};
use super::nodes::Key;
use super::ops::{CacheTtl, Handle, Ino, Outcome};
use super::views::View;

impl Core {
    /// Opens a directory. Nothing is left open for a caller that gives up while it waits.
    pub(super) fn opendir(self: &Arc<Self>, ino: Ino) -> Outcome<(Handle, CacheTtl), Error> {
        let core = Arc::clone(self);
        self.list(ino).map(move |listed| {
            let (listing, keep) = listed?;
            Ok((core.listings.insert(OpenDirectory::new(listing)), keep))
        })
    }

    /// Takes a new snapshot of an open directory that is read from its start again. One that was not read yet keeps its
    /// snapshot.
    pub(super) fn rewind(self: &Arc<Self>, handle: Handle) -> Outcome<(), Error> {
        let Some(directory) = self.listings.get(handle) else {
            return ready(Err(Error::BadHandle));
        };
        if !directory.was_read.load(Ordering::Relaxed) {
            return ready(Ok(()));
        }
        self.list(directory.ino).map(move |listed| {
            *directory.listing() = Arc::new(listed?.0);
            Ok(())
        })
    }

    /// Takes the snapshot of a directory.
    fn list(self: &Arc<Self>, ino: Ino) -> Outcome<(Listing, CacheTtl), Error> {
        let directory = match self.directory(ino) {
            Ok(directory) => directory,
            // A directory that was removed is empty for those that still have it open.
            Err(Error::NotFound) => return ready(Ok(self.made_list(ino, Vec::new()))),
            Err(error) => return ready(Err(error)),
        };
        let core = Arc::clone(self);
        match directory {
            Directory::Catalogue(observatory, subset) => {
                self.ensure(observatory).then(move |view| match view {
                    Ok(view) => core.read_list(CacheTtl::Forever, move |core| {
                        core.list_catalogue(ino, view, subset)
                    }),
                    Err(error) => ready(Err(error)),
                })
            }
            // With the catalog the sizes of the files are right; their names are known without it.
            Directory::Config(observatory) => self.ensure_soon(observatory).then(move |_| {
                core.read_list(CacheTtl::Forever, move |core| {
                    core.list_names(ino, &Directory::Config(observatory))
                })
            }),
            Directory::Bestrefs => self
                .list_contexts()
                .map(move |others| Ok(core.made_list(ino, others?))),
            Directory::Context(context) => ready(Ok(self.made_list(ino, self.list_datasets(&context)))),
            Directory::Dataset(context, dataset) => self
                .list_answers(&context, &dataset)
                .map(move |others| Ok(core.made_list(ino, others?))),
            directory @ (Directory::Root
            | Directory::Area(_)
            | Directory::Pickles(_)
            | Directory::Local(_)
            | Directory::Control
            | Directory::Files
            | Directory::FilesArea(_)
            | Directory::FilesObservatory(..)) => {
                let keep = if matches!(directory, Directory::Local(_)) {
                    CacheTtl::Never
                } else {
                    CacheTtl::Forever
                };
                self.read_list(keep, move |core| core.list_names(ino, &directory))
            }
        }
    }

    /// Lists a directory that is in the store, whose disk may be slow.
    fn read_list(
        self: &Arc<Self>,
        keep: CacheTtl,
        read: impl FnOnce(&Self) -> Result<Listing, Error> + Send + 'static,
    ) -> Outcome<(Listing, CacheTtl), Error> {
        self.on_disk(move |core| Ok((read(core)?, keep)))
    }

    fn made_list(&self, ino: Ino, others: Vec<Other>) -> (Listing, CacheTtl) {
        let listing = Listing {
            ino,
            parent: self.parent_of(ino),
            others,
            catalogued: None,
        };
        (listing, CacheTtl::Never)
    }

    /// Lists a directory of fixed entries and the user's files.
    fn list_names(&self, ino: Ino, directory: &Directory) -> Result<Listing, Error> {
        let mut others = self.fixed_names(directory);
        self.add_local(ino, directory, &mut others, |_| false)?;
        Ok(Listing {
            ino,
            parent: self.parent_of(ino),
            others,
            catalogued: None,
        })
    }

    /// Lists a directory of catalogued files, and the user's own among them.
    fn list_catalogue(&self, ino: Ino, view: Arc<View>, subset: Subset) -> Result<Listing, Error> {
        let directory = Directory::Catalogue(view.observatory, subset);
        let mut others = self.fixed_names(&directory);
        let own = others.len();
        self.add_local(ino, &directory, &mut others, |name| {
            // Copies of catalogued files are shown by their catalog entries.
            let file = name.to_str().and_then(|text| view.named(text));
            file.is_some_and(|file| {
                Subset::of(self.layout(), &file.key) == subset && !self.is_overridden(&file)
            })
        })?;
        let overridden: HashSet<&OsStr> = others
            .iter()
            .skip(own)
            .map(|other| other.name.as_os_str())
            .collect();
        let flat = self.layout() == ReferenceLayout::Flat;
        let here = |index: usize| match subset {
            Subset::Mappings => true,
            Subset::References if flat => true,
            Subset::References | Subset::Instrument(_) => view
                .at(index)
                .is_some_and(|file| Subset::of(ReferenceLayout::Instrument, &file.key) == subset),
        };
        let indexes = view
            .catalog()
            .iter()
            .filter(|item| item.kind().is_mapping() == (subset == Subset::Mappings))
            .filter(|item| overridden.is_empty() || !overridden.contains(OsStr::new(item.name)))
            .filter(|item| here(item.index))
            .filter_map(|item| u32::try_from(item.index).ok())
            .collect();
        Ok(Listing {
            ino,
            parent: self.parent_of(ino),
            others,
            catalogued: Some((view, indexes)),
        })
    }

    fn fixed_names(&self, directory: &Directory) -> Vec<Other> {
        match directory {
            Directory::Root => Area::ALL
                .into_iter()
                .map(|area| Other::fixed(area.as_str(), Fixed::Area(area)))
                .chain([Other::fixed("bestrefs", Fixed::Bestrefs)])
                .collect(),
            Directory::Control => self
                .control_files()
                .map(|file| Other::fixed(file.as_str(), Fixed::ControlFile(file)))
                .chain([Other::fixed("files", Fixed::Files)])
                .collect(),
            // Below an observatory nothing is listed: the names are those of the cache.
            Directory::Files => Area::DESCRIBED
                .map(|area| Other::fixed(area.as_str(), Fixed::FilesArea(area)))
                .into(),
            Directory::FilesArea(area) => {
                let observatories = self.fetcher.catalogs().observatories().iter();
                observatories
                    .map(|one| Other::fixed(one.as_str(), Fixed::FilesObservatory(*area, *one)))
                    .collect()
            }
            Directory::Area(area) => {
                let observatories = self.fetcher.catalogs().observatories().iter();
                observatories
                    .map(|one| Other::fixed(one.as_str(), Fixed::Observatory(*area, *one)))
                    .collect()
            }
            Directory::Config(one) => ConfigFile::ALL
                .map(|file| Other::fixed(file.as_str(), Fixed::ConfigFile(*one, file)))
                .into(),
            Directory::Catalogue(one, Subset::References) if self.layout() == ReferenceLayout::Instrument => {
                let links = one.legacy_links().iter().map(|(link, _)| *link);
                let names = one.instrument_directories().iter().copied().chain(links);
                names
                    .filter_map(|name| Some(Other::fixed(name, self.fixed_in(directory, OsStr::new(name))?)))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// Adds the user's files, except for names that are listed already.
    fn add_local(
        &self,
        ino: Ino,
        directory: &Directory,
        others: &mut Vec<Other>,
        shown: impl Fn(&OsStr) -> bool,
    ) -> Result<(), Error> {
        if self.local.is_none() || directory.store_path().is_none() {
            return Ok(());
        }
        let found = match self.find_dir(ino, directory) {
            Ok(found) => found,
            Err(Error::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        };
        let entries = found.dir.list().map_err(Error::local("list", &found.path))?;
        for entry in entries {
            let name = entry.name;
            if self.fixed_in(directory, &name).is_some() || self.is_hidden(directory, &name) || shown(&name) {
                continue;
            }
            let key = Key::Local {
                dev: entry.dev,
                ino: entry.ino,
            };
            let kind = entry.kind;
            let node = Node::Local { key, kind };
            others.push(Other { name, node });
        }
        Ok(())
    }

    /// The inode number for `..`: of a user's directory that of its parent in the store, of all others that of a fixed
    /// entry. The root where no parent is found.
    fn parent_of(&self, ino: Ino) -> Ino {
        let parent = match self.directory(ino) {
            Ok(Directory::Config(_)) => Fixed::Area(Area::Config),
            Ok(Directory::Pickles(_)) => Fixed::Area(Area::Pickles),
            Ok(Directory::Catalogue(_, Subset::Mappings)) => Fixed::Area(Area::Mappings),
            Ok(Directory::Catalogue(_, Subset::References)) => Fixed::Area(Area::References),
            Ok(Directory::Catalogue(observatory, Subset::Instrument(_))) => {
                Fixed::Observatory(Area::References, observatory)
            }
            Ok(Directory::Context(_) | Directory::Dataset(..)) => Fixed::Bestrefs,
            Ok(Directory::Local(path)) => {
                let above = path.parent();
                return above
                    .and_then(|above| self.fixed_at(above).or_else(|| self.local_number(above)))
                    .unwrap_or_else(|| Fixed::Root.ino());
            }
            Ok(Directory::Files) => Fixed::Control,
            Ok(Directory::FilesArea(_)) => Fixed::Files,
            Ok(Directory::FilesObservatory(area, _)) => Fixed::FilesArea(area),
            Ok(Directory::Root | Directory::Area(_) | Directory::Bestrefs | Directory::Control) | Err(_) => {
                Fixed::Root
            }
        };
        parent.ino()
    }

    /// The inode number of the fixed entry at a path of the store.
    fn fixed_at(&self, path: &Path) -> Option<Ino> {
        path.iter().try_fold(Fixed::Root.ino(), |ino, name| {
            let directory = self.directory(ino).ok()?;
            Some(self.fixed_in(&directory, name)?.ino())
        })
    }

    /// The inode number of the user's file or directory at a path of the store.
    fn local_number(&self, path: &Path) -> Option<Ino> {
        let stat = self.local.as_ref()?.stat(path).ok()??;
        Some(self.nodes.number(&Key::of(&stat)))
    }
}
