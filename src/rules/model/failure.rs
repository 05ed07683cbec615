//! Failures of lookups, in the client's words.

use std::sync::Arc;

use crate::rules::model::column::Column;
use crate::rules::model::frame::Rules;
use crate::rules::model::slots::Slot;
use crate::rules::syntax::kind::Kind;
use crate::rules::values::date;
use crate::rules::values::python::{repr, repr_tuple};

/// The reason for which a selector found nothing.
#[derive(Debug, Clone)]
pub(crate) struct Failure<'c> {
    /// Whether an enclosing selector goes on with its next candidate.
    pub(crate) lookup: bool,
    pub(crate) reason: Reason<'c>,
}

/// The text of a failure, made when it is shown.
#[derive(Debug, Clone)]
pub(crate) enum Reason<'c> {
    Constant(&'static str),
    Text(String),
    /// A parameter, its value, and the column that does not list it.
    NotListed(&'c str, Arc<str>, &'c Column),
    /// The selector's kind, its parameters, the bad date and what is wrong with it.
    BadDate(Kind, &'c [u16], &'c [Slot], Arc<(String, String)>),
    /// No entry is as early as that.
    NotAfter(date::Moment),
    /// A part of the date is `UNDEFINED`.
    Undefined(&'c str),
}

impl Failure<'_> {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self {
            lookup: false,
            reason: Reason::Text(text.into()),
        }
    }

    pub(crate) fn lookup(text: impl Into<String>) -> Self {
        Self {
            lookup: true,
            reason: Reason::Text(text.into()),
        }
    }
}

impl Reason<'_> {
    /// Whether both surely have the same text.
    pub(crate) fn is_same(&self, other: &Reason<'_>) -> bool {
        match (self, other) {
            (Self::Constant(one), Reason::Constant(other)) => *one == *other,
            (Self::Undefined(one), Reason::Undefined(other)) => one == other,
            (Self::NotListed(param, value, column), Reason::NotListed(other_param, other_value, other)) => {
                param == other_param && value == other_value && column.shown_values() == other.shown_values()
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Reason<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Constant(text) => out.write_str(text),
            Self::Text(text) => out.write_str(text),
            Self::NotListed(param, value, column) => {
                let (param, value) = (repr(param), repr(value));
                write!(
                    out,
                    " parameter={param} value={value} is not in {}",
                    column.shown_values()
                )
            }
            Self::NotAfter(moment) => write!(out, "No selection <= '{moment}'"),
            Self::Undefined(param) => write!(out, "UseAfter parameter {} is UNDEFINED.", repr(param)),
            Self::BadDate(kind, params, slots, why) => {
                let name = |&slot: &u16| slots.get(usize::from(slot)).map_or("", |slot| &*slot.name);
                let (params, text, why) = (repr_tuple(params.iter().map(name)), repr(&why.0), repr(&why.1));
                let kind = kind.name();
                write!(
                    out,
                    "{kind} Invalid date/time format for {params} value = {text} exception is {why}"
                )
            }
        }
    }
}

/// The reason for which a header has no date.
#[derive(Debug, Clone)]
pub(crate) enum Undated {
    /// This part is `UNDEFINED`.
    Undefined(usize),
    /// The text that is no date, and why.
    Bad(Arc<(String, String)>),
}

impl<'c> Rules<'c> {
    /// The failure of a selector with these parameters in a header that has no date.
    pub(crate) fn undated(self, kind: Kind, slots: &'c [u16], why: Undated) -> Failure<'c> {
        let reason = match why {
            Undated::Undefined(part) => {
                let slot = slots
                    .get(part)
                    .and_then(|&slot| self.slots.get(usize::from(slot)));
                Reason::Undefined(slot.map_or("", |slot| &slot.name))
            }
            Undated::Bad(why) => Reason::BadDate(kind, slots, self.slots, why),
        };
        Failure {
            lookup: false,
            reason,
        }
    }
}

pub(crate) const NO_MATCH: Failure<'static> = Failure {
    lookup: true,
    reason: Reason::Constant("No match found."),
};

pub(crate) fn none_after<'c>(moment: date::Moment) -> Failure<'c> {
    Failure {
        lookup: true,
        reason: Reason::NotAfter(moment),
    }
}

pub(crate) fn no_selection<'c>(wanted: &str) -> Failure<'c> {
    Failure::lookup(format!("No selection <= {wanted}"))
}
