//! The parameters that one rmap looks at, numbered.

use rustc_hash::FxHashMap;

/// A parameter that an rmap looks at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    /// The name as written.
    pub(crate) name: Box<str>,
    /// Whether it is a name in an expression, where `_` also stands for the dots of a parameter.
    pub(crate) in_expression: bool,
}

/// All of them, in the order in which they were met.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    places: FxHashMap<Slot, u16>,
}

impl Slots {
    /// The slot of a parameter.
    pub(crate) fn parameter(&mut self, name: &str) -> u16 {
        self.place(Slot {
            name: name.into(),
            in_expression: false,
        })
    }

    /// The slot of a name in an expression.
    pub(crate) fn expression(&mut self, name: &str) -> u16 {
        self.place(Slot {
            name: name.into(),
            in_expression: true,
        })
    }

    fn place(&mut self, slot: Slot) -> u16 {
        // An rmap of 65,536 parameters would share its last slot; the limits on mappings are far below.
        let next = u16::try_from(self.slots.len()).unwrap_or(u16::MAX);
        *self.places.entry(slot).or_insert_with_key(|slot| {
            self.slots.push(slot.clone());
            next
        })
    }

    /// The slots by number.
    pub(crate) fn finish(self) -> Box<[Slot]> {
        self.slots.into()
    }
}
