//! Subjects of lookups: datasets with their headers, and datasets of the archive.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::record::Record;
use crate::cli::Failure;
use crate::crds::{DatasetName, NameError, Observatory};
use crate::rules::{Header, HeaderValue};

/// A dataset with its header.
pub(super) struct Subject<'a> {
    /// Its name: JSON.
    pub(super) id: Cow<'a, str>,
    pub(super) header: Header,
    /// A context of its own.
    pub(super) context: Option<Cow<'a, str>>,
    /// Types of its own.
    pub(super) types: Option<Vec<String>>,
}

impl Subject<'static> {
    /// A subject whose id is a text.
    pub(super) fn named(id: &str, header: Header) -> Self {
        let id = serde_json::Value::from(id).to_string().into();
        Self {
            id,
            header,
            context: None,
            types: None,
        }
    }
}

impl<'a> From<Record<'a>> for Subject<'a> {
    fn from(record: Record<'a>) -> Self {
        Self {
            id: record.id.map_or("null", RawValue::get).into(),
            header: record.header.0,
            context: record.context,
            types: record.reftypes,
        }
    }
}

/// A dataset of the archive, or the parameters of one that no archive has.
pub(super) enum Item {
    Id(DatasetName),
    Parameters(Subject<'static>),
}

impl Item {
    /// Reads `KEY=VALUE,...`.
    pub(super) fn parameters(text: &str) -> Result<Self, Failure> {
        Ok(Self::Parameters(Subject::named(text, header(text)?)))
    }

    /// Reads an id or `KEY=VALUE,...`.
    pub(super) fn read(text: &str) -> Result<Self, Failure> {
        if text.contains('=') {
            return Self::parameters(text);
        }
        text.parse().map(Self::Id).map_err(|error: NameError| {
            let hint = if text.contains('/') {
                "; dataset files are given with --files"
            } else {
                ""
            };
            Failure::usage(format!("{error}{hint}"))
        })
    }

    pub(super) fn observatory(&self) -> Option<Observatory> {
        match self {
            Self::Id(DatasetName::Id(id)) => id.observatory(),
            Self::Id(DatasetName::Parameters(_)) => None,
            Self::Parameters(subject) => subject.observatory(),
        }
    }
}

/// Whether a parameter of this name tells the instrument.
fn is_instrument(name: &str) -> bool {
    let names = [
        "INSTRUME",
        "META.INSTRUMENT.NAME",
        "INSTRUMENT",
        "ROMAN.META.INSTRUMENT.NAME",
    ];
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The instrument, in upper case, that the parameters of a dataset of the archive tell.
pub(super) fn instrument(parameters: &Map<String, Value>) -> Option<String> {
    let (_, value) = parameters.iter().find(|(name, _)| is_instrument(name))?;
    value.as_str().map(|text| text.trim().to_uppercase())
}

impl Subject<'_> {
    /// The instrument, in upper case, for messages.
    pub(super) fn instrument(&self) -> String {
        let instrument = self.header.iter().find(|(name, _)| is_instrument(name));
        instrument
            .map(|(_, value)| value.text().trim().to_uppercase())
            .unwrap_or_default()
    }

    /// The observatory that the instrument belongs to.
    pub(super) fn observatory(&self) -> Option<Observatory> {
        let instrument = self.instrument().to_lowercase();
        let has = |observatory: &Observatory| observatory.instruments().contains(&instrument.as_str());
        Observatory::ALL.into_iter().find(has)
    }
}

/// Reads `KEY=VALUE,...`, in order; blanks around keys and values do not count.
fn header(text: &str) -> Result<Header, Failure> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let value = percent_decode_str(value).decode_utf8().ok()?;
        (!name.is_empty()).then(|| (name.to_owned(), HeaderValue::Text(value.into_owned())))
    };
    text.split(',')
        .map(pair)
        .collect::<Option<Header>>()
        .ok_or_else(|| {
            Failure::usage(format!(
                "'{text}' is not a list of parameters KEY=VALUE,KEY=VALUE... (write ',' as %2C)"
            ))
        })
}
