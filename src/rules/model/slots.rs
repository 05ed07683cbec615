//! The parameters that one rmap looks at, numbered.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::rules::values::vocabulary::hash;

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
    places: HashTable<u16>,
}

impl Slots {
    /// The slot of a parameter.
    pub(crate) fn parameter(&mut self, name: &str) -> u16 {
        self.place(name, false)
    }

    /// The slot of a name in an expression.
    pub(crate) fn expression(&mut self, name: &str) -> u16 {
        self.place(name, true)
    }

    fn place(&mut self, name: &str, in_expression: bool) -> u16 {
        let Self { slots, places } = self;
        let at = |&place: &u16| slots.get(usize::from(place));
        let same = |place: &u16| {
            at(place).is_some_and(|slot| *slot.name == *name && slot.in_expression == in_expression)
        };
        let rehash = |place: &u16| at(place).map_or(0, |slot| hash(&slot.name));
        match places.entry(hash(name), same, rehash) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => {
                // An rmap of 65,536 parameters would share its last slot; the limits on mappings are far below.
                let next = u16::try_from(slots.len()).unwrap_or(u16::MAX);
                place.insert(next);
                slots.push(Slot {
                    name: name.into(),
                    in_expression,
                });
                next
            }
        }
    }

    /// The slots by number.
    pub(crate) fn finish(self) -> Box<[Slot]> {
        self.slots.into()
    }
}
