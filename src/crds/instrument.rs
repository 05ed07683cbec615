//! The instrument of a reference by its name, and the directories of instrument mode
//! (spec/crds-service 4.3).

use super::name::Observatory;

/// The separators of the fields of names.
const SEPARATORS: [char; 2] = ['_', '.'];

impl Observatory {
    /// Its instruments, as directories are named.
    pub(crate) const fn instruments(self) -> &'static [&'static str] {
        match self {
            Self::Hst => &["acs", "cos", "nicmos", "stis", "synphot", "wfc3", "wfpc2"],
            Self::Jwst => &["fgs", "miri", "nircam", "niriss", "nirspec", "system"],
            Self::Roman => &["wfi"],
            Self::Tobs => &["tinstr"],
        }
    }

    /// The directories that must exist in instrument mode, sorted: the client fails where it cannot make them.
    pub(crate) const fn instrument_directories(self) -> &'static [&'static str] {
        match self {
            Self::Hst => self.instruments(),
            Self::Jwst => &["all", "fgs", "miri", "nircam", "niriss", "nirspec", "system"],
            Self::Roman => &["all", "wfi"],
            Self::Tobs => &["all", "tinstr"],
        }
    }

    /// The links beside the instrument directories and what they lead to: `jref` is `acs`. Only Hubble has them.
    pub(crate) const fn legacy_links(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Hst => &[
                ("iref", "wfc3"),
                ("jref", "acs"),
                ("lref", "cos"),
                ("nref", "nicmos"),
                ("oref", "stis"),
                ("uref", "wfpc2"),
            ],
            _ => &[],
        }
    }

    /// The instrument of the reference `name`. `None` where only the server knows (43 Hubble files in 2019).
    pub(crate) fn instrument_of(self, name: &str) -> Option<&'static str> {
        match self {
            Self::Hst => hubble(name),
            Self::Jwst | Self::Roman | Self::Tobs => self.second_field(name).or(match self.instruments() {
                [only] => Some(only),
                _ => None,
            }),
        }
    }

    /// `<obs>_<instrument>_...`
    fn second_field(self, name: &str) -> Option<&'static str> {
        let ends = |text: &str| text.is_empty() || text.starts_with(SEPARATORS);
        let rest = name.strip_prefix(self.as_str())?.strip_prefix(SEPARATORS)?;
        let mut instruments = self.instruments().iter();
        instruments
            .find(|known| rest.strip_prefix(**known).is_some_and(ends))
            .copied()
    }
}

fn hubble(name: &str) -> Option<&'static str> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let fields = stem.split('_').count();
    if matches!(fields, 3 | 4)
        && let Some(instrument) = Observatory::Hst.second_field(name)
    {
        return Some(instrument);
    }
    let mut pieces = name.split(SEPARATORS);
    let first = pieces.next().unwrap_or_default();
    let is_synphot = |piece: &str| piece.eq_ignore_ascii_case("syn") || piece.eq_ignore_ascii_case("th");
    if name.rsplit(SEPARATORS).take(2).any(is_synphot) {
        return Some("synphot");
    }
    match first.bytes().last()?.to_ascii_lowercase() {
        b'j' => Some("acs"),
        b'o' => Some("stis"),
        b'n' => Some("nicmos"),
        b'u' => Some("wfpc2"),
        b'i' => Some("wfc3"),
        b'l' => Some("cos"),
        b'm' => Some("synphot"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruments_of_references() {
        for (observatory, name, instrument) in [
            (Observatory::Hst, "v8q14451j_idc.fits", Some("acs")),
            (Observatory::Hst, "V8Q14451J_idc.fits", Some("acs")),
            (Observatory::Hst, "a0h1524tu.r4h", Some("wfpc2")),
            (Observatory::Hst, "acs_f606w_003_syn.fits", Some("synphot")),
            (Observatory::Hst, "hst_ota_007_SYN.fits", Some("synphot")),
            (Observatory::Hst, "x_th.fits", Some("synphot")),
            (Observatory::Hst, "3241637sm_tmg.fits", Some("synphot")),
            (Observatory::Hst, "hst_wfc3_drk_0001.fits", Some("wfc3")),
            (Observatory::Hst, "weekdark_15551_0H_wk03_drk.fits", None),
            (Observatory::Hst, "2018_super_bia.fits", None),
            (Observatory::Hst, "ref_null_bia1x1.fits", None),
            (Observatory::Hst, "d1604031310_drk.fits", None),
            (Observatory::Jwst, "jwst_miri_flat_0023.fits", Some("miri")),
            (Observatory::Jwst, "jwst_other_flat_0023.fits", None),
            (Observatory::Jwst, "v8q14451j_idc.fits", None),
            (
                Observatory::Roman,
                "roman_wfi_prism_wavesol_ctx0001.asdf",
                Some("wfi"),
            ),
            (Observatory::Roman, "SFD_dust_4096_ngp.fits", Some("wfi")),
        ] {
            assert_eq!(observatory.instrument_of(name), instrument, "{name}");
        }
    }

    #[test]
    fn every_instrument_has_a_directory() {
        for observatory in Observatory::ALL {
            let directories = observatory.instrument_directories();
            assert!(directories.is_sorted());
            for instrument in observatory.instruments() {
                assert!(directories.contains(instrument));
            }
            for (_, target) in observatory.legacy_links() {
                assert!(directories.contains(target));
            }
        }
    }
}
