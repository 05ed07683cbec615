//! Cross-strapping of JWST headers: after it a value is there under its FITS and under its data-model name.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use super::header::DatasetHeader;

/// `FITS keyword <tab> data-model name`; the pairs are one to one.
const SCHEMA: &str = include_str!("../rules/data/jwst-keywords.tsv");

static BY_FITS: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| schema().collect());
static BY_MODEL: LazyLock<HashMap<&str, &str>> =
    LazyLock::new(|| schema().map(|(fits, model)| (model, fits)).collect());

/// Names that mean the same, the first with each of the others, in the order in which they are filled in.
const SYNONYMS: [(&str, &[&str]); 11] = [
    (
        "META.INSTRUMENT.NAME",
        &["INSTRUME", "INSTRUMENT", "META.INSTRUMENT.TYPE"],
    ),
    ("META.TELESCOPE", &["TELESCOP", "TELESCOPE"]),
    ("META.DESCRIPTION", &["DESCRIP", "DESCRIPTION"]),
    ("META.REFTYPE", &["REFTYPE"]),
    ("META.AUTHOR", &["AUTHOR"]),
    ("META.PEDIGREE", &["PEDIGREE"]),
    ("META.USEAFTER", &["USEAFTER"]),
    ("META.HISTORY", &["HISTORY"]),
    (
        "META.CALIBRATION_SOFTWARE_VERSION",
        &["CAL_VER", "CALIBRATION_SOFTWARE_VERSION"],
    ),
    ("META.OBSERVATION.DATE", &["DATE-OBS"]),
    ("META.OBSERVATION.TIME", &["TIME-OBS"]),
];

fn schema() -> impl Iterator<Item = (&'static str, &'static str)> {
    SCHEMA
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
}

/// Whether an instrument (upper case) is one of JWST's; no other observatory's headers are strapped.
pub(super) fn is_jwst_instrument(name: &str) -> bool {
    matches!(
        name,
        "ALL" | "FGS" | "MIRI" | "NIRCAM" | "NIRISS" | "NIRSPEC" | "SYSTEM"
    )
}

/// The FITS keyword that records the file used for a reference type (lower case), if the data model has one.
pub(super) fn reference_keyword(reftype: &str) -> Option<&'static str> {
    let model = format!("META.REF_FILE.{}.NAME", reftype.to_uppercase());
    BY_MODEL.get(model.as_str()).copied()
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
        let fits = BY_MODEL.get(name.as_str()).copied().unwrap_or(name);
        let model = BY_FITS.get(name.as_str()).copied().unwrap_or(name);
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

/// A message with each JWST data-model name followed by its FITS keyword in brackets, as the client's log shows it.
pub fn annotate(message: &str) -> String {
    static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"META(\.[A-Z][A-Z0-9_]*)+").ok());
    let mut annotated = message.to_owned();
    for found in NAME.iter().flat_map(|name| name.find_iter(message)) {
        let note = format!(" [{}]", fits_name(found.as_str()));
        if !annotated.contains(&note) {
            annotated = annotated.replace(found.as_str(), &format!("{}{note}", found.as_str()));
        }
    }
    annotated
}

/// The FITS keyword shown for a data-model name, also for those outside the core schema.
fn fits_name(model: &str) -> &str {
    if let Some(fits) = BY_MODEL.get(model) {
        return fits;
    }
    if let Some((_, others)) = SYNONYMS.iter().find(|(first, _)| *first == model) {
        return others[0];
    }
    match model.rfind(".P_") {
        Some(at) => {
            let pattern = model[at + 1..].split('.').next().unwrap_or_default();
            &pattern[..pattern.len().min(8)]
        }
        None => "FITS unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_one_to_one() {
        assert_eq!(schema().count(), 443);
        assert_eq!(BY_FITS.len(), 443);
        assert_eq!(BY_MODEL.len(), 443);
    }

    #[test]
    fn reference_keywords() {
        assert_eq!(reference_keyword("superbias"), Some("R_SUPERB"));
        assert_eq!(reference_keyword("drizpars"), None);
    }

    #[test]
    fn messages_show_fits_keywords() {
        assert_eq!(
            annotate("parameter='META.SUBARRAY.XSTART' value='META.X.P_PATTERNED' META.FOO"),
            "parameter='META.SUBARRAY.XSTART [SUBSTRT1]' value='META.X.P_PATTERNED [P_PATTER]' META.FOO [FITS unknown]"
        );
    }
}
