//! Where a file lies in a CRDS cache (spec/crds-service 4).

use std::path::PathBuf;

use crate::crds::{FileKey, FileName, Observatory};

/// How references are laid out, for every observatory alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferenceLayout {
    /// `references/<obs>/<name>`.
    Flat,
    /// `references/<obs>/<instrument>/<name>`.
    Instrument,
}

impl ReferenceLayout {
    /// The word in `ref_cache_subdir_mode`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Instrument => "instrument",
        }
    }
}

/// The path of a file below the root of a cache.
pub fn file_path(layout: ReferenceLayout, key: &FileKey) -> PathBuf {
    directory_path(layout, key).join(key.name.as_str())
}

/// The directory of a file below the root of a cache.
pub(super) fn directory_path(layout: ReferenceLayout, key: &FileKey) -> PathBuf {
    let observatory = key.observatory.as_str();
    if key.name.kind().is_mapping() {
        return ["mappings", observatory].iter().collect();
    }
    let mut path: PathBuf = ["references", observatory].iter().collect();
    if layout == ReferenceLayout::Instrument {
        path.extend(instrument_of(key.observatory, &key.name));
    }
    path
}

/// The instrument directories of an observatory, in the order in which the Python client looks through them.
pub(super) fn instruments(observatory: Observatory) -> &'static [&'static str] {
    match observatory {
        Observatory::Hst => &["acs", "cos", "nicmos", "stis", "synphot", "wfc3", "wfpc2"],
        Observatory::Jwst => &["fgs", "miri", "nircam", "niriss", "nirspec", "system"],
        Observatory::Roman => &["wfi"],
        Observatory::Tobs => &["tacs", "tcos"],
    }
}

/// The instrument that a reference belongs to, from its name (spec/crds-service 4.3); `None` when the name does not tell:
/// such a reference lies directly below its observatory.
pub fn instrument_of(observatory: Observatory, name: &FileName) -> Option<&'static str> {
    let known = |text: &str| {
        instruments(observatory)
            .iter()
            .copied()
            .find(|instrument| instrument.eq_ignore_ascii_case(text))
    };
    let second = || name.as_str().split('_').nth(1).and_then(known);
    match observatory {
        Observatory::Jwst | Observatory::Tobs => second(),
        // Roman has one instrument, so that the two dust maps without it in their names belong there too.
        Observatory::Roman => second().or(Some("wfi")),
        Observatory::Hst => hst_instrument(name.as_str(), known),
    }
}

fn hst_instrument(name: &str, known: impl Fn(&str) -> Option<&'static str>) -> Option<&'static str> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let fields: Vec<&str> = stem.split('_').collect();
    if let [first, second, _] | [first, second, _, _] = fields.as_slice()
        && *first == "hst"
        && let Some(instrument) = known(second)
    {
        return Some(instrument);
    }
    let pieces: Vec<&str> = name.split(['_', '.']).collect();
    let synphot = |piece: &&&str| piece.eq_ignore_ascii_case("syn") || piece.eq_ignore_ascii_case("th");
    if pieces.iter().rev().take(2).any(|piece| synphot(&piece)) {
        return Some("synphot");
    }
    match pieces.first()?.chars().last()?.to_ascii_lowercase() {
        'j' => Some("acs"),
        'o' => Some("stis"),
        'n' => Some("nicmos"),
        'u' => Some("wfpc2"),
        'i' => Some("wfc3"),
        'l' => Some("cos"),
        'm' => Some("synphot"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(observatory: Observatory, name: &str) -> FileKey {
        FileKey {
            observatory,
            name: name.parse().unwrap(),
        }
    }

    #[test]
    fn instruments_from_names() {
        use Observatory::{Hst, Jwst, Roman};
        for (observatory, name, instrument) in [
            (Hst, "v8q14451j_idc.fits", Some("acs")),
            (Hst, "X1U1459JO_cdb.fits", Some("stis")),
            (Hst, "a0h1524tu.r4d", Some("wfpc2")),
            (Hst, "acs_f814w_005_syn.fits", Some("synphot")),
            (Hst, "nic1_dn_002_th.fits", Some("synphot")),
            (Hst, "hst_wfc3_darkfile_0001.fits", Some("wfc3")),
            (Hst, "d1604031310_drk.fits", None),
            (Hst, "2018_super_bia.fits", None),
            (Jwst, "jwst_miri_dark_0023.fits", Some("miri")),
            (Jwst, "jwst_system_datalvl_0001.rmap", Some("system")),
            (Jwst, "jwst_../x", None),
            (Roman, "roman_wfi_dark_0001.asdf", Some("wfi")),
            (Roman, "SFD_dust_4096_ngp.fits", Some("wfi")),
        ] {
            let Ok(parsed) = name.parse() else { continue };
            assert_eq!(instrument_of(observatory, &parsed), instrument, "{name}");
        }
    }

    #[test]
    fn paths() {
        let rule = key(Observatory::Hst, "hst_acs_0001.imap");
        let data = key(Observatory::Jwst, "jwst_miri_dark_0023.fits");
        let odd = key(Observatory::Hst, "2018_super_bia.fits");
        let at = |layout, key| file_path(layout, key).to_str().unwrap().to_owned();
        assert_eq!(
            at(ReferenceLayout::Instrument, &rule),
            "mappings/hst/hst_acs_0001.imap"
        );
        assert_eq!(
            at(ReferenceLayout::Flat, &data),
            "references/jwst/jwst_miri_dark_0023.fits"
        );
        assert_eq!(
            at(ReferenceLayout::Instrument, &data),
            "references/jwst/miri/jwst_miri_dark_0023.fits"
        );
        assert_eq!(
            at(ReferenceLayout::Instrument, &odd),
            "references/hst/2018_super_bia.fits"
        );
    }
}
