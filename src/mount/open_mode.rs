//! The mode in which each inode is open: the kernel wants all handles of an inode served the same way, and answers EIO
//! to a mixture.
//!
//! The mode is chosen when the first handle opens and kept until the last one is released; the tree sees to it that all
//! handles in between come with the same file (see [`Backing::Stored`]):
//!
//! ```text
//!            open: chosen from the backing            open / release
//!   closed ──────────────────────────────▶ one Mode ─────────────────┐
//!     ▲                                      │  ▲                    │
//!     └──────── release of the last ─────────┘  └────────────────────┘
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::tree::ops::{Backing, Ino, Opened};

/// The size, in bytes, from which on passthrough is used; for smaller files the page cache, kept over opens, is faster.
pub(super) const PASSTHROUGH_FROM: u64 = 64 * 1024;

/// The mode in which an inode is open. `B` is the kernel's registration of a backing file, of which there is one per
/// inode.
#[derive(Debug)]
pub(super) enum Mode<B> {
    /// The kernel reads the backing file itself.
    Passthrough(Arc<B>),
    /// Reads come here and are kept in the page cache.
    Cached,
    /// Every read comes here, and its length is whatever the answer is.
    Direct,
}

// Derived, it would ask for `B: Clone`.
impl<B> Clone for Mode<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Passthrough(id) => Self::Passthrough(Arc::clone(id)),
            Self::Cached => Self::Cached,
            Self::Direct => Self::Direct,
        }
    }
}

#[derive(Debug)]
struct OpenInode<B> {
    mode: Mode<B>,
    handles: usize,
}

/// The modes of all open inodes.
#[derive(Debug)]
pub(super) struct OpenModes<B> {
    inodes: HashMap<Ino, OpenInode<B>>,
}

impl<B> OpenModes<B> {
    pub(super) fn new() -> Self {
        Self {
            inodes: HashMap::new(),
        }
    }

    /// Records a new handle of `ino`, and gives the mode that it must have. `register` makes the backing for a
    /// passthrough; when it gives none, the inode is cached instead.
    pub(super) fn open(
        &mut self,
        ino: Ino,
        opened: &Opened,
        register: impl FnOnce(&std::fs::File) -> Option<B>,
    ) -> Mode<B> {
        match self.inodes.entry(ino) {
            Entry::Occupied(mut open) => {
                let open = open.get_mut();
                open.handles += 1;
                open.mode.clone()
            }
            Entry::Vacant(closed) => {
                let mode = match &opened.backing {
                    Backing::Stored(file) if opened.size >= PASSTHROUGH_FROM => {
                        register(file).map_or(Mode::Cached, |id| Mode::Passthrough(Arc::new(id)))
                    }
                    Backing::Generated if !opened.keep_cache => Mode::Direct,
                    Backing::Stored(_) | Backing::Local | Backing::Generated => Mode::Cached,
                };
                closed.insert(OpenInode { mode, handles: 1 }).mode.clone()
            }
        }
    }

    /// Records the release of a handle of `ino`.
    pub(super) fn release(&mut self, ino: Ino) {
        if let Entry::Occupied(mut open) = self.inodes.entry(ino) {
            open.get_mut().handles -= 1;
            if open.get().handles == 0 {
                open.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(size: u64) -> Opened {
        let file = std::fs::File::open("/dev/null").unwrap();
        Opened {
            handle: 1,
            size,
            backing: Backing::Stored(Arc::new(file)),
            keep_cache: true,
        }
    }

    fn generated(keep_cache: bool) -> Opened {
        Opened {
            handle: 1,
            size: 5,
            backing: Backing::Generated,
            keep_cache,
        }
    }

    #[test]
    fn chosen_by_what_is_behind() {
        let mut opens = OpenModes::new();
        assert!(matches!(
            opens.open(2, &stored(PASSTHROUGH_FROM), |_| Some(())),
            Mode::Passthrough(_)
        ));
        assert!(matches!(
            opens.open(3, &stored(PASSTHROUGH_FROM - 1), |_| Some(())),
            Mode::Cached
        ));
        assert!(matches!(
            opens.open(4, &generated(true), |_| Some(())),
            Mode::Cached
        ));
        assert!(matches!(
            opens.open(5, &generated(false), |_| Some(())),
            Mode::Direct
        ));
        let local = Opened {
            backing: Backing::Local,
            ..stored(1 << 30)
        };
        assert!(matches!(opens.open(6, &local, |_| Some(())), Mode::Cached));
    }

    #[test]
    fn a_refused_registration_means_cached_until_closed() {
        let mut opens = OpenModes::new();
        assert!(matches!(opens.open(2, &stored(1 << 20), |_| None), Mode::Cached));
        assert!(matches!(
            opens.open(2, &stored(1 << 20), |_| Some(())),
            Mode::Cached
        ));
        opens.release(2);
        assert!(matches!(
            opens.open(2, &stored(1 << 20), |_| Some(())),
            Mode::Cached
        ));
        opens.release(2);
        opens.release(2);
        assert!(matches!(
            opens.open(2, &stored(1 << 20), |_| Some(())),
            Mode::Passthrough(_)
        ));
    }

    #[test]
    fn the_backing_lives_as_long_as_its_handles() {
        let mut opens = OpenModes::new();
        let Mode::Passthrough(first) = opens.open(2, &stored(1 << 20), |_| Some(7)) else {
            panic!()
        };
        let Mode::Passthrough(second) = opens.open(2, &stored(1 << 20), |_| Some(8)) else {
            panic!()
        };
        assert!(Arc::ptr_eq(&first, &second));
        let weak = Arc::downgrade(&first);
        drop((first, second));
        opens.release(2);
        assert!(weak.upgrade().is_some());
        opens.release(2);
        assert!(weak.upgrade().is_none());
        opens.release(2);
    }

    type Seen = (std::mem::Discriminant<Mode<usize>>, Option<usize>);

    proptest! {
        /// Whatever the order: between a first open and a last release every handle has the same mode and backing.
        #[test]
        fn never_a_mixture(steps in proptest::collection::vec((0_u64..3, any::<bool>(), any::<bool>(), any::<bool>()), 1..200)) {
            let mut opens = OpenModes::new();
            let mut live: HashMap<Ino, Vec<Seen>> = HashMap::new();
            for (number, (ino, open, large, can_register)) in steps.into_iter().enumerate() {
                let handles = live.entry(ino).or_default();
                if open {
                    let opened = stored(if large { 1 << 20 } else { 1 });
                    let mode = opens.open(ino, &opened, |_| can_register.then_some(number));
                    let id = match &mode { Mode::Passthrough(id) => Some(**id), _ => None };
                    handles.push((std::mem::discriminant(&mode), id));
                    prop_assert!(handles.iter().all(|handle| *handle == handles[0]));
                } else if handles.pop().is_some() {
                    opens.release(ino);
                }
                prop_assert_eq!(opens.inodes.get(&ino).map_or(0, |open| open.handles), live[&ino].len());
            }
        }
    }
}
