//! The files that are served, and what the catalog says of them.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha1::{Digest as _, Sha1};

use crate::Fallible;

const LARGE_BYTES: u64 = 1 << 30;
const COLD_FILES: u32 = 2000;
const COLD_BYTES: u64 = 16 << 10;
const WARM_FILES: u32 = 5000;
const NAMES: u32 = 40_000;

/// A directory of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Directory {
    /// One file of 1 GiB.
    Large,
    /// 2,000 files of 16 KiB.
    Cold,
    /// 5,000 files of 4 to 60 KiB.
    Warm,
    /// 40,000 names of sparse files that nobody reads.
    Names,
}

impl Directory {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Large => "large",
            Self::Cold => "cold",
            Self::Warm => "warm",
            Self::Names => "names",
        }
    }
}

/// One file as the catalog knows it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) size: u64,
    /// In hexadecimal digits.
    pub(crate) sha1: String,
}

/// All files: those of [`Directory`] in directories of their own, for whoever lists a directory in order to know it, and
/// those of JWST once more in [`Data::flat`], as a CRDS server has them.
pub(crate) struct Data {
    root: PathBuf,
    pub(crate) large: Entry,
    pub(crate) cold: Vec<Entry>,
    pub(crate) warm: Vec<Entry>,
    pub(crate) names: Vec<Entry>,
}

impl Data {
    pub(crate) fn make(root: &Path, divide: u32) -> Fallible<Self> {
        let mut data = Self {
            root: root.to_owned(),
            large: Entry {
                name: "jwst_nircam_dark_0001.fits".to_owned(),
                size: LARGE_BYTES / u64::from(divide),
                sha1: String::new(),
            },
            cold: Vec::new(),
            warm: Vec::new(),
            names: Vec::new(),
        };
        for directory in [
            Directory::Large,
            Directory::Cold,
            Directory::Warm,
            Directory::Names,
        ] {
            fs::create_dir_all(data.directory(directory))?;
        }
        fs::create_dir_all(data.flat())?;
        data.large.sha1 = data.write(Directory::Large, &data.large.name, data.large.size, 1)?;
        for number in 0..COLD_FILES / divide {
            let name = format!("jwst_nircam_distortion_{number:04}.asdf");
            let sha1 = data.write(
                Directory::Cold,
                &name,
                COLD_BYTES,
                100_000_000 + u64::from(number),
            )?;
            data.cold.push(Entry {
                name,
                size: COLD_BYTES,
                sha1,
            });
        }
        for number in 0..WARM_FILES / divide {
            let name = format!("jwst_niriss_flat_{number:04}.fits");
            let size = 4096 + u64::from(number) * 7919 % (56 << 10);
            let sha1 = data.write(Directory::Warm, &name, size, 200_000_000 + u64::from(number))?;
            data.warm.push(Entry { name, size, sha1 });
        }
        for number in 0..NAMES / divide {
            let name = format!("hst_stis_{number:06}_bia.fits");
            let size = 2880 + u64::from(number) * 7919 % 100_000_000;
            File::create(data.path(Directory::Names, &name))?.set_len(size)?;
            let sha1 = hexadecimal(&Sha1::digest(&name));
            data.names.push(Entry { name, size, sha1 });
        }
        Ok(data)
    }

    /// The directory that is served.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn directory(&self, directory: Directory) -> PathBuf {
        self.root.join(directory.name())
    }

    /// The directory with all files that a CRDS server has.
    pub(crate) fn flat(&self) -> PathBuf {
        self.root.join("crds")
    }

    pub(crate) fn path(&self, directory: Directory, name: &str) -> PathBuf {
        self.directory(directory).join(name)
    }

    /// The entries of an observatory's catalog.
    pub(crate) fn catalog(&self, observatory: &str) -> Vec<&Entry> {
        match observatory {
            "jwst" => std::iter::once(&self.large)
                .chain(&self.cold)
                .chain(&self.warm)
                .collect(),
            _ => self.names.iter().collect(),
        }
    }

    /// Writes a file of bytes that compress badly and differ from file to file, and gives its SHA-1.
    fn write(&self, directory: Directory, name: &str, size: u64, seed: u64) -> Fallible<String> {
        let path = self.path(directory, name);
        let mut file = File::create(&path)?;
        let (mut state, mut rest, mut sha1) = (seed, size, Sha1::new());
        let mut buffer = vec![0; 1 << 20];
        while rest > 0 {
            let length = usize::try_from(rest)?.min(buffer.len());
            fill(&mut buffer[..length], &mut state);
            sha1.update(&buffer[..length]);
            file.write_all(&buffer[..length])?;
            rest -= length as u64;
        }
        fs::hard_link(&path, self.flat().join(name))?;
        Ok(hexadecimal(&sha1.finalize()))
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Xorshift: quick, which is all that counts here.
fn fill(buffer: &mut [u8], state: &mut u64) {
    for chunk in buffer.chunks_mut(8) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
}
