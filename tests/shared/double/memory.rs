//! The memory of a node about a shared file system: inodes, names, attributes, listings.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use fuser::{FileAttr, FileType};
use rustix::fs::Stat;

use super::{Options, between, seconds};

/// The number of the root.
pub(super) const ROOT: u64 = 1;

/// Names beyond which those that are out of date are forgotten.
const MANY_NAMES: usize = 20_000;

/// An entry of a listing.
pub(super) struct Listed {
    pub(super) ino: u64,
    pub(super) kind: FileType,
    pub(super) name: OsString,
}

/// An inode that the kernel knows.
struct Node {
    /// Opened by `O_PATH`: it stays the same file, whatever happens to its names.
    place: Arc<OwnedFd>,
    /// Device and number in the directory itself.
    key: (u64, u64),
    lookups: u64,
    attributes: Option<(Instant, FileAttr)>,
    listing: Option<(Instant, Arc<Vec<Listed>>)>,
    /// This node has removed a name of it, and goes on with what it has open, as NFS does.
    removed_here: bool,
    /// The time at which this node first saw that the file has no name any more.
    gone: Option<Instant>,
}

/// The answer to a look at a name, from memory.
pub(super) enum Remembered {
    Nothing,
    Absent,
    Present(u64),
}

pub(super) struct Memory {
    options: Options,
    nodes: HashMap<u64, Node>,
    /// Until when a name leads where: to an inode, or nowhere.
    names: HashMap<(u64, OsString), (Instant, Option<u64>)>,
    root: (u64, u64),
}

/// Device and number of a file.
pub(super) fn key(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Memory {
    pub(super) fn new(root: OwnedFd, stat: &Stat, options: Options) -> Self {
        let mut memory = Self {
            options,
            nodes: HashMap::new(),
            names: HashMap::new(),
            root: key(stat),
        };
        memory.enter(root, stat);
        memory
    }

    /// The number that a file has here: its own, which it has on every node, but for the root.
    pub(super) fn number(&self, stat: &Stat) -> u64 {
        if key(stat) == self.root { ROOT } else { stat.st_ino }
    }

    /// Enters a file that the kernel is told of.
    pub(super) fn enter(&mut self, place: OwnedFd, stat: &Stat) -> u64 {
        let ino = self.number(stat);
        let node = self.nodes.entry(ino).or_insert_with(|| Node {
            place: Arc::new(place),
            key: key(stat),
            lookups: 0,
            attributes: None,
            listing: None,
            removed_here: false,
            gone: None,
        });
        node.lookups += 1;
        ino
    }

    /// Notes that the kernel is told of a file once more.
    pub(super) fn again(&mut self, ino: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups += 1;
        }
    }

    pub(super) fn forget(&mut self, ino: u64, count: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups = node.lookups.saturating_sub(count);
            if node.lookups == 0 && ino != ROOT {
                self.nodes.remove(&ino);
            }
        }
    }

    pub(super) fn place(&self, ino: u64) -> Option<Arc<OwnedFd>> {
        self.nodes.get(&ino).map(|node| Arc::clone(&node.place))
    }

    pub(super) fn look(&self, parent: u64, name: &OsStr) -> Remembered {
        match self.names.get(&(parent, name.to_owned())) {
            Some((until, found)) if Instant::now() < *until => match found {
                None => Remembered::Absent,
                Some(ino) if self.nodes.contains_key(ino) => Remembered::Present(*ino),
                Some(_) => Remembered::Nothing,
            },
            _ => Remembered::Nothing,
        }
    }

    /// Remembers where a name leads.
    pub(super) fn found(&mut self, parent: u64, name: &OsStr, ino: Option<u64>) {
        let now = Instant::now();
        if self.names.len() > MANY_NAMES {
            self.names.retain(|_, (until, _)| now < *until);
        }
        let time = match ino {
            Some(_) => seconds(self.options.attributes),
            None => between(self.options.absent),
        };
        self.names.insert((parent, name.to_owned()), (now + time, ino));
    }

    /// Forgets a name, so that the next look is at the directory itself.
    pub(super) fn drop_name(&mut self, parent: u64, name: &OsStr) {
        self.names.remove(&(parent, name.to_owned()));
    }

    /// Forgets the listing of a directory in which this node has changed a name, and that name.
    pub(super) fn changed(&mut self, parent: u64, name: &OsStr) {
        self.drop_name(parent, name);
        if let Some(node) = self.nodes.get_mut(&parent) {
            node.listing = None;
        }
    }

    pub(super) fn attributes(&self, ino: u64) -> Option<FileAttr> {
        let (since, attributes) = self.nodes.get(&ino)?.attributes?;
        (since.elapsed() < seconds(self.options.attributes)).then_some(attributes)
    }

    /// Remembers attributes, or forgets them.
    pub(super) fn set_attributes(&mut self, ino: u64, attributes: Option<FileAttr>) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.attributes = attributes.map(|attributes| (Instant::now(), attributes));
        }
    }

    pub(super) fn listing(&self, ino: u64) -> Option<Arc<Vec<Listed>>> {
        let (until, listing) = self.nodes.get(&ino)?.listing.as_ref()?;
        (Instant::now() < *until).then(|| Arc::clone(listing))
    }

    pub(super) fn set_listing(&mut self, ino: u64, listing: &Arc<Vec<Listed>>) {
        let until = Instant::now() + between(self.options.listing);
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.listing = Some((until, Arc::clone(listing)));
        }
    }

    /// Notes that this node removes a name of a file.
    pub(super) fn removes(&mut self, stat: &Stat) {
        let ino = self.number(stat);
        if let Some(node) = self.nodes.get_mut(&ino)
            && node.key == key(stat)
        {
            node.removed_here = true;
            node.attributes = None;
        }
    }

    /// True if a file with so many names is stale on this node: at once where it is opened or looked at by name, after a while
    /// where it is open.
    pub(super) fn is_stale(&mut self, ino: u64, links: u64, open: bool) -> bool {
        let Some(node) = self.nodes.get_mut(&ino) else {
            return true;
        };
        if links > 0 || node.removed_here {
            return false;
        }
        let gone = *node.gone.get_or_insert_with(Instant::now);
        if open {
            return gone.elapsed() >= seconds(self.options.stale);
        }
        // So its names are looked up anew.
        node.attributes = None;
        true
    }
}
