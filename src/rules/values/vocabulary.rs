//! Texts with numbers.

use std::hash::Hasher as _;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rustc_hash::FxHasher;

/// Different texts, numbered from zero in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vocabulary {
    /// All of them, one behind the other.
    texts: String,
    /// The end of each one.
    ends: Vec<u32>,
    numbers: HashTable<u32>,
}

impl Vocabulary {
    /// An empty one with room.
    pub(crate) fn with_capacity(count: usize, bytes: usize) -> Self {
        Self {
            texts: String::with_capacity(bytes),
            ends: Vec::with_capacity(count),
            numbers: HashTable::with_capacity(count),
        }
    }

    /// The number of a text, which is a new one if it was not there.
    pub(crate) fn insert(&mut self, text: &str) -> u32 {
        let Self { texts, ends, numbers } = self;
        let same = |&number: &u32| get(texts, ends, number) == text;
        let rehash = |&number: &u32| hash(get(texts, ends, number));
        match numbers.entry(hash(text), same, rehash) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => {
                // Texts are limited to far less than 4 GiB (`literal::lexer::MAX_TEXT`).
                let number = u32::try_from(ends.len()).unwrap_or(u32::MAX);
                place.insert(number);
                texts.push_str(text);
                ends.push(u32::try_from(texts.len()).unwrap_or(u32::MAX));
                number
            }
        }
    }

    /// The number of a text, if it is there.
    pub(crate) fn number(&self, text: &str) -> Option<u32> {
        let same = |&number: &u32| self.get(number) == text;
        self.numbers.find(hash(text), same).copied()
    }

    /// The text with a number.
    pub(crate) fn get(&self, number: u32) -> &str {
        get(&self.texts, &self.ends, number)
    }

    /// All texts by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..).zip(&self.ends).map(|(number, _)| self.get(number))
    }
}

fn get<'t>(texts: &'t str, ends: &[u32], number: u32) -> &'t str {
    let number = number as usize;
    let start = number.checked_sub(1).and_then(|before| ends.get(before)).copied();
    let end = ends.get(number).copied().unwrap_or(0);
    texts.get(start.unwrap_or(0) as usize..end as usize).unwrap_or("")
}

/// The hash of a text, which decides nothing but where it is looked for.
pub(crate) fn hash(text: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}
