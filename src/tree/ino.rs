//! Inode numbers. Fixed entries and catalogued files have numbers that follow from what they are, so that a directory
//! of 100,000 names costs no node; everything else has a number made from its key (see [`super::nodes`]).

use crate::crds::name::Observatory;

use super::ops::{Ino, NodeKind, ROOT};

/// The four parts of a CRDS cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Area {
    Config,
    Mappings,
    References,
    Pickles,
}

impl Area {
    pub(super) const ALL: [Self; 4] = [Self::Config, Self::Mappings, Self::References, Self::Pickles];
    /// Those with catalogued files.
    pub(super) const DESCRIBED: [Self; 2] = [Self::Mappings, Self::References];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Mappings => "mappings",
            Self::References => "references",
            Self::Pickles => "pickles",
        }
    }
}

/// The files that `config/<obs>` always has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ConfigFile {
    ServerConfig,
    BadFiles,
    SubdirMode,
}

impl ConfigFile {
    pub(super) const ALL: [Self; 3] = [Self::ServerConfig, Self::BadFiles, Self::SubdirMode];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ServerConfig => "server_config",
            Self::BadFiles => "bad_files.txt",
            Self::SubdirMode => "ref_cache_subdir_mode",
        }
    }
}

/// The generated files of the hidden directory `.crds-fs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ControlFile {
    Status,
    Metrics,
    /// The held files; the only control file that can be written.
    Hold,
    /// The files that were opened; only where that is recorded.
    Opened,
}

impl ControlFile {
    pub(super) const ALL: [Self; 4] = [Self::Status, Self::Metrics, Self::Hold, Self::Opened];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status.json",
            Self::Metrics => "metrics",
            Self::Hold => "hold",
            Self::Opened => "opened.json",
        }
    }
}

/// A directory, file or link that exists as long as the mount does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fixed {
    Root,
    Area(Area),
    Bestrefs,
    Control,
    ControlFile(ControlFile),
    /// The directory `files` of `.crds-fs`, with a description of each catalogued file.
    Files,
    /// Its part for mappings or references.
    FilesArea(Area),
    /// And for one observatory.
    FilesObservatory(Area, Observatory),
    Observatory(Area, Observatory),
    ConfigFile(Observatory, ConfigFile),
    /// A reference directory of an instrument, by its index in [`Observatory::instrument_directories`]; instrument
    /// layout only.
    Instrument(Observatory, u8),
    /// A link such as `jref` beside an instrument directory, by its index in [`Observatory::legacy_links`].
    InstrumentLink(Observatory, u8),
}

/// The meaning of an inode number, as far as the number itself tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Number {
    Fixed(Fixed),
    /// A catalogued file, by its serial (see [`super::serials`]).
    Catalogued(Observatory, u32),
    /// The description, below `.crds-fs/files`, of the catalogued file with this serial.
    Described(Observatory, u32),
    /// A number of the node table.
    Noded(Ino),
}

const OBSERVATORY: Ino = 0x100;
const CONFIG_FILE: Ino = 0x200;
const FILES: Ino = 12;
const FILES_AREA: Ino = 13;
const FILES_OBSERVATORY: Ino = 0x300;
const INSTRUMENT: Ino = 0x1000;
const INSTRUMENT_LINK: Ino = 0x2000;
const CATALOGUED: Ino = 1 << 40;
const DESCRIBED: Ino = 1 << 41;
/// All numbers from here on belong to the node table.
pub(super) const NODED: Ino = 1 << 48;

fn observatory_index(observatory: Observatory) -> Ino {
    match observatory {
        Observatory::Hst => 0,
        Observatory::Jwst => 1,
        Observatory::Roman => 2,
        Observatory::Tobs => 3,
    }
}

fn observatory_at(index: Ino) -> Option<Observatory> {
    Observatory::ALL
        .into_iter()
        .find(|observatory| observatory_index(*observatory) == index)
}

fn position<T: PartialEq>(all: &[T], one: &T) -> Ino {
    all.iter()
        .zip(0..)
        .find(|(each, _)| *each == one)
        .map_or(0, |(_, index)| index)
}

fn at<T: Copy>(all: &[T], index: Ino) -> Option<T> {
    all.get(usize::try_from(index).ok()?).copied()
}

impl Fixed {
    pub(super) fn ino(self) -> Ino {
        match self {
            Self::Root => ROOT,
            Self::Area(area) => 2 + position(&Area::ALL, &area),
            Self::Bestrefs => 6,
            Self::Control => 7,
            Self::ControlFile(file) => 8 + position(&ControlFile::ALL, &file),
            Self::Files => FILES,
            Self::FilesArea(area) => FILES_AREA + position(&Area::DESCRIBED, &area),
            Self::FilesObservatory(area, observatory) => {
                FILES_OBSERVATORY + 16 * position(&Area::DESCRIBED, &area) + observatory_index(observatory)
            }
            Self::Observatory(area, observatory) => {
                OBSERVATORY + 16 * position(&Area::ALL, &area) + observatory_index(observatory)
            }
            Self::ConfigFile(observatory, file) => {
                CONFIG_FILE + 16 * position(&ConfigFile::ALL, &file) + observatory_index(observatory)
            }
            Self::Instrument(observatory, index) => {
                INSTRUMENT + 256 * observatory_index(observatory) + Ino::from(index)
            }
            Self::InstrumentLink(observatory, index) => {
                INSTRUMENT_LINK + 256 * observatory_index(observatory) + Ino::from(index)
            }
        }
    }

    pub(super) fn kind(self) -> NodeKind {
        match self {
            Self::Root
            | Self::Area(_)
            | Self::Bestrefs
            | Self::Control
            | Self::Files
            | Self::FilesArea(_)
            | Self::FilesObservatory(..)
            | Self::Observatory(..)
            | Self::Instrument(..) => NodeKind::Directory,
            Self::ControlFile(_) | Self::ConfigFile(..) => NodeKind::File,
            Self::InstrumentLink(..) => NodeKind::Symlink,
        }
    }

    fn of(ino: Ino) -> Option<Self> {
        let low = u8::try_from(ino & 0xff).unwrap_or_default();
        match ino {
            ROOT => Some(Self::Root),
            2..=5 => at(&Area::ALL, ino - 2).map(Self::Area),
            6 => Some(Self::Bestrefs),
            7 => Some(Self::Control),
            8..=11 => at(&ControlFile::ALL, ino - 8).map(Self::ControlFile),
            FILES => Some(Self::Files),
            FILES_AREA..=14 => at(&Area::DESCRIBED, ino - FILES_AREA).map(Self::FilesArea),
            FILES_OBSERVATORY..0x400 => Some(Self::FilesObservatory(
                at(&Area::DESCRIBED, (ino - FILES_OBSERVATORY) / 16)?,
                observatory_at(ino % 16)?,
            )),
            OBSERVATORY..CONFIG_FILE => Some(Self::Observatory(
                at(&Area::ALL, (ino - OBSERVATORY) / 16)?,
                observatory_at(ino % 16)?,
            )),
            CONFIG_FILE..0x300 => Some(Self::ConfigFile(
                observatory_at(ino % 16)?,
                at(&ConfigFile::ALL, (ino - CONFIG_FILE) / 16)?,
            )),
            INSTRUMENT..INSTRUMENT_LINK => {
                Some(Self::Instrument(observatory_at((ino - INSTRUMENT) >> 8)?, low))
            }
            INSTRUMENT_LINK..0x3000 => Some(Self::InstrumentLink(
                observatory_at((ino - INSTRUMENT_LINK) >> 8)?,
                low,
            )),
            _ => None,
        }
    }
}

/// The inode number of a catalogued file.
pub(super) fn catalogued(observatory: Observatory, serial: u32) -> Ino {
    CATALOGUED | observatory_index(observatory) << 32 | Ino::from(serial)
}

/// The inode number of the description of a catalogued file.
pub(super) fn described(observatory: Observatory, serial: u32) -> Ino {
    DESCRIBED | observatory_index(observatory) << 32 | Ino::from(serial)
}

impl Number {
    /// The meaning of `ino`; `None` for a number that is never given out.
    pub(super) fn of(ino: Ino) -> Option<Self> {
        if ino >= NODED {
            return Some(Self::Noded(ino));
        }
        let of_catalog: fn(Observatory, u32) -> Self = match ino & (CATALOGUED | DESCRIBED) {
            0 => return Fixed::of(ino).map(Self::Fixed),
            CATALOGUED => Self::Catalogued,
            DESCRIBED => Self::Described,
            _ => return None,
        };
        let observatory = observatory_at((ino & !(CATALOGUED | DESCRIBED)) >> 32)?;
        let serial = u32::try_from(ino & 0xffff_ffff).ok()?;
        Some(of_catalog(observatory, serial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_fixed() -> Vec<Fixed> {
        let mut all = vec![Fixed::Root, Fixed::Bestrefs, Fixed::Control, Fixed::Files];
        all.extend(Area::DESCRIBED.map(Fixed::FilesArea));
        all.extend(Area::ALL.map(Fixed::Area));
        all.extend(ControlFile::ALL.map(Fixed::ControlFile));
        for observatory in Observatory::ALL {
            all.extend(Area::ALL.map(|area| Fixed::Observatory(area, observatory)));
            all.extend(Area::DESCRIBED.map(|area| Fixed::FilesObservatory(area, observatory)));
            all.extend(ConfigFile::ALL.map(|file| Fixed::ConfigFile(observatory, file)));
            all.extend([0, 7, 255].map(|index| Fixed::Instrument(observatory, index)));
            all.extend([0, 5, 255].map(|index| Fixed::InstrumentLink(observatory, index)));
        }
        all
    }

    #[test]
    fn numbers_of_fixed_places_are_distinct_and_lead_back() {
        let mut seen = std::collections::HashSet::new();
        for fixed in every_fixed() {
            assert!(seen.insert(fixed.ino()), "{fixed:?} shares its number");
            assert_eq!(Number::of(fixed.ino()), Some(Number::Fixed(fixed)));
        }
    }

    #[test]
    fn numbers_of_catalogued_files_lead_back() {
        for observatory in Observatory::ALL {
            for serial in [0, 1, 99_999, u32::MAX] {
                let ino = catalogued(observatory, serial);
                assert_eq!(Number::of(ino), Some(Number::Catalogued(observatory, serial)));
                let ino = described(observatory, serial);
                assert_eq!(Number::of(ino), Some(Number::Described(observatory, serial)));
            }
        }
    }

    #[test]
    fn numbers_never_given_out_mean_nothing() {
        for ino in [
            0,
            15,
            0x10f,
            0x140,
            0x230,
            0x320,
            0x4000,
            CATALOGUED | 4 << 32,
            DESCRIBED | 4 << 32,
        ] {
            assert_eq!(Number::of(ino), None, "{ino:#x}");
        }
    }
}
