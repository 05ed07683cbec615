//! Directories: what they are, where their names lie in the store, and which catalogued files they show.

use std::path::PathBuf;

use crate::crds::{FileKey, FileName, Observatory};
use crate::store::{ReferenceLayout, file_path};

use super::core::Core;
use super::error::Error;
use super::ino::{Area, Fixed, Number};
use super::nodes::Key;
use super::ops::{Ino, NodeKind};

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Root,
    Area(Area),
    Config(Observatory),
    Pickles(Observatory),
    Catalogue(Observatory, Subset),
    /// The user's own, at this path in the store.
    Local(PathBuf),
    Bestrefs,
    Context(FileName),
    Dataset(FileName, std::sync::Arc<str>),
    Control,
    Files,
    FilesArea(Area),
    FilesObservatory(Area, Observatory),
}

/// Which of an observatory's catalogued files a directory shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subset {
    Mappings,
    /// All references in flat layout, else those whose instrument cannot be told from their names.
    References,
    /// Those of an instrument, by its place in [`Observatory::instrument_directories`].
    Instrument(u8),
}

impl Subset {
    /// Where a file is shown.
    pub(super) fn of(layout: ReferenceLayout, key: &FileKey) -> Self {
        if key.name.kind().is_mapping() {
            return Self::Mappings;
        }
        layout
            .instrument(key)
            .and_then(|instrument| instrument_index(key.observatory, instrument))
            .map_or(Self::References, Self::Instrument)
    }

    /// The directory's inode number.
    pub(super) fn ino(self, observatory: Observatory) -> Ino {
        match self {
            Self::Mappings => Fixed::Observatory(Area::Mappings, observatory).ino(),
            Self::References => Fixed::Observatory(Area::References, observatory).ino(),
            Self::Instrument(index) => Fixed::Instrument(observatory, index).ino(),
        }
    }
}

/// The place of an instrument directory in [`Observatory::instrument_directories`].
pub(super) fn instrument_index(observatory: Observatory, name: &str) -> Option<u8> {
    let index = observatory
        .instrument_directories()
        .iter()
        .position(|known| *known == name)?;
    u8::try_from(index).ok()
}

/// The name of an instrument directory.
pub(super) fn instrument_name(observatory: Observatory, index: u8) -> Option<&'static str> {
    observatory
        .instrument_directories()
        .get(usize::from(index))
        .copied()
}

impl Place {
    /// Where the user's files in this directory lie in the store; none where nobody can put any.
    pub(super) fn store_path(&self) -> Option<PathBuf> {
        let below =
            |area: Area, observatory: &Observatory| PathBuf::from(area.as_str()).join(observatory.as_str());
        match self {
            Self::Area(area) => Some(PathBuf::from(area.as_str())),
            Self::Config(observatory) => Some(below(Area::Config, observatory)),
            Self::Pickles(observatory) => Some(below(Area::Pickles, observatory)),
            Self::Catalogue(observatory, Subset::Mappings) => Some(below(Area::Mappings, observatory)),
            Self::Catalogue(observatory, Subset::References) => Some(below(Area::References, observatory)),
            Self::Catalogue(observatory, Subset::Instrument(index)) => {
                Some(below(Area::References, observatory).join(instrument_name(*observatory, *index)?))
            }
            Self::Local(path) => Some(path.clone()),
            Self::Root
            | Self::Bestrefs
            | Self::Context(_)
            | Self::Dataset(..)
            | Self::Control
            | Self::Files
            | Self::FilesArea(_)
            | Self::FilesObservatory(..) => None,
        }
    }
}

impl Core {
    /// The directory with this number.
    pub(super) fn place(&self, ino: Ino) -> Result<Place, Error> {
        match Number::of(ino).ok_or(Error::Stale)? {
            Number::Fixed(fixed) => fixed_place(fixed).ok_or(Error::NotDirectory),
            Number::Catalogued(..) | Number::Described(..) => Err(Error::NotDirectory),
            Number::Noded(_) => match self.nodes.key(ino).ok_or(Error::Stale)? {
                Key::Local { .. } => {
                    let (path, stat) = self.stat_node(ino)?;
                    match stat.kind {
                        NodeKind::Directory => path.map(Place::Local).ok_or(Error::NotFound),
                        NodeKind::File | NodeKind::Symlink | NodeKind::Fifo | NodeKind::Socket => {
                            Err(Error::NotDirectory)
                        }
                    }
                }
                Key::Context(context) => Ok(Place::Context(context)),
                Key::Dataset { context, dataset } => Ok(Place::Dataset(context, dataset)),
                Key::Symbolic(_) | Key::Answer { .. } => Err(Error::NotDirectory),
            },
        }
    }

    /// How references are laid out.
    pub(super) fn layout(&self) -> ReferenceLayout {
        self.fetcher.store().layout()
    }

    /// Whether this mount shows the observatory.
    pub(super) fn shows(&self, observatory: Observatory) -> bool {
        self.fetcher.catalogs().observatories().contains(&observatory)
    }

    /// The path of a catalogued file below the root, of the mount and of the store alike.
    pub(super) fn path_of(&self, key: &FileKey) -> PathBuf {
        file_path(self.layout(), key)
    }
}

fn fixed_place(fixed: Fixed) -> Option<Place> {
    Some(match fixed {
        Fixed::Root => Place::Root,
        Fixed::Area(area) => Place::Area(area),
        Fixed::Bestrefs => Place::Bestrefs,
        Fixed::Control => Place::Control,
        Fixed::Files => Place::Files,
        Fixed::FilesArea(area) => Place::FilesArea(area),
        Fixed::FilesObservatory(area, observatory) => Place::FilesObservatory(area, observatory),
        Fixed::Observatory(Area::Config, observatory) => Place::Config(observatory),
        Fixed::Observatory(Area::Mappings, observatory) => Place::Catalogue(observatory, Subset::Mappings),
        Fixed::Observatory(Area::References, observatory) => {
            Place::Catalogue(observatory, Subset::References)
        }
        Fixed::Observatory(Area::Pickles, observatory) => Place::Pickles(observatory),
        Fixed::Instrument(observatory, index) => Place::Catalogue(observatory, Subset::Instrument(index)),
        Fixed::ControlFile(_) | Fixed::ConfigFile(..) | Fixed::InstrumentLink(..) => return None,
    })
}
