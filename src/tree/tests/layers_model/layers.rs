//! The layers against the model, step by step.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use libc::{EEXIST, ENOENT, ENOSPC, EPERM};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tempfile::TempDir;

use super::steps::{CATALOGUED, FIRST, Fault, OWN, ROOM, Step, Steps, name, path, step, version};
use super::{BASE, Server, World};
use crate::crds::Observatory;
use crate::remote::memory::Failure;
use crate::remote::{RemoteError, RemoteErrorKind};
use crate::store::HoldingKind;
use crate::tree::Error;
use crate::tree::ops::{FileSystem, Opened};

mod checks;

/// The time that things in the background may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Model {
    /// The version of each name in the catalog.
    catalog: BTreeMap<&'static str, u32>,
    /// Versions that each name ever had.
    versions: BTreeMap<&'static str, u32>,
    /// The user's files.
    user: BTreeMap<&'static str, Vec<u8>>,
    /// The user's files whose names the catalog has taken: still there, or in quarantine.
    displaced: BTreeMap<&'static str, Vec<u8>>,
    /// The open files, and their contents.
    open: Vec<(&'static str, Opened, Vec<u8>)>,
    /// Requests that were made to fail, by file: so many opens may fail.
    faults: BTreeMap<&'static str, usize>,
    unreachable: bool,
    offline: bool,
    written: usize,
}

/// The layers and the model that they are compared with.
struct Bench {
    world: World,
    model: Model,
}

/// A directory in memory if there is any: syncing costs nothing there.
fn directory() -> Arc<TempDir> {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        TempDir::new()
    };
    Arc::new(made.unwrap())
}

impl Bench {
    async fn new() -> Self {
        let mut bench = Self {
            world: World::begin(directory(), Arc::new(Server::default()), ROOM, false),
            model: Model::default(),
        };
        for name in &CATALOGUED[..FIRST] {
            bench.change(name).await;
        }
        bench
    }

    /// Gives a name other contents in the catalog, and refreshes the catalog of the layers.
    async fn change(&mut self, name: &'static str) {
        let number = self.model.versions.entry(name).or_default();
        *number += 1;
        self.model.catalog.insert(name, *number);
        self.serve();
        if let Some(bytes) = self.model.user.get(name).cloned()
            && !self.is_local(name)
        {
            // A file that lies where the catalog has one is compared with it, and put aside.
            self.model.user.remove(name);
            self.model.displaced.insert(name, bytes);
        }
        self.refresh().await;
    }

    /// Whether the store knows a file as the user's own, which no catalog displaces.
    fn is_local(&self, name: &str) -> bool {
        let holding = self.world.store.holding(&World::key(name));
        holding.is_some_and(|holding| holding.kind == HoldingKind::Local)
    }

    /// Serves the files of the model's catalog.
    fn serve(&self) {
        let mut files = self.world.server.files.lock().unwrap();
        files.clear();
        for (name, number) in &self.model.catalog {
            let bytes = version(name, *number);
            self.world.origin.put(&format!("{BASE}{name}"), bytes.clone());
            files.insert((*name).to_owned(), bytes);
        }
    }

    async fn refresh(&self) {
        let catalogs = self.world.fetcher.catalogs();
        catalogs.load(Observatory::Hst).wait().await.unwrap();
        // The first may be the answer to a question from before, when the server was not reached.
        let _ = catalogs.refresh(Observatory::Hst).wait().await;
        catalogs.refresh(Observatory::Hst).wait().await.unwrap();
    }

    /// Opens a file. An open that waits lets the held requests go on.
    async fn open(&mut self, name: &'static str) -> Result<Opened, Error> {
        let begun = Instant::now();
        let opened = loop {
            let mut arriving = self.arriving();
            let opened = self.open_once(name).await;
            arriving.extend(self.arriving());
            let Err(error) = &opened else { break opened };
            if self.world.errno(error) != ENOSPC || !self.model.catalog.contains_key(name) {
                break opened;
            }
            // Others have what they waited for in their hands for a moment longer.
            let Err(difference) = self.compare_room(name, &arriving) else {
                return opened;
            };
            assert!(begun.elapsed() < PATIENCE, "{error}: {difference}");
            tokio::task::yield_now().await;
        };
        match &opened {
            Ok(opened) => {
                let bytes = self.world.read(opened).await;
                self.expect_bytes(name, &bytes);
            }
            Err(error) => self.expect_error(name, error),
        }
        opened
    }

    async fn open_once(&self, name: &str) -> Result<Opened, Error> {
        let path = path(name);
        let mut opening = Box::pin(self.world.open(&path, libc::O_RDONLY));
        if let Some(opened) = opening.as_mut().now_or_never() {
            opened
        } else {
            self.world.origin.release();
            opening.await
        }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Read(index) => {
                if let Ok(opened) = self.open(name(*index)).await {
                    self.world.tree.release(opened.handle);
                }
            }
            Step::Leave(index) => {
                let path = path(name(*index));
                if let Some(Ok(opened)) = self.world.open(&path, libc::O_RDONLY).now_or_never() {
                    self.world.tree.release(opened.handle);
                }
            }
            Step::Open(index) => {
                let name = name(*index);
                if let Ok(opened) = self.open(name).await {
                    let bytes = self.world.read(&opened).await;
                    self.model.open.push((name, opened, bytes));
                }
            }
            Step::Close(which) => self.close(*which).await,
            Step::Stat(index) => self.stat(name(*index)).await,
            Step::List => self.list().await,
            Step::Create(index, length) => self.create(name(*index), *length).await,
            Step::Append(index, length) => self.append(name(*index), *length).await,
            Step::Rename(from, to) => self.rename(name(*from), name(*to)).await,
            Step::Unlink(index) => self.unlink(name(*index)).await,
            Step::Change(index) if self.is_reached() => self.change(CATALOGUED[*index]).await,
            Step::Withdraw(index) if self.is_reached() => {
                self.model.catalog.remove(CATALOGUED[*index]);
                self.serve();
                self.refresh().await;
            }
            Step::Change(_) | Step::Withdraw(_) => {}
            Step::Fail(index, fault) => self.fail(CATALOGUED[*index], *fault),
            Step::Unreachable(unreachable) => {
                self.model.unreachable = *unreachable;
                *self.world.server.unreachable.lock().unwrap() = *unreachable;
            }
            Step::Hold => self.world.origin.hold(),
            Step::Restart { offline } => self.restart(*offline).await,
        }
    }
}

/// The actions of users.
impl Bench {
    fn is_reached(&self) -> bool {
        !self.model.unreachable && !self.model.offline
    }

    async fn close(&mut self, which: usize) {
        for (name, opened, bytes) in &self.model.open {
            assert!(
                self.world.read(opened).await == *bytes,
                "{name} has changed below who has it open"
            );
        }
        if !self.model.open.is_empty() {
            let which = which % self.model.open.len();
            let (_, opened, _) = self.model.open.swap_remove(which);
            self.world.tree.release(opened.handle);
        }
    }

    /// The length of the file that is visible under a name, by the model, if there is one.
    fn size(&self, name: &str) -> Option<usize> {
        let model = &self.model;
        let catalogued = || Some(version(name, *model.catalog.get(name)?).len());
        model.user.get(name).map(Vec::len).or_else(catalogued)
    }

    async fn stat(&mut self, name: &'static str) {
        // Others may come for which it goes.
        let was_left = self.left(name).is_some();
        let found = self.world.stat(&path(name)).await;
        match (found, self.size(name)) {
            (Ok(attr), Some(size)) => assert_eq!(attr.size, size as u64, "{name}"),
            (Ok(_), None) => assert!(
                was_left || self.left(name).is_some(),
                "{name} is nowhere, and there"
            ),
            (Err(error), None) if self.world.errno(&error) == ENOENT => {}
            (Err(error), _) => panic!("{name}: {error}"),
        }
    }

    async fn list(&self) {
        for area in ["mappings/hst", "references/hst"] {
            let all = || CATALOGUED.iter().chain(&OWN);
            let left: Vec<_> = all().filter(|name| self.left(name).is_some()).collect();
            let listed = self.world.list(area).await;
            for name in all().filter(|name| path(name).starts_with(area)) {
                let is_listed = listed.iter().any(|listed| listed == name);
                let may_be_listed = || left.contains(&name) || self.left(name).is_some();
                match self.size(name) {
                    Some(_) => assert!(is_listed, "{name} is not listed"),
                    None => assert!(!is_listed || may_be_listed(), "{name} is listed"),
                }
            }
        }
    }

    /// Bytes that no other file has.
    fn writing(&mut self, length: u16) -> Vec<u8> {
        self.model.written += 1;
        let text = format!("the user's {} ", self.model.written);
        text.bytes()
            .cycle()
            .take(text.len() + usize::from(length))
            .collect()
    }

    async fn create(&mut self, name: &'static str, length: u16) {
        let bytes = self.writing(length);
        let was_left = self.left(name).is_some();
        match self.world.create(&path(name), &bytes).await {
            Ok(()) => {
                assert_eq!(self.size(name), None, "{name} was there, and created");
                self.model.user.insert(name, bytes);
            }
            Err(error) => match self.world.errno(&error) {
                EEXIST => assert!(
                    self.size(name).is_some() || was_left,
                    "{name} is not there: {error}"
                ),
                // After the removal of a catalogued file no other one of its name may be made.
                EPERM => assert!(self.model.catalog.contains_key(name), "{name}: {error}"),
                _ => panic!("{name}: {error}"),
            },
        }
    }

    async fn append(&mut self, name: &'static str, length: u16) {
        if !self.model.user.contains_key(name) {
            return;
        }
        let bytes = self.writing(length);
        let opened = self
            .world
            .open(&path(name), libc::O_WRONLY | libc::O_APPEND)
            .await
            .unwrap();
        self.world.write(&opened, &bytes).await;
        self.model.user.get_mut(name).unwrap().extend(&bytes);
        for (open, _, contents) in &mut self.model.open {
            // Only what is open since this file has the name sees it; the others are told apart by what they begin with.
            if *open == name && self.model.user[name].starts_with(contents) {
                contents.clone_from(&self.model.user[name]);
            }
        }
    }

    async fn rename(&mut self, from: &'static str, to: &'static str) {
        if !self.model.user.contains_key(from) {
            if self.model.catalog.contains_key(from) && from != to {
                let renamed = self.world.rename(&path(from), &path(to)).await;
                assert!(renamed.is_err(), "{from} is catalogued, and moved");
            }
            return;
        }
        self.world.rename(&path(from), &path(to)).await.unwrap();
        let bytes = self.model.user.remove(from).unwrap();
        self.model.user.insert(to, bytes);
        for (open, ..) in &mut self.model.open {
            if *open == from {
                *open = to;
            }
        }
    }

    async fn unlink(&mut self, name: &'static str) {
        let was_left = self.left(name).is_some();
        match self.world.unlink(&path(name)).await {
            Ok(()) => assert!(self.size(name).is_some() || was_left, "{name} was not there"),
            Err(error) if self.world.errno(&error) == ENOENT => {
                assert_eq!(self.size(name), None, "{name}: {error}");
            }
            Err(error) => assert!(
                self.model.catalog.contains_key(name) && !self.model.user.contains_key(name),
                "{name}: {error}"
            ),
        }
        self.model.user.remove(name);
    }

    fn fail(&mut self, name: &'static str, fault: Fault) {
        let url = format!("{BASE}{name}");
        let failure = match fault {
            Fault::Refused => {
                let kind = RemoteErrorKind::Unreachable;
                Failure::Refuse(RemoteError::new(kind, url.as_str(), "connection refused"))
            }
            Fault::Cut(after) => Failure::CutAfter(after),
            Fault::Flipped(place) => Failure::Flip(place),
        };
        self.world.origin.fail(&url, failure);
        *self.model.faults.entry(name).or_default() += 1;
    }

    async fn restart(&mut self, offline: bool) {
        for (_, opened, _) in self.model.open.drain(..) {
            self.world.tree.release(opened.handle);
        }
        self.world.origin.release();
        // Something has to be there meanwhile.
        let other = World::begin(directory(), Arc::default(), ROOM, true);
        let (directory, server) = std::mem::replace(&mut self.world, other).end().await;
        *server.unreachable.lock().unwrap() = false;
        let begun = World::begin(directory, server, ROOM, offline);
        std::mem::replace(&mut self.world, begun).end().await;
        self.model.faults.clear();
        self.model.offline = offline;
        self.model.unreachable = false;
        self.serve();
        // The store looks through an observatory at the first use of it.
        let catalogs = self.world.fetcher.catalogs();
        catalogs.load(Observatory::Hst).wait().await.unwrap();
        if !offline {
            self.refresh().await;
        }
    }
}

/// The same rows at every run; with `PROPTEST_CASES`, others.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return config;
    }
    ProptestConfig {
        rng_seed: RngSeed::Fixed(20_261_129),
        ..config
    }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn the_layers_behave_as_the_model_says(steps in prop::collection::vec(step(), 1..160).prop_map(Steps)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut bench = Bench::new().await;
            for step in &steps.0 {
                bench.step(step).await;
                bench.check();
            }
            bench.step(&Step::Restart { offline: false }).await;
            bench.check();
            bench.world.end().await;
        });
    }
}
