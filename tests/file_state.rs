//! The state of a file of the store, in every interleaving: transfers, publication behind the openers, eviction, removal and
//! overrides of one file at the same time, each as a thread whose steps shuttle puts in any order.
//!
//! The file with the states and guards is the store's own; the disk is a model of what renames and unlinks do.

#![allow(clippy::unwrap_used, reason = "a test that cannot lock has failed")]

use std::collections::VecDeque;

use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

#[path = "../src/store/disk/file_state.rs"]
mod file_state;

mod sync {
    pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub(super) use std::sync::PoisonError;
}

use file_state::{Event, Guard, Guards, State};

const FILE: u8 = 1;
const ITERATIONS: usize = 3_000;

/// An inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inode {
    number: u32,
    /// True for a file that the user made.
    own: bool,
}

/// The names and files on the disk.
#[derive(Default)]
struct Directory {
    partial: Option<Inode>,
    name: Option<Inode>,
    aside: Option<Inode>,
    /// The inodes whose bytes are durable.
    durable: Vec<u32>,
    /// The inodes that openers were given as the catalogued file: nobody may write to them any more.
    given: Vec<u32>,
    numbers: u32,
    /// The user's file, as long as he has not removed it.
    expected: Option<Inode>,
}

impl Directory {
    fn inode(&mut self, own: bool) -> Inode {
        self.numbers += 1;
        Inode {
            number: self.numbers,
            own,
        }
    }
}

/// The file's entry in the index.
#[derive(Default)]
struct Known {
    entry: Option<(State, Inode)>,
    running: Option<Inode>,
    readers: usize,
}

impl Known {
    fn state(&self) -> State {
        match (self.entry, self.running) {
            (Some((state, _)), _) => state,
            (None, Some(_)) => State::Arriving,
            (None, None) => State::Absent,
        }
    }

    /// As the index does it: an entry stays only in states in which something has the name, or is about to get it.
    fn enter(&mut self, guard: &Guard<'_, u8>, event: Event, inode: Option<Inode>) -> bool {
        assert_eq!(*guard.key(), FILE);
        let Ok(state) = self.state().on(event) else {
            return false;
        };
        match state {
            State::Absent | State::Arriving => self.entry = None,
            _ => {
                self.entry = inode
                    .or(self.entry.map(|(_, inode)| inode))
                    .map(|inode| (state, inode));
            }
        }
        true
    }
}

#[derive(Default)]
struct Store {
    guards: Guards<u8>,
    known: Mutex<Known>,
    disk: Mutex<Directory>,
    pending: Mutex<VecDeque<Inode>>,
}

impl Store {
    fn transfer(&self) {
        let partial = {
            let guard = self.guards.of(&FILE);
            if !self.known.lock().unwrap().enter(&guard, Event::Begin, None) {
                return;
            }
            let inode = {
                let mut disk = self.disk.lock().unwrap();
                let inode = disk.partial.unwrap_or_else(|| disk.inode(false));
                disk.partial = Some(inode);
                assert!(
                    !disk.given.contains(&inode.number),
                    "written to under its readers"
                );
                inode
            };
            self.known.lock().unwrap().running = Some(inode);
            inode
        };
        // Its bytes come.
        thread::yield_now();
        let guard = self.guards.of(&FILE);
        let published = {
            let mut known = self.known.lock().unwrap();
            let published = known.enter(&guard, Event::Publish, Some(partial));
            known.running = None;
            published
        };
        if published {
            let mut disk = self.disk.lock().unwrap();
            assert_eq!(
                disk.partial,
                Some(partial),
                "what was verified is what is published"
            );
            disk.given.push(partial.number);
            drop(disk);
            self.pending.lock().unwrap().push_back(partial);
        } else if self.known.lock().unwrap().enter(&guard, Event::Abandon, None) {
            self.disk.lock().unwrap().partial = None;
        }
    }

    /// Makes the next file durable and gives it its name, as the publisher does. Nothing if none is pending.
    fn publish(&self) {
        let Some(inode) = self.pending.lock().unwrap().pop_front() else {
            return;
        };
        self.disk.lock().unwrap().durable.push(inode.number);
        let guard = self.guards.of(&FILE);
        if self.known.lock().unwrap().entry != Some((State::Verified, inode)) {
            return;
        }
        let named = {
            let mut disk = self.disk.lock().unwrap();
            assert_eq!(disk.partial, Some(inode));
            if disk.name.is_none() {
                disk.name = disk.partial.take();
            }
            disk.name == Some(inode)
        };
        let event = if named { Event::Name } else { Event::Drop };
        assert!(self.known.lock().unwrap().enter(&guard, event, Some(inode)));
        if !named {
            self.disk.lock().unwrap().partial = None;
        }
    }

    fn evict(&self) {
        let guard = self.guards.of(&FILE);
        let inode = {
            let mut known = self.known.lock().unwrap();
            let Some((_, inode)) = known.entry else { return };
            if known.readers > 0 || !known.enter(&guard, Event::Evict, None) {
                return;
            }
            inode
        };
        self.discard(&guard, inode);
    }

    /// Takes a copy away by way of a private name; what is something else gets its name back.
    fn discard(&self, guard: &Guard<'_, u8>, inode: Inode) {
        {
            let mut disk = self.disk.lock().unwrap();
            disk.aside = disk.name.take();
        }
        let right = self.disk.lock().unwrap().aside.is_none_or(|found| found == inode);
        let mut disk = self.disk.lock().unwrap();
        if right {
            disk.aside = None;
            return;
        }
        assert!(disk.name.is_none());
        disk.name = disk.aside.take();
        drop(disk);
        assert!(self.known.lock().unwrap().enter(guard, Event::Find, Some(inode)));
    }

    fn remove_copy(&self) {
        let guard = self.guards.of(&FILE);
        let entry = self.known.lock().unwrap().entry;
        match entry {
            None | Some((State::Override, _)) => {}
            Some((State::Verified, _)) => {
                assert!(self.known.lock().unwrap().enter(&guard, Event::Drop, None));
                self.disk.lock().unwrap().partial = None;
            }
            Some((_, inode)) => {
                assert!(self.known.lock().unwrap().enter(&guard, Event::Drop, None));
                self.discard(&guard, inode);
            }
        }
    }

    fn override_it(&self) {
        let guard = self.guards.of(&FILE);
        let inode = {
            let mut disk = self.disk.lock().unwrap();
            let inode = disk.inode(true);
            disk.name = Some(inode);
            disk.expected = Some(inode);
            inode
        };
        let before = {
            let mut known = self.known.lock().unwrap();
            let before = known.state();
            assert!(known.enter(&guard, Event::Override, Some(inode)));
            before
        };
        if before == State::Verified {
            self.disk.lock().unwrap().partial = None;
        }
    }

    /// The user removes what has the name, if it is his.
    fn remove_own(&self) {
        let guard = self.guards.of(&FILE);
        if self.known.lock().unwrap().state() != State::Override {
            return;
        }
        let mut disk = self.disk.lock().unwrap();
        disk.name = None;
        disk.expected = None;
        drop(disk);
        assert!(self.known.lock().unwrap().enter(&guard, Event::Drop, None));
    }

    /// Reads, and holds the file open for a while.
    fn read(&self) {
        {
            let _guard = self.guards.of(&FILE);
            let mut known = self.known.lock().unwrap();
            let Some((state @ (State::Verified | State::Held), inode)) = known.entry else {
                return;
            };
            known.readers += 1;
            drop(known);
            let mut disk = self.disk.lock().unwrap();
            let place = if state == State::Held {
                disk.name
            } else {
                disk.partial
            };
            assert_eq!(place, Some(inode), "{state:?}");
            disk.given.push(inode.number);
        }
        thread::yield_now();
        self.known.lock().unwrap().readers -= 1;
    }

    /// Checks index and disk after all threads have ended.
    fn check(&self) {
        let (known, disk) = (self.known.lock().unwrap(), self.disk.lock().unwrap());
        assert_eq!(disk.aside, None);
        match disk.name {
            Some(inode) if inode.own => assert_eq!(known.entry, Some((State::Override, inode))),
            Some(inode) => {
                assert!(
                    disk.durable.contains(&inode.number),
                    "it has its name before its bytes"
                );
                assert_eq!(known.entry, Some((State::Held, inode)));
            }
            None => assert_eq!(known.entry, None),
        }
        if let Some(own) = disk.expected {
            assert_eq!(disk.name, Some(own), "the user's file is lost");
        }
    }
}

fn interleave() {
    let store = Arc::new(Store::default());
    let actors: [fn(&Store); 6] = [
        |store| {
            store.transfer();
            store.transfer();
        },
        |store| {
            for _ in 0..3 {
                store.publish();
                thread::yield_now();
            }
        },
        |store| {
            store.evict();
            store.evict();
        },
        |store| {
            store.override_it();
            store.remove_own();
            store.override_it();
        },
        Store::remove_copy,
        |store| {
            store.read();
            store.read();
        },
    ];
    let threads: Vec<_> = actors
        .into_iter()
        .map(|actor| {
            let store = Arc::clone(&store);
            thread::spawn(move || actor(&store))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    while !store.pending.lock().unwrap().is_empty() {
        store.publish();
    }
    store.check();
}

#[test]
fn nothing_is_lost_in_random_interleavings() {
    shuttle::check_random(interleave, ITERATIONS);
}

#[test]
fn nothing_is_lost_in_interleavings_with_few_switches() {
    shuttle::check_pct(interleave, ITERATIONS, 4);
}
