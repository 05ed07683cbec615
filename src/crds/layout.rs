//! The layouts of references in a CRDS cache (spec/crds-service 4.2).

use super::name::FileKey;

/// The layout of references, the same for every observatory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReferenceLayout {
    /// `references/<obs>/<name>`.
    Flat,
    /// `references/<obs>/<instrument>/<name>`.
    Instrument,
}

impl ReferenceLayout {
    /// The word in `ref_cache_subdir_mode`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Instrument => "instrument",
        }
    }

    /// The instrument directory that a file belongs to; `None` when it lies directly below its observatory, as mappings do
    /// and references whose names do not tell.
    pub(crate) fn instrument(self, key: &FileKey) -> Option<&'static str> {
        let by_instrument = self == Self::Instrument && !key.name.kind().is_mapping();
        by_instrument
            .then(|| key.observatory.instrument_of(key.name.as_str()))
            .flatten()
    }
}
