use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn local(ino: u64) -> Key {
    Key::Local { dev: 1, ino }
}

/// Found before any rename.
fn at(path: &'static str) -> FoundAt<'static> {
    let (path, renames) = (Path::new(path), 0);
    FoundAt { path, renames }
}

fn paths(nodes: &Nodes, ino: Ino) -> Vec<PathBuf> {
    nodes.names(ino).map(|names| names.paths).unwrap_or_default()
}

#[test]
fn a_node_lives_as_long_as_the_kernel_refers_to_it() {
    let nodes = Nodes::default();
    let ino = nodes.refer(local(7), Some(at("a")));
    assert_eq!(nodes.refer(local(7), Some(at("a"))), ino);
    assert!(nodes.forget(ino, 1).is_none());
    assert_eq!(nodes.key(ino), Some(local(7)));
    assert!(nodes.forget(ino, 1).is_none());
    assert_eq!(nodes.key(ino), None);
    assert_eq!(nodes.len(), 0);
    assert!(nodes.state().by_path.is_empty());
    assert_eq!(
        nodes.refer(local(7), None),
        ino,
        "the same key has the same number again"
    );
}

#[test]
fn two_names_of_one_file_share_the_node_until_both_are_gone() {
    let nodes = Nodes::default();
    let ino = nodes.refer(local(7), Some(at("a")));
    assert_eq!(nodes.refer(local(7), Some(at("b"))), ino);
    nodes.removing(Path::new("a")).done();
    assert_eq!(paths(&nodes, ino), [PathBuf::from("b")]);
    nodes.removing(Path::new("b")).done();
    assert!(paths(&nodes, ino).is_empty());
    let reused = nodes.refer(local(7), Some(at("c")));
    assert_ne!(reused, ino, "the identity belongs to another file now");
    assert!(nodes.forget(ino, 2).is_none());
    assert_eq!(nodes.key(reused), Some(local(7)));
}

#[test]
fn what_was_held_is_left_to_the_caller_to_close() {
    let nodes = Nodes::default();
    let ino = nodes.refer(local(7), Some(at("a")));
    let inode = || LocalInode::new(std::fs::File::open("/").unwrap().into());
    nodes.hold(&local(7), inode());
    nodes.removing(Path::new("a")).done();
    assert!(nodes.held(ino).is_some());
    assert!(nodes.forget(ino, 1).is_some());
    nodes.hold(&local(7), inode());
    assert!(nodes.forget(ino, 1).is_none(), "it is gone");
}

#[test]
fn renaming_a_directory_moves_everything_below_it() {
    let nodes = Nodes::default();
    let directory = nodes.refer(local(1), Some(at("a/d")));
    let below = nodes.refer(local(2), Some(at("a/d/e/f")));
    let beside = nodes.refer(local(3), Some(at("a/dd")));
    let replaced = nodes.refer(local(4), Some(at("b/n")));
    nodes.renaming(Path::new("a/d"), Path::new("b/n")).done();
    assert_eq!(paths(&nodes, directory), [PathBuf::from("b/n")]);
    assert_eq!(paths(&nodes, below), [PathBuf::from("b/n/e/f")]);
    assert_eq!(paths(&nodes, beside), [PathBuf::from("a/dd")]);
    assert!(paths(&nodes, replaced).is_empty());
}

#[test]
fn exchanging_moves_everything_below_both() {
    let nodes = Nodes::default();
    let one = nodes.refer(local(1), Some(at("a/d")));
    let below = nodes.refer(local(2), Some(at("a/d/e")));
    let other = nodes.refer(local(3), Some(at("f")));
    let (a, f) = (Path::new("a/d"), Path::new("f"));
    let (there, back) = (nodes.renaming(a, f), nodes.renaming(f, a));
    assert_eq!(paths(&nodes, one), [PathBuf::from("a/d"), PathBuf::from("f")]);
    nodes.exchanged(&there, &back);
    assert_eq!(paths(&nodes, one), [PathBuf::from("f")]);
    assert_eq!(paths(&nodes, below), [PathBuf::from("f/e")]);
    assert_eq!(paths(&nodes, other), [PathBuf::from("a/d")]);
}

#[test]
fn what_is_being_renamed_is_looked_for_under_both_names() {
    let nodes = Nodes::default();
    let file = nodes.refer(local(1), Some(at("a/f")));
    let names = |wanted: &[&str]| {
        let wanted: Vec<_> = wanted.iter().map(PathBuf::from).collect();
        assert_eq!(paths(&nodes, file), wanted);
    };
    let file_moves = nodes.renaming(Path::new("a/f"), Path::new("a/g"));
    names(&["a/f", "a/g"]);
    let directory_moves = nodes.renaming(Path::new("a"), Path::new("b"));
    names(&["a/f", "a/g", "b/f", "b/g"]);
    let tried = nodes.names(file).unwrap();
    directory_moves.done();
    assert!(!nodes.lost(file, &tried), "it has other names now");
    names(&["b/f", "b/g"]);
    file_moves.done();
    names(&["b/g"]);
    drop(nodes.renaming(Path::new("b/g"), Path::new("b/h")));
    names(&["b/g"]);
    let tried = nodes.names(file).unwrap();
    assert!(nodes.lost(file, &tried));
    names(&[]);
}

/// A change of a table.
#[derive(Debug, Clone)]
enum Step {
    Refer(u64, PathBuf),
    Forget(u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

fn path() -> impl Strategy<Value = PathBuf> {
    prop::collection::vec(prop::sample::select(vec!["a", "ab", "b", "a.b"]), 1..4)
        .prop_map(|parts| parts.iter().collect())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..8_u64, path()).prop_map(|(file, path)| Step::Refer(file, path)),
        1 => (0..8_u64).prop_map(Step::Forget),
        1 => path().prop_map(Step::Remove),
        2 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
    ]
}

/// The names of each file, looked through one by one.
#[derive(Debug, Default)]
struct Model {
    names: BTreeMap<u64, BTreeSet<PathBuf>>,
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Refer(file, path) => _ = self.names.entry(*file).or_default().insert(path.clone()),
            Step::Forget(file) => _ = self.names.remove(file),
            Step::Remove(path) => self.names.values_mut().for_each(|names| _ = names.remove(path)),
            Step::Rename(from, to) if from != to => {
                for names in self.names.values_mut() {
                    *names = names
                        .iter()
                        .filter(|name| *name != to)
                        .map(|name| match name.strip_prefix(from) {
                            Ok(rest) => to.components().chain(rest.components()).collect(),
                            Err(_) => name.clone(),
                        })
                        .collect();
                }
            }
            Step::Rename(..) => {}
        }
        // Without a name its identity is free, and the number is another file's.
        self.names.retain(|_, names| !names.is_empty());
    }
}

proptest! {
    #[test]
    fn the_index_of_paths_agrees_with_looking_through_all_nodes(steps in prop::collection::vec(step(), 0..60)) {
        let (nodes, mut model) = (Nodes::default(), Model::default());
        for step in steps {
            // A directory cannot be moved into itself.
            if matches!(&step, Step::Rename(from, to) if to.starts_with(from) || from.starts_with(to)) {
                continue;
            }
            match &step {
                Step::Refer(file, path) => _ = nodes.refer(local(*file), Some(FoundAt { path, renames: nodes.renames() })),
                Step::Forget(file) => {
                    let ino = nodes.state().by_key.get(&local(*file)).copied();
                    if let Some(ino) = ino {
                        assert!(nodes.forget(ino, u64::MAX).is_none());
                    }
                }
                Step::Remove(path) => nodes.removing(path).done(),
                Step::Rename(from, to) => nodes.renaming(from, to).done(),
            }
            model.apply(&step);
            for file in 0..8 {
                let ino = nodes.state().by_key.get(&local(file)).copied();
                let names: BTreeSet<_> = ino.map(|ino| paths(&nodes, ino)).into_iter().flatten().collect();
                prop_assert_eq!(&names, &model.names.get(&file).cloned().unwrap_or_default(), "file {} after {:?}", file, step);
            }
            let indexed: usize = nodes.state().by_path.values().map(Vec::len).sum();
            prop_assert_eq!(indexed, model.names.values().map(BTreeSet::len).sum::<usize>());
        }
    }
}

/// Looking through all nodes for each name, as many renames took minutes.
#[test]
fn twenty_thousand_names_are_renamed_and_removed_one_by_one() {
    let nodes = Nodes::default();
    let name = |file: u64, round: u64| PathBuf::from(format!("pickles/hst/{round}/{file}"));
    let inos: Vec<_> = (0..20_000)
        .map(|file| {
            nodes.refer(
                local(file),
                Some(FoundAt {
                    path: &name(file, 0),
                    renames: 0,
                }),
            )
        })
        .collect();
    for file in 0..20_000 {
        nodes.renaming(&name(file, 0), &name(file, 1)).done();
    }
    assert_eq!(paths(&nodes, inos[7]), [name(7, 1)]);
    nodes
        .renaming(Path::new("pickles/hst/1"), Path::new("pickles/hst/2"))
        .done();
    for file in 0..20_000 {
        nodes.removing(&name(file, 2)).done();
    }
    assert!(nodes.state().by_path.is_empty());
}

/// A name is found in a directory, and the kernel told of it, while others rename the directory.
#[test]
fn what_was_found_before_renames_is_referred_to_where_it_is_now() {
    let nodes = Nodes::default();
    let directory = nodes.refer(local(1), Some(at("d")));
    nodes.renaming(Path::new("d"), Path::new("e")).done();
    let before = nodes.renames();
    nodes.renaming(Path::new("e"), Path::new("x/f")).done();
    let below = nodes.refer(local(2), Some(at("d/sub")));
    assert_eq!(paths(&nodes, directory), [PathBuf::from("x/f")]);
    assert_eq!(paths(&nodes, below), [PathBuf::from("x/f/sub")]);
    let (path, renames) = (Path::new("e/other"), before);
    let other = nodes.refer(local(3), Some(FoundAt { path, renames }));
    assert_eq!(paths(&nodes, other), [PathBuf::from("x/f/other")]);
    // Found under the new name while the rename is under way.
    let renaming = nodes.renaming(Path::new("x/f"), Path::new("g"));
    let (path, renames) = (Path::new("g/late"), nodes.renames());
    let late = nodes.refer(local(4), Some(FoundAt { path, renames }));
    renaming.done();
    assert_eq!(paths(&nodes, late), [PathBuf::from("g/late")]);
    assert_eq!(paths(&nodes, below), [PathBuf::from("g/sub")]);
}
