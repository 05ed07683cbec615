//! The two names of JWST's parameters: FITS keywords and data-model paths, all in upper case.

use std::sync::{LazyLock, OnceLock};

use regex::Regex;
use rustc_hash::FxHashMap;

/// `FITS keyword <tab> data-model path`; the pairs are one to one.
const KEYWORDS: &str = include_str!("../data/jwst-keywords.tsv");

/// Names that mean the same, the first with each of the others, in the order in which they are filled in.
pub(crate) const SYNONYMS: [(&str, &[&str]); 11] = [
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

fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYWORDS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
}

/// The data-model paths of FITS keywords.
pub(crate) fn keywords() -> &'static FxHashMap<&'static str, &'static str> {
    static TABLE: OnceLock<FxHashMap<&'static str, &'static str>> = OnceLock::new();
    TABLE.get_or_init(|| pairs().collect())
}

/// The FITS keywords of data-model paths.
pub(crate) fn by_path() -> &'static FxHashMap<&'static str, &'static str> {
    static TABLE: OnceLock<FxHashMap<&'static str, &'static str>> = OnceLock::new();
    TABLE.get_or_init(|| pairs().map(|(keyword, path)| (path, keyword)).collect())
}

/// A message with each JWST data-model name followed by its FITS keyword in brackets, as the client's messages have it.
pub(crate) fn annotate(message: &str) -> String {
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
    if let Some(fits) = by_path().get(model) {
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
        assert_eq!(pairs().count(), 443);
        assert_eq!(keywords().len(), 443);
        assert_eq!(by_path().len(), 443);
        assert_eq!(keywords().get("DETECTOR"), Some(&"META.INSTRUMENT.DETECTOR"));
        assert_eq!(keywords().get("EXPSTART"), Some(&"META.EXPOSURE.START_TIME"));
    }

    #[test]
    fn messages_show_fits_keywords() {
        assert_eq!(
            annotate("parameter='META.SUBARRAY.XSTART' value='META.X.P_PATTERNED' META.FOO"),
            "parameter='META.SUBARRAY.XSTART [SUBSTRT1]' value='META.X.P_PATTERNED [P_PATTER]' META.FOO [FITS unknown]"
        );
    }
}
