//! The processes of a node: its view of the shared directory, and its mount.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::node::Setup;
use crate::{Fallible, double, library, program, text};

/// In the environment of whatever a node starts.
pub(crate) const MARK: &str = "STORM_NODE";

/// The first argument with which this program serves a view.
pub(crate) const VIEW: &str = "--view";

/// What ends in time at all ends within this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The process of a view; killed when dropped.
pub(crate) struct View(Child);

impl View {
    /// Mounts a view and waits until it is there.
    pub(crate) fn start(shared: &Path, point: &Path, options: double::Options) -> Fallible<Self> {
        fs::create_dir_all(point)?;
        let mut process = Command::new("/proc/self/exe")
            .args([
                VIEW,
                text(shared)?,
                text(point)?,
                &serde_json::to_string(&options)?,
            ])
            .env(MARK, "view")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("no output")?;
        let view = Self(process);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.is_empty() {
            return Err("the view has not come".into());
        }
        Ok(view)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process of a view: ends when its input does.
pub(crate) fn serve_view(words: &[String]) -> Fallible<()> {
    let [shared, point, options] = words else {
        return Err("directory, mount point and options are missing".into());
    };
    // Modes come from the kernel as they are to be; every known inode is a descriptor.
    rustix::process::umask(rustix::fs::Mode::empty());
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit {
            current: most.maximum,
            maximum: most.maximum,
        },
    )?;
    let _served = double::mount(
        Path::new(shared),
        Path::new(point),
        serde_json::from_str(options)?,
    )?;
    // Whoever has started it may be gone.
    let _ = writeln!(std::io::stdout(), "ready");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}

/// The log of the mount of a node.
pub(crate) fn log(setup: &Setup) -> PathBuf {
    setup.scratch.join("log")
}

/// A mount of crds-fs; killed and taken away when dropped.
pub(crate) struct Mount {
    setup: Setup,
    store: PathBuf,
    process: Option<Child>,
}

impl Mount {
    /// Mounts, with the store at `store`.
    pub(crate) fn start(setup: &Setup, store: &Path) -> Fallible<Self> {
        let mut mount = Self {
            setup: setup.clone(),
            store: store.to_owned(),
            process: None,
        };
        fs::create_dir_all(mount.point())?;
        mount.start_process()?;
        Ok(mount)
    }

    pub(crate) fn point(&self) -> PathBuf {
        self.setup.scratch.join("mnt")
    }

    fn start_process(&mut self) -> Fallible<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log(&self.setup))?;
        let mut command = program::command(&self.setup.binary);
        command
            .args(["mount", "--foreground", "--observatory", library::OBSERVATORY])
            .args([
                "--server",
                &self.setup.server,
                "--prefetch",
                "none",
                "--keep-free",
                "1MiB",
            ]);
        if self.setup.apart {
            let store = self.setup.scratch.join("store");
            fs::create_dir_all(&store)?;
            command.arg("--cache").arg(store);
        } else {
            let state = if self.setup.state_beside {
                // On the same file system, but nobody else's.
                let beside = Path::new("states").join(&self.setup.name);
                fs::create_dir_all(self.setup.shared.join(&beside))?;
                self.store.join(beside)
            } else {
                self.setup.scratch.join("state")
            };
            command
                .arg("--cache")
                .arg(&self.store)
                .arg("--shared")
                .arg("--state")
                .arg(state);
        }
        let mut process = command
            .arg(self.point())
            .env(MARK, "mount")
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let begun = Instant::now();
        while self.served_by() != Some(u64::from(process.id())) {
            if let Some(status) = process.try_wait()? {
                return Err(format!("the mount ended with {status}: {}", self.last_words()).into());
            }
            if begun.elapsed() > PATIENCE {
                let _ = process.kill();
                return Err(format!("the mount is not ready: {}", self.last_words()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.process = Some(process);
        Ok(())
    }

    fn served_by(&self) -> Option<u64> {
        let text = fs::read(self.point().join(".crds-fs/status.json")).ok()?;
        let status: serde_json::Value = serde_json::from_slice(&text).ok()?;
        status["pid"].as_u64()
    }

    /// The end of the log.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(log(&self.setup)).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Kills the process, as an operating system does that is short of memory. Gives the files on which it had leases.
    pub(crate) fn kill(&mut self) -> Fallible<Vec<String>> {
        let Some(mut process) = self.process.take() else {
            return Ok(Vec::new());
        };
        process.kill()?;
        process.wait()?;
        let owner = format!(" process {}.", process.id());
        let leases = self
            .setup
            .shared
            .join(".crds-fs/leases")
            .join(library::OBSERVATORY);
        let leases = fs::read_dir(leases).into_iter().flatten().flatten();
        // Others remove theirs meanwhile.
        let is_its = |path: &Path| fs::read_to_string(path).is_ok_and(|line| line.contains(&owner));
        Ok(leases
            .filter(|lease| is_its(&lease.path()))
            .map(|lease| lease.file_name().to_string_lossy().into_owned())
            .collect())
    }

    /// Mounts again.
    pub(crate) fn restart(&mut self) -> Fallible<()> {
        self.start_process()
    }

    /// Warnings and errors of the log, the same ones together, with how often each was said.
    pub(crate) fn complaints(&self) -> Vec<(String, u64)> {
        let log = fs::read_to_string(log(&self.setup)).unwrap_or_default();
        let mut counts = std::collections::BTreeMap::new();
        for line in log
            .lines()
            .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        {
            let words = line.split_once("] ").map_or(line, |(_, words)| words);
            let general: String = words
                .chars()
                .map(|c| if c.is_ascii_digit() { '#' } else { c })
                .collect();
            *counts.entry(general).or_insert(0) += 1;
        }
        counts.into_iter().collect()
    }

    /// Unmounts, and sees the process end.
    pub(crate) fn end(&mut self) -> Fallible<()> {
        let status = program::command(&self.setup.binary)
            .arg("umount")
            .arg(self.point())
            .env(MARK, "umount")
            .status()?;
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let begun = Instant::now();
        while process.try_wait()?.is_none() {
            if begun.elapsed() > PATIENCE {
                let _ = process.kill();
                return Err(format!("the mount's process does not end (umount: {status})").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
