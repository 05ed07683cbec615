//! Open files and directories, and the tables of them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::descriptors::Slot;
use super::hold_lines::Unended;
use super::ino::Fixed;
use super::inode::Access;
use super::nodes::Key;
use super::ops::{Attr, Handle, Ino, NodeKind};
use super::views::{Catalogued, View};

/// An open file.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) ino: Ino,
    pub(super) content: Content,
    /// Its length, if that does not change while it is open.
    pub(super) length: Option<u64>,
    /// Whether something was written since the last close of a descriptor.
    pub(super) written: AtomicBool,
    /// The catalogued file whose contents the client writes itself.
    pub(super) upload: Option<Catalogued>,
    /// The thread that opened it, in the numbers of /proc; 0 where that is not known.
    pub(super) opener: u32,
    /// The permit for its descriptor, if it has one.
    pub(super) _slot: Option<Slot>,
}

/// The source of an open file's bytes.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Stored(Arc<File>),
    Local {
        file: Arc<File>,
        access: Access,
    },
    Generated(Bytes),
    /// The list of holds, open for writing.
    Hold {
        text: Bytes,
        unended: Arc<Mutex<Unended>>,
    },
}

/// An open directory.
#[derive(Debug)]
pub(super) struct OpenDirectory {
    pub(super) ino: Ino,
    pub(super) listing: Mutex<Arc<Listing>>,
    /// Whether its listing was read; then reading from the start takes a new one.
    pub(super) was_read: AtomicBool,
}

impl OpenDirectory {
    pub(super) fn new(listing: Listing) -> Self {
        Self {
            ino: listing.ino,
            listing: Mutex::new(Arc::new(listing)),
            was_read: AtomicBool::new(false),
        }
    }

    pub(super) fn listing(&self) -> MutexGuard<'_, Arc<Listing>> {
        self.listing.lock()
    }
}

/// The names of a directory. Catalogued names are indexes in the catalog of a view, four bytes each.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) ino: Ino,
    pub(super) parent: Ino,
    pub(super) others: Vec<Other>,
    pub(super) catalogued: Option<(Arc<View>, Vec<u32>)>,
}

/// A name that is not a catalogued file's.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) name: OsString,
    pub(super) node: Node,
}

/// The inode that a name stands for.
#[derive(Debug)]
pub(super) enum Node {
    Fixed(Fixed),
    /// One of the user's files.
    Local {
        key: Key,
        kind: NodeKind,
    },
    /// Something of `/bestrefs`; with no key a catalogued file.
    Made {
        key: Option<Key>,
        attr: Attr,
    },
}

impl Other {
    pub(super) fn fixed(name: &str, fixed: Fixed) -> Self {
        Self {
            name: name.into(),
            node: Node::Fixed(fixed),
        }
    }
}

/// A table of open files or directories. Handles are never given out twice, so that a late request cannot hit another's
/// file.
#[derive(Debug)]
pub(super) struct Handles<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    next: Handle,
    open: HashMap<Handle, Arc<T>>,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                next: 1,
                open: HashMap::new(),
            }),
        }
    }
}

impl<T> Handles<T> {
    fn state(&self) -> parking_lot::MutexGuard<'_, State<T>> {
        self.state.lock()
    }

    pub(super) fn insert(&self, thing: T) -> Handle {
        let mut state = self.state();
        let handle = state.next;
        state.next += 1;
        state.open.insert(handle, Arc::new(thing));
        handle
    }

    pub(super) fn get(&self, handle: Handle) -> Option<Arc<T>> {
        self.state().open.get(&handle).cloned()
    }

    pub(super) fn remove(&self, handle: Handle) -> Option<Arc<T>> {
        self.state().open.remove(&handle)
    }

    /// The first open thing that `wanted` accepts.
    pub(super) fn find(&self, wanted: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        self.state().open.values().find(|thing| wanted(thing)).cloned()
    }

    /// Something of each open thing, where `part` gives it.
    pub(super) fn of_each<U>(&self, part: impl Fn(&T) -> Option<U>) -> Vec<U> {
        self.state()
            .open
            .values()
            .filter_map(|thing| part(thing))
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.state().open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_not_reused() {
        let handles = Handles::default();
        let first = handles.insert("a");
        assert_eq!(handles.remove(first).as_deref(), Some(&"a"));
        let second = handles.insert("b");
        assert_ne!(first, second);
        assert!(handles.get(first).is_none());
        assert_eq!(handles.find(|thing| *thing == "b").as_deref(), Some(&"b"));
        assert_eq!(handles.len(), 1);
    }
}
