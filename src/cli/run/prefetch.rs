//! Fetches the files that a command will need while it starts: in a process of its own, which ends with the command.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::cli::client::ClientVariables;
use crate::crds::FileName;

/// This program, wherever it was started from.
const SELF: &str = "/proc/self/exe";

/// A fetch that is under way; it ends when this is dropped, and so do its waits in the mount.
pub(super) struct Prefetch(Child);

impl Drop for Prefetch {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fetches the best references of dataset files.
pub(super) fn files(variables: &ClientVariables, files: &[PathBuf]) -> Option<Prefetch> {
    let context = variables.context.as_ref().map(FileName::as_str);
    let context = context.into_iter().flat_map(|context| ["--context", context]);
    let arguments = context.map(OsStr::new).chain([OsStr::new("--files")]);
    let arguments = arguments.chain(files.iter().map(|file| file.as_os_str()));
    (!files.is_empty()).then(|| fetch(variables, arguments))?
}

/// Fetches the files of a lock file.
pub(super) fn lock(variables: &ClientVariables, path: &Path) -> Option<Prefetch> {
    fetch(variables, [OsStr::new("--lock"), path.as_os_str()].into_iter())
}

/// Starts a fetch. A failure is no matter here: the command asks for the file again, and is told.
fn fetch<'a>(variables: &ClientVariables, arguments: impl Iterator<Item = &'a OsStr>) -> Option<Prefetch> {
    let mut command = Command::new(SELF);
    command
        .arg("fetch")
        .arg("--mount")
        .arg(&variables.path)
        .args(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match command.spawn() {
        Ok(child) => Some(Prefetch(child)),
        Err(error) => {
            log::warn!("nothing is fetched beforehand: {error}");
            None
        }
    }
}
