//! Nodes of what is neither a fixed place nor a catalogued file: local files and the entries of `/bestrefs`. A node is
//! made when the kernel looks it up and goes when the kernel forgets it.
//!
//! Numbers are hashes of keys, so that a name keeps its number over forgetting and remounting; in the (never yet seen)
//! case of two keys with one hash the second gets the next number that is free.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::crds::name::FileName;

use super::ino::NODED;
use super::ops::Ino;

/// What a node stands for.
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

#[derive(Debug)]
struct Node {
    key: Key,
    lookups: u64,
    /// Where a local node is in the store, as far as known; empty once it is unlinked.
    paths: Vec<PathBuf>,
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

    /// A local node lost a name. Without any its key is free, because the store's file system may give the identity to
    /// another file; the node stays for those who have it open.
    fn drop_path(&mut self, ino: Ino, path: &Path) {
        let Some(node) = self.by_ino.get_mut(&ino) else {
            return;
        };
        node.paths.retain(|known| known != path);
        if node.paths.is_empty() {
            self.by_key.remove(&node.key);
        }
    }
}

impl Nodes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number that `key` has or would get; takes no reference.
    pub(super) fn number(&self, key: &Key) -> Ino {
        self.state().number(key)
    }

    /// The node of `key`, made if need be, with one more reference of the kernel's. `path` is one of its names when it is
    /// local.
    pub(super) fn refer(&self, key: Key, path: Option<&Path>) -> Ino {
        let mut state = self.state();
        let ino = state.number(&key);
        let node = state.by_ino.entry(ino).or_insert_with(|| Node {
            key: key.clone(),
            lookups: 0,
            paths: Vec::new(),
        });
        node.lookups += 1;
        if let Some(path) = path
            && !node.paths.iter().any(|known| known == path)
        {
            node.paths.push(path.to_owned());
        }
        state.by_key.insert(key, ino);
        ino
    }

    /// The kernel gives back `count` references.
    pub(super) fn forget(&self, ino: Ino, count: u64) {
        let mut state = self.state();
        let Some(node) = state.by_ino.get_mut(&ino) else {
            return;
        };
        node.lookups = node.lookups.saturating_sub(count);
        if node.lookups == 0
            && let Some(node) = state.by_ino.remove(&ino)
            && state.by_key.get(&node.key) == Some(&ino)
        {
            state.by_key.remove(&node.key);
        }
    }

    /// What the number stands for.
    pub(super) fn key(&self, ino: Ino) -> Option<Key> {
        Some(self.state().by_ino.get(&ino)?.key.clone())
    }

    /// The names of a local node.
    pub(super) fn paths(&self, ino: Ino) -> Vec<PathBuf> {
        self.state()
            .by_ino
            .get(&ino)
            .map(|node| node.paths.clone())
            .unwrap_or_default()
    }

    /// The name `path` is gone: what it stood for has one name less.
    pub(super) fn removed(&self, path: &Path) {
        let mut state = self.state();
        let holders: Vec<Ino> = state
            .by_ino
            .iter()
            .filter(|(_, node)| node.paths.iter().any(|known| known == path))
            .map(|(ino, _)| *ino)
            .collect();
        for ino in holders {
            state.drop_path(ino, path);
        }
    }

    /// The node `ino` is no longer called `path`.
    pub(super) fn lost(&self, ino: Ino, path: &Path) {
        self.state().drop_path(ino, path);
    }

    /// `from`, and all that is below it, is now called `to`.
    pub(super) fn renamed(&self, from: &Path, to: &Path) {
        self.removed(to);
        let mut state = self.state();
        for path in state.by_ino.values_mut().flat_map(|node| &mut node.paths) {
            if path == from {
                to.clone_into(path);
            } else if let Ok(below) = path.strip_prefix(from) {
                *path = to.join(below);
            }
        }
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.state().by_ino.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(ino: u64) -> Key {
        Key::Local { dev: 1, ino }
    }

    #[test]
    fn a_node_lives_as_long_as_the_kernel_refers_to_it() {
        let nodes = Nodes::default();
        let ino = nodes.refer(local(7), Some(Path::new("a")));
        assert_eq!(nodes.refer(local(7), Some(Path::new("a"))), ino);
        nodes.forget(ino, 1);
        assert_eq!(nodes.key(ino), Some(local(7)));
        nodes.forget(ino, 1);
        assert_eq!(nodes.key(ino), None);
        assert_eq!(nodes.len(), 0);
        assert_eq!(
            nodes.refer(local(7), None),
            ino,
            "the same key has the same number again"
        );
    }

    #[test]
    fn two_names_of_one_file_share_the_node_until_both_are_gone() {
        let nodes = Nodes::default();
        let ino = nodes.refer(local(7), Some(Path::new("a")));
        assert_eq!(nodes.refer(local(7), Some(Path::new("b"))), ino);
        nodes.removed(Path::new("a"));
        assert_eq!(nodes.paths(ino), [PathBuf::from("b")]);
        nodes.removed(Path::new("b"));
        assert!(nodes.paths(ino).is_empty());
        let reused = nodes.refer(local(7), Some(Path::new("c")));
        assert_ne!(reused, ino, "the identity belongs to another file now");
        nodes.forget(ino, 2);
        assert_eq!(nodes.key(reused), Some(local(7)));
    }

    #[test]
    fn renaming_a_directory_moves_everything_below_it() {
        let nodes = Nodes::default();
        let directory = nodes.refer(local(1), Some(Path::new("a/d")));
        let below = nodes.refer(local(2), Some(Path::new("a/d/e/f")));
        let beside = nodes.refer(local(3), Some(Path::new("a/dd")));
        let replaced = nodes.refer(local(4), Some(Path::new("b/n")));
        nodes.renamed(Path::new("a/d"), Path::new("b/n"));
        assert_eq!(nodes.paths(directory), [PathBuf::from("b/n")]);
        assert_eq!(nodes.paths(below), [PathBuf::from("b/n/e/f")]);
        assert_eq!(nodes.paths(beside), [PathBuf::from("a/dd")]);
        assert!(nodes.paths(replaced).is_empty());
    }
}
