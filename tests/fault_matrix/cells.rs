//! One cell of the matrix: files are opened under a fault, and everything is looked at afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::origin::{Behaviour, Blob, Content, Origin};
use crate::rig::waiting::await_look;
use crate::rig::{Rig, at_least, eventually};
use crate::table::{Fault, Shape, State, WELL};

/// So many small files are opened at a time.
pub(crate) const MANY: usize = 64;
/// An open that has not ended by then has no bound: the time limits of the mounts are some seconds.
const BOUND: Duration = Duration::from_secs(120);
/// The most memory that a process may ever have had, in bytes.
pub(crate) const MEMORY: u64 = 256 << 20;

/// The contents of all large files.
static LARGE: LazyLock<Blob> = LazyLock::new(|| Blob::random("large", 80_000_000));

/// One cell: a fault, the files that are opened under it, and all that was not as it should be.
pub(crate) struct Cell {
    pub(crate) fault: &'static str,
    pub(crate) shape: Shape,
    pub(crate) state: State,
    /// Everything that is not as it should be.
    pub(crate) wrong: Vec<String>,
}

impl Shape {
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Small => 300_000,
            Self::Many => 40_000,
            Self::Large => LARGE.len(),
        }
    }

    fn count(self) -> usize {
        if self == Self::Many { MANY } else { 1 }
    }

    /// The files of one cell.
    pub(crate) fn names(self, state: State, fault: usize) -> Vec<String> {
        let state = format!("{state:?}").to_lowercase();
        (0..self.count())
            .map(|number| format!("roman_wfi_{state}_{fault:02}{number:02}.asdf"))
            .collect()
    }

    /// The files of a server for the faults of these numbers: some for each state, and small ones that nothing happens to.
    pub(crate) fn content(self, faults: std::ops::Range<usize>) -> Content {
        let mut content = Content {
            observatory: "roman",
            context: "roman_0001.pmap".to_owned(),
            ..Content::default()
        }
        .file("roman_0001.pmap", 2_000);
        for fault in faults {
            content = content.file(&good(fault), 5_000);
            for state in [State::Cold, State::Half, State::Cached] {
                for name in self.names(state, fault) {
                    content = match self {
                        Self::Large => content.share(&name, &LARGE),
                        _ => content.file(&name, self.size()),
                    };
                }
            }
        }
        content
    }
}

/// A file that nothing happens to.
pub(crate) fn good(fault: usize) -> String {
    format!("roman_wfi_good_{fault:04}.asdf")
}

pub(crate) fn path(name: &str) -> String {
    format!("references/roman/{name}")
}

pub(crate) fn server_flag(origin: &Origin) -> String {
    format!("roman={}", origin.url())
}

/// The outcomes of the opens of some files: the number of opens by errno.
pub(crate) type Ends = BTreeMap<i32, usize>;

/// A mount under test, its server, and what is right.
pub(crate) struct Bench<'a> {
    pub(crate) rig: Rig,
    pub(crate) origin: &'a Origin,
    pub(crate) store: PathBuf,
    right: BTreeMap<String, Blob>,
}

impl<'a> Bench<'a> {
    /// A mount of `store`, else of one of its own. What the server has now is right for good.
    pub(crate) fn mounted(origin: &'a Origin, arguments: &[&str], store: Option<PathBuf>) -> Self {
        let mut bench = Self::new(origin, arguments, store);
        bench.rig.mount();
        bench
    }

    /// As [`Bench::mounted`], not mounted yet.
    pub(crate) fn new(origin: &'a Origin, arguments: &[&str], store: Option<PathBuf>) -> Self {
        let mut rig = Rig::new(&[&server_flag(origin)], arguments);
        if let Some(store) = &store {
            rig.use_store(store);
        }
        Self {
            store: store.unwrap_or_else(|| rig.store()),
            right: origin.content().files,
            rig,
            origin,
        }
    }

    /// Another version of what is right, for a server that says something else already.
    pub(crate) fn with_right(self, right: BTreeMap<String, Blob>) -> Self {
        Self { right, ..self }
    }

    /// Opens and reads these files at the same time. The error says what no open may do: end with other bytes, or not at
    /// all.
    pub(crate) fn open_all(&self, names: &[String]) -> Result<Ends, String> {
        let (sender, receiver) = channel();
        for name in names {
            let (at, sender) = (self.rig.path(path(name)), sender.clone());
            let right = self.right[name].clone();
            std::thread::spawn(move || {
                let end = match fs::read(&at) {
                    Ok(read) if *read == *right => Ok(WELL),
                    Ok(read) => Err(format!("{} wrong bytes are read", read.len())),
                    Err(error) => Ok(error.raw_os_error().unwrap_or(-1)),
                };
                // Nobody may be waiting any more.
                let _ = sender.send(end);
            });
        }
        drop(sender);
        let mut ends = Ends::new();
        let begun = Instant::now();
        loop {
            match receiver.recv_timeout(BOUND.saturating_sub(begun.elapsed())) {
                Ok(Ok(errno)) => *ends.entry(errno).or_default() += 1,
                Ok(Err(wrong)) => return Err(wrong),
                Err(RecvTimeoutError::Disconnected) => return Ok(ends),
                Err(RecvTimeoutError::Timeout) => {
                    let (ended, all) = (ends.values().sum::<usize>(), names.len());
                    return Err(format!("{ended} of {all} opens have ended after {BOUND:?}"));
                }
            }
        }
    }

    /// Opens files under a fault and compares.
    pub(crate) fn compare(&self, fault: &Fault, shape: Shape, state: State, names: &[String]) -> Vec<String> {
        let expected = fault.expected(shape, state);
        match self.open_all(names) {
            Err(wrong) => vec![wrong],
            Ok(ends) if ends.keys().all(|end| *end == expected) => Vec::new(),
            Ok(ends) => {
                let why = names
                    .iter()
                    .find_map(|name| self.reason(name))
                    .unwrap_or_default();
                vec![format!("{} expected, {} ({why})", errno(expected), shown(&ends))]
            }
        }
    }

    /// The reason in words for which a file could not be opened.
    fn reason(&self, name: &str) -> Option<String> {
        let told = self.rig.json(Path::new(".crds-fs/files").join(path(name)))?;
        Some(told["error"]["message"].as_str()?.to_owned())
    }

    /// The files under final names in the store that have wrong bytes, or should not be there.
    pub(crate) fn wrong_in_store(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut places: Vec<PathBuf> = ["mappings", "references"]
            .map(|part| self.store.join(part))
            .into();
        while let Some(place) = places.pop() {
            for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
                let at = entry.path();
                let shown = at.strip_prefix(&self.store).unwrap_or(&at).display().to_string();
                let Ok(kind) = entry.file_type() else { continue };
                let right = self.right.get(entry.file_name().to_string_lossy().as_ref());
                match right.filter(|_| kind.is_file()) {
                    Some(right) => wrong.extend(difference(&at, right).map(|what| format!("{shown} {what}"))),
                    None if kind.is_dir()
                        && matches!(shown.as_str(), "mappings/roman" | "references/roman") =>
                    {
                        places.push(at);
                    }
                    None => wrong.push(format!("{shown} is in the store")),
                }
            }
        }
        wrong
    }

    /// The faults of the mount as a whole: its status does not answer, or a good file does not open.
    pub(crate) fn unwell(&self, good: Option<String>) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.rig.json(".crds-fs/status.json").is_none() {
            wrong.push("the status does not answer".to_owned());
        }
        if let Some(good) = good {
            match self.open_all(&[good]) {
                Ok(ends) if ends.contains_key(&WELL) => {}
                Ok(ends) => wrong.push(format!("another file: {}", shown(&ends))),
                Err(what) => wrong.push(format!("another file: {what}")),
            }
        }
        wrong
    }

    /// Opens files until all are right: a failure is remembered for a short while. What is still wrong in the end.
    pub(crate) fn recover(&self, names: &[String]) -> Option<String> {
        let recovered = await_look(|| match self.open_all(names) {
            Err(wrong) => Ok(Some(wrong)),
            Ok(ends) if ends.keys().all(|end| *end == WELL) => Ok(None),
            Ok(ends) => {
                // So many opens again and again would take the machine from all other cells.
                std::thread::sleep(Duration::from_millis(100));
                Err(ends)
            }
        });
        match recovered {
            Ok(wrong) => wrong.map(|wrong| format!("after the fault: {wrong}")),
            Err(ends) => {
                let why = names
                    .iter()
                    .find_map(|name| self.reason(name))
                    .unwrap_or_default();
                Some(format!("after the fault still {ends} ({why})"))
            }
        }
    }

    /// Unmounts; why that is not possible.
    pub(crate) fn umount(&mut self) -> Option<String> {
        let umount = std::panic::AssertUnwindSafe(|| self.rig.umount());
        let failed = std::panic::catch_unwind(umount).err()?;
        let why = failed.downcast_ref::<String>().cloned().unwrap_or_default();
        Some(format!("it cannot be unmounted: {why}"))
    }

    /// Gives their room back.
    pub(crate) fn drop_copies(&self, names: &[String]) {
        for name in names {
            // Some are not there.
            let _ = fs::remove_file(self.rig.path(path(name)));
        }
    }
}

/// The difference between a file in the store and the right bytes, in words.
fn difference(at: &Path, right: &Blob) -> Option<String> {
    match fs::read(at) {
        Ok(found) if *found == **right => None,
        // It was on its way out.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Ok(found) => Some(format!("has {} wrong bytes in the store", found.len())),
        Err(error) => Some(format!("cannot be read in the store: {error}")),
    }
}

/// The name of an errno, as in the table of errors.
fn errno(number: i32) -> String {
    if number == WELL {
        return "well".to_owned();
    }
    nix::errno::Errno::from_raw(number).to_string()
}

fn shown(ends: &Ends) -> String {
    let ends = ends
        .iter()
        .map(|(end, count)| format!("{count} × {}", errno(*end)));
    ends.collect::<Vec<_>>().join(", ")
}

/// A store in which some files are, and half of others, from a mount that was ended in the middle of it. It lasts as long
/// as what is returned.
pub(crate) fn prepare(origin: &Origin, shape: Shape, cached: &[String], half: &[String]) -> Rig {
    let jobs = half.len().max(8).to_string();
    let mut bench = Bench::mounted(origin, &["--jobs", &jobs], None);
    let ends = bench.open_all(cached).unwrap();
    assert!(
        ends.keys().all(|end| *end == WELL),
        "{}: {}",
        shown(&ends),
        bench.rig.log()
    );
    let enough = shape.size() / 2;
    for name in half {
        origin.set(name, Behaviour::StallAt(enough));
    }
    let waiting: Vec<_> = half
        .iter()
        .map(|name| bench.rig.path(path(name)))
        .map(|at| std::thread::spawn(move || fs::File::open(at).is_err()))
        .collect();
    for name in half {
        eventually(&format!("half of {name} comes"), || {
            at_least(bench.rig.received(&path(name)), enough as u64)
        });
    }
    bench.rig.terminate();
    bench.rig.reap();
    for opener in waiting {
        assert!(opener.join().unwrap(), "half a file is opened");
    }
    origin.mend();
    bench.rig
}
