//! Leases in every interleaving: several who want one file, some of whom die, over a model of a directory that all share.
//! Each step of each is put in any order by shuttle, and each has a clock of its own.
//!
//! What must hold whatever happens: the file under the final name is the first whole one, nobody is kept waiting for
//! longer than the time of silence after the last sign of life, and whoever lives has the file in the end. Names that were
//! looked up in vain stay absent for a while.

#![allow(clippy::unwrap_used, reason = "a test that cannot lock has failed")]

use std::cell::Cell;
use std::time::Duration;

use shuttle::rand::{Rng as _, thread_rng};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

#[allow(dead_code, reason = "the store's own file, of which this uses a part")]
#[path = "../src/store/leases.rs"]
mod leases;

use leases::{Creation, Known, LeaseFiles, Phase, Presence, Seeking, Sought, seek};

const ITERATIONS: usize = 3_000;
const SILENCE: Duration = Duration::from_secs(10);

/// The time for which a name stays absent that was looked up in vain, at most, in milliseconds.
const LATE: u64 = 3_000;

/// A lease: who made it, how often it was renewed, and whether its file is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u32,
    renewals: u32,
    is_published: bool,
}

impl Stamp {
    fn new(inode: u32, renewals: u32) -> Self {
        Self {
            inode,
            renewals,
            is_published: false,
        }
    }
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
    /// The leases of those who have died.
    died: Vec<u32>,
    downloads: usize,
    signs: u32,
}

/// One of those who want the file.
struct One {
    number: usize,
    directory: Arc<Mutex<Directory>>,
    own: Cell<u32>,
    clock: Cell<Duration>,
    /// The time until which the file stays absent.
    absent_until: Cell<Duration>,
    /// The lease as it was when the leases of all files were looked at, and when that was.
    known: Cell<Option<(Stamp, Duration)>>,
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
        directory.lease = Some(Stamp::new(inode, 0));
        self.own.set(inode);
        Creation::Made
    }

    fn lease(&self, now: Duration) -> Option<Known<Stamp>> {
        let directory = self.directory.lock().unwrap();
        let stamp = directory.lease?;
        let known = self.known.get().filter(|(known, _)| *known == stamp);
        let since = known.map_or(now, |(_, since)| since);
        let phase = if directory.died.contains(&stamp.inode) && thread_rng().gen_bool(0.3) {
            Phase::Abandoned
        } else if stamp.is_published {
            Phase::Published
        } else {
            Phase::Fetching
        };
        Some(Known { stamp, phase, since })
    }

    fn file(&self) -> Presence<Stamp> {
        if self.clock.get() < self.absent_until.get() {
            return Presence::Absent;
        }
        let directory = self.directory.lock().unwrap();
        match (directory.file, directory.part) {
            (Some(_), _) => Presence::Whole,
            (None, Some(renewals)) => Presence::Part(Stamp::new(0, renewals)),
            (None, None) => {
                let late = Duration::from_millis(thread_rng().gen_range(0..LATE));
                self.absent_until.set(self.clock.get() + late);
                Presence::Absent
            }
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
        if may_die && thread_rng().gen_bool(0.3) {
            return false;
        }
        let mut directory = self.directory.lock().unwrap();
        let lease = directory.lease.as_mut();
        if let Some(lease) = lease.filter(|lease| lease.inode == self.own.get()) {
            lease.is_published = true;
            directory.signs += 1;
        }
        drop(directory);
        if thread_rng().gen_bool(0.5) {
            self.give_back();
        }
        true
    }

    /// Lets its own clock go on.
    fn pass(&self, time: Duration) {
        self.clock.set(self.clock.get() + time);
    }

    fn run(&self, may_die: bool) -> bool {
        let (mut seeking, mut waited) = (Seeking::new(SILENCE), Duration::ZERO);
        if thread_rng().gen_bool(0.5) {
            let lease = self.directory.lock().unwrap().lease;
            self.known.set(lease.map(|lease| (lease, self.clock.get())));
            self.pass(Duration::from_secs(thread_rng().gen_range(0..15)));
            thread::yield_now();
        }
        loop {
            let may_take = thread_rng().gen_bool(0.7);
            match seek(&mut seeking, self, self.clock.get(), may_take) {
                Sought::Fetch => {
                    let lives = self.fetch(may_die);
                    if !lives {
                        self.directory.lock().unwrap().died.push(self.own.get());
                    }
                    return lives;
                }
                Sought::There => return true,
                Sought::Free => thread::yield_now(),
                Sought::Wait(pause) => {
                    assert!(!pause.is_zero() && pause <= SILENCE);
                    // Looking takes time as well.
                    self.pass(pause + Duration::from_millis(thread_rng().gen_range(0..100)));
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
                    own: Cell::new(u32::MAX),
                    clock: Cell::default(),
                    absent_until: Cell::default(),
                    known: Cell::default(),
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
