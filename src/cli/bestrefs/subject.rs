//! What a lookup is about: a dataset with its header.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::record::Record;
use crate::rules::Header;

/// A dataset with its header.
pub(super) struct Subject<'a> {
    /// What it is called: JSON.
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
