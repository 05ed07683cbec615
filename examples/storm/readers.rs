//! The readers of a node, which compare every byte that they get and note how long each open takes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::library;
use crate::mount::PATIENCE;
use crate::node::Setup;

/// What a call fails with when the mount below it is killed.
const KILLED: [Errno; 4] = [Errno::NOTCONN, Errno::CONNABORTED, Errno::IO, Errno::INTR];

/// Times of waiting that are kept.
const LONGEST: usize = 20;

/// How long it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Every file once by each reader.
    Once,
    UntilStopped,
}

/// What the readers of a node have seen.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) reads: u64,
    /// Opens and reads that were cut off by a kill of this node's mount.
    pub(crate) cut: u64,
    /// Failures that a second try mended, by name.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Reads of the beginning of a file only: somebody else was about to write it anew in its place.
    pub(crate) short: u64,
    /// The longest opens.
    pub(crate) longest: Vec<Wait>,
    /// The files on which this node's mount had leases when it was killed, and when that was, in seconds since 1970.
    pub(crate) deaths: Vec<(String, f64)>,
    /// What no reader may see.
    pub(crate) problems: Vec<String>,
}

/// The wait for one open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Wait {
    pub(crate) file: String,
    pub(crate) seconds: f64,
    /// When it ended, in seconds since 1970.
    pub(crate) end: f64,
}

pub(crate) struct Readers {
    setup: Setup,
    point: PathBuf,
    seen: Mutex<Seen>,
    stop: AtomicBool,
    /// The mount is dead, or not there yet.
    away: AtomicBool,
    /// How often it was killed.
    kills: AtomicU64,
    started: AtomicU64,
}

impl Readers {
    pub(crate) fn new(setup: &Setup, point: PathBuf) -> Self {
        Self {
            setup: setup.clone(),
            point,
            seen: Mutex::default(),
            stop: AtomicBool::new(false),
            away: AtomicBool::new(false),
            kills: AtomicU64::new(0),
            started: AtomicU64::new(0),
        }
    }

    /// Starts all readers. The thread ends with the last of them.
    pub(crate) fn start(self: &Arc<Self>, way: Way) -> JoinHandle<()> {
        self.stop.store(false, Ordering::SeqCst);
        let readers = Arc::clone(self);
        std::thread::spawn(move || {
            std::thread::scope(|scope| {
                for _ in 0..readers.setup.readers {
                    let number = readers.started.fetch_add(1, Ordering::Relaxed);
                    let random = fastrand::Rng::with_seed(readers.setup.seed ^ number);
                    scope.spawn(|| readers.read(way, random));
                }
            });
        })
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Notes that the mount goes, or is there again.
    pub(crate) fn away(&self, away: bool) {
        if away {
            self.kills.fetch_add(1, Ordering::SeqCst);
        }
        self.away.store(away, Ordering::SeqCst);
    }

    /// Notes the files on which the mount had leases when it was killed, just now.
    pub(crate) fn note_deaths(&self, files: Vec<String>) {
        let now = now();
        let deaths = files.into_iter().map(|file| (file, now));
        self.seen.lock().deaths.extend(deaths);
    }

    /// Tells everything on the output.
    pub(crate) fn tell(&self) {
        let seen = self.seen.lock();
        println!("seen {}", serde_json::to_string(&*seen).unwrap_or_default());
    }

    fn read(&self, way: Way, mut random: fastrand::Rng) {
        let mut order: Vec<u32> = (0..self.setup.files).collect();
        loop {
            random.shuffle(&mut order);
            for number in &order {
                self.read_file(*number);
                if way == Way::UntilStopped && self.stop.load(Ordering::Relaxed) {
                    return;
                }
            }
            if way == Way::Once {
                return;
            }
        }
    }

    /// Reads one file until it is right.
    fn read_file(&self, number: u32) {
        let name = library::name(number);
        let path = self
            .point
            .join(library::directory(self.setup.instrument))
            .join(&name);
        let right = library::reference(number);
        let first = Instant::now();
        loop {
            while self.away.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            let (kills, begun) = (self.kills.load(Ordering::SeqCst), Instant::now());
            let opened = File::open(&path);
            let waited = begun.elapsed();
            let killed = || self.kills.load(Ordering::SeqCst) != kills;
            if !killed() {
                self.note_wait(waited, &name);
            }
            let during = if opened.is_ok() { "read" } else { "open" };
            let read = opened.and_then(|mut file| {
                let mut bytes = Vec::with_capacity(right.len());
                file.read_to_end(&mut bytes).map(|_| bytes)
            });
            match read {
                Ok(bytes) if bytes[..] == right[..] => {
                    self.seen.lock().reads += 1;
                    return;
                }
                Ok(bytes) if right.starts_with(&bytes) => self.seen.lock().short += 1,
                Ok(bytes) => {
                    let at = bytes
                        .iter()
                        .zip(&right[..])
                        .position(|(found, right)| found != right);
                    self.problem(format!(
                        "{name}: {} of {} bytes, wrong at {at:?}",
                        bytes.len(),
                        right.len()
                    ));
                    return;
                }
                Err(error) if killed() && was_killed(&error) => self.seen.lock().cut += 1,
                Err(error) => {
                    let text = format!("{during}: {error}");
                    *self.seen.lock().errors.entry(text).or_default() += 1;
                }
            }
            if first.elapsed() > PATIENCE * 2 {
                self.problem(format!(
                    "{name} cannot be read for {} s",
                    first.elapsed().as_secs()
                ));
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn note_wait(&self, waited: Duration, name: &str) {
        let mut seen = self.seen.lock();
        let seconds = waited.as_secs_f64();
        let least = seen.longest.last().map_or(0.0, |least| least.seconds);
        if seen.longest.len() < LONGEST || least < seconds {
            seen.longest.push(Wait {
                file: name.to_owned(),
                seconds,
                end: now(),
            });
            seen.longest.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
            seen.longest.truncate(LONGEST);
        }
    }

    fn problem(&self, text: String) {
        println!("WRONG {}: {text}", self.setup.name);
        self.seen.lock().problems.push(text);
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

fn was_killed(error: &io::Error) -> bool {
    KILLED
        .iter()
        .any(|errno| Some(errno.raw_os_error()) == error.raw_os_error())
}
