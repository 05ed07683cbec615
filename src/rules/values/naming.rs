//! Names of parameters and of the instrument in headers (spec/crds-rules 17).

use crate::crds::Observatory;

/// The rules of a context for names in headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Naming {
    pub(crate) observatory: Observatory,
    /// The parameter that a pmap says names the instrument, in upper case.
    pub(crate) parkey: Option<String>,
}

impl Naming {
    /// The parameters that name the instrument; the first one that has a value counts.
    pub(crate) fn instrument_names(&self) -> impl Iterator<Item = &str> {
        self.parkey.as_deref().into_iter().chain(INSTRUMENT_NAMES)
    }

    /// The prefix of names that begin with `META`.
    pub(crate) fn prefix(&self) -> &'static str {
        match self.observatory {
            Observatory::Roman => "ROMAN.",
            _ => "",
        }
    }

    /// Whether names of parameters are translated to data-model paths.
    pub(crate) fn is_jwst(&self) -> bool {
        self.observatory == Observatory::Jwst
    }
}

/// The parameters that name the instrument besides the one of the pmap, in the order of the search (spec/crds-rules 17
/// and 22).
pub(crate) const INSTRUMENT_NAMES: [&str; 7] = [
    "INSTRUME",
    "META.INSTRUMENT.NAME",
    "META_INSTRUMENT_NAME",
    "INSTRUMENT",
    "ROMAN.META.INSTRUMENT.NAME",
    "META.INSTRUMENT.TYPE",
    "META_INSTRUMENT_TYPE",
];

/// Whether the first part of a name is `META`, in any case.
pub(crate) fn begins_with_meta(name: &str) -> bool {
    let Some((first, rest)) = name.as_bytes().split_at_checked(4) else {
        return false;
    };
    matches!(rest, [] | [b'.', ..]) && first.eq_ignore_ascii_case(b"META")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_part_of_a_name() {
        for name in ["META", "meta.x", "Meta.", "META..y"] {
            assert!(begins_with_meta(name), "{name}");
        }
        for name in ["", "MET", "METAL", "METAL.X", "ROMAN.META", ".META", "µETA.x"] {
            assert!(!begins_with_meta(name), "{name}");
        }
    }
}
