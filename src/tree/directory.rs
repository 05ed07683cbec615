//! Directories: their kinds, their paths in the store, and the catalogued files that they show.

use std::path::PathBuf;

use crate::crds::{FileKey, FileName, Observatory};
use crate::store::ReferenceLayout;

use super::ino::{Area, Fixed};
use super::ops::Ino;

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Directory {
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

/// The part of an observatory's catalogued files that a directory shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subset {
    Mappings,
    /// All references in flat layout, else those whose instrument cannot be told from their names.
    References,
    /// Those of an instrument, by its index in [`Observatory::instrument_directories`].
    Instrument(u8),
}

impl Subset {
    /// The part that a file belongs to in a layout.
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

/// The index of an instrument directory in [`Observatory::instrument_directories`].
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

impl Directory {
    /// The path in the store of the user's files in this directory; `None` where there cannot be any.
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

/// The directory that is this fixed entry, if it is one.
pub(super) fn fixed_directory(fixed: Fixed) -> Option<Directory> {
    Some(match fixed {
        Fixed::Root => Directory::Root,
        Fixed::Area(area) => Directory::Area(area),
        Fixed::Bestrefs => Directory::Bestrefs,
        Fixed::Control => Directory::Control,
        Fixed::Files => Directory::Files,
        Fixed::FilesArea(area) => Directory::FilesArea(area),
        Fixed::FilesObservatory(area, observatory) => Directory::FilesObservatory(area, observatory),
        Fixed::Observatory(Area::Config, observatory) => Directory::Config(observatory),
        Fixed::Observatory(Area::Mappings, observatory) => {
            Directory::Catalogue(observatory, Subset::Mappings)
        }
        Fixed::Observatory(Area::References, observatory) => {
            Directory::Catalogue(observatory, Subset::References)
        }
        Fixed::Observatory(Area::Pickles, observatory) => Directory::Pickles(observatory),
        Fixed::Instrument(observatory, index) => Directory::Catalogue(observatory, Subset::Instrument(index)),
        Fixed::ControlFile(_) | Fixed::ConfigFile(..) | Fixed::InstrumentLink(..) => return None,
    })
}

pub(super) fn observatory_called(name: &str) -> Option<Observatory> {
    Observatory::ALL
        .into_iter()
        .find(|observatory| observatory.as_str() == name)
}
