//! The contexts of an observatory: the server's words on them, and the files of each that are here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use jiff::civil::DateTime;
use serde::Serialize;

use super::holdings::Holdings;
use crate::crds::{FileKind, FileName, ServerInfo};
use crate::rules::Contents;

/// A context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ContextReport {
    pub(crate) observatory: String,
    pub(crate) name: String,
    /// The size of the pmap, where the catalog tells it.
    pub(crate) size: Option<u64>,
    /// The state of the pmap: `remote`, `cached`, or `local` for one that the catalog does not have.
    pub(crate) state: &'static str,
    /// The server's names for it: `latest`, `edit`, `versions`, `build`.
    pub(crate) tags: Vec<&'static str>,
    /// Since when it was the default context: UTC where the server gives an offset, else the server's local time.
    pub(crate) since: Option<String>,
    /// The reason for its delivery, in the server's words.
    pub(crate) description: Option<String>,
    /// The `description` in its header, if it is here.
    pub(crate) header_description: Option<String>,
    /// Its rules, where it is here.
    pub(crate) rules: Option<Share>,
    /// Its references, where all of its rules are here.
    pub(crate) references: Option<Share>,
    /// Whether everything of it is here.
    pub(crate) complete: bool,
}

/// The number of files of a group that are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Share {
    pub(crate) held: usize,
    /// As far as it is known: what is below a mapping that is not here is not counted.
    pub(crate) total: usize,
}

impl Share {
    fn is_all(self) -> bool {
        self.held == self.total
    }
}

/// The contexts that the catalog or the cache has, sorted by name.
pub(crate) fn contexts(info: &ServerInfo, holdings: &Holdings) -> Vec<ContextReport> {
    let is_pmap = |name: &FileName| name.kind() == FileKind::Pmap;
    let listed = info
        .catalog()
        .mappings()
        .filter_map(|item| item.name.parse().ok());
    let here = holdings.names().filter_map(|name| name.parse().ok());
    let names: BTreeSet<FileName> = listed.chain(here).filter(is_pmap).collect();
    let mut reader = Reader {
        info,
        holdings,
        read: HashMap::new(),
        references: References::default(),
    };
    let mut told = History::new(info);
    names.iter().map(|name| reader.report(name, &mut told)).collect()
}

/// The start of each context as the default, and the reason for its delivery.
struct History<'i>(BTreeMap<&'i FileName, (DateTime, &'i str)>);

impl<'i> History<'i> {
    fn new(info: &'i ServerInfo) -> Self {
        let mut first: BTreeMap<&FileName, (DateTime, &str)> = BTreeMap::new();
        for entry in info.history() {
            let known = first.get(&entry.context);
            if known.is_none_or(|(start, _)| entry.start < *start) {
                first.insert(&entry.context, (entry.start, &entry.description));
            }
        }
        Self(first)
    }
}

/// References of all rmaps that were read, each once, by number.
#[derive(Default)]
struct References {
    numbers: HashMap<String, usize>,
    held: Vec<bool>,
}

/// A mapping that is here.
struct Read {
    mappings: Vec<String>,
    references: Vec<usize>,
    description: Option<String>,
}

/// The mappings read so far: contexts share most of theirs.
struct Reader<'a> {
    info: &'a ServerInfo,
    holdings: &'a Holdings,
    /// Nothing for one that is not here.
    read: HashMap<String, Option<Rc<Read>>>,
    references: References,
}

impl Reader<'_> {
    fn report(&mut self, name: &FileName, history: &mut History<'_>) -> ContextReport {
        let info = self.info;
        let entry = info.catalog().get(name.as_str());
        let tags = [
            ("latest", info.default_context()),
            ("edit", info.edit_context()),
            ("versions", info.versions_context()),
            ("build", info.build_context()),
        ];
        let tags = tags.into_iter().filter(|(_, context)| *context == Some(name));
        let told = history.0.get(name);
        let read = self.mapping(name.as_str());
        let state = match (entry, &read) {
            (None, _) => "local",
            (Some(_), Some(_)) => "cached",
            (Some(_), None) => "remote",
        };
        let (rules, references) = read.as_deref().map_or((None, None), |read| self.shares(read));
        ContextReport {
            observatory: info.observatory().as_str().to_owned(),
            name: name.as_str().to_owned(),
            size: entry.and_then(|entry| entry.size),
            state,
            tags: tags.map(|(tag, _)| tag).collect(),
            since: told.map(|(start, _)| start.strftime("%Y-%m-%d %H:%M:%S").to_string()),
            description: told
                .map(|(_, text)| text.trim().to_owned())
                .filter(|text| !text.is_empty()),
            header_description: read.as_ref().and_then(|read| read.description.clone()),
            rules,
            complete: references.is_some_and(Share::is_all),
            references,
        }
    }

    /// The rules and the references of a context that are here.
    fn shares(&mut self, pmap: &Read) -> (Option<Share>, Option<Share>) {
        let mut rules = Share { held: 1, total: 1 };
        let mut references = vec![false; self.references.held.len()];
        let mut left: Vec<String> = pmap.mappings.clone();
        let mut seen = BTreeSet::new();
        while let Some(name) = left.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            rules.total += 1;
            if let Some(read) = self.mapping(&name) {
                rules.held += 1;
                left.extend(read.mappings.iter().cloned());
                references.resize(self.references.held.len(), false);
                for &number in &read.references {
                    if let Some(named) = references.get_mut(number) {
                        *named = true;
                    }
                }
            }
        }
        let named = references
            .iter()
            .zip(&self.references.held)
            .filter(|(named, _)| **named);
        let references = rules.is_all().then(|| Share {
            held: named.clone().filter(|(_, held)| **held).count(),
            total: named.count(),
        });
        (Some(rules), references)
    }

    /// A mapping, if it is here and can be read.
    fn mapping(&mut self, name: &str) -> Option<Rc<Read>> {
        if let Some(known) = self.read.get(name) {
            return known.clone();
        }
        let read = self.read(name).map(Rc::new);
        self.read.insert(name.to_owned(), read.clone());
        read
    }

    fn read(&mut self, name: &str) -> Option<Read> {
        if !self.is_here(name) {
            return None;
        }
        let text = self.holdings.text(name)?;
        let contents = match Contents::read(name, &text) {
            Ok(contents) => contents,
            Err(error) => {
                log::warn!("{error}");
                return None;
            }
        };
        let mut references: Vec<usize> = Vec::new();
        for reference in &contents.references {
            references.push(self.reference(reference));
            // The pixels of a GEIS image are in a file that no rule names.
            let half = reference
                .parse()
                .ok()
                .and_then(|name: FileName| name.geis_data_half());
            references.extend(half.map(|half| self.reference(half.as_str())));
        }
        references.sort_unstable();
        references.dedup();
        Some(Read {
            mappings: contents.mappings,
            references,
            description: contents.description.filter(|text| !text.is_empty()),
        })
    }

    /// The number of a reference.
    fn reference(&mut self, name: &str) -> usize {
        if let Some(number) = self.references.numbers.get(name) {
            return *number;
        }
        let number = self.references.held.len();
        self.references.held.push(self.is_here(name));
        self.references.numbers.insert(name.to_owned(), number);
        number
    }

    /// Whether a file is here, with the size that the catalog tells.
    fn is_here(&self, name: &str) -> bool {
        let size = self.info.catalog().get(name).and_then(|entry| entry.size);
        let held = self.holdings.size(name);
        held.is_some_and(|held| size.is_none_or(|size| size == held))
    }
}
