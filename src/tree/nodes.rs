//! Nodes of everything that is neither a fixed entry nor a catalogued file: local files, and the entries of
//! `/bestrefs`. A node is made when the kernel looks it up, and goes when the kernel forgets it.
//!
//! Numbers are hashes of keys, so that a name keeps its number over forgetting and remounting; in the (never yet seen)
//! case of two keys with one hash the second gets the next number that is free.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::crds::name::FileName;

use super::ino::NODED;
use super::inode::{LocalInode, LocalStat};
use super::ops::Ino;

/// The key of a node: the identity of the thing that it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A file, directory or link of the user's in the store, by its identity there.
    Local { dev: u64, ino: u64 },
    /// A symbolic context: a link in `/bestrefs`.
    Symbolic(Arc<str>),
    /// A context's directory in `/bestrefs`.
    Context(FileName),
    /// A dataset's directory, by the name as it was spelled: two spellings are two directories.
    Dataset { context: FileName, dataset: Arc<str> },
    /// An entry in a dataset's directory.
    Answer {
        context: FileName,
        dataset: Arc<str>,
        entry: Arc<str>,
    },
}

impl Key {
    /// Of one of the user's files.
    pub(super) fn of(stat: &LocalStat) -> Self {
        Self::Local {
            dev: stat.dev,
            ino: stat.ino,
        }
    }
}

#[derive(Debug)]
struct Node {
    key: Key,
    lookups: u64,
    /// The paths of a local node in the store, as far as known; none once it is unlinked.
    paths: Vec<Arc<Path>>,
    /// The number of times that it was renamed.
    moves: u64,
    /// A descriptor of its inode, kept since one of its names was removed: the only way to it after the last one.
    held: Option<Arc<LocalInode>>,
}

/// The node table.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_ino: HashMap<Ino, Node>,
    by_key: HashMap<Key, Ino>,
    /// The nodes under each path. What lies below a directory follows it in the order of paths. More than one node shares a
    /// path only while a name is being replaced.
    by_path: BTreeMap<Arc<Path>, Vec<Ino>>,
    /// The changes of names that are under way: the name that goes, and where it goes to.
    changing: BTreeMap<u64, (PathBuf, Option<PathBuf>)>,
    next_change: u64,
    /// The number of renames that have been done.
    renames: u64,
    /// The last of them, at most [`REMEMBERED`].
    renamed: VecDeque<Renamed>,
}

/// A rename that was done.
#[derive(Debug)]
struct Renamed {
    from: PathBuf,
    to: PathBuf,
    /// Whether the two paths were exchanged.
    is_exchange: bool,
}

/// The number of renames that are remembered, to follow names that were found before them and are referred to after
/// them.
const REMEMBERED: usize = 1024;

/// A path of the store at which something was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoundAt<'a> {
    pub(super) path: &'a Path,
    /// The value of [`Nodes::renames`] before it was looked for.
    pub(super) renames: u64,
}

/// The paths at which a local node may be: its names, and the paths that renames under way give it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// In the order to look in: a name before what it is renamed to.
    pub(super) paths: Vec<PathBuf>,
    moves: u64,
}

/// A change of names that is under way. Dropping it says that the change did not happen.
pub(super) struct Changing<'a> {
    nodes: &'a Nodes,
    number: u64,
}

impl Changing<'_> {
    /// Ends the change: the names in the store have changed.
    pub(super) fn done(self) {
        let mut state = self.nodes.state();
        // Its paths may have changed since it began, with a directory above them.
        match state.changing.remove(&self.number) {
            Some((from, Some(to))) => state.rename(&from, &to),
            Some((path, None)) => state.remove(&path),
            None => {}
        }
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.nodes.state().changing.remove(&self.number);
    }
}

impl State {
    fn number(&self, key: &Key) -> Ino {
        if let Some(ino) = self.by_key.get(key) {
            return *ino;
        }
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let mut ino = NODED | hasher.finish() >> 16;
        while self.by_ino.contains_key(&ino) {
            ino = NODED | (ino + 1) & (NODED - 1);
        }
        ino
    }

    fn add_path(&mut self, ino: Ino, path: &Path) {
        let Some(node) = self.by_ino.get_mut(&ino) else {
            return;
        };
        if node.paths.iter().any(|known| **known == *path) {
            return;
        }
        let path: Arc<Path> = path.into();
        node.paths.push(Arc::clone(&path));
        self.by_path.entry(path).or_default().push(ino);
    }

    /// Takes a name from a local node. After the last one its key is free, because the store's file system may give the
    /// identity to another file, unless the inode is held; the node stays until the kernel forgets it.
    fn drop_path(&mut self, ino: Ino, path: &Path) {
        self.unindex(ino, path);
        let Some(node) = self.by_ino.get_mut(&ino) else {
            return;
        };
        node.paths.retain(|known| **known != *path);
        if node.paths.is_empty() && node.held.is_none() {
            self.by_key.remove(&node.key);
        }
    }

    fn unindex(&mut self, ino: Ino, path: &Path) {
        if let Some(inos) = self.by_path.get_mut(path) {
            inos.retain(|known| *known != ino);
            if inos.is_empty() {
                self.by_path.remove(path);
            }
        }
    }

    /// The paths at and below `top`, each with its nodes.
    fn below(&self, top: &Path) -> Vec<(Arc<Path>, Vec<Ino>)> {
        self.by_path
            .range::<Path, _>((Bound::Included(top), Bound::Unbounded))
            .take_while(|(path, _)| path.starts_with(top))
            .map(|(path, inos)| (Arc::clone(path), inos.clone()))
            .collect()
    }

    fn remove(&mut self, path: &Path) {
        for ino in self.by_path.get(path).cloned().unwrap_or_default() {
            self.drop_path(ino, path);
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        if from == to {
            return;
        }
        // Nodes below the target are gone already, or were found there while this rename was under way.
        self.remove(to);
        let below = self.below(from);
        self.relocate(below, from, to);
        self.follow(|path| moved(path, from, to));
        self.remember(from, to, false);
    }

    fn remember(&mut self, from: &Path, to: &Path, is_exchange: bool) {
        self.renames += 1;
        if self.renamed.len() == REMEMBERED {
            self.renamed.pop_front();
        }
        self.renamed.push_back(Renamed {
            from: from.to_owned(),
            to: to.to_owned(),
            is_exchange,
        });
    }

    /// The present path of something that was found at a path, after the renames that were done meanwhile.
    fn now_at(&self, found: FoundAt<'_>) -> PathBuf {
        let since = usize::try_from(self.renames - found.renames.min(self.renames)).unwrap_or(usize::MAX);
        let first = self.renamed.len().saturating_sub(since);
        let mut path = found.path.to_owned();
        for Renamed {
            from,
            to,
            is_exchange,
        } in self.renamed.iter().skip(first)
        {
            let there = moved(&path, from, to);
            let back = || moved(&path, to, from).filter(|_| *is_exchange);
            if let Some(new) = there.or_else(back) {
                path = new;
            }
        }
        path
    }

    fn exchange(&mut self, one: &Path, other: &Path) {
        let (here, there) = (self.below(one), self.below(other));
        self.relocate(here, one, other);
        self.relocate(there, other, one);
        self.follow(|path| moved(path, one, other).or_else(|| moved(path, other, one)));
        self.remember(one, other, true);
    }

    /// Moves the nodes at these paths, all of them at or below `from`, to the same paths at or below `to`.
    fn relocate(&mut self, paths: Vec<(Arc<Path>, Vec<Ino>)>, from: &Path, to: &Path) {
        for (path, inos) in paths {
            let Some(new) = moved(&path, from, to) else {
                continue;
            };
            for ino in inos {
                self.unindex(ino, &path);
                if let Some(node) = self.by_ino.get_mut(&ino) {
                    node.paths.retain(|known| *known != path);
                    node.moves += 1;
                }
                self.add_path(ino, &new);
            }
        }
    }

    /// Replaces the paths of the changes under way by those that `moved` gives for them.
    fn follow(&mut self, moved: impl Fn(&Path) -> Option<PathBuf>) {
        for (gone, target) in self.changing.values_mut() {
            for path in std::iter::once(gone).chain(target) {
                if let Some(new) = moved(path) {
                    *path = new;
                }
            }
        }
    }

    fn names(&self, ino: Ino) -> Option<Names> {
        let node = self.by_ino.get(&ino)?;
        let mut paths: Vec<PathBuf> = node.paths.iter().map(|path| path.to_path_buf()).collect();
        let mut at = 0;
        while let Some(path) = paths.get(at).cloned() {
            at += 1;
            for (from, to) in self.changing.values() {
                let new = to.as_ref().and_then(|to| moved(&path, from, to));
                paths.extend(new.filter(|new| !paths.contains(new)));
            }
        }
        let moves = node.moves;
        Some(Names { paths, moves })
    }
}

/// The new path of `path` after `from`, which may be a directory above it, was renamed to `to`. `None` when `path` is
/// neither `from` nor below it.
fn moved(path: &Path, from: &Path, to: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix(from).ok()?;
    Some(if below == Path::new("") {
        to.to_owned()
    } else {
        to.join(below)
    })
}

impl Nodes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// A name of a local node in the store, as far as is known.
    pub(super) fn path(&self, ino: Ino) -> Option<PathBuf> {
        let state = self.state();
        let path = state.by_ino.get(&ino)?.paths.first()?;
        Some(path.to_path_buf())
    }

    /// The number that `key` has or would get; takes no reference.
    pub(super) fn number(&self, key: &Key) -> Ino {
        self.state().number(key)
    }

    /// The number of renames that have been done. To be read before the search for something that may be referred to.
    pub(super) fn renames(&self) -> u64 {
        self.state().renames
    }

    /// The node of `key`, made if need be, with one more reference of the kernel's. `found` is one of its names when it is
    /// local.
    pub(super) fn refer(&self, key: Key, found: Option<FoundAt<'_>>) -> Ino {
        let mut state = self.state();
        let path = found.map(|found| state.now_at(found));
        let ino = state.number(&key);
        let node = state.by_ino.entry(ino).or_insert_with(|| Node {
            key: key.clone(),
            lookups: 0,
            paths: Vec::new(),
            moves: 0,
            held: None,
        });
        node.lookups += 1;
        if let Some(path) = path {
            state.add_path(ino, &path);
        }
        state.by_key.insert(key, ino);
        ino
    }

    /// Takes back `count` of the kernel's references to a node, which goes with the last one. What was held of it is for the
    /// caller to close, which may take long.
    #[must_use]
    pub(super) fn forget(&self, ino: Ino, count: u64) -> Option<Arc<LocalInode>> {
        let mut state = self.state();
        let node = state.by_ino.get_mut(&ino)?;
        node.lookups = node.lookups.saturating_sub(count);
        if node.lookups > 0 {
            return None;
        }
        let node = state.by_ino.remove(&ino)?;
        for path in &node.paths {
            state.unindex(ino, path);
        }
        if state.by_key.get(&node.key) == Some(&ino) {
            state.by_key.remove(&node.key);
        }
        node.held
    }

    /// The key of a node; `None` when there is no node of this number.
    pub(super) fn key(&self, ino: Ino) -> Option<Key> {
        Some(self.state().by_ino.get(&ino)?.key.clone())
    }

    /// The paths at which a local node may be; `None` when there is no node of this number.
    pub(super) fn names(&self, ino: Ino) -> Option<Names> {
        self.state().names(ino)
    }

    /// Takes all names from a node that was found under none of the names `tried`. False, and nothing is changed, when
    /// it has got other names meanwhile: then those are to be tried.
    pub(super) fn lost(&self, ino: Ino, tried: &Names) -> bool {
        let mut state = self.state();
        match state.names(ino) {
            Some(names) if names != *tried => return false,
            Some(_) => {}
            None => return true,
        }
        let paths = state.by_ino.get(&ino).map(|node| node.paths.clone());
        for path in paths.into_iter().flatten() {
            state.drop_path(ino, &path);
        }
        true
    }

    /// Whether the kernel refers to something at a path of the store.
    pub(super) fn is_known(&self, path: &Path) -> bool {
        self.state().by_path.contains_key(path)
    }

    /// Keeps a descriptor of an inode that is about to lose a name, if the kernel refers to it.
    pub(super) fn hold(&self, key: &Key, inode: LocalInode) {
        let mut state = self.state();
        if let Some(ino) = state.by_key.get(key).copied()
            && let Some(node) = state.by_ino.get_mut(&ino)
        {
            node.held.get_or_insert_with(|| Arc::new(inode));
        }
    }

    /// The descriptor that [`Self::hold`] kept of a node's inode.
    pub(super) fn held(&self, ino: Ino) -> Option<Arc<LocalInode>> {
        self.state().by_ino.get(&ino)?.held.clone()
    }

    /// Begins the removal of the name `path`.
    pub(super) fn removing(&self, path: &Path) -> Changing<'_> {
        self.changing(path.to_owned(), None)
    }

    /// Begins the rename of `from`, and of all that is below it, to `to`. Until it is done, a node may be under either
    /// name.
    pub(super) fn renaming(&self, from: &Path, to: &Path) -> Changing<'_> {
        self.changing(from.to_owned(), Some(to.to_owned()))
    }

    /// Ends two renames, `there` and `back`, that were done at once by exchanging the names.
    pub(super) fn exchanged(&self, there: &Changing<'_>, back: &Changing<'_>) {
        let mut state = self.state();
        let (there, back) = (there.number, back.number);
        if let (Some((one, _)), Some((other, _))) =
            (state.changing.remove(&there), state.changing.remove(&back))
        {
            state.exchange(&one, &other);
        }
    }

    fn changing(&self, from: PathBuf, to: Option<PathBuf>) -> Changing<'_> {
        let mut state = self.state();
        let number = state.next_change;
        state.next_change += 1;
        state.changing.insert(number, (from, to));
        Changing { nodes: self, number }
    }

    /// The number of nodes.
    pub(super) fn len(&self) -> usize {
        self.state().by_ino.len()
    }
}

#[cfg(test)]
mod tests;
