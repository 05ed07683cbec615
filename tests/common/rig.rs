//! The real program, mounted: a temporary directory with a mount point and a store, and the process that serves it.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "shared by several test binaries, each of which uses a part; a helper that cannot go on fails its test"
)]

#[path = "fuse.rs"]
pub(crate) mod fuse;
#[path = "mounts.rs"]
pub(crate) mod mounts;
#[path = "waiting.rs"]
pub(crate) mod waiting;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

#[allow(
    unused_imports,
    reason = "shared by several test binaries, each of which uses a part"
)]
pub use waiting::{PATIENCE, at_least, equal, eventually, wait, within};

/// A mount of its own for one test. It is taken away at the end, also after a failure.
pub struct Rig {
    root: TempDir,
    /// The observatories whose servers are named.
    served: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// The argument of `ulimit` before the process starts.
    limit: Option<String>,
    /// The umask of the process; that of this one if not set.
    umask: Option<String>,
    daemon: Option<Child>,
}

/// The program in an environment without this one's CRDS settings and proxies.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crds-fs"));
    command.env_clear().stdin(Stdio::null());
    for name in ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // Many tests count requests.
    command.env("CRDS_FS_PREFETCH", "none");
    command
}

impl Rig {
    /// A rig that is not mounted yet. `servers` are `obs=URL`.
    pub fn new(servers: &[&str], arguments: &[&str]) -> Self {
        fuse::require();
        let root = tempfile::Builder::new()
            .prefix("crds-fs-test-")
            .tempdir()
            .unwrap();
        for directory in ["mnt", "store"] {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        let served: Vec<_> = servers
            .iter()
            .map(|server| server.split_once('=').unwrap().0.to_owned())
            .collect();
        let mut all = vec!["--observatory".to_owned(), served.join(",")];
        for server in servers {
            all.extend(["--server".to_owned(), (*server).to_owned()]);
        }
        all.extend([
            "--cache".to_owned(),
            root.path().join("store").display().to_string(),
        ]);
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        Self {
            root,
            served,
            arguments: all,
            environment: Vec::new(),
            limit: None,
            umask: None,
            daemon: None,
        }
    }

    /// A rig of these observatories that is not mounted yet and names no server.
    pub fn of(observatories: &str, arguments: &[&str]) -> Self {
        let mut rig = Self::new(&[], arguments);
        observatories.clone_into(&mut rig.arguments[1]);
        rig
    }

    /// A rig that is mounted.
    pub fn mounted(servers: &[&str], arguments: &[&str]) -> Self {
        let mut rig = Self::new(servers, arguments);
        rig.mount();
        rig
    }

    /// The same store with another flag from the next mount on.
    pub fn add_argument(&mut self, argument: &str) {
        self.arguments.push(argument.to_owned());
    }

    /// The store of another rig from the next mount on.
    pub fn use_store(&mut self, store: &Path) {
        let flag = self.arguments.iter().position(|argument| argument == "--cache");
        self.arguments[flag.unwrap() + 1] = store.display().to_string();
    }

    /// A variable of the environment from the next mount on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The process may have so many descriptors, from the next mount on.
    pub fn limit_descriptors(&mut self, limit: u32) {
        self.limit = Some(format!("-n {limit}"));
    }

    /// The process has this umask, in octal, from the next mount on.
    pub fn set_umask(&mut self, umask: &str) {
        self.umask = Some(umask.to_owned());
    }

    /// As [`Rig::limit_descriptors`], but the process may change it.
    pub fn limit_soft_descriptors(&mut self, limit: u32) {
        self.limit = Some(format!("-S -n {limit}"));
    }

    pub fn mountpoint(&self) -> PathBuf {
        self.root.path().join("mnt")
    }

    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.mountpoint().join(relative)
    }

    /// The store's directory, beside the mount point.
    pub fn store(&self) -> PathBuf {
        self.root.path().join("store")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.root.path().join("log")).unwrap_or_default()
    }

    /// The environment no longer has a variable, from the next mount on.
    pub fn unset(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// Mounts, in a process that this one can kill, and waits until the file system answers and the catalogs of its servers have
    /// come, or cannot be had: a lookup waits for no catalog longer than 2 s.
    pub fn mount(&mut self) {
        self.mount_untouched();
        self.await_catalogs();
    }

    /// As [`Rig::mount`]; false when the process ended before the file system answered.
    pub fn try_mount(&mut self) -> bool {
        let is_served = self.start();
        self.await_catalogs();
        is_served
    }

    /// As [`Rig::mount`], but asks for no catalog, and waits for none.
    pub fn mount_untouched(&mut self) {
        if !self.start() {
            let status = self.daemon.take().and_then(|mut daemon| daemon.wait().ok());
            panic!("the mount ended with {status:?}: {}", self.log());
        }
    }

    /// Listing a directory waits for the catalog, as long as `--timeout` lets it. Another reason why there is none is for who wants
    /// something of it.
    fn await_catalogs(&self) {
        for observatory in &self.served {
            let directory = self.path("references").join(observatory);
            eventually("the catalog comes, or is refused", || {
                let listed = fs::read_dir(&directory).map(drop);
                listed.or_else(|error| match error.raw_os_error() {
                    Some(libc::ETIMEDOUT) => Err(error),
                    _ => Ok(()),
                })
            });
        }
    }

    /// Begins the process; whether the file system answers, or else the process has ended.
    fn start(&mut self) -> bool {
        assert!(self.daemon.is_none(), "mounted already");
        let log = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.root.path().join("log"))
            .unwrap();
        let daemon = self
            .command()
            .arg("mount")
            .arg("--foreground")
            .arg(self.mountpoint())
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.daemon = Some(daemon);
        eventually("the mount answers, or its process ends", || {
            // A dead mount may answer too, from the kernel's memory: only the new process knows its own number.
            let is_served = self.is_served_by(self.pid());
            (is_served || self.has_ended()).then_some(is_served)
        })
    }

    /// True once the process has ended by itself.
    pub fn has_ended(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        state.is_empty() || state.starts_with(['Z', 'X'])
    }

    fn command(&self) -> Command {
        let program = program();
        if self.limit.is_none() && self.umask.is_none() {
            return program;
        }
        let limit = self
            .limit
            .as_ref()
            .map_or(String::new(), |limit| format!("ulimit {limit} && "));
        let umask = self
            .umask
            .as_ref()
            .map_or(String::new(), |umask| format!("umask {umask} && "));
        let mut limited = Command::new("sh");
        limited
            .arg("-c")
            .arg(format!("{limit}{umask}exec \"$0\" \"$@\""))
            .arg(program.get_program())
            .env_clear()
            .stdin(Stdio::null());
        let environment = program.get_envs();
        limited.envs(environment.filter_map(|(name, value)| Some((name, value?))));
        limited
    }

    fn is_served_by(&self, pid: u32) -> bool {
        self.json(".crds-fs/status.json")
            .is_some_and(|status| status["pid"] == pid)
    }

    /// Unmounts as a user does, and waits for the end of the process.
    pub fn umount(&mut self) {
        let output = program().arg("umount").arg(self.mountpoint()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "umount ended with {}: {said}",
            output.status
        );
        mounts::await_end(&output);
        let status = wait(self.daemon.take().expect("mounted"));
        assert!(
            status.success(),
            "the mount's process ended with {status}: {}",
            self.log()
        );
    }

    /// Ends the process with SIGKILL while others use the rig; [`Rig::reap`] follows.
    pub fn kill_shared(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    /// The process that serves the mount.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("mounted").id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let daemon = self.daemon.as_ref().expect("mounted");
        rustix::process::kill_process(rustix::process::Pid::from_child(daemon), signal).unwrap();
    }

    /// The most memory that the process has had at a time, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let daemon = self.daemon.as_ref().expect("mounted");
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
        peak.unwrap().trim().parse::<u64>().unwrap() << 10
    }

    /// Waits for the end of a killed process.
    pub fn reap(&mut self) {
        self.daemon.take().expect("mounted").wait().unwrap();
    }

    /// Tells the process to go, as an administrator or the system's end does.
    pub fn terminate(&mut self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Waits for the end of a process that was told to go.
    pub fn ended(&mut self) {
        mounts::await_end_of_all(
            || self.has_ended(),
            || {
                if self.log().contains("unmounted here, and going on") {
                    self.signal(rustix::process::Signal::TERM);
                }
            },
        );
        let status = wait(self.daemon.take().expect("mounted"));
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// The errno of opening and reading a file, or its contents.
    pub fn read(&self, relative: impl AsRef<Path>) -> Result<Vec<u8>, i32> {
        let read = |path: PathBuf| {
            let mut bytes = Vec::new();
            fs::File::open(path)?.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read(self.path(relative)).map_err(|error: std::io::Error| error.raw_os_error().unwrap())
    }

    /// A file of the mount in JSON, if it is there.
    pub fn json(&self, relative: impl AsRef<Path>) -> Option<serde_json::Value> {
        serde_json::from_slice(&fs::read(self.path(relative)).ok()?).ok()
    }

    /// The number of bytes of a file that are here.
    pub fn received(&self, relative: &str) -> u64 {
        let description = self.json(Path::new(".crds-fs/files").join(relative));
        description.map_or(0, |told| told["progress"]["done"].as_u64().unwrap())
    }

    /// Waits until what was read so far has its final name in the store.
    pub fn settle(&self) {
        if let Ok(directory) = fs::File::open(self.path("references")) {
            // A mount that has died has nothing to wait for.
            let _ = directory.sync_all();
        }
    }

    /// Every file of the store under its final name.
    pub fn stored(&self) -> Vec<PathBuf> {
        self.settle();
        let mut found = Vec::new();
        for part in ["mappings", "references"] {
            collect(&self.store().join(part), &mut found);
        }
        found
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = program()
            .arg("umount")
            .arg("--lazy")
            .arg(self.mountpoint())
            .stderr(Stdio::null())
            .status();
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
            // A mount that was not taken away above is dead now.
            let _ = program()
                .arg("umount")
                .arg("--lazy")
                .arg(self.mountpoint())
                .stderr(Stdio::null())
                .status();
        }
        if std::thread::panicking() {
            println!("the log of {}:\n{}", self.mountpoint().display(), self.log());
        }
    }
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.push(path);
        }
    }
}
