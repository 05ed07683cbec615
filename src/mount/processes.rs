//! The processes of this machine, as `/proc` shows them. Looking at one asks no file system that it uses.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{fmt, fs, io};

use parking_lot::Mutex;

/// The most processes that are named.
const NAMED: usize = 5;

/// The longest wait for what is known of all processes: looking at one that hangs may hang as well.
const PATIENCE: Duration = Duration::from_secs(2);

/// A process that is seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: u32,
    directory: PathBuf,
}

impl Process {
    /// A path below its directory in `/proc`.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl fmt::Display for Process {
    /// The name and the number, as in `python3 (1234)`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = fs::read_to_string(self.path("comm")).unwrap_or_default();
        match name.trim() {
            "" => write!(out, "process {}", self.pid),
            name => write!(out, "{name} ({})", self.pid),
        }
    }
}

/// All processes, in the order of their numbers.
pub(super) fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut all: Vec<Process> = entries.filter_map(|entry| process(entry.path())).collect();
    all.sort();
    all
}

/// The threads of a process, each of which may have entered another namespace by itself.
pub(super) fn threads(process: &Process) -> Vec<Process> {
    let entries = fs::read_dir(process.path("task")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| thread(entry.path(), process.pid))
        .collect()
}

fn process(directory: PathBuf) -> Option<Process> {
    let pid = number(&directory)?;
    Some(Process { pid, directory })
}

/// A thread, under the number of its process.
fn thread(directory: PathBuf, pid: u32) -> Option<Process> {
    number(&directory).filter(|thread| *thread != pid)?;
    Some(Process { pid, directory })
}

fn number(directory: &Path) -> Option<u32> {
    directory.file_name()?.to_str()?.parse().ok()
}

/// The processes in words: the first few by name, and the number of the others.
pub(super) fn list(processes: &[Process]) -> String {
    let named: Vec<String> = processes.iter().take(NAMED).map(ToString::to_string).collect();
    match processes.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Whether this user may look into a process, which need not be there.
pub(crate) fn is_open_to_us(pid: u32) -> bool {
    !fs::read_dir(format!("/proc/{pid}/fd")).is_err_and(|error| is_hidden(&error))
}

/// Whether an error of looking at a process says that this user may not.
pub(super) fn is_hidden(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Gives what is found by looking at processes, or as much of it as is found within [`PATIENCE`].
pub(super) fn patiently<T: Clone + Default + Send + 'static>(
    look: impl FnOnce(&Mutex<T>) + Send + 'static,
) -> T {
    let found = Arc::new(Mutex::new(T::default()));
    let (sender, receiver) = mpsc::channel::<()>();
    let shared = Arc::clone(&found);
    std::thread::spawn(move || {
        look(&shared);
        drop(sender);
    });
    let _ = receiver.recv_timeout(PATIENCE);
    found.lock().clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_in_time_is_told() {
        let (end, ended) = mpsc::channel::<()>();
        let found = patiently(move |found: &Mutex<Vec<u32>>| {
            found.lock().push(1);
            let _ = ended.recv();
            found.lock().push(2);
        });
        assert_eq!(found, [1]);
        drop(end);
        assert_eq!(patiently(|found| *found.lock() = 7), 7);
    }

    #[test]
    fn a_list_has_names_numbers_and_an_end() {
        let all = all();
        let own = all
            .iter()
            .find(|process| process.pid == std::process::id())
            .unwrap();
        assert!(list(std::slice::from_ref(own)).ends_with(&format!(" ({})", own.pid)));
        let many = list(&vec![own.clone(); NAMED + 2]);
        assert!(many.ends_with(" and 2 more"), "{many}");
        let none = Process {
            pid: 7,
            directory: PathBuf::from("/proc/none"),
        };
        assert_eq!(list(&[none]), "process 7");
        assert_eq!(list(&[]), "");
    }
}
