//! The user's files against a model: any row of changes has the effect, or is refused, as in a plain directory.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::tree::ops::NodeKind;

/// A path below `pickles/hst`; the model's root is that directory.
type Path = Vec<&'static str>;

#[derive(Debug, Clone)]
enum Step {
    Create(Path, u8),
    Append(Path, u8),
    Mkdir(Path),
    Rename(Path, Path),
    Unlink(Path),
    Rmdir(Path),
    Link(Path, Path),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    Directory,
    /// A file, by its place in the model's contents: two names may share it.
    File(usize),
}

#[derive(Debug, Default)]
struct Model {
    things: BTreeMap<Path, Thing>,
    contents: Vec<Vec<u8>>,
}

impl Model {
    fn parent_is_there(&self, path: &Path) -> bool {
        let parent = &path[..path.len() - 1];
        parent.is_empty() || self.things.get(parent) == Some(&Thing::Directory)
    }

    fn is_empty(&self, path: &Path) -> bool {
        !self
            .things
            .keys()
            .any(|other| other.len() > path.len() && other.starts_with(path))
    }

    /// Does a step and tells whether it is allowed.
    fn apply(&mut self, step: &Step) -> bool {
        match step {
            Step::Create(path, byte) => {
                if !self.parent_is_there(path) || self.things.contains_key(path) {
                    return false;
                }
                self.contents.push(vec![*byte]);
                self.things
                    .insert(path.clone(), Thing::File(self.contents.len() - 1));
            }
            Step::Append(path, byte) => match self.things.get(path) {
                Some(Thing::File(index)) => self.contents[*index].push(*byte),
                _ => return false,
            },
            Step::Mkdir(path) => {
                if !self.parent_is_there(path) || self.things.contains_key(path) {
                    return false;
                }
                self.things.insert(path.clone(), Thing::Directory);
            }
            Step::Unlink(path) => {
                if !matches!(self.things.get(path), Some(Thing::File(_))) {
                    return false;
                }
                self.things.remove(path);
            }
            Step::Rmdir(path) => {
                if self.things.get(path) != Some(&Thing::Directory) || !self.is_empty(path) {
                    return false;
                }
                self.things.remove(path);
            }
            Step::Link(from, to) => match self.things.get(from).cloned() {
                Some(thing @ Thing::File(_)) if self.parent_is_there(to) && !self.things.contains_key(to) => {
                    self.things.insert(to.clone(), thing);
                }
                _ => return false,
            },
            Step::Rename(from, to) => return self.rename(from, to),
        }
        true
    }

    fn rename(&mut self, from: &Path, to: &Path) -> bool {
        let Some(thing) = self.things.get(from).cloned() else {
            return false;
        };
        if !self.parent_is_there(to) || (to.len() > from.len() && to.starts_with(from)) {
            return false;
        }
        match (&thing, self.things.get(to)) {
            (Thing::File(one), Some(Thing::File(other))) if one == other => return true,
            (Thing::File(_), Some(Thing::Directory)) | (Thing::Directory, Some(Thing::File(_))) => {
                return false;
            }
            (Thing::Directory, Some(Thing::Directory)) if from == to => return true,
            (Thing::Directory, Some(Thing::Directory)) if !self.is_empty(to) => return false,
            _ => {}
        }
        let moved: Vec<Path> = self
            .things
            .keys()
            .filter(|path| path.starts_with(from))
            .cloned()
            .collect();
        for path in moved {
            if let Some(thing) = self.things.remove(&path) {
                let target = to.iter().chain(&path[from.len()..]).copied().collect();
                self.things.insert(target, thing);
            }
        }
        true
    }
}

fn full(path: &Path) -> String {
    format!("pickles/hst/{}", path.join("/"))
}

async fn perform(fixture: &Fixture, step: &Step) -> Result<(), Error> {
    match step {
        Step::Create(path, byte) => fixture.create(&full(path), O_EXCL, &[*byte]).await.map(drop),
        Step::Append(path, byte) => {
            let opened = fixture.open(&full(path), O_WRONLY | O_APPEND).await?;
            fixture.tree.write(opened.handle, 0, &[*byte]).wait().await?;
            fixture.tree.release(opened.handle);
            Ok(())
        }
        Step::Mkdir(path) => fixture.mkdir(&full(path)).await.map(drop),
        Step::Rename(from, to) => fixture.rename(&full(from), &full(to)).await,
        Step::Unlink(path) => fixture.unlink(&full(path)).await,
        Step::Rmdir(path) => fixture.rmdir(&full(path)).await,
        Step::Link(from, to) => {
            let ino = fixture.stat(&full(from)).await?.ino;
            let (parent, name) = to.split_at(to.len() - 1);
            let parent = fixture.stat(&full(&parent.to_vec())).await?.ino;
            fixture
                .tree
                .link(CALLER, ino, parent, OsStr::new(name[0]))
                .wait()
                .await
                .map(drop)
        }
    }
}

/// The tree has what the model has, and nothing else.
async fn compare(fixture: &Fixture, model: &Model) {
    let mut directories: Vec<Path> = vec![Vec::new()];
    directories.extend(
        model
            .things
            .iter()
            .filter(|(_, thing)| **thing == Thing::Directory)
            .map(|(path, _)| path.clone()),
    );
    for directory in directories {
        let expected: Vec<&str> = model
            .things
            .keys()
            .filter(|path| path.len() == directory.len() + 1 && path.starts_with(&directory))
            .map(|path| path[directory.len()])
            .collect();
        assert_eq!(fixture.list(&full(&directory)).await.unwrap(), expected);
    }
    let mut numbers = BTreeMap::new();
    for (path, thing) in &model.things {
        let attr = fixture.stat(&full(path)).await.unwrap();
        match thing {
            Thing::Directory => assert_eq!(attr.kind, NodeKind::Directory),
            Thing::File(index) => {
                assert_eq!(fixture.read(&full(path)).await.unwrap(), model.contents[*index]);
                assert_eq!(
                    *numbers.entry(*index).or_insert(attr.ino),
                    attr.ino,
                    "one file, one number"
                );
                let names = model.things.values().filter(|other| *other == thing).count();
                assert_eq!(attr.nlink as usize, names);
            }
        }
    }
}

fn path() -> impl Strategy<Value = Path> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (path(), any::<u8>()).prop_map(|(path, byte)| Step::Create(path, byte)),
        2 => (path(), any::<u8>()).prop_map(|(path, byte)| Step::Append(path, byte)),
        3 => path().prop_map(Step::Mkdir),
        4 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => path().prop_map(Step::Unlink),
        1 => path().prop_map(Step::Rmdir),
        1 => (path(), path()).prop_map(|(from, to)| Step::Link(from, to)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn the_users_files_behave_as_in_a_plain_directory(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = fixture();
            let mut model = Model::default();
            for step in &steps {
                let allowed = model.apply(step);
                let done = perform(&fixture, step).await;
                assert_eq!(done.is_ok(), allowed, "{step:?}: {done:?}");
            }
            compare(&fixture, &model).await;
        });
    }
}
