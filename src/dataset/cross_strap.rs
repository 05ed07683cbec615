//! Cross-strapping of JWST headers: after it a value is there under its FITS and under its data-model name.

use super::header::DatasetHeader;
use crate::rules::jwst::{SYNONYMS, by_path, keywords};

/// Whether an instrument (upper case) is one of JWST's; no other observatory's headers are cross-strapped.
pub(super) fn is_jwst_instrument(name: &str) -> bool {
    matches!(
        name,
        "ALL" | "FGS" | "MIRI" | "NIRCAM" | "NIRISS" | "NIRSPEC" | "SYSTEM"
    )
}

/// The FITS keyword that records the file used for a reference type (lower case), if the data model has one.
pub(super) fn reference_keyword(reftype: &str) -> Option<&'static str> {
    let model = format!("META.REF_FILE.{}.NAME", reftype.to_uppercase());
    by_path().get(model.as_str()).copied()
}

/// Fills in what is missing under one of two names and defined under the other.
pub(super) fn cross_strap(header: &mut DatasetHeader) {
    let names: Vec<String> = header.iter().map(|(name, _)| name.to_owned()).collect();
    for (first, others) in SYNONYMS {
        for other in others {
            copy(header, first, other);
            copy(header, other, first);
        }
    }
    for name in &names {
        let fits = by_path().get(name.as_str()).copied().unwrap_or(name);
        let model = keywords().get(name.as_str()).copied().unwrap_or(name);
        copy(header, fits, model);
        copy(header, model, fits);
    }
}

fn copy(header: &mut DatasetHeader, from: &str, to: &str) {
    let defined = |text: Option<&str>| text.is_some_and(|text| text != "UNDEFINED");
    if defined(header.get(from)) && !defined(header.get(to)) {
        let text = header.get(from).unwrap_or_default().to_owned();
        header.set(to, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_keywords() {
        assert_eq!(reference_keyword("superbias"), Some("R_SUPERB"));
        assert_eq!(reference_keyword("drizpars"), None);
    }
}
