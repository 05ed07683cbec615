//! The format and the observatory of a dataset file (spec, section 21).

use std::fmt;
use std::path::Path;

use crate::crds::Observatory;

/// The length of a line of a GEIS header, which is that of a FITS card plus its newline.
const GEIS_LINE: usize = 81;

/// The number of bytes that tell the format of a file.
pub(super) const START: usize = 2 * GEIS_LINE;

/// The formats that datasets come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// FITS, plain or gzip.
    Fits,
    /// ASDF.
    Asdf,
    /// The header half (`.rNh`) of a GEIS pair.
    Geis,
    /// A JSON object.
    Json,
    /// A YAML mapping.
    Yaml,
}

impl Format {
    /// The name as the header's `FILE_FORMAT` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fits => "FITS",
            Self::Asdf => "ASDF",
            Self::Geis => "GEIS",
            Self::Json => "JSON",
            Self::Yaml => "YAML",
        }
    }

    /// The format that a file's extension means, if it means one. Compressed FITS files are known by `.fits.gz` too.
    pub(crate) fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy();
        let extension = name.strip_suffix(".gz").unwrap_or(&name).rsplit_once('.')?.1;
        match extension.as_bytes() {
            b"fits" => Some(Self::Fits),
            b"asdf" => Some(Self::Asdf),
            b"json" => Some(Self::Json),
            b"yaml" => Some(Self::Yaml),
            [b'r', b'0'..=b'9', b'h' | b'd'] => Some(Self::Geis),
            _ => None,
        }
    }

    /// The format that a file's first [`START`] bytes mean.
    pub(super) fn of_start(start: &[u8]) -> Option<Self> {
        if start.starts_with(b"#ASDF") {
            return Some(Self::Asdf);
        }
        if start.starts_with(b"SIMPL") {
            let newline_at = |index: usize| start.get(index) == Some(&b'\n');
            let geis = newline_at(GEIS_LINE - 1) && newline_at(2 * GEIS_LINE - 1);
            return Some(if geis { Self::Geis } else { Self::Fits });
        }
        match start.iter().find(|byte| !byte.is_ascii_whitespace())? {
            b'{' => Some(Self::Json),
            b'%' | b'-' | b'#' | b'"' | b'\'' | b'a'..=b'z' | b'A'..=b'Z' | b'_' => Some(Self::Yaml),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The observatory of a file when the caller does not name it: by the beginning of the path, else by the telescope in
/// the header, else Hubble.
pub(super) fn observatory(path: &Path, format: Format, pairs: &[(String, String)]) -> Observatory {
    let text = path.to_str().unwrap_or_default();
    let by_name = Observatory::ALL.into_iter().find(|observatory| {
        let rest = text.strip_prefix(observatory.as_str());
        rest.is_some_and(|rest| rest.starts_with('_'))
    });
    let telescope = |key: &str| {
        let (_, text) = pairs.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        text.trim().parse().ok()
    };
    by_name
        .or_else(|| match format {
            Format::Fits => telescope("TELESCOP"),
            Format::Asdf if pairs.iter().any(|(name, _)| name.starts_with("ROMAN.")) => {
                Some(Observatory::Roman)
            }
            Format::Asdf => telescope("META.TELESCOPE"),
            Format::Json | Format::Yaml => Some(Observatory::Jwst),
            Format::Geis => None,
        })
        .unwrap_or(Observatory::Hst)
}
