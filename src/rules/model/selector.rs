//! The compiled form of selectors (spec/crds-rules 10, 12 and 13).

use std::sync::Arc;

use crate::rules::model::column::Column;
use crate::rules::syntax::arena::Span;
use crate::rules::syntax::kind::Kind;
use crate::rules::values::version::{Relation, Version};

/// The value of a selector's entry.
#[derive(Debug)]
pub(crate) enum Choice {
    /// A file name or a special word.
    Text(Span),
    Tuple(Box<[Choice]>),
    List(Box<[Choice]>),
    /// Keys and values.
    Dict(Box<[(Choice, Choice)]>),
    /// A number, truth value or `None`, in Python's notation.
    Other(Span),
    Selector(Box<Selector>),
}

impl Choice {
    /// Whether it is a `UseAfter` selector of plain names.
    pub(crate) fn is_plain_use_after(&self) -> bool {
        matches!(self, Self::Selector(selector) if selector.is_plain_use_after())
    }
}

/// A compiled selector.
#[derive(Debug)]
pub(crate) struct Selector {
    pub(crate) kind: Kind,
    /// The parameters, as slots of the rmap.
    pub(crate) slots: Arc<[u16]>,
    pub(crate) keys: Keys,
    /// One for each key.
    pub(crate) choices: Box<[Choice]>,
    /// Whether all choices are plain texts.
    pub(crate) plain: bool,
}

impl Selector {
    /// Whether it chooses among plain names by the date alone.
    pub(crate) fn is_plain_use_after(&self) -> bool {
        self.plain && self.kind == Kind::UseAfter && matches!(self.keys, Keys::Dates { .. })
    }
}

/// The sorted keys of a selector.
#[derive(Debug)]
pub(crate) enum Keys {
    Match(Table),
    /// `UseAfter`, `ClosestTime`: the keys as written, and if all have usual forms, their order-preserving numbers
    /// ([`crate::rules::values::date::LONGER`]).
    Dates {
        texts: Box<[Span]>,
        packed: Option<Box<[u64]>>,
    },
    Versions(Box<[Version]>),
    Relations(Box<[Relation]>),
    /// `GeometricallyNearest`: conditioned keys in the order of texts, and whether the valid values admit an undefined
    /// parameter.
    Nearest {
        keys: Box<[Span]>,
        optional: bool,
    },
    /// `Bracket`: ascending numbers.
    Numbers(Box<[f64]>),
    /// Keys that a selector of dates or numbers cannot use: the names of their types.
    Other(Box<[&'static str]>),
}

/// The keys of a Match selector, indexed by column.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) columns: Box<[Column]>,
    /// The keys as written in messages and orders: conditioned elements, row by row.
    pub(crate) elements: Box<[Span]>,
    pub(crate) rows: usize,
}
