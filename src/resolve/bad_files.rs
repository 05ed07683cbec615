//! The client's policy on files that are scientifically invalid (spec/crds-service 7, spec/crds-rules 18.7).

use super::answer::Answer;
use super::options::{BadFilePolicy, Permit};
use crate::crds::{FileKind, FileName, ServerInfo};

/// The parameters that may name the instrument in a header.
const INSTRUMENT: [&str; 5] = [
    "INSTRUME",
    "META.INSTRUMENT.NAME",
    "INSTRUMENT",
    "ROMAN.META.INSTRUMENT.NAME",
    "META.INSTRUMENT.TYPE",
];

/// Whether any rules are bad at all: otherwise there is no need to know which ones an answer rests on.
pub(super) fn has_bad_rules(info: &ServerInfo) -> bool {
    info.bad_files()
        .iter()
        .any(|name| name.kind() != FileKind::Reference)
}

/// The instrument that an answer is about, in lower case.
pub(super) fn instrument(answer: &Answer, file: &FileName) -> Option<String> {
    let header = answer.header.as_deref();
    let said = |name: &&str| {
        let mut entries = header?.iter();
        let (_, value) = entries.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        (!value.eq_ignore_ascii_case("UNDEFINED")).then(|| value.to_lowercase())
    };
    let by_name = || {
        let instrument = answer.observatory.instrument_of(file.as_str())?;
        Some(instrument.to_owned())
    };
    INSTRUMENT.iter().find_map(said).or_else(by_name)
}

/// The decision of the policy about opening `file`, an answer that rests on `rules`.
pub(super) fn permit(info: &ServerInfo, policy: BadFilePolicy, rules: &[String], file: &FileName) -> Permit {
    let bad = info.bad_files();
    let bad_rules: Vec<&str> = bad
        .iter()
        .map(FileName::as_str)
        .filter(|name| rules.iter().any(|rule| rule == name))
        .collect();
    let (text, allowed, variable) = if bad.contains(file) {
        let text = format!(
            "{file} is designated scientifically invalid by the {} server",
            info.observatory()
        );
        (text, policy.allow_references, "CRDS_ALLOW_BAD_REFERENCES")
    } else if bad_rules.is_empty() {
        return Permit::Fine;
    } else {
        let text = format!(
            "the rules that chose {file} rest on {}, designated scientifically invalid by the {} server",
            bad_rules.join(", "),
            info.observatory()
        );
        (text, policy.allow_rules, "CRDS_ALLOW_BAD_RULES")
    };
    if allowed {
        Permit::Warn(format!("{text}; used because {variable} is set"))
    } else {
        Permit::Refuse(format!("{text}; set {variable}=1 to use it all the same"))
    }
}
