//! Names of contexts, and the mappings that they mean, found without the network from what the server last said
//! of itself (spec/crds-service 5).

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;

use super::build_version::BuildVersion;
use super::name::{FileKind, FileName, Observatory, Reftype};
use super::server_info::ServerInfo;

/// A context as a person writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ContextSpec {
    /// The name of a mapping.
    Literal(FileName),
    /// A name for what the server says: `jwst-latest`, `hst-2018-01-21`, `jwst-miri-dark-edit`.
    Symbolic(SymbolicContext),
}

/// A symbolic or dated context.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SymbolicContext {
    /// The observatory; `None` in `latest`, `build` and a bare date, where it goes without saying.
    pub observatory: Option<Observatory>,
    /// The part of the context; `None` for the whole.
    pub part: Option<ContextPart>,
    /// The version of the whole or the part.
    pub version: ContextVersion,
}

/// An instrument's rules or those of one reference type, below a context.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContextPart {
    /// The instrument, in lower case.
    pub instrument: String,
    /// The reference type; `None` is the instrument's own mapping.
    pub reftype: Option<Reftype>,
}

/// The version of the rules that a symbolic context stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContextVersion {
    /// The default context.
    Latest,
    /// The default context, by its older name.
    Operational,
    /// The newest context that is being edited.
    Edit,
    /// For the lookup of calibration software versions.
    Versions,
    /// That of an installed calibration package: known to its process alone.
    Build,
    /// That of a release of calibration software: known to the server.
    BuildOf(BuildVersion),
    /// The default context at that time.
    Date(DateTime),
}

/// The meaning of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The mapping.
    pub mapping: FileName,
    /// The part to descend to from it; the mapping itself where `None`.
    pub part: Option<ContextPart>,
}

/// The reason for which a text is no context, or the mapping that it means is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// The text has none of the forms.
    #[error(
        "'{0}' is not a context: give a mapping (jwst_1322.pmap), a name (jwst-latest, hst-edit), or a date \
         (roman-2026-01-01)"
    )]
    Unreadable(String),
    /// The server has not said.
    #[error("the {observatory} server names no context for '{spec}'")]
    NotSet {
        /// The context as it was asked for.
        spec: String,
        /// The observatory of the server.
        observatory: Observatory,
    },
    /// The default context of the settings cannot be resolved.
    #[error("'{spec}' means nothing here: {reason}")]
    NoDefault {
        /// The context as it was asked for.
        spec: String,
        /// The reason why it cannot be resolved.
        reason: String,
    },
    /// The catalog lists no such mapping.
    #[error("the catalog of {observatory} does not list '{name}'")]
    NotListed {
        /// The mapping that is meant.
        name: FileName,
        /// The observatory of the catalog.
        observatory: Observatory,
    },
    /// The history begins later, or is empty.
    #[error("the history of {observatory} contexts has none in use at {date}")]
    BeforeHistory {
        /// The date that was asked for.
        date: DateTime,
        /// The observatory of the history.
        observatory: Observatory,
    },
    /// A build context depends on a calibration package.
    #[error("'{0}' depends on the version of the calibration software: give that, as in jwst-build-1.18.0")]
    Build(String),
    /// A context of one observatory, and the description of another.
    #[error("'{spec}' is a context of {named}, not of {asked}")]
    OtherObservatory {
        /// The context as it was asked for.
        spec: String,
        /// The observatory of the context.
        named: Observatory,
        /// The observatory of the description that was at hand.
        asked: Observatory,
    },
}

const TAGS: [(&str, ContextVersion); 5] = [
    ("latest", ContextVersion::Latest),
    ("operational", ContextVersion::Operational),
    ("edit", ContextVersion::Edit),
    ("versions", ContextVersion::Versions),
    ("build", ContextVersion::Build),
];

impl ContextSpec {
    /// The observatory that the text itself names.
    pub fn observatory(&self) -> Option<Observatory> {
        match self {
            Self::Literal(name) => Observatory::of_name(name.as_str()),
            Self::Symbolic(symbolic) => symbolic.observatory,
        }
    }

    /// The mapping that is meant, and the part to descend to from it. Whether a literal name exists is not checked.
    pub(crate) fn resolve(&self, info: &ServerInfo) -> Result<Resolved, ContextError> {
        let asked = info.observatory();
        if let Some(named) = self.observatory()
            && named != asked
        {
            let spec = self.to_string();
            return Err(ContextError::OtherObservatory { spec, named, asked });
        }
        match self {
            Self::Literal(name) => Ok(Resolved {
                mapping: name.clone(),
                part: None,
            }),
            Self::Symbolic(symbolic) => Ok(Resolved {
                mapping: symbolic.context(info)?,
                part: symbolic.part.clone(),
            }),
        }
    }
}

/// The advice on a context that is not known.
pub(crate) fn latest_advice(info: &ServerInfo) -> String {
    let latest = info.default_context().map_or("unknown", FileName::as_str);
    format!("the latest context of {} is {latest}", info.observatory())
}

impl SymbolicContext {
    fn context(&self, info: &ServerInfo) -> Result<FileName, ContextError> {
        let observatory = info.observatory();
        let named = match self.version {
            ContextVersion::Latest | ContextVersion::Operational => {
                if let Some(reason) = info.no_default_context() {
                    let (spec, reason) = (self.to_string(), reason.to_owned());
                    return Err(ContextError::NoDefault { spec, reason });
                }
                info.default_context()
            }
            ContextVersion::Edit => info.edit_context(),
            ContextVersion::Versions => info.versions_context(),
            ContextVersion::Build | ContextVersion::BuildOf(_) => {
                return Err(ContextError::Build(self.to_string()));
            }
            ContextVersion::Date(date) => {
                return info
                    .context_at(date)
                    .cloned()
                    .ok_or(ContextError::BeforeHistory { date, observatory });
            }
        };
        named.cloned().ok_or_else(|| ContextError::NotSet {
            spec: self.to_string(),
            observatory,
        })
    }
}

/// The symbolic forms that can be resolved today, with their mappings: the links that `ls bestrefs` shows.
pub(crate) fn symbolic_forms(info: &ServerInfo) -> Vec<(String, FileName)> {
    let symbolic = |version| SymbolicContext {
        observatory: Some(info.observatory()),
        part: None,
        version,
    };
    TAGS.iter()
        .filter_map(|&(_, version)| {
            let form = symbolic(version);
            Some((form.to_string(), form.context(info).ok()?))
        })
        .collect()
}

impl FromStr for ContextSpec {
    type Err = ContextError;

    /// Reads a context as people write it: blanks around it, capitals and a missing `.pmap`, `.imap` or `.rmap` do not
    /// matter. A mapping that begins with an observatory keeps its case.
    fn from_str(text: &str) -> Result<Self, ContextError> {
        let text = text.trim();
        let exact = Self::exact(text);
        if let Ok(spec) = &exact
            && (spec.observatory().is_some() || !matches!(spec, Self::Literal(_)))
        {
            return exact;
        }
        let lower = text.to_ascii_lowercase();
        let lenient = Self::exact(&lower).or_else(|_| with_extension(&lower).ok_or(()));
        match lenient {
            Ok(spec) if exact.is_err() || spec.observatory().is_some() => Ok(spec),
            _ => exact,
        }
    }
}

impl ContextSpec {
    /// Reads a context as it is spelt.
    fn exact(text: &str) -> Result<Self, ContextError> {
        let wrong = || ContextError::Unreadable(text.chars().take(160).collect());
        if let Ok(name) = text.parse::<FileName>()
            && name.kind() != FileKind::Reference
        {
            return Ok(Self::Literal(name));
        }
        if let Some(version) = version(text) {
            let bare = matches!(
                version,
                ContextVersion::Latest | ContextVersion::Build | ContextVersion::Date(_)
            );
            return if bare {
                Ok(Self::Symbolic(SymbolicContext {
                    observatory: None,
                    part: None,
                    version,
                }))
            } else {
                Err(wrong())
            };
        }
        let (observatory, rest) = text.split_once('-').ok_or_else(wrong)?;
        let observatory = Observatory::ALL
            .into_iter()
            .find(|known| known.as_str() == observatory)
            .ok_or_else(wrong)?;
        let (part, version) = part_and_version(rest).ok_or_else(wrong)?;
        Ok(Self::Symbolic(SymbolicContext {
            observatory: Some(observatory),
            part,
            version,
        }))
    }
}

/// The mapping that a name without its extension means: `hst_0729`, `hst_acs_0123`, `hst_acs_darkfile_0123`.
fn with_extension(text: &str) -> Option<ContextSpec> {
    let fields: Vec<&str> = text.split('_').collect();
    let (first, last) = (fields.first()?, fields.last()?);
    let extension = match fields.len() {
        2 => "pmap",
        3 => "imap",
        4 => "rmap",
        _ => return None,
    };
    let numbered = last.len() >= 4 && last.bytes().all(|byte| byte.is_ascii_digit());
    let known = Observatory::ALL.iter().any(|known| known.as_str() == *first);
    let name = format!("{text}.{extension}");
    (numbered && known)
        .then(|| name.parse().ok().map(ContextSpec::Literal))
        .flatten()
}

/// Reads `edit`, `miri-edit`, `miri-pars-tweakreg-2016-01-01`: the version is the first whole tail that is one.
fn part_and_version(text: &str) -> Option<(Option<ContextPart>, ContextVersion)> {
    if let Some(version) = version(text) {
        return Some((None, version));
    }
    text.match_indices('-').find_map(|(dash, _)| {
        let (head, tail) = (text.get(..dash)?, text.get(dash + 1..)?);
        Some((Some(part(head)?), version(tail)?))
    })
}

fn part(text: &str) -> Option<ContextPart> {
    let (instrument, reftype) = match text.split_once('-') {
        Some((instrument, reftype)) => (instrument, Some(reftype.parse().ok()?)),
        None => (text, None),
    };
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    ((1..=17).contains(&instrument.len()) && instrument.bytes().all(allowed)).then(|| ContextPart {
        instrument: instrument.to_owned(),
        reftype,
    })
}

fn version(text: &str) -> Option<ContextVersion> {
    let build = |text: &str| text.strip_prefix("build-")?.parse().ok();
    TAGS.iter()
        .find(|(tag, _)| *tag == text)
        .map(|&(_, version)| version)
        .or_else(|| date(text).map(ContextVersion::Date))
        .or_else(|| build(text).map(ContextVersion::BuildOf))
}

/// `YYYY-MM-DD`, optionally `T` and a time.
fn date(text: &str) -> Option<DateTime> {
    let bytes = text.as_bytes();
    let shape = bytes.len() >= 10
        && bytes.len() <= 29
        && bytes.get(4) == Some(&b'-')
        && bytes.get(7) == Some(&b'-')
        && bytes.get(10).is_none_or(|&byte| matches!(byte, b'T' | b't'))
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'T' | b't' | b':' | b'.'))
        && !bytes.iter().skip(8).any(|&byte| byte == b'-');
    if !shape {
        return None;
    }
    match bytes.len() {
        10 => text.parse::<jiff::civil::Date>().ok().map(DateTime::from),
        _ => text.parse().ok(),
    }
}

impl fmt::Display for ContextSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(name) => name.fmt(out),
            Self::Symbolic(symbolic) => symbolic.fmt(out),
        }
    }
}

impl fmt::Display for SymbolicContext {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(observatory) = self.observatory {
            write!(out, "{observatory}-")?;
        }
        if let Some(part) = &self.part {
            write!(out, "{}-", part.instrument)?;
            if let Some(reftype) = &part.reftype {
                write!(out, "{reftype}-")?;
            }
        }
        self.version.fmt(out)
    }
}

impl fmt::Display for ContextVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Date(date) if date.time() == jiff::civil::Time::midnight() => date.date().fmt(out),
            Self::Date(date) => date.fmt(out),
            Self::BuildOf(version) => write!(out, "build-{version}"),
            tag => {
                let name = TAGS
                    .iter()
                    .find_map(|(name, version)| (version == tag).then_some(*name));
                out.write_str(name.unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests;
