//! The references that a header says were used (spec/crds-rules 22).

use super::cross_strap;
use super::plan::{Verdict, verdict};
use crate::crds::Observatory;

/// The record of a reference type in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// A file, in lower case.
    File(String),
    /// No file: the type did not apply, or nothing was found.
    NotApplicable,
}

/// Reads the record of a reference type (lower case) in a header; nothing if it has none. `get` gives the text of a
/// parameter, whose name is in upper case.
pub(crate) fn recorded<'h>(
    observatory: Observatory,
    reftype: &str,
    get: impl Fn(&str) -> Option<&'h str>,
) -> Option<Recorded> {
    let upper = reftype.to_uppercase();
    let text = match observatory {
        Observatory::Roman => {
            get(&format!("ROMAN.META.REF_FILE.{upper}")).or_else(|| get(&format!("META.REF_FILE.{upper}")))
        }
        Observatory::Jwst => {
            let keyword = cross_strap::reference_keyword(reftype);
            keyword
                .and_then(&get)
                .or_else(|| get(&format!("META.REF_FILE.{upper}.NAME")))
                .or_else(|| get(&upper))
        }
        Observatory::Hst | Observatory::Tobs => get(&upper),
    };
    match verdict(without_prefix(text?)) {
        Verdict::File(name) => Some(Recorded::File(name.to_lowercase())),
        Verdict::NotApplicable | Verdict::Failed(_) => Some(Recorded::NotApplicable),
        Verdict::NoMatch(_) => None,
    }
}

/// The context by which a header says its references were found.
pub(crate) fn recorded_context<'h>(
    observatory: Observatory,
    get: impl Fn(&str) -> Option<&'h str>,
) -> Option<&'h str> {
    let names: &[&str] = match observatory {
        Observatory::Roman => &["ROMAN.META.REF_FILE.CRDS.CONTEXT", "META.REF_FILE.CRDS.CONTEXT"],
        Observatory::Jwst => &["CRDS_CTX", "META.REF_FILE.CRDS.CONTEXT_USED"],
        Observatory::Hst | Observatory::Tobs => &["CRDS_CTX"],
    };
    let context = names.iter().find_map(|name| get(name))?.trim();
    (!matches!(context, "" | "N/A" | "UNDEFINED" | "NONE")).then_some(context)
}

/// Without the name of a directory before a dollar sign, such as `oref$`.
fn without_prefix(text: &str) -> &str {
    match text.trim().split_once('$') {
        Some((prefix, name)) if prefix.bytes().all(|byte| byte.is_ascii_alphanumeric()) => name,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(observatory: Observatory, reftype: &str, header: &[(&str, &'static str)]) -> Option<Recorded> {
        let get = |name: &str| header.iter().find(|(own, _)| *own == name).map(|(_, text)| *text);
        recorded(observatory, reftype, get)
    }

    fn file(name: &str) -> Recorded {
        Recorded::File(name.to_owned())
    }

    #[test]
    fn every_form_in_which_files_are_recorded() {
        let hst = |text| of(Observatory::Hst, "darkfile", &[("DARKFILE", text)]);
        for text in [
            "oref$N7p1032hO_drk.fits",
            " jref$n7p1032ho_drk.fits ",
            "ttab$n7p1032ho_drk.fits",
            "n7p1032ho_drk.fits",
        ] {
            assert_eq!(hst(text), Some(file("n7p1032ho_drk.fits")), "{text}");
        }
        assert_eq!(hst("N/A"), Some(Recorded::NotApplicable));
        assert_eq!(hst("NOT FOUND n/a"), Some(Recorded::NotApplicable));
        for text in ["", "UNDEFINED", "NONE"] {
            assert_eq!(hst(text), None, "{text:?}");
        }
        assert_eq!(of(Observatory::Hst, "biasfile", &[("DARKFILE", "x.fits")]), None);
        let dark = "crds://jwst_miri_dark_0058.fits";
        for name in ["R_DARK", "META.REF_FILE.DARK.NAME"] {
            assert_eq!(
                of(Observatory::Jwst, "dark", &[(name, dark)]),
                Some(file("jwst_miri_dark_0058.fits"))
            );
        }
        let flat = "crds://roman_wfi_flat_0001.asdf";
        for name in ["ROMAN.META.REF_FILE.FLAT", "META.REF_FILE.FLAT"] {
            assert_eq!(
                of(Observatory::Roman, "flat", &[(name, flat)]),
                Some(file("roman_wfi_flat_0001.asdf"))
            );
        }
    }

    #[test]
    fn contexts() {
        let get = |name: &str| (name == "CRDS_CTX").then_some(" jwst_0541.pmap ");
        assert_eq!(recorded_context(Observatory::Jwst, get), Some("jwst_0541.pmap"));
        assert_eq!(recorded_context(Observatory::Roman, get), None);
        assert_eq!(recorded_context(Observatory::Hst, |_| Some("N/A")), None);
    }
}
