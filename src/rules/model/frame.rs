//! The input of an evaluation: the values of an rmap's slots in a header, and what it needs of the rmap.

use crate::rules::model::column::Column;
use std::borrow::Cow;

use crate::rules::model::slots::Slot;
use crate::rules::syntax::arena::Arena;
use crate::rules::values::condition::UNDEFINED;

/// A value that has no number in the vocabulary of its instrument and must be looked up by its text.
pub(crate) const BY_TEXT: u32 = u32::MAX;

/// The value of a slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell<'h> {
    /// Nothing if the header does not have the parameter.
    pub(crate) text: Option<&'h str>,
    /// The number of the value in the vocabulary of the instrument's parameter; 0 if it is in no rmap, or [`BY_TEXT`].
    pub(crate) number: u32,
}

impl<'h> Cell<'h> {
    /// A value to be looked up by its text.
    pub(crate) fn text(text: &'h str) -> Self {
        Self {
            text: Some(text),
            number: BY_TEXT,
        }
    }

    /// A parameter that is not there.
    pub(crate) const MISSING: Self = Self {
        text: None,
        number: BY_TEXT,
    };
}

/// A header reduced to the parameters that an instrument asks for.
#[derive(Debug)]
pub(crate) struct Reduced<'h> {
    /// By slot of the instrument: values and their numbers.
    pub(crate) values: Vec<(Cow<'h, str>, u32)>,
}

impl Reduced<'_> {
    pub(crate) fn cell(&self, slot: u16) -> Cell<'_> {
        match self.values.get(usize::from(slot)) {
            Some((text, number)) => Cell {
                text: Some(text),
                number: *number,
            },
            None => Cell::MISSING,
        }
    }
}

/// The values of all slots of an rmap, and how the numbers of values translate to those of its columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'f, 'h> {
    pub(crate) cells: &'f [Cell<'h>],
    /// By column, then by number in the instrument's vocabulary; empty where all values go by their texts.
    pub(crate) translations: &'f [Box<[u32]>],
}

impl<'h> Frame<'_, 'h> {
    /// The value of a slot.
    pub(crate) fn get(&self, slot: u16) -> Option<&'h str> {
        self.cell(slot).text
    }

    /// The cell of a slot.
    pub(crate) fn cell(&self, slot: u16) -> Cell<'h> {
        self.cells
            .get(usize::from(slot))
            .copied()
            .unwrap_or(Cell::MISSING)
    }

    /// The value of a column's parameter and its number in the column, 0 for a value that the column does not know.
    pub(crate) fn column_value(&self, column: &Column) -> (&'h str, u32) {
        let cell = self.cell(column.slot);
        let value = cell.text.unwrap_or(UNDEFINED);
        let translated = if cell.number == BY_TEXT {
            None
        } else {
            let translation = self.translations.get(column.index as usize);
            translation.and_then(|translation| translation.get(cell.number as usize).copied())
        };
        (value, translated.unwrap_or_else(|| column.number(value)))
    }
}

/// The parts of an rmap that evaluation needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'c> {
    pub(crate) arena: &'c Arena,
    pub(crate) slots: &'c [Slot],
    pub(crate) merge_overlaps: bool,
}
