//! The changes that `bestrefs --update-bestrefs` makes to a dataset, given the answers (spec, section 22). Pure.

use std::collections::BTreeMap;

use crate::crds::Observatory;
use crate::rules::annotate;
use crate::rules::python::repr;

use super::format::Format;
use super::{DatasetHeader, cross_strap};

/// The value of `CRDS_VER` in the files that this program updates.
pub const VERSION_TEXT: &str = concat!("crds-fs ", env!("CARGO_PKG_VERSION"));

/// One value to write: a FITS or GEIS keyword, or the dotted path of a key in an ASDF tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `DARKFILE`, or `roman.meta.ref_file.dark`.
    pub keyword: String,
    /// The text to write there.
    pub value: String,
}

/// The input of a plan besides the answers.
#[derive(Debug, Clone)]
pub struct Recipe<'a> {
    /// The dataset, as messages name it.
    pub dataset: &'a str,
    /// Its instrument, upper case ([`DatasetHeader::instrument`]).
    pub instrument: &'a str,
    /// The context's literal name.
    pub context: &'a str,
    /// Whether no match is an error, rather than recorded as `N/A` (`--undefined-differences-matter`).
    pub undefined_differences_matter: bool,
}

/// The changes that are to be written, and what could not be decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of writing; empty if there is nothing to update.
    pub changes: Vec<Change>,
    /// The updated types (lower case) and their files (lower case), without those that are `N/A`: for checking them
    /// against the list of bad files.
    pub references: BTreeMap<String, String>,
    /// One message for each type that is not updated, worded as the client words it.
    pub errors: Vec<String>,
}

/// The meaning of one answer for an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A file, upper case.
    File(String),
    /// There is none, and none is needed.
    NotApplicable,
    /// Nothing fits; the answer's text.
    NoMatch(String),
    /// The lookup failed; the text of the failure.
    Failed(String),
}

/// Plans the update of the file that `header` came from. `answers` maps reference types (any case) to texts: a file's
/// name or a `NOT FOUND ...` text (spec, section 20); nothing stands for several files, which no header records.
pub fn plan<'a>(
    header: &DatasetHeader,
    recipe: &Recipe<'_>,
    answers: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> Plan {
    let answers: BTreeMap<String, Option<&str>> = answers
        .into_iter()
        .map(|(reftype, text)| (reftype.to_lowercase(), text))
        .collect();
    let mut plan = Plan::default();
    let Some(place) = Place::of(header) else {
        plan.errors.push(no_place(header, recipe));
        return plan;
    };
    let prefix = prefix(header.observatory(), recipe.instrument);
    let mut updates = Vec::new();
    for (reftype, text) in answers {
        let Some(text) = text else {
            // As the client does, which fails at this point: the errors so far, and no update.
            plan.references.clear();
            plan.errors.push(format!(
                "Failed processing {} : several files are recommended for the type '{reftype}', and a header records one; \
                 leave it out with --skip-types",
                repr(recipe.dataset)
            ));
            return plan;
        };
        let keyword = place.keyword(&reftype);
        let fault = match verdict(text) {
            Verdict::File(file) => {
                let file = file.to_lowercase();
                updates.push(Change {
                    keyword,
                    value: format!("{prefix}{file}"),
                });
                plan.references.insert(reftype, file);
                continue;
            }
            Verdict::NoMatch(text) if recipe.undefined_differences_matter => {
                format!("New: No match found: {}", repr(&text))
            }
            Verdict::NotApplicable | Verdict::NoMatch(_) => {
                let value = "N/A".to_owned();
                updates.push(Change { keyword, value });
                continue;
            }
            Verdict::Failed(text) => format!("New: Bestref FAILED: {text}"),
        };
        plan.errors
            .push(about_type(recipe, header.observatory(), &reftype, &fault));
    }
    if !updates.is_empty() {
        let change = |keyword: String, value: &str| Change {
            keyword,
            value: value.to_owned(),
        };
        plan.changes.push(change(place.context(), recipe.context));
        plan.changes.push(change(place.version(), VERSION_TEXT));
        plan.changes.append(&mut updates);
    }
    plan
}

fn no_place(header: &DatasetHeader, recipe: &Recipe<'_>) -> String {
    let records = match header.observatory() {
        Observatory::Roman => "ASDF",
        _ => "FITS",
    };
    format!(
        "cannot update dataset '{}': {} files of {} record no references; give its {records} file",
        recipe.dataset,
        header.format(),
        header.observatory(),
    )
}

/// A message about one type of one dataset, worded as the client words it.
fn about_type(recipe: &Recipe<'_>, observatory: Observatory, reftype: &str, text: &str) -> String {
    let message = format!(
        "instrument={} type={} data={} ::  {text}",
        repr(&recipe.instrument.to_uppercase()),
        repr(&reftype.to_uppercase()),
        repr(recipe.dataset),
    );
    match observatory {
        Observatory::Jwst => annotate(&message),
        _ => message,
    }
}

/// Reads one answer (spec, section 22, step 4).
pub(crate) fn verdict(answer: &str) -> Verdict {
    let text = if answer.contains("ref$") {
        answer.rsplit('$').next().unwrap_or(answer)
    } else {
        answer.strip_prefix("crds://").unwrap_or(answer)
    };
    let text = text.trim();
    let upper = text.to_uppercase();
    match upper.as_str() {
        "N/A" => Verdict::NotApplicable,
        upper if upper.starts_with("NOT FOUND N/A") => Verdict::NotApplicable,
        "NOT FOUND NO MATCH FOUND." | "UNDEFINED" | "NONE" | "" | "*" => Verdict::NoMatch(text.to_owned()),
        upper if upper.starts_with("NOT FOUND") => {
            Verdict::Failed(text.get("NOT FOUND".len()..).unwrap_or_default().to_owned())
        }
        _ => Verdict::File(upper),
    }
}

/// The prefix of a file's name in a header.
fn prefix(observatory: Observatory, instrument: &str) -> &'static str {
    match (observatory, instrument.to_uppercase().as_str()) {
        (Observatory::Hst, "ACS") => "jref$",
        (Observatory::Hst, "COS") => "lref$",
        (Observatory::Hst, "NICMOS") => "nref$",
        (Observatory::Hst, "STIS") => "oref$",
        (Observatory::Hst, "WFC3") => "iref$",
        (Observatory::Hst, "WFPC2") => "uref$",
        (Observatory::Hst, "SYNPHOT") => "ttab$",
        _ => "crds://",
    }
}

/// The names under which a file records its references.
enum Place {
    /// FITS and GEIS keywords, the type itself.
    Keywords,
    /// FITS keywords by the JWST data model.
    JwstKeywords,
    /// `roman.meta.ref_file.TYPE` in an ASDF tree.
    RomanTree,
}

impl Place {
    /// `None` for files that record none: the Python client takes every file for FITS, and fails with these.
    fn of(header: &DatasetHeader) -> Option<Self> {
        match (header.format(), header.observatory()) {
            (Format::Asdf, Observatory::Roman) => Some(Self::RomanTree),
            (Format::Asdf | Format::Json | Format::Yaml, _) => None,
            (_, Observatory::Jwst) => Some(Self::JwstKeywords),
            _ => Some(Self::Keywords),
        }
    }

    fn keyword(&self, reftype: &str) -> String {
        match self {
            Self::Keywords => reftype.to_uppercase(),
            Self::JwstKeywords => {
                cross_strap::reference_keyword(reftype).map_or_else(|| reftype.to_uppercase(), str::to_owned)
            }
            Self::RomanTree => format!("roman.meta.ref_file.{reftype}"),
        }
    }

    fn context(&self) -> String {
        match self {
            Self::Keywords | Self::JwstKeywords => "CRDS_CTX",
            Self::RomanTree => "roman.meta.ref_file.crds.context",
        }
        .to_owned()
    }

    fn version(&self) -> String {
        match self {
            Self::Keywords | Self::JwstKeywords => "CRDS_VER",
            Self::RomanTree => "roman.meta.ref_file.crds.version",
        }
        .to_owned()
    }
}
