//! Validated names: a text from outside becomes one of these or is refused, so that no text from a server or a user is
//! ever used as a path.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The text cannot be a name of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {what}")]
pub struct NameError {
    text: String,
    what: &'static str,
}

impl NameError {
    pub(crate) fn new(text: &str, what: &'static str) -> Self {
        Self {
            text: text.chars().take(160).collect(),
            what,
        }
    }
}

/// One of the observatories that CRDS serves; `Tobs` is the client's own test observatory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Observatory {
    /// Hubble.
    Hst,
    /// Webb.
    Jwst,
    /// Roman.
    Roman,
    /// The test observatory of the Python client.
    Tobs,
}

impl Observatory {
    /// All of them, in the order in which the Python client looks for them (spec/crds-service 2.3).
    pub const ALL: [Self; 4] = [Self::Hst, Self::Jwst, Self::Roman, Self::Tobs];

    /// The name used in paths and by the servers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hst => "hst",
            Self::Jwst => "jwst",
            Self::Roman => "roman",
            Self::Tobs => "tobs",
        }
    }

    /// The observatory that the beginning of a file name or context names: `hst_0729.pmap`, `jwst.pmap`, `roman-latest`.
    pub fn of_name(name: &str) -> Option<Self> {
        let first = name.split(['_', '.', '-']).next().unwrap_or_default();
        Self::ALL
            .into_iter()
            .find(|observatory| observatory.as_str() == first)
    }
}

impl fmt::Display for Observatory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Observatory {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL
            .into_iter()
            .find(|observatory| observatory.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| NameError::new(text, "an observatory (hst, jwst, roman, tobs)"))
    }
}

/// The kind of a file, by its extension alone (spec/crds-service 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A pipeline context.
    Pmap,
    /// An instrument's rules.
    Imap,
    /// The rules of one reference type.
    Rmap,
    /// Calibration data.
    Reference,
}

impl FileKind {
    /// The kind of a file with this name.
    pub fn of(name: &str) -> Self {
        match name.len().checked_sub(5).and_then(|at| name.get(at..)) {
            Some(".pmap") => Self::Pmap,
            Some(".imap") => Self::Imap,
            Some(".rmap") => Self::Rmap,
            _ => Self::Reference,
        }
    }

    /// Whether the file is a rule and lives under `mappings/`.
    pub const fn is_mapping(self) -> bool {
        !matches!(self, Self::Reference)
    }

    /// The directory of a cache, and the part of URLs, that files of this kind lie below.
    pub(crate) const fn area(self) -> &'static str {
        if self.is_mapping() {
            "mappings"
        } else {
            "references"
        }
    }
}

/// A bare file name that is safe as one component of a path: 1 to 128 characters of `[A-Za-z0-9._\- ]`, neither hidden
/// nor `.` nor `..` (spec/crds-service 4.4). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Arc<str>);

impl FileName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind of the file of this name.
    pub fn kind(&self) -> FileKind {
        FileKind::of(&self.0)
    }

    /// The text after the last dot, if there is one.
    pub fn extension(&self) -> Option<&str> {
        self.0.rsplit_once('.').map(|(_, extension)| extension)
    }

    /// For a GEIS header (`name.rNh`) the name of its pixel data (`name.rNd`); spec/crds-service 1.5.
    pub(crate) fn geis_data_half(&self) -> Option<Self> {
        let (stem, extension) = self.0.rsplit_once('.')?;
        match extension.as_bytes() {
            [b'r', digit @ b'0'..=b'9', b'h'] => {
                Some(Self(format!("{stem}.r{}d", char::from(*digit)).into()))
            }
            _ => None,
        }
    }
}

impl FromStr for FileName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b' ');
        if (1..=128).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::new(
                text,
                "a file name (1 to 128 letters, digits, '.', '_', '-', blanks; not hidden)",
            ))
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", &*self.0)
    }
}

impl AsRef<str> for FileName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for FileName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The key of the cache: names are unique within an observatory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey {
    /// The observatory of the file.
    pub observatory: Observatory,
    /// Its bare name.
    pub name: FileName,
}

impl fmt::Display for FileKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.observatory, self.name)
    }
}

/// A reference type, in lower case as in the keys of results: `[a-z0-9_-]{1,64}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reftype(Arc<str>);

impl Reftype {
    /// The type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reftype {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::new(
                text,
                "a reference type (lower-case letters, digits, '_', '-')",
            ))
        }
    }
}

impl fmt::Display for Reftype {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Borrow<str> for Reftype {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_path_safe() {
        for text in [
            "hst.pmap",
            "SFD_dust_4096_ngp.fits",
            "a b.fits",
            "roman_wfi_pars-x_0001.asdf",
        ] {
            assert_eq!(text.parse::<FileName>().unwrap().as_str(), text);
        }
        for text in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "N/A",
            "a%b",
            "a\0b",
            "é.fits",
            &"x".repeat(129),
        ] {
            assert!(text.parse::<FileName>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_tell_their_observatory() {
        for (text, expected) in [
            ("hst_0729.pmap", Some(Observatory::Hst)),
            ("jwst.pmap", Some(Observatory::Jwst)),
            ("roman-latest", Some(Observatory::Roman)),
            ("hst", Some(Observatory::Hst)),
            ("hsta_0001.pmap", None),
            ("v8q14451j_idc.fits", None),
            ("", None),
        ] {
            assert_eq!(Observatory::of_name(text), expected, "{text}");
        }
    }

    #[test]
    fn kinds_and_halves() {
        let name = |text: &str| text.parse::<FileName>().unwrap();
        assert_eq!(name("hst_0729.pmap").kind(), FileKind::Pmap);
        assert_eq!(name("hst_acs_0001.imap").kind(), FileKind::Imap);
        assert_eq!(name("hst_acs_darkfile_0001.rmap").kind(), FileKind::Rmap);
        assert_eq!(name("d1604031310_drk.fits").kind(), FileKind::Reference);
        assert_eq!(
            name("a0h1524tu.r4h").geis_data_half(),
            Some(name("a0h1524tu.r4d"))
        );
        assert_eq!(name("a0h1524tu.r4d").geis_data_half(), None);
    }
}
