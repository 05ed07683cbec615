//! Products of datasets: from the name of a file, as users have it, to the id of its dataset in the archive.

use super::name::Observatory;

/// The detectors of Webb, as products spell them.
const WEBB_DETECTORS: [&str; 18] = [
    "guider1",
    "guider2",
    "mirifulong",
    "mirifushort",
    "mirimage",
    "nis",
    "nrca1",
    "nrca2",
    "nrca3",
    "nrca4",
    "nrcalong",
    "nrcb1",
    "nrcb2",
    "nrcb3",
    "nrcb4",
    "nrcblong",
    "nrs1",
    "nrs2",
];

/// The letters with which the names of Hubble's exposures begin, one for each instrument.
const HUBBLE_INSTRUMENTS: &str = "fijlnouvwxyz";

/// The id, in upper case, of the dataset that a product belongs to: `jw…_00001_mirimage_uncal.fits` belongs to
/// `JW…_00001.MIRIMAGE`, `j8bt06nyq_raw.fits` to `J8BT06NYQ`. `None` where the name is not that of a product.
pub(super) fn dataset(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let id = webb(&name).or_else(|| roman(&name)).or_else(|| hubble(&name))?;
    Some(id.to_ascii_uppercase())
}

/// The observatory whose exposure an id names, as far as its form tells.
pub(super) fn observatory(id: &str) -> Option<Observatory> {
    let first = id.split(['_', '.', ':']).next()?.to_ascii_lowercase();
    if is_webb_visit(&first) {
        Some(Observatory::Jwst)
    } else if is_roman_visit(&first) {
        Some(Observatory::Roman)
    } else if is_hubble_exposure(&first) {
        Some(Observatory::Hst)
    } else {
        None
    }
}

/// `jw<visit>_<activity>_<exposure>_<detector>`, and whatever follows.
fn webb(name: &str) -> Option<String> {
    let mut fields = name.splitn(4, '_');
    let (visit, activity, exposure, rest) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let (number, segment) = exposure.split_once('-').unwrap_or((exposure, "seg0"));
    let detector = rest.split(['_', '.']).next()?;
    let valid = is_webb_visit(visit)
        && activity.len() == 5
        && activity.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && number.len() == 5
        && is_digits(number)
        && segment.strip_prefix("seg").is_some_and(is_digits)
        && WEBB_DETECTORS.contains(&detector);
    valid.then(|| format!("{visit}_{activity}_{exposure}.{detector}"))
}

/// `r<visit>_<exposure>_<detector>`, the exposure in one field or two, and whatever follows.
fn roman(name: &str) -> Option<String> {
    let start = name.find("_wfi")?;
    let (exposure, rest) = (name.get(..start)?, name.get(start + 1..)?);
    let detector = rest.split(['_', '.']).next()?;
    let (visit, numbers) = exposure.split_once('_')?;
    let valid = is_roman_visit(visit)
        && numbers.split('_').all(is_digits)
        && detector.strip_prefix("wfi").is_some_and(is_digits);
    valid.then(|| format!("{exposure}.{detector}"))
}

/// `<exposure>_<suffix>`, `<exposure>.<extension>`, or both.
fn hubble(name: &str) -> Option<String> {
    let end = name.find(['_', '.'])?;
    let (exposure, rest) = (name.get(..end)?, name.get(end + 1..)?);
    let valid = is_hubble_exposure(exposure)
        && !rest.is_empty()
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    valid.then(|| exposure.to_owned())
}

fn is_webb_visit(text: &str) -> bool {
    text.len() == 13 && text.strip_prefix("jw").is_some_and(is_digits)
}

fn is_roman_visit(text: &str) -> bool {
    text.len() == 20 && text.strip_prefix('r').is_some_and(is_digits)
}

fn is_hubble_exposure(text: &str) -> bool {
    text.len() == 9
        && text.starts_with(|first| HUBBLE_INSTRUMENTS.contains(first))
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_name_their_datasets() {
        for (product, id) in [
            (
                "jw01234001001_02101_00001_mirimage_uncal.fits",
                "JW01234001001_02101_00001.MIRIMAGE",
            ),
            ("JW01234001001_0210a_00001_NRS1", "JW01234001001_0210A_00001.NRS1"),
            (
                "jw01366002001_04101_00001-seg001_nis_rateints.fits",
                "JW01366002001_04101_00001-SEG001.NIS",
            ),
            (
                "r0000101001001001001_01101_0001_wfi16_uncal.asdf",
                "R0000101001001001001_01101_0001.WFI16",
            ),
            (
                "r0000101001001001001_0001_WFI01",
                "R0000101001001001001_0001.WFI01",
            ),
            ("j8bt06nyq_raw.fits", "J8BT06NYQ"),
            ("jcl403010_asn.fits.gz", "JCL403010"),
            ("u2m10101t.c0h", "U2M10101T"),
        ] {
            assert_eq!(dataset(product).as_deref(), Some(id), "{product}");
            assert_eq!(observatory(id), observatory(product), "{product}");
            assert!(observatory(id).is_some(), "{product}");
        }
    }

    #[test]
    fn ids_and_other_names_are_no_products() {
        for name in [
            "JW01234001001_02101_00001.MIRIMAGE",
            "R0000101001001001001_01101_0001.WFI16",
            "J8BT06NYQ",
            "JCL403010:JCL403ECQ",
            "jw01234001001_02101_00001_uncal.fits",
            "jw01234_02101_00001_mirimage_uncal.fits",
            "jw01234001001_02101_00001-x_mirimage_uncal.fits",
            "jw01234-o001_t001_miri_f770w_i2d.fits",
            "hst_13671_d0_acs_wfc_f606w_jcl4d0_drz.fits",
            "r0000101001001001001_wfi01_cal.asdf",
            "a8bt06nyq_raw.fits",
            "j8bt06nyq_",
            "",
            "_wfi01",
        ] {
            assert_eq!(dataset(name), None, "{name}");
        }
        assert_eq!(observatory("JCL403010:JCL403ECQ"), Some(Observatory::Hst));
        assert_eq!(observatory("NOSUCH"), None);
    }
}
