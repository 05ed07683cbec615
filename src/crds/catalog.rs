//! The catalog: every file of an observatory with its size and digest, in one block of memory.
//!
//! A mount keeps the catalogs of all observatories for its whole life and asks them at every lookup, so an entry costs
//! its name and 33 bytes, and names are found by binary search.

use std::collections::BTreeMap;

use super::digest::Sha1Sum;
use super::name::{FileKind, FileName};

mod wire;

/// The catalog's entry of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CatalogEntry {
    /// Length in bytes. `None` for a mapping that the server lists without metadata (spec/crds-service 9, trap 4).
    pub size: Option<u64>,
    /// SHA-1 of the whole file. `None` means that there is nothing to check against (trap 1).
    pub sha1: Option<Sha1Sum>,
}

/// One file of a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CatalogItem<'a> {
    /// Its index in the sorted order of names, from 0.
    pub index: usize,
    /// Its name, valid as a [`FileName`].
    pub name: &'a str,
    /// Its size and digest.
    pub entry: CatalogEntry,
}

impl CatalogItem<'_> {
    /// The kind of the file.
    pub(crate) fn kind(&self) -> FileKind {
        FileKind::of(self.name)
    }
}

/// Names from a server that were left out, since they cannot be file names. The caller warns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Their number.
    pub count: usize,
    /// Some of them, shortened.
    pub examples: Vec<String>,
}

impl Dropped {
    /// Notes one more.
    pub(crate) fn note(&mut self, name: &str) {
        self.count += 1;
        if self.examples.len() < 5 {
            self.examples.push(name.chars().take(100).collect());
        }
    }

    /// Adds those of `other`.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.count += other.count;
        let room = 5_usize.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
    }
}

/// Every file of an observatory, sorted by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Catalog {
    /// All names, one after the other.
    text: Box<str>,
    /// The end of each name in `text`.
    ends: Box<[u32]>,
    sizes: Box<[u64]>,
    digests: Box<[Option<Sha1Sum>]>,
    /// The few entries whose names have capitals, by the lower-case form of the name.
    capitals: Box<[u32]>,
}

/// Stands for an unknown size; no file is that long.
const NO_SIZE: u64 = u64::MAX;

/// The difference of two catalogs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Names only in the new one, sorted.
    pub added: Vec<FileName>,
    /// Names only in the old one, sorted.
    pub removed: Vec<FileName>,
    /// Names in both with another size or digest, sorted.
    pub changed: Vec<FileName>,
}

impl Difference {
    /// Whether the two are equal.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl Catalog {
    /// A catalog of these files. Of a name given twice the last entry counts, except that an entry with a size is not
    /// replaced by one without.
    pub(crate) fn new(files: impl IntoIterator<Item = (FileName, CatalogEntry)>) -> Self {
        let mut sorted: Vec<(FileName, CatalogEntry)> = files.into_iter().collect();
        sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
        sorted.dedup_by(|(name, later), (kept, entry)| {
            let same = name == kept;
            if same && (later.size.is_some() || entry.size.is_none()) {
                *entry = *later;
            }
            same
        });
        Self::from_sorted(&sorted)
    }

    fn from_sorted(files: &[(FileName, CatalogEntry)]) -> Self {
        let mut text = String::with_capacity(files.iter().map(|(name, _)| name.as_str().len()).sum());
        let mut ends = Vec::with_capacity(files.len());
        let mut sizes = Vec::with_capacity(files.len());
        let mut digests = Vec::with_capacity(files.len());
        for (name, entry) in files {
            let Ok(end) = u32::try_from(text.len() + name.as_str().len()) else {
                break; // 4 GiB of names: more than any reply may hold
            };
            text.push_str(name.as_str());
            ends.push(end);
            sizes.push(entry.size.unwrap_or(NO_SIZE));
            digests.push(entry.sha1);
        }
        let mut catalog = Self {
            text: text.into(),
            ends: ends.into(),
            sizes: sizes.into(),
            digests: digests.into(),
            capitals: Box::default(),
        };
        catalog.capitals = catalog.find_capitals();
        catalog
    }

    fn find_capitals(&self) -> Box<[u32]> {
        let mut found: BTreeMap<String, u32> = BTreeMap::new();
        for (index, item) in (0_u32..).zip(self.iter()) {
            if item.name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                found.insert(item.name.to_ascii_lowercase(), index);
            }
        }
        found.into_values().collect()
    }

    /// The number of files.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The entry of the file `name`.
    pub(crate) fn get(&self, name: &str) -> Option<CatalogEntry> {
        self.entry_at(self.index_of(name)?)
    }

    /// Whether there is a file `name`.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.index_of(name).is_some()
    }

    /// The index of `name` in the sorted order.
    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        let index = self.lower_bound(name);
        (self.name_at(index)? == name).then_some(index)
    }

    /// The index of the first name that is not less than `name`.
    pub(crate) fn lower_bound(&self, name: &str) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.name_at(middle).is_some_and(|found| found < name) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The file whose name is `name` but for capitals, for tools that lower-case names (trap 3); an exact match first.
    pub(crate) fn find_ignoring_case(&self, name: &str) -> Option<CatalogItem<'_>> {
        let lower = name.to_ascii_lowercase();
        let index = self
            .index_of(name)
            .or_else(|| self.index_of(&lower))
            .or_else(|| {
                let found = self.capitals.iter().find(|&&index| {
                    self.name_at(index as usize)
                        .is_some_and(|it| it.eq_ignore_ascii_case(name))
                })?;
                Some(*found as usize)
            })?;
        self.at(index)
    }

    /// The file at this index of the sorted order.
    pub(crate) fn at(&self, index: usize) -> Option<CatalogItem<'_>> {
        Some(CatalogItem {
            index,
            name: self.name_at(index)?,
            entry: self.entry_at(index)?,
        })
    }

    fn name_at(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        self.text.get(start..end)
    }

    fn entry_at(&self, index: usize) -> Option<CatalogEntry> {
        let size = *self.sizes.get(index)?;
        Some(CatalogEntry {
            size: (size != NO_SIZE).then_some(size),
            sha1: *self.digests.get(index)?,
        })
    }

    /// All files, sorted by name.
    pub(crate) fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = CatalogItem<'_>> + DoubleEndedIterator + Clone {
        const NOTHING: CatalogItem<'static> = CatalogItem {
            index: 0,
            name: "",
            entry: CatalogEntry {
                size: None,
                sha1: None,
            },
        };
        (0..self.len()).map(|index| self.at(index).unwrap_or(NOTHING))
    }

    /// The mappings, sorted by name.
    pub(crate) fn mappings(&self) -> impl Iterator<Item = CatalogItem<'_>> {
        self.iter().filter(|item| item.kind().is_mapping())
    }

    /// The references, sorted by name.
    #[cfg(test)]
    pub(crate) fn references(&self) -> impl Iterator<Item = CatalogItem<'_>> {
        self.iter().filter(|item| !item.kind().is_mapping())
    }

    /// The memory that this catalog occupies, in bytes.
    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.text.len()
            + size_of_val(&*self.ends)
            + size_of_val(&*self.sizes)
            + size_of_val(&*self.digests)
            + size_of_val(&*self.capitals)
    }

    /// The changes from `old` to `new`.
    pub(crate) fn difference(old: &Self, new: &Self) -> Difference {
        let mut difference = Difference::default();
        let (mut olds, mut news) = (old.iter().peekable(), new.iter().peekable());
        let note = |list: &mut Vec<FileName>, name: &str| list.extend(name.parse::<FileName>().ok());
        loop {
            match (olds.peek().copied(), news.peek().copied()) {
                (None, None) => return difference,
                (Some(one), other) if other.is_none_or(|other| one.name < other.name) => {
                    note(&mut difference.removed, one.name);
                    olds.next();
                }
                (Some(one), Some(other)) if one.name == other.name => {
                    if one.entry != other.entry {
                        note(&mut difference.changed, one.name);
                    }
                    olds.next();
                    news.next();
                }
                (_, Some(other)) => {
                    note(&mut difference.added, other.name);
                    news.next();
                }
                (Some(_), None) => {
                    olds.next();
                }
            }
        }
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Catalog({} files)", self.len())
    }
}

#[cfg(test)]
mod tests;
