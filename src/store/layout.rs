//! The paths of files in a CRDS cache (spec/crds-service 4).

use std::path::PathBuf;

use crate::crds::FileKey;
pub(crate) use crate::crds::ReferenceLayout;

/// The path of a file below the root of a cache.
pub(crate) fn file_path(layout: ReferenceLayout, key: &FileKey) -> PathBuf {
    let is_mapping = key.name.kind().is_mapping();
    place(key, layout.instrument(key).filter(|_| !is_mapping))
}

/// The path of a file in an instrument directory or directly below its observatory.
pub(super) fn place(key: &FileKey, instrument: Option<&str>) -> PathBuf {
    let mut path: PathBuf = [key.name.kind().area(), key.observatory.as_str()]
        .iter()
        .collect();
    path.extend(instrument);
    path.push(key.name.as_str());
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crds::Observatory;

    fn key(observatory: Observatory, name: &str) -> FileKey {
        FileKey {
            observatory,
            name: name.parse().unwrap(),
        }
    }

    #[test]
    fn paths() {
        let rule = key(Observatory::Hst, "hst_acs_0001.imap");
        let data = key(Observatory::Jwst, "jwst_miri_dark_0023.fits");
        let odd = key(Observatory::Hst, "2018_super_bia.fits");
        let test = key(Observatory::Tobs, "tobs_tinstr_tfilekind_0001.fits");
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
        assert_eq!(
            at(ReferenceLayout::Instrument, &test),
            "references/tobs/tinstr/tobs_tinstr_tfilekind_0001.fits"
        );
    }
}
