//! The united header of one dataset file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::crds::Observatory;
use crate::rules::naming::INSTRUMENT_NAMES;

use super::format::Format;

/// The text of a FITS card without a value in a header. The Python client's text differs from run to run, so
/// no rule can match it; neither can one match this.
pub(crate) const UNDEFINED_CARD: &str = "<undefined card value>";

/// Keywords whose further values are collected instead of dropped.
const COLLECTED: [&str; 2] = ["COMMENT", "HISTORY"];

/// The header of a dataset file: names in upper case with the texts of their values, in the order in which the Python
/// client has them (which can decide between two spellings of a JWST parameter). Values are not conditioned; numbers,
/// booleans and the like are texts as Python prints them, which is what conditioning starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetHeader {
    format: Format,
    observatory: Observatory,
    entries: Vec<(String, String)>,
    index: HashMap<String, usize>,
}

/// The header names no instrument, so nothing can be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("'No instrument keyword defined in header.'")]
pub struct NoInstrument;

impl DatasetHeader {
    /// A header without a name.
    pub(super) fn new(format: Format, observatory: Observatory) -> Self {
        Self {
            format,
            observatory,
            entries: Vec::new(),
            index: HashMap::new(),
        }
    }

    /// Adds a value that a file has for `name` (upper case): the first value counts, comments are collected (spec
    /// section 21).
    pub(super) fn add(&mut self, name: String, text: String) {
        match self.index.entry(name) {
            Entry::Vacant(vacant) => {
                self.entries.push((vacant.key().clone(), text));
                vacant.insert(self.entries.len() - 1);
            }
            Entry::Occupied(occupied) if COLLECTED.contains(&occupied.key().as_str()) => {
                let (_, collected) = &mut self.entries[*occupied.get()];
                if *collected != text {
                    collected.push('\n');
                    collected.push_str(&text);
                }
            }
            Entry::Occupied(_) => {}
        }
    }

    /// Gives `name` (upper case) this value, where it stands, or at the end if it is new.
    pub fn set(&mut self, name: &str, text: &str) {
        match self.index.get(name) {
            Some(at) => text.clone_into(&mut self.entries[*at].1),
            None => self.add(name.to_owned(), text.to_owned()),
        }
    }

    /// The format of the file.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The observatory of the file: as the caller said, else as guessed.
    pub const fn observatory(&self) -> Observatory {
        self.observatory
    }

    /// The text of `name` (upper case).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.index.get(name).map(|at| self.entries[*at].1.as_str())
    }

    /// Names and texts in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no name at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The instrument, upper case, old synonyms replaced.
    pub fn instrument(&self) -> Result<String, NoInstrument> {
        let defined = |text: &&str| !matches!(*text, "UNDEFINED" | "undefined");
        let name = INSTRUMENT_NAMES
            .iter()
            .filter_map(|keyword| self.get(keyword))
            .find(defined)
            .ok_or(NoInstrument)?;
        Ok(match name {
            "hst" => "SYNPHOT".to_owned(),
            "wfii" => "WFPC2".to_owned(),
            other => other.to_uppercase(),
        })
    }

    /// The header as `bestrefs` looks it up: with the instrument under both of its names (spec, section 22, step 1).
    pub fn for_lookup(mut self) -> Result<Self, NoInstrument> {
        let instrument = self.instrument()?;
        self.set("INSTRUME", &instrument);
        self.set("META.INSTRUMENT.NAME", &instrument);
        Ok(self)
    }
}
