//! Serials: the part of a catalogued file's inode number that stays the same when a new catalog moves its name to
//! another index. A file with other contents gets another number, so that open files of the old contents, and pages
//! that the kernel keeps of them, stay valid; so does another copy in the store while one is open (see
//! [`super::copies`]).

use std::collections::HashMap;

/// The entry of a serial whose name is not in the current catalog.
const NONE: u32 = u32::MAX;

/// The serials of the names of one observatory's catalog: two tables of `u32`, and none as long as every serial is the
/// index of its name.
#[derive(Debug, Default)]
pub(super) struct Serials {
    /// `None` when every serial is the index of its name in the catalog.
    tables: Option<Tables>,
    /// The number of serials given out.
    given: u32,
}

#[derive(Debug)]
struct Tables {
    serial_by_index: Vec<u32>,
    index_by_serial: Vec<u32>,
}

impl Serials {
    /// Serials for the first catalog, of `len` names.
    pub(super) fn first(len: usize) -> Self {
        Self {
            tables: None,
            given: u32::try_from(len).unwrap_or(NONE),
        }
    }

    /// The serial of the name at `index` in the current catalog.
    pub(super) fn serial(&self, index: usize) -> Option<u32> {
        match &self.tables {
            None => u32::try_from(index).ok().filter(|serial| *serial < self.given),
            Some(tables) => tables.serial_by_index.get(index).copied(),
        }
    }

    /// The index in the current catalog of the name with this serial; `None` when it is no longer there.
    pub(super) fn place(&self, serial: u32) -> Option<usize> {
        let index = match &self.tables {
            None => Some(serial).filter(|serial| *serial < self.given)?,
            Some(tables) => *tables
                .index_by_serial
                .get(usize::try_from(serial).ok()?)
                .filter(|index| **index != NONE)?,
        };
        usize::try_from(index).ok()
    }

    /// The serials for a new catalog: a name of the old one keeps its serial if its content is the same, all others get
    /// fresh ones. Both lists in the order of their catalog.
    pub(super) fn next<'a, C: PartialEq>(
        &self,
        old: impl Iterator<Item = (&'a str, C)>,
        new: impl Iterator<Item = (&'a str, C)>,
    ) -> Self {
        let known: HashMap<&str, (C, u32)> = old
            .enumerate()
            .filter_map(|(index, (name, content))| Some((name, (content, self.serial(index)?))))
            .collect();
        let mut given = self.given;
        let serial_by_index: Vec<u32> = new
            .map(|(name, content)| match known.get(name) {
                Some((known, serial)) if *known == content => *serial,
                _ => {
                    given += 1;
                    given - 1
                }
            })
            .collect();
        Self::of_table(serial_by_index, given)
    }

    /// The serials for the same catalog with a fresh one for the name that has `serial`. `None` when no name has it, or
    /// there are no more.
    pub(super) fn renumbered(&self, serial: u32) -> Option<Self> {
        let index = self.place(serial)?;
        let given = self.given.checked_add(1).filter(|given| *given < NONE)?;
        let mut serial_by_index = match &self.tables {
            None => (0..self.given).collect(),
            Some(tables) => tables.serial_by_index.clone(),
        };
        *serial_by_index.get_mut(index)? = self.given;
        Some(Self::of_table(serial_by_index, given))
    }

    fn of_table(serial_by_index: Vec<u32>, given: u32) -> Self {
        let mut index_by_serial = vec![NONE; usize::try_from(given).unwrap_or_default()];
        for (serial, index) in serial_by_index.iter().zip(0..) {
            if let Some(slot) = usize::try_from(*serial)
                .ok()
                .and_then(|serial| index_by_serial.get_mut(serial))
            {
                *slot = index;
            }
        }
        Self {
            tables: Some(Tables {
                serial_by_index,
                index_by_serial,
            }),
            given,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_first_catalog_needs_no_tables() {
        let serials = Serials::first(3);
        assert_eq!(serials.serial(2), Some(2));
        assert_eq!(serials.place(2), Some(2));
        assert_eq!(serials.serial(3), None);
        assert_eq!(serials.place(3), None);
    }

    #[test]
    fn a_vanished_name_has_no_place_and_gives_its_serial_to_nobody() {
        let first = Serials::first(2);
        let same = |names: &'static [&str]| names.iter().map(|name| (*name, 0));
        let second = first.next(same(&["a", "b"]), same(&["b", "c"]));
        assert_eq!(second.serial(0), Some(1), "b keeps its serial");
        assert_eq!(second.serial(1), Some(2), "c gets a fresh one");
        assert_eq!(second.place(0), None, "a is gone");
        let third = second.next(same(&["b", "c"]), same(&["a", "b", "c"]));
        assert_eq!(third.serial(0), Some(3));
    }

    #[test]
    fn another_content_has_another_serial() {
        let first = Serials::first(2);
        let second = first.next([("a", 1), ("b", 1)].into_iter(), [("a", 1), ("b", 2)].into_iter());
        assert_eq!((second.serial(0), second.serial(1)), (Some(0), Some(2)));
        assert_eq!(second.place(1), None, "what b was is gone");
    }

    #[test]
    fn a_renumbered_name_has_a_fresh_serial_and_keeps_it() {
        let first = Serials::first(3);
        let second = first.renumbered(1).unwrap();
        let serials = |serials: &Serials| [0, 1, 2].map(|place| serials.serial(place).unwrap());
        assert_eq!(serials(&second), [0, 3, 2]);
        assert_eq!((second.place(1), second.place(3)), (None, Some(1)));
        assert!(second.renumbered(1).is_none(), "it has another one already");
        let third = second.renumbered(3).unwrap();
        assert_eq!(serials(&third), [0, 4, 2]);
        let names = || ["a", "b", "c"].into_iter().map(|name| (name, ()));
        assert_eq!(serials(&third.next(names(), names())), [0, 4, 2]);
    }

    proptest! {
        #[test]
        fn serials_are_stable_over_any_row_of_catalogs(
            catalogs in prop::collection::vec(prop::collection::btree_set("[a-e]{1,2}", 0..20), 1..6)
        ) {
            let mut serials = Serials::first(catalogs[0].len());
            let mut previous: &BTreeSet<String> = &catalogs[0];
            for next in &catalogs[1..] {
                let later = serials.next(
                    previous.iter().map(|name| (name.as_str(), ())),
                    next.iter().map(|name| (name.as_str(), ())),
                );
                for (place, name) in next.iter().enumerate() {
                    let serial = later.serial(place).unwrap();
                    prop_assert_eq!(later.place(serial), Some(place));
                    if let Some(before) = previous.iter().position(|old| old == name) {
                        prop_assert_eq!(serials.serial(before), Some(serial));
                    }
                }
                serials = later;
                previous = next;
            }
        }
    }
}
