//! Leases in every interleaving: several who want one file, some of whom die, over a model of a directory that all share.
//! Each step of each is put in any order by shuttle, and each has a clock of its own.
//!
//! What must hold whatever happens: the file under the final name is the first whole one, nobody is kept waiting for
//! longer than the time of silence after the last sign of life, and whoever lives has the file in the end.

#![allow(clippy::unwrap_used, reason = "a test that cannot lock has failed")]

use std::time::Duration;

use shuttle::rand::{Rng as _, thread_rng};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

#[allow(dead_code, reason = "the store's own file, of which this uses a part")]
#[path = "../src/store/leases.rs"]
mod leases;

use leases::{Creation, Known, LeaseFiles, Presence, Seeking, Sought, seek};

const ITERATIONS: usize = 3_000;
const SILENCE: Duration = Duration::from_secs(10);

/// A lease: who made it, and how often it was renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u32,
    renewals: u32,
}

/// What the shared directory has.
#[derive(Default)]
struct Directory {
    lease: Option<Stamp>,
    /// The one who has published the file.
    file: Option<usize>,
    /// A part of the file, by its length, that a client of another kind has written.
    part: Option<u32>,
    inodes: u32,
    downloads: usize,
    signs: u32,
}

/// One of those who want the file.
struct One {
    number: usize,
    directory: Arc<Mutex<Directory>>,
    own: std::cell::Cell<u32>,
    /// The lease as it was when the leases of all files were looked at, and when that was.
    known: std::cell::Cell<Option<(Stamp, Duration)>>,
}

impl LeaseFiles for One {
    type Stamp = Stamp;

    fn create(&self) -> Creation {
        let mut directory = self.directory.lock().unwrap();
        if directory.lease.is_some() {
            return Creation::Exists;
        }
        directory.inodes += 1;
        directory.signs += 1;
        let inode = directory.inodes;
        directory.lease = Some(Stamp { inode, renewals: 0 });
        self.own.set(inode);
        Creation::Made
    }

    fn lease(&self, now: Duration) -> Option<Known<Stamp>> {
        let stamp = self.directory.lock().unwrap().lease?;
        let known = self.known.get().filter(|(known, _)| *known == stamp);
        let since = known.map_or(now, |(_, since)| since);
        Some(Known { stamp, since })
    }

    fn file(&self) -> Presence<Stamp> {
        let directory = self.directory.lock().unwrap();
        match (directory.file, directory.part) {
            (Some(_), _) => Presence::Whole,
            (None, Some(renewals)) => Presence::Part(Stamp { inode: 0, renewals }),
            (None, None) => Presence::Absent,
        }
    }

    /// In three steps, as on a disk: a rename, a look, a removal or a second name.
    fn displace(&self, stale: Stamp) {
        let taken = self.directory.lock().unwrap().lease.take();
        if let Some(taken) = taken.filter(|taken| *taken != stale) {
            self.directory.lock().unwrap().lease.get_or_insert(taken);
        }
    }

    fn give_back(&self) {
        let lease = self.directory.lock().unwrap().lease;
        if lease.is_some_and(|lease| lease.inode == self.own.get()) {
            self.directory.lock().unwrap().lease = None;
        }
    }
}

impl One {
    /// Fetches and publishes the file; may die at any step.
    fn fetch(&self, may_die: bool) -> bool {
        self.directory.lock().unwrap().downloads += 1;
        for _ in 0..3 {
            if may_die && thread_rng().gen_bool(0.3) {
                return false;
            }
            let mut directory = self.directory.lock().unwrap();
            if let Some(lease) = directory
                .lease
                .as_mut()
                .filter(|lease| lease.inode == self.own.get())
            {
                lease.renewals += 1;
                directory.signs += 1;
            }
        }
        // A second name: whoever comes later finds it taken.
        self.directory.lock().unwrap().file.get_or_insert(self.number);
        self.give_back();
        true
    }

    fn run(&self, may_die: bool) -> bool {
        let (mut seeking, mut clock, mut waited) = (Seeking::new(SILENCE), Duration::ZERO, Duration::ZERO);
        if thread_rng().gen_bool(0.5) {
            let lease = self.directory.lock().unwrap().lease;
            self.known.set(lease.map(|lease| (lease, clock)));
            clock += Duration::from_secs(thread_rng().gen_range(0..15));
            thread::yield_now();
        }
        loop {
            let may_take = thread_rng().gen_bool(0.7);
            match seek(&mut seeking, self, clock, may_take) {
                Sought::Fetch => return self.fetch(may_die),
                Sought::There => return true,
                Sought::Free => thread::yield_now(),
                Sought::Wait(pause) => {
                    assert!(!pause.is_zero() && pause <= SILENCE);
                    // Looking takes time as well.
                    clock += pause + Duration::from_millis(thread_rng().gen_range(0..100));
                    waited += pause;
                    let signs = self.directory.lock().unwrap().signs;
                    assert!(waited <= SILENCE * (signs + 2), "kept waiting for {waited:?}");
                    thread::yield_now();
                }
            }
        }
    }
}

/// Runs so many who want the file, of whom the first `mortal` may die.
fn run(count: usize, mortal: usize, part: Option<u32>) {
    let directory = Arc::new(Mutex::new(Directory {
        part,
        ..Directory::default()
    }));
    let threads: Vec<_> = (0..count)
        .map(|number| {
            let directory = Arc::clone(&directory);
            thread::spawn(move || {
                let one = One {
                    number,
                    directory: Arc::clone(&directory),
                    own: std::cell::Cell::new(u32::MAX),
                    known: std::cell::Cell::new(None),
                };
                let lives = one.run(number < mortal);
                let published = directory.lock().unwrap().file;
                assert!(!lives || published.is_some(), "who lives has the file");
                published
            })
        })
        .collect();
    let seen: Vec<_> = threads
        .into_iter()
        .filter_map(|one| one.join().unwrap())
        .collect();
    let directory = directory.lock().unwrap();
    assert!(
        seen.iter().all(|one| Some(*one) == directory.file),
        "the first whole file stays"
    );
    assert!(directory.downloads >= 1 && directory.downloads <= count);
}

fn check(test: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(test, ITERATIONS);
}

#[test]
fn all_have_the_file_whoever_fetches_it() {
    check(|| run(3, 0, None));
}

#[test]
fn all_who_live_have_the_file_whoever_dies() {
    check(|| run(3, 2, None));
}

#[test]
fn a_part_that_nobody_writes_keeps_nobody() {
    check(|| run(2, 1, Some(7)));
}
