//! The process of the mount, and what it uses.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Fallible, program};

/// What ends in time at all ends within this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The counts of the bytes in the store, one after the other.
const COUNTS: usize = 3;

/// A mount; taken away when dropped.
pub(crate) struct Daemon {
    binary: PathBuf,
    scratch: PathBuf,
    pid: u32,
    mounted: bool,
}

/// What a process uses at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Resident memory in bytes.
    pub(crate) memory: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    /// Bytes in the store, partial files included.
    pub(crate) store: u64,
}

impl Daemon {
    pub(crate) fn mount(binary: &Path, scratch: &Path, server: &str, room: u64) -> Fallible<Self> {
        let mut daemon = Self {
            binary: binary.to_owned(),
            scratch: scratch.to_owned(),
            pid: 0,
            mounted: false,
        };
        fs::create_dir(daemon.point())?;
        fs::create_dir(daemon.store())?;
        let status = program::command(binary)
            .args(["mount", "-q", "--observatory", "jwst", "--server", server])
            .arg("--cache")
            .arg(daemon.store())
            .args(["--cache-size", &room.to_string(), "--keep-free", "1MiB"])
            .args(["--catalog-ttl", "5s", "--stall-timeout", "2s", "--timeout", "10s"])
            .arg("--log-file")
            .arg(scratch.join("log"))
            .arg(daemon.point())
            .status()?;
        if !status.success() {
            return Err(format!("crds-fs mount ended with {status}").into());
        }
        daemon.mounted = true;
        let status: serde_json::Value =
            serde_json::from_slice(&fs::read(daemon.point().join(".crds-fs/status.json"))?)?;
        daemon.pid = u32::try_from(status["pid"].as_u64().ok_or("no pid")?)?;
        Ok(daemon)
    }

    pub(crate) fn point(&self) -> PathBuf {
        self.scratch.join("mnt")
    }

    fn store(&self) -> PathBuf {
        self.scratch.join("store")
    }

    pub(crate) fn usage(&self) -> Fallible<Usage> {
        let process = PathBuf::from(format!("/proc/{}", self.pid));
        let status = fs::read_to_string(process.join("status"))
            .map_err(|error| format!("the mount's process is gone: {error}"))?;
        let number = |field: &str| {
            let text = status.lines().find_map(|line| line.strip_prefix(field))?;
            text.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        Ok(Usage {
            memory: number("VmRSS:").ok_or("no VmRSS")? << 10,
            threads: number("Threads:").ok_or("no Threads")?,
            descriptors: fs::read_dir(process.join("fd"))?.count() as u64,
            store: bytes_in(&self.store()),
        })
    }

    /// That the newest context is the one of the server, within a while.
    pub(crate) fn leads_to(&self, context: &str) -> Fallible<()> {
        let begin = Instant::now();
        loop {
            let latest = fs::read_link(self.point().join("bestrefs/jwst-latest"))?;
            if latest == Path::new(context) {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                return Err(format!("it is {}, not {context}", latest.display()).into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub(crate) fn unmount(&mut self) -> Fallible<()> {
        let status = program::command(&self.binary)
            .arg("umount")
            .arg(self.point())
            .status()?;
        if !status.success() {
            return Err(format!("umount ended with {status}").into());
        }
        self.mounted = false;
        let begin = Instant::now();
        while Path::new(&format!("/proc/{}", self.pid)).exists() {
            if begin.elapsed() > PATIENCE {
                return Err("the mount's process does not end".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.mounted {
            return;
        }
        // Nothing may be left, whatever has failed.
        let quiet = |command: &mut Command| command.stderr(Stdio::null()).status().ok();
        quiet(
            program::command(&self.binary)
                .args(["umount", "--lazy"])
                .arg(self.point()),
        );
        if let Some(pid) = i32::try_from(self.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        quiet(
            program::command(&self.binary)
                .args(["umount", "--lazy"])
                .arg(self.point()),
        );
    }
}

/// The bytes of references, mappings and partial files. While they are counted, files come, go and get their names: the least of a
/// few counts is the one with the fewest that were seen both before and after what came in their place.
fn bytes_in(store: &Path) -> u64 {
    let count = |_| {
        let mut files = HashMap::new();
        collect(store, &mut files);
        files.values().sum()
    };
    (0..COUNTS).map(count).min().unwrap_or_default()
}

/// Adds the inodes and lengths of all files of references and mappings, and of partial files.
fn collect(directory: &Path, files: &mut HashMap<u64, u64>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_counted = |part: Component<'_>| {
            let part = part.as_os_str().to_str();
            matches!(part, Some("references" | "mappings" | "partial"))
        };
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => collect(&path, files),
            Ok(metadata) if path.components().any(is_counted) => {
                files.insert(metadata.ino(), metadata.len());
            }
            _ => {}
        }
    }
}
