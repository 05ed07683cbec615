//! The nodes as the driver has them: processes that are told what to do.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::mount::PATIENCE;
use crate::node::{self, ClientSetup, Setup};
use crate::readers::Seen;
use crate::{Fallible, mount, program};

/// What a node has told at its end.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) name: String,
    pub(crate) seen: Seen,
    /// What its mount has complained of, and how often.
    pub(crate) said: Vec<(u64, String)>,
}

/// A node with a mount or a client; killed, with all that it has started, when dropped.
pub(crate) struct Node {
    name: String,
    /// The log of its mount.
    log: Option<PathBuf>,
    process: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Node {
    /// Starts a node with a mount.
    pub(crate) fn mount(setup: &Setup) -> Fallible<Self> {
        let mut node = Self::start(&setup.name, &serde_json::to_string(setup)?)?;
        node.log = Some(mount::log(setup));
        Ok(node)
    }

    /// Starts a node with a Python client.
    pub(crate) fn client(setup: &Setup, python: &Path, server: &str) -> Fallible<Self> {
        let client = ClientSetup {
            node: setup.clone(),
            python: python.to_owned(),
            script: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/shared/client.py"),
            server: server.to_owned(),
        };
        Self::start(&setup.name, &serde_json::to_string(&client)?)
    }

    fn start(name: &str, setup: &str) -> Fallible<Self> {
        let (mut process, lines) = start(setup)?;
        Ok(Self {
            name: name.to_owned(),
            log: None,
            input: process.stdin.take(),
            process,
            lines,
        })
    }

    /// The log of its mount, if it has one.
    pub(crate) fn log(&self) -> Option<&Path> {
        self.log.as_deref()
    }

    /// Waits until it can be told what to do.
    pub(crate) fn ready(&mut self) -> Fallible<()> {
        self.wait_for("ready", PATIENCE)
    }

    pub(crate) fn tell(&mut self, word: &str) -> Fallible<()> {
        let input = self.input.as_mut().ok_or("it has ended")?;
        writeln!(input, "{word}").map_err(|error| format!("{}: {error}", self.name).into())
    }

    /// Waits until it has done what they were told.
    pub(crate) fn done(&mut self) -> Fallible<()> {
        self.tell("done")?;
        self.wait_for("done", PATIENCE * 60)
    }

    fn wait_for(&mut self, word: &str, patience: Duration) -> Fallible<()> {
        let begun = std::time::Instant::now();
        while begun.elapsed() < patience {
            program::go_on()?;
            match self.lines.recv_timeout(Duration::from_millis(200)) {
                Ok(line) if line == word => return Ok(()),
                Ok(line) => println!("   {line}"),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(format!("{} has ended", self.name).into()),
            }
        }
        Err(format!("{} never says {word}", self.name).into())
    }

    /// Tells it to unmount and end.
    pub(crate) fn leave(&mut self) {
        drop(self.input.take());
    }

    /// Waits for its end, and gives what it has told.
    pub(crate) fn end(mut self) -> Fallible<Told> {
        self.leave();
        let mut told = Told {
            name: self.name.clone(),
            ..Told::default()
        };
        while let Ok(line) = self.lines.recv_timeout(PATIENCE * 2) {
            match line.split_once(' ') {
                Some(("seen", seen)) => told.seen = serde_json::from_str(seen)?,
                Some(("said", said)) => {
                    if let Some((count, text)) = said.split_once(' ') {
                        told.said.push((count.parse()?, text.to_owned()));
                    }
                }
                _ => println!("   {line}"),
            }
        }
        let status = self.process.wait()?;
        if !status.success() {
            told.seen.problems.push(format!("the node ended with {status}"));
        }
        Ok(told)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts this program in a mount namespace of its own.
fn start(setup: &str) -> Fallible<(Child, Receiver<String>)> {
    let mut unshare = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let mut process = unshare
        .arg("--mount")
        .arg(std::env::current_exe()?)
        .args([node::COMMAND, setup])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("unshare: {error}: apt install util-linux"))?;
    let output = process.stdout.take().ok_or("no output")?;
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    Ok((process, lines))
}
