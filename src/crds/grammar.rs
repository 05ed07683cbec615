//! The full grammars of file names (spec/crds-service 4.4). They tell which names CRDS could have made; what exists is
//! the catalog's to say.

use super::name::{FileKind, Observatory};

/// Whether the observatory could have a file of this name, so that asking its server for a newer catalog is sensible.
/// Lock files, temporary files and UUIDs are not plausible (spec/crds-service 9, trap 6).
pub(crate) fn plausible(observatory: Observatory, name: &str) -> bool {
    let named = Observatory::of_name(name);
    if named.is_some_and(|named| named != observatory) {
        return false;
    }
    if FileKind::of(name).is_mapping() {
        return named.is_some() && is_mapping(name);
    }
    let lower = name.to_ascii_lowercase();
    let has_older_names = matches!(observatory, Observatory::Hst | Observatory::Roman);
    (named.is_some() && (is_crds(&lower) || is_ssc(&lower))) || (has_older_names && is_cdbs(&lower))
}

/// `obs(_instr(_kind)?)?(_dddd)?.ext` in lower case.
pub(crate) fn is_crds(name: &str) -> bool {
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return false;
    };
    if !is_extension(extension) {
        return false;
    }
    let mut fields: Vec<&str> = stem.split('_').collect();
    if fields.len() > 1 && fields.last().is_some_and(|last| is_serial(last)) {
        fields.pop();
    }
    match *fields.as_slice() {
        [observatory] => is_observatory(observatory),
        [observatory, instrument] => is_observatory(observatory) && is_instrument(instrument),
        [observatory, instrument, kind] => {
            is_observatory(observatory) && is_instrument(instrument) && is_kind(kind)
        }
        _ => false,
    }
}

/// A rule: a CRDS name that ends in `pmap`, `imap` or `rmap`.
pub(crate) fn is_mapping(name: &str) -> bool {
    FileKind::of(name).is_mapping() && is_crds(name)
}

/// `[a-z0-9_]{1,52}\.(fits|r\dh|r\dd)`: Hubble's older names.
pub(crate) fn is_cdbs(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, extension)| {
        (1..=52).contains(&stem.len())
            && stem
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            && (extension == "fits" || is_geis(extension))
    })
}

/// Names of Roman's Science Support Center.
pub(crate) fn is_ssc(name: &str) -> bool {
    let Some((stem, "asdf" | "yaml" | "fits")) = name.rsplit_once('.') else {
        return false;
    };
    let fields: Vec<&str> = stem.split('_').collect();
    let [observatory, instrument, element, kind, serial] = *fields.as_slice() else {
        return false;
    };
    let letters = |text: &str, most| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    letters(observatory, 8)
        && letters(instrument, 16)
        && letters(element, 32)
        && letters(kind, 32)
        && is_serial(serial.strip_prefix("ctx").unwrap_or(serial))
}

fn is_extension(extension: &str) -> bool {
    matches!(
        extension,
        "pmap" | "imap" | "rmap" | "fits" | "asdf" | "yaml" | "json" | "text"
    ) || is_geis(extension)
}

fn is_geis(extension: &str) -> bool {
    matches!(extension.as_bytes(), [b'r', b'0'..=b'9', b'h' | b'd'])
}

fn is_serial(text: &str) -> bool {
    text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_observatory(text: &str) -> bool {
    word(text, 1..=8, |byte| byte.is_ascii_lowercase())
}

fn is_instrument(text: &str) -> bool {
    word(text, 1..=16, |byte| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit()
    })
}

fn is_kind(text: &str) -> bool {
    word(text, 1..=32, |byte| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
    })
}

/// A lower-case letter, followed by `rest` many bytes that are `allowed`.
fn word(text: &str, rest: std::ops::RangeInclusive<usize>, allowed: impl Fn(u8) -> bool) -> bool {
    match text.as_bytes() {
        [first, others @ ..] => {
            first.is_ascii_lowercase()
                && rest.contains(&others.len())
                && others.iter().all(|&byte| allowed(byte))
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    #[test]
    fn names_that_crds_could_have() {
        for (observatory, names) in [
            (
                Observatory::Hst,
                &[
                    "hst.pmap",
                    "hst_0729.pmap",
                    "hst_acs.imap",
                    "hst_acs_darkfile_0107.rmap",
                    "hst_acs_darkfile.rmap",
                    "v8q14451j_idc.fits",
                    "a0h1524tu.r4h",
                    "a0h1524tu.r4d",
                    "weekdark_15551_0H_wk03_drk.fits",
                    "2018_super_bia.fits",
                    "hst_ota_007_syn.fits",
                ][..],
            ),
            (
                Observatory::Jwst,
                &[
                    "jwst_miri_flat_0023.fits",
                    "jwst_miri_pars-tweakregstep_0001.asdf",
                    "jwst_nirspec_wavelengthrange_0016.rmap",
                    "jwst_system_datalvl_0002.rmap",
                    "jwst_miri_abvegaoffset_0001.json",
                ],
            ),
            (
                Observatory::Roman,
                &[
                    "roman_wfi_dark_0469.asdf",
                    "roman_wfi_pars-x_0001.asdf",
                    "SFD_dust_4096_ngp.fits",
                    "roman_wfi_prism_wavesol_ctx0001.asdf",
                    "roman_wfi_prism_wavesol_0001.yaml",
                ],
            ),
        ] {
            for name in names {
                assert!(plausible(observatory, name), "{observatory} {name}");
            }
        }
    }

    #[test]
    fn names_that_are_never_asked_for() {
        for name in [
            "",
            "hst",
            "hst_0729.pmap.lock",
            "v8q14451j_idc.fits.lock",
            ".tmp_v8q14451j_idc.fits_1234",
            "123e4567-e89b-12d3-a456-426614174000",
            "server_config",
            "jref",
            "acs",
            "hst_acs_darkfile_missing_key.rmap",
            "HST_0729.pmap",
            "hst_acs_darkfile_01.rmap",
            "jwst_miri_flat_0023.fits",
            "readme.txt",
            "N/A",
            "v8q14451j-idc.fits",
        ] {
            assert!(!plausible(Observatory::Hst, name), "{name}");
        }
        assert!(!plausible(Observatory::Jwst, "v8q14451j_idc.fits"));
        assert!(!plausible(Observatory::Jwst, "hst_0729.pmap"));
        assert!(!plausible(
            Observatory::Jwst,
            "jwst_miri_flat_extra_field_0023.fits"
        ));
        assert!(!plausible(Observatory::Roman, "hst_acs_darkfile_0107.fits"));
    }

    /// The patterns of the specification.
    static PATTERNS: LazyLock<[Regex; 3]> = LazyLock::new(|| {
        [
            r"^[a-z][a-z]{1,8}(_[a-z][a-z0-9]{1,16}(_[a-z][a-z0-9-]{1,32})?)?(_[0-9]{4})?\.(pmap|imap|rmap|fits|asdf|yaml|json|text|r[0-9]h|r[0-9]d)$",
            r"^[a-z0-9_]{1,52}\.(fits|r[0-9]h|r[0-9]d)$",
            r"^[a-z]{1,8}_[a-z]{1,16}_[a-z]{1,32}_[a-z]{1,32}_([0-9]{4}|ctx[0-9]{4})\.(asdf|yaml|fits)$",
        ]
        .map(|pattern| Regex::new(pattern).unwrap())
    });

    proptest! {
        #[test]
        fn the_grammars_are_those_of_the_patterns(
            name in "[a-z]{0,10}(_[a-z]?[a-z0-9-]{0,35}){0,4}(_([0-9]{3,5}|ctx[0-9]{4}))?\\.?(pmap|rmap|fits|asdf|yaml|json|text|txt|r[0-9a]h|r1d|lock)?|[a-z0-9_]{50,54}\\.fits|\\PC{0,12}"
        ) {
            let grammars: [fn(&str) -> bool; 3] = [is_crds, is_cdbs, is_ssc];
            for (pattern, grammar) in PATTERNS.iter().zip(grammars) {
                prop_assert_eq!(pattern.is_match(&name), grammar(&name), "{} {}", pattern, name);
            }
        }
    }
}
