//! The elements of match keys in their normal form, numbered: the same few texts come up again and again.

use std::borrow::Cow;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rustc_hash::FxHashMap;

use crate::rules::syntax::arena::{ArenaBuilder, Span};
use crate::rules::syntax::ast::{Item, Tree};
use crate::rules::values::condition::{condition, condition_element};
use crate::rules::values::vocabulary::hash;

/// The normal forms of one rmap's elements; the same text has one number.
#[derive(Default)]
pub(super) struct Words<'s> {
    /// By number.
    spans: Vec<Span>,
    by_text: HashTable<u32>,
    /// The numbers of elements as written.
    written: FxHashMap<&'s str, u32>,
    numbers: FxHashMap<Number, u32>,
}

#[derive(PartialEq, Eq, Hash)]
enum Number {
    Int(i64),
    Float(u64),
}

impl<'s> Words<'s> {
    /// Makes room for what that many keys may bring.
    pub(super) fn reserve(&mut self, keys: usize) {
        let more = keys.saturating_sub(self.written.len());
        self.written.reserve(more);
        self.spans.reserve(more);
    }

    /// The number of the normal form of an element.
    pub(super) fn of(&mut self, tree: &mut Tree<'s>, element: Item) -> u32 {
        let number = match element {
            Item::Str(text) => {
                let Some(written) = tree.arena.in_source(text) else {
                    let normal = condition_element(tree.arena.get(text)).into_owned();
                    return self.normal(&mut tree.arena, normal.into());
                };
                if let Some(&known) = self.written.get(written) {
                    return known;
                }
                let new = self.normal(&mut tree.arena, condition_element(written));
                self.written.insert(written, new);
                return new;
            }
            Item::Int(number) => Number::Int(number),
            Item::Float(number) => Number::Float(number.to_bits()),
            Item::Tuple(parts) => {
                let texts = tree.parts(parts).iter().map(|&part| tree.text(part));
                let normal = alternatives(texts);
                return self.normal(&mut tree.arena, normal.into());
            }
            other => {
                let normal = condition(&tree.text(other)).into_owned();
                return self.normal(&mut tree.arena, normal.into());
            }
        };
        if let Some(&known) = self.numbers.get(&number) {
            return known;
        }
        let normal = condition(&tree.text(element)).into_owned();
        let new = self.normal(&mut tree.arena, normal.into());
        self.numbers.insert(number, new);
        new
    }

    /// The number of a text in normal form.
    pub(super) fn normal(&mut self, arena: &mut ArenaBuilder<'s>, text: Cow<'s, str>) -> u32 {
        let Self { spans, by_text, .. } = self;
        let get = |number: u32| spans.get(number as usize).map_or("", |&span| arena.get(span));
        let same = |&number: &u32| get(number) == text;
        match by_text.entry(hash(&text), same, |&number| hash(get(number))) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => {
                let new = u32::try_from(spans.len()).unwrap_or(u32::MAX);
                place.insert(new);
                spans.push(arena.span(text));
                new
            }
        }
    }

    /// The span of a word in the arena.
    pub(super) fn span(&self, word: u32) -> Option<Span> {
        self.spans.get(word as usize).copied()
    }

    /// The number of words.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }
}

/// The normal form of an element that is a tuple of texts.
pub(crate) fn alternatives<'t>(texts: impl Iterator<Item = Cow<'t, str>>) -> String {
    let normal: Vec<String> = texts.map(|text| condition(&text).into_owned()).collect();
    normal.join("|")
}
