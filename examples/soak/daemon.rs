//! The process of the mount, and what it uses.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Fallible, program};

/// The limit of every wait. It only ends a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Threads at rest that may be more than when it was mounted: of those that wait for disk calls the last ones may be needed again.
const MORE_THREADS: u64 = 8;

/// A mount; taken away when dropped.
pub(crate) struct Daemon {
    binary: PathBuf,
    scratch: PathBuf,
    pid: u32,
    /// Its threads when it was mounted.
    threads: u64,
    mounted: bool,
}

/// The resources that a process uses at a moment.
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
            threads: 0,
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
        daemon.threads = daemon.number("Threads:")?;
        Ok(daemon)
    }

    pub(crate) fn point(&self) -> PathBuf {
        self.scratch.join("mnt")
    }

    fn store(&self) -> PathBuf {
        self.scratch.join("store")
    }

    pub(crate) fn usage(&self) -> Fallible<Usage> {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid))?;
        Ok(Usage {
            memory: self.number("VmRSS:")? << 10,
            threads: self.number("Threads:")?,
            descriptors: descriptors.count() as u64,
            store: self.bytes_in_store()?,
        })
    }

    /// A number that the kernel tells of the process.
    fn number(&self, field: &str) -> Fallible<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))
            .map_err(|error| format!("the mount's process is gone: {error}"))?;
        let text = status.lines().find_map(|line| line.strip_prefix(field));
        let number = text.ok_or_else(|| format!("no {field}"))?;
        Ok(number.trim().trim_end_matches(" kB").parse()?)
    }

    /// The bytes of references, mappings and partial files. While they are counted the process is stopped: files come, go and get
    /// their names.
    fn bytes_in_store(&self) -> Fallible<u64> {
        self.signal(Signal::STOP)?;
        let counted = self.is_stopped().map(|()| {
            let mut files = HashMap::new();
            collect(&self.store(), &mut files);
            files.values().sum()
        });
        self.signal(Signal::CONT)?;
        counted
    }

    /// Waits until every thread is stopped, also one that is in a system call.
    fn is_stopped(&self) -> Fallible<()> {
        let begin = Instant::now();
        let runs = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The state comes behind the name in parentheses.
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| !rest.starts_with('T'))
        };
        while fs::read_dir(format!("/proc/{}/task", self.pid))?
            .flatten()
            .any(runs)
        {
            if begin.elapsed() > PATIENCE {
                return Err("the mount's process does not stop".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Fallible<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.ok_or("no pid")?, signal)?)
    }

    /// That the threads which came while there was much to do end when there is nothing, within a while.
    pub(crate) fn threads_end(&self) -> Fallible<()> {
        let begin = Instant::now();
        loop {
            let now = self.number("Threads:")?;
            if now <= self.threads + MORE_THREADS {
                println!("threads: {} when it was mounted, {now} at the end", self.threads);
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                return Err(format!("there are {now}, when it was mounted {}", self.threads).into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
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
        let _ = self.signal(Signal::KILL);
        quiet(
            program::command(&self.binary)
                .args(["umount", "--lazy"])
                .arg(self.point()),
        );
    }
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
