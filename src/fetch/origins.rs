//! The sources that files came from, remembered over restarts.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use parking_lot::Mutex;

use crate::crds::{CatalogEntry, FileKey, Sha1Sum, Url};
use crate::store::Store;

/// The note's name in the store.
const NOTE: &str = "sources";

/// The most files that are remembered.
const MOST: usize = 200_000;

/// The source of each file that was fetched, by the URL up to the file's name.
#[derive(Debug, Default)]
pub(super) struct Origins {
    memory: Mutex<Memory>,
    restored: OnceLock<()>,
}

#[derive(Debug, Default)]
struct Memory {
    /// URLs up to the name.
    places: Vec<String>,
    /// The place of a file, and its digest.
    files: HashMap<FileKey, (usize, Sha1Sum)>,
    is_changed: bool,
}

impl Memory {
    fn place(&mut self, url: &str) -> usize {
        self.places
            .iter()
            .position(|place| place == url)
            .unwrap_or_else(|| {
                self.places.push(url.to_owned());
                self.places.len() - 1
            })
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for place in &self.places {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "P\t{place}");
        }
        for (key, (place, sha1)) in &self.files {
            let _ = writeln!(text, "F\t{place}\t{sha1}\t{}\t{}", key.observatory, key.name);
        }
        text
    }

    /// The sources that a text tells, without lines that make no sense.
    fn parse(text: &str) -> Self {
        let mut memory = Self::default();
        for line in text.lines() {
            if let Some(place) = line.strip_prefix("P\t") {
                memory.places.push(place.to_owned());
            } else if let Some((key, found)) =
                file(line).filter(|(_, (place, _))| *place < memory.places.len())
            {
                memory.files.insert(key, found);
            }
        }
        memory
    }
}

fn file(line: &str) -> Option<(FileKey, (usize, Sha1Sum))> {
    let mut fields = line.strip_prefix("F\t")?.splitn(4, '\t');
    let (place, sha1) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let key = FileKey {
        observatory: fields.next()?.parse().ok()?,
        name: fields.next()?.parse().ok()?,
    };
    Some((key, (place, sha1)))
}

impl Origins {
    /// Notes that most of a file came from `url`.
    pub(super) fn note(&self, key: &FileKey, entry: CatalogEntry, url: &Url) {
        let (Some(sha1), Some(place)) = (entry.sha1, url.as_str().strip_suffix(key.name.as_str())) else {
            return;
        };
        let mut memory = self.memory.lock();
        if memory.files.len() < MOST || memory.files.contains_key(key) {
            let place = memory.place(place);
            memory.files.insert(key.clone(), (place, sha1));
            memory.is_changed = true;
        }
    }

    /// The URL that most of a file with this catalog entry came from, if that is known.
    pub(super) fn url(&self, key: &FileKey, entry: CatalogEntry) -> Option<Url> {
        let memory = self.memory.lock();
        let (place, sha1) = memory.files.get(key)?;
        let place = memory.places.get(*place)?;
        (entry.sha1 == Some(*sha1)).then(|| Url::new(&format!("{place}{}", key.name)))
    }

    /// Reads what an earlier run has saved, once. Waits for the disk.
    pub(super) fn restore(&self, store: &dyn Store) {
        self.restored.get_or_init(|| {
            let text = store.note(NOTE).ok().flatten();
            let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
            let earlier = Memory::parse(&text.unwrap_or_default());
            let mut memory = self.memory.lock();
            for (key, (place, sha1)) in earlier.files {
                if let (Some(url), false) = (earlier.places.get(place), memory.files.contains_key(&key)) {
                    let place = memory.place(url);
                    memory.files.insert(key, (place, sha1));
                }
            }
        });
    }

    /// Saves what has changed. Waits for the disk.
    pub(super) fn save(&self, store: &dyn Store) {
        self.restore(store);
        let text = {
            let mut memory = self.memory.lock();
            if !std::mem::take(&mut memory.is_changed) {
                return;
            }
            memory.to_text()
        };
        if let Err(error) = store.save_note(NOTE, text.as_bytes()) {
            log::debug!("where files came from is not kept: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crds::Observatory;
    use crate::store::MemoryStore;

    fn key(name: &str) -> FileKey {
        FileKey {
            observatory: Observatory::Hst,
            name: name.parse().unwrap(),
        }
    }

    fn entry(byte: u8) -> CatalogEntry {
        CatalogEntry {
            size: Some(1),
            sha1: Some(Sha1Sum::from_bytes([byte; 20])),
        }
    }

    #[test]
    fn what_is_known_outlives_the_process() {
        let store: &dyn Store = &MemoryStore::with_size(None);
        let (one, other) = (key("a.fits"), key("b.fits"));
        let origins = Origins::default();
        origins.note(&one, entry(1), &Url::new("s3://bucket/p/references/hst/a.fits"));
        origins.note(&other, entry(2), &Url::new("https://user:secret@x/get/b.fits"));
        origins.save(store);
        assert!(
            !String::from_utf8(store.note(NOTE).unwrap().unwrap())
                .unwrap()
                .contains("secret")
        );
        let later = Origins::default();
        // A noted URL counts more than a restored one.
        later.note(&other, entry(3), &Url::new("https://y/b.fits"));
        later.restore(store);
        assert_eq!(
            later.url(&one, entry(1)).unwrap().as_str(),
            "s3://bucket/p/references/hst/a.fits"
        );
        assert_eq!(later.url(&other, entry(3)).unwrap().as_str(), "https://y/b.fits");
        assert_eq!(later.url(&one, entry(9)), None, "another file of that name");
        later.save(store);
        later.save(store);
        assert_eq!(Memory::parse("F\t0\tx\nP\nF\t7\t\tnonsense\n").files.len(), 0);
    }
}
