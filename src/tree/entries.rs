//! The entries of open directories on their way to the kernel, with or without their attributes.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::attr::CATALOGUED_PERM;
use super::core::{Core, ready};
use super::error::Error;
use super::find::Made;
use super::handles::{Listing, Node, Other};
use super::ino::catalogued;
use super::inode::LocalStat;
use super::nodes::Key;
use super::ops::{Attr, CacheTtl, DirEntry, Handle, NodeKind, Outcome};

/// The number of entries that are looked at before they are read with attributes: more than the kernel's buffers hold.
const AHEAD: usize = 256;

/// The number of entries before those that are not catalogued: `.` and `..`.
const BEFORE_OTHERS: u64 = 2;

/// An entry on its way to the kernel.
struct Item<'a> {
    entry: DirEntry,
    other: Option<&'a Node>,
    catalog_index: Option<usize>,
}

/// The attributes of the user's files among some entries of a listing.
#[derive(Debug)]
pub(crate) struct Ahead {
    listing: Arc<Listing>,
    /// The index of the first entry among those that are not catalogued.
    first: usize,
    /// The path of the directory in the store.
    directory: PathBuf,
    /// The number of renames that had been done before.
    renames: u64,
    /// The attributes of each entry; `None` for a file that is gone, and for an entry that is not the user's.
    stats: Vec<Option<LocalStat>>,
}

impl Ahead {
    /// The index of an entry among those that were looked at, if it was.
    fn index(&self, offset: u64) -> Option<usize> {
        let other = usize::try_from(offset.checked_sub(BEFORE_OTHERS)?).ok()?;
        let index = other.checked_sub(self.first)?;
        (index < self.stats.len()).then_some(index)
    }

    /// The file at an index; `None` where it is gone.
    fn file(&self, index: usize, name: &OsStr) -> Option<Made> {
        let stat = (*self.stats.get(index)?)?;
        Some(Made {
            path: self.directory.join(name),
            stat,
            renames: self.renames,
        })
    }
}

impl Core {
    fn listing(&self, handle: Handle) -> Result<Arc<Listing>, Error> {
        let directory = self.listings.get(handle).ok_or(Error::BadHandle)?;
        directory.was_read.store(true, Ordering::Relaxed);
        let listing = directory.listing();
        Ok(Arc::clone(&listing))
    }

    /// Gives the entries from `offset` on, until `each` has enough.
    pub(super) fn readdir(
        &self,
        handle: Handle,
        offset: u64,
        each: &mut dyn FnMut(DirEntry) -> bool,
    ) -> Result<(), Error> {
        let listing = self.listing(handle)?;
        let mut next = offset;
        while let Some(item) = self.item(&listing, next) {
            next += 1;
            if !each(item.entry) {
                break;
            }
        }
        Ok(())
    }

    /// Looks up the attributes of the user's files among the next entries of an open directory, until at least one of
    /// them is still there.
    pub(super) fn look_ahead(self: &Arc<Self>, handle: Handle, offset: u64) -> Outcome<Ahead, Error> {
        let rewound = if offset == 0 {
            self.rewind(handle)
        } else {
            ready(Ok(()))
        };
        let core = Arc::clone(self);
        rewound.then(move |rewound| {
            let listing = match rewound.and_then(|()| core.listing(handle)) {
                Ok(listing) => listing,
                Err(error) => return ready(Err(error)),
            };
            let first = usize::try_from(offset.saturating_sub(BEFORE_OTHERS)).unwrap_or(usize::MAX);
            let nodes = listing.others.iter().skip(first).take(AHEAD);
            let is_local = |other: &Other| matches!(other.node, Node::Local { .. });
            if !nodes.into_iter().any(is_local) {
                return ready(Ok(Ahead {
                    listing,
                    first,
                    directory: PathBuf::new(),
                    renames: 0,
                    stats: Vec::new(),
                }));
            }
            core.on_disk(move |core| core.look_at(listing, first))
        })
    }

    fn look_at(&self, listing: Arc<Listing>, first: usize) -> Result<Ahead, Error> {
        let renames = self.nodes.renames();
        let found = self
            .directory(listing.ino)
            .and_then(|directory| self.find_dir(listing.ino, &directory));
        let found = match found {
            Ok(found) => Some(found),
            // The files of a removed directory are gone with it.
            Err(Error::NotFound) => None,
            Err(error) => return Err(error),
        };
        let mut stats = Vec::new();
        for other in listing.others.iter().skip(first) {
            if stats.len() >= AHEAD && stats.iter().any(Option::is_some) {
                break;
            }
            stats.push(match (&other.node, &found) {
                (Node::Local { key, .. }, Some(found)) => {
                    let stat = found.dir.stat(&other.name).ok().flatten();
                    stat.filter(|stat| Key::of(stat) == *key)
                }
                _ => None,
            });
        }
        let directory = found.map(|found| found.path).unwrap_or_default();
        Ok(Ahead {
            listing,
            first,
            directory,
            renames,
            stats,
        })
    }

    /// As [`Core::readdir`], with attributes, as far as was looked ahead; an entry that `each` accepts counts as looked
    /// up.
    pub(super) fn readdirplus(
        &self,
        ahead: &Ahead,
        offset: u64,
        each: &mut dyn FnMut(DirEntry, Attr, CacheTtl) -> bool,
    ) {
        let mut next = offset;
        while let Some(item) = self.item(&ahead.listing, next) {
            let mut made = None;
            if let Some(Node::Local { .. }) = item.other {
                let Some(index) = ahead.index(next) else { break };
                made = ahead.file(index, &item.entry.name);
            }
            next += 1;
            let (attr, keep) = match &made {
                Some(made) => (
                    self.local_attr(item.entry.ino, &made.stat),
                    self.keep_of(&made.path),
                ),
                None => match self.item_attr(&ahead.listing, &item) {
                    Some(known) => known,
                    None => continue,
                },
            };
            if !each(item.entry, attr, keep) {
                break;
            }
            match (made, item.other) {
                (Some(made), _) => {
                    self.referred(&made);
                }
                (None, Some(Node::Made { key: Some(key), .. })) => {
                    self.nodes.refer(key.clone(), None);
                }
                _ => {}
            }
        }
    }

    /// The entry at an offset: `.`, `..`, others, catalogued.
    fn item<'a>(&self, listing: &'a Listing, offset: u64) -> Option<Item<'a>> {
        let next = offset + 1;
        let index = usize::try_from(offset).ok()?;
        let directory = |name: &str, ino| Item {
            entry: DirEntry {
                name: name.into(),
                ino,
                kind: NodeKind::Directory,
                next,
            },
            other: None,
            catalog_index: None,
        };
        match index {
            0 => return Some(directory(".", listing.ino)),
            1 => return Some(directory("..", listing.parent)),
            _ => {}
        }
        if let Some(other) = listing.others.get(index - 2) {
            let (ino, kind) = match &other.node {
                Node::Fixed(fixed) => (fixed.ino(), fixed.kind()),
                Node::Local { key, kind, .. } => (self.nodes.number(key), *kind),
                Node::Made { attr, .. } => (attr.ino, attr.kind),
            };
            let name = other.name.clone();
            return Some(Item {
                entry: DirEntry {
                    name,
                    ino,
                    kind,
                    next,
                },
                other: Some(&other.node),
                catalog_index: None,
            });
        }
        let (view, indexes) = listing.catalogued.as_ref()?;
        let catalog_index = usize::try_from(*indexes.get(index - 2 - listing.others.len())?).ok()?;
        let file = view.at(catalog_index)?;
        Some(Item {
            entry: DirEntry {
                name: file.key.name.as_str().into(),
                ino: catalogued(view.observatory, file.serial),
                kind: NodeKind::File,
                next,
            },
            other: None,
            catalog_index: Some(catalog_index),
        })
    }

    fn item_attr(&self, listing: &Listing, item: &Item<'_>) -> Option<(Attr, CacheTtl)> {
        let ino = item.entry.ino;
        match (item.other, item.catalog_index) {
            (Some(Node::Fixed(fixed)), _) => Some(self.known_attr(*fixed)),
            (Some(Node::Made { attr, .. }), _) => Some((*attr, CacheTtl::Never)),
            (Some(Node::Local { .. }), _) => None,
            (None, Some(index)) => {
                let (view, _) = listing.catalogued.as_ref()?;
                let file = view.at(index)?;
                Some(match self.catalogued_attr(&file) {
                    Some(attr) => (attr, CacheTtl::Forever),
                    // Of unknown size: the kernel asks for the attributes when they are needed.
                    None => (self.own(ino, NodeKind::File, CATALOGUED_PERM, 0), CacheTtl::Never),
                })
            }
            // Of `.` and `..` only the numbers are used.
            (None, None) => Some((self.own(ino, NodeKind::Directory, 0o755, 0), CacheTtl::Never)),
        }
    }
}
