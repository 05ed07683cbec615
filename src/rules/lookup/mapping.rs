//! Loaded mappings of all three levels.

use std::sync::Arc;

use crate::crds::FileKind;
use crate::rules::eval::rmap::Reference;
use crate::rules::lookup::last_made::LastMade;
use crate::rules::syntax::error::{LoadError, LoadErrorKind};

/// A mapping, read and compiled. It does not change any more and may be shared between contexts.
#[derive(Debug)]
pub struct Mapping {
    name: String,
    target: Target,
    checksum: Result<(), LoadError>,
}

/// The content of a mapping, by its level.
#[derive(Debug)]
pub(crate) enum Target {
    /// A pipeline context (pmap).
    Pipeline(Pipeline),
    /// An instrument's rules (imap).
    Instrument(Instrument),
    /// The rules of one reference type (rmap).
    Reference(Box<Reference>),
}

/// The source of a context's other mappings.
pub trait Mappings {
    /// The mapping of that name, exactly as a pmap or imap names it. A mapping that is not there is
    /// [`LoadError::absent`].
    fn get(&self, name: &str) -> Result<Arc<Mapping>, LoadError>;

    /// All these will be asked for next: they may be loaded at once.
    fn prepare(&self, names: &[&str]) {
        let _ = names;
    }
}

impl Mapping {
    pub(crate) fn new(name: &str, target: Target, checksum: Result<(), LoadError>) -> Self {
        Self {
            name: name.to_owned(),
            target,
            checksum,
        }
    }

    /// The name it was asked for by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of which level it is, by its contents.
    pub fn kind(&self) -> FileKind {
        match &self.target {
            Target::Pipeline(_) => FileKind::Pmap,
            Target::Instrument(_) => FileKind::Imap,
            Target::Reference(_) => FileKind::Rmap,
        }
    }

    /// Its content.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Whether the checksum in the mapping's header is right (spec/crds-rules 4).
    pub fn checksum(&self) -> Result<(), LoadError> {
        self.checksum.clone()
    }

    /// Its rules of an instrument; fails if it is no imap.
    pub(crate) fn instrument(&self) -> Result<&Instrument, LoadError> {
        if let Target::Instrument(instrument) = &self.target {
            return Ok(instrument);
        }
        let what = format!("'{}' is no instrument mapping", self.name);
        Err(LoadError::new(LoadErrorKind::Mapping, what))
    }

    /// The names of the mappings that it names, in the order of the file.
    pub fn children(&self) -> Vec<&str> {
        let entries = match &self.target {
            Target::Pipeline(pipeline) => &pipeline.entries,
            Target::Instrument(instrument) => &instrument.entries,
            Target::Reference(_) => return Vec::new(),
        };
        entries.iter().filter_map(|(_, entry)| entry.file()).collect()
    }

    /// Its own name and those of [`Mapping::children`].
    pub fn family(&self) -> Vec<&str> {
        std::iter::once(self.name()).chain(self.children()).collect()
    }

    /// The mapping that it names for an instrument or a reference type (lower case).
    pub fn child(&self, key: &str) -> Option<&str> {
        let entries = match &self.target {
            Target::Pipeline(pipeline) => &pipeline.entries,
            Target::Instrument(instrument) => &instrument.entries,
            Target::Reference(_) => return None,
        };
        entries
            .iter()
            .find_map(|(own, entry)| if own == key { entry.file() } else { None })
    }

    /// The names of the references that it names, sorted, each once.
    pub fn references(&self) -> Vec<&str> {
        let Target::Reference(reference) = &self.target else {
            return Vec::new();
        };
        reference.references()
    }
}

/// The value of a key in a pmap or imap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    File(String),
    NotApplicable,
    Omitted,
}

/// Whether a text in a mapping stands for no file: not applicable, or omitted.
pub(crate) fn is_special(text: &str) -> bool {
    !matches!(Entry::new(text.to_owned()), Entry::File(_))
}

impl Entry {
    fn new(text: String) -> Self {
        match text.as_str() {
            "N/A" | "TEMP_N/A" | "n/a" | "temp_n/a" => Self::NotApplicable,
            "OMIT" | "TEMP_OMIT" | "omit" => Self::Omitted,
            _ => Self::File(text),
        }
    }

    /// The mapping, if it is one.
    pub(crate) fn file(&self) -> Option<&str> {
        match self {
            Self::File(name) => Some(name),
            _ => None,
        }
    }
}

type Entries = Vec<(String, Entry)>;

/// Of keys that differ only in case the later one counts, at the place of the first.
fn entries(pairs: Vec<(String, String)>) -> Entries {
    let mut entries: Entries = Vec::with_capacity(pairs.len());
    let mut places = rustc_hash::FxHashMap::default();
    for (key, value) in pairs {
        let entry = Entry::new(value);
        if let Some((_, old)) = places.get(&key).and_then(|&place: &usize| entries.get_mut(place)) {
            *old = entry;
        } else {
            places.insert(key.clone(), entries.len());
            entries.push((key, entry));
        }
    }
    entries
}

/// A pipeline context: instruments and their imaps.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// The parameter that names the instrument, in upper case.
    pub(crate) parkey: String,
    pub(crate) entries: Entries,
}

impl Pipeline {
    pub(crate) fn new(parkey: &str, pairs: Vec<(String, String)>) -> Self {
        Self {
            parkey: parkey.to_uppercase(),
            entries: entries(pairs),
        }
    }
}

/// An instrument's rules: reference types and their rmaps.
#[derive(Debug)]
pub(crate) struct Instrument {
    pub(crate) name: String,
    /// `REFTYPE` and extra keys.
    pub(crate) keys: Vec<String>,
    pub(crate) entries: Entries,
    /// Its rmaps, as they were last linked.
    pub(crate) linked: LastMade,
}

impl Instrument {
    pub(crate) fn new(instrument: String, keys: Vec<String>, pairs: Vec<(String, String)>) -> Self {
        Self {
            name: instrument,
            keys,
            entries: entries(pairs),
            linked: LastMade::default(),
        }
    }

    /// The reference types, in lower case, in the order of the file.
    pub(crate) fn filekinds(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(filekind, _)| filekind.as_str())
    }
}
