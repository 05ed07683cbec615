//! Serials: the part of a catalogued file's inode number that stays the same when a new catalog moves its name to
//! another place. Other contents are another file with another number, so that what is open of the old one, and pages that
//! the kernel keeps of it, go on for those who have it; so is another copy in the store while one is open (see
//! [`super::copies`]).

use std::collections::HashMap;

/// What takes a name's place in a table when there is none.
const NONE: u32 = u32::MAX;

/// Serials of the names of one observatory's catalog, two small integers per name, none before one differs from its place.
#[derive(Debug, Default)]
pub(super) struct Serials {
    /// `None`: serials are places in the catalog.
    tables: Option<Tables>,
    /// The number of serials given out.
    given: u32,
}

#[derive(Debug)]
struct Tables {
    serial_of_place: Vec<u32>,
    place_of_serial: Vec<u32>,
}

impl Serials {
    /// Serials for the first catalog, of `len` names.
    pub(super) fn first(len: usize) -> Self {
        Self {
            tables: None,
            given: u32::try_from(len).unwrap_or(NONE),
        }
    }

    /// The serial of the name at `place` in the current catalog.
    pub(super) fn serial(&self, place: usize) -> Option<u32> {
        match &self.tables {
            None => u32::try_from(place).ok().filter(|serial| *serial < self.given),
            Some(tables) => tables.serial_of_place.get(place).copied(),
        }
    }

    /// Where the name with this serial is in the current catalog; none when it is no longer there.
    pub(super) fn place(&self, serial: u32) -> Option<usize> {
        let place = match &self.tables {
            None => Some(serial).filter(|serial| *serial < self.given)?,
            Some(tables) => *tables
                .place_of_serial
                .get(usize::try_from(serial).ok()?)
                .filter(|place| **place != NONE)?,
        };
        usize::try_from(place).ok()
    }

    /// Serials for a new catalog: names of the old one keep theirs where what they stand for is the same, all others get
    /// fresh ones. Both lists in order.
    pub(super) fn next<'a, C: PartialEq>(
        &self,
        old: impl Iterator<Item = (&'a str, C)>,
        new: impl Iterator<Item = (&'a str, C)>,
    ) -> Self {
        let known: HashMap<&str, (C, u32)> = old
            .enumerate()
            .filter_map(|(place, (name, content))| Some((name, (content, self.serial(place)?))))
            .collect();
        let mut given = self.given;
        let serial_of_place: Vec<u32> = new
            .map(|(name, content)| match known.get(name) {
                Some((known, serial)) if *known == content => *serial,
                _ => {
                    given += 1;
                    given - 1
                }
            })
            .collect();
        Self::of_places(serial_of_place, given)
    }

    /// Serials for the same catalog, in which the name that had this one has a fresh one. `None` when no name has it, or
    /// there are no more.
    pub(super) fn renumbered(&self, serial: u32) -> Option<Self> {
        let place = self.place(serial)?;
        let given = self.given.checked_add(1).filter(|given| *given < NONE)?;
        let mut serial_of_place = match &self.tables {
            None => (0..self.given).collect(),
            Some(tables) => tables.serial_of_place.clone(),
        };
        *serial_of_place.get_mut(place)? = self.given;
        Some(Self::of_places(serial_of_place, given))
    }

    fn of_places(serial_of_place: Vec<u32>, given: u32) -> Self {
        let mut place_of_serial = vec![NONE; usize::try_from(given).unwrap_or_default()];
        for (serial, place) in serial_of_place.iter().zip(0..) {
            if let Some(slot) = usize::try_from(*serial)
                .ok()
                .and_then(|serial| place_of_serial.get_mut(serial))
            {
                *slot = place;
            }
        }
        Self {
            tables: Some(Tables {
                serial_of_place,
                place_of_serial,
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
